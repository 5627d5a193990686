"""Many processes do what one does: who works on what, sums, and real runs under torchrun and accelerate launch."""

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import warm

from detdiffusion.errors import ConfigError
from training.__main__ import main
from training.core import processes
from training.core.processes import Processes, join_processes
from training.generator import trainer

ROOT = Path(__file__).resolve().parents[3]
LOSSES = ("total", "denoise", "mask", "dice", "gradient_norm", "learning_rate")
TORCHRUN = ("torch.distributed.run", "--nproc-per-node", "2")
SECONDS = 300  # for a whole launch, on a busy machine

COUNTS_ITSELF = """
import os, pathlib, sys
from training.__main__ import main
from training.core import processes

processes.BUCKET = 2**12
pathlib.Path(sys.argv[1], "rank-" + os.environ["RANK"]).touch()
sys.exit(main(sys.argv[2:]))
"""


def die_in_the_fifth_step(words: list[str]) -> int:
    """A training whose second rank is killed."""
    steps, backward = itertools.count(), trainer._backward

    def die(*given: Any) -> Any:
        if next(steps) == 4 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return backward(*given)

    trainer._backward = die
    processes.BUCKET = 2**12  # many for a small model, too
    return main(words)


class AlreadyThere:
    def wait(self) -> None:
        """There is nothing to wait for."""


def rows(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def launch(*words: object, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *map(str, words)]
    environment = {**environment, "PYTHONPATH": str(ROOT)}  # scripts, unlike modules, do not find us otherwise
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )


@pytest.mark.parametrize(
    ("count", "batch", "micro_batch", "expected"),
    [
        (1, 4, 4, [[[0, 1, 2, 3]]]),
        (1, 5, 2, [[[0, 1], [2, 3], [4]]]),
        (2, 4, 4, [[[0, 1]], [[2, 3]]]),
        (2, 6, 2, [[[0, 1], [2]], [[3, 4], [5]]]),
        (3, 3, 1, [[[0]], [[1]], [[2]]]),
    ],
)
def test_a_batch_is_dealt_out(count: int, batch: int, micro_batch: int, expected: list[list[list[int]]]) -> None:
    dealt = [Processes(rank, count).positions(batch, micro_batch) for rank in range(count)]
    assert [[list(part) for part in parts] for parts in dealt] == expected
    assert [Processes(rank, count).main for rank in range(count)] == [rank == 0 for rank in range(count)]


def test_a_batch_that_cannot_be_dealt_out_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch is 5, and 2 processes cannot share it evenly"):
        Processes(0, 2).positions(5, 1)


def test_one_process_needs_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    found, device = join_processes()
    assert found == Processes() and found.main and device.type in ("cpu", "cuda")
    tensor = torch.ones(2)
    found.sum([tensor])
    found.wait()
    assert tensor.tolist() == [1, 1] and found.any(True, torch.device("cpu")) and not found.any(False, tensor.device)


def test_sums_are_sent_by_dtype_in_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[torch.dtype, int]] = []

    def twice(flat: torch.Tensor, async_op: bool) -> AlreadyThere:  # as if the other process had the same
        sent.append((flat.dtype, flat.numel()))
        flat.mul_(2)
        return AlreadyThere()

    monkeypatch.setattr(processes.dist, "all_reduce", twice)
    tensors = [torch.ones(2, 2), torch.ones(3, dtype=torch.bfloat16), torch.arange(2.0), torch.ones(1).double()]
    Processes(0, 2).sum(tensors)
    assert sent == [(torch.float32, 6), (torch.bfloat16, 3), (torch.float64, 1)]
    assert [tensor.tolist() for tensor in tensors] == [[[2, 2], [2, 2]], [2, 2, 2], [0, 2], [2]]


@pytest.mark.parametrize("bucket", [1, 40, 10_000])
def test_sums_are_sent_in_buckets(monkeypatch: pytest.MonkeyPatch, bucket: int) -> None:
    """No message is larger than a bucket, unless one tensor is: that one is sent from where it lies."""
    tensors = [torch.arange(float(n)).reshape(shape) for n, shape in ((4, (2, 2)), (3, (3,)), (24, (4, 6)), (2, (2,)))]
    tensors += [torch.arange(16.0).reshape(1, 4, 2, 2).to(memory_format=torch.channels_last)]
    expected = [3 * tensor for tensor in tensors]
    waiting: list[torch.Tensor] = []
    most: list[int] = []
    sizes: list[int] = []

    class Later:
        def __init__(self, flat: torch.Tensor) -> None:
            waiting.append(flat)
            most.append(len(waiting))
            sizes.append(flat.nbytes)
            self.flat = flat

        def wait(self) -> None:
            self.flat.mul_(3)
            assert waiting.pop(0) is self.flat

    monkeypatch.setattr(processes, "BUCKET", bucket)
    monkeypatch.setattr(processes.dist, "all_reduce", lambda flat, async_op: Later(flat))
    Processes(0, 2).sum(tensors)
    assert all(torch.equal(*pair) for pair in zip(tensors, expected, strict=True)) and not waiting
    assert sizes == {1: [16, 12, 96, 8, 64], 40: [28, 96, 8, 64], 10_000: [196]}[bucket]
    assert max(most) == min(2, len(sizes))


def test_a_process_without_a_gpu_of_its_own_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="process 1 of this machine has no GPU of its own; there are 1"):
        join_processes()


@pytest.fixture(scope="module")
def alone(papercut: Any, cache: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    """The log of one process with the whole batch."""
    out = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", cache["XDG_CACHE_HOME"])
        patch.setattr(torch.cuda, "is_available", lambda: False)
        assert main(papercut.words(out, "steps=10")) == 0
    return rows(out)


def check_same(found: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    assert [row["step"] for row in found] == list(range(1, len(expected) + 1))
    for one, other in zip(expected, found, strict=True):
        for name in LOSSES:
            assert other[name] == pytest.approx(one[name], rel=1e-4, abs=1e-4), (one["step"], name)


@pytest.mark.process
@pytest.mark.long
def test_a_rank_that_dies_and_torchrun_goes_on(
    papercut: Any, cache: dict[str, str], alone: list[dict[str, float]], tmp_path: Path, free_port: int
) -> None:
    """Together they equal one process."""
    out = tmp_path / "run"
    words = papercut.words(out, "steps=10")
    dying = warm.ranks(die_in_the_fifth_step, words, port=free_port, said=tmp_path / "said", environment=cache)
    for rank in dying:
        rank.join(SECONDS)
    assert dying[1].exitcode == -signal.SIGKILL
    assert dying[0].exitcode not in (0, None), "all stop within the timeout"
    assert len(rows(out)) == 4 and (out / "checkpoints" / "step-00000003").is_dir()
    check_same(rows(out), alone[:4])
    resume((*TORCHRUN, "--master-port", free_port), words, tmp_path, cache)
    check_same(rows(out), alone)


@pytest.mark.long
@pytest.mark.process
def test_accelerate_starts_them_too(
    papercut: Any, cache: dict[str, str], alone: list[dict[str, float]], tmp_path: Path, free_port: int
) -> None:
    """With `--multi_gpu`, which takes what devices there are; with `--cpu` it leaves starting to MPI."""
    launcher = ("accelerate.commands.launch", "--multi_gpu", "--num_processes", 2, "--main_process_port", free_port)
    resume(launcher, papercut.words(tmp_path / "run", "steps=10"), tmp_path, cache)
    check_same(rows(tmp_path / "run"), alone)


def resume(launcher: tuple[object, ...], words: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Two processes go on with the training in `folder/run`, or begin it."""
    counting = folder / "counting.py"
    counting.write_text(COUNTS_ITSELF)
    done = launch(*launcher, counting, folder, *words, environment=environment)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.glob("rank-*")) == ["rank-0", "rank-1"]
    assert done.stdout.splitlines() == [str(folder / "run" / "model")], "the first process alone speaks"


def test_a_device_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert join_processes("cpu") == (Processes(), torch.device("cpu"))
    with pytest.raises(ConfigError, match="--device nonsense: there is no such device"):
        join_processes("nonsense")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="each of the 2 processes takes a device of its own"):
        join_processes("cpu:0")
