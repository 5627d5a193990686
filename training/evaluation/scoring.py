"""Who looks at the pictures of an evaluation: detectors at hand, and results files of other frameworks' detectors.

`pictures.json` lists every picture as a COCO data set. Another framework looks at them there, and its results file
comes back in a detector's place: it is asked by the numbers of the pictures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detdiffusion.core.files import hash_number, read_json, write_text
from detdiffusion.detection import AnswersById, Detections, Detector
from detdiffusion.detectors.names import remap_labels
from detdiffusion.detectors.results_file import load_results
from detdiffusion.errors import DataError, DetectorError
from detdiffusion.evaluation.effect import Block, measure
from detdiffusion.layout import Layout
from training.core.chunks import Chunks
from training.evaluation.store import SeenImages, stable_name

INDEX = "pictures.json"
RESULTS_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class Scorer:
    """Every detector whose scores are asked for, by name, the first one leads.

    layouts: of all folders of pictures alike, with true attributes.
    """

    work: Path
    layouts: Sequence[Layout]
    detectors: Mapping[str, Detector]

    def score(self, pictures: SeenImages) -> dict[str, Block]:
        """Every detector's scores of one folder of pictures."""
        return {
            name: measure(self.layouts, self._seen(name, detector, pictures), detector)
            for name, detector in self.detectors.items()
        }

    def _seen(self, name: str, detector: Detector, pictures: SeenImages) -> list[Detections]:
        if not isinstance(detector, AnswersById):
            return pictures.detections(name)
        ids = [str(picture_id(stable_name(pictures.chunks.inside, place))) for place in range(pictures.count)]
        return detector.for_images(ids, [(layout.width, layout.height) for layout in self.layouts])


def picture_id(name: str) -> int:
    """48 bits of a hash of its stable name: a picture keeps its number whatever else is asked for later."""
    return hash_number(name, 6)


def write_index(path: Path, folders: Sequence[Chunks], layouts: Sequence[Layout], labels: Sequence[str]) -> None:
    """All pictures of an evaluation as COCO annotations: every folder holds one picture of each layout. File names are
    relative to the folder that the index lies in."""
    categories = {label: number for number, label in enumerate(labels, start=1)}
    pictures = [
        (picture_id(stable_name(chunks.inside, place)), chunks.file(place), layout)
        for chunks in folders
        for place, layout in enumerate(layouts)
    ]
    objects = [(number, box, layout) for number, _, layout in pictures for box in layout.boxes]
    content = {
        "images": [
            {"id": number, "file_name": name, "width": layout.width, "height": layout.height}
            for number, name, layout in pictures
        ],
        "annotations": [
            {"id": number, "image_id": image, "category_id": categories[box.label], **_box(box.xyxy, layout)}
            for number, (image, box, layout) in enumerate(objects, start=1)
        ],
        "categories": [{"id": number, "name": label} for label, number in categories.items()],
    }
    write_text(path, json.dumps(content) + "\n")


def read_results(files: Mapping[str, Path], index: Path, labels: Sequence[str]) -> dict[str, Detector]:
    """Results files that are there, by the names of the report.

    Raises:
        DetectorError: one is no results file, or tells nothing of these pictures.
    """
    return dict(_read_results(files, index, labels))


def _read_results(files: Mapping[str, Path], index: Path, labels: Sequence[str]) -> Iterator[tuple[str, Detector]]:
    known = read_json(index, lambda coco: {str(image["id"]) for image in coco["images"]}, DataError)
    for name, path in files.items():
        if not path.exists():
            continue
        results = load_results(path, index)
        if not known & results.ids:
            raise DetectorError(f"{path} tells nothing of the images of this evaluation; they are listed in {index}")
        yield name, remap_labels(results, labels)[0]


def _box(xyxy: Sequence[float], layout: Layout) -> dict[str, Any]:
    x1, y1, x2, y2 = xyxy
    box = [x1 * layout.width, y1 * layout.height, (x2 - x1) * layout.width, (y2 - y1) * layout.height]
    return {"bbox": [round(side, 2) for side in box], "area": round(box[2] * box[3], 2), "iscrowd": 0}
