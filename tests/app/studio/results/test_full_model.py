"""A student beside its teacher: from one noise, named by what each has taken."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_models import write_small_student

from app.engine.studio import Studio, open_studio
from app.studio.results.compare import Pair, compare_pair
from app.studio.results.form import Form
from app.studio.results.full_model import fast_beside_full
from detdiffusion.diffusion.manifest import write_manifest
from detdiffusion.errors import ConfigError
from detdiffusion.image_record import read_image

FORM = Form(fixed=False, seed=5.0, steps=2.0, guidance_scale=1.0, sampler="ddim")


@pytest.fixture
def students(studio: Studio, tmp_path: Path) -> Studio:
    """A studio that begins with a student; its teacher lies beside it."""
    teacher = tmp_path / "models" / "whole"
    shutil.copytree(studio.models.home, teacher)
    return open_studio(write_small_student(tmp_path / "models" / "quick", teacher), tmp_path / "students")


def drawn(studio: Studio, street: dict[str, Any], form: Form = FORM) -> Pair:
    asked, sides = fast_beside_full(studio, form)
    *_, last = compare_pair(studio, street, asked, "me", sides)
    return last


def test_both_are_drawn_from_the_noise_that_the_form_shows(students: Studio, street: dict[str, Any]) -> None:
    view = drawn(students, street)
    assert (view.a.name, view.b.name) == ("Fast (2 steps)", "Full (20 steps)")
    assert view.table is not None and view.table.names == ("Fast (2 steps)", "Full (20 steps)")
    assert view.a.file is not None and view.b.file is not None
    fast, full = (read_image(picture.file).to_json() for picture in (view.a, view.b))
    assert {name: fast[name] for name in ("model", "seed", "steps", "guidance_scale", "sampler")} == {
        "model": "quick", "seed": 5, "steps": 2, "guidance_scale": 1.0, "sampler": "ddim",
    }  # fmt: skip
    assert {name: full[name] for name in ("model", "seed", "steps", "guidance_scale")} == {
        "model": "whole", "seed": 5, "steps": 20, "guidance_scale": 2.0,
    }  # fmt: skip
    assert "sampler" not in full, "the teacher's own"
    tags = [[str(box.attribute) for box in read_image(picture.file).layout.boxes] for picture in (view.a, view.b)]
    assert tags == [["easy", "hard", "background"]] * 2, "as they are tagged"


def test_it_is_named_by_the_steps_that_are_asked_of_it(students: Studio, street: dict[str, Any]) -> None:
    assert drawn(students, street, replace(FORM, steps=3.0)).a.name == "Fast (3 steps)"


def test_the_teacher_is_known_by_its_weights(students: Studio, tmp_path: Path) -> None:
    assert students.models.teacher() == "whole"
    teacher = tmp_path / "models" / "whole"
    renamed = teacher.rename(teacher.with_name("renamed"))
    assert students.models.teacher() == "renamed"
    shutil.copytree(tmp_path / "models" / "quick" / "unet", renamed / "unet", dirs_exist_ok=True)
    write_manifest(renamed)
    assert students.models.teacher() is None
    with pytest.raises(ConfigError, match="quick has no full model here"):
        fast_beside_full(students, FORM)


def test_a_model_that_is_no_student_has_none(studio: Studio, students: Studio) -> None:
    assert studio.models.teacher() is None
    students.models.exchange(studio.models.home, "tiny")
    assert students.models.teacher() is None
