"""Small data sets of two images, written as tools and people write them: files by path, for `build`.

Image a has a cat, b a dog, where `data_trees.OBJECTS` says.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from data_trees import HEIGHT, OBJECTS, WIDTH, picture, row, voc
from PIL import ExifTags, Image

Content = str | bytes | Callable[[Path], None]  # of a file: its text, its bytes, or what writes it


def build(folder: Path, files: Mapping[str, Content]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content.replace("{root}", str(folder)), encoding="utf-8", newline="")
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content(path)
    return folder


# --- YOLO -----------------------------------------------------------------------------------------

CONFIG = "train: images\nnames: [cat, dog]\n"
CAT, DOG = row("a"), row("b")


def yolo(
    config: str | None = CONFIG,
    a: str | None = CAT,
    b: str | None = DOG,
    more: Mapping[str, Content] = MappingProxyType({}),
) -> dict[str, Content]:
    """data.yaml, images/ and labels/; None: that file is not there. more: other files."""
    given = {"data.yaml": config, "labels/a.txt": a, "labels/b.txt": b}
    images = {"images/a.jpg": picture, "images/b.jpg": picture}
    return {**images, **{name: text for name, text in given.items() if text is not None}, **more}


def named(names: str) -> dict[str, Content]:
    return yolo(f"train: images\nnames: {names}\n")


def listed(lines: str) -> dict[str, Content]:
    return yolo("train: train.txt\nnames: [cat, dog]\n", more={"train.txt": lines})


# --- COCO -----------------------------------------------------------------------------------------

Row = dict[str, Any]
Change = Callable[[Row], Row]


def same(about: Row) -> Row:
    return about


def without(*names: str) -> Change:
    return lambda about: {name: value for name, value in about.items() if name not in names}


def as_polygon(about: Row) -> Row:
    x, y, w, h = about.pop("bbox")
    return {**about, "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}


def coco(
    files: tuple[str, ...] = ("a.jpg", "b.jpg"),
    *,
    number: Callable[[int], object] = int,
    image: Change = same,
    thing: Change = same,
    more: tuple[Row, ...] = (),
) -> str:
    """An annotation file: of every image its first letter's object; c has none. number: writes ids; image, thing:
    change their rows."""
    classes = {name: number(at) for at, name in enumerate(("cat", "dog"), 1)}
    images: list[Row] = [
        image({"id": number(at), "file_name": name, "width": WIDTH, "height": HEIGHT})
        for at, name in enumerate(files, 1)
    ]
    things: list[Row] = []
    for at, name in enumerate(files, 1):
        if (stem := Path(name).stem) in "ab":
            label, (x1, y1, x2, y2) = OBJECTS[stem]
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            things.append(thing({"id": number(at), "image_id": number(at), "category_id": classes[label], **box}))
    categories = [{"id": value, "name": name} for name, value in classes.items()]
    return json.dumps({"info": {}, "images": images, "annotations": [*things, *more], "categories": categories})


def beside(text: str, *names: str, images: Mapping[str, Content] | None = None) -> dict[str, Content]:
    """annotations/instances_train.json and train/ with these images."""
    shown = images or dict.fromkeys(names or ("a.jpg", "b.jpg"), picture)
    return {"annotations/instances_train.json": text, **{f"train/{name}": content for name, content in shown.items()}}


def flat(number: int, **box: list[int]) -> Row:
    return {"id": number, "image_id": 1, "category_id": 1, **box}


# --- Pascal VOC -----------------------------------------------------------------------------------


def devkit(a: str, **more: Content) -> dict[str, Content]:
    """Annotations/ and JPEGImages/, with that text for a. more: the lists of ImageSets/Main."""
    sets = {f"ImageSets/Main/{name}.txt": content for name, content in more.items()}
    annotations = {"Annotations/a.xml": a, "Annotations/b.xml": voc("b")}
    return {**annotations, **sets, "JPEGImages/a.jpg": picture, "JPEGImages/b.jpg": picture}


def edges(*values: float) -> str:
    """a.xml with other corners, which count from 1."""
    sides = zip(("xmin", "ymin", "xmax", "ymax"), values, strict=True)
    box = "".join(f"<{name}>{value}</{name}>" for name, value in sides)
    return f"<annotation><object><name>cat</name><bndbox>{box}</bndbox></object></annotation>"


# --- images ---------------------------------------------------------------------------------------


def turned(path: Path) -> None:
    """As a phone stores it that was held upright: pixels lie on their side, EXIF says so."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (WIDTH, HEIGHT), "tan").save(path, exif=exif)


def deep(path: Path) -> None:
    Image.fromarray(np.full((HEIGHT, WIDTH), 40_000, np.uint16)).save(path)


def cut_short(path: Path) -> None:
    Image.effect_noise((WIDTH, HEIGHT), 50).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def plain(path: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT), "tan").save(path)


def upright(about: Row) -> Row:
    return {**about, "width": HEIGHT, "height": WIDTH} if about["file_name"] == "a.jpg" else about


def called(name: str) -> Change:
    return lambda about: {**about, "file_name": about["file_name"].replace("a.jpg", name)}


def first_of(image: Content, text: str, name: str = "a.jpg") -> dict[str, Content]:
    return beside(text, images={name: image, "b.jpg": picture})
