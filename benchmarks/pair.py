"""How long does an easy / hard pair take, detected, model loaded: stock libraries, the full model, the fast one.

python -m benchmarks.pair [--model DIR] [--fast DIR] [--device openvino] [--repeats 10]; prints JSON: `stock`, `full`,
`fast`, each with `seconds` (median), and how many times as fast as `stock` (`times_stock`). Let the machine idle before
you run it.

Stock: the same weights as people run them who take diffusers and ultralytics as they are: float32, its fused attention,
one call an image, 20 steps of DPM-Solver++ with guidance at each, and ultralytics' own `predict` on each image. That
takes a thread away from torch for all that follows; here everything has as many threads as at first.
Full and fast: as the model folders recommend, on the device that is asked for. `fast` is null where there is no such
model.
"""

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler
from diffusers.models.attention_processor import AttnProcessor2_0
from PIL import Image

from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.core.arguments import DRAWING_DEVICE, add_device
from detdiffusion.core.parts import part_folder
from detdiffusion.detectors import BUNDLED, load_detector
from detdiffusion.detectors.folder import fill, read_description, read_weights
from detdiffusion.detectors.ultralytics.library import build, contained
from detdiffusion.diffusion.manifest import INDEX
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import DEFAULT_GUIDANCE, DEFAULT_STEPS

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "assets" / "models"

Draw = Callable[[int], Any]  # a pair from the noise of a seed, detected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODELS / "papercut")
    parser.add_argument("--fast", type=Path, default=MODELS / "papercut-fast")
    parser.add_argument("--layout", type=Path, default=ROOT / "assets/models/papercut/layouts/1-street.json")
    parser.add_argument("--repeats", type=int, default=10)
    add_device(parser, DRAWING_DEVICE)
    arguments = parser.parse_args()
    layout = Layout.from_json(arguments.layout.read_bytes())
    began = time.perf_counter()
    device = arguments.device or "cpu"
    pipeline = load_pipeline(arguments.model, device=device)
    loading = time.perf_counter() - began
    pair = pair_of(pipeline, layout)
    ways: dict[str, Draw] = {
        "stock": stock(load_pipeline(arguments.model), arguments.model, pair),
        "full": ours(pipeline, arguments.model, pair),
    }
    if (arguments.fast / INDEX).is_file():
        ways["fast"] = ours(load_pipeline(arguments.fast, device=device), arguments.model, pair)
    found: dict[str, Any] = {name: timed(draw, arguments.repeats) for name, draw in ways.items()}
    for name in ("full", "fast"):
        if name in found:
            found[name]["times_stock"] = round(found["stock"]["seconds"] / found[name]["seconds"], 2)
    found.setdefault("fast", None)
    machine = {
        "device": device,
        "loading_seconds": round(loading, 3),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "repeats": arguments.repeats,
    }
    print(json.dumps({**found, **machine}, indent=2))


def pair_of(pipeline: DetDiffusionPipeline, layout: Layout) -> list[Layout]:
    """All things easy, all things hard."""
    known = pipeline.vocabulary.resolve(layout)
    return [apply_strategy(known, strategy) for strategy in (Strategy.EASY, Strategy.HARD)]


def timed(draw: Draw, repeats: int) -> dict[str, float]:
    """Seconds of pairs from different noises; the first, which warms up, is told apart."""
    seconds, threads = [], torch.get_num_threads()
    for seed in range(repeats + 1):
        torch.set_num_threads(threads)  # ultralytics' `predict` sets one less than there are cores
        began = time.perf_counter()
        draw(seed)
        seconds.append(time.perf_counter() - began)
    torch.set_num_threads(threads)
    later = seconds[1:]
    return {
        "seconds": round(statistics.median(later), 3),
        "worst": round(max(later), 3),
        "first": round(seconds[0], 3),
    }


def ours(pipeline: DetDiffusionPipeline, model: Path, pair: list[Layout]) -> Draw:
    """The pipeline as the model recommends, and the detector once for both images."""
    detector = load_detector(BUNDLED, model)
    return lambda seed: detector.detect(pipeline(pair, seeds=[seed, seed]).images)


def stock(pipeline: DetDiffusionPipeline, model: Path, pair: list[Layout]) -> Draw:
    """The loop of diffusers' StableDiffusionPipeline over the same networks, and ultralytics' `predict`."""
    pipeline.unet.set_attn_processor(AttnProcessor2_0())
    predict = stock_detector(part_folder(model, "detectors") / BUNDLED)
    return lambda seed: [predict(stock_image(pipeline, layout, seed)) for layout in pair]


@torch.no_grad()
def stock_image(pipeline: DetDiffusionPipeline, layout: Layout, seed: int) -> Image.Image:
    """In float32, guided at every step, both halves in one batch."""
    scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(DEFAULT_STEPS)
    height, width = (side // pipeline.downsample for side in pipeline.native_size)
    condition = pipeline.encode_layouts([None, layout])
    raw = pipeline.draw_layouts([None, layout], (height, width))
    noise = torch.Generator().manual_seed(seed)
    latents = torch.randn(1, pipeline.unet.config.out_channels, height, width, generator=noise)
    for t in scheduler.timesteps:
        both = scheduler.scale_model_input(torch.cat([latents] * 2), t)
        if pipeline.blueprint is not None:
            both = torch.cat([both, pipeline.blueprint(raw)], dim=1)
        words = {"encoder_hidden_states": condition.hidden, "encoder_attention_mask": condition.mask}
        plain, asked = pipeline.unet(both, t, **words).sample.chunk(2)
        latents = scheduler.step(plain + DEFAULT_GUIDANCE * (asked - plain), t, latents).prev_sample
    pixels = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    shares = (pixels / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    return Image.fromarray((shares[0] * 255).round().astype("uint8"))


def stock_detector(folder: Path) -> Callable[[Image.Image], Any]:
    """ultralytics' own model, with the weights of a detector folder."""
    from ultralytics import YOLO

    about = read_description(folder)
    with contained():
        model = YOLO(about.architecture, task="detect")
        model.model = build(about.architecture, about.labels)
        fill(model.model, read_weights(folder, about), folder, about.architecture)
    return lambda image: model.predict(image, imgsz=about.imgsz, conf=0.001, device="cpu", verbose=False)


if __name__ == "__main__":
    main()
