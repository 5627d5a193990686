"""A student's folder beside its teacher's: what is the same in both lies in the teacher's, and is named there."""

from __future__ import annotations

import shutil
from pathlib import Path

from detdiffusion.core.parts import ONLOOKERS, part_folder
from detdiffusion.diffusion.manifest import read_teacher, same_parts, share_part, verify, weights_hash
from detdiffusion.errors import ConfigError


def check_teacher(student: Path, teacher: Path, out: Path) -> None:
    """Before a student is put beside its teacher.

    Raises:
        ConfigError: it is no student, or of another teacher; or `out` does not lie beside the teacher.
        CheckpointError: the teacher's folder is missing or damaged.
    """
    verify(teacher)
    learned_from = read_teacher(student)
    if learned_from is None:
        raise ConfigError(
            f"{student} is no student that says from whom it learned (python -m training distill): give --detector "
            "instead of --teacher"
        )
    if learned_from.sha256 != weights_hash(teacher):
        raise ConfigError(
            f"{student} learned from {learned_from.name} with other weights than {teacher} has: give that model with "
            "--teacher, or distill this one again"
        )
    if out.resolve().parent != teacher.resolve().parent:
        raise ConfigError(
            f"{out} does not lie beside {teacher}, whose parts it is to share: give --out "
            f"{teacher.parent / out.name}, or copy the teacher to {out.parent} first"
        )


def bring_from_teacher(folder: Path, teacher: Path) -> list[str]:
    """Copies what a student's folder is to share, in the very bytes of the teacher, and returns the names of the parts:
    those of the same weights, whose settings another version may have written otherwise; detectors and classifier."""
    same = same_parts(folder, teacher)
    for part in same:
        shutil.rmtree(folder / part)
    parts = [*same, *(part for part in ONLOOKERS if part_folder(teacher, part).is_dir())]
    for part in parts:
        shutil.copytree(part_folder(teacher, part), folder / part)
    return parts


def share_with_teacher(folder: Path, teacher: Path, parts: list[str]) -> None:
    """Takes the parts out of a folder with a manifest: each is compared by its hashes, and then named."""
    for part in parts:
        share_part(folder, part, teacher)
