"""Checkpoints of ultralytics and of its forerunners: which serve as detectors, and what is said of the others."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from checkpoints import save_ultralytics
from PIL import Image

from detdiffusion.detection import identity
from detdiffusion.detectors import load_detector
from detdiffusion.detectors.names import remap_labels
from detdiffusion.errors import DetectorError

LABELS = ("car", "cup")


@pytest.mark.parametrize(
    ("kind", "architecture", "head"),
    [
        ("SegmentationModel", "yolo11n-seg.yaml", "Segment"),
        ("PoseModel", "yolo11n-pose.yaml", "Pose"),
        ("SegmentationModel", "yolo26n-seg.yaml", "Segment26"),
        ("DetectionModel", "yolov10n.yaml", "v10Detect"),
    ],
)
def test_every_head_that_finds_upright_boxes(kind: str, architecture: str, head: str, tmp_path: Path) -> None:
    detector = load_detector(save_ultralytics(kind, architecture, LABELS, tmp_path / "w.pt"))
    (found,) = detector.detect([Image.new("RGB", (64, 48), "grey")])
    assert len(found) <= 100 and set(found.labels) <= set(LABELS) == set(detector.labels)
    about = identity(detector)
    assert (about["head"], about["image_size"], about["thresholds"]["nms_iou"]) == (head, 64, 0.6)
    renamed, _ = remap_labels(detector, ("Car",))
    assert renamed is not detector and identity(renamed) == about


def test_turned_boxes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match=r"w\.pt holds OBBModel; a detector needs .* upright boxes"):
        load_detector(save_ultralytics("OBBModel", "yolo11n-obb.yaml", LABELS, tmp_path / "w.pt"))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("models.yolo", r"w\.pt is of the old YOLOv5 .*\(models\.yolo\.Net.*yolov5nu\.pt.*save-json"),
        ("their_program", r"w\.pt is refused: .*\(their_program\.Net"),
    ],
)
def test_classes_of_other_programs_are_named(
    module: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("models", module):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    theirs = type("Net", (torch.nn.Linear,), {"__module__": module})
    monkeypatch.setattr(sys.modules[module], "Net", theirs, raising=False)
    torch.save({"model": theirs(2, 2)}, tmp_path / "w.pt")  # type: ignore[call-arg]
    torch.save({"model": theirs(2, 2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)  # type: ignore[call-arg]
    monkeypatch.undo()
    with pytest.raises(DetectorError, match=message):
        load_detector(tmp_path / "w.pt")
    with pytest.raises(DetectorError, match="YOLOv5" if module.startswith("models") else "is not a checkpoint"):
        load_detector(tmp_path / "old.pt")
