"""Detectors of torchvision: the user's own weights give what torchvision gives; folders come in whole pieces."""

import hashlib
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import detection

from detdiffusion.core.files import checked
from detdiffusion.detectors import check_weights_file, detector_path, load_detector
from detdiffusion.detectors import folder as form
from detdiffusion.detectors.architectures import ARCHITECTURES, SMALL
from detdiffusion.detectors.folder import Description, read_weights, save_detector
from detdiffusion.detectors.torchvision import (
    TorchvisionDetector,
    build_model,
    load_torchvision,
    squared,
    start_from,
)
from detdiffusion.errors import DetectorError

LIGHT = "fasterrcnn_mobilenet_v3_large_320_fpn"
LABELS = ("car", "cup")
NAMES = detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]


def picture(width: int = 60, height: int = 40, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("weights were asked for")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)


@pytest.fixture(scope="module")
def coco_model() -> torch.nn.Module:
    """A model of torchvision with 91 outputs; its detections are of several classes, and some are of none of COCO's."""
    torch.manual_seed(0)
    model = detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=91, box_score_thresh=0.001
    )
    backbone: Any = model.backbone
    with torch.no_grad():  # random weights see the same everywhere, unless their contrast is raised
        for weight in backbone.body.parameters():
            weight.mul_(2 if weight.ndim == 4 else 1)
        backbone.fpn.inner_blocks[0][0].weight.mul_(30)
    return model.eval()


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = build_model(SMALL, len(LABELS) + 1, 64)
    folder = tmp_path_factory.mktemp("small") / "detector"
    save_detector(model, folder, Description("mine", SMALL, LABELS, 64, 0.4, "", form.TORCHVISION))
    return folder


@pytest.fixture
def folder(small_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_folder, tmp_path / "detector"))


# --- the user's weights ---------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", "checkpoint"])
def test_own_weights_give_what_torchvision_gives(coco_model: torch.nn.Module, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / ("w.pth" if suffix == "checkpoint" else f"w{suffix}")
    state = coco_model.state_dict()
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"model": state, "epoch": 3} if suffix == "checkpoint" else state, path)
    detector = load_detector(f"{LIGHT}={path}")
    assert detector.name == "w" and len(detector.labels) == 80 and detector.labels[:2] == ("person", "bicycle")
    assert detector.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    image = picture()
    (found,) = detector.detect([image])
    with torch.inference_mode():
        (reference,) = coco_model([torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255])
    rows = [i for i, label in enumerate(reference["labels"].tolist()) if NAMES[label] not in ("N/A", "__background__")]
    assert 0 < len(rows) < len(reference["labels"]), "some of what it names is no class"
    assert found.labels == tuple(NAMES[label] for label in reference["labels"][rows].tolist())
    np.testing.assert_allclose(found.scores, reference["scores"][rows], rtol=1e-5)
    np.testing.assert_allclose(found.boxes_xyxy * [60, 40, 60, 40], reference["boxes"][rows], atol=1e-3)


def test_a_checkpoint_may_not_grow_when_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {f"layer{number}": torch.zeros(1000) for number in range(9)}
    torch.save(state, tmp_path / "w.pth")
    check_weights_file(tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as whole, zipfile.ZipFile(tmp_path / "bomb.pth", "w", 8) as packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    with pytest.raises(DetectorError, match=r"bomb\.pth is refused: it is compressed"):
        check_weights_file(tmp_path / "bomb.pth")
    monkeypatch.setattr("detdiffusion.detectors.ZIP_FILES", 10)
    with pytest.raises(DetectorError, match=r"is refused: 1[0-9] files in it, a checkpoint has at most 10"):
        check_weights_file(tmp_path / "w.pth")


def saved(architecture: str, rows: int, path: Path) -> Path:
    save_file(build_model(architecture, rows).state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ("car\ncup", LABELS),
        ("__background__\ncar\ncup\n", LABELS),
        ("car\ncup\nN/A\n", None),
        ("car", None),
        (None, None),
    ],
)
def test_class_names_stand_beside_other_weights(
    names: str | None, labels: tuple[str, ...] | None, tmp_path: Path
) -> None:
    path = saved(LIGHT, 3, tmp_path / "w.safetensors")
    if names is not None:
        (tmp_path / "classes.txt").write_text(names)
    if labels is not None:
        assert load_torchvision(LIGHT, path).labels == labels
        return
    with pytest.raises(DetectorError, match=r"has 3 outputs.* (2 class names into w\.names|needs 2 class names)"):
        load_torchvision(LIGHT, path)


@pytest.mark.parametrize(
    ("architecture", "rows"), [("retinanet_resnet50_fpn", 2), ("ssdlite320_mobilenet_v3_large", 3)]
)
def test_other_families_count_their_outputs(architecture: str, rows: int, tmp_path: Path) -> None:
    """RetinaNet needs no output for the background: names may be as many as outputs."""
    path = saved(architecture, rows, tmp_path / "w.safetensors")
    (tmp_path / "w.names").write_text("\n".join(LABELS))
    assert load_torchvision(architecture, path).labels == LABELS


def test_weights_with_frozen_norms(tmp_path: Path) -> None:
    """As torchvision's own COCO weights: no counters, and nothing added to the variances."""
    model = detection.retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=2)
    state = {key: value.half() for key, value in model.state_dict().items() if "num_batches" not in key}
    save_file(state, tmp_path / "w.safetensors")
    (tmp_path / "w.names").write_text("\n".join(LABELS))
    loaded = load_torchvision("retinanet_resnet50_fpn", tmp_path / "w.safetensors")
    norms = [m for m in loaded._model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and all(norm.eps == 0 for norm in norms)


class Attack:
    """Unpickling this runs a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("attacked",)


def test_bad_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Attack()}, tmp_path / "attack.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Attack()))
    torch.save({"weights": [1, 2]}, tmp_path / "list.pth")
    saved(LIGHT, 3, tmp_path / "w.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:1000])
    for name, message in (
        (f"{LIGHT}=attack.pth", "attack.pth is refused: it holds more than weights, and could run code"),
        (f"{LIGHT}=bare.pth", r"bare\.pth (is refused|cannot be read)"),
        (f"{LIGHT}=list.pth", "holds no weights by name"),
        (f"{LIGHT}=cut.safetensors", "cannot be read"),
        (f"{LIGHT}=absent.pth", "absent.pth: no such file"),
        ("fasterrcnn_resnet50_fpn=w.safetensors", "does not fit fasterrcnn_resnet50_fpn"),
        ("retinanet_resnet50_fpn=w.safetensors", r"has no head\.classification_head"),
        ("fasterrcnn=w.safetensors", f"'fasterrcnn' is no architecture .*{LIGHT}"),
        ("w.safetensors", f"write ARCHITECTURE=w.safetensors, with one of .*{LIGHT}"),
    ):
        (tmp_path / "classes.txt").write_text("car\ncup")
        with pytest.raises(DetectorError, match=message):
            load_detector(name)
    assert not (tmp_path / "attacked").exists()


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_is_half_precision_in_files_of_15_mb(small_folder: Path) -> None:
    about = json.loads((small_folder / "detector.json").read_text())
    assert (about["kind"], about["architecture"], about["imgsz"]) == ("torchvision", SMALL, 64)
    files = sorted(small_folder.glob("*.safetensors"))
    assert len(files) > 1 and all(file.stat().st_size <= 15_000_000 for file in files)
    hashes = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert about["files"] == hashes
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in hashes.items())
    assert about["sha256"] == hashlib.sha256(lines.encode()).hexdigest()


def test_a_folder_detects_in_fractions_and_does_not_depend_on_the_batch(small_folder: Path) -> None:
    detector = load_detector(small_folder)
    assert isinstance(detector, TorchvisionDetector)
    assert (detector.name, detector.labels, detector.min_score, detector.image_size) == ("mine", LABELS, 0.4, 64)
    images = [picture(), picture(20, 70), Image.new("L", (30, 30)), *[picture(seed=2)] * 15]
    together = detector.detect(images)
    assert len(together) == len(images)
    for image, found in zip(images[:3], together, strict=False):
        (alone,) = detector.detect([image])
        assert alone.labels == found.labels and len(found) <= 100
        np.testing.assert_allclose(alone.scores, found.scores, atol=1e-4)
        assert ((found.boxes_xyxy >= 0) & (found.boxes_xyxy <= 1)).all()
    assert detector.detect([]) == []


def test_features_of_pictures(small_folder: Path, coco_model: torch.nn.Module, tmp_path: Path) -> None:
    """A row a picture, the same whatever stands beside it; other pictures have others."""
    save_file(coco_model.state_dict(), tmp_path / "theirs.safetensors")
    images = [picture(), picture(80, 50, 1), picture(64, 64, 2)]
    for asked in (str(small_folder), f"{LIGHT}={tmp_path / 'theirs.safetensors'}"):
        detector: Any = load_detector(asked)
        found = detector.features(images)
        assert found.shape[0] == 3 and np.isfinite(found).all()
        np.testing.assert_array_equal(found[1:], detector.features(images[1:]))
        assert np.abs(found[0] - found[1]).max() > 1e-4


@pytest.mark.parametrize(("limit", "files"), [(4000, 4), (100, 11), (10**6, 1)])
def test_tensors_larger_than_a_file_are_cut_and_put_together(
    limit: int, files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form, "_FILE_BYTES", limit)
    model = torch.nn.Sequential(torch.nn.Linear(6, 40), torch.nn.BatchNorm1d(40), torch.nn.Linear(40, 100))
    about = Description("x", "y", ("car",), 8, 0.5, "")
    for _ in range(2):  # the second time over the first
        save_detector(model, tmp_path, about)
    found = sorted(tmp_path.glob("*.safetensors"))
    assert (len(found) == files) if files < 10 else len(found) > 10
    stored = read_weights(tmp_path, form.read_description(tmp_path))
    assert stored.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(stored[name], tensor.half() if tensor.is_floating_point() else tensor)


def describe(folder: Path, **changes: Any) -> None:
    about = json.loads((folder / "detector.json").read_text())
    (folder / "detector.json").write_text(json.dumps({**checked(about), **changes}))


def flip_a_byte(folder: Path) -> None:
    weights = sorted(folder.glob("*.safetensors"))[1]
    content = bytearray(weights.read_bytes())
    content[-1000] ^= 1
    weights.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (flip_a_byte, r"model-00002-of-\d+.safetensors is damaged: its SHA-256 is [0-9a-f]{64}, .* says [0-9a-f]{64}"),
        (lambda folder: sorted(folder.glob("*.safetensors"))[0].unlink(), "00001-of-.* is missing"),
        (lambda folder: describe(folder, files={"../x": "0"}), "detector.json is damaged"),
        (lambda folder: describe(folder, files=["x"]), "detector.json is damaged"),
        (lambda folder: describe(folder, labels=["car"]), f"does not fit {SMALL}"),
        (lambda folder: describe(folder, architecture=LIGHT), f"does not fit {LIGHT}"),
        (lambda folder: describe(folder, architecture="yolo"), "'yolo' is no architecture of torchvision"),
        (lambda folder: describe(folder, kind="other"), "says kind 'other'; known: torchvision, ultralytics"),
    ],
)
def test_a_damaged_folder_is_refused(folder: Path, harm: Callable[[Path], None], message: str) -> None:
    harm(folder)
    with pytest.raises(DetectorError, match=message):
        load_detector(folder)


# --- building -------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_is_built_for_small_pictures(architecture: str) -> None:
    model = build_model(architecture, 3, 96).eval()
    with torch.inference_mode():
        (output,) = model([torch.rand(3, 96, 96)])
    assert output["boxes"].shape[1] == 4 and len(output["labels"]) <= 100
    assert set(output["labels"].tolist()) <= {0, 1, 2}


@pytest.mark.parametrize(
    ("size", "inside"), [((64, 64), (32, 32)), ((64, 32), (32, 16)), ((10, 40), (8, 32)), ((400, 1), (32, 1))]
)
def test_squares_keep_the_shape(size: tuple[int, int], inside: tuple[int, int]) -> None:
    pixels, found = squared(Image.new("RGB", size, (200, 0, 0)), 32)
    width, height = inside
    assert pixels.shape == (32, 32, 3) and found == inside
    assert (pixels[:height, :width] == (200, 0, 0)).all()
    assert (pixels == (124, 116, 104)).all(-1).sum() == 32 * 32 - width * height


def test_a_start_takes_what_fits(tmp_path: Path) -> None:
    """A whole detector with other classes, or the backbone alone; something else is refused."""
    from torchvision.models import resnet18

    whole, backbone = build_model(SMALL, 5, 64), resnet18(weights=None)
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    torch.save(backbone.state_dict(), tmp_path / "backbone.pth")
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    model = build_model(SMALL, 3, 64)
    assert start_from(model, tmp_path / "whole.safetensors") == len(model.state_dict()) - 4
    assert torch.equal(
        model.state_dict()["rpn.head.cls_logits.weight"], whole.state_dict()["rpn.head.cls_logits.weight"]
    )
    assert start_from(model, tmp_path / "backbone.pth") == len(backbone.state_dict()) - 2
    assert torch.equal(model.state_dict()["backbone.body.conv1.weight"], backbone.conv1.weight)
    with pytest.raises(DetectorError, match="nothing in it fits"):
        start_from(model, tmp_path / "other.safetensors")


# --- which one ------------------------------------------------------------------------------------


def test_paths_mean_the_same_everywhere(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "model"
    shutil.copytree(folder, model / "detectors" / "mine")
    (tmp_path / "w.pth").write_bytes(b"PK")
    monkeypatch.chdir(tmp_path)
    for typed, path in (
        ("mine", str(model / "detectors" / "mine")),
        ("detector", str(folder)),
        ("w.pth", str(tmp_path / "w.pth")),
        (f"{LIGHT}=w.pth", f"{LIGHT}={tmp_path / 'w.pth'}"),
    ):
        assert detector_path(typed, model) == path
    for typed in ("absent", f"{LIGHT}=absent.pth", "../model/detectors/x"):
        with pytest.raises(
            DetectorError, match=r"no detector at .*one of this model's \(mine\); it may be a detector folder"
        ):
            detector_path(typed, model)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nowhere",
            "no such detector 'nowhere', no file and no folder; it may be .*RT-DETR.*YOLOv4.*COCO results",
        ),
        ("notes.doc", "nothing is known of such a file"),
        ("net.weights", "no weights file of Darknet"),
    ],
)
def test_an_unknown_one_lists_what_is_possible(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("notes.doc", "net.weights"):
        (tmp_path / file).touch()
    with pytest.raises(DetectorError, match=message):
        load_detector(name)
