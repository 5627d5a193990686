"""A student that is installed beside its teacher: what it shares, what it says, and what it needs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import add_small_detectors, write_small_model, write_small_student

from app.engine.studio import open_studio
from detdiffusion.core.parts import MANIFEST, shared_parts
from detdiffusion.detectors import load_detector, own_detectors
from detdiffusion.diffusion.examples import Examples, read_examples, write_examples
from detdiffusion.diffusion.manifest import read_teacher, read_vocabulary, verify, weights_hash, write_manifest
from detdiffusion.diffusion.pipeline import load_pipeline
from detdiffusion.errors import CheckpointError
from detdiffusion.layout import Layout
from detdiffusion.models.cause_classifier import CauseClassifier, CauseConfig, load_causes
from detdiffusion.text.vocabulary import Vocabulary
from training.__main__ import main

WORDS = Vocabulary(things=("cell", "platelet"), stuff=(), grid=(8, 8))
LAYOUT = Layout.from_json(
    {"width": 64, "height": 64, "objects": [{"label": "cell", "box": [0.1, 0.1, 0.5, 0.5], "attribute": "hard"}]}
)
SHARED = ["vae", "text_encoder", "blueprint", "perception_head", "tokenizer", "detectors", "causes"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher with detectors, classifier and an example, and a run whose student is not installed yet."""
    folder = tmp_path_factory.mktemp("made")
    teacher = write_small_model(folder / "models" / "cells", WORDS)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = CauseConfig(WORDS.things, {"blur": "blurred"}, widths=(8, 8, 8, 8))
        CauseClassifier(config, config.network()).save(teacher / "causes")
    add_small_detectors(teacher, WORDS.labels, "bundled", "judge")
    write_examples(Examples({"One cell": LAYOUT}), teacher)
    write_small_student(folder / "run" / "model", teacher)
    return folder


@pytest.fixture
def models(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made" / "models"


def install(models: Path, out: Path, *more: object) -> int:
    student = models.parent / "run" / "model"
    words = ["assemble", "--model", student, "--teacher", models / "cells", "--out", out, *more]
    return main([str(word) for word in words])


@pytest.fixture
def installed(models: Path) -> Path:
    assert install(models, models / "cells-fast") == 0
    return models / "cells-fast"


def test_what_is_the_same_lies_with_the_teacher(models: Path, installed: Path) -> None:
    verify(installed)
    assert shared_parts(installed) == dict.fromkeys(SHARED, "cells"), "names, and no paths"
    assert sorted(path.name for path in installed.iterdir() if path.is_dir()) == ["layouts", "scheduler", "unet"]
    manifest = json.loads((installed / MANIFEST).read_text())["sha256"]
    theirs = json.loads((models / "cells" / MANIFEST).read_text())["sha256"]
    assert all(manifest[name] == theirs[name] for name in theirs if name.split("/")[0] in SHARED)
    teacher = read_teacher(installed)
    assert teacher is not None and teacher.sha256 == weights_hash(models / "cells")
    assert weights_hash(installed) != teacher.sha256
    card = (installed / "README.md").read_text()
    assert "| sampling | 2 steps, guidance 1 |" in card and "| learned from | `cells` |" in card
    assert str(models) not in card + (installed / MANIFEST).read_text() + (installed / "model_index.json").read_text()


def test_it_draws_as_the_student_of_the_run(models: Path, installed: Path) -> None:
    whole, shared = (load_pipeline(folder) for folder in (models.parent / "run" / "model", installed))
    images = [pipe(LAYOUT, seeds=[1], output_type="np").images for pipe in (whole, shared)]
    assert np.array_equal(*images)
    teacher = load_pipeline(models / "cells")
    assert not np.array_equal(images[0], teacher(LAYOUT, seeds=[1], steps=4, output_type="np").images)
    assert shared.recommended.steps == 2 and not shared.recommended.guided
    assert own_detectors(installed) == ["bundled", "held-out"]
    assert load_detector("held-out", installed).name == "untrained judge"
    assert load_causes(installed) is not None
    assert read_examples(installed, read_vocabulary(installed)).layouts == {"One cell": LAYOUT}


def test_the_studio_lists_and_loads_it(models: Path, installed: Path, tmp_path: Path) -> None:
    studio = open_studio(models / "cells", tmp_path / "workspace")
    assert ("cells-fast (boxes, attributes), fast (2 steps)", "cells-fast") in studio.models.choices()
    assert ("cells (boxes, attributes)", "cells") in studio.models.choices()
    student = studio.models.get("cells-fast")
    assert student.detector.name == "untrained bundled" and student.classifier is not None
    studio.models.exchange(installed, "cells-fast")
    assert studio.detectors.names() == ["bundled", "judge"]
    assert studio.detectors.get("judge").name == "untrained judge"


def test_without_its_teacher_it_says_what_belongs_beside_it(models: Path, installed: Path, tmp_path: Path) -> None:
    (models / "cells").rename(models / "moved")
    said = r"shares its .*detectors, causes with cells, and .*cells is missing: copy both, cells beside cells-fast"
    with pytest.raises(CheckpointError, match=said):
        load_pipeline(installed)
    studio = open_studio(models / "moved", tmp_path / "workspace")
    assert "cells-fast" in dict(studio.models.choices()).values()
    with pytest.raises(CheckpointError, match=said):
        studio.models.get("cells-fast")


@pytest.mark.parametrize("part", SHARED)
def test_damage_to_what_it_shares_is_found(models: Path, installed: Path, part: str) -> None:
    file = next(
        path for path in sorted((models / "cells" / part).rglob("*")) if path.suffix in (".safetensors", ".json")
    )
    file.write_bytes(file.read_bytes()[:-1] + b" ")
    with pytest.raises(CheckpointError, match=rf"{file} is damaged.*with cells beside it"):
        verify(installed)


def other_weights(models: Path) -> None:
    shutil.copytree(models.parent / "run" / "model" / "unet", models / "cells" / "unet", dirs_exist_ok=True)
    write_manifest(models / "cells")


def no_student(models: Path) -> None:
    shutil.rmtree(models.parent / "run" / "model")
    shutil.copytree(models / "cells", models.parent / "run" / "model")


@pytest.mark.parametrize(
    ("change", "more", "reason"),
    [
        (other_weights, [], "learned from cells with other weights than"),
        (no_student, [], "is no student that says from whom it learned"),
        (None, ["--held-out-detector", "cells/detectors/judge"], "goes with --detector"),
        (None, ["--out", "../fast"], "does not lie beside"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    models: Path,
    change: Callable[[Path], None] | None,
    more: list[str],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if change is not None:
        change(models)
    given = [models / word if "/" in word else word for word in more]
    for dry in ([], ["--dry-run"]):
        assert install(models, models / "cells-fast", *given, *dry) == 2
        assert reason in capsys.readouterr().err
    assert not (models / "cells-fast").exists() and not (models.parent / "fast").exists()


def test_a_student_of_a_model_that_shares_names_the_one_that_holds_the_part(
    models: Path, installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that taking the one in the middle away breaks nothing but what it held."""
    second = write_small_student(models.parent / "second", installed)
    words = ["assemble", "--model", second, "--teacher", installed, "--out", models / "third"]
    assert main([str(word) for word in words]) == 0
    assert set(shared_parts(models / "third").values()) == {"cells"}
    words = ["assemble", "--model", models / "third", "--teacher", installed, "--out", models / "fourth"]
    assert main([str(word) for word in words]) == 2
    assert "shares parts with a model beside it: give one that is whole" in capsys.readouterr().err
