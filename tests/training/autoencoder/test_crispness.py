"""The critic, the perceptual loss and the balance between them, by hand."""

import pytest
import torch
from torch import Tensor, nn

from training.autoencoder.crispness import PatchCritic, critic_loss, perceptual_loss, pull


class Level(nn.Module):
    """A verdict by the mean of the picture."""

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.mean((1, 2, 3), keepdim=True)


class Doubled:
    sha256 = ""

    def early_features(self, pictures: Tensor) -> list[Tensor]:
        return [2 * pictures, 6 * pictures[..., :1, :1]]


@pytest.mark.parametrize(
    ("real", "restored", "loss"), [(2.0, -2.0, 0.0), (0.5, -2.0, 0.5), (1.0, 0.25, 1.25), (0.0, 0.0, 2.0)]
)
def test_hinge(real: float, restored: float, loss: float) -> None:
    pictures = torch.ones(2, 3, 4, 4)
    assert float(critic_loss(Level(), real * pictures, restored * pictures)) == pytest.approx(loss)


def test_each_level_counts_as_a_share() -> None:
    target = torch.full((1, 3, 4, 4), 0.0)  # 0.5 for the detector
    assert float(perceptual_loss(Doubled(), target + 0.2, target)) == pytest.approx(0.2)
    assert float(perceptual_loss(Doubled(), target, target)) == 0


def test_other_losses_pull_in_their_share_whatever_their_scale() -> None:
    pictures = torch.zeros(1, 1, 1, 2, requires_grad=True)
    right, down = pictures[..., 0].sum(), pictures[..., 1].sum()
    for scale in (1e-3, 1.0, 1e3):
        gradient = pull(pictures, 4 * right, [(scale * down, 0.5)])
        assert gradient.flatten().tolist() == pytest.approx([4, 2])
    assert pull(pictures, right, [(0 * down, 0.5)]).flatten().tolist() == [1, 0]


def test_the_critic_learns_to_tell_and_sees_18_pixels() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = PatchCritic(4)
        real, restored = torch.rand(4, 3, 32, 32), torch.zeros(4, 3, 32, 32)
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    for _ in range(40):
        loss = critic_loss(critic, real, restored)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1
    pictures = torch.zeros(1, 3, 64, 64, requires_grad=True)
    verdict = critic(pictures)
    assert verdict.shape == (1, 1, 16, 16)
    verdict[0, 0, 8, 8].backward()
    assert pictures.grad is not None
    assert int((pictures.grad[0].abs().sum(0).sum(0) > 0).sum()) == 18
