"""GLIGEN's folders, in the form of diffusers' own pipeline for them, become models that draw the same images."""

import argparse
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionGLIGENPipeline
from PIL import Image

from detdiffusion.__main__ import main as detdiffusion_command
from detdiffusion.diffusion.abilities import Abilities, read_abilities
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.diffusion.sampling import among_first, first_step, make_scheduler, starting_noise
from detdiffusion.diffusion.stable_diffusion import pipeline_from_stable_diffusion
from detdiffusion.errors import CheckpointError, ConfigError, LayoutError
from detdiffusion.image_record import read_image
from detdiffusion.layout import Box, Layout
from detdiffusion.sampling_config import SAMPLERS
from detdiffusion.text.vocabulary import Vocabulary
from training.__main__ import main
from training.generator.convert import convert
from training.synthesis import command as synthesis
from training.synthesis.request import read_job

pytestmark = pytest.mark.slow

BOXES = [(0.0, 0.1, 0.5, 0.6), (0.25, 0.5, 1.0, 1.0)]
LAYOUT = Layout(64, 64, (Box("car", BOXES[0]), Box("traffic light", BOXES[1])))
ALONE = Layout(64, 64, LAYOUT.boxes[:1])
MOVED = Layout(64, 64, (Box("car", (0.5, 0.4, 1.0, 0.9)), LAYOUT.boxes[1]))
HOW: dict[str, Any] = {"seeds": [3], "output_type": "latent", "dtype": torch.float32}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, published: ModuleType) -> Path:
    folder: Path = published.write_gligen(tmp_path_factory.mktemp("published") / "gligen", safety=False)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    target = tmp_path_factory.mktemp("converted") / "model"
    assert main(["convert", str(source), str(target)]) == 0
    return target


@pytest.fixture(scope="module")
def pipe(model: Path) -> DetDiffusionPipeline:
    loaded = load_pipeline(model)
    loaded.scheduler = DDIMScheduler.from_config(loaded.scheduler.config, clip_sample=False)
    return loaded


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 1.0])
def test_it_draws_what_diffusers_own_pipeline_draws(pipe: DetDiffusionPipeline, beta: float) -> None:
    names = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
    parts = {name: getattr(pipe, name) for name in names}
    theirs = StableDiffusionGLIGENPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    theirs.set_progress_bar_config(disable=True)
    how: dict[str, Any] = {"num_inference_steps": 5, "guidance_scale": 3.0, "gligen_scheduled_sampling_beta": beta}
    expected = theirs(
        "An image with car traffic light",
        gligen_phrases=["car", "traffic light"],
        gligen_boxes=[list(box) for box in BOXES],
        latents=starting_noise([3], (4, 8, 8)),
        output_type="latent",
        **how,
    ).images
    theirs.enable_fuser(True)  # which theirs leaves as the last step had it
    torch.testing.assert_close(pipe(LAYOUT, **HOW, **how).images, expected, atol=1e-4, rtol=1e-4)


def test_boxes_matter_in_the_first_steps_alone(pipe: DetDiffusionPipeline, model: Path) -> None:
    def drawn(layout: Layout, beta: float | None) -> torch.Tensor:
        how: dict[str, Any] = {"steps": 4, "guidance_scale": 3.0, "gligen_scheduled_sampling_beta": beta}
        images: torch.Tensor = pipe(layout, **HOW, **how).images
        return images

    assert torch.equal(drawn(LAYOUT, 0.0), drawn(MOVED, 0.0)), "the words are the same"
    assert not torch.allclose(drawn(LAYOUT, None), drawn(MOVED, None), atol=1e-3)
    assert torch.equal(drawn(LAYOUT, None), drawn(LAYOUT, 0.3)) and not torch.equal(
        drawn(LAYOUT, None), drawn(LAYOUT, 1.0)
    )
    index = json.loads((model / "model_index.json").read_text())
    assert index["gligen_scheduled_sampling_beta"] == 0.3 and index["sampling"]["guidance_scale"] == 7.5
    assert read_abilities(model) == Abilities(boxes=True, attributes=False, caption=False), "its tokenizer is small"
    assert pipe.vocabulary.attribute_words == () and {"car", "sky-other"} <= set(pipe.vocabulary.labels)


def test_images_of_a_batch_are_those_of_one_by_one(pipe: DetDiffusionPipeline) -> None:
    how: dict[str, Any] = {"steps": 2, "output_type": "latent", "dtype": torch.float32}
    both = pipe([LAYOUT, MOVED], seeds=[3, 4], **how).images
    torch.testing.assert_close(both[1:], pipe(MOVED, seeds=[4], **how).images)
    _, raw = pipe.conditions([LAYOUT, MOVED], (8, 8), guided=True, contrast=False)
    assert raw is not None and raw.shape == (4, 30, 5 + 16) and raw[:2].abs().sum() == 0
    assert raw[2, :3, 4].tolist() == [1, 1, 0]


def test_own_classes_and_another_share_of_the_steps(source: Path, tmp_path: Path) -> None:
    words = tmp_path / "vocabulary.json"
    words.write_text(json.dumps({"things": ["red car"], "stuff": []}))
    how = ["--vocabulary", str(words), "--gligen-beta", "1"]
    assert main(["convert", str(source), str(tmp_path / "model"), *how]) == 0
    pipe = load_pipeline(tmp_path / "model")
    assert pipe.vocabulary.labels == ("red car",) and pipe.config.gligen_scheduled_sampling_beta == 1.0
    pipe.save_pretrained(tmp_path / "again")
    assert DetDiffusionPipeline.from_pretrained(tmp_path / "again").config.gligen_scheduled_sampling_beta == 1.0


def test_commands_draw_with_another_share(model: Path, tmp_path: Path) -> None:
    """Of the steps that see the boxes; the files of images and the jobs of `generate` name it."""
    layout = tmp_path / "layout.json"
    layout.write_text(json.dumps(LAYOUT.to_json()))
    drawn = {}
    for beta in (None, 0.3, 1.0):
        out = tmp_path / f"{beta}"
        asked = [] if beta is None else ["--gligen-beta", str(beta)]
        words = [str(layout), "--model", str(model), "--steps", "4", "--device", "cpu", *asked, "--out", str(out)]
        assert detdiffusion_command(words) == 0
        drawn[beta] = np.asarray(Image.open(out / "image.png"))
        kept = read_image(out / "image.png").sampling
        result = json.loads((out / "result.json").read_text())
        assert kept is not None and kept.gligen_scheduled_sampling_beta == beta
        assert result.get("gligen_scheduled_sampling_beta") == beta
    assert np.array_equal(drawn[None], drawn[0.3]) and not np.array_equal(drawn[None], drawn[1.0])

    parser = argparse.ArgumentParser()
    synthesis.add_arguments(parser)
    words = ["--model", str(model), "--layouts", "papercut:1@900000", "--strategy", "origin", "--count", "1"]
    how = ["--gligen-beta", "0.5", "--detector", "none", "--out", str(tmp_path / "job")]
    synthesis.begin(synthesis.request_of(parser.parse_args([*words, *how])))
    assert read_job(tmp_path / "job").sampling.gligen_scheduled_sampling_beta == 0.5


@pytest.mark.parametrize("sampler", [None, *SAMPLERS])
@pytest.mark.parametrize(
    ("share", "fraction", "seeing"),
    [(0.3, None, 3), (0.0, None, 0), (1.0, None, 10), (0.5, 0.45, 2), (0.1, 0.45, 0), (1.0, 0.0, 1)],
)
def test_steps_that_see_boxes_are_counted_from_the_beginning(
    pipe: DetDiffusionPipeline, sampler: str | None, share: float, fraction: float | None, seeing: int
) -> None:
    scheduler = make_scheduler(pipe.scheduler, sampler)
    scheduler.set_timesteps(10)
    begin = None if fraction is None else (fraction, torch.zeros(1))
    early, first = among_first(scheduler, share, begin), first_step(scheduler, begin)
    assert first == {None: 0, 0.0: 9}.get(fraction, first)
    steps = [early(t) for t in scheduler.timesteps[first:]]
    assert sum(steps) == seeing and steps == sorted(steps, reverse=True)


def test_more_objects_than_gligen_knows_are_refused(pipe: DetDiffusionPipeline) -> None:
    crowd = Layout(64, 64, LAYOUT.boxes[:1] * 31)
    with pytest.raises(LayoutError, match=r"places at most 30 objects \(GLIGEN\); the layout has 31"):
        pipe(crowd, **HOW, steps=1)
    with pytest.raises(ConfigError, match=r"gligen_scheduled_sampling_beta 1\.5 needs to be a number from 0 to 1"):
        pipe(LAYOUT, **HOW, steps=1, gligen_scheduled_sampling_beta=1.5)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("attention", "changes", "message"),
    [
        ("gated-text-image", {}, r"attention_type is gated-text-image, it needs to be default .* or gated \(GLIGEN"),
        ("default", {"attention_type": "gated"}, r"unet lacks .*fuser\.alpha_attn"),
        ("gated", {"attention_type": "default"}, r"unet has .*fuser\.alpha_attn, which its config does not"),
        ("gated", {"in_channels": 9}, "unet in_channels is 9, latent and blueprint channels 4"),
        ("gated", {"cross_attention_dim": 24}, "unet cross_attention_dim is 24, the text encoder's width 16"),
    ],
)
def test_other_forms_are_refused_with_what_differs(
    tmp_path: Path, published: ModuleType, attention: str, changes: dict[str, Any], message: str
) -> None:
    folder = published.write_gligen(tmp_path / "gligen", safety=False, attention=attention)
    edit(folder / "unet/config.json", **changes)
    with pytest.raises(CheckpointError, match=message):
        convert(folder, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_what_gligen_is_not_for(
    source: Path, model: Path, tmp_path: Path, published: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="is GLIGEN's: --fill is for GeoDiffusion's folders"):
        convert(source, tmp_path / "model", fills={"camera": "front"})
    plain = published.write_stable_diffusion(tmp_path / "sd", safety=False)
    with pytest.raises(ConfigError, match="is not GLIGEN's: --gligen-beta is for its folders"):
        convert(plain, tmp_path / "model", beta=0.5)
    vocabulary = Vocabulary(("car",), ())
    how: dict[str, Any] = {"blueprint_config": None, "head_config": None, "seed": 0}
    with pytest.raises(ConfigError, match="gligen_scheduled_sampling_beta is for GLIGEN's models, and this is none"):
        pipeline_from_stable_diffusion(plain, vocabulary, **how)(ALONE, **HOW, gligen_scheduled_sampling_beta=0.5)
    with pytest.raises(CheckpointError, match=r"is GLIGEN's, which is no base to train from: `python -m training conv"):
        pipeline_from_stable_diffusion(source, vocabulary, **how)
    assert main(["distill", "--model", str(model), "--steps", "2", "--out", str(tmp_path / "student")]) == 2
    assert "is GLIGEN's, which sees boxes in its first steps alone: it has no student here" in capsys.readouterr().err
