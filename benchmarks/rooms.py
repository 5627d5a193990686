"""How the house stands: for every room its files, lines, and the rooms that it imports from.

    python -m benchmarks.rooms [--json]

A room is a sub-package, or a single file beside sub-packages. An import between two rooms counts once, however many
files make it. Imports of type checking and inside functions count too.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("detdiffusion", "training", "app")


def room_of(module: str) -> str:
    """`training.data.coco` -> `training.data`; a package's own `__init__` is no room."""
    return ".".join(module.split(".")[:2])


def rooms(package: str, graph: grimp.ImportGraph) -> dict[str, dict[str, object]]:
    """Room -> files, lines, and what it imports inside its package and from the packages below."""
    found: dict[str, dict[str, object]] = {}
    imports: dict[str, set[str]] = defaultdict(set)
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            if room_of(imported) != room_of(module):
                imports[room_of(module)].add(room_of(imported))
    for place in sorted((ROOT / package).iterdir()):
        paths = sorted(place.rglob("*.py")) if place.is_dir() else [place]
        if place.name in ("__init__.py", "__pycache__") or not paths or place.suffix not in ("", ".py"):
            continue
        room = f"{package}.{place.stem}"
        found[room] = {
            "files": len(paths),
            "lines": sum(path.read_text(encoding="utf-8").count("\n") for path in paths),
            "inside": sorted(other for other in imports[room] if other.startswith(f"{package}.")),
            "below": sorted(other for other in imports[room] if not other.startswith(f"{package}.")),
        }
    return found


def upwards(found: dict[str, dict[str, object]]) -> list[str]:
    """Pairs of rooms that import each other, directly or around corners: no order of the rooms could mend that."""

    def reach(room: str) -> set[str]:
        seen, todo = set(), [room]
        while todo:
            for other in found[todo.pop()]["inside"]:
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        return seen

    below = {room: reach(room) for room in found}
    return sorted(f"{a} <-> {b}" for a in below for b in below[a] if a < b and a in below[b])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="for a program")
    arguments = parser.parse_args()
    graph = grimp.build_graph(*PACKAGES, cache_dir=None, include_external_packages=False)
    report = {}
    for package in PACKAGES:
        found = rooms(package, graph)
        report[package] = {
            "rooms": len(found),
            "imports_between_rooms": sum(len(room["inside"]) for room in found.values()),
            "circles": upwards(found),
            "details": found,
        }
    if arguments.json:
        print(json.dumps(report, indent=1))
        return
    for package, told in report.items():
        print(f"{package}: {told['rooms']} rooms, {told['imports_between_rooms']} imports between them")
        for room, detail in told["details"].items():
            inside = ", ".join(name.rpartition(".")[2] for name in detail["inside"])
            print(f"  {room:28} {detail['files']:3} files {detail['lines']:6} lines  <- {inside}")
        print(f"  circles: {', '.join(told['circles']) or 'none'}")


if __name__ == "__main__":
    main()
