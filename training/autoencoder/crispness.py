"""What makes decoded images crisp: a critic of patches, a detector's features, and how hard each pulls."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, relu
from torch.nn.utils.parametrizations import spectral_norm

from detdiffusion.detection import SeesFeatures


class PatchCritic(nn.Module):
    """How real each patch of 18 pixels looks (PatchGAN, Isola et al. 2017), with spectral norm (Miyato et al. 2018)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            spectral_norm(nn.Conv2d(3, width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(2 * width, 4 * width, 3, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(4 * width, 1, 1)),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in -1..1 -> [B, 1, H/4, W/4], higher where they look real."""
        verdict: Tensor = self.layers(images)
        return verdict


def critic_loss(critic: nn.Module, real: Tensor, restored: Tensor) -> Tensor:
    """The hinge loss: real patches above 1, restored ones below -1."""
    above, below = critic(torch.cat([real, restored])).float().chunk(2)
    return relu(1 - above).mean() + relu(1 + below).mean()


def perceptual_loss(teacher: SeesFeatures, restored: Tensor, target: Tensor) -> Tensor:
    """L1 of a detector's early features, each level as a share of the target's: images [B, 3, H, W] in -1..1."""
    with torch.no_grad():
        wanted = teacher.early_features(target / 2 + 0.5)
    found = teacher.early_features(restored / 2 + 0.5)
    shares = [l1_loss(ours, its).float() / its.float().abs().mean() for ours, its in zip(found, wanted, strict=True)]
    return torch.stack(shares).mean()


def pull(images: Tensor, loss: Tensor, others: Sequence[tuple[Tensor, float]]) -> Tensor:
    """The gradient in the images: that of `loss`, and those of other losses in the given shares of its length.

    As VQGAN's adaptive weight (Esser et al. 2021, Eq. 7), but in the image, where it costs nothing (our choice).
    """
    (total,) = torch.autograd.grad(loss, images)
    length = torch.linalg.vector_norm(total)
    for other, share in others:
        (gradient,) = torch.autograd.grad(other, images)
        total = total + gradient * (share * length / torch.linalg.vector_norm(gradient).clamp(min=1e-12))
    return total
