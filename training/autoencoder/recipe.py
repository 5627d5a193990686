"""Trains the small autoencoder on a stack of images; resumable to the step."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from detdiffusion.detection import Detector, SeesFeatures
from detdiffusion.errors import ConfigError
from detdiffusion.models.autoencoder import SmallAutoencoder
from detdiffusion.models.precision import autocast
from training.autoencoder.config import AutoencoderConfig
from training.autoencoder.crispness import PatchCritic, critic_loss, perceptual_loss, pull
from training.autoencoder.grow import grow
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

BETAS = (0.5, 0.99)  # of Adam against a critic: little memory of what it wanted before


@dataclass(frozen=True, slots=True)
class Run:
    """What both phases share."""

    images: np.ndarray  # [N, H, W, 3] uint8
    config: AutoencoderConfig
    checkpoints: Path
    device: torch.device
    on_step: OnStep

    @property
    def total(self) -> int:
        """Steps of both phases."""
        return self.config.steps + self.config.decoder_steps

    def crops(self, step: int) -> Tensor:
        """[B, 3, crop, crop] in -1..1."""
        crops = random_crops(self.images, self.config, step)
        return crops.to(self.device, memory_format=torch.channels_last)

    def saves_at(self, done: int) -> bool:
        """Whether a checkpoint is due: also at the end of each phase."""
        return done % self.config.checkpoint_steps == 0 or done in (self.config.steps, self.total)


def train_autoencoder(
    images: np.ndarray,
    config: AutoencoderConfig,
    out: Path,
    device: torch.device,
    on_step: OnStep,
    detector: Detector | None = None,
    start: SmallAutoencoder | None = None,
) -> SmallAutoencoder:
    """Images [N, H, W, 3] uint8 (may be a memory map) -> a trained autoencoder, saved in `out/model`.

    The same call goes on from the newest checkpoint in `out/checkpoints`.

    Args:
        detector: its first layers give the perceptual loss, if it shows them (`SeesFeatures`).
        start: what the model begins as (`grow`). Without steps of the first phase its latents stay as they are.

    Raises:
        ConfigError: the start does not fit, or nothing would teach the encoder.
    """
    if start is None and config.steps == 0:
        raise ConfigError("without steps of the first phase nothing teaches the encoder: give a start, or steps")
    run = Run(images, config, out / "checkpoints", device, on_step)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model: SmallAutoencoder = SmallAutoencoder(
            config.block_out_channels,
            config.layers_per_block,
            config.latent_channels,
            decoder_channels=config.decoder_channels,
            decoder_layers=config.decoder_layers,
            full_resolution_channels=config.full_resolution_channels,
        )
        critic = PatchCritic()
    if start is not None:
        grow(model, start)
    model.to(device=device, memory_format=torch.channels_last)
    critic.to(device).to(memory_format=torch.channels_last)
    model.train()
    learn_all(model, run)
    learn_decoder(model, critic, run, detector if isinstance(detector, SeesFeatures) else None)
    model.eval()
    if config.steps:
        model.register_to_config(scaling_factor=1.0 / latent_deviation(model, images[:256]))
    model.register_to_config(latent_channels=config.latent_channels * config.fold**2, fold=config.fold)
    model.save_pretrained(out / "model")
    return model


def learn_all(model: SmallAutoencoder, run: Run) -> None:
    """The first phase: encoder and decoder."""
    config = run.config
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    start, tensors = latest_checkpoint(run.checkpoints) or (0, {})
    if start > config.steps:
        return
    if tensors:
        unpack_modules({"model": model}, tensors)
        unpack_optimizer(optimizer, tensors)
    for step in range(start, config.steps):
        crops = run.crops(step)
        set_rate(optimizer, config.learning_rate * warmup_cosine(step, config.steps, config.warmup_steps))
        with autocast(run.device):
            latents = model.encode(crops).latent_dist.mode()
            noisy = latents + latent_noise(latents, config.latent_noise, config.seed, step)
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
        run.on_step(done, run.total, {"loss": loss.item(), "psnr": psnr(restored, crops)})
        if run.saves_at(done):
            save_checkpoint(run.checkpoints, done, pack_modules({"model": model}) | pack_optimizer(optimizer))


def learn_decoder(model: SmallAutoencoder, critic: PatchCritic, run: Run, teacher: SeesFeatures | None) -> None:
    """The second phase: the decoder alone, so the latents stay as they are, against a critic of patches."""
    config, decoder = run.config, list(model.decoder.parameters())
    rate = config.decoder_learning_rate
    optimizer = torch.optim.Adam(decoder, lr=rate, betas=BETAS, fused=True)
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=rate, betas=BETAS, fused=True)
    start, tensors = latest_checkpoint(run.checkpoints) or (0, {})
    if start > config.steps:
        unpack_modules({"model": model, "critic": critic}, tensors)
        unpack_optimizer(optimizer, tensors)
        unpack_optimizer(critic_optimizer, tensors, "critic_optimizer")
    for step in range(max(start, config.steps), run.total):
        crops = run.crops(step)
        share = warmup_cosine(step - config.steps, config.decoder_steps, config.warmup_steps)
        set_rate(optimizer, rate * share)
        set_rate(critic_optimizer, rate * share)
        with autocast(run.device):
            with torch.no_grad():
                latents = model.encode(crops).latent_dist.mode()
            noisy = latents + latent_noise(latents, config.decoder_latent_noise, config.seed, step)
            restored = model.decode(noisy).sample.float()
        shown = restored.detach().requires_grad_()
        loss = reconstruction_loss(shown, crops, config.gradient_weight)
        with autocast(run.device):
            others = [(-critic(shown).float().mean(), config.critic_pull)]
            if teacher is not None:
                others.append((perceptual_loss(teacher, shown, crops), config.perceptual_pull))
        optimizer.zero_grad()
        restored.backward(pull(shown, loss, others))
        torch.nn.utils.clip_grad_norm_(decoder, config.clip_norm)
        optimizer.step()
        critic_optimizer.zero_grad()
        with autocast(run.device):
            judged = critic_loss(critic, crops, restored.detach())
        judged.backward()
        critic_optimizer.step()
        done = step + 1
        metrics = {"loss": loss.item(), "psnr": psnr(restored, crops), "critic": judged.item()}
        run.on_step(done, run.total, metrics)
        if run.saves_at(done):
            state = pack_modules({"model": model, "critic": critic}) | pack_optimizer(optimizer)
            save_checkpoint(run.checkpoints, done, state | pack_optimizer(critic_optimizer, "critic_optimizer"))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def random_crops(images: np.ndarray, config: AutoencoderConfig, step: int) -> Tensor:
    """[B, 3, crop, crop] in -1..1, mirrored half of the time."""
    rng = np.random.default_rng((config.seed, step))
    crops = []
    for _ in range(config.batch):
        image = images[rng.integers(len(images))]
        y, x = (int(rng.integers(side - config.crop + 1)) for side in image.shape[:2])
        crop = image[y : y + config.crop, x : x + config.crop]
        crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return to_tensor(np.stack(crops))


def to_tensor(images: np.ndarray) -> Tensor:
    """[B, H, W, 3] uint8 -> [B, 3, H, W] float in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def latent_noise(latents: Tensor, largest: float, seed: int, step: int) -> Tensor:
    """Noise [B, C, h, w] for the latents of a step, of a strength drawn for each image (our choice).

    `largest` is the greatest strength, as a share of the latents' own standard deviation.
    """
    generator = sample_generator(seed, step, 0)
    strength = largest * torch.rand(len(latents), 1, 1, 1, generator=generator)
    noise = torch.randn(latents.shape, generator=generator) * strength
    return noise.to(latents.device) * latents.detach().float().std()


def reconstruction_loss(restored: Tensor, target: Tensor, gradient_weight: float) -> Tensor:
    """L1 of the colours and of their differences to the right and below (crisp edges)."""
    error = restored - target
    edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return error.abs().mean() + gradient_weight * edges


def psnr(restored: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of images in -1..1."""
    error = (restored.detach().clamp(-1, 1) - target).square().mean().clamp(min=1e-10)
    return float(10 * torch.log10(4 / error))


@torch.inference_mode()
def reconstruct(autoencoder: SmallAutoencoder | AutoencoderKL, images: Sequence[Image.Image]) -> list[Image.Image]:
    """Images of one size, encoded and decoded, nothing else."""
    pixels = to_tensor(np.stack([np.asarray(image) for image in images]))
    latents = autoencoder.encode(pixels.to(autoencoder.device, autoencoder.dtype)).latent_dist.mode()
    decoded = autoencoder.decode(latents).sample.float().clamp(-1, 1)  # [B, 3, H, W]
    restored = ((decoded + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(image) for image in restored]


@torch.no_grad()
def latent_deviation(model: SmallAutoencoder, images: np.ndarray) -> float:
    """Standard deviation of the latents of images [N, H, W, 3] uint8: the scaling factor is its inverse."""
    latents = [
        model.encode(to_tensor(images[i : i + 16]).to(model.device)).latent_dist.mode()
        for i in range(0, len(images), 16)
    ]
    return float(torch.cat(latents).std())
