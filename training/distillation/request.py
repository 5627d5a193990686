"""What a distillation is asked for, and what can be seen of it without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from detdiffusion.core.files import file_hash
from detdiffusion.detectors import BUNDLED, detector_path
from detdiffusion.diffusion.manifest import (
    INDEX,
    check_model,
    is_gligen,
    read_recommended,
    read_teacher,
    read_vocabulary,
    verify,
    weights_hash,
)
from detdiffusion.errors import ConfigError
from training.data.attributes import read_attributes
from training.data.datasets import open_dataset
from training.data.papercut.classes import STUFF, THINGS
from training.data.request import AS_IT_IS, Reading
from training.distillation.config import DistillConfig
from training.distillation.lora import check_peft


@dataclass(frozen=True, slots=True)
class DistillRequest:
    """What one distillation is asked for. data, attributes: of a world that is not the built-in one."""

    model: Path
    out: Path
    config: DistillConfig
    data: Path | None = None
    split: str | None = None
    attributes: Path | None = None
    reading: Reading = AS_IT_IS

    @property
    def start(self) -> Path | None:
        """Folder of an earlier student that this one goes on from; None: it begins as its teacher."""
        return Path(self.config.training.start) if self.config.training.start else None

    def check(self) -> list[str]:
        """Opens the data, if there are any, and returns what is to be said of them.

        Raises:
            ConfigError: the model needs data, is a student itself, or GLIGEN's; the student to begin as is not of it,
                or of other steps; or LoRA weights are asked for without peft.
            CheckpointError, DetectorError: it has no vocabulary, or no detector for scenes of the built-in world.
            DataError: the data cannot be read, or the attributes are not theirs.
        """
        if self.config.lora_rank:
            check_peft()
        if not read_recommended(self.model).guided:
            raise ConfigError(f"{self.model} is a student itself: give the model that it learned from")
        if is_gligen(self.model):
            raise ConfigError(
                f"{self.model} is GLIGEN's, which sees boxes in its first steps alone: it has no student here"
            )
        if self.start is not None:
            self._check_start(self.start)
        words = read_vocabulary(self.model)
        if self.data is None and (words.things, words.stuff) != (THINGS, STUFF):
            raise ConfigError(
                f"{self.model} draws another world than Papercut: give images of it with --data DIR, and for a model "
                "that knows easy and hard --attributes FILE.jsonl (python -m training annotate)"
            )
        if self.data is not None and self.attributes is None and words.attribute_words:
            raise ConfigError(
                f"{self.model} knows easy and hard objects: give --attributes FILE.jsonl of --data (python -m training "
                "annotate)"
            )
        if self.data is None:
            detector_path(BUNDLED, self.model)  # gives the scenes their attributes
            return []
        dataset = open_dataset(self.data, split=self.split, reading=self.reading)
        if self.attributes is not None:
            read_attributes(self.attributes, dataset)
        return dataset.describe()

    def _check_start(self, folder: Path) -> None:
        check_model(folder)
        verify(folder)
        learned_from, steps = read_teacher(folder), read_recommended(folder).steps
        if learned_from is None or learned_from.sha256 != weights_hash(self.model) or steps != self.config.steps:
            raise ConfigError(
                f"training.start is {folder}, which is no student of {self.model} in {self.config.steps} steps: give "
                "an earlier student of the same model and steps, or leave it empty"
            )

    def kept(self) -> dict[str, object]:
        """What stays with the run: a teacher of other weights is another run."""
        manifest = self.model / "manifest.json"
        start = {} if self.start is None else {"start": weights_hash(self.start)}
        return {
            **self.config.to_json(),
            "teacher": file_hash(manifest if manifest.is_file() else self.model / INDEX),
            "data": None if self.data is None else str(self.data.resolve()),
            "attributes": None if self.attributes is None else file_hash(self.attributes),
            **start,
        }
