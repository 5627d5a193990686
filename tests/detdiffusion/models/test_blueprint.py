"""The drawn layout, against a plain loop over cells and boxes."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from detdiffusion.errors import ConfigError
from detdiffusion.layout import Attribute, Box, Layout
from detdiffusion.models.blueprint import Blueprint, widen_conv_in
from detdiffusion.text.vocabulary import ATTRIBUTES, Vocabulary

VOCABULARY = Vocabulary(("car", "person"), ("road", "sky"))
CLASSES, FLAT = 4, 4 + 3 + 1  # channels: classes, attributes, thing; then coverage, then 8 along x and 8 along y
COVERAGE, U, LOG_WIDTH, V, LOG_HEIGHT = FLAT, FLAT + 1, FLAT + 2, FLAT + 9, FLAT + 10


def draw(*boxes: Box, size: tuple[int, int] = (4, 4)) -> np.ndarray:
    layout = VOCABULARY.resolve(Layout(64, 64, boxes))
    return Blueprint(CLASSES).draw([layout], VOCABULARY, size)[0].numpy()


def reference(layout: Layout, size: tuple[int, int]) -> np.ndarray:
    """The same drawing by a loop: paint one box after another on every cell."""
    height, width = size
    out = np.zeros((Blueprint(CLASSES).raw_channels, height, width))
    order = sorted(layout.boxes, key=lambda box: (VOCABULARY.is_thing(box.label), -box.area))
    for row in range(height):
        for column in range(width):
            for box in order:
                x1, y1, x2, y2 = box.xyxy
                inside_x = max(0.0, min(x2 * width, column + 1) - max(x1 * width, column))
                inside_y = max(0.0, min(y2 * height, row + 1) - max(y1 * height, row))
                share = inside_x * inside_y
                if share <= 0:
                    continue
                word = np.zeros(FLAT)
                word[VOCABULARY.labels.index(box.label)] = 1
                assert box.attribute is not None
                word[CLASSES + ATTRIBUTES.index(box.attribute)] = 1
                word[FLAT - 1] = VOCABULARY.is_thing(box.label)
                cell = out[:, row, column]
                cell[:FLAT] = (1 - share) * cell[:FLAT] + share * word
                cell[FLAT] = share
                along = []
                for low, high, middle in ((x1, x2, (column + 0.5) / width), (y1, y2, (row + 0.5) / height)):
                    u = min(1, max(-1, 2 * (middle - low) / (high - low) - 1))
                    angles = [math.pi * 2**i * u for i in range(3)]
                    along += [u, math.log(high - low), *map(math.sin, angles), *map(math.cos, angles)]
                cell[FLAT + 1 :] = along
    return out


@pytest.mark.parametrize("size", [(4, 4), (16, 16), (12, 20)])
@pytest.mark.parametrize("seed", range(4))
def test_drawing_equals_a_plain_loop(size: tuple[int, int], seed: int) -> None:
    random = np.random.default_rng(seed)
    boxes = []
    for _ in range(1 + 4 * seed):
        x, y = random.random(2) * 0.7
        w, h = 0.01 + random.random(2) * 0.29
        attribute = ATTRIBUTES[random.integers(3)]
        boxes.append(
            Box(VOCABULARY.labels[random.integers(4)], (float(x), float(y), float(x + w), float(y + h)), attribute)
        )
    ours = draw(*boxes, size=size)
    np.testing.assert_allclose(ours, reference(Layout(64, 64, tuple(boxes)), size), atol=2e-5)


def test_edges_are_exact() -> None:
    raw = draw(Box("person", (0.25, 0, 0.7, 0.5), Attribute.HARD))
    np.testing.assert_allclose(raw[1, 0], [0, 1, 0.8, 0], atol=1e-6)  # person
    np.testing.assert_allclose(raw[CLASSES + 1], raw[1])  # hard
    np.testing.assert_allclose(raw[FLAT - 1], raw[1])  # a thing
    np.testing.assert_allclose(raw[COVERAGE], raw[1])
    assert raw[:, 2:].any() == np.False_
    np.testing.assert_allclose(raw[U, 0], [0, -0.444444, 0.666667, 0], atol=1e-5)
    np.testing.assert_allclose(raw[V, :2, 1], [-0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(raw[[LOG_WIDTH, LOG_HEIGHT], 0, 1], np.log([0.45, 0.5]), rtol=1e-5)


@pytest.mark.parametrize("reverse", [False, True])
def test_things_lie_over_stuff_and_small_things_over_large(reverse: bool) -> None:
    boxes = [Box("car", (0, 0, 0.5, 0.5)), Box("person", (0, 0, 0.25, 0.25)), Box("road", (0, 0, 1, 0.5))]
    raw = draw(*(boxes[::-1] if reverse else boxes))
    assert raw[:CLASSES, 0, 0].tolist() == [0, 1, 0, 0]
    assert raw[:CLASSES, 1, 1].tolist() == [1, 0, 0, 0]
    assert raw[:CLASSES, 1, 3].tolist() == [0, 0, 1, 0]
    assert raw[:, 3, 3].tolist() == [0] * len(raw)


def test_a_box_smaller_than_a_cell_leaves_its_share() -> None:
    raw = draw(Box("sky", (0, 0, 1, 1)), Box("car", (0.05, 0.05, 0.1, 0.1)))
    assert raw[0, 0, 0] == pytest.approx(0.04, abs=1e-6)
    assert raw[3, 0, 0] == pytest.approx(0.96, abs=1e-6)


def test_a_layout_is_drawn_alike_in_any_batch(layout_of: Callable[..., Layout], vocabulary: Vocabulary) -> None:
    blueprint = Blueprint(3)
    layouts = [vocabulary.resolve(layout_of(count)) for count in (1, 100, 5)]
    together = blueprint.draw(layouts, vocabulary, (8, 8))
    for row, layout in enumerate(layouts):
        torch.testing.assert_close(together[row], blueprint.draw([layout], vocabulary, (8, 8))[0])


def test_embedding_and_coordinates() -> None:
    blueprint = Blueprint(CLASSES, out_channels=6, coordinate_frequencies=2)
    assert blueprint.total_channels == 6 + 8
    empty = blueprint(blueprint.empty(2, (4, 8)))
    assert empty.shape == (2, 14, 4, 8)
    torch.testing.assert_close(empty[:, :6], blueprint.embed.bias[None, :, None, None].expand(2, 6, 4, 8))
    x, y = (np.arange(8) + 0.5) / 8, (np.arange(4) + 0.5) / 4
    places = empty[0, 6:].detach().numpy()
    np.testing.assert_allclose(places[:4, 2], [f(math.pi * k * x) for f in (np.sin, np.cos) for k in (1, 2)], atol=1e-6)
    np.testing.assert_allclose(
        places[4:, :, 5], [f(math.pi * k * y) for f in (np.sin, np.cos) for k in (1, 2)], atol=1e-6
    )


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_finer_drawing_is_folded_into_channels(scale: int) -> None:
    layout = VOCABULARY.resolve(Layout(64, 64, (Box("road", (0, 0, 1, 0.5)), Box("car", (0.3, 0.1, 0.45, 0.3)))))
    fine = Blueprint(CLASSES, out_channels=6, scale=scale)
    raw = fine.draw([layout], VOCABULARY, (4, 8))
    assert torch.equal(raw, Blueprint(CLASSES).draw([layout], VOCABULARY, (4 * scale, 8 * scale)))
    assert fine.empty(3, (4, 8)).shape == (3, fine.raw_channels, 4 * scale, 8 * scale)
    seen = fine(raw)
    assert seen.shape == (1, fine.total_channels, 4, 8)
    folded = torch.nn.functional.pixel_unshuffle(raw, scale)
    by_hand = torch.nn.functional.conv2d(folded, fine.embed.weight.flatten(1)[..., None, None], fine.embed.bias)
    torch.testing.assert_close(seen[:, :6], by_hand)
    coarse = Blueprint(CLASSES, out_channels=6)
    torch.testing.assert_close(seen[:, 6:], coarse(coarse.draw([layout], VOCABULARY, (4, 8)))[:, 6:])


def test_a_finer_drawing_tells_small_moves_apart() -> None:
    def drawn(scale: int, x: float) -> torch.Tensor:
        car = Box("car", (x, 0.3, x + 0.06, 0.36))  # within one latent cell
        return Blueprint(CLASSES, scale=scale).draw([VOCABULARY.resolve(Layout(64, 64, (car,)))], VOCABULARY, (4, 4))

    assert torch.equal(drawn(1, 0.28)[:, :FLAT], drawn(1, 0.4)[:, :FLAT]), "one cell knows only how much it covers"
    assert not torch.equal(drawn(4, 0.28)[:, :FLAT], drawn(4, 0.4)[:, :FLAT])


def test_a_scale_is_1_or_more() -> None:
    with pytest.raises(ConfigError, match="blueprint scale is 0, and needs to be 1 or more"):
        Blueprint(CLASSES, scale=0)


def test_drawing_is_quick() -> None:
    import time

    boxes = tuple(Box("car", (0.1 * i, 0.1, 0.1 * i + 0.2, 0.4)) for i in range(8))
    layouts = [VOCABULARY.resolve(Layout(64, 64, boxes))] * 32
    blueprint = Blueprint(22)
    best = math.inf
    for _ in range(5):
        began = time.process_time()
        blueprint.draw(layouts, VOCABULARY, (32, 32))
        best = min(best, time.process_time() - began)
    assert best / 32 < 1e-3  # 0.2 ms on the processor that it was written on


def test_a_widened_unet_starts_as_it_was(tiny_unet: UNet2DConditionModel) -> None:
    latents, text, t = torch.randn(1, 4, 8, 8), torch.randn(1, 3, 16), torch.tensor(7)
    with torch.no_grad():
        before = tiny_unet(latents, t, text).sample
        widen_conv_in(tiny_unet, 5)
        after = tiny_unet(torch.cat([latents, torch.randn(1, 5, 8, 8)], dim=1), t, text).sample
    torch.testing.assert_close(after, before)
    assert tiny_unet.config.in_channels == 9
    assert tiny_unet.conv_in.weight.requires_grad


@pytest.fixture
def tiny_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=2,
        norm_num_groups=4,
        cross_attention_dim=16,
    ).eval()
