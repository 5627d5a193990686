"""The whole pipeline at a tiny size: batches, seeds, sizes, previews, cancelling, saving."""

import json
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, DPMSolverMultistepScheduler, HeunDiscreteScheduler
from diffusers.models.attention_processor import AttnProcessor
from waits import Asked

from detdiffusion.core.files import write_json
from detdiffusion.diffusion.checkpoint import save_pipeline
from detdiffusion.diffusion.denoising import Denoiser
from detdiffusion.diffusion.manifest import read_recommended
from detdiffusion.diffusion.output import StepInfo
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.errors import Cancelled, CheckpointError, ConfigError, LayoutError
from detdiffusion.layout import Attribute, Box, Layout
from detdiffusion.models.autoencoder import SmallAutoencoder
from detdiffusion.models.precision import autocast, computes_in, preferred_dtype
from detdiffusion.sampling_config import Recommended
from detdiffusion.text.vocabulary import Vocabulary

LayoutOf = Callable[..., Layout]
MakePipeline = Callable[..., DetDiffusionPipeline]
MakeAutoencoder = Callable[[], AutoencoderKL]


def latents(pipe: DetDiffusionPipeline, layouts: Any, seeds: Any, **changes: Any) -> torch.Tensor:
    values = {"steps": 3, "output_type": "latent", "dtype": torch.float32, **changes}
    result: torch.Tensor = pipe(layouts, seeds=seeds, **values).images
    return result


def test_layouts_become_pictures(tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf) -> None:
    output = tiny_pipeline([layout_of(1), layout_of(20)], seeds=[1, 2], steps=2)
    assert [image.size for image in output.images] == [(64, 64), (64, 64)]
    assert [len(layout.boxes) for layout in output.layouts] == [1, 20]


def test_images_have_the_forms_of_diffusers(tiny_pipeline: DetDiffusionPipeline) -> None:
    """Sides that differ, so that none is taken for the other."""
    wide = Layout(128, 64, (Box("car", (0, 0, 0.5, 0.5)),))
    images, arrays, tensors = (
        tiny_pipeline(wide, seeds=[1, 2], steps=2, output_type=form).images for form in ("pil", "np", "pt")
    )
    assert (arrays.shape, arrays.dtype) == ((2, 64, 128, 3), np.float32)
    assert (tensors.shape, tensors.dtype) == ((2, 3, 64, 128), torch.float32)
    assert 0 <= arrays.min() < arrays.max() <= 1 and arrays.max() > 1 / 128
    assert np.array_equal(arrays, tensors.permute(0, 2, 3, 1).numpy())
    for image, array in zip(images, arrays, strict=True):
        assert abs(np.asarray(image) / 255 - array).max() <= 0.5 / 255 + 1e-6
    assert np.array_equal((arrays * 255).round().astype(np.uint8), np.stack([np.asarray(image) for image in images]))


def test_a_picture_does_not_depend_on_its_batch(tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf) -> None:
    layouts, seeds = [layout_of(n) for n in (40, 1, 14)], [5, 6, 7]
    together = latents(tiny_pipeline, layouts, seeds)
    for row, (layout, seed) in enumerate(zip(layouts, seeds, strict=True)):
        assert torch.equal(together[row], latents(tiny_pipeline, layout, [seed])[0]), "to the bit, on a CPU"


def test_seed_attribute_and_box_each_change_the_picture(
    tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf
) -> None:
    layout = layout_of(3)
    base, again = latents(tiny_pipeline, layout, [1, 1])
    assert torch.equal(base, again)
    hard = layout.with_attributes([Attribute.HARD] * 3)
    moved = Layout(64, 64, (*layout.boxes[:2], Box("car", (0.5, 0.5, 0.9, 0.9), Attribute.EASY)))
    for other, seed in ((layout, 2), (hard, 1), (moved, 1)):
        assert not torch.allclose(latents(tiny_pipeline, other, [seed])[0], base, atol=1e-4)


def test_without_words_for_attributes_tags_change_nothing(
    make_pipeline: MakePipeline, layout_of: LayoutOf, vocabulary: Vocabulary
) -> None:
    """The blueprint draws every object as its class is by default, and no prompt says a tag."""
    silent = make_pipeline(replace(vocabulary, attribute_words=()))
    layout = layout_of(3)  # a road, a car and a traffic light
    default = layout.with_attributes([Attribute.BACKGROUND, Attribute.EASY, Attribute.EASY])
    drawing, picture = silent.draw_layouts([default], (8, 8)), latents(silent, default, [1])
    for tags in ([Attribute.HARD] * 3, [Attribute.EASY] * 3, [Attribute.BACKGROUND] * 3):
        tagged = layout.with_attributes(tags)
        assert torch.equal(silent.draw_layouts([tagged], (8, 8)), drawing)
        torch.testing.assert_close(silent.encode_layouts([tagged]), silent.encode_layouts([default]), rtol=0, atol=0)
        assert torch.equal(latents(silent, tagged, [1]), picture)
    untagged = Layout(64, 64, tuple(replace(box, attribute=None) for box in layout.boxes))
    assert torch.equal(silent.draw_layouts([None, untagged], (8, 8))[1:], drawing)
    told = make_pipeline(vocabulary)  # and with words, tags are drawn as they are
    hard = layout.with_attributes([Attribute.HARD] * 3)
    assert not torch.equal(told.draw_layouts([hard], (8, 8)), told.draw_layouts([default], (8, 8)))


def test_attributes_left_out_are_filled_in(tiny_pipeline: DetDiffusionPipeline) -> None:
    layout = Layout(64, 64, (Box("car", (0, 0, 0.5, 0.5)), Box("road", (0, 0.5, 1, 1))))
    output = tiny_pipeline(layout, seeds=[1], steps=1)
    assert [box.attribute for box in output.layouts[0].boxes] == [Attribute.EASY, Attribute.BACKGROUND]


def test_guidance_off_equals_scale_one_with_both_halves(
    tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf
) -> None:
    off = latents(tiny_pipeline, layout_of(3), [1], guidance_scale=1.0)
    nearly = latents(tiny_pipeline, layout_of(3), [1], guidance_scale=1.0 + 1e-7)
    torch.testing.assert_close(off, nearly, atol=1e-4, rtol=0)
    assert not torch.allclose(off, latents(tiny_pipeline, layout_of(3), [1], guidance_scale=5.0), atol=1e-4)


def test_where_guidance_is_on_is_a_property_of_the_model(
    tmp_path: Path, tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf
) -> None:
    whole, off = (latents(tiny_pipeline, layout_of(3), [1], guidance_scale=scale) for scale in (5.0, 1.0))
    narrow = DetDiffusionPipeline(
        **tiny_pipeline.components, vocabulary=tiny_pipeline.vocabulary, guidance_interval=[0.4, 0.8]
    )
    part = latents(narrow, layout_of(3), [1], guidance_scale=5.0)
    assert not torch.allclose(part, whole, atol=1e-4) and not torch.allclose(part, off, atol=1e-4)
    save_pipeline(narrow, tmp_path, dtype=torch.float32)
    torch.testing.assert_close(latents(load_pipeline(tmp_path), layout_of(3), [1], guidance_scale=5.0), part)


def test_a_model_is_drawn_as_it_recommends(
    tmp_path: Path, tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf
) -> None:
    wishes = Recommended(steps=2, guidance_scale=1.0, fewest_steps=2, most_steps=3)
    student = DetDiffusionPipeline(
        **tiny_pipeline.components, vocabulary=tiny_pipeline.vocabulary, sampling=wishes.to_json()
    )
    save_pipeline(student, tmp_path, dtype=torch.float32)
    loaded = load_pipeline(tmp_path)
    assert loaded.recommended == wishes == read_recommended(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        own = loaded(layout_of(3), seeds=[1], output_type="latent", dtype=torch.float32).images
    torch.testing.assert_close(own, latents(tiny_pipeline, layout_of(3), [1], steps=2, guidance_scale=1.0))
    with pytest.warns(UserWarning, match="4 steps, where it needs at most 3"):
        loaded(layout_of(3), seeds=[1], steps=4)


@pytest.mark.parametrize("sampling", ["fast", {"steps": 2}, {"speed": 2}, {"steps": None}])
def test_a_folder_that_says_nonsense_about_its_sampling_is_refused_by_name(
    tmp_path: Path, tiny_pipeline: DetDiffusionPipeline, sampling: object
) -> None:
    save_pipeline(tiny_pipeline, tmp_path)
    index = tmp_path / "model_index.json"
    write_json(index, {**json.loads(index.read_text()), "sampling": sampling})
    (tmp_path / "manifest.json").unlink()  # as a folder that somebody has edited
    with pytest.raises(CheckpointError, match=rf"{re.escape(str(index))}: .*steps"):
        load_pipeline(tmp_path)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("blueprint", [{}, None])
def test_epsilon_and_v_with_and_without_blueprint(
    make_pipeline: MakePipeline,
    vocabulary: Vocabulary,
    layout_of: LayoutOf,
    prediction_type: str,
    blueprint: dict[str, int] | None,
) -> None:
    config = {"beta_schedule": "scaled_linear", "prediction_type": prediction_type}
    pipe = make_pipeline(vocabulary, scheduler_config=config, blueprint_config=blueprint, head_config=None)
    assert pipe.unet.config.in_channels == (4 if blueprint is None else 4 + 32)
    assert torch.isfinite(latents(pipe, [layout_of(2)], [1])).all()


def test_a_kl_autoencoder_and_a_ddpm_scheduler_work_too(
    vocabulary: Vocabulary, layout_of: LayoutOf, make_pipeline: MakePipeline, kl_autoencoder: MakeAutoencoder
) -> None:
    pipe = make_pipeline(vocabulary, autoencoder=kl_autoencoder)
    pipe.register_modules(scheduler=DDPMScheduler.from_config(pipe.scheduler.config))
    assert pipe.downsample == 8
    assert pipe(layout_of(2), seeds=[1], steps=2).images[0].size == (64, 64)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((64, 64), (64, 64)),
        ((512, 512), (64, 64)),
        ((50, 50), (64, 64)),
        ((128, 64), (64, 128)),
        ((64, 192), (192, 64)),
    ],
)
def test_picture_sizes(tiny_pipeline: DetDiffusionPipeline, size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert tiny_pipeline.image_size(Layout(*size, (Box("car", (0, 0, 1, 1)),))) == expected


def test_a_wide_layout_gets_a_wide_picture(tiny_pipeline: DetDiffusionPipeline) -> None:
    layout = Layout(128, 64, (Box("car", (0, 0, 0.5, 0.5)),))
    assert tiny_pipeline(layout, seeds=[1], steps=1).images[0].size == (128, 64)


def test_bad_calls_say_what_is_needed(tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf) -> None:
    square, wide = layout_of(1), Layout(128, 64, layout_of(1).boxes)
    with pytest.raises(LayoutError, match=r"800x450 pixels: .* multiples of 64, such as 768x448"):
        tiny_pipeline(Layout(800, 450, square.boxes), seeds=[1])
    with pytest.raises(LayoutError, match="one batch draws images of one size"):
        tiny_pipeline([square, wide], seeds=[1, 2])
    with pytest.raises(LayoutError, match=r"unknown class 'cars'.*nearest first: car"):
        tiny_pipeline(Layout(64, 64, (Box("cars", (0, 0, 1, 1)),)), seeds=[1])
    for layouts, seeds in (([square], [1, 2]), ([], []), (square, [])):
        with pytest.raises(ConfigError, match="one seed an image"):
            tiny_pipeline(layouts, seeds=seeds)


def test_a_scheduler_that_would_break_the_images_is_refused_before_anything_is_drawn(
    make_pipeline: MakePipeline, vocabulary: Vocabulary, layout_of: LayoutOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = make_pipeline(vocabulary)
    pipe.scheduler = HeunDiscreteScheduler.from_config(pipe.scheduler.config)
    with monkeypatch.context() as patch:
        patch.delattr(Denoiser, "denoise")
        with pytest.raises(ConfigError, match=r"HeunDiscreteScheduler with 8 steps does not fit .* Choose a sampler"):
            pipe(layout_of(2), seeds=[1], steps=8)
    named = pipe(layout_of(2), seeds=[1], steps=8, sampler="dpm++").images[0]
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    assert named.tobytes() == pipe(layout_of(2), seeds=[1], steps=8).images[0].tobytes()


def test_previews_and_cancelling(tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf) -> None:
    seen: list[tuple[int, int]] = []

    def watch(info: StepInfo) -> None:
        seen.append((info.step, info.steps))
        assert [image.size for image in info.preview()] == [(64, 64), (64, 64)]
        if info.step == 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        tiny_pipeline([layout_of(1), layout_of(2)], seeds=[1, 2], steps=4, on_step=watch)
    assert seen == [(1, 4), (2, 4)]


def test_the_last_preview_is_the_picture(tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf) -> None:
    previews = []
    output = tiny_pipeline(
        layout_of(2), seeds=[1], steps=4, dtype=torch.float32, on_step=lambda info: previews.append(info.preview()[0])
    )
    difference = np.asarray(previews[-1]).astype(int) - np.asarray(output.images[0])
    assert abs(difference).max() <= 2


def test_generation_leaves_global_randomness_alone(tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf) -> None:
    before = torch.random.get_rng_state()
    tiny_pipeline(layout_of(2), seeds=[1], steps=2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_same_seed_makes_the_same_model(
    make_pipeline: MakePipeline, vocabulary: Vocabulary, tiny_pipeline: DetDiffusionPipeline
) -> None:
    before = torch.random.get_rng_state()
    again, other = make_pipeline(vocabulary), make_pipeline(vocabulary, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(again.unet.conv_in.weight, tiny_pipeline.unet.conv_in.weight)
    assert not torch.equal(again.unet.conv_in.weight, other.unet.conv_in.weight)


def test_emptied_prompts_in_a_training_batch(tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf) -> None:
    condition = tiny_pipeline.encode_layouts([None, layout_of(3)])
    raw = tiny_pipeline.draw_layouts([None, layout_of(3)], (8, 8))
    assert raw is not None
    assert (raw[0].any().item(), raw[1].any().item()) == (False, True)
    assert condition.object_mask.tolist() == [[False] * 3, [True] * 3]
    assert condition.mask.sum(dim=1).tolist() == [2, 5 + 4 + 4 + 5]
    nothing = tiny_pipeline.draw_layouts([None], (8, 8))
    assert nothing is not None
    assert not nothing.any()


def test_plain_attention_on_the_cpu(tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf) -> None:
    tiny_pipeline(layout_of(1), seeds=[1], steps=1)
    assert {type(processor) for processor in tiny_pipeline.unet.attn_processors.values()} == {AttnProcessor}


def test_bf16_is_chosen_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert preferred_dtype(torch.device("cpu")) == dtype
        with autocast(torch.device("cpu")):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    assert preferred_dtype(torch.device("meta")) == torch.float32


@pytest.mark.parametrize("parts", [{}, {"blueprint_config": None, "head_config": None}])
@pytest.mark.parametrize("kl", [False, True])
def test_save_pretrained_and_from_pretrained(
    tmp_path: Path,
    make_pipeline: MakePipeline,
    kl_autoencoder: MakeAutoencoder,
    vocabulary: Vocabulary,
    layout_of: LayoutOf,
    parts: dict[str, Any],
    kl: bool,
) -> None:
    pipe = make_pipeline(vocabulary, **parts, **({"autoencoder": kl_autoencoder} if kl else {}))
    pipe.save_pretrained(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".bin", ".pt")]
    again = DetDiffusionPipeline.from_pretrained(tmp_path)
    assert again.vocabulary == vocabulary
    assert {name: type(part) for name, part in again.components.items()} == {
        name: type(part) for name, part in pipe.components.items()
    }
    torch.testing.assert_close(latents(again, layout_of(3), [1]), latents(pipe, layout_of(3), [1]))


def test_bf16_weights_draw_nearly_the_same(
    tmp_path: Path, tiny_pipeline: DetDiffusionPipeline, layout_of: LayoutOf
) -> None:
    tiny_pipeline.save_pretrained(tmp_path)
    if not computes_in(torch.device("cpu"), torch.bfloat16):
        pytest.skip("this CPU does not compute in bfloat16")
    half = load_pipeline(str(tmp_path), dtype=torch.bfloat16)
    assert {half.unet.dtype, half.text_encoder.dtype, half.vae.dtype, half.blueprint.dtype} == {torch.bfloat16}
    ours, exact = latents(half, layout_of(3), [1], dtype=None), latents(tiny_pipeline, layout_of(3), [1])
    assert float((ours - exact).abs().mean()) < 0.05 * float(exact.std())
    assert half(layout_of(3), seeds=[1], steps=1).images[0].size == (64, 64)


def test_a_pipeline_needs_its_vocabulary(tmp_path: Path, tiny_pipeline: DetDiffusionPipeline) -> None:
    with pytest.raises(ConfigError, match=r"vocabulary\.json"):
        DetDiffusionPipeline(**tiny_pipeline.components)
    with pytest.raises(CheckpointError, match=r"vocabulary\.json is missing"):
        DetDiffusionPipeline.from_pretrained(tmp_path)
    assert isinstance(tiny_pipeline.vae, SmallAutoencoder)


def test_a_step_asks_for_no_value(tiny_pipeline: DetDiffusionPipeline, layout_of: Callable[..., Layout]) -> None:
    """The sampler looks for its first timestep once; on an accelerator, all steps are queued behind it."""
    asked: list[list[str]] = []
    for steps in (4, 9):
        latents(tiny_pipeline, [layout_of(2)], [0], steps=steps)  # the first time, the scheduler is tried out
        with Asked() as each:
            latents(tiny_pipeline, [layout_of(2)], [0], steps=steps)
        asked.append(each.values)
    assert asked[0] == asked[1] and len(asked[0]) == 2
