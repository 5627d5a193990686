"""The trees of docs/DATA_FOLDERS.md, one for each form of data set, and what builds them."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from training.data.request import Reading

PAGE = Path(__file__).resolve().parents[2] / "docs" / "DATA_FOLDERS.md"
WIDTH, HEIGHT = 64, 48
CLASSES = ("cat", "dog")
OBJECTS = {"a": ("cat", (24, 12, 40, 36)), "b": ("dog", (12, 6, 20, 18)), "c": ("cat", (2, 4, 30, 40))}


@dataclass(frozen=True)
class Tree:
    """Files by path, with what the page says of them, and the arguments of the command."""

    files: dict[str, str]
    arguments: str

    @property
    def split_by(self) -> dict[str, str]:
        """What a loop needs of data in one piece: a share by which a.jpg and b.jpg come apart."""
        return {} if any(path.endswith("c.jpg") for path in self.files) else {"split_by": "0.5"}

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
