"""Does a training step of the full-size Stable Diffusion v1.5 architecture fit, and how fast is it: random weights,
perception head, blueprint, forward and backward.

python -m benchmarks.sd15 [--size 512|800x456] [--steps N] [--device cpu|cuda] [--batch N]; prints JSON.

On a GPU the step is the recipe's (float32 weights, bf16 arithmetic, AdamW). On a CPU it is one that fits into 24 GiB:
bf16 weights, gradient checkpointing, SGD without state. The share of the peak counts the arithmetic of U-Net and head
once, forward and backward, against a large matrix product on the same device.
"""

import argparse
import json
import os
import resource
import time
from contextlib import AbstractContextManager
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.diffusion.untrained import new_pipeline
from detdiffusion.layout import Box, Layout
from detdiffusion.models.autoencoder import SmallAutoencoder
from detdiffusion.models.config import LossConfig
from detdiffusion.models.features import FeatureTaps, feature_channels
from detdiffusion.models.perception_head import PerceptionHead
from detdiffusion.text.vocabulary import COCO_STUFF, COCO_THINGS, Vocabulary
from training.generator.batch import Batch
from training.generator.feed import each_tensor
from training.generator.step import generator_losses

CELL = 8  # pixels a latent, on each side
UNET: dict[str, Any] = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
    "layers_per_block": 2,
    "attention_head_dim": 8,  # diffusers' legacy name: the number of heads
}
TEXT: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
SCHEDULE: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
HEAD: dict[str, Any] = {"width": 256}
OBJECTS = 8
PEAK_SIDE, PEAK_REPEATS = 8192, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=image_size, default=(512, 512), metavar="512|800x456", help="width x height")
    parser.add_argument("--steps", type=int, default=None, help="timed steps (default: 20 on a GPU, 1 on a CPU)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=None, help="pictures a step (default: 16 on a GPU, 1 on a CPU)")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    on_gpu = device.type == "cuda"
    steps = arguments.steps or (20 if on_gpu else 1)
    batch = arguments.batch or (16 if on_gpu else 1)
    print(json.dumps(measure(arguments.size, steps, batch, device), indent=2))


def image_size(text: str) -> tuple[int, int]:
    """ "800x456" -> (456, 800): height, width."""
    width, _, height = text.partition("x")
    sides = (int(height or width), int(width))
    if any(side <= 0 or side % CELL for side in sides):
        raise argparse.ArgumentTypeError(f"{text}: sides need to be multiples of {CELL}")
    return sides


def measure(size: tuple[int, int], steps: int, pictures: int, device: torch.device) -> dict[str, Any]:
    pipe = build(device)
    report = {"pixels": f"{size[1]}x{size[0]}", "batch": pictures, "steps": steps, **parameters(pipe)}
    batch = make_batch(pipe, size, pictures, device)
    optimizer, autocast = recipe(pipe, device)
    schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    losses = []
    for _ in range(3 if device.type == "cuda" else 0):  # warm-up
        train_step(pipe, schedule, batch, optimizer, autocast)
    synchronize(device)
    began = time.perf_counter()
    for _ in range(steps):
        losses.append(train_step(pipe, schedule, batch, optimizer, autocast))
    synchronize(device)
    seconds = (time.perf_counter() - began) / steps
    picture_tflop = step_flop(size) / 1e12
    report |= {
        "loss": losses[-1].item(),
        "seconds_a_step": round(seconds, 4),
        "pictures_a_second": round(pictures / seconds, 4),
        "tflop_a_picture": round(picture_tflop, 3),
        "tflops": round(picture_tflop * pictures / seconds, 3),
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "device": str(device),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        peak = bf16_peak(device)
        report |= {
            "device": torch.cuda.get_device_name(device),
            "peak_memory_gib": round(torch.cuda.max_memory_allocated(device) / 2**30, 2),
            "device_bf16_tflops": round(peak, 1),
            "share_of_bf16_peak": round(picture_tflop * pictures / seconds / peak, 4),
        }
    return report


def build(device: torch.device) -> DetDiffusionPipeline:
    """The whole model in training mode. Training reads cached latents: the autoencoder is only a stand-in."""
    pipe = new_pipeline(
        Vocabulary(COCO_THINGS, COCO_STUFF, (256, 256), "<l{}>"),
        unet_config=UNET,
        text_config=TEXT,
        autoencoder=SmallAutoencoder((8, 8, 8), (1, 1, 1), latent_channels=4),
        scheduler_config=SCHEDULE,
        blueprint_config={},
        head_config=HEAD,
        seed=0,
    )
    dtype = torch.float32 if device.type == "cuda" else torch.bfloat16
    for module in trained(pipe):
        nn.Module.to(module, device, dtype).train()  # diffusers' own `to` warns about an empty list
    if device.type == "cuda":
        pipe.unet.to(memory_format=torch.channels_last)
    else:
        pipe.unet.enable_gradient_checkpointing()
    return pipe


def trained(pipe: DetDiffusionPipeline) -> list[nn.Module]:
    return [pipe.text_encoder, pipe.unet, pipe.blueprint, pipe.perception_head]


def recipe(
    pipe: DetDiffusionPipeline, device: torch.device
) -> tuple[torch.optim.Optimizer, AbstractContextManager[Any]]:
    weights = [parameter for module in trained(pipe) for parameter in module.parameters()]
    if device.type == "cuda":
        return torch.optim.AdamW(weights, lr=1e-6, fused=True), torch.autocast("cuda", dtype=torch.bfloat16)
    # One tensor at a time: the grouped update would hold a copy of every gradient.
    return torch.optim.SGD(weights, lr=1e-6, foreach=False), torch.autocast("cpu", enabled=False)


def parameters(pipe: DetDiffusionPipeline) -> dict[str, Any]:
    """How many there are, and how many more than Stable Diffusion has (the paper: 1.3 % for its head)."""
    text, unet, blueprint, head = (sum(p.numel() for p in module.parameters()) for module in trained(pipe))
    wider = pipe.blueprint.total_channels * pipe.unet.conv_in.weight[:, 0].numel()
    base = unet - wider
    return {
        "unet_parameters": base,
        "text_encoder_parameters": text,
        "head_parameters": head,
        "blueprint_parameters": blueprint + wider,
        "head_share": round(head / base, 5),
        "added_share": round((head + blueprint + wider) / base, 5),
    }


def make_batch(pipe: DetDiffusionPipeline, size: tuple[int, int], pictures: int, device: torch.device) -> Batch:
    """What the reader of a training would bring."""
    height, width = size[0] // CELL, size[1] // CELL
    boxes = tuple(
        Box(label, (0.1 * i, 0.1, 0.1 * i + 0.2, 0.6)) for i, label in enumerate(pipe.vocabulary.labels[:OBJECTS])
    )
    layout = pipe.vocabulary.resolve(Layout(size[1], size[0], boxes))
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(2, pictures, 4, height, width, generator=generator)
    timesteps = torch.randint(1000, (pictures,), generator=generator)
    masks = (torch.rand(pictures, OBJECTS, height, width, generator=generator) > 0.5).float()
    latents, noise = latents.to(device, pipe.unet.dtype), noise.to(device, pipe.unet.dtype)
    there = torch.ones(pictures, OBJECTS, dtype=torch.bool, device=device)
    layouts = (layout,) * pictures
    shown = each_tensor(pipe.show_layouts(layouts, (height, width)), lambda tensor: tensor.to(device))
    weights = there / (OBJECTS * pictures)
    return Batch(latents, noise, timesteps.to(device), layouts, masks.to(device), there, weights, shown=shown)


def train_step(
    pipe: DetDiffusionPipeline,
    schedule: DDPMScheduler,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    autocast: AbstractContextManager[Any],
) -> Tensor:
    """One update; the loss stays on the device."""
    with autocast:
        loss = generator_losses(pipe, schedule, batch, LossConfig()).total
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


def step_flop(size: tuple[int, int]) -> int:
    """Operations of one picture's forward and backward through U-Net and head, counted where nothing is computed."""
    height, width = size[0] // CELL, size[1] // CELL
    with torch.device("meta"):
        unet = UNet2DConditionModel(**UNET, cross_attention_dim=TEXT["hidden_size"])
        head = PerceptionHead(feature_channels(unet), TEXT["hidden_size"], **HEAD)
        latents, timesteps = torch.empty(1, 4, height, width), torch.empty(1, dtype=torch.int64)
        words, objects = torch.empty(1, 77, TEXT["hidden_size"]), torch.empty(1, OBJECTS, TEXT["hidden_size"])
    unet.set_attn_processor(AttnProcessor())
    with FlopCounterMode(display=False) as counter, FeatureTaps(unet) as taps:
        prediction = unet(latents, timesteps, words).sample
        (prediction.sum() + head(taps.features, objects).sum()).backward()
    return int(counter.get_total_flops())


def bf16_peak(device: torch.device) -> float:
    """TFLOP/s of a large bf16 matrix product, measured."""
    matrix = torch.randn(PEAK_SIDE, PEAK_SIDE, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        matrix @ matrix
    synchronize(device)
    began = time.perf_counter()
    for _ in range(PEAK_REPEATS):
        matrix @ matrix
    synchronize(device)
    return 2 * PEAK_SIDE**3 * PEAK_REPEATS / (time.perf_counter() - began) / 1e12


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
