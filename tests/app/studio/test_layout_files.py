"""Layouts from files and links, and back."""

import base64
import io
import json
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.engine.studio import Studio
from app.studio.layout_files import Form, Opened, export_file, layout_of_link, link_of, open_files
from app.studio.results.form import Form as Settings
from app.studio.results.generate import generate
from detdiffusion.errors import DataError, DetDiffusionError, LayoutError
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import SamplingConfig

BOX = [0.1, 0.1, 0.5, 0.5]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture that no studio made, twice as wide as high."""
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (80, 40), (90, 160, 40)).save(path)
    return path


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else str(content).encode())
    return path


def boxes(opened: Opened) -> list[tuple[str, list[float]]]:
    return [(item["label"], [round(side, 3) for side in item["box"]]) for item in opened.layout["objects"]]


def size(opened: Opened) -> tuple[int, int]:
    return opened.layout["width"], opened.layout["height"]


def test_layout_json(studio: Studio, street: dict[str, Any], tmp_path: Path) -> None:
    opened = open_files(studio, [write(tmp_path, "layout.json", json.dumps(street))])
    assert (opened.layout, opened.recipe, opened.backdrop) == (street, None, "")


def test_missing_attributes_are_filled_in(studio: Studio, street: dict[str, Any], tmp_path: Path) -> None:
    objects = [{"label": "road", "box": BOX}, {"label": "car", "box": BOX}]
    opened = open_files(studio, [write(tmp_path, "layout.json", json.dumps({**street, "objects": objects}))])
    assert [item["attribute"] for item in opened.layout["objects"]] == ["background", "easy"]


def test_studio_picture_brings_back_layout_seed_and_settings(studio: Studio, street: dict[str, Any]) -> None:
    *_, last = generate(studio, street, Settings(True, 77, 4, 2.5, 0.5, "euler"), "me")
    assert last.picture.file is not None
    opened = open_files(studio, [last.picture.file])
    assert (opened.layout, opened.recipe) == (street, SamplingConfig(77, 4, 2.5, 0.5, "euler"))
    studio.models.present = replace(studio.model, sha256="of another model")
    assert "another model (tiny)" in open_files(studio, [last.picture.file]).note


def test_any_picture_becomes_what_the_detector_sees(studio: Studio, photo: Path) -> None:
    opened = open_files(studio, [photo])
    assert boxes(opened) == [("bus", [0.1, 0.2, 0.5, 0.6]), ("car", [0.6, 0.5, 0.9, 0.9])]
    assert size(opened) in ((128, 64), (64, 64)), "a size that the model can draw"
    assert "watcher finds 2 objects in photo.jpg" in opened.note
    shown = Image.open(io.BytesIO(base64.b64decode(opened.backdrop.partition(",")[2])))
    assert shown.size == (80, 40)
    assert np.allclose(np.asarray(shown).mean((0, 1)), (90, 160, 40), atol=6)


@pytest.mark.parametrize("with_image", [True, False])
@pytest.mark.parametrize("form", ["coco", "voc", "yolo"])
def test_annotations(studio: Studio, photo: Path, tmp_path: Path, form: str, with_image: bool) -> None:
    if form == "coco":
        other = {"id": 2, "image_id": 9, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}
        content = {
            "images": [{"id": 4, "file_name": "photo.jpg", "width": 80, "height": 40}],
            "annotations": [
                {"id": 1, "image_id": 4, "category_id": 1, "bbox": [8, 4, 32, 16], "area": 512, "iscrowd": 0},
                {"id": 3, "image_id": 4, "category_id": 2, "bbox": [0, 0, 8, 8], "area": 64, "iscrowd": 0},
            ],
            "categories": [{"id": 1, "name": "bus"}, {"id": 2, "name": "dragon"}],
        }
        if with_image:  # then the picture says which of them is meant
            content["images"].append({"id": 9, "file_name": "other.jpg", "width": 9, "height": 9})
            content["annotations"].append(other)
        files = [write(tmp_path, "instances.json", json.dumps(content))]
    elif form == "voc":

        def one(name: str, *corners: int) -> str:
            named = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
            inner = "".join(f"<{side}>{value}</{side}>" for side, value in named)
            return f"<object><name>{name}</name><bndbox>{inner}</bndbox></object>"

        objects = one("bus", 9, 5, 40, 20) + one("dragon", 1, 1, 8, 8)  # VOC counts from 1
        head = "<filename>elsewhere.png</filename><size><width>80</width><height>40</height><depth>3</depth></size>"
        files = [write(tmp_path, "a.xml", f"<annotation>{head}{objects}</annotation>")]
    else:
        files = [write(tmp_path, "a.txt", "0 0.3 0.3 0.4 0.4\n1 0.05 0.1 0.1 0.2\n")]
        files.append(write(tmp_path, "data.yaml", "names: [bus, dragon]\ntrain: images\n"))
    opened = open_files(studio, [*files, photo] if with_image else files)
    assert boxes(opened) == [("bus", [0.1, 0.1, 0.5, 0.5])]
    assert "dragon ×1" in opened.note
    assert bool(opened.backdrop) == with_image


def test_yolo_without_names_means_the_models_things(studio: Studio, tmp_path: Path) -> None:
    opened = open_files(studio, [write(tmp_path, "a.txt", "1 0.3 0.3 0.4 0.4\n")])
    assert boxes(opened) == [("car", [0.1, 0.1, 0.5, 0.5])]
    named = write(tmp_path, "classes.txt", "car\nbus\n")
    opened = open_files(studio, [tmp_path / "a.txt", named])
    assert boxes(opened) == [("bus", [0.1, 0.1, 0.5, 0.5])]


def plain_picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="PNG")
    return buffer.getvalue()


TWO = json.dumps({"images": [{"id": 1}, {"id": 2}], "annotations": [], "categories": []})
UNSIZED = json.dumps({"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": []})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("broken.json", b'{"width": 64', "not JSON"),
        ("list.json", b"[1, 2]", "needs to be a JSON object"),
        ("binary.json", b"\xff\xfe\x00", "not JSON"),
        ("large.json", b" " * 1_000_001, "too large to be a layout"),
        ("two.json", TWO.encode(), "describes 2 images"),
        ("unsized.json", UNSIZED.encode(), "how large its image is"),
        ("empty.json", b"", "empty.json is empty"),
        ("words.txt", b"hello", r"words.txt holds no object .*\(words.txt, line 1: hello\). Choose another file"),
        ("half.png", plain_picture()[:30], "cannot be read"),
        ("text.png", b"hello", "cannot be read"),
        ("bomb.xml", b"<!DOCTYPE x [<!ENTITY a 'aa'>]><annotation/>", "how large its image is"),
        ("empty.xml", b"<annotation/>", "how large its image is"),
        ("words.txt", b"a shopping list", "annotation without a box"),
        ("song.mp3", b"la", "not a layout"),
    ],
)
def test_files_that_cannot_be_opened(studio: Studio, tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DetDiffusionError, match=message):
        open_files(studio, [write(tmp_path, name, content)])


def test_a_picture_without_anything_known(studio: Studio, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(studio.model.detector), "min_score", 0.95)
    with pytest.raises(LayoutError, match="watcher finds nothing"):
        open_files(studio, [photo])


def test_one_layout_at_a_time(studio: Studio, street: dict[str, Any], photo: Path, tmp_path: Path) -> None:
    files = [write(tmp_path, f"{name}.json", json.dumps(street)) for name in "ab"]
    for several in (files, [photo, photo], [write(tmp_path, "classes.txt", "bus")]):
        with pytest.raises(LayoutError, match="choose one layout"):
            open_files(studio, several)


@pytest.mark.parametrize("form", list(Form))
def test_what_goes_out_comes_back(studio: Studio, street: dict[str, Any], tmp_path: Path, form: Form) -> None:
    layout = Layout.from_json(street)
    file = export_file(layout, form, studio.model.vocabulary.things, tmp_path / "out")
    files = [file]
    if form is Form.YOLO:
        with zipfile.ZipFile(file) as archive:
            archive.extractall(tmp_path / "yolo")
        files = sorted((tmp_path / "yolo").iterdir())
    opened = open_files(studio, files)
    wanted = Opened(street, "")
    assert boxes(opened) == boxes(wanted)
    assert size(opened) == size(wanted)


def test_links(street: dict[str, Any]) -> None:
    layout = Layout.from_json(street)
    text = link_of(layout)
    assert layout_of_link(text) == layout
    assert text.replace("-", "").replace("_", "").isalnum(), "nothing in it needs escaping"
    bomb = base64.urlsafe_b64encode(zlib.compress(b" " * 10_000_000)).decode()
    for damaged in (text[:-5], "%%%", "", "QUJD", bomb, base64.urlsafe_b64encode(zlib.compress(b"{}")).decode()):
        with pytest.raises(LayoutError):
            layout_of_link(damaged)


def test_errors_name_no_scratch_folder(studio: Studio, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_files(studio, [write(tmp_path, "a.txt", "7 0.3 0.3 0.4 0.4\n")])
    assert "tmp" not in str(caught.value).replace("a.txt", "")
