"""YOLOv4 from Darknet's files: against OpenCV 4's importer, plain loops, and the size of the published weights."""

import hashlib
import math
import os
import struct
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detdiffusion.detection import iou
from detdiffusion.detectors import load_detector
from detdiffusion.detectors.darknet import Network, Section, parse_cfg, read_weights
from detdiffusion.detectors.yolov4 import decode, fitted, load_yolov4, standard_yolov4, suppress
from detdiffusion.errors import DetectorError
from detdiffusion.text.vocabulary import COCO_THINGS

HERE = Path(__file__).parent
# OpenCV's answers on the files that this test writes; its version is inside. To make them again:
#   DETDIFFUSION_OPENCV4_OUT=tests/detdiffusion/yolov4_opencv.npz make check-yolov4
GOLDEN = HERE / "yolov4_opencv.npz"
SCRIPT = HERE.parent / "opencv4" / "forward.py"
LABELS = ("person", "car", "dog")
SIZE = (48, 32)  # width, height


# --- files in Darknet's form: small networks of the same parts as the published ones ---


def conv(filters: int, size: int, activation: str = "mish", stride: int = 1, more: str = "batch_normalize=1\n") -> str:
    return f"[convolutional]\nfilters={filters}\nsize={size}\nstride={stride}\npad=1\nactivation={activation}\n{more}"


def route(*layers: int, more: str = "") -> str:
    return f"[route]\nlayers={','.join(map(str, layers))}\n{more}"


def pool(size: int, stride: int = 1) -> str:
    return f"[maxpool]\nstride={stride}\nsize={size}\n"


def yolo(mask: str, anchors: str, scale: float, more: str = "", classes: int = 3) -> str:
    """`thresh` is OpenCV's, which hides lower scores."""
    return f"[yolo]\nmask={mask}\nanchors={anchors}\nclasses={classes}\nnum=4\nscale_x_y={scale}\nthresh=0\n{more}"


SHORTCUT = "[shortcut]\nfrom=-3\nactivation=linear\n"
UPSAMPLE = "[upsample]\nstride=2\n"
ANCHORS = "6,8, 10,18, 20,14, 34,30"


def small_v4(width: int = SIZE[0], height: int = SIZE[1], classes: int = 3, net: str = "") -> str:
    """A cross-stage partial stage with two residual blocks, a spatial pyramid, two heads, as YOLOv4 has them."""
    block = conv(4, 1) + conv(8, 3) + SHORTCUT
    stage = conv(16, 3, stride=2) + conv(8, 1) + route(-2) + conv(8, 1) + block * 2 + conv(8, 1) + route(-1, -10)
    pyramid = pool(3) + route(-2) + pool(5) + route(-1, -3, -4)
    last = "# no normalisation\n"
    coarse = conv(16, 3, "leaky", 2) + conv(8, 1, "leaky") + pyramid + conv(8, 1, "leaky")
    first = conv(3 * (5 + classes), 1, "linear", more=last) + yolo("1,2,3", ANCHORS, 1.2, classes=classes)
    fine = route(-3) + conv(8, 1, "leaky") + UPSAMPLE + route(-1, 12) + conv(8, 3, "leaky")
    second = conv(5 + classes, 1, "linear", more=last) + yolo("0", ANCHORS, 1.05, classes=classes)
    head = f"[net]\nwidth={width}\nheight={height}\nchannels=3\n{net}\n"
    return head + conv(8, 3, stride=2) + stage + conv(16, 1) + coarse + first + fine + second


def small_others() -> str:
    """What the relatives of YOLOv4 have beside that: halves of channels (tiny), new coordinates and swish (CSP)."""
    halves = conv(8, 3, "leaky", 2) + route(-1, more="groups=2\ngroup_id=1\n") + conv(4, 3, "swish") + route(-1, -3)
    body = conv(6, 3, "relu", 2, more="") + halves + pool(2, 2) + conv(12, 1, "logistic")
    head = conv(16, 1, "logistic", more="") + yolo("0,2", ANCHORS, 2.0, "new_coords=1\n")
    return "[net]\nwidth=40\nheight=64\n" + body + head


def write_weights(cfg: str, path: Path, version: tuple[int, int] = (0, 2), seed: int = 0) -> None:
    """A .weights file of random numbers that keep activations of ordinary size, with variances from 0.001 on."""
    random = np.random.default_rng(seed)
    seen = struct.pack("<q" if version >= (0, 2) else "<i", 12_800)
    parts = [struct.pack("<iii", *version, 5) + seen]
    for layer in Network(parse_cfg(cfg)).convolutions():
        *vectors, weight = layer.file_shapes()
        numbers = [random.normal(0, 0.1, shape) for shape in vectors]
        if len(vectors) == 4:
            numbers[3] = 10 ** random.uniform(-3, 0.3, vectors[3])
            numbers[1] = random.uniform(0.8, 1.2, vectors[1]) * np.sqrt(numbers[3])
        numbers.append(random.normal(0, 1.4 / math.prod(weight[1:]) ** 0.5, weight))
        parts += [one.astype("<f4").tobytes() for one in numbers]
    path.write_bytes(b"".join(parts))


def filled(cfg: str, weights: Path) -> Network:
    network = Network(parse_cfg(cfg)).eval()
    read_weights(network, weights)
    return network


def noise(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(5).integers(0, 256, (size[1], size[0], 3), np.uint8))


def inputs(network: Network) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 1, (3, 3, network.height, network.width)).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with net.cfg and net.weights."""
    folder = tmp_path_factory.mktemp("darknet")
    (folder / "net.cfg").write_text(small_v4())
    write_weights(small_v4(), folder / "net.weights")
    return folder


@pytest.fixture(scope="module")
def network(files: Path) -> Network:
    return filled((files / "net.cfg").read_text(), files / "net.weights")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Network]]:
    """A folder as tests/opencv4/forward.py takes it, and the networks that we read from it."""
    folder, found = tmp_path_factory.mktemp("opencv"), {}
    for name, cfg, version in (("v4", small_v4(), (0, 2)), ("others", small_others(), (0, 1))):
        (folder / f"{name}.cfg").write_text(cfg)
        write_weights(cfg, folder / f"{name}.weights", version)
        found[name] = filled(cfg, folder / f"{name}.weights")
        np.save(folder / f"{name}.npy", inputs(found[name]))
    return folder, found


# --- against OpenCV 4 ---


def as_opencv(name: str, network: Network) -> dict[str, np.ndarray]:
    """Our answer in OpenCV's form: rows by cell and then anchor; centre, size, class scores."""
    pixels = inputs(network)
    with torch.inference_mode():
        maps = network(torch.from_numpy(pixels))
        boxes, scores = decode(network, maps)
    found, start = {}, 0
    for j, (raw, layer) in enumerate(zip(maps, network.yolos.values(), strict=True)):
        cells, anchors = raw.shape[-2] * raw.shape[-1], len(layer.anchors)
        both = torch.cat([boxes, scores], dim=-1)[:, start : start + anchors * cells]
        start += anchors * cells
        both = both.reshape(len(pixels), anchors, cells, -1).transpose(1, 2).flatten(1, 2)
        for i, one in enumerate(both.numpy()):
            low, high = one[:, :2], one[:, 2:4]
            found[f"{name}_input{i}_map{j}"] = np.concatenate([(low + high) / 2, high - low, one[:, 4:]], axis=1)
    return found


def largest_differences(networks: Mapping[str, Network], theirs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """For each map the largest difference of a number; OpenCV's column of objectness is left out."""
    ours: dict[str, np.ndarray] = {}
    for name, network in networks.items():
        ours |= as_opencv(name, network)
    assert ours.keys() == theirs.keys() - {"version"}
    return {key: float(np.abs(one - np.delete(theirs[key], 4, axis=1)).max()) for key, one in ours.items()}


def test_as_opencv_4_reads_it(networks: tuple[Path, dict[str, Network]]) -> None:
    with np.load(GOLDEN, allow_pickle=False) as theirs:
        assert bytes(theirs["version"]).startswith(b"4.")
        found = largest_differences(networks[1], dict(theirs))
        spread = [theirs[key][:, 5:].std() for key in found]
    assert len(found) == 3 * 3 and max(found.values()) < 1e-4
    assert min(spread) > 0.01  # the scores differ from each other by far more than that


def test_as_opencv_4_on_this_machine(networks: tuple[Path, dict[str, Network]], tmp_path: Path) -> None:
    python = os.environ.get("DETDIFFUSION_OPENCV4")
    if python is None:
        pytest.skip("DETDIFFUSION_OPENCV4 names no Python with OpenCV 4; `make check-yolov4` makes one")
    out = Path(os.environ.get("DETDIFFUSION_OPENCV4_OUT", tmp_path / "out.npz"))
    subprocess.run([python, SCRIPT, networks[0], out], check=True)
    with np.load(out, allow_pickle=False) as theirs:
        found = largest_differences(networks[1], dict(theirs))
    print("largest difference from OpenCV:", *(f"  {name} {value:.1e}" for name, value in found.items()), sep="\n")
    assert max(found.values()) < 1e-4


# --- the published network ---


def canonical(sections: list[Section]) -> str:
    """What a network computes, one section a line, whatever its spaces, comments and training settings."""
    keys = ("width", "height", "filters", "size", "stride", "pad", "batch_normalize", "activation", "layers", "from")
    keys += ("mask", "anchors", "classes", "scale_x_y")
    plain = [
        {key: "".join(text.split()) for key, text in section.values.items() if key in keys} for section in sections
    ]
    for values in plain:
        if values.get("batch_normalize") == "0":
            del values["batch_normalize"]
    return "\n".join(f"{one.kind} {sorted(values.items())}" for one, values in zip(sections, plain, strict=True))


def test_the_standard_network_is_the_published_one() -> None:
    """Its length is that of the published yolov4.weights, and its layers are those of AlexeyAB/darknet's yolov4.cfg, of
    whose canonical form this is the hash."""
    network = Network(standard_yolov4())
    layers = network.convolutions()
    assert 20 + 4 * sum(math.prod(shape) for layer in layers for shape in layer.file_shapes()) == 257_717_640
    learned = sum(layer.conv.weight.numel() + layer.filters * (1 + layer.normalised) for layer in layers)
    assert learned == 64_363_101 and (len(network.layers), len(layers)) == (162, 110)
    assert (
        hashlib.sha256(canonical(standard_yolov4()).encode()).hexdigest()
        == "fbf4592ed5981b56f6f04a577d6661bbdab68fbd0775c55dad0225940ff4a9ef"
    )
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}


@pytest.mark.slow
def test_weights_alone_are_of_the_standard_network(tmp_path: Path) -> None:
    """All numbers zero: every class of every box has a quarter, and every box is its anchor at the middle of a cell."""
    path = tmp_path / "yolov4.weights"
    with path.open("wb") as file:
        file.write(struct.pack("<iiiq", 0, 2, 5, 0))
        file.truncate(257_717_640)
    detector = load_yolov4(None, path, size=(64, 32))
    assert (detector.name, detector.labels, detector.min_score) == ("yolov4", COCO_THINGS, 0.5)
    found = detector.detect([Image.new("RGB", (20, 30))])[0]
    assert len(found) == 100 and set(found.scores) == {0.25}
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(DetectorError, match=r"no \.cfg beside.*257,717,644 bytes, this network needs 257,717,640"):
        load_yolov4(None, path)
    with pytest.raises(DetectorError, match="this network needs 256,059,060"):
        load_yolov4(None, path, LABELS)


# --- what becomes of the maps ---


def test_decoding_is_that_of_a_plain_loop(network: Network) -> None:
    with torch.inference_mode():
        maps = network(torch.from_numpy(inputs(network)[:1]))
        boxes, scores = decode(network, maps)
    expected = []
    for raw, layer in zip(maps, network.yolos.values(), strict=True):
        _, _, height, width = raw.shape
        for a, (anchor_w, anchor_h) in enumerate(layer.anchors):
            cell = raw[0, a * 8 : (a + 1) * 8].numpy()
            for y in range(height):
                for x in range(width):
                    tx, ty, tw, th, objectness, *classes = (float(v) for v in cell[:, y, x])
                    scale, shift = layer.scale_xy, (layer.scale_xy - 1) / 2
                    cx, cy = (sigmoid(tx) * scale - shift + x) / width, (sigmoid(ty) * scale - shift + y) / height
                    w, h = math.exp(tw) * anchor_w / SIZE[0], math.exp(th) * anchor_h / SIZE[1]
                    box = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
                    expected.append([*box, *(sigmoid(objectness) * sigmoid(c) for c in classes)])
    found = torch.cat([boxes[0], scores[0]], dim=1).numpy()
    assert [raw.shape[-2:] for raw in maps] == [(4, 6), (8, 12)]
    np.testing.assert_allclose(found, np.array(expected), atol=1e-5)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_suppression_is_that_of_a_plain_loop() -> None:
    random = np.random.default_rng(3)
    centre, side = random.uniform(0, 1, (60, 2)), random.uniform(0.1, 0.5, (60, 2))
    boxes, scores = np.concatenate([centre - side, centre + side], axis=1), random.uniform(0, 0.3, (60, 2)) ** 3
    boxes[0], scores[0] = (-1e30, -1e30, 1e30, 1e30), (0.9, 0)  # a wild one must not blur the others
    overlap, expected = iou(boxes, boxes), []
    for label in range(2):
        left = [i for i in np.argsort(-scores[:, label]) if scores[i, label] >= 0.001]
        while left:
            best = left.pop(0)
            expected.append((float(np.float32(scores[best, label])), label, best))
            left = [i for i in left if overlap[best, i] <= 0.45]
    box, score, label = suppress(torch.tensor(boxes).float(), torch.tensor(scores).float())
    expected.sort(reverse=True)
    assert 20 < len(expected) < 100
    assert [(s, k) for s, k, _ in expected] == list(zip(score.tolist(), label.tolist(), strict=True))
    np.testing.assert_array_equal(box.numpy(), boxes[[i for _, _, i in expected]].astype(np.float32))


def test_pictures_of_any_shape(files: Path) -> None:
    detector = load_yolov4(files / "net.cfg", files / "net.weights", LABELS)
    assert (detector.name, detector.labels) == ("net", LABELS)
    assert detector.sha256 == hashlib.sha256((files / "net.weights").read_bytes()).hexdigest()
    pictures = [
        noise((80, 50)),
        Image.new("L", (31, 200), 80),
        Image.new("RGBA", (1, 1)),
    ]
    found = detector.detect(pictures)
    assert [0 < len(one) <= 100 for one in found] == [True] * 3
    for one in found:
        assert set(one.labels) <= set(LABELS) and one.scores.min() >= 0.001
        assert one.boxes_xyxy.min() >= 0 and one.boxes_xyxy.max() <= 1
    again = detector.detect(pictures[:1])[0]
    np.testing.assert_allclose(again.scores, found[0].scores, atol=1e-5)
    assert detector.detect([]) == []


def test_a_picture_is_stretched(network: Network) -> None:
    pixels, frame = fitted(Image.new("RGB", (10, 20), (255, 0, 51)), network)
    assert pixels.shape == (3, 32, 48) and (frame.left, frame.top, frame.width, frame.height) == (0, 0, 1, 1)
    np.testing.assert_allclose(pixels[:, 20, 40], [1, 0, 0.2], atol=1e-6)
    cv2 = pytest.importorskip("cv2", reason="OpenCV comes with ultralytics")
    for size in ((90, 70), (20, 31), (48, 32)):
        image = noise(size)
        theirs = cv2.resize(np.asarray(image), SIZE, interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1) / 255
        assert np.abs(fitted(image, network)[0].numpy() - theirs).max() < 1 / 255  # theirs is rounded, twice


@pytest.mark.parametrize(("size", "edges"), [((40, 20), (0, 4, 48, 24)), ((20, 40), (16, 0, 16, 32))])
def test_letter_box_keeps_the_shape(
    size: tuple[int, int], edges: tuple[int, int, int, int], files: Path, tmp_path: Path
) -> None:
    """The same as a stretched picture with the grey already around it, but for the frame of its boxes."""
    (tmp_path / "letter.cfg").write_text(small_v4(net="letter_box=1"))
    kept = load_yolov4(tmp_path / "letter.cfg", files / "net.weights", LABELS)
    left, top, width, height = edges
    image = noise((width, height))
    padded = Image.new("RGB", SIZE, (128, 128, 128))
    padded.paste(image, (left, top))
    pixels, frame = fitted(image.resize(size), Network(parse_cfg(small_v4(net="letter_box=1"))))
    assert (frame.left * 48, frame.top * 32, frame.width * 48, frame.height * 32) == pytest.approx(edges)
    assert set(pixels[:, 0, 47].tolist()) == set(pixels[:, 31, 0].tolist()) == {0.5}
    found = kept.detect([image])[0]
    stretched = load_yolov4(files / "net.cfg", files / "net.weights", LABELS).detect([padded])[0]
    boxes = (stretched.boxes_xyxy * [48, 32, 48, 32] - [left, top, left, top]) / [width, height, width, height]
    inside = [i for i in range(len(stretched)) if boxes[i].min() > 0 and boxes[i].max() < 1][:5]  # others are clipped
    assert len(inside) > 2
    for i in inside:
        same = [j for j, label in enumerate(found.labels) if label == stretched.labels[i]]
        overlap = iou(boxes[i : i + 1], found.boxes_xyxy[same])[0]
        assert overlap.max() > 0.9
        assert found.scores[same][overlap.argmax()] == pytest.approx(stretched.scores[i], abs=2e-2)


# --- what is refused ---


def cut(data: bytes) -> bytes:
    return data[:-4]


def longer(data: bytes) -> bytes:
    return data + bytes(4)


def of_another_version(data: bytes) -> bytes:
    return struct.pack("<iii", 80_923_408, 7, 1) + data[12:]


def broken(data: bytes) -> bytes:
    return data[:40] + struct.pack("<f", math.nan) + data[44:]


def below_zero(data: bytes) -> bytes:
    """The first layer's variances come after 3 * 8 numbers."""
    return data[: 20 + 4 * 24] + struct.pack("<f", -1) + data[20 + 4 * 25 :]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (cut, "has 31,344 bytes, this network needs 31,348: it is cut short, or of another network"),
        (longer, "has 31,352 bytes, this network needs 31,348: it is of another network"),
        (of_another_version, "does not start as Darknet's weights do"),
        (broken, "not finite"),
        (below_zero, "variances below zero"),
        (lambda _: b"PK\3\4", "4 bytes: that is no weights file"),
        (lambda _: b"", "0 bytes: that is no weights file"),
        (lambda data: b"PK\3\4" + data[4:], "does not start as Darknet's weights do"),
    ],
)
def test_other_weights_are_refused(change: Callable[[bytes], bytes], reason: str, files: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.weights"
    path.write_bytes(change((files / "net.weights").read_bytes()))
    with pytest.raises(DetectorError, match=reason):
        load_yolov4(files / "net.cfg", path, LABELS)


NET = "[net]\nwidth=64\nheight=64\n"
YOLO = "[convolutional]\nfilters=6\n[yolo]\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"starts with \[net\]"),
        ("[convolutional]\nfilters=1\n", r"starts with \[net\]"),
        ("[net]\nwidth=64\nheight 64\n", "line 3: 'height 64' is neither"),
        ("[net]\nwidth=x\nheight=64\n", r"\[net\] of line 1: width=x is no number"),
        ("[net]\nwidth=inf\nheight=64\n", r"\[net\] of line 1: width=inf is no number"),
        ("[net]\nwidth=0\nheight=64\n", "width=0 needs to be 1 or more"),
        ("[net]\nheight=64\n", "lacks width"),
        (NET + "channels=1\n", "channels=1 is not known here"),
        (NET + "[lstm]\n", r"\[lstm\] of line 4: the layer lstm is not known here"),
        (NET + "[route]\nlayers=3\n", "layer 3 is not in front of it"),
        (NET + "[route]\nlayers=a\n", "layers needs to be whole numbers"),
        (NET + "[convolutional]\nactivation=selu\n", "activation=selu; known: linear"),
        (NET + "[convolutional]\nsize=1.5\n", "size=1.5 is no whole number"),
        (NET + "[convolutional]\nstride=0\n", "stride=0 needs to be 1 or more"),
        (NET + "[convolutional]\nxnor=1\n", r"\[convolutional\] of line 4: xnor=1 is not known here"),
        (NET + "[convolutional]\nstride_x=2\n", "stride_x=2 is not known here"),
        (NET + "[convolutional]\ngroups=2\n", "it does not fit 3 channels of 64 x 64"),
        (NET + "[convolutional]\nsize=99\n", "it does not fit 3 channels of 64 x 64"),
        (NET + "[convolutional]\nfilters=4\n", "it detects nothing"),
        (NET + "[convolutional]\nfilters=4\n[shortcut]\nfrom=-1\nweights_type=per_channel\n", "weights_type=per_ch"),
        (
            NET + "[convolutional]\n[convolutional]\nstride=2\n[shortcut]\nfrom=-2\n",
            "32 x 32 in front of it: 1 ch.*add",
        ),
        (NET + "[convolutional]\n[convolutional]\nstride=2\n[route]\nlayers=-1,-2\n", "does not fit 1 channels of 32"),
        (NET + "[convolutional]\nfilters=3\n[route]\nlayers=-1\ngroups=2\n", "channels in 2 groups"),
        (NET + "[convolutional]\nfilters=4\n[route]\nlayers=-1\ngroups=2\ngroup_id=2\n", "group_id=2 is not one of 2"),
        (NET + "[convolutional]\nfilters=4\n[yolo]\nmask=0\nanchors=1,2\nclasses=3\n", "it reads 8 channels.*has 4"),
        (NET + YOLO + "mask=1\nanchors=1,2\nclasses=1\n", "mask .1. names anchors, of which there are 1"),
        (NET + YOLO + "mask=-1\nanchors=1,2\nclasses=1\n", "mask .-1. names anchors"),
        (NET + YOLO + "mask=0\nanchors=1,2,3\nclasses=1\n", "of which there are 1.5"),
        (NET + YOLO + "mask=0\nanchors=1,b\nclasses=1\n", "anchors=1,b is no number"),
        (NET + YOLO + "mask=0\nclasses=1\n", "anchors= is no number"),
    ],
)
def test_other_networks_are_refused(text: str, reason: str, files: Path, tmp_path: Path) -> None:
    (tmp_path / "net.cfg").write_text(text)
    with pytest.raises(DetectorError, match=reason):
        load_yolov4(tmp_path / "net.cfg", files / "net.weights", LABELS)


def test_of_a_key_given_twice_the_first_counts() -> None:
    net = parse_cfg("; comment\n[network]\nwidth = 32 # pixels\nwidth=64\nsteps=1,2,\n")[0]
    assert (net.kind, net.line, net.whole("width"), net.wholes("steps")) == ("net", 2, 32, [1, 2])


# --- files beside the weights ---


def test_files_beside_the_weights(files: Path, tmp_path: Path) -> None:
    weights, cfg, names = (tmp_path / f"yolov4.{kind}" for kind in ("weights", "cfg", "names"))
    cfg.write_text(small_v4(32, 32, classes=80))
    write_weights(small_v4(32, 32, classes=80), weights)
    assert load_detector(weights).labels == load_yolov4(None, weights).labels == COCO_THINGS
    names.write_text("".join(f"class {i}\n" for i in range(80)))
    assert load_yolov4(None, weights).labels[79] == "class 79"
    cfg.rename(tmp_path / "other.cfg")
    assert load_yolov4(None, weights).name == "yolov4"  # the only .cfg there
    (tmp_path / "third.cfg").write_text(small_v4())
    with pytest.raises(DetectorError, match=r"which network is it of, other.cfg, third.cfg\? Name .* yolov4.cfg"):
        load_yolov4(None, weights)
    with pytest.raises(DetectorError, match="no such file"):
        load_yolov4(None, tmp_path / "none.weights")


def test_every_class_needs_a_name(files: Path) -> None:
    with pytest.raises(DetectorError, match=r"3 classes, and there are 2 names: write them.* into net\.names"):
        load_yolov4(files / "net.cfg", files / "net.weights", LABELS[:2])
    with pytest.raises(DetectorError, match="3 classes, and there are 80 names"):
        load_yolov4(files / "net.cfg", files / "net.weights")
    with pytest.raises(DetectorError, match="cannot be read"):
        load_yolov4(files / "none.cfg", files / "net.weights", LABELS)
