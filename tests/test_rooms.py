"""What import-linter does not ask: packages load without heavy libraries, and nobody stands on tests or benchmarks."""

import ast
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
