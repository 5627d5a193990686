"""A model that begins as another one: whole, or by the levels that both have in common."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.diffusion.pipeline import load_pipeline
from detdiffusion.errors import CheckpointError, ConfigError
from detdiffusion.models.autoencoder import SmallAutoencoder
from training.data.papercut.classes import STUFF, THINGS
from training.generator.config import TRAIN_PRESETS
from training.generator.model import new_model, small_model
from training.generator.start import start_from

pytestmark = pytest.mark.model
SAME = replace(TRAIN_PRESETS["papercut-cpu"], start=str(BUNDLED_MODEL))
COARSE = replace(
    TRAIN_PRESETS["papercut-cpu-16"],
    unet={**TRAIN_PRESETS["papercut-cpu-16"].unet, "block_out_channels": (96, 160, 192), "time_embedding_dim": 256},
)


def _autoencoder(fold: int) -> SmallAutoencoder:
    return SmallAutoencoder(latent_channels=8 * fold**2, fold=fold)


def test_the_same_model_is_whole() -> None:
    pipe, start = small_model(SAME, THINGS, STUFF, _autoencoder(1)), load_pipeline(BUNDLED_MODEL)
    for name in ("unet", "text_encoder", "blueprint", "perception_head"):
        ours, theirs = getattr(pipe, name).state_dict(), getattr(start, name).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_model_of_coarser_latents_takes_the_levels_below() -> None:
    pipe, start = small_model(COARSE, THINGS, STUFF, _autoencoder(2)), load_pipeline(BUNDLED_MODEL)
    before = pipe.unet.conv_in.weight.clone()
    assert start_from(pipe, BUNDLED_MODEL) > 0.85
    ours, theirs = pipe.unet.down_blocks, start.unet.down_blocks
    assert len(ours) == len(theirs) - 1
    for mine, its in zip(ours[1:], theirs[2:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), its.parameters(), strict=True))
    assert torch.equal(pipe.unet.conv_in.weight, before), "it has other inputs"
    timesteps = torch.arange(0, 1000, 50)
    embedded = [unet.time_embedding(unet.time_proj(timesteps)) for unet in (pipe.unet, start.unet)]
    assert torch.nn.functional.cosine_similarity(*embedded).min() > 0.9, "though it sees other waves of the time"


def test_words_are_matched_by_what_they_say() -> None:
    config = replace(TRAIN_PRESETS["papercut-cpu-geodiffusion"], start=str(BUNDLED_MODEL))
    pipe, start = small_model(config, THINGS, STUFF, _autoencoder(1)), load_pipeline(BUNDLED_MODEL)
    ours, theirs = (model.text_encoder.get_input_embeddings().weight for model in (pipe, start))
    known, mine = start.tokenizer.get_vocab(), pipe.tokenizer.get_vocab()
    said = {place for label in pipe.vocabulary.labels for place in pipe.tokenizer(label)["input_ids"]}
    said |= set(pipe.tokenizer.convert_tokens_to_ids([pipe.vocabulary.location_word(i) for i in range(1024)]))
    words = pipe.tokenizer.convert_ids_to_tokens(sorted(said))
    assert any(mine[word] != known[word] for word in words), "places differ"
    assert all(torch.equal(ours[mine[word]], theirs[known[word]]) for word in words)
    for name in ("unet", "blueprint"):
        both = zip(getattr(pipe, name).parameters(), getattr(start, name).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in both), name


def test_a_start_with_other_classes_is_refused() -> None:
    with pytest.raises(ConfigError, match="other classes or places"):
        small_model(SAME, THINGS[:-1], STUFF, _autoencoder(1))


def test_a_start_is_a_model_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model_index\.json"):
        small_model(replace(SAME, start=str(tmp_path)), THINGS, STUFF, _autoencoder(1))


def test_stable_diffusion_begins_as_its_base(tmp_path: Path) -> None:
    config = replace(TRAIN_PRESETS["sd15-256"], start=str(BUNDLED_MODEL))
    with pytest.raises(ConfigError, match="--base"):
        new_model(config, None, str(tmp_path))  # type: ignore[arg-type]
