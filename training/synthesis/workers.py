"""Who draws the missing chunks of a job: processes on this machine, or tasks on a Ray cluster.

A worker takes the next chunk that is neither committed nor claimed. A claim is a lock on a file, which a process that
dies lets go of, so its chunk is drawn by another one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from detdiffusion.core.files import claim
from detdiffusion.errors import ConfigError, DataError
from training.core.chunks import Chunks
from training.core.cli import Report, progress
from training.synthesis.store import Job

if TYPE_CHECKING:
    from training.synthesis.sampler import Generator

POLL_SECONDS = 0.2
MAX_DEATHS = 5  # of workers, without a chunk between them
BAD_INPUT = 2  # exit code of a command that can say why

OnDone = Callable[[int], None]  # pictures that are there


def work(job: Job, index: int = 0) -> None:
    """Draws chunks until none is missing.

    index: of the worker: with several accelerators, each has its own.
    """
    from training.synthesis.sampler import Generator

    chunks = job.chunks
    generator = None
    while missing := chunks.missing():
        for chunk in missing:
            with claim(job.out / "claims" / f"{chunk:05d}") as ours:
                if ours and chunk not in chunks.done():
                    generator = generator or Generator(_on_its_device(job, index))
                    generator.make(chunk)
                    break
        else:
            time.sleep(POLL_SECONDS)  # others draw what is left; if they die, it is ours


@contextmanager
def _counted(chunks: Chunks) -> Iterator[Report]:
    """A progress bar of the pictures; those that are there already say nothing about the time left."""
    with progress("images", "image") as report:
        report.status.progress(_images(chunks), chunks.count, report.stage, report.unit, made=False)
        yield report


def run_local(job: Job, workers: int) -> None:
    """Draws what is missing with processes of this machine; those that die are started again.

    Raises:
        DataError: a worker said why it cannot go on, or workers die without a chunk between them.
    """
    chunks = job.chunks
    crew = [_Worker(job.out, index) for index in range(min(workers, len(chunks.missing())))]
    try:
        with _counted(chunks) as report:
            _watch(chunks, crew, lambda done: report(done, job.count, {}))
    finally:
        for worker in crew:
            worker.end()


def check_ray() -> None:
    """ConfigError where Ray is not installed: seen without importing it."""
    if find_spec("ray") is None:
        raise ConfigError("--engine ray needs Ray: pip install -r requirements-ray.txt")


def run_ray(job: Job) -> None:
    """The same on a Ray cluster: a task a chunk, drawn again when its worker dies. The cluster is that of RAY_ADDRESS,
    else one of this machine's cores; all its machines need the model, the data and the job's folder at the same paths.

    Raises:
        ConfigError: Ray is not installed.
        DataError: a chunk could not be drawn.
    """
    check_ray()
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    chunks = job.chunks
    here = {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "RAY_USAGE_STATS_ENABLED": "0"}
    ray.init(runtime_env={"env_vars": here}, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    draw = ray.remote(max_retries=MAX_DEATHS, retry_exceptions=False, num_gpus=1 if _accelerated(job) else 0)(
        draw_chunk
    )
    try:
        waiting = [draw.remote(str(job.out.resolve()), chunk) for chunk in chunks.missing()]
        with _counted(chunks) as report:
            while waiting:
                finished, waiting = ray.wait(waiting, timeout=POLL_SECONDS)
                ray.get(finished)
                report(_images(chunks), job.count, {})
    except ray.exceptions.RayTaskError as error:
        raise DataError(f"a chunk could not be drawn: {error.cause}") from error
    finally:
        ray.shutdown()


_GENERATORS: dict[str, Generator] = {}  # of this process, by the job's folder: a Ray worker draws many chunks


def draw_chunk(out: str, chunk: int) -> None:
    """One chunk of the job in a folder, unless it is committed."""
    from training.synthesis.request import read_job
    from training.synthesis.sampler import Generator

    job = read_job(Path(out))
    if chunk not in job.chunks.done():
        if out not in _GENERATORS:
            _GENERATORS.clear()
            _GENERATORS[out] = Generator(job)
        _GENERATORS[out].make(chunk)


@dataclass(slots=True)
class _Worker:
    """A process that draws, started again when it dies."""

    out: Path
    index: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "training.synthesis.worker", str(self.out), str(self.index)]
        command.append(str(os.getpid()))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def log(self) -> Path:
        return self.out / "logs" / f"worker-{self.index}.txt"

    @property
    def code(self) -> int | None:
        """Exit code; None while it works, or was not started."""
        return None if self.process is None else self.process.poll()

    def last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.removeprefix("error: ") for line in reversed(lines) if line.strip()), "nothing")

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


def _watch(chunks: Chunks, crew: Sequence[_Worker], on_done: OnDone) -> None:
    deaths, seen = 0, len(chunks.done())
    for worker in crew:
        worker.start()
    while chunks.missing():
        time.sleep(POLL_SECONDS)
        now = len(chunks.done())
        if now > seen:
            deaths, seen = 0, now
            on_done(_images(chunks))
        for worker in crew:
            if not worker.code:
                continue  # it works, or has found nothing more to do
            if worker.code == BAD_INPUT:
                raise DataError(worker.last_words())
            deaths += 1
            if deaths >= MAX_DEATHS:
                raise DataError(
                    f"workers died {deaths} times without finishing a chunk; the last words of one were: "
                    f"{worker.last_words()}"
                )
            worker.start()


def _images(chunks: Chunks) -> int:
    return sum(len(chunks.numbers(chunk)) for chunk in chunks.done())


def _on_its_device(job: Job, index: int) -> Job:
    """With several accelerators, each worker has its own."""
    if not _accelerated(job) or (job.device and ":" in job.device):
        return job
    import torch

    return replace(job, device=f"cuda:{index % torch.cuda.device_count()}")


def _accelerated(job: Job) -> bool:
    from detdiffusion.core.devices import device_of

    return device_of(job.device, draws=True).type == "cuda"
