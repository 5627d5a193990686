"""Data sets open in other tools: what each form says, by readers that are here, and by the tools' own readers."""

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from detdiffusion.core.files import json_hash, write_json
from detdiffusion.layout import Layout
from training.core.chunks import COMMIT
from training.data.datasets import open_dataset
from training.data.papercut.classes import THINGS
from training.synthesis import command, verify
from training.synthesis.exports import caption, export
from training.synthesis.request import begin
from training.synthesis.store import read_chunks
from training.synthesis.workers import work

READER = Path(__file__).parents[2] / "readers" / "read.py"
COUNT, SIDE, REFUSED = 6, 64, 3
Boxes = list[tuple[str, float, float, float, float]]


@pytest.fixture(scope="module")
def made(world_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with every form, one of whose images is refused."""
    out = tmp_path_factory.mktemp("handover") / "hard"
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    words = ["--model", world_model, "--layouts", "papercut:6@900000", "--strategy", "hard", "--count", COUNT]
    words += ["--steps", 1, "--chunk", 4, "--device", "cpu", "--detector", "none", "--out", out]
    work(begin(command.request_of(parser.parse_args([str(word) for word in words]))))
    commit = read_chunks(out).home / "00000" / COMMIT
    rows = read_chunks(out).rows(0)
    rows[REFUSED]["refused"] = [{"reason": "absent"}]  # as --check does, if it finds none of its objects
    write_json(commit, {"sha256": json_hash(rows), "pictures": rows})
    export(out, yolo=True, voc=True, huggingface=True)
    return out


def expected(made: Path) -> dict[str, Boxes]:
    """What the layouts say of every accepted image: label, x, y, width and height in fractions."""
    found: dict[str, Boxes] = {}
    for row in read_chunks(made).all_rows():
        if not row.get("refused"):
            boxes = [box for box in Layout.from_json(row["layout"]).boxes if box.label in THINGS]
            corners = [(box.label, *box.xyxy) for box in boxes]
            found[Path(row["file"]).name] = [(name, x1, y1, x2 - x1, y2 - y1) for name, x1, y1, x2, y2 in corners]
    assert len(found) == COUNT - 1 and sum(map(len, found.values())) > 10
    return found


def assert_same(read: dict[str, Boxes], made: Path, *, pixels: float) -> None:
    """Every image with every object, at most so many pixels off."""
    wanted = expected(made)
    assert sorted(read) == sorted(wanted)
    for name, boxes in wanted.items():
        pairs = zip(sorted(map(tuple, read[name])), sorted(boxes), strict=True)
        for (label, *sides), (true_label, *true_sides) in pairs:
            assert label == true_label and sides == pytest.approx(true_sides, abs=pixels / SIDE + 1e-5)


def test_our_own_reader_reads_voc(made: Path, at_home: None) -> None:
    dataset = open_dataset(made / "voc")
    found: dict[str, Boxes] = {}
    for sample in dataset:
        corners = [(box.label, *box.xyxy) for box in sample.layout.boxes]
        found[sample.path.name] = [(name, x1, y1, x2 - x1, y2 - y1) for name, x1, y1, x2, y2 in corners]
        assert sample.load_image().size == (SIDE, SIDE)
    assert_same(found, made, pixels=1)
    assert open_dataset(made).name == "hard" and len(open_dataset(made)) == COUNT - 1, "the folder itself is COCO"
    named = (made / "voc" / "labelmap.txt").read_text().splitlines()[1:]
    assert [line.split(":")[0] for line in named] == list(THINGS)


def test_metadata_has_a_row_an_image(made: Path) -> None:
    rows = [json.loads(line) for line in (made / "metadata.jsonl").read_text().splitlines()]
    found: dict[str, Boxes] = {}
    for row in rows:
        assert (made / row["file_name"]).is_file() and (row["width"], row["height"]) == (SIDE, SIDE)
        objects = row["objects"]
        assert {len(values) for values in objects.values()} == {len(objects["bbox"])}
        assert set(objects["attribute"]) <= {"hard"}
        boxes = [tuple(value / SIDE for value in box) for box in objects["bbox"]]
        found[Path(row["file_name"]).name] = [(n, *b) for n, b in zip(objects["category"], boxes, strict=True)]  # type: ignore[misc]
    assert_same(found, made, pixels=0)
    layouts = {row["id"]: row["layout"] for row in read_chunks(made).all_rows()}
    assert [row["text"] for row in rows] == [caption(Layout.from_json(layouts[row["image_id"]])) for row in rows]


def test_the_card_has_the_header_of_hugging_face(made: Path) -> None:
    _, header, text = (made / "README.md").read_text().split("---\n", 2)
    about = yaml.safe_load(header)
    assert about["task_categories"] == ["object-detection"] and about["size_categories"] == ["n<1K"]
    assert about["configs"][0]["data_files"][0]["path"] == ["metadata.jsonl", "images/**/*.png"]
    assert text.lstrip().startswith("# A generated data set")


def test_an_object_without_a_detector_has_no_score(made: Path) -> None:
    rows = json.loads((made / "annotations.json").read_text())["annotations"]
    assert rows and not any("score" in row or "confidence" in row for row in rows)


@pytest.mark.parametrize("name", ["metadata.jsonl", "voc/Annotations/000001.xml", "voc/ImageSets/Main/train.txt"])
def test_verify_finds_changed_forms(made: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    verify.add_arguments(parser)
    asked = parser.parse_args([str(made)])
    path = made / name
    before = path.read_bytes()
    assert verify.run(asked) == 0
    path.write_bytes(before.replace(b"0", b"1"))
    assert verify.run(asked) == 1 and f"{name} says something else" in capsys.readouterr().err
    path.write_bytes(before)


@pytest.mark.process
def test_the_tools_own_readers(made: Path, tmp_path: Path) -> None:
    """FiftyOne, Datumaro (of which CVAT's reader is made), Label Studio and Hugging Face."""
    python = os.environ.get("DETDIFFUSION_READERS")
    if python is None:
        pytest.skip("DETDIFFUSION_READERS names no Python with the tools; `make check-readers` makes one")
    out = tmp_path / "read.json"
    subprocess.run([python, READER, made, out], check=True)
    found: dict[str, Any] = json.loads(out.read_text())
    assert len(found) == 7
    for name, read in found.items():
        print(f"{name}: {len(read)} images")
        if name.endswith("yolo"):  # images without labels are read too, as those of nothing
            read = {image: boxes for image, boxes in read.items() if image in expected(made)}
        assert_same(read, made, pixels=2 if name.endswith("voc") else 0.001)
