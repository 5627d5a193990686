"""Every form of docs/DATA_FOLDERS.md: the trees of the page are built and read."""

import argparse
import json
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from detdiffusion.errors import ConfigError, DataError, DetDiffusionError
from training.data import subset
from training.data.datasets import open_dataset
from training.data.forms.recognise import find_source
from training.data.request import Reading, SplitBy

PAGE = Path(__file__).resolve().parents[4] / "docs" / "DATA_FOLDERS.md"
WIDTH, HEIGHT = 64, 48
CLASSES = ("cat", "dog")
JUNK = (b"\0", b"\xff\xfe", b"[[[", b"1e999", b"&a;", b"\\..\\", b": *x", b"-" * 50, b"\n7 \n", b"<object>")
OBJECTS = {"a": ("cat", (24, 12, 40, 36)), "b": ("dog", (12, 6, 20, 18)), "c": ("cat", (2, 4, 30, 40))}


@dataclass(frozen=True)
class Tree:
    """Files by path, with what the page says of them, and the arguments of the command."""

    files: dict[str, str]
    arguments: str

    def build(self, root: Path) -> Path:
        for name, about in self.files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".jpg":
                picture(path)
            elif path.suffix == ".xml":
                path.write_text(voc(path.stem))
            elif path.suffix == ".json":
                path.write_text(coco(about.removeprefix("lists ").split()))
            else:
                path.write_text("\n".join(about.split("; ")) if about else row(path.stem))
        return root

    def request(self, root: Path) -> tuple[Path, Reading]:
        words = shlex.split(self.arguments)
        given = dict(zip(words[::2], words[1::2], strict=True))
        images = given.get("--images")
        return root / given.get("--data", "."), Reading(images=images and root / images)  # type: ignore[arg-type]


def picture(path: Path) -> None:
    kind, box = OBJECTS[path.stem]
    image = Image.new("RGB", (WIDTH, HEIGHT), {"a": "navy", "b": "tan", "c": "green"}[path.stem])
    ImageDraw.Draw(image).rectangle(box, "white" if kind == "cat" else "black")
    image.save(path)


def row(stem: str) -> str:
    kind, (x1, y1, x2, y2) = OBJECTS[stem]
    shape = ((x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT)
    return " ".join(map(str, (CLASSES.index(kind), *shape))) + "\n"


def voc(stem: str) -> str:
    kind, (x1, y1, x2, y2) = OBJECTS[stem]
    sides = {"xmin": x1 + 1, "ymin": y1 + 1, "xmax": x2, "ymax": y2}
    box = "".join(f"<{name}>{value}</{name}>" for name, value in sides.items())
    return f"<annotation><object><name>{kind}</name><bndbox>{box}</bndbox></object></annotation>"


def coco(names: list[str]) -> str:
    images = [{"id": i, "file_name": name, "width": WIDTH, "height": HEIGHT} for i, name in enumerate(names)]
    objects = []
    for i, name in enumerate(names):
        kind, (x1, y1, x2, y2) = OBJECTS[Path(name).stem]
        box = [x1, y1, x2 - x1, y2 - y1]
        objects.append({"id": i, "image_id": i, "category_id": CLASSES.index(kind), "bbox": box})
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASSES)]
    return json.dumps({"images": images, "annotations": objects, "categories": categories})


def trees() -> Iterator[tuple[str, Tree]]:
    """Of the page, named by their headings."""
    heading, seen = "", 0
    for part in re.split(r"^(## .*|```tree.*\n(?:.*\n)*?```)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE):
        if part.startswith("## "):
            heading, seen = part.removeprefix("## "), 0
        elif part.startswith("```tree"):
            first, *lines, _ = part.splitlines()
            seen += 1
            yield f"{heading} {seen}", Tree(dict(files_of(lines)), first.removeprefix("```tree").strip())


def files_of(lines: list[str]) -> Iterator[tuple[str, str]]:
    above: list[str] = []
    for line in lines:
        depth = (len(line) - len(line.lstrip())) // 2
        name, _, about = line.strip().partition("  ")
        above = [*above[:depth], name]
        if not name.endswith("/"):
            yield "".join(above), about.strip()


TREES = dict(trees())


def found(data: Path, reading: Reading, split: str | None, index: Path) -> dict[str, tuple[str, tuple[float, ...]]]:
    """By stem: class and box in pixels."""
    dataset = open_dataset(data, split=split, reading=reading, index=index)
    assert dataset.report.dropped == 0
    objects = {}
    for sample in dataset:
        (box,) = sample.layout.boxes
        corners = tuple(value * side for value, side in zip(box.xyxy, (WIDTH, HEIGHT) * 2, strict=True))
        objects[sample.path.stem] = (box.label, pytest.approx(corners, abs=1e-3))
    return objects


def test_the_page_shows_all_forms() -> None:
    assert sorted({name.rpartition(" ")[0] for name in TREES}) == ["COCO", "Pascal VOC", "YOLO"]
    assert len(TREES) == 20


@pytest.mark.parametrize("name", TREES)
def test_a_form_is_read_as_it_is(name: str, tmp_path: Path) -> None:
    tree = TREES[name]
    data, reading = tree.request(tree.build(tmp_path / "data"))
    assert found(data, reading, None, tmp_path / "train.sqlite") == {stem: OBJECTS[stem] for stem in "ab"}
    source = find_source(data, images=reading.images)
    assert source is not None and source.form == name.rpartition(" ")[0]
    assert source.about.startswith(f"{source.form} by ")
    if any(path.endswith("c.jpg") for path in tree.files):
        assert found(data, reading, "val", tmp_path / "val.sqlite") == {"c": OBJECTS["c"]}


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("name", TREES)
def test_a_form_becomes_the_folder_that_a_loop_learns_from(name: str, tmp_path: Path) -> None:
    """`subset` makes both splits of every form; the other stages of a loop see its folder alone."""
    tree = TREES[name]
    data, reading = tree.request(tree.build(tmp_path / "data"))
    split = any(path.endswith("c.jpg") for path in tree.files)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
    parser = argparse.ArgumentParser()
    subset.add_arguments(parser)
    for part in ("train", "val"):
        words = ["--data", str(data), "--name", part, "--split", part, "--out", str(tmp_path / "out")]
        if name.startswith("COCO") and not split:
            words = [*words, "--split-by", "0.5"]
        elif not split:
            words = [*words, "--split-by", "0.5@1"]
        words += ["--images", str(reading.images)] if reading.images else []
        assert subset.run(parser.parse_args(words)) == 0
    made = {part: [one.path.stem for one in open_dataset(tmp_path / "out", split=part)] for part in ("train", "val")}
    assert sorted(made["train"] + made["val"]) == (["a", "b", "c"] if split else ["a", "b"])
    assert made["train"] and made["val"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")} == before, "data are only read"


@pytest.mark.parametrize("name", TREES)
def test_damaged_files_raise_typed_errors_alone(name: str, tmp_path: Path) -> None:
    """Any file of a form, pictures too: bytes changed, cut off, or something else put in."""
    tree, random = TREES[name], np.random.default_rng(list(name.encode()))
    for number in range(12):
        data, reading = tree.request(tree.build(tmp_path / f"{number}" / "data"))
        path = tmp_path / f"{number}" / "data" / random.choice(list(tree.files))
        content = bytearray(path.read_bytes())
        at, kind = int(random.integers(len(content))), number % 4
        if kind == 0:
            content[at] = int(random.integers(256))
        elif kind == 1:
            del content[at:]
        else:
            content[at:at] = JUNK[int(random.integers(len(JUNK)))]
        path.write_bytes(content)
        with suppress(DetDiffusionError):
            for sample in open_dataset(data, reading=reading, index=tmp_path / f"{number}" / "index.sqlite"):
                sample.load_image()


# --- which form -----------------------------------------------------------------------------------


def both(root: Path) -> Path:
    """COCO and YOLO in one folder."""
    for name in ("COCO 5", "YOLO 4"):
        TREES[name].build(root)
    return root


def test_a_folder_of_two_forms_is_refused_with_the_choices(tmp_path: Path) -> None:
    root = both(tmp_path / "data")
    choices = r"in 2 ways; choose one: --data (\S*result\.json) \(COCO\), or --data (\S*classes\.txt) \(YOLO\)"
    with pytest.raises(DataError, match=choices) as caught:
        open_dataset(root)
    chosen = re.search(choices, str(caught.value))
    assert chosen is not None
    for path in chosen.groups():
        assert set(found(Path(path), Reading(), None, tmp_path / "index.sqlite")) >= {"a", "b"}


def test_two_yaml_files_are_refused_with_the_choices(tmp_path: Path) -> None:
    root = TREES["YOLO 3"].build(tmp_path / "data")
    (root / "others.yaml").write_text("names: [x, y]\ntrain: images\n")
    with pytest.raises(DataError, match=r"animals\.yaml \(YOLO\), or --data \S*others\.yaml"):
        open_dataset(root)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.json", "{}", "not a COCO file"),
        ("a.pdf", "", "not a file that names what is in pictures"),
        ("data.yaml", "train: x", "it needs `names`"),
        ("data.yaml", "names: [cat]\ntrain: x", "'x' is not found inside"),
        ("classes.txt", "cat", "no pictures with labels beside it"),
        ("a.xml", "<annotation/>", "not a file that names what is in pictures"),
        ("absent.json", None, "no such file"),
        ("absent", None, "no such folder"),
    ],
)
def test_files_that_name_no_data_set(name: str, text: str | None, reason: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=reason):
        open_dataset(tmp_path / name, index=tmp_path / "index.sqlite")


def test_images_go_with_a_coco_file_alone(tmp_path: Path) -> None:
    root = TREES["YOLO 1"].build(tmp_path / "data")
    with pytest.raises(ConfigError, match=r"--images .* goes with a COCO file"):
        open_dataset(root, reading=Reading(images=root / "images"))
    with pytest.raises(DataError, match="no such folder; --images"):
        open_dataset(root / "a.json", reading=Reading(images=root / "absent"))


# --- splits by share ------------------------------------------------------------------------------


def test_splits_are_not_split_again(tmp_path: Path) -> None:
    root = TREES["YOLO 1"].build(tmp_path / "data")
    with pytest.raises(DataError, match="has splits already: train, val; leave --split-by out"):
        open_dataset(root, reading=Reading(split_by=SplitBy(0.5)))


def test_splits_that_are_the_same_folder_are_one_piece(tmp_path: Path) -> None:
    """As ultralytics is told where there is nothing to measure on."""
    root = TREES["YOLO 1"].build(tmp_path / "data")
    (root / "data.yaml").write_text("names: [cat, dog]\ntrain: images\nval: images\n")
    parts = [
        open_dataset(root, split=name, index=tmp_path / "index.sqlite", reading=Reading(split_by=SplitBy(0.7)))
        for name in ("train", "val")
    ]
    assert sorted(sample.path.stem for part in parts for sample in part) == ["a", "b", "c"]
    assert [len(part) for part in parts] == [2, 1]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="every folder can be written to here")
def test_a_read_only_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = TREES["YOLO 1"].build(tmp_path / "data")
    root.chmod(0o500)
    try:
        assert len(open_dataset(root)) == 2
    finally:
        root.chmod(0o700)
