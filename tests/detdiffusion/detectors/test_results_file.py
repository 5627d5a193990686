"""A COCO results file in a detector's place."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detdiffusion.detectors import load_detector
from detdiffusion.detectors.results_file import ResultsFile, load_results
from detdiffusion.errors import DetectorError

CATEGORIES = [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}, {"id": 90, "name": "cup"}]
ROWS = [
    {"image_id": 7, "category_id": 3, "bbox": [10, 20, 30, 10], "score": 0.4},
    {"image_id": "b", "category_id": 1, "bbox": [0, 0, 5.5, 5], "score": 1},
    {"image_id": 7, "category_id": 1, "bbox": [-5, 0, 500, 40], "score": 0.9},
]


def write(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    return write(tmp_path / "instances.json", {"images": [], "annotations": [], "categories": CATEGORIES})


def test_answers_by_picture_id(tmp_path: Path, annotations: Path) -> None:
    path = write(tmp_path / "mm.json", ROWS)
    detector = load_detector(path, annotations=annotations)
    assert isinstance(detector, ResultsFile)
    assert (detector.name, detector.min_score, detector.ids) == ("mm", 0.5, {"7", "b"})
    assert detector.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert detector.labels == ("person", "car"), "a class that is never detected is not known"
    seven, other, nothing = detector.for_images(["7", "b", "c"], [(100, 40), (10, 10), (8, 8)])
    assert (seven.labels, other.labels, nothing.labels) == (("person", "car"), ("person",), ())
    np.testing.assert_allclose(seven.boxes_xyxy, [[0, 0, 1, 1], [0.1, 0.5, 0.4, 0.75]], atol=1e-6)
    np.testing.assert_allclose(other.boxes_xyxy, [[0, 0, 0.55, 0.5]], atol=1e-6)
    assert seven.scores.tolist() == pytest.approx([0.9, 0.4])


def test_own_categories_say_what_it_knows(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", {"info": {}, "categories": CATEGORIES, "annotations": ROWS})
    assert load_results(path).labels == ("person", "car", "cup")


def test_the_best_hundred_count(tmp_path: Path, annotations: Path) -> None:
    rows = [{**ROWS[0], "score": i / 200} for i in range(150)]
    (found,) = load_results(write(tmp_path / "r.json", rows), annotations).for_images(["7"], [(100, 40)])
    assert len(found) == 100 and float(found.scores.min()) == pytest.approx(0.25)


def test_new_pictures_cannot_be_looked_at(tmp_path: Path, annotations: Path) -> None:
    detector = load_results(write(tmp_path / "r.json", ROWS), annotations)
    with pytest.raises(DetectorError, match="cannot look at new ones"):
        detector.detect([Image.new("RGB", (8, 8))])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "holds no detections"),
        ({"annotations": []}, "holds no detections"),
        ("", "got the end of the file"),
        ('[{"image_id": 1', "not JSON"),
        ({"annotations": 3}, "annotations needs to be a list"),
        ([3], "entry 1 is 3; a COCO results file is a list"),
        ([ROWS[0], {**ROWS[0], "bbox": [1, 2, 3]}], "entry 2 is"),
        ([{**ROWS[0], "bbox": [1, 2, 3, "4"]}], "entry 1 is"),
        ([{**ROWS[0], "image_id": None}], "entry 1 is"),
        ([{**ROWS[0], "category_id": 3.5}], "entry 1 is"),
        ([{"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]}], "entry 1 is"),
        ('[{"image_id": 7, "category_id": 3, "bbox": [1, 2, NaN, 4], "score": 1}]', "entry 1 is"),
        ([{**ROWS[0], "score": 30}], "0 <= score <= 1"),
        ([{**ROWS[0], "bbox": [1, 2, -3, 4]}], "w, h >= 0"),
        ([{**ROWS[0], "category_id": 4}], r"instances\.json names no category 4"),
        ({"categories": [{"id": 1}], "annotations": ROWS}, "a category needs an id and a name"),
        ({"categories": CATEGORIES[:1], "annotations": ROWS}, r"r\.json names no category 3"),
    ],
)
def test_bad_files(content: Any, message: str, tmp_path: Path, annotations: Path) -> None:
    with pytest.raises(DetectorError, match=r"r\.json") as caught:
        load_results(write(tmp_path / "r.json", content), annotations)
    assert re.search(message, str(caught.value)), caught.value


def test_names_are_needed(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", ROWS)
    with pytest.raises(DetectorError, match=r'names no category 3, 1; results need .* or "categories" of their own'):
        load_detector(path)
    with pytest.raises(DetectorError, match="no such file"):
        load_results(path, tmp_path / "absent.json")
