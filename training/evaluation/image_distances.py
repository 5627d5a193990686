"""How far a view's pictures are from the real ones: FID, FID of the objects' crops, distance in a detector's features.

All pictures are read once more, chunk by chunk; the result stays beside them, so an evaluation that goes on has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.core.files import json_object, read_json, write_sealed
from detdiffusion.detection import Detector
from detdiffusion.drawing import crop
from detdiffusion.errors import DataError
from detdiffusion.evaluation.fid import FeatureTeller, Inception, Moments, frechet_distance
from detdiffusion.layout import Layout
from training.core.cli import progress
from training.core.typed_json import from_json, to_json
from training.evaluation.report import Distance
from training.evaluation.store import SeenImages

if TYPE_CHECKING:
    from PIL import Image

CROP = 224  # pixels, the side of an object's crop (as in SceneFID: Sylvain et al., AAAI 2021)
CROPS_A_PASS = 16
FID, DETECTOR, SCENES = "fid", "detector_feature_distance", "scene_fid"  # as the report names them
NO_FILE = "no --inception FILE was given"
NO_IMAGES = "the layouts have no images"
TOO_FEW = "it needs two images or more"


@dataclass(slots=True)
class Distances:
    """Of drawn pictures from the real ones of the same layouts.

    Args:
        real: None where the layouts have no pictures.
        detector: its features are compared, if there is one and it tells them.
        inception: None: no FID.
        crops: also the FID of all objects' crops.
    """

    real: SeenImages | None
    layouts: Sequence[Layout]
    detector: Detector | None
    inception: Inception | None
    crops: bool
    _real: dict[str, Moments] | None = field(default=None, init=False)  # by the distance that needs them

    def of(self, drawn: SeenImages, name: str) -> Distance:
        """name: for the progress bar."""
        if self.real is None:
            return Distance(math.nan, NO_IMAGES, math.nan, math.nan)
        path, key = drawn.folder / "distances.json", self._key(self.real, drawn)
        kept = _read(path)
        if kept.get("of") != key:
            kept = {"of": key, "values": to_json(self._measure(self.real, drawn, name))}
            write_sealed(path, kept)
        return from_json(Distance, kept["values"], str(path))

    def _key(self, real: SeenImages, drawn: SeenImages) -> dict[str, Any]:
        """All that the values depend on."""
        pictures = {"real": real.images_hash(), "drawn": drawn.images_hash()}
        inception = None if self.inception is None else self.inception.sha256
        detector = None if self.detector is None else self.detector.sha256
        return {**pictures, "detector": detector, "inception": inception, "crops": self.crops}

    def _measure(self, real: SeenImages, drawn: SeenImages, name: str) -> Distance:
        if self._real is None:
            self._real = self._moments(real, "real images, features")
        here = self._moments(drawn, name)
        found = {key: frechet_distance(self._real[key], moments) for key, moments in here.items()}
        fid, seen, scenes = (found.get(key, math.nan) for key in (FID, DETECTOR, SCENES))
        note = NO_FILE if self.inception is None else TOO_FEW if drawn.count < 2 else None
        return Distance(fid, note, seen, scenes)

    def _moments(self, pictures: SeenImages, name: str) -> dict[str, Moments]:
        """What is seen in all pictures of a folder, for every distance that can be told."""
        seen: dict[str, Moments] = {}
        detector: object = self.detector
        teller = detector if isinstance(detector, FeatureTeller) else None
        with progress(name, tell=False) as report:
            for chunk in pictures:
                images = pictures.load(chunk)
                if teller is not None:
                    seen.setdefault(DETECTOR, Moments()).add(teller.features(images))
                if self.inception is not None:
                    seen.setdefault(FID, Moments()).add(self.inception.features(images))
                    for part in _crops(images, [self.layouts[place] for place in chunk]) if self.crops else ():
                        seen.setdefault(SCENES, Moments()).add(self.inception.features(part))
                report(chunk.stop, pictures.count, {})
        return seen


def _crops(images: Sequence[Image.Image], layouts: Sequence[Layout]) -> Iterator[list[Image.Image]]:
    """The part of a picture in every object's box, things and stuff, stretched to a square; a few at a time."""
    pairs = [(image, box) for image, layout in zip(images, layouts, strict=True) for box in layout.boxes]
    for first in range(0, len(pairs), CROPS_A_PASS):
        part = pairs[first : first + CROPS_A_PASS]
        yield [crop(image, box.xyxy, 0).resize((CROP, CROP)) for image, box in part]


def _read(path: Path) -> dict[str, Any]:
    """What was measured before; nothing where there is none, or it is damaged."""
    try:
        return read_json(path, json_object, DataError)
    except DataError:
        return {}
