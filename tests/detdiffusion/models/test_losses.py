"""Every loss against a plain NumPy reference, and every switch."""

import math

import numpy as np
import pytest
import torch

from detdiffusion.errors import ConfigError
from detdiffusion.layout import Box, Layout
from detdiffusion.models.config import LossConfig
from detdiffusion.models.losses import (
    denoising_loss,
    dice,
    foreground_weights,
    mask_bce,
    min_snr_weights,
    perception_loss,
    total_loss,
)

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(2, 3, 4, 5)).astype(np.float32) * 3
MASKS = (RANDOM.random((2, 3, 4, 5)) > 0.6).astype(np.float32)
MASKS[0, 1] = 0  # an object that no cell shows
OBJECTS = np.array([[True, True, False], [True, False, False]])
ALPHA_BAR = np.array([0.81, 0.04], dtype=np.float32)


def reference_object_losses(logits: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    bce = -(masks * np.log(p) + (1 - masks) * np.log(1 - p))
    overlap, total = (p * masks).sum((2, 3)), p.sum((2, 3)) + masks.sum((2, 3))
    return bce.mean((2, 3)), 1 - (2 * overlap + 1) / (total + 1)


def reference_perception(use_alpha_bar: bool) -> tuple[float, float]:
    bce, dice_ = reference_object_losses(LOGITS, MASKS)
    sums = [0.0, 0.0]
    for b in range(2):
        for n in range(3):
            if OBJECTS[b, n]:
                time = math.sqrt(ALPHA_BAR[b]) if use_alpha_bar else 1.0
                sums[0] += time * bce[b, n]
                sums[1] += time * dice_[b, n]
    return sums[0] / OBJECTS.sum(), sums[1] / OBJECTS.sum()


def perception(**switches: bool) -> tuple[float, float]:
    tensors = (torch.from_numpy(value) for value in (LOGITS, MASKS, OBJECTS, ALPHA_BAR))
    mask, dice_ = perception_loss(*tensors, **switches)
    return float(mask), float(dice_)


def reference_weights(layout: Layout, height: int, width: int, weight: float, power: float) -> np.ndarray:
    """GeoDiffusion's rule with areas counted in cells, as it stands in method.md; large boxes first."""
    out = np.full((height, width), 1 / (height * width) ** power)
    for box in sorted(layout.boxes, key=lambda box: -box.area):
        x1, y1, x2, y2 = box.xyxy
        inside = np.zeros((height, width), dtype=bool)
        for row in range(height):
            for column in range(width):
                inside[row, column] = x1 <= (column + 0.5) / width < x2 and y1 <= (row + 0.5) / height < y2
        out[inside] = weight / inside.sum() ** power
    return out / out.mean()


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_min_snr_weighs_the_error_of_the_clean_latents(kind: str) -> None:
    alphas_bar = torch.tensor([0.99, 0.9, 0.5, 0.1, 0.01])
    ratio = alphas_bar / (1 - alphas_bar)
    # Of the noise or of v, an error of one in the clean latents makes SNR or SNR + 1.
    in_clean = ratio if kind == "epsilon" else ratio + 1
    weights = min_snr_weights(alphas_bar, 5.0, kind)
    assert float(weights.mean()) == pytest.approx(1)
    by_clean = weights * in_clean
    torch.testing.assert_close(by_clean / by_clean[0], torch.tensor([5, 5, 1, 1 / 9, 1 / 99]) / 5)


def test_object_losses_equal_the_reference() -> None:
    bce, dice_ = reference_object_losses(LOGITS, MASKS)
    logits, masks = torch.from_numpy(LOGITS), torch.from_numpy(MASKS)
    np.testing.assert_allclose(mask_bce(logits, masks), bce, rtol=1e-5)
    np.testing.assert_allclose(dice(logits, masks), dice_, rtol=1e-5)


@pytest.mark.parametrize("use_alpha_bar", [True, False])
@pytest.mark.parametrize("use_mask", [True, False])
@pytest.mark.parametrize("use_dice", [True, False])
def test_perception_loss_and_its_switches(use_alpha_bar: bool, use_mask: bool, use_dice: bool) -> None:
    mask, dice_ = reference_perception(use_alpha_bar)
    ours = perception(use_alpha_bar=use_alpha_bar, use_mask=use_mask, use_dice=use_dice)
    assert ours == pytest.approx((mask * use_mask, dice_ * use_dice), rel=1e-5)


def test_padding_counts_for_nothing() -> None:
    objects = torch.from_numpy(OBJECTS)
    logits = torch.from_numpy(LOGITS).clone().requires_grad_()
    mask, dice_ = perception_loss(logits, torch.from_numpy(MASKS), objects, torch.from_numpy(ALPHA_BAR))
    (gradient,) = torch.autograd.grad(mask + dice_, logits)
    assert gradient[~objects].abs().sum() == 0
    assert (gradient[objects].abs().sum(dim=(1, 2)) > 0).all()
    nothing = perception_loss(logits, torch.from_numpy(MASKS), torch.zeros_like(objects), torch.from_numpy(ALPHA_BAR))
    assert [float(value.detach()) for value in nothing] == [0, 0]


@pytest.mark.parametrize(
    "boxes",
    [
        [(0.0, 0.0, 1.0, 1.0)],
        [(0.1, 0.2, 0.45, 0.9)],
        [(0.5, 0.5, 0.7, 0.7), (0.05, 0.05, 0.95, 0.95)],  # the small one keeps its weight though it comes first
        [(0.0, 0.6, 1.0, 1.0), (0.3, 0.3, 0.8, 0.8), (0.4, 0.4, 0.6, 0.6)],
    ],
)
@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 24)])
def test_foreground_weights(boxes: list[tuple[float, float, float, float]], height: int, width: int) -> None:
    layout = Layout(64, 64, tuple(Box("car", box) for box in boxes))
    for weight, power in ((2.0, 0.2), (3.0, 0.5)):
        ours = foreground_weights([layout, layout], (height, width), weight=weight, power=power)
        expected = reference_weights(layout, height, width, weight, power)
        np.testing.assert_allclose(ours, np.stack([expected] * 2), rtol=1e-5)


def test_a_box_between_the_middles_of_cells_still_weighs() -> None:
    weights = foreground_weights([Layout(64, 64, (Box("car", (0.51, 0.99, 0.55, 1.0)),))], (8, 8))[0]
    row, column = divmod(int(weights.argmax()), 8)
    assert (row, column) == (7, 4)
    assert float(weights[7, 4] / weights[0, 0]) == pytest.approx(2 * 64**0.2)


def test_denoising_loss() -> None:
    prediction, target = RANDOM.normal(size=(2, 2, 3, 4, 5)).astype(np.float32)
    weights = RANDOM.random((2, 4, 5)).astype(np.float32)
    plain = denoising_loss(torch.from_numpy(prediction), torch.from_numpy(target))
    assert float(plain) == pytest.approx(np.mean((prediction - target) ** 2), rel=1e-5)
    weighted = denoising_loss(torch.from_numpy(prediction), torch.from_numpy(target), torch.from_numpy(weights))
    total = sum(
        weights[b, y, x] * (prediction[b, c, y, x] - target[b, c, y, x]) ** 2
        for b, c, y, x in np.ndindex(2, 3, 4, 5)
    )  # fmt: skip
    assert float(weighted) == pytest.approx(total / prediction.size, rel=1e-5)
    half = denoising_loss(torch.from_numpy(prediction).bfloat16(), torch.from_numpy(target))
    assert half.dtype == torch.float32


def test_total_is_equation_6() -> None:
    losses = total_loss(torch.tensor(2.0), torch.tensor(0.5), torch.tensor(0.25), LossConfig(perception_weight=0.01))
    assert [float(value) for value in losses] == pytest.approx([2.0075, 2.0, 0.5, 0.25])


@pytest.mark.parametrize("change", [{"perception_weight": -1}, {"foreground_weight": 0}])
def test_config_is_checked(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="perception_weight"):
        LossConfig(**change)  # type: ignore[arg-type]
