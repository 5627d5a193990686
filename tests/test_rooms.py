"""What import-linter does not ask: packages load without heavy libraries, and nobody stands on tests or benchmarks."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("detdiffusion", "training", "app")
HEAVY = ("torch", "torchvision", "diffusers", "transformers", "ultralytics", "gradio")


def test_packages_load_without_torch() -> None:
    """Importing a package and its sub-packages (not their files) brings in no heavy library, by whatever way."""
    places = sorted(path.parent for package in PACKAGES for path in (ROOT / package).rglob("__init__.py"))
    names = [".".join(place.relative_to(ROOT).parts) for place in places]
    code = f"import sys, {', '.join(names)}; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("folder", [*PACKAGES, "tests", "benchmarks"])
def test_nobody_imports_tests_or_benchmarks(folder: str) -> None:
    """Tests and benchmarks neither: what two of them share belongs in a package or in a conftest."""
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"tests", "benchmarks"}, path


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_says_what_is_in_it(package: str) -> None:
    for path in (ROOT / package).rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


@pytest.fixture(scope="module")
def house() -> dict[str, list[dict[str, object]]]:
    command = [sys.executable, "-m", "benchmarks.rooms", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, list[dict[str, object]]] = json.loads(done.stdout)
    return found


def test_rooms_are_few_and_loosely_joined(house: dict[str, list[dict[str, object]]]) -> None:
    for package, rooms in house.items():
        assert len(rooms) <= 15, package
        assert sum(len(room["inside"]) for room in rooms) <= 60, package


def test_picture_and_table_of_the_docs_are_of_today(house: dict[str, list[dict[str, object]]]) -> None:
    """`python -m benchmarks.rooms --docs` writes them."""
    page = (ROOT / "docs/ARCHITECTURE.md").read_text(encoding="utf-8")
    picture = (ROOT / "docs/rooms.svg").read_text(encoding="utf-8")
    rooms = [room for found in house.values() for room in found]
    table = page.partition("<!-- rooms -->")[2].partition("<!-- /rooms -->")[0].strip().splitlines()[2:]
    assert table == [f"| `{str(room['name']).replace('.', '/')}` | {room['about']} |" for room in rooms]
    assert re.findall(r"<text[^>]*>([^<]*)</text>", picture)[1:] == [
        text
        for package, found in house.items()
        for text in (f"{package}/", *(str(room["name"]).partition(".")[2] for room in found))
    ]
