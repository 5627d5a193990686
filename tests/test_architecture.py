"""Holds the import map of docs/ARCHITECTURE.md: which file may import which, and where heavy libraries may be seen.

`violations(root)` reads the sources only (nothing is imported), lazy and type-checking imports included; the second
half of this file plants each kind of offence in a small tree and expects it to be named: the checker itself can fail.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Each package's files in the order in which data flows through them: a file imports only from files above it.
ORDER: dict[str, tuple[str, ...]] = {
    "detdiffusion": (
        "errors",
        "arguments",
        "layout",
        "json_stream",
        "detection",
        "attributes",
        "vocabulary",
        "prompt",
        "models.autoencoder",
        "models.features",
        "models.perception_head",
        "models.blueprint",
        "models.control",
        "losses",
        "checkpoint",
        "sampling",
        "pipeline",
        "masks",
        "stable_diffusion",
        "detectors.folder",
        "detectors.names",
        "detectors.ultralytics",
        "detectors.torchvision",
        "detectors.darknet",
        "detectors.yolov4",
        "detectors.results_file",
        "detectors",
        "comparison",
        "drawing",
        "evaluation.coco_ap",
        "evaluation.bootstrap",
        "evaluation.fid",
        "evaluation.effect",
        "evaluation.report",
        "__main__",
    ),
    "training": (
        "config",
        "papercut",
        "pictures",
        "checks",
        "index",
        "coco",
        "folders",
        "layouts",
        "datasets",
        "processes",
        "resume",
        "runs",
        "metrics",
        "autoencoder",
        "subset",
        "autoencoder_command",
        "detector_learning",
        "detector",
        "attribute_file",
        "attribute_report",
        "folds",
        "annotate",
        "latents",
        "samples",
        "model",
        "batch",
        "step",
        "trainer",
        "probe",
        "bundle",
        "convert",
        "train",
        "layout_sources",
        "evaluation_job",
        "evaluation_views",
        "evaluation_eyes",
        "evaluation_cast",
        "picture_distances",
        "mask_quality",
        "evaluation_report",
        "evaluation",
        "evaluate",
        "augment",
        "refinement",
        "generation_job",
        "generation",
        "generation_order",
        "generation_engine",
        "generation_worker",
        "data_card",
        "exports",
        "generate",
        "verify",
        "ablation",
        "trainability_data",
        "trainability",
        "report_data",
        "report_blocks",
        "report_plots",
        "report_sections",
        "report_tables",
        "report",
        "closed_loop",
        "__main__",
    ),
    "app": (
        "editor",
        "comparer",
        "messages",
        "forms",
        "canvas_sizes",
        "layout_store",
        "turns",
        "history",
        "history_export",
        "run_files",
        "processes",
        "run_chain",
        "charts",
        "jobs",
        "views",
        "services",
        "costs",
        "insight",
        "training_orders",
        "training_handlers",
        "evaluation_orders",
        "evaluation_handlers",
        "dataset_orders",
        "dataset_handlers",
        "handlers",
        "gallery_views",
        "gallery_handlers",
        "layout_files",
        "tabs.layout_card",
        "tabs.sides_form",
        "tabs.shown",
        "tabs.recipe_form",
        "tabs.difficulty",
        "tabs.inside",
        "tabs.studio",
        "tabs.training",
        "tabs.gallery",
        "tabs.dataset",
        "tabs.evaluation",
        "tabs.settings",
        "api",
        "page",
        "__main__",
    ),
}
PACKAGES = ("app", "training", "detdiffusion")  # each may import itself and those to its right

ELSEWHERE = {"tests", "benchmarks"}  # imported by nobody
FORBIDDEN = {
    "detdiffusion": {"gradio", "accelerate", "argcomplete", "click", "fire", "typer"},
    "training": {"gradio"},
    "app": set[str](),
}
ULTRALYTICS_FILE = "detdiffusion.detectors.ultralytics"
LEARNING = {
    f"training.{name}"
    for name in ("autoencoder", "detector_learning", "batch", "step", "resume", "trainer", "train", "bundle")
}


def module_name(path: Path, root: Path) -> str:
    """`detdiffusion/models/__init__.py` -> `detdiffusion.models`, `app/editor.py` -> `app.editor`."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources(root: Path) -> dict[str, Path]:
    return {module_name(path, root): path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))}


def imported_names(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Every dotted name that the source may import, wherever the statement stands; `from a import b` gives `a.b`."""
    home = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=origin, names=names, level=level):
                base = [*home[: len(home) - level + 1]] if level else []
                yield from (".".join([*base, *([origin] if origin else []), alias.name]) for alias in names)
            case ast.Call(func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module")):
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield first.value


def own_module(name: str, known: dict[str, Path]) -> str | None:
    """`detdiffusion.layout.Box` -> `detdiffusion.layout`: the longest beginning of the name that is a file of ours."""
    parts = name.split(".")
    return next((found for n in range(len(parts), 0, -1) if (found := ".".join(parts[:n])) in known), None)


def rank(module: str) -> int | None:
    """A file's place in its package's order. A subpackage that the map lists as a whole ranks all its files alike."""
    package, _, rest = module.partition(".")
    order = ORDER[package]
    parts = rest.split(".")
    return next((order.index(part) for n in range(len(parts), 0, -1) if (part := ".".join(parts[:n])) in order), None)


def is_bare(path: Path) -> bool:
    """A package file that holds a docstring and nothing else needs no place in the order."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return path.name == "__init__.py" and all(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body
    )


def own_faults(module: str, target: str) -> Iterator[str]:
    """What is wrong with `module` importing `target`, both files of ours."""
    here, there = module.split(".")[0], target.split(".")[0]
    if PACKAGES.index(there) < PACKAGES.index(here):
        yield f"{module} imports {target}: {here} may not import {there}"
    elif here == there and target not in (module, here):
        mine, its = rank(module), rank(target)
        siblings = module.rpartition(".")[0] == target or module == target.rpartition(".")[0]
        if mine is not None and its is not None and its >= mine and not (its == mine and siblings):
            yield f"{module} imports {target}, which stands below it"
    if here == "app" and target in LEARNING:
        yield f"{module} imports {target}: the app starts training as a process of its own"


def foreign_faults(module: str, name: str, path: Path) -> Iterator[str]:
    """What is wrong with `module` importing `name`, which is not ours."""
    top = name.split(".")[0]
    if top in ELSEWHERE:
        yield f"{module} imports {name}: nobody imports {top}"
    if top in FORBIDDEN[module.split(".")[0]]:
        yield f"{module} imports {top}, which has no place in {module.split('.')[0]}"
    if top == "ultralytics" and module != ULTRALYTICS_FILE:
        yield f"{module} imports ultralytics: only {ULTRALYTICS_FILE} may"
    if top in ("torch", "torchvision") and path.name == "__init__.py":
        yield f"{module}/__init__ imports {top}"
    if module.startswith("app.") and name.startswith("torch.optim"):
        yield f"{module} imports {name}: no training loop in the app"


def trains(tree: ast.AST) -> bool:
    """True if the source walks gradients back: the mark of a training loop."""
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "backward"
        for node in ast.walk(tree)
    )


def reaches(start: str, graph: dict[str, set[str]], goal: str) -> bool:
    """True if importing `start` brings `goal` in, over any number of files of ours."""
    seen, todo = set[str](), [start]
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        names = graph.get(module, set())
        if any(name.split(".")[0] == goal for name in names):
            return True
        todo += [name for name in names if name in graph]
    return False


def violations(root: Path) -> list[str]:
    """Every offence against the map in the tree under `root`, as readable lines; empty if it holds."""
    known, found, graph = sources(root), list[str](), dict[str, set[str]]()
    for module, path in known.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if rank(module) is None and module not in PACKAGES and not is_bare(path):
            found.append(f"{module} is not on the map: list it in ORDER and in docs/ARCHITECTURE.md")
        if module.startswith("app.") and trains(tree):
            found.append(f"{module} calls backward(): no training loop in the app")
        graph[module] = set()
        for name in imported_names(tree, module, path.name == "__init__.py"):
            target = own_module(name, known)
            graph[module].add(target or name)
            found += own_faults(module, target) if target else foreign_faults(module, name, path)
    if reaches("app.handlers", graph, "gradio"):
        found.append("app.handlers brings gradio in, itself or through a file that it imports")
    return sorted(set(found))


def test_map_holds() -> None:
    assert violations(ROOT) == []


def test_no_file_of_the_project_imports_tests_or_benchmarks() -> None:
    """Tests and benchmarks too: what two of them share belongs in a package or in a conftest."""
    offenders = [
        f"{path.relative_to(ROOT)}: {name}"
        for folder in ("tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        for name in imported_names(ast.parse(path.read_text(encoding="utf-8")), module_name(path, ROOT), False)
        if name.split(".")[0] in ELSEWHERE
    ]
    assert offenders == []


def test_packages_load_without_torch() -> None:
    """Importing a package and its subpackages (not their files) brings in no heavy library, by whatever way."""
    packages = [module for module, path in sources(ROOT).items() if path.name == "__init__.py"]
    heavy = ("torch", "torchvision", "diffusers", "transformers", "ultralytics", "gradio")
    code = f"import sys, {', '.join(packages)}; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_public_map_lists_every_file() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    files = [path for path in sources(ROOT).values() if path.name != "__init__.py"]
    assert [str(path.relative_to(ROOT)) for path in files if path.name not in text] == []


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("detdiffusion/layout.py", "from detdiffusion import pipeline", "detdiffusion.pipeline, which stands below"),
        ("detdiffusion/layout.py", "from .pipeline import Pipeline", "detdiffusion.pipeline, which stands below"),
        ("detdiffusion/layout.py", "def f():\n    import detdiffusion.pipeline", "which stands below"),
        ("detdiffusion/models/features.py", "from ..pipeline import x", "detdiffusion.pipeline, which stands below"),
        ("detdiffusion/models/features.py", "from . import blueprint", "models.blueprint, which stands below"),
        ("detdiffusion/layout.py", "import training.config", "detdiffusion may not import training"),
        ("detdiffusion/layout.py", "from app import views", "detdiffusion may not import app"),
        ("training/config.py", "from app.views import Row", "training may not import app"),
        ("training/config.py", "import gradio as gr", "training.config imports gradio"),
        ("detdiffusion/layout.py", "import accelerate", "detdiffusion.layout imports accelerate"),
        ("detdiffusion/layout.py", "import typer", "detdiffusion.layout imports typer"),
        ("training/config.py", "from ultralytics import YOLO", "training.config imports ultralytics"),
        (
            "app/views.py",
            "import importlib\nimportlib.import_module('ultralytics.nn')",
            "app.views imports ultralytics",
        ),
        ("detdiffusion/models/__init__.py", "import torch.nn", "detdiffusion.models/__init__ imports torch"),
        ("app/handlers.py", "import gradio", "app.handlers brings gradio in"),
        ("app/handlers.py", "from app.editor import Editor", "app.handlers brings gradio in"),
        ("app/services.py", "from training.trainer import train", "the app starts training as a process"),
        ("app/services.py", "loss.backward()", "app.services calls backward()"),
        ("app/services.py", "from torch.optim import AdamW", "no training loop in the app"),
        ("training/config.py", "from tests.helpers import x", "nobody imports tests"),
        ("training/config.py", "import benchmarks.speed", "nobody imports benchmarks"),
        ("training/novelty.py", "import json", "training.novelty is not on the map"),
    ],
)
def test_checker_names_each_offence(tmp_path: Path, file: str, source: str, complaint: str) -> None:
    plant_lawful_tree(tmp_path)
    assert violations(tmp_path) == []
    (tmp_path / file).write_text(source, encoding="utf-8")
    found = violations(tmp_path)
    assert any(complaint in line for line in found), found


def plant_lawful_tree(root: Path) -> None:
    """A small tree that keeps every rule: sideways, upwards and relative imports, a facade, heavy libraries at home."""
    lawful = {
        "detdiffusion/__init__.py": '"""The model."""',
        "detdiffusion/errors.py": "",
        "detdiffusion/layout.py": "from detdiffusion.errors import LayoutError\nfrom . import errors",
        "detdiffusion/models/__init__.py": '"""Parts."""',
        "detdiffusion/models/features.py": "import torch\nfrom ..layout import Box",
        "detdiffusion/models/blueprint.py": "from .features import Taps\nfrom detdiffusion.models import features",
        "detdiffusion/pipeline.py": "import torch, diffusers\nfrom detdiffusion.models.blueprint import Blueprint",
        "detdiffusion/detectors/__init__.py": "def f():\n    from detdiffusion.detectors.ultralytics import load",
        "detdiffusion/detectors/ultralytics.py": "import ultralytics\nfrom detdiffusion.layout import Box",
        "training/__init__.py": "",
        "training/config.py": "from detdiffusion.layout import Box",
        "training/trainer.py": "import torch.optim\nfrom training.config import C\nloss.backward()",
        "app/__init__.py": "",
        "app/editor.py": "import gradio",
        "app/views.py": "from dataclasses import dataclass",
        "app/services.py": "import detdiffusion.pipeline\nfrom training import config\nfrom app.views import Row",
        "app/handlers.py": "from app.services import S\nfrom app.views import Row",
        "app/__main__.py": "import gradio\nfrom app.handlers import h",
    }
    for name, source in lawful.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
