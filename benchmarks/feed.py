"""How many images a second does the preparation of data deliver to a training at 512 pixels, per process?

python -m benchmarks.feed [--seconds N] [--images N] [--cores all]; prints JSON. It writes samples in the form of the
preset sd15-512 into a temporary folder (latents 4x64x64, mean and spread, plain and mirrored; masks; 3 to 8 objects of
COCO's 171 classes), and reads them as the training does, but with nothing that learns behind: batches are drawn,
prompts become token ids and boxes are put in order, by default on one core. What a device does with them (it paints the
boxes and reads the prompts) is not counted; `painted_here_per_second` says how fast this core would paint.

`images_per_second` is by the clock, `images_per_processor_second` by what this process was given of the processor: on a
machine that is not idle the first is lower.
"""

import argparse
import json
import os
import random
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.diffusion.untrained import new_pipeline
from detdiffusion.layout import Attribute, Box, Layout
from detdiffusion.models.autoencoder import SmallAutoencoder
from detdiffusion.text.vocabulary import COCO_STUFF, COCO_THINGS, Vocabulary
from training.core.processes import Processes
from training.generator.batch import SampleStore
from training.generator.chunk import write_chunk
from training.generator.config import TRAIN_PRESETS
from training.generator.feed import AHEAD, read_batches
from training.generator.latents import CHUNK

PRESET = TRAIN_PRESETS["sd15-512"]
LATENTS = (4, 64, 64)
OBJECTS = (3, 8)  # of a layout: fewest, most (the paper's filter)
TIMESTEPS = 1000
CPU = torch.device("cpu")
TINY: dict[str, Any] = {  # no network takes part: only their words and sizes count
    "unet_config": {
        "sample_size": 64,
        "block_out_channels": (8, 8),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    },
    "text_config": {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="to measure for (default 10)")
    parser.add_argument("--images", type=int, default=1_000, help="different images (default 1000, about 170 MB)")
    parser.add_argument("--cores", choices=("one", "all"), default="one", help="that this process may use")
    arguments = parser.parse_args()
    if arguments.cores == "one":
        torch.set_num_threads(1)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        write_samples(Path(folder), arguments.images)
        print(json.dumps(measure(SampleStore.load(Path(folder)), arguments.seconds), indent=2))


def write_samples(folder: Path, images: int) -> None:
    """As `encode_dataset` writes them with Stable Diffusion's autoencoder; numbers are random."""
    choose, generator = random.Random(0), torch.Generator().manual_seed(0)
    for number, first in enumerate(range(0, images, CHUNK)):
        count = min(CHUNK, images - first)
        layouts = [some_layout(choose) for _ in range(count)]
        names = ("latents", "latents_std", "flipped", "flipped_std")
        tensors = {name: torch.randn(count, *LATENTS, generator=generator).half().abs() for name in names}
        objects = sum(len(layout.boxes) for layout in layouts)
        tensors["masks"] = torch.randint(0, 256, (objects, *LATENTS[1:]), generator=generator, dtype=torch.uint8)
        write_chunk(folder / f"chunk-{number:05d}.json", layouts, tensors)


def some_layout(choose: random.Random) -> Layout:
    boxes = []
    for _ in range(choose.randint(*OBJECTS)):
        width, height = choose.uniform(0.15, 0.6), choose.uniform(0.15, 0.6)
        x, y = choose.uniform(0, 1 - width), choose.uniform(0, 1 - height)
        label = choose.choice(COCO_THINGS + COCO_STUFF)
        thing = label in COCO_THINGS
        attribute = choose.choice([Attribute.EASY, Attribute.HARD]) if thing else Attribute.BACKGROUND
        boxes.append(Box(label, (x, y, x + width, y + height), attribute))
    return Layout(512, 512, tuple(boxes))


def model() -> DetDiffusionPipeline:
    """What preparation asks of a model: the paper's vocabulary, its tokenizer, and whether there is a blueprint."""
    words = Vocabulary(COCO_THINGS, COCO_STUFF, PRESET.grid, PRESET.location_text)
    autoencoder = SmallAutoencoder((8, 8, 8), (1, 1, 1), latent_channels=LATENTS[0])
    return new_pipeline(
        words, autoencoder=autoencoder, scheduler_config={}, blueprint_config={}, head_config=None, seed=0, **TINY
    )


def measure(store: SampleStore, seconds: float) -> dict[str, Any]:
    pipe, parts = model(), Processes().positions(PRESET.batch, PRESET.micro_batch)
    batches = read_batches(pipe, store, PRESET, TIMESTEPS, range(10**6), parts, CPU)
    list(islice(batches, 2 * AHEAD))  # warm: files are in the page cache, and the first ones lie ready
    images, began, used = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        batch = next(batches)
        images += len(batch.layouts)
    seconds, used = time.perf_counter() - began, time.process_time() - used
    batches.close()
    began = time.process_time()
    assert batch.shown is not None
    pipe.draw_shown(batch.shown, (LATENTS[1], LATENTS[2]))
    painting = time.process_time() - began
    return {
        "images_per_second": round(images / seconds, 1),
        "images_per_processor_second": round(images / used, 1),
        "painted_here_per_second": round(len(batch.layouts) / painting, 1),
        "images": images,
        "micro_batch": PRESET.micro_batch,
        "threads": torch.get_num_threads(),
        "cores_allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
