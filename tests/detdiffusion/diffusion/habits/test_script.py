"""A script as diffusers' documentation of StableDiffusionPipeline teaches it, on that pipeline and on ours."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)
from diffusers.callbacks import SDCFGCutoffCallback

from detdiffusion import DetDiffusionPipeline
from detdiffusion.diffusion.checkpoint import save_pipeline
from detdiffusion.diffusion.stable_diffusion import pipeline_from_stable_diffusion
from detdiffusion.errors import ConfigError
from detdiffusion.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("car", "person"), ("road",), (8, 8), "<l{}>")
LAYOUT = {"width": 64, "height": 64, "objects": [{"label": "car", "box": [0.1, 0.1, 0.6, 0.7]}]}
SCHEDULERS = (DDIMScheduler, EulerAncestralDiscreteScheduler, LMSDiscreteScheduler, PNDMScheduler)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, published: ModuleType) -> Path:
    folder: Path = published.write_stable_diffusion(tmp_path_factory.mktemp("base") / "sd", safety=False)
    config = folder / "unet/config.json"  # of an older diffusers, it would draw 512 pixels whatever the config says
    config.write_text(config.read_text().replace("0.4.1", "0.42.0"))
    return folder


@pytest.fixture(scope="module")
def ours(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ours") / "model"
    pipe = pipeline_from_stable_diffusion(base, VOCABULARY, blueprint_config=None, head_config=None, seed=0)
    save_pipeline(pipe, folder, dtype=torch.float32)
    return folder


def images_of(output: Any) -> list[np.ndarray]:
    return [np.asarray(image) for image in output.images]


def alike(one: Any, other: Any) -> bool:
    """But for rounding: torch's own sums on a CPU may differ in the last bit from call to call."""
    return bool(abs(np.asarray(one).astype(int) - np.asarray(other)).max() <= 1)


def script(kind: Any, folder: Path, prompt: Any, out: Path) -> None:
    """What a person writes who has read diffusers' pages, and nothing of ours. Pages: "Load pipelines", "Reproducible
    pipelines", "Batch inference", "Schedulers", "Pipeline callbacks", "Reduce memory usage"."""
    pipeline = kind.from_pretrained(str(folder), torch_dtype=torch.float32, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline = pipeline.to("cpu")

    generator = torch.Generator(device="cpu").manual_seed(0)
    image = pipeline(prompt, num_inference_steps=3, guidance_scale=3.0, generator=generator).images[0]
    same = pipeline(prompt, num_inference_steps=3, guidance_scale=3.0, generator=torch.Generator().manual_seed(0))
    assert alike(np.asarray(image), images_of(same)[0])

    generators = [torch.Generator("cpu").manual_seed(i) for i in range(2)]
    batch = pipeline([prompt] * 2, num_inference_steps=3, generator=generators)
    several = pipeline(prompt, num_images_per_prompt=2, num_inference_steps=3, output_type="np").images
    assert len(batch.images) == 2 and several.shape == (2, 64, 64, 3)

    channels = pipeline.unet.config.in_channels
    latents = torch.randn((1, channels, 8, 8), generator=torch.Generator().manual_seed(5))
    images, flagged = pipeline(prompt, latents=latents, num_inference_steps=2, return_dict=False)
    assert len(images) == 1 and flagged is None

    for scheduler in SCHEDULERS:
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
        assert images_of(pipeline(prompt, num_inference_steps=5, generator=torch.Generator().manual_seed(1)))
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)

    seen = []

    def decode_tensors(pipe: Any, step: int, timestep: Any, callback_kwargs: dict[str, Any]) -> dict[str, Any]:
        seen.append((step, int(timestep), tuple(callback_kwargs["latents"].shape)))
        if step == 2:
            pipe._interrupt = True
        return callback_kwargs

    pipeline(
        prompt,
        num_inference_steps=5,
        callback_on_step_end=decode_tensors,
        callback_on_step_end_tensor_inputs=["latents"],
    )
    assert [step for step, _, _ in seen] == [0, 1, 2] and seen[0][2] == (1, 4, 8, 8)

    def callback_dynamic_cfg(pipe: Any, step: int, timestep: Any, callback_kwargs: dict[str, Any]) -> dict[str, Any]:
        if step == int(pipe.num_timesteps * 0.4):
            callback_kwargs["prompt_embeds"] = callback_kwargs["prompt_embeds"].chunk(2)[-1]
            pipe._guidance_scale = 0.0
        return callback_kwargs

    dynamic, official = (
        images_of(
            pipeline(
                prompt,
                generator=torch.Generator(device="cpu").manual_seed(1),
                guidance_scale=6.5,
                num_inference_steps=5,
                callback_on_step_end=callback,
                callback_on_step_end_tensor_inputs=["prompt_embeds"],
            )
        )[0]
        for callback in (callback_dynamic_cfg, SDCFGCutoffCallback(cutoff_step_ratio=0.4))
    )
    assert alike(dynamic, official)

    pipeline.vae.enable_slicing()
    pipeline.vae.enable_tiling()
    pipeline(prompt, num_inference_steps=2)

    pipeline.scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.save_pretrained(str(out))
    again = kind.from_pretrained(str(out))
    again.set_progress_bar_config(disable=True)
    assert type(again.scheduler) is UniPCMultistepScheduler
    before, after = (
        images_of(pipe(prompt, num_inference_steps=3, generator=torch.Generator().manual_seed(3)))[0]
        for pipe in (pipeline, again)
    )
    assert alike(before, after)

    again.enable_model_cpu_offload(device="cpu")  # an accelerator's name, where there is one
    offloaded = images_of(again(prompt, num_inference_steps=3, generator=torch.Generator().manual_seed(3)))[0]
    assert alike(before, offloaded)


def test_the_script_runs_on_diffusers_own_pipeline(base: Path, tmp_path: Path) -> None:
    script(StableDiffusionPipeline, base, "car", tmp_path / "saved")


def test_the_script_runs_on_ours_with_a_layout_for_its_prompt(ours: Path, tmp_path: Path) -> None:
    script(DetDiffusionPipeline, ours, LAYOUT, tmp_path / "saved")


def test_the_script_runs_on_a_model_with_all_our_parts(tiny_pipeline: DetDiffusionPipeline, tmp_path: Path) -> None:
    tiny_pipeline.save_pretrained(tmp_path / "model")
    config = tiny_pipeline.unet.config
    assert config.in_channels > config.out_channels  # the script's latents are those of Stable Diffusion
    plain = DetDiffusionPipeline.from_pretrained(tmp_path / "model")
    plain.set_progress_bar_config(disable=True)
    plain.enable_vae_slicing()
    plain.enable_vae_tiling()
    one = images_of(plain(LAYOUT, generator=torch.Generator().manual_seed(0), num_inference_steps=2))[0]
    plain.enable_model_cpu_offload(device="cpu")
    two = images_of(plain(LAYOUT, generator=torch.Generator().manual_seed(0), num_inference_steps=2))[0]
    assert np.array_equal(one, two)


@torch.no_grad()
@pytest.mark.parametrize("kind", [DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, DDIMScheduler])
@pytest.mark.parametrize("batch", [1, 2])
def test_generators_and_latents_mean_what_they_mean_in_diffusers(base: Path, ours: Path, kind: Any, batch: int) -> None:
    """The same words, the same generators: the same latents, those of schedulers that draw noise at every step too."""
    pipe = DetDiffusionPipeline.from_pretrained(ours)
    pipe.scheduler = kind.from_config(pipe.scheduler.config)
    stock = StableDiffusionPipeline(pipe.vae, pipe.text_encoder, pipe.tokenizer, pipe.unet, pipe.scheduler, None, None)
    stock.set_progress_bar_config(disable=True)
    words = pipe.encode_layouts([pipe.vocabulary.resolve(layout) for layout in pipe_layouts(batch)]).hidden
    nothing = pipe.encode_layouts([None] * batch).hidden
    how: dict[str, Any] = {"num_inference_steps": 4, "guidance_scale": 3.0, "output_type": "latent"}

    def noise() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in range(batch)]

    theirs = stock(prompt_embeds=words, negative_prompt_embeds=nothing, generator=noise(), **how).images
    found = pipe(pipe_layouts(batch), generator=noise(), dtype=torch.float32, **how).images
    torch.testing.assert_close(found, theirs, atol=1e-4, rtol=1e-3)
    if kind is not EulerAncestralDiscreteScheduler:
        start = torch.randn((batch, 4, 8, 8), generator=torch.Generator().manual_seed(9))
        theirs = stock(prompt_embeds=words, negative_prompt_embeds=nothing, latents=start, **how).images
        found = pipe(pipe_layouts(batch), latents=start, dtype=torch.float32, **how).images
        torch.testing.assert_close(found, theirs, atol=1e-4, rtol=1e-3)


def pipe_layouts(count: int) -> list[Any]:
    from detdiffusion.layout import Layout

    return [Layout.from_json(LAYOUT)] * count


def test_without_seeds_and_generators_the_noise_is_torchs(ours: Path) -> None:
    pipe = DetDiffusionPipeline.from_pretrained(ours)
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(pipe(LAYOUT, steps=1, output_type="latent").images)
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_what_nobody_says_is_as_the_model_recommends(ours: Path, tiny_pipeline: DetDiffusionPipeline) -> None:
    pipe = DetDiffusionPipeline(
        **tiny_pipeline.components,
        vocabulary=tiny_pipeline.vocabulary,
        guidance_interval=[0.2, 0.8],
        sampling={"steps": 5, "guidance_scale": 4.0},
    )
    scales: list[float] = []

    def count(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        scales.append(pipe.guidance_scale)
        return tensors

    silent = pipe(LAYOUT, seeds=[1], output_type="latent", callback_on_step_end=count).images
    said = pipe(LAYOUT, seeds=[1], output_type="latent", num_inference_steps=5, guidance_scale=4.0).images
    assert scales == [4.0] * 5
    assert torch.equal(silent, said)


def test_a_callback_changes_latents_and_words(
    tiny_pipeline: DetDiffusionPipeline, layout_of: Callable[..., Any]
) -> None:
    """Words of two layouts of other lengths, on a CPU encoded one by one."""
    layouts = [layout_of(1), layout_of(6)]

    def draw(callback: Any = None, names: Any = ("latents",)) -> torch.Tensor:
        result: torch.Tensor = tiny_pipeline(
            layouts,
            seeds=[1, 2],
            steps=3,
            output_type="latent",
            dtype=torch.float32,
            callback_on_step_end=callback,
            callback_on_step_end_tensor_inputs=names,
        ).images
        return result

    def keep(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        return {name: tensor.clone() for name, tensor in tensors.items()}

    def swap(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        return {"prompt_embeds": tensors["prompt_embeds"] * (step > 0)}

    def double(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        return {"latents": tensors["latents"] * 2} if step == 2 else {}

    plain = draw()
    torch.testing.assert_close(draw(keep, ["latents", "prompt_embeds"]), plain)
    torch.testing.assert_close(draw(double), plain * 2)
    assert not torch.allclose(draw(swap, ["prompt_embeds"]), plain, atol=1e-4)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"generator": torch.Generator(), "seeds": [1]}, "seeds and generator both say where the noise comes from"),
        ({"generator": 3}, "generator needs to be a torch.Generator, or a list of them, not 3"),
        ({"generator": [torch.Generator()] * 3, "num_images_per_prompt": 2}, "2 images with 3 generators"),
        ({"latents": torch.zeros(1, 4, 9, 9)}, r"latents are \[1, 4, 9, 9\]; these images need \[1, 4, 8, 8\]"),
        ({"latents": "noise"}, r"latents needs to be a tensor \[B, C, h, w\]"),
        ({"steps": 2, "num_inference_steps": 2}, "steps and num_inference_steps are two names of one thing"),
        ({"num_images_per_prompt": 0}, "num_images_per_prompt needs to be a whole number from 1 up, not 0"),
        ({"callback_on_step_end": 5}, "callback_on_step_end needs to be a function"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, r"names \['noise'\]; a callback can see latents, prompt"),
        ({"callback_on_step_end": lambda *_: None}, "returned NoneType: it needs to return the dict"),
        ({"callback_on_step_end": lambda *_: {"latents": 0}}, "returned other latents than a tensor"),
        (
            {
                "callback_on_step_end": lambda *_: {"prompt_embeds": torch.zeros(1, 2)},
                "callback_on_step_end_tensor_inputs": ["prompt_embeds"],
            },
            r"returned prompt_embeds \[1, 2\], where it was given \[2, ",
        ),
    ],
)
def test_what_makes_no_sense_is_named(tiny_pipeline: DetDiffusionPipeline, how: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_pipeline(LAYOUT, **how)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "drawn"), [(Terminal, True), (io.StringIO, False)])
def test_a_bar_is_drawn_in_a_terminal_alone(
    tiny_pipeline: DetDiffusionPipeline, monkeypatch: pytest.MonkeyPatch, stream: Any, drawn: bool
) -> None:
    fresh = DetDiffusionPipeline(**tiny_pipeline.components, vocabulary=tiny_pipeline.vocabulary)
    monkeypatch.setattr(sys, "stderr", stream())
    fresh(LAYOUT, seeds=[1], steps=2)
    assert ("2/2" in sys.stderr.getvalue()) is drawn  # type: ignore[attr-defined]


@pytest.mark.parametrize("device", ["mps", "cuda"])
def test_a_device_that_is_not_there_is_refused_with_the_reason(
    tiny_pipeline: DetDiffusionPipeline, device: str
) -> None:
    backend = torch.backends.mps if device == "mps" else torch.cuda
    if backend.is_available():
        pytest.skip(f"this machine has {device}")
    with pytest.raises(ConfigError, match=f"device {device}: .*use cpu"):
        tiny_pipeline.to(device)
