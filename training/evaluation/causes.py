"""Which causes of difficulty a model has learned: what the classifier of its folder sees in real and in drawn objects.

A model whose hard objects all have one cause has collapsed. Classifiers err, so found shares are compared with found
ones: those of real hard objects, by the same classifier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detdiffusion.core.files import file_hash
from detdiffusion.core.parts import part_folder
from detdiffusion.evaluation.bootstrap import estimate_mean, resamples
from detdiffusion.layout import Attribute, Layout
from detdiffusion.models.cause_classifier import FOLDER, NONE, WEIGHTS_FILE, CauseClassifier, counted, load_causes
from training.data.layout_sources import LayoutSource, PapercutLayouts, Size
from training.evaluation.report import CauseShares, CausesReport
from training.evaluation.store import SeenImages
from training.evaluation.variants import Variant

ASKED = (Attribute.HARD, Attribute.EASY)

Rows = list[NDArray[np.bool_]]  # by image [objects, outputs]: which causes an object has


@dataclass(frozen=True, slots=True)
class CauseCounter:
    """The classifier of one model, and the layouts (with true attributes) of all images that it looks at."""

    classifier: CauseClassifier
    sha256: str
    layouts: Sequence[Layout]

    @classmethod
    def of(cls, model: Path, layouts: Sequence[Layout]) -> CauseCounter | None:
        """None for a model without a classifier. Raises CheckpointError for a damaged one."""
        classifier = load_causes(model)
        if classifier is None:
            return None
        return cls(classifier, file_hash(part_folder(model, FOLDER) / WEIGHTS_FILE), layouts)

    def report(
        self, source: LayoutSource, size: Size, real: SeenImages | None, drawn: Mapping[Variant, SeenImages]
    ) -> CausesReport:
        """drawn: the images of every variant."""
        truth, seen = None, None
        if real is not None:
            seen = self._shares(self._look(real), self.layouts)
            if isinstance(source, PapercutLayouts):
                rows = [self._true(source.scene(place, size).causes) for place in range(len(self.layouts))]
                truth = self._shares(rows, self.layouts)
        views = {
            variant.name: self._shares(
                self._look(images), [variant.asked(place, layout) for place, layout in enumerate(self.layouts)]
            )
            for variant, images in drawn.items()
        }
        return CausesReport(self.sha256, dict(self.classifier.config.causes), truth, seen, views)

    def _look(self, images: SeenImages) -> Rows:
        """What is counted in every image; nothing of an object whose class the classifier does not know."""
        return [
            counted(self.classifier.config.outputs, self.classifier.probabilities(image, self.layouts[place]))
            for chunk in images
            for place, image in zip(chunk, images.load(chunk), strict=True)
        ]

    def _true(self, causes: Sequence[frozenset[str]]) -> NDArray[np.bool_]:
        outputs = self.classifier.config.outputs
        return np.array([[name in one or (name == NONE and not one) for name in outputs] for one in causes])

    def _shares(self, rows: Rows, asked: Sequence[Layout]) -> dict[str, CauseShares]:
        """By attribute; a class that the classifier does not know does not count."""
        return {attribute: self._share(rows, asked, attribute) for attribute in ASKED}

    def _share(self, rows: Rows, asked: Sequence[Layout], attribute: Attribute) -> CauseShares:
        known, outputs = set(self.classifier.config.classes), self.classifier.config.outputs
        chosen = [[box.attribute is attribute and box.label in known for box in layout.boxes] for layout in asked]
        have = np.concatenate([row[np.array(places)] for row, places in zip(rows, chosen, strict=True)])  # [N, O]
        owners = np.repeat(np.arange(len(rows)), [sum(places) for places in chosen])
        drawn = resamples(len(rows))
        shares = (estimate_mean(column.astype(np.float64), owners, drawn) for column in have.T)
        return CauseShares(len(have), dict(zip(outputs, shares, strict=True)))
