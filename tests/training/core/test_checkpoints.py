"""Checkpoints survive kills and damage; randomness is a function of (seed, step, index)."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from detdiffusion.errors import DataError
from training.core import checkpoints as resume
from training.core.checkpoints import (
    checkpoint_step,
    epoch_order,
    latest_checkpoint,
    pack_modules,
    pack_optimizer,
    sample_generator,
    save_checkpoint,
    unpack_modules,
    unpack_optimizer,
)


def draw(seed: int, step: int, index: int) -> float:
    return float(torch.rand((), generator=sample_generator(seed, step, index)))


def test_every_sample_of_every_step_has_its_own_noise() -> None:
    draws = {draw(seed, step, index) for seed in range(3) for step in range(3) for index in range(3)}
    assert len(draws) == 27
    assert draw(1, 2, 3) == draw(1, 2, 3)


def test_an_epoch_is_a_permutation_and_the_next_is_another() -> None:
    assert sorted(epoch_order(0, 0, 50)) == list(range(50))
    assert epoch_order(0, 0, 50) != epoch_order(0, 1, 50)


def test_the_last_two_checkpoints_stay(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"x": torch.full((2,), float(step))})
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000002", "step-00000003"]
    step, tensors = latest_checkpoint(tmp_path) or (0, {})
    assert step == 3 and tensors["x"].tolist() == [3.0, 3.0]


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_checkpoint(tmp_path, 1, {"x": torch.zeros(8)})
    damaged = save_checkpoint(tmp_path, 2, {"x": torch.ones(8)}) / resume.WEIGHTS
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    (tmp_path / ".partial-00000003").mkdir()
    step, tensors = latest_checkpoint(tmp_path) or (0, {})
    assert step == 1 and tensors["x"].sum() == 0
    said = capsys.readouterr().err
    assert "step-00000002" in said and "SHA-256" in said and ".partial-00000003" in said


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    save_checkpoint(tmp_path, 1, {"x": torch.zeros(1)})

    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(resume, "save_file", full)
    with pytest.raises(
        DataError, match=r"step 2 could not be written .*(the disk is full|No space left).*free some space"
    ):
        save_checkpoint(tmp_path, 2, {"x": torch.zeros(1)})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "absent") is None and checkpoint_step(tmp_path / "absent") == 0


def test_the_newest_step_is_known_without_loading(tmp_path: Path) -> None:
    for step in (9, 10):
        save_checkpoint(tmp_path, step, {"x": torch.zeros(1)})
    (tmp_path / ".partial-00000011").mkdir()
    assert checkpoint_step(tmp_path) == 10


def test_modules_and_optimizer_come_back_whole() -> None:
    def made() -> tuple[torch.nn.Linear, torch.optim.AdamW]:
        module = torch.nn.Linear(3, 2)
        return module, torch.optim.AdamW(module.parameters(), lr=0.1)

    def update(module: torch.nn.Linear, optimizer: torch.optim.AdamW) -> None:
        optimizer.zero_grad()
        module(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()

    module, optimizer = made()
    update(module, optimizer)
    packed = pack_modules({"m": module}) | pack_optimizer(optimizer)
    packed = {name: tensor.clone() for name, tensor in packed.items()}
    update(module, optimizer)
    other, other_optimizer = made()
    unpack_modules({"m": other}, packed)
    unpack_optimizer(other_optimizer, packed)
    update(other, other_optimizer)
    assert torch.equal(module.weight, other.weight) and torch.equal(module.bias, other.bias)


def test_a_manifest_that_says_another_step_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It would end in other weights: the step is hashed with the weights, and stands in the folder's name."""
    save_checkpoint(tmp_path, 11, {"x": torch.zeros(8)})
    newest = save_checkpoint(tmp_path, 22, {"x": torch.ones(8)})
    manifest = newest / resume.MANIFEST
    whole = manifest.read_text()
    for text in (
        whole.replace('"step": 22', '"step": 23'),
        json.dumps({"step": 23, "sha256": json.loads(whole)["sha256"]}),  # of version 0.1, without a seal
        json.dumps({"step": 22}),
        "[]",
        "{",
    ):
        manifest.write_text(text)
        assert (latest_checkpoint(tmp_path) or (0,))[0] == 11
        assert "step-00000022: unreadable" in capsys.readouterr().err
    manifest.write_text(json.dumps({"step": 22, "sha256": json.loads(whole)["sha256"]}))
    (tmp_path / "step-00000033-backup").mkdir()
    (tmp_path / "step-99").mkdir()
    assert (latest_checkpoint(tmp_path) or (0,))[0] == checkpoint_step(tmp_path) == 22
