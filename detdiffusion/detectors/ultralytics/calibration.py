"""Scores of a YOLO detector, all moved alike: a threshold of 0.5 then means what another one did before."""

from __future__ import annotations

import math
import re
from pathlib import Path

from detdiffusion.detectors.folder import fill, read_description, read_weights, save_detector
from detdiffusion.detectors.ultralytics.library import build, contained
from detdiffusion.errors import DetectorError

_CLASS_BIAS = re.compile(r"model\.\d+\.cv3\.\d+\.\d+\.bias")  # the last convolutions of the library's class branches


def centre_scores(folder: Path, score: float) -> None:
    """Changes a detector folder so that a score in it, in 0..1, becomes 0.5: every logit moves by the same amount, so
    the order of detections, and the average precision, stay (the offset of Platt 1999).

    Raises:
        DetectorError: it is none of ultralytics' YOLO, or cannot be read or written.
    """
    about = read_description(folder)
    with contained():
        model = build(about.architecture, about.labels)
        fill(model, read_weights(folder, about), folder, about.architecture)
    biases = [parameter for name, parameter in model.named_parameters() if _CLASS_BIAS.fullmatch(name)]
    if not biases:
        raise DetectorError(f"{about.architecture} has no class scores of YOLO's kind, so they cannot be moved")
    for bias in biases:
        bias.data -= math.log(score / (1 - score))
    save_detector(model, folder, about)
