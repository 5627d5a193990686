"""Every form of docs/DATA_FOLDERS.md: the trees of the page are built and read."""

import argparse
import os
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from data_trees import HEIGHT, OBJECTS, TREES, WIDTH

from detdiffusion.errors import ConfigError, DataError, DetDiffusionError
from training.data import subset
from training.data.datasets import open_dataset
from training.data.forms.recognise import find_source
from training.data.request import Reading, SplitBy

JUNK = (b"\0", b"\xff\xfe", b"[[[", b"1e999", b"&a;", b"\\..\\", b": *x", b"-" * 50, b"\n7 \n", b"<object>")


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
    split = not tree.split_by
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
    parser = argparse.ArgumentParser()
    subset.add_arguments(parser)
    for part in ("train", "val"):
        words = ["--data", str(data), "--name", part, "--split", part, "--out", str(tmp_path / "out")]
        words += [word for share in tree.split_by.values() for word in ("--split-by", share)]
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
    for number in range(8):
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
        ("a.pdf", "", "not a file that names what is in images"),
        ("data.yaml", "train: x", "it needs `names`"),
        ("data.yaml", "names: [cat]\ntrain: x", "'x' is not found inside"),
        ("classes.txt", "cat", "no images with labels beside it"),
        ("a.xml", "<annotation/>", "not a file that names what is in images"),
        ("absent.json", None, "no such file"),
        ("absent", None, "no such folder"),
    ],
)
def test_files_that_name_no_data_set(name: str, text: str | None, reason: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=reason):
        open_dataset(tmp_path / name, index=tmp_path / "index.sqlite")


def test_a_data_set_below_the_folder_is_named(tmp_path: Path) -> None:
    root = TREES["COCO 2"].build(tmp_path / "download" / "inner")
    with pytest.raises(DataError, match=rf"it holds inner; give --data {re.escape(str(root))}\."):
        open_dataset(tmp_path / "download")


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
