"""What people bring, kind by kind, and what comes of it: one list of inputs that once were refused or misread.

Each input is made here, of two images of 64 x 48 pixels: a has a cat, b a dog. Variants of a kind are tested beside its
reader (tests/training/data/forms, tests/detdiffusion/detectors); here each goes through a command, as people meet it.
"""

import argparse
import ast
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from uuid import UUID

import pytest
import torch
from brought import (
    CAT,
    CONFIG,
    DOG,
    Content,
    as_polygon,
    beside,
    build,
    called,
    coco,
    cut_short,
    deep,
    devkit,
    edges,
    first_of,
    flat,
    listed,
    named,
    plain,
    turned,
    upright,
    without,
    yolo,
)
from checkpoints import save_ultralytics
from data_trees import HEIGHT, OBJECTS, WIDTH, picture, row, voc
from PIL import ExifTags, Image

from training.__main__ import main

TESTS = Path(__file__).resolve().parents[1]
Found = tuple[str, str, tuple[float, ...]]  # image, class, corners in pixels
A: Found = ("a.jpg", *OBJECTS["a"])
B: Found = ("b.jpg", *OBJECTS["b"])


@dataclass(frozen=True)
class Kind:
    """Files by path, and what `subset` makes of them: objects, how many images, and what it says (regular expressions).

    asked: what --data names, inside the folder. {root} in a text is the folder.
    """

    files: Mapping[str, Content]
    found: tuple[Found, ...] = (A, B)
    images: int = 2
    said: tuple[str, ...] = ()
    asked: str = ""


# --- YOLO -----------------------------------------------------------------------------------------

YOLO = {
    "a polygon with an odd number of coordinates": Kind(
        yolo(a=CAT + "1 .1 .1 .5 .1 .5 .5 .1\n"), said=(r"a\.txt, line 2",)
    ),
    "a class that is no whole number": Kind(yolo(b=DOG + "1.5 .5 .5 .2 .2\n"), said=(r"b\.txt, line 2", "class")),
    "a class that is not named": Kind(yolo(b="7 .5 .5 .2 .2\n" + DOG), said=(r"b\.txt, line 1", "class")),
    "a class as numpy writes it": Kind(yolo(b=DOG.replace("1 ", "1.000000000000000000e+00 ", 1))),
    "commas": Kind(yolo(a=CAT.replace(" ", ","), b=DOG.replace(" ", ", "))),
    "a confidence in a sixth column": Kind(yolo(a=CAT.rstrip() + " 0.87\n")),
    "a byte order mark in a label file": Kind(yolo(a="\ufeff" + CAT)),
    "a byte order mark in classes.txt": Kind(yolo(None, more={"classes.txt": "\ufeffcat\ndog\n"})),
    "key points": Kind(yolo(CONFIG + "kpt_shape: [4, 3]\n", a=CAT.rstrip() + " .1 .1 2" * 4 + "\n")),
    "names that are digits": Kind(named("[0, 1]"), (("a.jpg", "0", A[2]), ("b.jpg", "1", B[2]))),
    "names that are digits, by number": Kind(named("{0: 0, 1: 1}"), (("a.jpg", "0", A[2]), ("b.jpg", "1", B[2]))),
    "names that are yes and no": Kind(named("[yes, no]"), (("a.jpg", "yes", A[2]), ("b.jpg", "no", B[2]))),
    "names by quoted numbers": Kind(named('{"0": cat, "1": dog}')),
    "another number of classes than nc": Kind(yolo(CONFIG + "nc: 5\n"), said=(r"\bnc\b",)),
    "--data names the YAML": Kind(yolo(), asked="data.yaml"),
    "a YAML with a name of its own": Kind(yolo(None, more={"animals.yaml": CONFIG})),
    "a list of absolute paths": Kind(listed("{root}/images/a.jpg\n{root}/images/b.jpg\n")),
    "a list of Windows": Kind(listed("images\\a.jpg\r\nimages\\b.jpg\r\n")),
    "Roboflow's paths, which lead out": Kind(
        {
            "data.yaml": "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n",
            **{f"train/images/{stem}.jpg": picture for stem in "ab"},
            **{f"train/labels/{stem}.txt": row(stem) for stem in "ab"},
            "valid/images/c.jpg": picture,
            "valid/labels/c.txt": row("c"),
        }
    ),
    "labels beside the images of images/": Kind(yolo(a=None, b=None, more={"images/a.txt": CAT, "images/b.txt": DOG})),
    "all in one folder": Kind(
        {"a.jpg": picture, "a.txt": CAT, "b.jpg": picture, "b.txt": DOG, "obj.names": "cat\ndog\n"}
    ),
    "images without objects": Kind(
        yolo(a="", b=None, more={"images/c.jpg": picture, "labels/c.txt": row("c")}),
        (("c.jpg", *OBJECTS["c"]),),
        images=3,
    ),
    "two images of one stem": Kind(yolo(more={"images/a.png": picture}), (A, B, ("a.png", *A[1:])), images=3),
    "one name in two folders": Kind(
        {
            "data.yaml": CONFIG,
            "images/one/a.jpg": picture,
            "images/two/a.jpg": picture,
            "labels/one/a.txt": CAT,
            "labels/two/a.txt": DOG,
        },
        (A, ("000001-a.jpg", *B[1:])),
    ),
}


# --- COCO -----------------------------------------------------------------------------------------

COCO = {
    "ids that begin at 0": Kind(beside(coco(number=lambda at: at - 1))),
    "ids that are floats": Kind(beside(coco(number=float))),
    "ids that are text": Kind(beside(coco(number=lambda at: str(UUID(int=at))))),
    "backslashes": Kind(beside(coco(image=lambda row: {**row, "file_name": f"train\\{row['file_name']}"}))),
    "nothing that could be left out": Kind(
        beside(json.dumps(without("info")(json.loads(coco(thing=without("id", "area", "iscrowd"))))))
    ),
    "a byte order mark": Kind(beside("\ufeff" + coco())),
    "a polygon in the place of a box": Kind(beside(coco(thing=as_polygon))),
    "a mask that cannot be decoded": Kind(
        beside(coco(thing=lambda row: {**row, "segmentation": {"size": [HEIGHT, WIDTH], "counts": "?"}})),
        said=("2 x mask",),
    ),
    "segmentation is null": Kind(
        beside(coco(thing=lambda row: {**row, "segmentation": None if row["id"] == 1 else []}))
    ),
    "sizes that are missing": Kind(beside(coco(image=without("width", "height")))),
    "sizes that are text": Kind(beside(coco(image=lambda row: {**row, "width": "64", "height": "48"}))),
    "boxes without width or height": Kind(
        beside(coco(more=(flat(8, bbox=[4, 4, 0, 9]), flat(9, bbox=[4, 4, 9, 0])))), said=("2 dropped: empty box",)
    ),
    "images without objects": Kind(beside(coco(("a.jpg", "b.jpg", "c.jpg")), "a.jpg", "b.jpg", "c.jpg"), images=3),
    "two images of one stem": Kind(beside(coco(("a.jpg", "a.png")), "a.jpg", "a.png"), (A, ("a.png", *A[1:]))),
    "annotations/train.json": Kind(
        {"annotations/train.json": coco(), "images/a.jpg": picture, "images/b.jpg": picture}
    ),
    "Roboflow's folders": Kind(
        {
            "train/_annotations.coco.json": coco(),
            "train/a.jpg": picture,
            "train/b.jpg": picture,
            "valid/_annotations.coco.json": coco(("c.jpg",)),
            "valid/c.jpg": picture,
        }
    ),
}


# --- Pascal VOC -----------------------------------------------------------------------------------

VOC = {
    "an & as careless tools write it": Kind(
        devkit(voc("a").replace("cat", "cat & dog")), (("a.jpg", "cat & dog", A[2]), B)
    ),
    "a DOCTYPE that defines nothing": Kind(devkit('<!DOCTYPE annotation SYSTEM "voc.dtd">' + voc("a"))),
    "entities, which can grow without bounds": Kind(
        devkit('<!DOCTYPE a [<!ENTITY e "cat">]>' + voc("a")), (B,), 1, (r"entities.*\n.*a\.xml",)
    ),
    "a namespace": Kind(devkit(voc("a").replace("<annotation>", '<annotation xmlns="https://example.org/voc">'))),
    "decimals, and no size": Kind(devkit(edges(25.5, 13.25, 40.5, 36)), (("a.jpg", "cat", (24.5, 12.25, 40.5, 36)), B)),
    "a box that is all of the image": Kind(devkit(edges(1, 1, 64, 48)), (("a.jpg", "cat", (0, 0, 64, 48)), B)),
    "an annotation without an object": Kind(devkit("<annotation></annotation>"), (B,)),
    "lists with a suffix": Kind(devkit(voc("a"), train="a.jpg\nb.jpg\n")),
    "images/ and annotations/": Kind(
        {**{f"images/{s}.jpg": picture for s in "ab"}, **{f"annotations/{s}.xml": voc(s) for s in "ab"}}
    ),
    "all in one folder": Kind({**{f"{s}.jpg": picture for s in "ab"}, **{f"{s}.xml": voc(s) for s in "ab"}}),
}


# --- images ---------------------------------------------------------------------------------------

LONG = "Ключ 猫 a.JPG"
IMAGES = {
    "16 bits a channel": Kind(
        first_of(deep, coco(("a.png", "b.jpg")), "a.png"),
        (("a.png", *A[1:]), B),
        said=("16 bits",),
    ),
    "turned by EXIF, boxes on what is stored": Kind(first_of(turned, coco()), (("a.png", "cat", (12, 24, 36, 40)), B)),
    "turned by EXIF, boxes on what is seen": Kind(first_of(turned, coco(image=upright)), (("a.png", *A[1:]), B)),
    "cut short": Kind(first_of(cut_short, coco()), (B,), 1, (r"a\.jpg",)),
    "a name of other scripts, in capitals": Kind(
        first_of(plain, coco(image=called(LONG)), LONG),
        ((LONG, *A[1:]), B),
    ),
}

DATA = {
    f"{form}: {name}": kind
    for form, kinds in {"YOLO": YOLO, "COCO": COCO, "VOC": VOC, "image": IMAGES}.items()
    for name, kind in kinds.items()
}


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("name", DATA)
def test_data_are_read_as_people_bring_them(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind, out = DATA[name], tmp_path / "out"
    data = build(tmp_path / "data", kind.files) / kind.asked
    assert main(["subset", "--data", str(data), "--name", "all", "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert [words for words in kind.said if not re.search(words, said)] == [], said
    made = json.loads((out / "annotations" / "instances_all.json").read_text(encoding="utf-8"))
    names, files = {one["id"]: one["name"] for one in made["categories"]}, {}
    for one in made["images"]:
        with Image.open(out / "all" / one["file_name"]) as image:
            assert image.size == (one["width"], one["height"]), "upright without EXIF"
            assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        files[one["id"]] = one["file_name"]
    assert len(set(files.values())) == kind.images
    found = sorted((files[o["image_id"]], names[o["category_id"]], *o["bbox"]) for o in made["annotations"])
    wanted = sorted((file, label, x1, y1, x2 - x1, y2 - y1) for file, label, (x1, y1, x2, y2) in kind.found)
    assert [one[:2] for one in found] == [one[:2] for one in wanted]
    assert [one[2:] for one in found] == [pytest.approx(one[2:], abs=0.01) for one in wanted]


def test_layouts_of_ids_that_are_floats(at_home: None, tmp_path: Path) -> None:
    (tmp_path / "instances.json").write_text(coco(number=float))
    words = ["--instances", str(tmp_path / "instances.json"), "--out", str(tmp_path / "layouts.jsonl")]
    assert main(["layouts", *words]) == 0
    rows = [json.loads(line) for line in (tmp_path / "layouts.jsonl").read_text().splitlines()]
    assert [one["label"] for about in rows for one in about["objects"]] == ["cat", "dog"]


# --- detectors ------------------------------------------------------------------------------------

ARCHITECTURE = "ssdlite320_mobilenet_v3_large"
Save = Callable[[Path], object]


class Theirs(torch.nn.Linear):
    """A class of another program."""


class Trap:
    """Leaves a file where it is unpickled without care."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("ran.txt"),)


@cache
def state() -> dict[str, torch.Tensor]:
    """Random weights for one class."""
    from torchvision.models import detection

    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = detection.__dict__[ARCHITECTURE](weights=None, weights_backbone=None, num_classes=2)
    return dict(built.state_dict())


def saved(wrap: Callable[[dict[str, torch.Tensor]], object]) -> Save:
    return lambda path: torch.save(wrap(state()), path)


def of_ultralytics(kind: str, architecture: str) -> Save:
    return lambda path: save_ultralytics(kind, architecture, ("cat", "dog"), path)


DETECTORS: dict[str, tuple[str, Save, str]] = {  # file, what writes it, what is said where it is refused
    "of DataParallel": ("w.pth", saved(lambda state: {f"module.{name}": one for name, one in state.items()}), ""),
    "wrapped in model": ("w.pth", saved(lambda state: {"model": state, "epoch": 3}), ""),
    "of torchvision's reference scripts": (
        "w.pth",
        saved(lambda state: {"model": state, "optimizer": {}, "args": argparse.Namespace(lr=0.1), "epoch": 3}),
        "",
    ),
    "of ultralytics": ("w.pt", of_ultralytics("DetectionModel", "yolo11n.yaml"), ""),
    "of ultralytics, for masks": ("w.pt", of_ultralytics("SegmentationModel", "yolo11n-seg.yaml"), ""),
    "of ultralytics, for key points": ("w.pt", of_ultralytics("PoseModel", "yolo11n-pose.yaml"), ""),
    "a whole model of another program": ("w.pth", lambda path: torch.save(Theirs(2, 2), path), "Theirs"),
    "a whole model of another program, as .pt": (
        "w.pt",
        lambda path: torch.save({"model": Theirs(2, 2)}, path),
        "Theirs",
    ),
    "code that would run": ("w.pth", lambda path: torch.save({"model": Trap()}, path), "is refused"),
    "code that would run, as .pt": ("w.pt", lambda path: torch.save({"model": Trap()}, path), "is refused"),
}


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_are_taken_as_people_bring_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, save, refused = DETECTORS[name]
    monkeypatch.chdir(tmp_path)
    build(tmp_path / "data", yolo())
    with monkeypatch.context() as patch:  # a name that torch.save looks up, and that no reader has
        patch.setattr(sys.modules["__main__"], "Theirs", Theirs, raising=False)
        patch.setattr(Theirs, "__module__", "__main__")
        save(tmp_path / file)
    (tmp_path / "w.names").write_text("cat\n")
    detector = file if file.endswith(".pt") else f"{ARCHITECTURE}={file}"
    code = main(["annotate", "--data", "data", "--detector", detector, "--out", "found.jsonl"])
    assert code == (2 if refused else 0)
    assert refused in capsys.readouterr().err
    assert not Path("ran.txt").exists() and Path("found.jsonl").exists() is not bool(refused)
    if not refused:
        rows = Path("found.jsonl").read_text().splitlines()
        assert len(rows) == 3 and '"hard"' in "".join(rows), "a header, and two images; random weights find nothing"


# --- commands, tested where they belong -----------------------------------------------------------

ELSEWHERE = {
    "a device that is not there": "training/test_main.py::test_a_device_that_is_not_there_ends_with_2_and_a_reason",
    "train without attributes": "training/test_checks.py::test_what_is_typed_wrong_is_said_without_a_heavy_library",
    "loop without its folder": "training/loop/test_stages.py::test_what_is_missing_is_said_before_the_work",
    "trainability --updates 2": "training/studies/test_trainability.py::test_torchvision_in_pieces",
    "an image of generate, opened in the studio": "app/studio/test_round_trip.py::test_of_generate",
    "what --help costs": "test_help.py::test_help_is_cheap",
    "every form of folder": "training/data/forms/test_whole_way.py::test_a_form_goes_the_whole_way",
}


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_a_kind_is_tested_where_the_list_says(kind: str) -> None:
    file, _, name = ELSEWHERE[kind].partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
