"""Difficulty by the words: a mix of easy and hard inside the object's box, and nothing else."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.diffusion.steering.difficulty import by_difficulty, has_difficulty, shares_of_hard, worded
from detdiffusion.layout import Attribute, Box, Layout
from detdiffusion.text.vocabulary import Vocabulary

EASY, HARD, BACKGROUND = Attribute.EASY, Attribute.HARD, Attribute.BACKGROUND
LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
PLAIN = Layout(64, 64, (Box("car", LEFT, EASY), Box("car", RIGHT, HARD)))


def asked(difficulty: float | None, attribute: Attribute = EASY) -> Layout:
    first, second = PLAIN.boxes
    return replace(PLAIN, boxes=(replace(first, difficulty=difficulty, attribute=attribute), second))


def test_only_objects_with_a_number_are_worded_anew() -> None:
    assert has_difficulty([PLAIN, asked(0.0)]) and not has_difficulty([PLAIN])
    assert [box.attribute for box in worded(asked(0.3), HARD).boxes] == [HARD, HARD]
    assert [box.attribute for box in worded(asked(0.3), EASY).boxes] == [EASY, HARD]
    assert worded(asked(0.3, BACKGROUND), HARD).boxes[0].attribute is BACKGROUND


def test_shares_lie_in_the_boxes() -> None:
    shares = shares_of_hard([asked(0.25), PLAIN, asked(0.5, BACKGROUND)], (1, 4))
    assert shares.shape == (3, 1, 1, 4)
    assert shares[:, 0, 0].tolist() == [[0.25, 0.25, 0, 0], [0] * 4, [0] * 4]
    both = Layout(64, 64, (Box("car", LEFT, EASY, 1.0), Box("car", (0, 0, 1, 1), EASY, 0.5)))
    assert shares_of_hard([both], (1, 4))[0, 0, 0].tolist() == [0.75, 0.75, 0.5, 0.5]


@pytest.mark.parametrize("contrast", [False, True])
@pytest.mark.parametrize("guided", [False, True])
def test_the_conditional_rows_alone_are_mixed(guided: bool, contrast: bool) -> None:
    """Two images; rows in the order unconditional, conditional, hard, easy."""
    parts = 1 + guided + 2 * contrast

    def easy(latents: Tensor, t: Tensor) -> Tensor:
        return latents

    def hard(latents: Tensor, t: Tensor) -> Tensor:
        assert len(latents) == 2
        return latents + 8

    latents = torch.arange(2.0 * parts)[:, None, None, None].expand(-1, 1, 1, 1)
    shares = torch.tensor([0.25, 0.5])[:, None, None, None]
    moved = (by_difficulty(easy, hard, shares, contrast=contrast)(latents, torch.tensor(0)) - latents).flatten()
    expected = [0.0] * (2 * guided) + [2.0, 4.0] + [0.0] * (4 * contrast)
    assert moved.tolist() == expected


def draw(pipe: DetDiffusionPipeline, layout: Layout, **options: Any) -> Tensor:
    """Latents after one step: what lies outside of a box has not yet seen what lies inside."""
    values = {"steps": 1, "output_type": "latent", "dtype": torch.float32, **options}
    latents: Tensor = pipe(layout, seeds=[5], **values).images[0]
    return latents


def test_the_ends_are_easy_and_hard_inside_the_box(tiny_pipeline: DetDiffusionPipeline) -> None:
    easy, hard = draw(tiny_pipeline, asked(None, EASY)), draw(tiny_pipeline, asked(None, HARD))
    assert not torch.allclose(easy[..., :4], hard[..., :4], atol=1e-5)
    assert torch.allclose(draw(tiny_pipeline, asked(0.0, HARD)), easy, atol=1e-5), "the number stands above the word"
    whole = draw(tiny_pipeline, asked(1.0))
    assert torch.allclose(whole[..., :4], hard[..., :4], atol=1e-5)
    assert torch.allclose(whole[..., 4:], easy[..., 4:], atol=1e-5), "the neighbour is as it was"
    middle = draw(tiny_pipeline, asked(0.5))
    assert torch.allclose(middle[..., :4], (easy[..., :4] + hard[..., :4]) / 2, atol=1e-4)


def test_it_goes_with_guidance_and_in_batches(tiny_pipeline: DetDiffusionPipeline) -> None:
    options: dict[str, Any] = {"steps": 2, "output_type": "latent", "attribute_guidance": 0.5, "guidance_scale": 2.0}
    both = tiny_pipeline([asked(0.7), PLAIN], seeds=[5, 6], dtype=torch.float32, **options).images
    assert torch.equal(both[1], tiny_pipeline(PLAIN, seeds=[6], dtype=torch.float32, **options).images[0])
    assert torch.equal(both[0], tiny_pipeline(asked(0.7), seeds=[5], dtype=torch.float32, **options).images[0])


def test_a_model_without_words_takes_no_notice(vocabulary: Vocabulary, make_pipeline: Any) -> None:
    bare = make_pipeline(replace(vocabulary, attribute_words=()))
    assert torch.equal(draw(bare, asked(0.9)), draw(bare, PLAIN))
