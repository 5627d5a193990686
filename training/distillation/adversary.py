"""An opponent of the student: it tells what the student has drawn from real latents, so that detail stays.

As of Sauer et al. 2024 (Latent Adversarial Diffusion Distillation, section 3) and Wang et al. 2024 (Phased Consistency
Models, section 3.3): both get noise beyond the end of the phase, the teacher's U-Net looks at them with their layout,
and small heads on its features judge every place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.models.features import FeatureTaps, feature_channels
from detdiffusion.text.prompt import TextCondition
from training.distillation.phases import levels

WIDTH = 64  # channels of a head


class Told(NamedTuple):
    """Scalars: how much of the student's is told from real ones, and how wrong the adversary was."""

    student: Tensor
    own: Tensor


class Looked(NamedTuple):
    """What an adversary looks at. Rows are samples, `end` timesteps of where their phase ends, [B]."""

    drawn: Tensor  # [B, C, h, w] where the student has come, with its gradient
    real: Tensor  # [B, C, h, w] clean latents of the same layouts
    end: Tensor
    share: Tensor  # [B] in 0..1: how much noise both get, from as much as there is to most
    noise: Tensor  # [B, 3, C, h, w]


class Adversary(nn.Module):
    """Heads on the features of a U-Net's up blocks. channels: of each block."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(_head(count) for count in channels)

    @classmethod
    def of(cls, pipe: DetDiffusionPipeline, seed: int) -> Adversary:
        """One that fits a pipeline's U-Net."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(feature_channels(pipe.unet))

    def forward(
        self, teacher: DetDiffusionPipeline, looked: Looked, condition: TextCondition, raw: Tensor | None
    ) -> Told:
        """The hinge losses (Lim and Ye 2017): the student's moves the student alone, the other one the heads alone.

        Args:
            teacher: whose U-Net looks; its weights get no gradient.
            condition, raw: of the layouts, as `teacher.denoise` takes them.
        """
        alphas_bar = teacher.scheduler.alphas_cumprod.to(looked.drawn.device)
        real, drawn, t = _noised(looked, alphas_bar)
        with FeatureTaps(teacher.unet) as taps:
            with torch.no_grad():
                teacher.denoise(real, t, condition, raw)
            of_real = taps.features
            teacher.denoise(drawn, t, condition, raw)
            of_drawn = taps.features
        pairs = list(zip(self.heads, of_real, of_drawn, strict=True))
        own = [_wrong(_judged(head, a)) + _wrong(-_judged(head, b.detach())) for head, a, b in pairs]
        student = [-_judged(head, b, frozen=True).mean() for head, _, b in pairs]
        return Told(torch.stack(student).mean(), torch.stack(own).mean())


def _head(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.GroupNorm(1, channels),
        nn.Conv2d(channels, WIDTH, 1),
        nn.SiLU(),
        nn.GroupNorm(8, WIDTH),
        nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(WIDTH, 1, 1),
    )


def _judged(head: nn.Module, features: Tensor, *, frozen: bool = False) -> Tensor:
    """[B, 1, h, w] float32, above 0 for what seems real."""
    weights = {name: p.detach() if frozen else p for name, p in head.named_parameters()}
    answer: Tensor = functional_call(head, weights, (features,))
    return answer.float()


def _wrong(judged: Tensor) -> Tensor:
    """Of what should be above 0, clearly."""
    return F.relu(1 - judged).mean()


def _noised(looked: Looked, alphas_bar: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Real latents and drawn ones with as much noise, and the timesteps that have so much. [B, C, h, w] twice, [B]."""
    signal, sigma = levels(alphas_bar, looked.end)
    there = signal * looked.real + sigma * looked.noise[:, 0]
    least = looked.end.clamp(min=0)
    most = (least + len(alphas_bar)) // 2  # noisier ones hide what there is to see
    t = (least + looked.share**2 * (most - least)).long()  # mostly with little, where detail is to be seen
    signal_then, sigma_then = levels(alphas_bar, t)
    kept = signal_then / signal
    more = (sigma_then**2 - (kept * sigma) ** 2).clamp(min=0).sqrt()
    return kept * there + more * looked.noise[:, 1], kept * looked.drawn + more * looked.noise[:, 2], t
