"""The adapter: trains, resumes, loads, refuses, and leaves the process as it was."""

import hashlib
import json
import os
import pickle
import random
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

from detdiffusion.core.files import checked
from detdiffusion.detection import SeesFeatures
from detdiffusion.detectors import load_detector
from detdiffusion.detectors.folder import Description, save_detector
from detdiffusion.detectors.ultralytics.detector import UltralyticsDetector
from detdiffusion.detectors.ultralytics.images import Frame, letterbox, stretch
from detdiffusion.detectors.ultralytics.library import build, contained
from detdiffusion.detectors.ultralytics.training import train_ultralytics
from detdiffusion.detectors.ultralytics.yolo_folder import write_yolo_folder
from detdiffusion.errors import ConfigError, DataError, DetectorError
from detdiffusion.layout import Box, Layout

LABELS = ("car", "traffic light")
SETTINGS: dict[str, Any] = {"image_size": 32, "epochs": 2, "batch": 4, "seed": 0}


class Stopped(Exception):
    """Raised by a test inside a training, in place of a kill."""


def sample(seed: int) -> tuple[Image.Image, Layout]:
    """A red car on grey paper, and a road, which is no thing."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.05, 0.45, 2).tolist()
    box = (x, y, x + 0.5, y + 0.5)
    image = Image.new("RGB", (64, 48), "grey")
    ImageDraw.Draw(image).rectangle((box[0] * 64, box[1] * 48, box[2] * 64, box[3] * 48), fill="red")
    return image, Layout(64, 48, (Box("car", box), Box("road", (0, 0.5, 1, 1))))


@pytest.fixture(scope="session")
def yolo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("yolo")
    write_yolo_folder(folder, map(sample, range(8)), LABELS, "train")
    write_yolo_folder(folder, map(sample, range(8, 10)), LABELS, "val")
    return folder


@pytest.fixture(scope="session")
def trained(yolo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector folder, trained in two goes: stopped after its first epoch, then run again."""
    out = tmp_path_factory.mktemp("run")
    epochs: list[tuple[int, int, int]] = []

    def report(epoch: int, of: int, metrics: dict[str, float]) -> None:
        assert {"loss", "AP50", "mAP"} <= set(metrics)
        epochs.append((epoch, of, torch.get_num_threads()))
        if len(epochs) == 1:
            raise Stopped

    threads = torch.get_num_threads()
    with pytest.raises(Stopped):
        train_ultralytics("yolo11n.yaml", yolo_folder, LABELS, out=out, on_epoch=report, **SETTINGS)
    (out / "weights" / ".last.pt~elsewhere~1.1").write_bytes(b"a kill in the middle of writing leaves this")
    folder = train_ultralytics("yolo11n.yaml", yolo_folder, LABELS, out=out, on_epoch=report, **SETTINGS)
    assert epochs == [(1, 2, threads), (2, 2, threads)]
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "detector"))


def test_yolo_folder_holds_things_only(yolo_folder: Path) -> None:
    image, layout = sample(0)
    with Image.open(yolo_folder / "train/images/000000.png") as stored:
        np.testing.assert_array_equal(np.asarray(stored), np.asarray(image))
    index, *centre_size = (yolo_folder / "train/labels/000000.txt").read_text().split()
    x1, y1, x2, y2 = layout.boxes[0].xyxy
    assert index == "0"
    assert [float(value) for value in centre_size] == pytest.approx([(x1 + x2) / 2, (y1 + y2) / 2, 0.5, 0.5], abs=1e-6)


@pytest.mark.slow
def test_trained_folder_is_half_precision_and_hashed(trained: Path) -> None:
    about = checked(json.loads((trained / "detector.json").read_text()))
    digest = hashlib.sha256((trained / "model.safetensors").read_bytes()).hexdigest()
    expected = {
        "name": "yolo11n",
        "architecture": "yolo11n.yaml",
        "labels": list(LABELS),
        "imgsz": 32,
        "min_score": 0.5,
        "kind": "ultralytics",
    }
    assert about == {**expected, "sha256": digest}
    kinds = {tensor.dtype for tensor in load_file(trained / "model.safetensors").values()}
    assert kinds == {torch.float16, torch.int64}


def test_finished_training_is_not_done_again(trained: Path, yolo_folder: Path) -> None:
    before = (trained / "model.safetensors").stat().st_mtime_ns
    again = train_ultralytics("yolo11n.yaml", yolo_folder, LABELS, out=trained.parent, **SETTINGS)
    assert again == trained
    assert (trained / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"epochs": 3}, ConfigError, r"other settings: epochs was"),
        ({"mosaic": 0.5}, ConfigError, r"other settings: mosaic was"),
    ],
)
def test_resume_with_other_settings_is_refused(
    trained: Path, yolo_folder: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train_ultralytics("yolo11n.yaml", yolo_folder, LABELS, out=trained.parent, **{**SETTINGS, **changes})


@pytest.mark.parametrize(
    ("architecture", "changes", "error", "message"),
    [
        ("yolo11n.pt", {}, DetectorError, "no built-in architecture"),
        ("../../etc/passwd", {}, DetectorError, "no built-in architecture"),
        ("yolo11n.yaml", {"mosaik": 0.5}, ConfigError, "refuses a setting"),
        ("yolo11n.yaml", {"lr0": -1.0}, ConfigError, "refuses a setting"),
        ("yolo11n.yaml", {"pretrained": "yolo11n.pt"}, ConfigError, "only settings that are numbers"),
    ],
)
def test_bad_training_settings_are_refused(
    yolo_folder: Path, tmp_path: Path, architecture: str, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train_ultralytics(architecture, yolo_folder, LABELS, out=tmp_path, **{**SETTINGS, **changes})
    assert not list(tmp_path.iterdir())  # the next try may use the folder


def test_training_needs_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is missing or empty"):
        train_ultralytics("yolo11n.yaml", tmp_path, LABELS, out=tmp_path / "out", **SETTINGS)


def test_detects_in_fractions_and_does_not_depend_on_the_batch(trained: Path) -> None:
    detector = load_detector(trained)
    assert (detector.name, detector.labels, detector.min_score) == ("yolo11n", LABELS, 0.5)
    images = [Image.new("RGB", (64, 48), "red"), Image.new("L", (20, 50)), Image.new("RGBA", (32, 32))]
    together = detector.detect([*images, *[sample(1)[0]] * 35])
    assert len(together) == 38
    for image, found in zip(images, together, strict=False):
        (alone,) = detector.detect([image])
        assert alone.labels == found.labels
        np.testing.assert_allclose(alone.scores, found.scores, atol=1e-4)
        assert len(found) <= 100
        assert ((found.boxes_xyxy >= 0) & (found.boxes_xyxy <= 1)).all()
    assert detector.detect([]) == []


def test_features_are_of_the_layers_that_feed_the_head(trained: Path) -> None:
    """A picture at a time or all at once; three levels, which see a change of the picture."""
    detector: Any = load_detector(trained)
    images = [sample(seed)[0] for seed in range(3)]
    together = detector.features(images)
    assert together.dtype == np.float32 and together.shape == (3, 64 + 128 + 256)
    alone = np.concatenate([detector.features([image]) for image in images])
    assert together == pytest.approx(alone, abs=1e-4)
    assert np.abs(together[0] - together[1]).max() > 10 * np.abs(together - alone).max(), "more than rounding"
    assert len(detector.detect(images)) == 3, "the tap is gone again"


def test_early_features_halve_the_picture_and_let_gradients_through(trained: Path) -> None:
    detector = load_detector(trained)
    assert isinstance(detector, SeesFeatures)
    pictures = torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    levels = detector.early_features(pictures)
    assert [tuple(level.shape) for level in levels] == [(2, 16, 32, 16), (2, 64, 16, 8), (2, 128, 8, 4), (2, 128, 4, 2)]
    sum(level.sum() for level in levels).backward()  # type: ignore[union-attr]
    assert pictures.grad is not None and (pictures.grad != 0).all()


@pytest.mark.parametrize(
    ("size", "frame"),
    [((64, 64), Frame(0, 0, 32, 32)), ((64, 32), Frame(0, 8, 32, 16)), ((10, 40), Frame(12, 0, 8, 32))],
)
def test_letterbox_keeps_the_shape(size: tuple[int, int], frame: Frame) -> None:
    square, found = letterbox(Image.new("RGB", size, (200, 0, 0)), 32)
    assert found == frame
    inside = square[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
    assert (inside == (200, 0, 0)).all()
    assert (square == 114).all(-1).sum() == 32 * 32 - frame.width * frame.height


def flip_a_byte(folder: Path) -> None:
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1000] ^= 1
    (folder / "model.safetensors").write_bytes(weights)


def replace_weights(folder: Path, tensors: dict[str, torch.Tensor] | bytes) -> None:
    """Other weights, with a description that vouches for them."""
    path = folder / "model.safetensors"
    if isinstance(tensors, bytes):
        path.write_bytes(tensors)
    else:
        save_file(tensors, path)
    describe(folder, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def describe(folder: Path, **changes: Any) -> None:
    about = json.loads((folder / "detector.json").read_text())
    (folder / "detector.json").write_text(json.dumps({**checked(about), **changes}))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (flip_a_byte, r"damaged: its SHA-256 is [0-9a-f]{64}, detector.json says [0-9a-f]{64}"),
        (lambda folder: (folder / "model.safetensors").unlink(), "is missing: this is not a detector folder"),
        (lambda folder: (folder / "detector.json").unlink(), "is missing: this is not a detector folder"),
        (lambda folder: (folder / "detector.json").write_text("{"), "detector.json is damaged"),
        (lambda folder: (folder / "detector.json").write_text("[]"), "detector.json is damaged"),
        (lambda folder: describe(folder, labels=3), "detector.json is damaged"),
        (lambda folder: describe(folder, labels=["car"]), "does not fit yolo11n.yaml"),
        (lambda folder: describe(folder, architecture="yolo11s.yaml"), "does not fit yolo11s.yaml"),
        (lambda folder: describe(folder, architecture="/etc/passwd"), "no built-in architecture"),
        (lambda folder: replace_weights(folder, {"a": torch.zeros(1)}), "does not fit"),
        (lambda folder: replace_weights(folder, pickle.dumps({"a": 1})), "cannot be read"),
    ],
)
def test_damaged_folder_is_refused(folder: Path, harm: Any, message: str) -> None:
    harm(folder)
    with pytest.raises(DetectorError, match=message):
        load_detector(folder)


def test_own_pt_file_gives_the_same_detections(trained: Path) -> None:
    """The library's own checkpoint of the same training, read through safe loading."""
    detector = load_detector(trained.parent / "weights" / "last.pt")
    assert detector.labels == LABELS
    image = sample(3)[0]
    ours, theirs = load_detector(trained).detect([image])[0], detector.detect([image])[0]
    assert ours.labels == theirs.labels
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=2e-3)


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small RT-DETR with random weights: a detector folder, and the library's own .pt beside it."""
    out = tmp_path_factory.mktemp("rtdetr")
    with contained():
        torch.manual_seed(0)
        model = build("yolov8n-rtdetr.yaml", LABELS)
        torch.save({"ema": model, "train_args": {"imgsz": 64}}, out / "last.pt")
    save_detector(model, out / "model", Description("rtdetr", "yolov8n-rtdetr.yaml", LABELS, 64, 0.5, ""))
    return out


def test_rtdetr_gives_what_the_library_gives(transformer: Path) -> None:
    """Stretched to a square, nothing suppressed; against the library's own steps behind its head."""
    from ultralytics.models.rtdetr.predict import RTDETRPredictor
    from ultralytics.utils import ops

    assert RTDETRPredictor.scale_fill, "the library stretches images"
    detector: Any = load_detector(transformer / "last.pt")
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    (found,) = detector.detect([Image.fromarray(pixels)])
    with torch.inference_mode():
        rows = detector._model(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)[0][0]
    best = rows[rows[:, 4].argsort(descending=True, stable=True)][:100]
    np.testing.assert_allclose(found.scores, best[:, 4], atol=1e-6)
    np.testing.assert_allclose(found.boxes_xyxy, ops.xywh2xyxy(best[:, :4]).clip(0, 1), atol=1e-5)
    assert found.labels == tuple(LABELS[int(index)] for index in best[:, 5])
    wide = Image.fromarray(pixels).resize((128, 32), Image.Resampling.NEAREST)
    assert stretch(wide, 64)[1] == Frame(0, 0, 64, 64)


def test_rtdetr_folder_and_pt_file_see_the_same(transformer: Path) -> None:
    ours, theirs = load_detector(transformer / "model"), load_detector(transformer / "last.pt")
    assert ours.labels == theirs.labels == LABELS
    image = sample(3)[0]
    np.testing.assert_allclose(ours.detect([image])[0].scores, theirs.detect([image])[0].scores, atol=2e-3)


@pytest.mark.slow
@pytest.mark.long
def test_rtdetr_is_trained(yolo_folder: Path, tmp_path: Path) -> None:
    settings = {**SETTINGS, "image_size": 64, "epochs": 1}
    folder = train_ultralytics("yolov8n-rtdetr.yaml", yolo_folder, LABELS, out=tmp_path, **settings)
    assert json.loads((folder / "detector.json").read_text())["architecture"] == "yolov8n-rtdetr.yaml"
    (found,) = load_detector(folder).detect([sample(1)[0]])
    assert 0 < len(found) <= 100


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        ("yolo11n.yaml", "DetectionModel"),
        ("yolov10n.yaml", "DetectionModel"),
        ("yolo26n.yaml", "DetectionModel"),
        ("rtdetr-l.yaml", "RTDETRDetectionModel"),
    ],
)
def test_architectures_by_name(architecture: str, kind: str) -> None:
    """Of every generation: with suppression behind the head, without it, and a transformer."""
    with contained():
        model = build(architecture, LABELS)
    assert type(model).__name__ == kind
    detector = UltralyticsDetector(model, Description("x", architecture, LABELS, 64, 0.5, ""))
    (found,) = detector.detect([sample(0)[0]])
    assert len(found) <= 100 and set(found.labels) <= set(LABELS)


class Attack:
    """Unpickling this runs a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("attacked",)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_pickle_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "bad.pt"
    if form == "torch":
        torch.save({"model": Attack()}, file)
    else:
        file.write_bytes(pickle.dumps({"model": Attack()}))
    with pytest.raises(DetectorError, match=r"bad\.pt (is refused|is not a checkpoint)"):
        load_detector(file)
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("name", ["yolo11n.pt", "https://example.com/yolo11n.pt", "yolov5s.pt", "nowhere"])
def test_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(DetectorError, match="no such detector"):
        load_detector(name)
    assert not list(tmp_path.iterdir())


def test_missing_library_is_named(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics.utils", None)
    with pytest.raises(DetectorError, match="need ultralytics: pip install"):
        load_detector(trained)


def test_named_detectors_of_a_model(folder: Path, tmp_path: Path) -> None:
    inside = tmp_path / "model" / "detectors"
    shutil.copytree(folder, inside / "bundled")
    assert load_detector("bundled", tmp_path / "model").labels == LABELS
    assert load_detector(folder, tmp_path / "model").labels == LABELS
    for name in ("judge", "../detectors/bundled/x"):
        with pytest.raises(DetectorError, match=r"neither a path nor one of this model's \(bundled\)"):
            load_detector(name, tmp_path / "model")


def test_process_is_left_as_it_was(trained: Path) -> None:
    """Nothing that the library changes at import or in calls stays changed; its settings are not written at home."""
    environment, functions = dict(os.environ), (torch.save, Image.open)
    random.seed(1)
    torch.manual_seed(1)
    states = random.getstate(), torch.get_rng_state()
    threads = torch.get_num_threads()
    load_detector(trained).detect([sample(0)[0]])
    assert dict(os.environ) == environment
    assert (torch.save, Image.open) == functions
    assert torch.get_num_threads() == threads
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])


@pytest.mark.process
@pytest.mark.long
def test_fresh_process_is_left_as_it_was(trained: Path, tmp_path: Path) -> None:
    """As above, where the library is first imported by this very call."""
    code = (
        "import os, sys, cv2, torch\n"
        "from pathlib import Path\n"
        "from PIL import Image\n"
        "torch.set_num_threads(3)\n"
        "def state(): return dict(os.environ), torch.get_num_threads(), cv2.getNumThreads(), torch.save, Image.open\n"
        "before = state()\n"
        "from detdiffusion.detectors import load_detector\n"
        "load_detector(Path(sys.argv[1]))\n"
        "assert before == state(), 'changed'\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"} | {
        "HOME": str(tmp_path)
    }
    done = subprocess.run(
        [sys.executable, "-c", code, str(trained)], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert not [path for path in tmp_path.rglob("*") if "ltralytics" in path.name]


@pytest.mark.process
@pytest.mark.long
def test_killed_training_goes_on(yolo_folder: Path, tmp_path: Path) -> None:
    """kill -9 inside the first epoch's report; the same call then finishes and exports."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from detdiffusion.detectors.ultralytics.training import train_ultralytics\n"
        "def report(epoch, epochs, metrics):\n"
        "    print(epoch, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "train_ultralytics('yolo11n.yaml', Path(sys.argv[1]), ('car', 'traffic light'), image_size=32, epochs=2,\n"
        "                  batch=4, seed=0, out=Path(sys.argv[2]), on_epoch=report)\n"
    )
    command = [sys.executable, "-c", code, str(yolo_folder), str(tmp_path)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [line for line in killed.stdout.splitlines() if line.isdecimal()] == ["1"]
    epochs: list[int] = []

    def report(epoch: int, *_: object) -> None:
        epochs.append(epoch)

    train_ultralytics("yolo11n.yaml", yolo_folder, LABELS, out=tmp_path, on_epoch=report, **SETTINGS)
    assert epochs == [2]
    assert load_detector(tmp_path / "model").labels == LABELS
