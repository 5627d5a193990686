"""Classes of detectors and data sets matched by name, and lists of names beside weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detdiffusion.detection import AnswersById, Detections, Detector, look
from detdiffusion.detectors.names import check_knows, match_names, names_beside, remap_labels
from detdiffusion.errors import DetectorError


class Voc:
    """Finds a motorbike and a kite in every picture."""

    name, sha256, min_score = "voc", "v" * 64, 0.3
    labels = ("motorbike", "kite", "Traffic_Light")

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        boxes = np.tile([0.0, 0, 0.5, 1], (2, 1))
        return [Detections(("motorbike", "kite"), np.array([0.4, 0.9]), boxes)] * len(images)


class Remembered(Voc):
    ids = ("7",)

    def for_images(self, ids: Sequence[str], sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        assert set(sizes) == {(8, 8)}
        return [self.detect([Image.new("RGB", (8, 8))])[0].at_least(0.5 if name == "7" else 1.0) for name in ids]


@pytest.mark.parametrize(
    ("theirs", "ours", "same"),
    [
        ("car", "car", True),
        ("Traffic Light", "traffic light", True),
        ("traffic_light", "traffic light", True),
        ("traffic-light", "trafficlight", True),
        ("motorbike", "motorcycle", True),
        ("aeroplane", "airplane", True),
        ("sofa", "couch", True),
        ("tvmonitor", "tv", True),
        ("pottedplant", "potted plant", True),
        ("diningtable", "dining table", True),
        ("couch", "sofa", True),
        ("hair drier", "hair dryer", True),
        ("car", "card", False),
        ("orange", "apple", False),
        ("bus", "tv", False),
    ],
)
def test_the_same_class_by_other_names(theirs: str, ours: str, same: bool) -> None:
    match = match_names([theirs], [ours])
    assert match.names == ({theirs: ours} if same else {})
    assert (match.unknown, match.unused) == (((), ()) if same else ((ours,), (theirs,)))


def test_the_very_name_comes_first() -> None:
    match = match_names(["couch", "sofa", "bed"], ["sofa", "Couch", "couch", "lamp"])
    assert match.names == {"couch": "couch", "sofa": "sofa"}
    assert (match.unknown, match.unused) == (("Couch", "lamp"), ("bed",))
    assert match_names(["sofa", "couch"], ["couch"]).names == {"sofa": "couch", "couch": "couch"}


def test_a_detector_speaks_the_language_of_the_data() -> None:
    data = ("motorcycle", "traffic light", "cup")
    named, match = remap_labels(Voc(), data)
    assert named.labels == ("motorcycle", "kite", "traffic light")
    assert (named.name, named.sha256, named.min_score) == ("voc", "v" * 64, 0.3)
    (found,) = named.detect([Image.new("RGB", (8, 8))])
    assert found.labels == ("kite", "motorcycle")
    assert match.lines("voc") == [
        "note: 2 classes of voc have another name in the data: motorbike -> motorcycle, Traffic_Light -> traffic light",
        "note: 1 classes of voc are not in the data: kite",
    ]
    assert match.unknown == ("cup",)


def test_a_detector_that_speaks_it_already_stays_itself() -> None:
    detector: Detector = Voc()
    named, match = remap_labels(detector, ("kite",))
    assert named is detector and match.unused == ("motorbike", "Traffic_Light")


def test_a_detector_that_answers_by_id_still_does() -> None:
    named, _ = remap_labels(Remembered(), ("motorcycle",))
    assert isinstance(named, AnswersById) and named.ids == ("7",)
    images = [Image.new("RGB", (8, 8))] * 2
    assert [len(one) for one in look(named, images, ["7", "8"])] == [1, 0]
    assert not isinstance(remap_labels(Voc(), ("motorcycle",))[0], AnswersById)
    assert [one.labels for one in look(Voc(), images, ["7", "8"])] == [("kite", "motorbike")] * 2


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ({}, None),
        ({"w.names": "car\n\n cat \n", "classes.txt": "x"}, ("car", "cat")),
        ({"w.txt": "car"}, ("car",)),
        ({"classes.txt": "car"}, ("car",)),
        ({"coco.names": "car"}, ("car",)),
        ({"coco.names": "car", "voc.names": "cat"}, None),
        ({"coco.names": "car", "other.weights": ""}, None),
        ({"w.weights": "", "coco.names": "car", "results.txt": "x"}, ("car",)),
        ({"other.names": "car", "other.weights": "", "classes.txt": "cat"}, ("cat",)),
    ],
)
def test_names_beside_weights(files: dict[str, str], names: tuple[str, ...] | None, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert names_beside(tmp_path / "w.weights") == names


def test_names_of_a_darknet_run(tmp_path: Path) -> None:
    for name in ("cups", "cup", "coco"):
        (tmp_path / f"{name}.names").write_text(name)
    (tmp_path / "cups_best.weights").touch()
    assert names_beside(tmp_path / "cups_best.weights") == ("cups",)
    assert names_beside(tmp_path / "cocoa.weights") is None


def test_a_detector_that_knows_no_class_is_refused() -> None:
    check_knows(Voc(), ("kite", "tree"), "the data")
    check_knows(Voc(), (), "the data")
    many = [f"class{number}" for number in range(10)]
    with pytest.raises(DetectorError, match=r"voc knows no class of the data: it knows motorbike, kite.* and 2 more"):
        check_knows(Voc(), many, "the data")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\n", "it has none"), (b"car\ncar", "each once; car"), (b"\xff\xfe\xff", "cannot be read")],
)
def test_bad_lists_of_names(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(DetectorError, match=rf"classes\.txt .*{message}"):
        names_beside(tmp_path / "w.pth")
