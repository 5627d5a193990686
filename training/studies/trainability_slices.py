"""The slices of a diagnosis: what a row of the table finds of them, and which objects are pasted because of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from detdiffusion.core.files import json_hash
from detdiffusion.detection import Detections, Detector
from detdiffusion.evaluation.effect import numbers
from training.core.cli import progress
from training.data.datasets import Dataset
from training.diagnosis.axes import Cuts
from training.diagnosis.diagnose import counted_axes
from training.diagnosis.evidence import Bools, Evidence, gather
from training.diagnosis.measures import objects_of
from training.diagnosis.planning import COVERAGE
from training.diagnosis.result import Diagnosis, read_diagnosis
from training.diagnosis.slices import conditions_of, members
from training.synthesis.pasting import CutOut, cut_outs

ALL = "all objects"


@dataclass(frozen=True, slots=True)
class Slices:
    """Those that a diagnosis names, on other data."""

    found: Diagnosis

    @classmethod
    def read(cls, folder: Path) -> Slices:
        """Of a folder of `python -m training diagnose`; DataError where there is none."""
        return cls(read_diagnosis(folder))

    @property
    def key(self) -> str:
        """Hash of what the slices are."""
        return json_hash([[one.name, dict(one.bounds)] for one in self.found.slices] + [self.found.cuts])

    def recalls(self, dataset: Dataset, found: Sequence[Detections], detector: Detector) -> dict[str, Any]:
        """Of each slice with an object in the data: how many it has, and the share of them that the detector finds."""
        evidence = _evidence(dataset, found, detector.labels)
        objects = objects_of(evidence, detector.min_score)
        inside = {ALL: np.ones(len(objects.found), np.bool_), **self._inside(evidence)}
        return {
            name: {"count": int(own.sum()), **numbers({"recall": float(objects.found[own].mean())})}
            for name, own in inside.items()
            if own.any()
        }

    def cut_outs(self, real: Dataset, chosen: Sequence[int]) -> list[CutOut]:
        """The objects of these images, those of the slices more often, as `plan` has it: the share that is not for
        coverage goes to the slices by their gaps."""
        nothing = Detections((), np.zeros(0, np.float32), np.zeros((0, 4), np.float32))
        evidence = _evidence(real, [nothing] * len(real), real.things)
        rows = np.flatnonzero(evidence.counted)
        starts = np.searchsorted(evidence.image, np.arange(len(real)))
        wanted = np.isin(evidence.image[rows], chosen)
        gaps = {one.name: max(one.gap, 1e-3) for one in self.found.slices}
        chance = np.full(len(rows), COVERAGE / max(1, wanted.sum()))
        own = {name: inside & wanted for name, inside in self._inside(evidence).items() if (inside & wanted).any()}
        for name, inside in own.items():
            share = gaps[name] / sum(gaps[one] for one in own)
            chance += (1 - COVERAGE) * share * inside / inside.sum()
        places = {(int(evidence.image[row]), int(row - starts[evidence.image[row]])): at for at, row in enumerate(rows)}
        cuts = cut_outs(real, chosen)
        return [replace(cut, chance=float(chance[places[cut.place, cut.number]])) for cut in cuts]

    def _inside(self, evidence: Evidence) -> Mapping[str, Bools]:
        """Which of the counted objects are in each slice."""
        axes = counted_axes(evidence, Cuts.from_json(self.found.cuts))
        known = ((one.name, conditions_of(axes, dict(one.bounds))) for one in self.found.slices)
        return {name: members(axes, conditions) for name, conditions in known if conditions is not None}


def _evidence(dataset: Dataset, found: Sequence[Detections], labels: Sequence[str]) -> Evidence:
    with progress("slices", "image", tell=False) as report:
        return gather(dataset, iter(found), labels, report)
