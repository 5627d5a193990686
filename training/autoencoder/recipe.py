"""Trains the small autoencoder on a stack of pictures; resumable to the step."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from detdiffusion.models.autoencoder import SmallAutoencoder
from detdiffusion.models.precision import autocast
from training.autoencoder.config import AutoencoderConfig
from training.core.checkpoints import (
    latest_checkpoint,
    pack_modules,
    pack_optimizer,
    sample_generator,
    save_checkpoint,
    unpack_modules,
    unpack_optimizer,
)
from training.core.schedule import OnStep, warmup_cosine


def train_autoencoder(
    pictures: np.ndarray, config: AutoencoderConfig, out: Path, device: torch.device, on_step: OnStep
) -> SmallAutoencoder:
    """Pictures [N, H, W, 3] uint8 (may be a memory map) -> a trained autoencoder, saved in `out/model`.

    The same call goes on from the newest checkpoint in `out/checkpoints`.
    """
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model: SmallAutoencoder = SmallAutoencoder(
            config.block_out_channels, config.layers_per_block, config.latent_channels
        )
    model.to(device=device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, fused=True)
    start = 0
    if saved := latest_checkpoint(out / "checkpoints"):
        start, tensors = saved
        unpack_modules({"model": model}, tensors)
        unpack_optimizer(optimizer, tensors)
    model.train()
    for step in range(start, config.steps):
        crops = random_crops(pictures, config, step).to(device, memory_format=torch.channels_last)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * warmup_cosine(step, config.steps, config.warmup_steps)
        with autocast(device):
            latents = model.encode(crops).latent_dist.mode()
            noisy = latents + latent_noise(latents, config, step)
            restored = model.decode(noisy).sample.float()
            halved = model.decode(avg_pool2d(noisy, 2)).sample.float()
        loss = (
            reconstruction_loss(restored, crops, config.gradient_weight)
            + config.half_scale_weight * reconstruction_loss(halved, avg_pool2d(crops, 2), config.gradient_weight)
            + config.latent_penalty * latents.float().square().mean()
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        done = step + 1
        on_step(done, config.steps, {"loss": loss.item(), "psnr": psnr(restored, crops)})
        if done % config.checkpoint_steps == 0 or done == config.steps:
            save_checkpoint(out / "checkpoints", done, pack_modules({"model": model}) | pack_optimizer(optimizer))
    model.eval()
    model.register_to_config(scaling_factor=1.0 / latent_deviation(model, pictures[:256]))
    model.save_pretrained(out / "model")
    return model


def random_crops(pictures: np.ndarray, config: AutoencoderConfig, step: int) -> Tensor:
    """[B, 3, crop, crop] in -1..1, mirrored half of the time."""
    rng = np.random.default_rng((config.seed, step))
    crops = []
    for _ in range(config.batch):
        picture = pictures[rng.integers(len(pictures))]
        y, x = (int(rng.integers(side - config.crop + 1)) for side in picture.shape[:2])
        crop = picture[y : y + config.crop, x : x + config.crop]
        crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return to_tensor(np.stack(crops))


def to_tensor(pictures: np.ndarray) -> Tensor:
    """[B, H, W, 3] uint8 -> [B, 3, H, W] float in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def latent_noise(latents: Tensor, config: AutoencoderConfig, step: int) -> Tensor:
    """Noise [B, C, h, w] for the latents of a step, of a strength drawn for each image (our choice)."""
    generator = sample_generator(config.seed, step, 0)
    strength = config.latent_noise * torch.rand(len(latents), 1, 1, 1, generator=generator)
    noise = torch.randn(latents.shape, generator=generator) * strength
    return noise.to(latents.device) * latents.detach().float().std()


def reconstruction_loss(restored: Tensor, target: Tensor, gradient_weight: float) -> Tensor:
    """L1 of the colours and of their differences to the right and below (crisp edges)."""
    error = restored - target
    edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return error.abs().mean() + gradient_weight * edges


def psnr(restored: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in -1..1."""
    error = (restored.detach().clamp(-1, 1) - target).square().mean().clamp(min=1e-10)
    return float(10 * torch.log10(4 / error))


@torch.inference_mode()
def reconstruct(autoencoder: SmallAutoencoder | AutoencoderKL, images: Sequence[Image.Image]) -> list[Image.Image]:
    """Pictures of one size, encoded and decoded, nothing else."""
    pictures = to_tensor(np.stack([np.asarray(image) for image in images]))
    latents = autoencoder.encode(pictures.to(autoencoder.device, autoencoder.dtype)).latent_dist.mode()
    decoded = autoencoder.decode(latents).sample.float().clamp(-1, 1)  # [B, 3, H, W]
    restored = ((decoded + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(picture) for picture in restored]


@torch.no_grad()
def latent_deviation(model: SmallAutoencoder, pictures: np.ndarray) -> float:
    """Standard deviation of the latents of images [N, H, W, 3] uint8: the scaling factor is its inverse."""
    latents = [
        model.encode(to_tensor(pictures[i : i + 16]).to(model.device)).latent_dist.mode()
        for i in range(0, len(pictures), 16)
    ]
    return float(torch.cat(latents).std())
