"""Masks of the perception head: shapes and refusals here; whether they are right, on the bundled model."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.diffusion.masks import mask_ious, object_attention, object_masks, paint_masks, recorded_attention
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.errors import ConfigError
from detdiffusion.layout import Layout
from detdiffusion.text.vocabulary import Vocabulary


def test_iou_of_masks() -> None:
    true = np.zeros((3, 2, 2), bool)
    true[0, 0], true[1] = True, True
    drawn = np.full((3, 2, 2), 0.9, np.float32)
    drawn[0] = [[0.5, 0], [0.5, 0]]
    found = mask_ious(drawn, true)
    assert found[:2] == pytest.approx([1 / 3, 1]) and np.isnan(found[2])


def test_masks_are_painted_in_colours_of_their_own() -> None:
    masks = np.zeros((2, 4, 4), np.float32)
    masks[0, :2], masks[1, 1:3] = 1, 0.5
    shown = np.asarray(paint_masks(Image.new("RGB", (4, 4), "black"), masks))
    rows = [tuple(int(v) for v in shown[y, 0]) for y in range(4)]
    assert len(set(rows)) == 4 and (shown == shown[:, :1]).all()
    assert rows[3] == (102, 102, 102), "no object"


def test_a_mask_for_every_object(tiny_pipeline: DetDiffusionPipeline, layout_of: Callable[..., Layout]) -> None:
    pictures = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    masks = object_masks(tiny_pipeline, pictures, [layout_of(2), layout_of(3)])
    assert [mask.shape for mask in masks] == [(2, 64, 64), (3, 64, 64)]
    assert all(mask.min() >= 0 and mask.max() <= 1 for mask in masks)
    again = object_masks(tiny_pipeline, pictures, [layout_of(2), layout_of(3)])
    assert all(np.array_equal(a, b) for a, b in zip(masks, again, strict=True))
    alone = object_masks(tiny_pipeline, pictures[:1], [layout_of(2)])
    np.testing.assert_allclose(masks[0], alone[0], atol=1e-4)


def test_attention_to_every_object(tiny_pipeline: DetDiffusionPipeline, layout_of: Callable[..., Layout]) -> None:
    pictures = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    before = tiny_pipeline.unet.attn_processors
    maps = object_attention(tiny_pipeline, pictures, [layout_of(2), layout_of(3)])
    assert [one.shape for one in maps] == [(2, 64, 64), (3, 64, 64)]
    assert all((one.min((1, 2)) == 0).all() and np.allclose(one.max((1, 2)), 1) for one in maps)
    alone = object_attention(tiny_pipeline, pictures[:1], [layout_of(2)])
    np.testing.assert_allclose(maps[0], alone[0], atol=1e-3)
    layers = [layer for name, layer in tiny_pipeline.unet.named_modules() if name.endswith("attn2")]
    assert all("get_attention_scores" not in vars(layer) for layer in layers), "nobody listens any more"
    assert {type(one) for one in tiny_pipeline.unet.attn_processors.values()} == {type(one) for one in before.values()}


def test_recorded_attention_is_what_the_unet_computes(
    tiny_pipeline: DetDiffusionPipeline, layout_of: Callable[..., Layout]
) -> None:
    condition = tiny_pipeline.encode_layouts([layout_of(2)])
    channels, side = tiny_pipeline.unet.config.out_channels, tiny_pipeline.unet.config.sample_size
    noisy, t = torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(0)), torch.tensor([500])
    raw = tiny_pipeline.draw_layouts([layout_of(2)], (side, side))
    with torch.no_grad():
        plain = tiny_pipeline.denoise(noisy, t, condition, raw)
        with recorded_attention(tiny_pipeline.unet) as recorded:
            heard = tiny_pipeline.denoise(noisy, t, condition, raw)
    assert torch.equal(plain, heard)
    assert recorded and all(one.shape[-1] == condition.mask.shape[1] for one in recorded)
    for one in recorded:
        assert torch.allclose(one.sum(-1), torch.ones(()), atol=1e-5)
        assert (one[..., ~condition.mask[0]] < 1e-6).all(), "padding is not read"


def test_what_cannot_be_drawn(
    tiny_pipeline: DetDiffusionPipeline,
    make_pipeline: Callable[..., DetDiffusionPipeline],
    vocabulary: Vocabulary,
    layout_of: Callable[..., Layout],
) -> None:
    with pytest.raises(ConfigError, match="1 images, 2 layouts"):
        object_masks(tiny_pipeline, [Image.new("RGB", (64, 64))], [layout_of(1)] * 2)
    with pytest.raises(ConfigError, match="no perception head"):
        object_masks(make_pipeline(vocabulary, head_config=None), [Image.new("RGB", (64, 64))], [layout_of(1)])


@pytest.mark.model
def test_the_bundled_head_marks_objects_not_boxes() -> None:
    from training.data.papercut.scene import scene

    made = [scene(900_000 + i) for i in range(8)]
    pipe = load_pipeline(BUNDLED_MODEL)
    layouts = [apply_strategy(pipe.vocabulary.resolve(one.layout), Strategy.EASY) for one in made]
    masks = object_masks(pipe, [one.image for one in made], layouts)
    overlaps = np.concatenate([mask_ious(mask, one.masks) for mask, one in zip(masks, made, strict=True)])
    boxes = np.concatenate([mask_ious(_boxes(one.layout), one.masks) for one in made])
    print("mean IoU of masks", np.nanmean(overlaps), "of boxes", np.nanmean(boxes))
    assert np.nanmean(overlaps) > np.nanmean(boxes)


def _boxes(layout: Layout) -> np.ndarray:
    drawn = np.zeros((len(layout.boxes), layout.height, layout.width), np.float32)
    for mask, box in zip(drawn, layout.boxes, strict=True):
        x1, y1, x2, y2 = box.xyxy
        rows = slice(round(y1 * layout.height), round(y2 * layout.height))
        columns = slice(round(x1 * layout.width), round(x2 * layout.width))
        mask[rows, columns] = 1
    return drawn
