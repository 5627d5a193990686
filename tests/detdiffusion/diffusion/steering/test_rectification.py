"""Wrong boxes are drawn again: which ones, with which words, where; and an image is taken only if it is better."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image
from torch import Tensor

from detdiffusion.detection import Detections
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.diffusion.sampling import SAMPLERS, make_scheduler, sample, starting_noise
from detdiffusion.diffusion.steering.rectification import (
    AT_ONCE,
    FRACTIONS,
    GUIDANCE,
    Faults,
    faults_of,
    keep_outside,
    mended,
    rectify,
    redraw_of,
    round_guidance,
)
from detdiffusion.errors import ConfigError
from detdiffusion.layout import Attribute, Box, Layout

LEFT, RIGHT, BELOW = (0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 0.5), (0.0, 0.5, 1.0, 1.0)
CAR, LIGHT = Box("car", LEFT, Attribute.EASY), Box("traffic light", RIGHT, Attribute.EASY)
ROAD = Box("road", BELOW, Attribute.BACKGROUND)
SCENE = Layout(64, 64, (CAR, LIGHT, ROAD))


def found(*boxes: Box, score: float = 0.9) -> Detections:
    corners = np.array([box.xyxy for box in boxes], np.float32).reshape(-1, 4)
    return Detections(tuple(box.label for box in boxes), np.full(len(boxes), score, np.float32), corners)


class Eyes:
    """Finds the car; the light only where the latents of its box are bright."""

    name, sha256, labels, min_score = "eyes", "0" * 64, ("car", "traffic light"), 0.5

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        lit = [np.asarray(image)[: image.height // 2, image.width // 2 :].mean() > 150 for image in images]
        return [found(CAR, LIGHT) if on else found(CAR) for on in lit]


def test_what_is_missing_displaced_or_strange() -> None:
    eyes, beside = Eyes(), replace(LIGHT, xyxy=(0.55, 0.5, 1.0, 1.0))
    assert len(faults_of(SCENE, found(CAR, LIGHT), eyes)) == 0
    assert faults_of(SCENE, found(CAR), eyes).missing == (LIGHT,)
    assert faults_of(SCENE, found(CAR, LIGHT, score=0.4), eyes).missing == (CAR, LIGHT), "it is not sure enough"
    assert faults_of(SCENE, found(CAR, replace(CAR, xyxy=RIGHT)), eyes).missing == (LIGHT,), "another class"
    moved = faults_of(Layout(64, 64, (CAR, LIGHT)), found(CAR, beside), eyes)
    assert moved.missing == (LIGHT,) and [box.label for box in moved.strange] == ["traffic light"]
    assert moved.strange[0].xyxy == pytest.approx(beside.xyxy)
    hard = replace(SCENE, boxes=(replace(CAR, attribute=Attribute.HARD), replace(LIGHT, difficulty=0.6), ROAD))
    assert len(faults_of(hard, found(), eyes)) == 0, "hard objects may be missed"


def test_one_round_draws_few_objects_with_their_own_words() -> None:
    again = redraw_of(SCENE, Faults((LIGHT,), ()), (4, 4))
    assert again.layout == replace(SCENE, boxes=(LIGHT, ROAD))
    assert again.region.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0] * 4, [0] * 4]
    washed = redraw_of(SCENE, Faults((), (Box("car", RIGHT),)), (4, 4))
    assert washed.layout.boxes == (ROAD,) and washed.region.tolist() == again.region.tolist()
    bare = replace(SCENE, boxes=(CAR,))
    assert redraw_of(bare, Faults((), (LIGHT,)), (4, 4)).layout == bare, "a layout is never empty"
    many = redraw_of(SCENE, Faults((CAR,) * 9, ()), (4, 4))
    assert many.layout.boxes == (CAR,) * AT_ONCE + (ROAD,)


def test_cells_outside_keep_their_latents() -> None:
    regions = torch.tensor([[[1.0, 0.0]]])
    steered = keep_outside(regions, torch.full((1, 2, 1, 2), 3.0))(0, [9], 10, lambda: torch.zeros(1, 2, 1, 2))
    assert steered[0, 0, 0].tolist() == [0.0, 3.0]


def images_of(latents: Tensor) -> list[Image.Image]:
    return [Image.fromarray((one[0].clamp(0, 1) * 255).byte().numpy()).convert("RGB") for one in latents]


def test_of_a_round_only_what_it_mended_is_taken() -> None:
    before = Faults((CAR, LIGHT), (Box("kite", BELOW),))
    whole = redraw_of(SCENE, before, (4, 4))
    assert mended(before, Faults((CAR,), ()), whole).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1] * 4, [1] * 4]
    still = Faults((CAR, LIGHT), (Box("cat", (0.0, 0.6, 1.0, 1.0)),))
    assert not mended(before, still, whole).any(), "what lies where something strange lay is as strange"
    other = redraw_of(SCENE, Faults((CAR,), ()), (4, 4))
    found_by_itself = mended(Faults((CAR, LIGHT), ()), Faults((CAR,), ()), other)
    assert not found_by_itself.any(), "this round did not draw the light"


def test_one_of_two_objects_is_taken() -> None:
    """The round mends the light and leaves the car missing: its box stays as it was."""

    class Both(Eyes):
        """Finds each where its box is bright."""

        def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
            pixels = [np.asarray(image)[: image.height // 2] for image in images]
            lit = [
                (one[:, : one.shape[1] // 2].mean() > 150, one[:, one.shape[1] // 2 :].mean() > 150) for one in pixels
            ]
            return [found(*[box for box, on in zip((CAR, LIGHT), one, strict=True) if on]) for one in lit]

    def draw(layouts: Sequence[Layout], noises: Sequence[int], steer: Any, begin: Any) -> Tensor:
        drawn = torch.full_like(begin[1], 0.3)
        drawn[:, :, :4, 4:] = 1.0
        return steer(0, [9], 10, lambda: drawn)

    (after,) = rectify(torch.zeros(1, 1, 8, 8), [SCENE], [5], Both(), images_of, draw)
    assert (after[0, :4, 4:] == 1).all() and after[0, :, :4].sum() == 0 and after[0, 4:].sum() == 0


def test_rounds_have_stronger_guidance() -> None:
    assert (round_guidance(2.0), round_guidance(7.5)) == (GUIDANCE, 7.5)
    assert (round_guidance(1.0), round_guidance(0.0)) == (1.0, 0.0), "switched off it stays off, in half the time"


def test_a_round_is_taken_only_where_it_is_better() -> None:
    """Two images lack their light; the first round mends the first one, the second round none."""
    asked: list[tuple[int, list[int], float]] = []

    def draw(layouts: Sequence[Layout], noises: Sequence[int], steer: Any, begin: Any) -> Tensor:
        asked.append((len(layouts), list(noises), begin[0]))
        drawn = steer(0, [9], 10, lambda: torch.full_like(begin[1], 0.1))
        if len(layouts) == 2:
            drawn[0, :, :4, 4:] = 1.0
        return drawn

    before = torch.zeros(3, 1, 8, 8)
    before[2, :, :4, 4:] = 1.0
    after = rectify(before, [SCENE] * 3, [5, 6, 7], Eyes(), images_of, draw)
    assert asked == [(2, [6, 7], FRACTIONS[0]), (1, [8], FRACTIONS[1])]
    assert after[0, 0, 0, 7] == 1 and torch.equal(after[1:], before[1:]) and before[0].sum() == 0
    whole = rectify(after[:1], [SCENE], [5], Eyes(), images_of, draw)
    assert torch.equal(whole, after[:1]) and len(asked) == 2, "nothing is drawn where nothing is wrong"


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("fraction", [0.8, 0.3, 0.01])
def test_sampling_begins_in_the_middle(sampler: str, fraction: float) -> None:
    """With the perfect prediction every sampler ends at the clean latents, whatever the noise that they got."""
    model = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    scheduler = make_scheduler(model, sampler)
    clean = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(9))
    steps: list[int] = []

    def predict(latents: Tensor, t: Tensor) -> Tensor:
        alpha_bar = scheduler.alphas_cumprod[t.long()]
        steps.append(int(t))
        noise = (latents - alpha_bar.sqrt() * clean) / (1 - alpha_bar).sqrt()
        return alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * clean

    noise = starting_noise([1, 2], (4, 3, 3))
    ended = sample(predict, scheduler, noise, seeds=[1, 2], steps=20, guidance_scale=1.0, begin=(fraction, 0.7 * clean))
    assert (ended - clean).abs().max() < 0.1
    assert len(steps) == max(1, sum(t < 1000 * fraction for t in scheduler.timesteps.tolist())) < 20
    assert max(steps) < max(1000 * fraction, 60)


def test_the_pipeline_draws_again_what_is_missing(
    tiny_pipeline: DetDiffusionPipeline, layout_of: Callable[..., Layout]
) -> None:
    """A light that nobody ever finds is drawn again, and its image not taken; that of a finder is the image itself."""

    class Blind(Eyes):
        looked = 0

        def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
            self.looked += len(images)
            return [found(CAR)] * len(images)

    class Seeing(Blind):
        def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
            self.looked += len(images)
            return [found(CAR, LIGHT)] * len(images)

    class Late(Blind):
        """Finds it from the second look on."""

        def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
            self.looked += len(images)
            return [found(CAR, LIGHT) if self.looked > 1 else found(CAR)]

    def drawn(eyes: Any, fix: bool = True) -> Tensor:
        options: dict[str, Any] = {"steps": 4, "output_type": "latent", "dtype": torch.float32}
        latents: Tensor = tiny_pipeline(SCENE, seeds=[3], detector=eyes, fix_boxes=fix, **options).images[0]
        return latents

    plain, blind, seeing, late = drawn(None, fix=False), Blind(), Seeing(), Late()
    assert torch.equal(drawn(blind), plain) and blind.looked == 3
    assert torch.equal(drawn(seeing), plain) and seeing.looked == 1
    fixed = drawn(late)
    assert late.looked == 3, "at the image, at what was drawn, and at what was taken of it"
    assert not torch.equal(fixed[:, :4, 4:], plain[:, :4, 4:])
    assert torch.equal(fixed[:, 4:], plain[:, 4:]) and torch.equal(fixed[:, :, :4], plain[:, :, :4])


def test_fixing_needs_a_detector(tiny_pipeline: DetDiffusionPipeline) -> None:
    with pytest.raises(ConfigError, match="fix_boxes needs a detector that says which boxes are wrong"):
        tiny_pipeline(SCENE, seeds=[1], fix_boxes=True)
    with pytest.raises(ConfigError, match="fix_boxes 'yes' needs to be True or False"):
        tiny_pipeline(json.loads(json.dumps(SCENE.to_json())), seeds=[1], detector=Eyes(), fix_boxes="yes")
