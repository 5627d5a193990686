"""The generated images of a table that nobody has made yet: of the data's own layouts, and planned ones.

They are made by `plan` and `generate`, which resume: what is finished is not made again.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detdiffusion.attributes import Strategy
from detdiffusion.core.files import claim, json_hash
from detdiffusion.core.settings import check_settings, keep_settings
from detdiffusion.diffusion.manifest import model_hash, read_vocabulary
from detdiffusion.errors import ConfigError
from training.core.cli import progress
from training.core.status import STATUS, RunState, RunStatus, status_writer
from training.data.datasets import Dataset, data_words
from training.data.subset import TRAIN, write_subset
from training.studies.trainability_request import TrainabilityRequest
from training.synthesis.exports import ANNOTATIONS

IMAGES, SETTINGS, PLANNED = "images", "settings.json", "planned"
SPARE = 1.5  # images that are asked for, where some are refused, for one that is needed


@dataclass(frozen=True, slots=True)
class ImageOrder:
    """Folders of `generate` that a table needs and nobody has named.

    names: of the folders. count: images that each needs. real, chosen: the images that are learned from; of a part of
    the data a folder is made that holds no others, so that no layout is of another image.
    """

    request: TrainabilityRequest
    names: tuple[str, ...]
    count: int
    real: Dataset
    chosen: Sequence[int]

    @classmethod
    def of(cls, request: TrainabilityRequest, real: Dataset, chosen: Sequence[int]) -> ImageOrder | None:
        """None where every row has its images.

        Args:
            chosen: places of the real images to learn from.
        """
        if request.model is None or not request.generated:
            return None
        tagged = bool(read_vocabulary(request.model).attribute_words)
        names = [*Strategy] if tagged else [Strategy.ORIGIN]  # without tags there is neither easy nor hard
        planned = [] if request.diagnosis is None else [PLANNED]
        there = {path.name for path in request.synthetic}
        missing = tuple(str(name) for name in (*names, *planned) if name not in there)
        count = max(1, round(max(request.shares, default=1) * len(chosen)))
        return cls(request, missing, count, real, chosen) if missing else None

    @property
    def home(self) -> Path:
        """Where the folders are."""
        return self.request.out / IMAGES

    @property
    def finished(self) -> bool:
        """Whether nothing is left to make."""
        return all(map(self._is_finished, self.names))

    def check(self, *, begun: bool) -> None:
        """What can be seen to be wrong before hours of work.

        Args:
            begun: whether the table has settings already, and so the images that it is of.

        Raises:
            ConfigError: the images or the table were begun with other settings, or arguments contradict each other.
            CheckpointError, DataError, DetectorError, LayoutError: as `generate` and `plan` have it.
        """
        if begun and not (self.home / SETTINGS).exists():
            raise ConfigError(f"{self.request.out} holds a table without images of --model: give another --out")
        check_settings(self.home / SETTINGS, self._settings())
        left = [name for name in self.names if not self._is_finished(name)]
        if PLANNED in left and not self._layouts.exists():
            _run("plan", (*self._plan(), "--dry-run"))
        own = next((name for name in left if name != PLANNED or self._layouts.exists()), None)
        if own is not None:  # they differ in their tags alone
            _run("generate", (*self._generate(own), "--dry-run"))

    def make(self) -> list[Path]:
        """The folders, once all are finished. Of several processes one makes them, and the others wait for it."""
        folders = [self.home / name for name in self.names]
        if self.finished:
            return folders
        with claim(self.home / "claim", wait=True):
            keep_settings(self.home / SETTINGS, self._settings())
            for number, name in enumerate(self.names):
                if not self._is_finished(name):
                    about = {"stage": f"images: {name}", "unit": "folder"}
                    status_writer().say(RunState.RUNNING, done=number, total=len(self.names), **about)
                    print(about["stage"], file=sys.stderr)
                    self._make(name)
        return folders

    def _make(self, name: str) -> None:
        if name == PLANNED:
            if not self._layouts.with_suffix(".summary.json").exists():
                _run("plan", self._plan())
        elif self._partial and not self._parted:
            with progress("part", "image") as report:
                write_subset(self.real, self.chosen, self._part, TRAIN, report)
        _run("generate", self._generate(name))

    @property
    def _partial(self) -> bool:
        return len(self.chosen) < len(self.real)

    @property
    def _part(self) -> Path:
        return self.home / "real"

    @property
    def _layouts(self) -> Path:
        return self.home / f"{PLANNED}.jsonl"

    @property
    def _asked(self) -> int:
        """Images of each folder; more than are needed where some will be refused."""
        return math.ceil(SPARE * self.count) if "--check" in self.request.generate else self.count

    def _is_finished(self, name: str) -> bool:
        status = RunStatus.read(self.home / name / STATUS)
        return status is not None and status.state is RunState.FINISHED and (self.home / name / ANNOTATIONS).exists()

    @property
    def _parted(self) -> bool:
        return (self._part / "annotations" / f"instances_{TRAIN}.json").exists()

    def _sources(self, name: str) -> list[str]:
        """Arguments that name the layouts: planned ones, or those of the real images."""
        if name == PLANNED:
            return ["--layouts", str(self._layouts)]
        if self._parted:
            return ["--layouts", str(self._part), "--split", TRAIN]
        request = self.request
        return ["--layouts", *data_words(request.data, request.split, request.reading)[1:]]

    def _plan(self) -> list[str]:
        return ["--diagnosis", str(self.request.diagnosis), "--count", str(self._asked), "--out", str(self._layouts)]

    def _generate(self, name: str) -> list[str]:
        """Planned layouts have their own tags."""
        drawn = ["--model", str(self.request.model), "--strategy", Strategy.ORIGIN if name == PLANNED else name]
        device = [] if self.request.device is None else ["--device", self.request.device]
        asked = [*self._sources(name), "--count", str(self._asked), *device, *self.request.generate]
        return [*drawn, *asked, "--out", str(self.home / name)]

    def _settings(self) -> dict[str, Any]:
        """What the images depend on that their own manifests do not hold."""
        from training.studies.trainability_slices import Slices

        request = self.request
        key = None if request.diagnosis is None else Slices.read(request.diagnosis).key
        about = {"data": json_hash([self.real.fingerprint, list(self.chosen)]), "diagnosis": key}
        assert request.model is not None  # there is an order
        words = {"count": self._asked, "generate": list(request.generate)}
        return {"model": model_hash(request.model), **about, **words}


def _run(verb: str, words: Sequence[str]) -> None:
    """The command, in this process; what it prints is said beside the table.

    Raises:
        ConfigError: `--generate` has an argument that the verb does not take.
        DetDiffusionError: what the command raises.
    """
    from training.diagnosis import plan_command
    from training.synthesis import command

    module: Any = {"plan": plan_command, "generate": command}[verb]
    parser = argparse.ArgumentParser(prog=f"python -m training {verb}")
    module.add_arguments(parser)
    try:
        arguments = parser.parse_args(words)
    except SystemExit as error:
        raise ConfigError("--generate has arguments that the verb generate does not take, see above") from error
    with redirect_stdout(sys.stderr):
        module.run(arguments)
