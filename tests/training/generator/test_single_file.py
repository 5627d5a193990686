"""A whole Stable Diffusion v1 model in one file becomes the folder that it was, with no network."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from single_files import write_single_file

from detdiffusion.diffusion.stable_diffusion import pipeline_from_stable_diffusion
from detdiffusion.errors import CheckpointError, ConfigError, DetDiffusionError
from detdiffusion.text.vocabulary import Vocabulary
from training.generator.convert import convert

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, published: ModuleType) -> Path:
    folder: Path = published.write_stable_diffusion(tmp_path_factory.mktemp("base") / "sd", safety=False)
    return folder


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    return write_single_file(base, tmp_path_factory.mktemp("file") / "v1-5-pruned.safetensors")


def test_a_single_file_becomes_the_folder_that_it_was(base: Path, file: Path, tmp_path: Path) -> None:
    assert convert(file, tmp_path / "model", like=base) is None
    vocabulary = Vocabulary(("car",), ("road",), (8, 8))
    how: dict[str, Any] = {"blueprint_config": None, "head_config": None, "seed": 0}
    one, two = (pipeline_from_stable_diffusion(place, vocabulary, **how) for place in (base, tmp_path / "model"))
    for part in ("unet", "vae", "text_encoder"):
        torch.testing.assert_close(getattr(two, part).state_dict(), getattr(one, part).state_dict())


def of_another_size(file: Path, target: Path) -> None:
    tensors = load_file(file)
    name = "model.diffusion_model.input_blocks.0.0.weight"
    save_file({**tensors, name: torch.zeros(16, 4, 3, 3)}, target)


def without_text(file: Path, target: Path) -> None:
    save_file({name: value for name, value in load_file(file).items() if not name.startswith("cond_")}, target)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (of_another_size, r"whole\.safetensors does not fit the configuration of .*"),
        (without_text, r"lacks text_encoder \(cond_stage_model\.transformer\.\*\); its names begin with first_stage"),
        (
            lambda _, target: save_file({"a.b": torch.zeros(1)}, target),
            r"lacks unet .*vae .*text_encoder .*begin with a$",
        ),
        (lambda _, target: target.write_bytes(b"cut off"), r"whole\.safetensors is damaged"),
    ],
)
def test_files_of_another_form_are_refused_with_what_differs(
    base: Path, file: Path, tmp_path: Path, write: Any, message: str
) -> None:
    write(file, tmp_path / "whole.safetensors")
    with pytest.raises(CheckpointError, match=message):
        convert(tmp_path / "whole.safetensors", tmp_path / "model", like=base)
    assert not (tmp_path / "model").exists()


def test_what_a_single_file_needs_beside_it(base: Path, file: Path, tmp_path: Path) -> None:
    cases: list[tuple[Path, Path | None, type[DetDiffusionError], str]] = [
        (file, None, ConfigError, "holds weights alone: name a Stable Diffusion folder .* with --like"),
        (file, tmp_path, CheckpointError, "is no model folder"),
        (base, base, ConfigError, r"is a folder: --like is for a single \.safetensors file"),
    ]
    (tmp_path / "v1.ckpt").write_bytes(b"x")
    cases.append((tmp_path / "v1.ckpt", base, CheckpointError, r"v1\.ckpt: a single file needs to be \.safetensors"))
    for source, like, error, message in cases:
        with pytest.raises(error, match=message):
            convert(source, tmp_path / "model", like=like)
