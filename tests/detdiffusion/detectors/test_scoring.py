"""A detector's confidence in given boxes: what `detect` says of them, with a gradient that reaches the image."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.detection import Detections, Detector, scores_boxes
from detdiffusion.detectors import load_detector
from detdiffusion.detectors.folder import Description
from detdiffusion.detectors.names import remap_labels
from detdiffusion.detectors.scoring import Candidates, box_iou, fit_square, score_candidates
from detdiffusion.detectors.torchvision import TorchvisionDetector, build_model, squared
from detdiffusion.detectors.ultralytics.detector import UltralyticsDetector
from detdiffusion.detectors.ultralytics.images import letterbox
from detdiffusion.detectors.ultralytics.library import build, contained
from detdiffusion.errors import DetectorError
from detdiffusion.evaluation.comparison import object_confidences
from training.data.papercut.scene import scene

CPU = torch.device("cpu")
LABELS = ("car", "cup", "tv")
BOXES = torch.tensor([[0.1, 0.1, 0.6, 0.6], [0.2, 0.5, 0.9, 0.9]])


def tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()[None] / 255


def about(architecture: str) -> Description:
    return Description(architecture, architecture, LABELS, 96, 0.5, "0" * 64)


def yolo(architecture: str) -> UltralyticsDetector:
    torch.manual_seed(0)
    with contained():
        model = build(architecture, LABELS)
    return UltralyticsDetector(model, about(architecture), CPU)


def of_torchvision(architecture: str) -> TorchvisionDetector:
    torch.manual_seed(0)
    rows = ("background", *LABELS)
    return TorchvisionDetector(build_model(architecture, 4, 96), about(architecture), rows, square=True, device=CPU)


@pytest.mark.model
def test_the_score_of_a_box_is_near_what_is_detected_there() -> None:
    """Trained detector, real scene: objects that it finds, one in the wrong place, one of another class."""
    detector = load_detector("bundled", BUNDLED_MODEL, device=CPU)
    made = scene(900_001)
    image, layout = made.image, made.things
    (found,) = detector.detect([image])
    sure = object_confidences(layout, found, known_labels=detector.labels)
    boxes, labels = torch.tensor([box.xyxy for box in layout.boxes]), list(layout.labels)
    x = tensor(image).requires_grad_()
    (scores,) = scores_boxes(detector).score(x, [boxes], [labels])
    for score, value in zip(scores.tolist(), np.nan_to_num(sure), strict=True):
        assert score == pytest.approx(value, abs=0.2)
    assert max(scores.tolist()) > 0.6
    best = int(scores.argmax())
    (slope,) = torch.autograd.grad(scores[best], x)
    with torch.no_grad():
        (moved,) = scores_boxes(detector).score(x - 0.02 * slope.sign(), [boxes], [labels])
    assert moved[best] < scores[best] - 0.1, "down along the gradient the detector is less sure"


@pytest.mark.parametrize("architecture", ["yolo11n.yaml", "yolo11n-seg.yaml", "yolov10n.yaml"])
def test_every_head_of_yolo_has_a_gradient(architecture: str) -> None:
    check_gradient(yolo(architecture))


@pytest.mark.parametrize(
    "architecture",
    ["fasterrcnn_mobilenet_v3_large_320_fpn", "retinanet_resnet50_fpn", "ssdlite320_mobilenet_v3_large"],
)
def test_every_head_of_torchvision_has_a_gradient(architecture: str) -> None:
    check_gradient(of_torchvision(architecture))


def check_gradient(detector: Detector) -> None:
    detector.detect([Image.new("RGB", (64, 48), "red")])  # what it leaves behind must not stand in the way
    x = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    names = [["car", "zebra"], ["tv", "cup"]]
    scores = scores_boxes(detector).score(x, [BOXES, BOXES], names)
    assert [score.shape for score in scores] == [(2,), (2,)]
    assert scores[0][1] == 0, "it does not know zebras"
    assert all(0 <= value <= 1 for score in scores for value in score.tolist())
    (slope,) = torch.autograd.grad(scores[0].sum() * 1e6, x)
    assert slope[0].abs().sum() > 0 and slope[1].abs().sum() == 0


def test_queries_of_rt_detr_are_objects_of_one_class() -> None:
    detector = yolo("rtdetr-l.yaml")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8))
    (found,) = detector.detect([image])
    x = tensor(image).requires_grad_()
    (scores,) = detector.score(x, [torch.tensor(found.boxes_xyxy[:1])], [[found.labels[0]]])
    assert scores[0] > 0
    (slope,) = torch.autograd.grad(scores.sum(), x)
    assert slope.abs().sum() > 0


def test_names_of_the_data_are_those_of_the_detector() -> None:
    detector = yolo("yolo11n.yaml")
    renamed, _ = remap_labels(detector, ("automobile", "TV"))
    assert "TV" in renamed.labels
    x = torch.rand(1, 3, 48, 64)
    (own,), (theirs,) = (
        scores_boxes(one).score(x, [BOXES], [[name] * 2]) for one, name in ((detector, "tv"), (renamed, "TV"))
    )
    assert torch.equal(own, theirs) and own.max() > 0


def test_who_gives_no_gradient_says_so() -> None:
    class Blind:
        name, sha256, labels, min_score = "blind", "0" * 64, LABELS, 0.5

        def detect(self, images: list[Image.Image]) -> list[Detections]:
            return [Detections((), np.zeros(0), np.zeros((0, 4))) for _ in images]

    with pytest.raises(DetectorError, match="blind cannot guide images: it gives no gradient"):
        scores_boxes(Blind())
    renamed, _ = remap_labels(Blind(), ("TV",))
    with pytest.raises(DetectorError, match="blind cannot guide images"):
        scores_boxes(renamed)


def test_candidates_on_the_box_count_and_the_nearest_ones() -> None:
    found = Candidates(
        torch.tensor([[0, 0, 0.5, 0.5], [0, 0, 0.45, 0.5], [0.5, 0.5, 1, 1], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1]]),
        torch.tensor([[0.9, 0.2, 0.8, 0.1, 0.1], [0.1, 0.1, 0.3, 0.1, 0.1]]),
    )
    on_it = score_candidates([found], [torch.tensor([[0, 0, 0.5, 0.5]])], [[0]])[0]
    assert 0.75 < on_it.item() < 0.9
    (other, none) = score_candidates([found], [torch.tensor([[0.5, 0.5, 1, 1]] * 2)], [[1, -1]])[0].tolist()
    assert 0.1 < other <= 0.3 and none == 0


def test_iou_of_boxes() -> None:
    a = torch.tensor([[0, 0, 0.5, 1.0], [0.0, 0, 0, 0]])
    assert torch.allclose(box_iou(a, torch.tensor([[0.25, 0, 0.75, 1]])), torch.tensor([[1 / 3], [0]]))


@pytest.mark.parametrize(("width", "height"), [(64, 48), (30, 90)])
def test_squares_are_those_of_images(width: int, height: int) -> None:
    """As the two libraries' own resizing makes them of PIL images, to within rounding and their way of averaging."""
    image = Image.new("RGB", (width, height), (200, 40, 10))
    image.paste((10, 90, 200), (0, 0, width // 2, height))
    for fit, centred, level in ((letterbox, True, [114] * 3), (squared, False, [124, 116, 104])):
        pixels, where = fit(image, 96)
        square, frame = fit_square(tensor(image), 96, [c / 255 for c in level], centred=centred)
        assert (square[0].permute(1, 2, 0).numpy() * 255 - pixels).__abs__().mean() < 2
        size = (where.width, where.height) if centred else where  # type: ignore[attr-defined]
        assert tuple(frame[2:].tolist()) == size
