"""Guidance away from other tags, on a tiny model: what it adds up to, where it is on, and how a folder says it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.diffusion.checkpoint import save_pipeline
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.diffusion.steering.tag_guidance import opposite
from detdiffusion.errors import ConfigError
from detdiffusion.layout import Attribute, Box, Layout
from detdiffusion.sampling_config import TagGuidance
from detdiffusion.text.vocabulary import Vocabulary

WHOLE = {"strength": 1.0, "noisiest": 1.0}
LayoutOf = Callable[[int], Layout]


def guided(pipe: DetDiffusionPipeline, **tags: float) -> DetDiffusionPipeline:
    return DetDiffusionPipeline(**pipe.components, vocabulary=pipe.vocabulary, tag_guidance=tags or None)


def latents(pipe: DetDiffusionPipeline, layout: Layout, scale: float, **how: Any) -> Tensor:
    how = {"steps": 4, "guidance_scale": scale, "output_type": "latent", "dtype": torch.float32, **how}
    found: Tensor = pipe(layout, seeds=[1], **how).images
    return found


def test_easy_and_hard_are_exchanged() -> None:
    boxes = [Box("car", (0, 0, 0.5, 0.5), tag) for tag in (*Attribute, None)]
    boxes.append(replace(boxes[0], difficulty=0.25))
    found = opposite(Layout(64, 64, tuple(boxes)))
    assert [box.attribute for box in found.boxes[:4]] == [Attribute.HARD, Attribute.EASY, Attribute.BACKGROUND, None]
    assert found.boxes[4].difficulty == 0.75 and opposite(found) == Layout(64, 64, tuple(boxes))


@pytest.mark.parametrize(("way", "sign"), [(Strategy.EASY, -1), (Strategy.HARD, 1)])
def test_it_is_attribute_guidance_by_the_tags_of_the_layout(
    tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf, way: Strategy, sign: int
) -> None:
    layout = apply_strategy(layout_of(3), way)
    away = latents(guided(tiny_pipeline, **WHOLE), layout, 2.5)
    torch.testing.assert_close(
        away, latents(tiny_pipeline, layout, 1.0, attribute_guidance=1.5 * sign), atol=1e-4, rtol=1e-4
    )
    half = latents(guided(tiny_pipeline, strength=0.5, noisiest=1.0), layout, 2.5)
    torch.testing.assert_close(half, latents(guided(tiny_pipeline, **WHOLE), layout, 1.75), atol=1e-4, rtol=1e-4)


def test_both_kinds_add_up(tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf) -> None:
    layout = apply_strategy(layout_of(3), Strategy.HARD)
    both = latents(guided(tiny_pipeline, **WHOLE), layout, 2.0, attribute_guidance=0.5)
    torch.testing.assert_close(both, latents(tiny_pipeline, layout, 1.0, attribute_guidance=1.5), atol=1e-4, rtol=1e-4)


def test_it_takes_the_noisiest_part_alone(tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf) -> None:
    layout = layout_of(3)
    plain, part, whole = (
        latents(pipe, layout, 4.0)
        for pipe in (tiny_pipeline, guided(tiny_pipeline, strength=1.0, noisiest=0.5), guided(tiny_pipeline, **WHOLE))
    )
    assert not torch.allclose(part, plain, atol=1e-3) and not torch.allclose(part, whole, atol=1e-3)
    off = latents(guided(tiny_pipeline, **WHOLE), layout, 1.0)
    torch.testing.assert_close(off, latents(tiny_pipeline, layout, 1.0))  # guidance 1 switches it off, too


def test_background_is_led_nowhere(tiny_pipeline: DetDiffusionPipeline) -> None:
    road = Layout(64, 64, (Box("road", (0, 0.5, 1, 1), Attribute.BACKGROUND),))
    torch.testing.assert_close(
        latents(guided(tiny_pipeline, **WHOLE), road, 5.0), latents(tiny_pipeline, road, 1.0), atol=1e-4, rtol=1e-4
    )


def test_a_difficulty_in_the_middle_is_led_nowhere(tiny_pipeline: DetDiffusionPipeline) -> None:
    box = Box("car", (0.0, 0.0, 1.0, 1.0), Attribute.EASY)
    ends = [Layout(64, 64, (replace(box, difficulty=number),)) for number in (0.0, 0.5, 1.0)]
    pipe = guided(tiny_pipeline, **WHOLE)
    middle = latents(tiny_pipeline, ends[1], 1.0)
    torch.testing.assert_close(latents(pipe, ends[1], 3.0), middle, atol=1e-4, rtol=1e-4)
    easy = latents(pipe, Layout(64, 64, (box,)), 3.0)
    torch.testing.assert_close(latents(pipe, ends[0], 3.0), easy, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(latents(pipe, ends[2], 3.0), easy, atol=1e-3)


def test_a_folder_keeps_it(tmp_path: Path, tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf) -> None:
    pipe = guided(tiny_pipeline, strength=0.5, noisiest=0.4)
    save_pipeline(pipe, tmp_path, dtype=torch.float32)
    torch.testing.assert_close(latents(load_pipeline(tmp_path), layout_of(3), 3.0), latents(pipe, layout_of(3), 3.0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strength": 0.5}, "needs to be an object of strength and noisiest"),
        ("strong", "needs to be an object of strength and noisiest"),
        ({"strength": 0, "noisiest": 0.4}, "strength is 0, and needs to be above 0"),
        ({"strength": True, "noisiest": 0.4}, "strength is True"),
        ({"strength": 0.5, "noisiest": 1.5}, "noisiest is 1.5"),
        ({"strength": float("nan"), "noisiest": 0.5}, "strength is nan"),
    ],
)
def test_nonsense_is_refused(values: object, message: str) -> None:
    with pytest.raises(ConfigError, match=f"tag_guidance.*{message}"):
        TagGuidance.from_json(values)


def test_a_model_without_words_for_tags_has_none(make_pipeline: Any) -> None:
    silent = make_pipeline(Vocabulary(things=("car",), grid=(8, 8), attribute_words=()))
    with pytest.raises(ConfigError, match="it can have no tag_guidance"):
        guided(silent, **WHOLE)
