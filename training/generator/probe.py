"""Looks at the model while it learns: the same layouts from the same noise, and whether a detector finds the boxes.

Users of layout-to-image models complain most often that boxes are silently ignored; the curve of this probe says it
long before a person looks at pictures.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.detection import Detector
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.drawing import grid
from detdiffusion.evaluation.effect import measure, numbers
from detdiffusion.layout import Layout
from training.core.status import cut_rows
from training.generator.batch import SampleStore
from training.generator.config import GeneratorConfig

BATCH = 8  # pictures
PIXELS = 256  # of a picture's longer side in the grid, at most


@dataclass(frozen=True, slots=True)
class Probe:
    """Writes `out/samples/step-00000250.png` (rows: origin, easy, hard) and a row of `out/probe.jsonl`.

    detector: None, or the one whose recall is measured.
    """

    pipe: DetDiffusionPipeline
    layouts: tuple[Layout, ...]
    detector: Detector | None
    out: Path
    sampler_steps: int

    @classmethod
    def of(
        cls,
        pipe: DetDiffusionPipeline,
        store: SampleStore,
        config: GeneratorConfig,
        detector: Detector | None,
        out: Path,
        start: int,
    ) -> "Probe":
        """On layouts spread evenly over the data; rows behind step `start` are of a killed run and go."""
        cut_rows(out / "probe.jsonl", start)
        count = min(config.sample_layouts, len(store.layouts))
        chosen = tuple(store.layouts[i * len(store.layouts) // count] for i in range(count))
        pipe.set_progress_bar_config(disable=True)  # the training has its own
        return cls(pipe, chosen, detector, out, config.sampler_steps)

    def __call__(self, step: int) -> None:
        """Draws the layouts in every strategy, and writes the grid and what the detector says of it."""
        strategies = list(Strategy) if self.pipe.vocabulary.attribute_words else [Strategy.ORIGIN]
        pictures: list[Image.Image] = []
        row: dict[str, float] = {}
        for strategy in strategies:
            drawn = [apply_strategy(self.pipe.vocabulary.resolve(layout), strategy) for layout in self.layouts]
            images = []
            for first in range(0, len(drawn), BATCH):
                part = drawn[first : first + BATCH]
                seeds = range(first, first + len(part))
                images += self.pipe(part, seeds=seeds, steps=self.sampler_steps).images
            pictures += images
            if self.detector is not None:
                block = measure(drawn, self.detector.detect(images), self.detector)
                row |= {f"recall_{strategy}": block.recall50, f"confidence_{strategy}": block.mean_confidence}
        path = self.out / "samples" / f"step-{step:08d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        for picture in pictures:
            picture.thumbnail((PIXELS, PIXELS))
        grid(pictures, len(self.layouts)).save(path)
        if row:
            cut_rows(self.out / "probe.jsonl", step - 1)
            with (self.out / "probe.jsonl").open("a") as file:
                file.write(json.dumps({"step": step, **numbers(row)}) + "\n")


def knows_any(detector: Detector, labels: Sequence[str]) -> bool:
    """Whether the detector can find objects of any of these classes."""
    return bool(set(detector.labels) & set(labels))
