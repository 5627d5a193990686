"""What is measured of a pilot's images: detectors, the finest detail, and what a classifier of causes says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from detdiffusion.attributes import Strategy
from detdiffusion.evaluation.sharpness import sharpness
from detdiffusion.layout import Attribute, Layout
from detdiffusion.models.cause_classifier import LIKELY, NONE, CauseClassifier
from detdiffusion.sampling_config import SamplingConfig, SamplingRequest
from training.core.chunks import Chunks
from training.data.layout_sources import LayoutSource
from training.evaluation.inputs import BATCH, REAL, Plan
from training.evaluation.report import VariantReport
from training.evaluation.run import evaluate
from training.evaluation.store import SeenImages
from training.evaluation.variants import Variant
from training.studies.pilot_table import Asked, Found, Pace, PilotRow, Told

STRATEGIES = (Strategy.EASY, Strategy.HARD)


def score_pilot(
    name: str,
    pace: Pace,
    model: Path,
    detectors: Sequence[Path],
    layouts: LayoutSource,
    way: SamplingConfig,
    causes: Path | None,
    work: Path,
    device: torch.device,
) -> PilotRow:
    """A row of the table; images and detections stay under `work`, from which the same call goes on.

    Args:
        detectors: folders; the first gave the attributes.
        causes: folder of a classifier, or None.

    Raises:
        What `evaluate` and `CauseClassifier.load` raise.
    """
    sampling = SamplingRequest(way.steps, way.guidance_scale, sampler=way.sampler)
    plan = Plan(model, layouts, STRATEGIES, [*map(str, detectors)], sampling=sampling, device=str(device))
    report = evaluate(plan, work)
    (system,) = report.systems
    classifier = None if causes is None else CauseClassifier.load(causes, device)
    chunks = Chunks(work, REAL, len(layouts), BATCH)
    true = SeenImages(chunks).layouts()
    real = load_all(chunks)

    def asked(view: VariantReport) -> Asked:
        images = load_all(Chunks(work, f"{system.name}/{Variant(view.strategy).slug}", len(layouts), BATCH))
        scores = (view.scores[detector.name] for detector in report.detectors)
        found = tuple(Found(one.recall50, one.AP50, one.AP75, one.mean_confidence) for one in scores)
        return Asked(found, detail(images, true) / detail(real, true), _told(classifier, images, true))

    views = {view.strategy: asked(view) for view in system.views}
    return PilotRow(
        name=name,
        parameters=system.parameters,
        pace=pace,
        sampler=way.sampler,
        sampler_steps=way.steps,
        guidance=way.guidance_scale,
        easy=views.get(Strategy.EASY) or views[Strategy.ORIGIN],
        hard=views.get(Strategy.HARD),
        drop=math.nan if system.drop is None else system.drop[report.lead].confidence.mean,
        mask_iou=math.nan if system.mask_iou is None else system.mask_iou.mean,
        real=_told(classifier, real, true),
    )


def load_all(chunks: Chunks) -> list[Image.Image]:
    """The images of whole chunks, in their order."""
    seen = SeenImages(chunks)
    return [image for numbers in seen for image in seen.load(numbers)]


def detail(images: Sequence[Image.Image], layouts: Sequence[Layout]) -> float:
    """Mean size of the Laplacian's response inside the boxes of things, over the images that have any."""
    pairs = zip(images, layouts, strict=True)
    return float(np.nanmean([sharpness(image, layout).laplacian for image, layout in pairs]))


def _told(classifier: CauseClassifier | None, images: Sequence[Image.Image], layouts: Sequence[Layout]) -> Told | None:
    if classifier is None:
        return None
    rows = [
        row
        for image, layout in zip(images, layouts, strict=True)
        for row, box in zip(classifier.probabilities(image, layout), layout.boxes, strict=True)
        if box.attribute is not Attribute.BACKGROUND and not np.isnan(row).any()
    ]
    causes = [place for place, name in enumerate(classifier.config.outputs) if name != NONE]
    return told_by(np.array(rows).reshape(-1, len(classifier.config.outputs))[:, causes])


def told_by(probabilities: np.ndarray) -> Told:
    """[N, causes] of N things."""
    if not len(probabilities):
        return Told(math.nan, math.nan)
    likely = probabilities.max(axis=1) >= LIKELY
    counts = np.bincount(probabilities[likely].argmax(axis=1), minlength=probabilities.shape[1])
    shares = counts[counts > 0] / max(1, counts.sum())
    return Told(float(likely.mean()), float(np.exp(-(shares * np.log(shares)).sum())) if likely.any() else math.nan)
