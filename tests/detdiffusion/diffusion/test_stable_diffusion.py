"""A Stable Diffusion folder becomes a model that starts as its base: what is new, what is kept, what is refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from hub_server import hub_server
from safetensors.torch import load_file

from detdiffusion.diffusion.checkpoint import save_pipeline
from detdiffusion.diffusion.habits.hub import HubOptions
from detdiffusion.diffusion.output import StepInfo
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.diffusion.stable_diffusion import pipeline_from_stable_diffusion
from detdiffusion.errors import CheckpointError, ConfigError, LayoutError
from detdiffusion.layout import Box, Layout
from detdiffusion.models.features import FeatureTaps
from detdiffusion.text.vocabulary import Vocabulary, location_embeddings, new_words, word_ids

VOCABULARY = Vocabulary(("car", "person"), ("road",), (8, 8), "<l{}>")
LAYOUT = Layout(64, 64, (Box("car", (0.1, 0.1, 0.6, 0.7)), Box("road", (0, 0.5, 1, 1))))
TEXT_WEIGHTS, TEXT_PREFIX = "text_encoder/model.safetensors", "text_model."


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, published: ModuleType) -> Path:
    folder: Path = published.write_stable_diffusion(tmp_path_factory.mktemp("base") / "sd")
    return folder


def build(base: str | Path, vocabulary: Vocabulary = VOCABULARY, **changes: Any) -> DetDiffusionPipeline:
    values: dict[str, Any] = {"blueprint_config": {}, "head_config": {"width": 8}, "seed": 0}
    return pipeline_from_stable_diffusion(base, vocabulary, **{**values, **changes})


@pytest.fixture(scope="module")
def pipe(base: Path) -> DetDiffusionPipeline:
    return build(base)


def own_embeddings(base: Path) -> torch.Tensor:
    return load_file(base / TEXT_WEIGHTS)[f"{TEXT_PREFIX}embeddings.token_embedding.weight"]


@torch.no_grad()
def test_step_0_is_the_untouched_unet(base: Path, pipe: DetDiffusionPipeline) -> None:
    untouched = UNet2DConditionModel.from_pretrained(str(base / "unet"), local_files_only=True)
    untouched.set_attn_processor(AttnProcessor())
    layouts = [pipe.vocabulary.resolve(LAYOUT)]
    condition, raw = pipe.encode_layouts(layouts), pipe.draw_layouts(layouts, (8, 8))
    assert raw is not None and raw.any()
    latents, t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor(300)
    expected = untouched(latents, t, condition.hidden, encoder_attention_mask=condition.mask).sample
    torch.testing.assert_close(pipe.denoise(latents, t, condition, raw), expected)
    assert pipe.unet.config.in_channels == pipe.unet.conv_in.in_channels == 4 + pipe.blueprint.total_channels


@torch.no_grad()
def test_prompts_are_read_as_the_base_reads_them(pipe: DetDiffusionPipeline) -> None:
    """Stable Diffusion's way: 77 tokens, none of them masked, padding or not, with guidance and without."""
    texts = ["", "An image with car <l9> <l44> [easy] road <l32> <l63> [background]"]
    theirs = pipe.tokenizer(texts, padding="max_length", max_length=77, return_tensors="pt").input_ids
    hidden = pipe.text_encoder(input_ids=theirs).last_hidden_state
    condition = pipe.encode_layouts([None, LAYOUT])
    torch.testing.assert_close(condition.hidden, hidden)
    latents, t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor(300)
    raw = pipe.draw_layouts([None, LAYOUT], (8, 8))
    expected = pipe.unet(
        torch.cat([latents, pipe.blueprint(raw)], dim=1), t, encoder_hidden_states=hidden
    ).sample  # the new channels start at zero
    torch.testing.assert_close(pipe.denoise(latents, t, condition, raw), expected)


@pytest.mark.slow
def test_a_base_of_ours_goes_on_reading_prompts_as_it_has_learned(
    base: Path, pipe: DetDiffusionPipeline, tmp_path: Path
) -> None:
    text_only = build(base, blueprint_config=None, head_config=None)
    for padding in (True, False):
        text_only.vocabulary = replace(VOCABULARY, padding=padding)
        save_pipeline(text_only, tmp_path / str(padding))
        assert build(tmp_path / str(padding)).vocabulary.padding is padding


def test_the_blueprint_can_be_learned_from_step_0(pipe: DetDiffusionPipeline) -> None:
    layouts = [pipe.vocabulary.resolve(LAYOUT)]
    condition, raw = pipe.encode_layouts(layouts), pipe.draw_layouts(layouts, (8, 8))
    prediction = pipe.denoise(torch.randn(1, 4, 8, 8), torch.tensor(300), condition, raw)
    (gradient,) = torch.autograd.grad(prediction.square().mean(), [pipe.unet.conv_in.weight])
    assert not pipe.unet.conv_in.weight[:, 4:].any()
    assert gradient[:, 4:].abs().sum() > 0


def test_old_words_keep_their_rows_and_new_ones_start_at_their_scale(base: Path, pipe: DetDiffusionPipeline) -> None:
    before = own_embeddings(base)
    own = len(before)
    rows = pipe.text_encoder.get_input_embeddings().weight.detach()
    assert len(rows) == len(pipe.tokenizer) == own + 3 + 64
    torch.testing.assert_close(rows[:own], before, rtol=0, atol=0)
    locations = torch.tensor(word_ids(pipe.tokenizer, new_words(VOCABULARY))[3:])
    torch.testing.assert_close(rows[locations].norm(dim=1), before.norm(dim=1).mean().expand(64))
    hard = torch.tensor(pipe.tokenizer("hard", add_special_tokens=False)["input_ids"])
    torch.testing.assert_close(rows[word_ids(pipe.tokenizer, ["[hard]"])[0]], before[hard].mean(dim=0))


def test_location_rows_may_keep_their_own_scale(base: Path) -> None:
    pipe = build(base, rescale_locations=False)
    locations = torch.tensor(word_ids(pipe.tokenizer, new_words(VOCABULARY))[3:])
    rows = pipe.text_encoder.get_input_embeddings().weight.detach()[locations]
    torch.testing.assert_close(rows, location_embeddings((8, 8), 16))


def test_words_that_the_base_has_learned_stay_as_they_are(tmp_path: Path, published: ModuleType) -> None:
    locations = [VOCABULARY.location_word(index) for index in range(64)]
    base = published.write_stable_diffusion(tmp_path / "geo", words=locations)
    before = own_embeddings(base)
    continued = build(base)
    rows = continued.text_encoder.get_input_embeddings().weight.detach()
    assert len(rows) == len(before) + 3
    torch.testing.assert_close(rows[: len(before)], before, rtol=0, atol=0)
    silent = build(base, Vocabulary(("car", "person"), ("road",), (8, 8), "<l{}>", attribute_words=()))
    assert len(silent.tokenizer) == len(before)


def test_what_is_frozen_and_what_learns(pipe: DetDiffusionPipeline) -> None:
    learns = {
        name: any(p.requires_grad for p in part.parameters())
        for name, part in pipe.components.items()
        if isinstance(part, torch.nn.Module)
    }
    assert learns == {
        "vae": False,
        "safety_checker": False,
        "text_encoder": True,
        "unet": True,
        "blueprint": True,
        "perception_head": True,
    }


def test_the_autoencoder_is_the_folders_own(base: Path, pipe: DetDiffusionPipeline) -> None:
    """Under today's names; the folder says query, key, value and proj_attn."""
    saved = load_file(base / "vae/diffusion_pytorch_model.safetensors")
    attention = pipe.vae.decoder.mid_block.attentions[0]
    old = "decoder.mid_block.attentions.0"
    assert isinstance(pipe.vae, AutoencoderKL)
    assert torch.equal(attention.to_q.weight, saved[f"{old}.query.weight"])
    assert torch.equal(attention.to_out[0].bias, saved[f"{old}.proj_attn.bias"])
    assert pipe.vae.config.scaling_factor == 0.18215


def test_the_sampler_has_the_folders_noise_schedule(pipe: DetDiffusionPipeline) -> None:
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    assert isinstance(pipe.scheduler, DPMSolverMultistepScheduler)
    np.testing.assert_allclose(pipe.scheduler.alphas_cumprod.numpy(), np.cumprod(1 - betas), rtol=1e-4)
    assert pipe.scheduler.config.prediction_type == "epsilon"


def test_the_same_seed_makes_the_same_model(base: Path, pipe: DetDiffusionPipeline) -> None:
    before = torch.random.get_rng_state()
    again, other = build(base), build(base, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(again.perception_head.query.weight, pipe.perception_head.query.weight)
    assert not torch.equal(other.perception_head.query.weight, pipe.perception_head.query.weight)


def test_blueprint_and_head_are_optional(base: Path) -> None:
    pipe = build(base, blueprint_config=None, head_config=None)
    assert (pipe.blueprint, pipe.perception_head, pipe.unet.config.in_channels) == (None, None, 4)
    assert pipe(LAYOUT, seeds=[1], steps=1).images[0].size == (64, 64)


@pytest.mark.long
def test_a_model_of_800x456(base: Path) -> None:
    """Latents of 100x57, which the U-Net cannot halve evenly: every size on the way, and the picture."""
    pipe = build(base, size=(456, 800))
    wide = pipe.vocabulary.resolve(Layout(800, 456, LAYOUT.boxes))
    assert pipe.image_size(wide) == pipe.image_size(Layout(1600, 912, LAYOUT.boxes)) == (456, 800)
    assert pipe.image_size(Layout(512, 512, LAYOUT.boxes)) == (512, 512)
    with pytest.raises(LayoutError, match="this model draws 800x456 images, and others"):
        pipe.image_size(Layout(800, 450, LAYOUT.boxes))
    raw = pipe.draw_layouts([wide], (57, 100))
    assert raw is not None and raw.shape[-2:] == (57, 100)
    with torch.no_grad(), FeatureTaps(pipe.unet) as taps:
        condition = pipe.encode_layouts([wide])
        prediction = pipe.denoise(torch.randn(1, 4, 57, 100), torch.tensor([7]), condition, raw)
        logits = pipe.perception_head(taps.features, condition.objects)
    assert prediction.shape == (1, 4, 57, 100)
    sizes = [(16, 15, 25), (16, 29, 50), (8, 57, 100), (8, 57, 100)]
    assert [tuple(feature.shape[1:]) for feature in taps.features] == sizes
    assert logits.shape == (1, 2, 57, 100)
    assert pipe(wide, seeds=[1], steps=1, guidance_scale=1).images[0].size == (800, 456)


@pytest.mark.parametrize(("size", "sides"), [((256, 256), 32), ((456, 800), [57, 100])])
def test_the_size_is_saved_with_the_model(base: Path, tmp_path: Path, size: tuple[int, int], sides: Any) -> None:
    save_pipeline(build(base, size=size), tmp_path / "model")
    assert json.loads((tmp_path / "model/unet/config.json").read_text())["sample_size"] == sides
    layout = Layout(size[1], size[0], LAYOUT.boxes)
    assert load_pipeline(tmp_path / "model").image_size(layout) == size


def test_a_size_between_two_cells_is_refused(base: Path) -> None:
    with pytest.raises(ConfigError, match="800x450 pixels: both sides need to be multiples of 8"):
        build(base, size=(450, 800))


def test_it_is_saved_and_loaded_as_a_model(base: Path, pipe: DetDiffusionPipeline, tmp_path: Path) -> None:
    save_pipeline(pipe, tmp_path / "model")
    again = load_pipeline(tmp_path / "model")
    assert again.vocabulary == replace(VOCABULARY, padding=True)
    options: dict[str, Any] = {"seeds": [1], "steps": 2, "output_type": "latent", "dtype": torch.float32}
    half, exact = again(LAYOUT, **options).images, pipe(LAYOUT, **options).images
    assert float((half - exact).abs().mean()) < 0.05 * float(exact.std())
    for path in (tmp_path / "model").rglob("*.json"):
        assert str(base) not in path.read_text(), path.name


@pytest.mark.parametrize("flags", [True, False])
@pytest.mark.slow
def test_a_safety_checker_is_kept_and_used(tmp_path: Path, published: ModuleType, flags: bool) -> None:
    made = build(published.write_stable_diffusion(tmp_path / "sd", flags=flags))
    save_pipeline(made, tmp_path / "model")
    loaded = load_pipeline(tmp_path / "model")
    for pipe in (made, loaded):
        previews: list[Any] = []

        def look(info: StepInfo, previews: list[Any] = previews) -> None:
            previews.extend(info.preview())

        output = pipe([LAYOUT, LAYOUT], seeds=[1, 2], steps=2, on_step=look)
        assert output.flagged == [flags, flags]
        assert [np.asarray(image).any() for image in [*output.images, *previews]] == [not flags] * 6
    pictures = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    one, two = (pipe.safety_checker.vision_model(pictures).pooler_output for pipe in (made, loaded))
    torch.testing.assert_close(one, two, atol=1e-2, rtol=1e-2)  # saved in half precision


def test_without_a_safety_checker_nothing_is_flagged(tmp_path: Path, published: ModuleType) -> None:
    pipe = build(published.write_stable_diffusion(tmp_path / "sd", safety=False))
    assert (pipe.safety_checker, pipe.feature_extractor) == (None, None)
    assert pipe(LAYOUT, seeds=[1], steps=1).flagged is None


def test_a_safety_checker_without_its_processor_is_refused(
    base: Path, pipe: DetDiffusionPipeline, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="needs the feature_extractor"):
        DetDiffusionPipeline(**{**pipe.components, "feature_extractor": None}, vocabulary=VOCABULARY)
    folder = Path(shutil.copytree(base, tmp_path / "sd"))
    edit(folder / "model_index.json", feature_extractor=[None, None])
    with pytest.raises(CheckpointError, match="feature_extractor is missing, the safety checker needs CLIPImageProc"):
        build(folder)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "unet"), "unet.config.json does not describe a UNet2DConditionModel"),
        (lambda folder: (folder / TEXT_WEIGHTS).unlink(), "text_encoder lacks embeddings.position_embedding.weight"),
        (lambda folder: edit(folder / "unet/config.json", cross_attention_dim=32), "unet cross_attention_dim is 32"),
        (lambda folder: edit(folder / "text_encoder/config.json", hidden_size="wide"), "does not describe a CLIPText"),
        (lambda folder: edit(folder / "model_index.json", unet=["diffusers", "UNet2DModel"]), "unet is UNet2DModel"),
        (
            lambda folder: edit(folder / "model_index.json", feature_extractor=["transformers", "AutoProcessor"]),
            "feature_extractor is AutoProcessor",
        ),
        (lambda folder: (folder / "model_index.json").unlink(), r"is no model folder \(model_index.json is missing\)"),
        (lambda folder: shutil.rmtree(folder / "scheduler"), "cannot be read as a whole"),
    ],
)
def test_folders_that_are_no_base_are_refused(
    base: Path, tmp_path: Path, harm: Callable[[Path], Any], message: str
) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "sd"))
    harm(folder)
    with pytest.raises(CheckpointError, match=message):
        build(folder)


def test_pickles_are_refused_with_the_command_that_helps(tmp_path: Path, published: ModuleType) -> None:
    folder = published.write_stable_diffusion(tmp_path / "sd", pickled=True)
    with pytest.raises(CheckpointError, match=r"\.bin is a pickle.*`python -m training convert SRC DST`"):
        build(folder)


def test_a_model_that_already_has_our_parts_is_no_base(tmp_path: Path, pipe: DetDiffusionPipeline) -> None:
    save_pipeline(pipe, tmp_path / "model")
    with pytest.raises(CheckpointError, match="already has a blueprint and a perception_head: a base is a Stable"):
        build(tmp_path / "model")


@pytest.mark.parametrize("name", ["sd15", "../sd15", "/no/such/folder", "https://example.org/sd15", "models/sd15"])
def test_only_what_looks_like_a_hub_id_asks_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    (tmp_path / "models").mkdir()  # so that models/sd15 is a mistyped path
    monkeypatch.chdir(tmp_path)
    message = r"is no folder; give one that holds a model_index\.json, or a hub id"
    with hub_server(monkeypatch) as hub, pytest.raises(CheckpointError, match=message):
        build(name)
    assert hub.asked == []


def test_a_base_comes_from_the_hub_by_its_id(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, base: Path, pipe: DetDiffusionPipeline
) -> None:
    monkeypatch.chdir(tmp_path)
    with hub_server(monkeypatch) as hub:
        hub.put("someone/stable-diffusion-v1-5", base, branch="fixed")
        where = HubOptions(revision="fixed", cache_dir=tmp_path / "cache")
        made = build("someone/stable-diffusion-v1-5", hub=where)
        assert torch.equal(made.unet.conv_in.weight, pipe.unet.conv_in.weight)
        with pytest.raises(CheckpointError, match=r"the hub did not give it .*Not Found.* Download it yourself"):
            build("someone/stable-diffusion-v1-5", hub=HubOptions(revision="none"))
