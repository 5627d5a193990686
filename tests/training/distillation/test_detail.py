"""Whether a student is asked for as much fine structure as its teacher's paths lead to."""

from typing import Any

import pytest
import torch
from small_models import write_small_model
from torch import Tensor

from detdiffusion.diffusion.pipeline import load_pipeline
from detdiffusion.text.vocabulary import Vocabulary
from training.distillation.detail import WINDOW, detail_loss, strengths, windows


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Any:
    pipe = load_pipeline(write_small_model(tmp_path_factory.mktemp("small") / "model", Vocabulary(("car",), ())))
    return pipe.vae.requires_grad_(False)


def latents(seed: int, size: int = 24) -> Tensor:
    return torch.randn(3, 4, size, size, generator=torch.Generator().manual_seed(seed))


def test_the_right_images_lack_nothing_and_softer_ones_are_led_to_more(vae: Any) -> None:
    wanted, place = latents(1), torch.tensor([0.0, 0.5, 0.99])
    assert float(detail_loss(vae, wanted, wanted, place)) == 0
    drawn = (0.5 * wanted).requires_grad_()
    lacking = detail_loss(vae, drawn, wanted, place)
    lacking.backward()
    assert drawn.grad is not None and all(parameter.grad is None for parameter in vae.parameters())
    moved = (drawn - 0.1 * drawn.grad / drawn.grad.norm()).detach()
    assert float(detail_loss(vae, moved, wanted, place)) < float(lacking.detach())
    outside = torch.ones(24, 24, dtype=torch.bool)
    outside[:WINDOW, :WINDOW] = False
    assert float(drawn.grad[0][:, outside].abs().sum()) == 0, "the first one's window is its first corner"


def test_the_amount_counts_not_the_place() -> None:
    image = torch.zeros(1, 3, 18, 18)
    moved = image.clone()
    image[..., 4:6, 4:6], moved[..., 5:7, 3:5] = 1, 1
    for a, b, none in zip(strengths(image), strengths(moved), strengths(torch.zeros(1, 3, 18, 18)), strict=True):
        torch.testing.assert_close(a, b)
        assert float(a.sum()) > float(none.sum()) and a.shape == (1, 1, 2, 2)


def test_a_window_goes_through_all_places_and_small_latents_are_seen_whole() -> None:
    whole = latents(2)
    rows = windows(whole, torch.tensor([0.0, 80 / 81 + 1e-6, 1 / 81 + 1e-6]))
    assert torch.equal(rows[0], whole[0, :, :16, :16]) and torch.equal(rows[1], whole[1, :, 8:, 8:])
    assert torch.equal(rows[2], whole[2, :, :16, 1:17])
    small = latents(3, 8)
    assert torch.equal(windows(small, torch.tensor([0.0, 0.5, 0.999])), small)
