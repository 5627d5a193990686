"""How the house stands: for every room its files, lines, and the rooms that it imports from.

    python -m benchmarks.rooms             prints it
    python -m benchmarks.rooms --json      for a program
    python -m benchmarks.rooms --docs      writes the picture docs/rooms.svg and the table in docs/ARCHITECTURE.md

A room is a sub-package, or a single file beside sub-packages. An import between two rooms counts once, however many
files make it; imports for type checking and inside functions count too. Order and layers are import-linter's
(pyproject.toml).
"""

import argparse
import ast
import json
import re
import tomllib
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import grimp
from markupsafe import Markup

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("app", "training", "detdiffusion")
PICTURE, PAGE = ROOT / "docs/rooms.svg", ROOT / "docs/ARCHITECTURE.md"
TABLE = re.compile(r"(?<=<!-- rooms -->\n).*?(?=<!-- /rooms -->)", re.DOTALL)


@dataclass(frozen=True)
class Room:
    """layer: 0 at the top. inside, below: rooms of the same package, of packages below, that it imports from."""

    name: str
    about: str
    layer: int
    files: int
    lines: int
    inside: tuple[str, ...]
    below: tuple[str, ...]


def layers(package: str) -> list[list[str]]:
    """The rooms of a package from top to bottom, those that do not know each other side by side."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [contract for contract in contracts if contract.get("containers") == [package]]
    return [layer.split(" | ") for layer in contract["layers"]]


def read_rooms(package: str, graph: grimp.ImportGraph) -> list[Room]:
    """In the order of the layers."""
    imports: dict[str, set[str]] = defaultdict(set)
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            imports[_room_of(module)].add(_room_of(imported))
    found = []
    for place, layer in enumerate(layers(package)):
        for name in layer:
            folder = ROOT / package / name
            paths = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
            first = folder / "__init__.py" if folder.is_dir() else paths[0]
            about = (ast.get_docstring(ast.parse(first.read_text(encoding="utf-8"))) or "").partition("\n\n")[0]
            full = f"{package}.{name}"
            others = sorted(imports[full] - {full})
            found.append(
                Room(
                    full,
                    " ".join(about.split()),
                    place,
                    len(paths),
                    sum(path.read_text(encoding="utf-8").count("\n") for path in paths),
                    tuple(other for other in others if other.startswith(f"{package}.")),
                    tuple(other for other in others if not other.startswith(f"{package}.")),
                )
            )
    return found


def upwards(found: list[Room]) -> list[str]:
    """Imports of a room from its own layer or one above."""
    layer = {room.name: room.layer for room in found}
    return [f"{room.name} -> {other}" for room in found for other in room.inside if layer[other] <= room.layer]


def _room_of(module: str) -> str:
    """`training.data.coco` -> `training.data`; a package's own `__init__` is no room."""
    return ".".join(module.split(".")[:2])


def as_text(house: dict[str, list[Room]]) -> str:
    lines = []
    for package, found in house.items():
        count = sum(len(room.inside) for room in found)
        lines.append(f"{package}: {len(found)} rooms, {count} imports between them, {len(upwards(found))} upwards")
        for room in found:
            inside = ", ".join(name.partition(".")[2] for name in room.inside)
            lines.append(f"  {room.name:28} {room.files:3} files {room.lines:6} lines  <- {inside}")
    return "\n".join(lines)


def as_table(house: dict[str, list[Room]]) -> str:
    """Markdown: what is in each room."""
    rows = [f"| `{room.name.replace('.', '/')}` | {room.about} |" for found in house.values() for room in found]
    return "\n".join(["| room | what is in it |", "|---|---|", *rows]) + "\n"


def as_picture(house: dict[str, list[Room]]) -> str:
    """SVG: a column for each package, its rooms in layers; imports go down and to the right, never up."""
    wide, high, gap, top = 296, 34, 8, 78
    height = top + max(room.layer + 1 for found in house.values() for room in found) * (high + gap) + 16
    parts = []
    for column, package in enumerate(house):
        left = 24 + column * (wide + 24)
        parts.append(Markup('<text x="{}" y="52" font-size="17" font-weight="600">{}/</text>').format(left, package))
        for number, layer in enumerate(layers(package)):
            each = (wide - gap * (len(layer) - 1)) / len(layer)
            for place, name in enumerate(layer):
                x, y = left + place * (each + gap), top + number * (high + gap)
                folder = (ROOT / package / name).is_dir()
                size = min(13.0, (each - 8) / (0.58 * len(name)))
                parts.append(
                    Markup(
                        '<rect x="{:.1f}" y="{}" width="{:.1f}" height="{}" rx="8" fill="{}" stroke="#d8d4c8"/>'
                        '<text x="{:.1f}" y="{}" text-anchor="middle" font-size="{:.1f}">{}</text>'
                    ).format(x, y, each, high, "#fff" if folder else "#f0eee6", x + each / 2, y + 22, size, name)
                )
    width = 24 + len(house) * (wide + 24)
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" font-family="system-ui, sans-serif" '
        'fill="#1f2430"><rect width="{w}" height="{h}" rx="14" fill="#f7f6f1"/>'
        '<text x="24" y="26" font-size="13" fill="#5b6070">Imports go down a column and to the right, never up. White: '
        "a folder; grey: a single file; side by side: rooms that do not know each other.</text>\n{parts}\n</svg>\n"
    ).format(w=width, h=height, parts=Markup("\n").join(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for a program")
    form.add_argument("--docs", action="store_true", help="write the picture and the table of docs/")
    arguments = parser.parse_args()
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    house = {package: read_rooms(package, graph) for package in PACKAGES}
    if arguments.json:
        print(json.dumps({package: [asdict(room) for room in found] for package, found in house.items()}, indent=1))
    elif arguments.docs:
        PICTURE.write_text(as_picture(house), encoding="utf-8")
        PAGE.write_text(TABLE.sub(lambda _: as_table(house), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(as_text(house))


if __name__ == "__main__":
    main()
