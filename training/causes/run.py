"""Scenes -> a classifier of causes with its thresholds, and a report of how well it does on unseen scenes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from detdiffusion.core.files import bytes_hash, write_json
from detdiffusion.core.settings import keep_settings
from detdiffusion.models.cause_classifier import CauseClassifier, CauseConfig
from training.autoencoder.loading import Autoencoder
from training.autoencoder.recipe import reconstruct
from training.causes.config import WORDS, CauseTrainingConfig
from training.causes.objects import Objects, read_or_make_objects
from training.causes.recipe import train_network
from training.causes.scores import CauseScores, Values, find_thresholds, score_causes
from training.core.cli import progress
from training.core.typed_json import to_json
from training.data.papercut.causes import Cause
from training.data.papercut.classes import HELD_OUT_SEED, THINGS

ANSWERED = 256  # objects at once


@dataclass(frozen=True, slots=True)
class CauseReport:
    """`report.json`: on scenes that nothing is trained on. restored: after the autoencoder, where there is one."""

    precision: float  # asked of the causes that are shown
    plain: CauseScores
    restored: CauseScores | None


def train_causes(
    config: CauseTrainingConfig,
    out: Path,
    device: torch.device,
    *,
    size: int = 256,
    autoencoder: Autoencoder | None = None,
    workers: int = 2,
) -> CauseReport:
    """Writes the classifier `out/model` and `out/report.json`; the same call goes on after a stop.

    Args:
        size: pixels, the side of a scene.
        autoencoder: of the model whose images will be looked at; some scenes go through it before they are learned.
        workers: processes that make scenes.

    Raises:
        ConfigError: `out` was started with other settings.
    """
    about = CauseConfig(THINGS, {str(cause): words for cause, words in WORDS.items()})
    keep_settings(out / "config.json", {**asdict(config), "size": size, "autoencoder": _hash_of(autoencoder)})
    objects = partial(
        read_or_make_objects,
        config=about,
        size=size,
        hard_share=config.hard_share,
        restored=config.restored,
        restore=None if autoencoder is None else partial(reconstruct, autoencoder.to(device)),
        workers=workers,
    )
    learned = [objects(out / "objects.npz", config.seeds())]
    for cause in Cause if config.alone_scenes else ():
        learned.append(objects(out / f"objects-{cause}.npz", config.seeds(cause), cause=cause))
    with progress("causes") as report:
        network = train_network(Objects.join(learned), about, config, out, device, report)
    held_out = objects(out / "held-out.npz", config.held_out_seeds)
    draft = CauseClassifier(about, network)
    thresholds = find_thresholds(about.outputs, answers(draft, held_out), held_out.truth.numpy(), config.precision)
    CauseClassifier(replace(about, sure=thresholds), network).save(out / "model")
    classifier = CauseClassifier.load(out / "model", device)
    unseen = objects(out / "unseen.npz", range(HELD_OUT_SEED, HELD_OUT_SEED + config.unseen_scenes))
    found = _report(classifier, unseen, config)
    write_json(out / "report.json", to_json(found))
    return found


def _hash_of(autoencoder: Autoencoder | None) -> str | None:
    """Of its weights."""
    if autoencoder is None:
        return None
    return bytes_hash(b"".join(one.cpu().numpy().tobytes() for one in autoencoder.state_dict().values()))


def answers(classifier: CauseClassifier, objects: Objects) -> Values:
    """Probabilities [N, outputs]."""
    parts = [slice(start, start + ANSWERED) for start in range(0, len(objects), ANSWERED)]
    found = [
        classifier.answer(objects.crops[p].numpy(), objects.frames[p], objects.labels[p], objects.boxes[p])
        for p in parts
    ]
    probabilities: Values = torch.cat(found).numpy()
    return probabilities


def _report(classifier: CauseClassifier, unseen: Objects, config: CauseTrainingConfig) -> CauseReport:
    found, truth, restored = answers(classifier, unseen), unseen.truth.numpy(), unseen.restored.numpy()

    def scores(chosen: np.ndarray) -> CauseScores:
        about = classifier.config
        return score_causes(about.outputs, found[chosen], truth[chosen], about.sure)

    return CauseReport(config.precision, scores(~restored), scores(restored) if restored.any() else None)
