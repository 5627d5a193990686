"""Guidance by a detector: which steps, which objects, which way, how far; and the pipeline with it."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from detdiffusion.detection import Detections
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.diffusion.steering.detector_guidance import (
    CELL,
    REACH,
    DetectorGuidance,
    box_mask,
    difficulty_of,
    goals_of,
    guidance_of,
    look_steps,
)
from detdiffusion.errors import ConfigError, DetectorError
from detdiffusion.layout import Attribute, Box, Layout

LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
PAIR = Layout(64, 64, (Box("car", LEFT, Attribute.HARD), Box("car", RIGHT, Attribute.EASY)))
TIMESTEPS = [999 - 50 * i for i in range(20)]


class Brightness:
    """Is the surer of a car the brighter its box is: a detector of which one knows what guidance has to do."""

    name, sha256, labels, min_score = "brightness", "0" * 64, ("car",), 0.5

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        raise NotImplementedError

    def score(self, images: Tensor, boxes: Sequence[Tensor], labels: Sequence[Sequence[str]]) -> list[Tensor]:
        size = images.shape[-2:]
        masks = [[box_mask(Box("car", tuple(box)), size) for box in of_image.tolist()] for of_image in boxes]
        return [
            torch.stack([(image * mask).sum() / mask.sum() / 3 for mask in of_image])
            for image, of_image in zip(images, masks, strict=True)
        ]


class Identity:
    """An autoencoder whose latents are the image."""

    device, dtype = torch.device("cpu"), torch.float32

    class config:
        scaling_factor = 1.0

    def decode(self, latents: Tensor) -> Any:
        return type("Decoded", (), {"sample": latents})


def guided(layout: Layout, strength: float = 1.0, number: int = 4, level: float = 0.0) -> Tensor | None:
    clean = torch.full((1, 3, 8, 8), level)
    return DetectorGuidance(Brightness(), Identity(), [layout], strength)(number, TIMESTEPS, 1000, lambda: clean)


def test_every_object_goes_its_own_way() -> None:
    moved = guided(PAIR)
    assert moved is not None
    left, right = moved[..., :3].mean(), moved[..., -3:].mean()
    assert left < -0.3 and right > 0.3, "the hard one darker, the easy one brighter"


def test_the_trust_region_bounds_a_look() -> None:
    """Far from the goal each object moves by the reach, in root mean square; half as far with half the strength."""
    for strength in (0.5, 1.0):
        moved = guided(PAIR, strength)
        assert moved is not None
        for half in (moved[..., :4], moved[..., 4:]):
            assert 0.8 * REACH * strength < half.square().mean().sqrt() < 1.2 * REACH * strength
        assert moved.abs().max() <= CELL * REACH * strength


def test_objects_that_are_where_they_should_be_stay() -> None:
    hard = Layout(64, 64, (Box("car", (0, 0, 1, 1), Attribute.HARD),))
    moved = guided(hard, level=-0.9)  # confidence 0.05: lower than what hard asks for
    assert moved is not None and torch.equal(moved, torch.full((1, 3, 8, 8), -0.9))
    near, far = (guided(hard, level=level) for level in (-0.6, 0.8))
    assert near is not None and far is not None
    assert 0 < (near + 0.6).abs().mean() < (far - 0.8).abs().mean(), "moves get shorter near the goal"


def test_background_and_unknown_classes_are_not_moved() -> None:
    layout = Layout(64, 64, (Box("car", LEFT, Attribute.BACKGROUND), Box("zebra", RIGHT, Attribute.HARD)))
    assert goals_of(layout, ("car",)) == []
    moved = guided(layout)
    assert moved is not None and torch.equal(moved, torch.zeros(1, 3, 8, 8))


def test_a_difficulty_stands_above_the_attribute() -> None:
    hard = Box("car", LEFT, Attribute.HARD)
    assert [difficulty_of(hard), difficulty_of(replace(hard, difficulty=0.25))] == [1, 0.25]
    assert difficulty_of(replace(hard, attribute=Attribute.EASY)) == 0
    assert difficulty_of(replace(hard, attribute=Attribute.BACKGROUND, difficulty=1.0)) is None
    boxes = tuple(replace(hard, difficulty=number) for number in (0.0, 0.25, 0.5, 0.75, 1.0))
    goals = goals_of(Layout(64, 64, boxes), ("car",))
    assert (goals[0].highest, goals[-1].lowest) == (math.inf, -math.inf), "one-sided at the ends"
    middle = goals[1:-1]
    assert all(goal.lowest == goal.highest for goal in middle)
    assert [goal.highest for goal in middle] == sorted((goal.highest for goal in middle), reverse=True)


@pytest.mark.parametrize("steps", [1, 4, 20, 50])
def test_looks_lie_in_the_interval(steps: int) -> None:
    timesteps = torch.linspace(999, 0, steps + 1).round().long()[:-1].tolist()
    looks = look_steps(timesteps, 1000)
    assert len(looks) == min(6, sum(300 <= t < 900 for t in timesteps))
    assert looks == sorted(set(looks)) and all(299 < timesteps[i] < 900 for i in looks)
    assert guided(PAIR, number=19) is None, "the last steps are the model's own"


def test_masks_hold_every_cell_that_a_box_touches() -> None:
    assert box_mask(Box("car", (0.26, 0.0, 0.5, 0.5)), (2, 4)).tolist() == [[0, 1, 0, 0], [0, 0, 0, 0]]
    assert box_mask(Box("car", (0.24, 0.0, 0.51, 0.5)), (2, 4)).tolist() == [[1, 1, 1, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("sampler", ["dpm++", "ddim", "euler"])
def test_the_pipeline_is_guided(tiny_pipeline: DetDiffusionPipeline, sampler: str) -> None:
    """An untrained model: what counts is that hard gets darker and easy brighter, each in its own box."""

    def brightness(**options: Any) -> list[float]:
        images = tiny_pipeline(PAIR, seeds=[3], steps=8, sampler=sampler, output_type="pt", **options).images
        return [images[..., :28].mean().item(), images[..., 36:].mean().item()]

    plain, led = brightness(), brightness(detector=Brightness(), detector_guidance=1.0)
    assert led[0] < plain[0] and led[1] > plain[1]
    assert brightness(detector=Brightness()) == plain, "a strength of 0 changes nothing"


def test_images_are_guided_one_by_one(tiny_pipeline: DetDiffusionPipeline) -> None:
    options: dict[str, Any] = {"steps": 8, "detector": Brightness(), "detector_guidance": 1.0, "output_type": "latent"}
    both = tiny_pipeline([PAIR, PAIR.mirrored()], seeds=[3, 4], **options).images
    assert torch.equal(both[1], tiny_pipeline([PAIR.mirrored()], seeds=[4], **options).images[0])


def test_what_cannot_guide_is_refused(tiny_pipeline: DetDiffusionPipeline) -> None:
    class Blind:
        name, sha256, labels, min_score = "blind", "0" * 64, ("car",), 0.5

        def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
            raise NotImplementedError

    with pytest.raises(DetectorError, match="blind cannot guide images"):
        tiny_pipeline(PAIR, seeds=[1], detector=Blind(), detector_guidance=1.0)
    with pytest.raises(ConfigError, match="detector_guidance needs the detector"):
        tiny_pipeline(PAIR, seeds=[1], detector_guidance=1.0)
    for strength in (-1, math.nan, 9):
        with pytest.raises(ConfigError, match=r"detector guidance .* needs to be a number from 0 to 4"):
            tiny_pipeline(PAIR, seeds=[1], detector=Brightness(), detector_guidance=strength)
    assert guidance_of(None, None, [PAIR], 0.0) is None
