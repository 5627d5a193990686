"""The generator's training on a tiny model: every part learns, a stopped run goes on bit-equal."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from detdiffusion.errors import DataError
from detdiffusion.layout import Attribute, Box, Layout
from detdiffusion.losses import LossConfig
from detdiffusion.models.autoencoder import SmallAutoencoder
from detdiffusion.pipeline import DetDiffusionPipeline, new_pipeline
from detdiffusion.vocabulary import Vocabulary
from training.batch import SampleStore, batch_indices, make_batch
from training.config import GeneratorConfig
from training.trainer import train_generator

CPU = torch.device("cpu")
TINY = GeneratorConfig(
    unet={
        "sample_size": 8,
        "block_out_channels": (16, 16, 16, 16),
        "down_block_types": ("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "norm_num_groups": 8,
    },
    text={"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    head={"width": 8},
    grid=(8, 8),
    steps=8,
    batch=4,
    warmup_steps=2,
    checkpoint_steps=3,
    precision="fp32",
    loss=LossConfig(perception_weight=0.1),
)


def model() -> DetDiffusionPipeline:
    return new_pipeline(
        Vocabulary(("car", "cat"), ("grass",), TINY.grid),
        dict(TINY.unet),
        dict(TINY.text),
        SmallAutoencoder((8, 16), (1, 1), 4),
        {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
        {},
        {"width": 8},
        seed=0,
    )


@pytest.fixture
def store() -> SampleStore:
    boxes = (
        Box("car", (0.1, 0.1, 0.6, 0.6), Attribute.EASY),
        Box("cat", (0.5, 0.5, 0.9, 1.0), Attribute.HARD),
        Box("grass", (0.0, 0.5, 1.0, 1.0), Attribute.BACKGROUND),
    )
    layouts = tuple(Layout(32, 32, boxes[: 1 + i % 3]) for i in range(6))
    generator = torch.Generator().manual_seed(0)
    masks = tuple(
        torch.randint(0, 256, (len(layout.boxes), 8, 8), generator=generator, dtype=torch.uint8) for layout in layouts
    )
    return SampleStore(torch.randn(6, 4, 8, 8, generator=generator).half(), layouts, masks)


class Killed(Exception):
    pass


def weights(pipe: DetDiffusionPipeline) -> dict[str, torch.Tensor]:
    modules = {"unet": pipe.unet, "text": pipe.text_encoder, "blueprint": pipe.blueprint, "head": pipe.perception_head}
    return {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}


def test_a_killed_training_goes_on_bit_equal(store: SampleStore, tmp_path: Path) -> None:
    def kill(done: int, total: int, metrics: dict[str, float]) -> None:
        if done == 5:
            raise Killed

    whole, cut, resumed = model(), model(), model()
    train_generator(whole, store, TINY, tmp_path / "whole", CPU, lambda *_: None)
    with pytest.raises(Killed):
        train_generator(cut, store, TINY, tmp_path / "cut", CPU, kill)
    train_generator(resumed, store, TINY, tmp_path / "cut", CPU, lambda *_: None)
    other = weights(resumed)
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, other[name]), name


def test_every_part_is_trained_and_logged(store: SampleStore, tmp_path: Path) -> None:
    pipe = model()
    before = {name: tensor.clone() for name, tensor in weights(pipe).items()}
    train_generator(pipe, store, dataclasses.replace(TINY, ema_decay=0.0), tmp_path, CPU, lambda *_: None)
    after = weights(pipe)
    for part in ("unet.", "text.", "blueprint.", "head."):
        assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith(part)), part
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, TINY.steps + 1))
    assert {"total", "denoise", "mask", "dice", "learning_rate", "gradient_norm"} <= rows[0].keys()


@pytest.mark.parametrize("switch", ["use_mask", "use_dice", "use_alpha_bar", "use_foreground"])
def test_every_switch_of_the_loss_is_read(store: SampleStore, tmp_path: Path, switch: str) -> None:
    def first_total(config: GeneratorConfig, out: Path) -> float:
        seen: list[float] = []
        train_generator(
            model(), store, dataclasses.replace(config, steps=1), out, CPU, lambda *r: seen.append(r[2]["total"])
        )
        return seen[0]

    off = dataclasses.replace(TINY, loss=dataclasses.replace(TINY.loss, **{switch: False}))
    assert first_total(TINY, tmp_path / "on") != first_total(off, tmp_path / "off")


def test_bad_losses_stop_the_run_and_keep_the_checkpoint(store: SampleStore, tmp_path: Path) -> None:
    broken = dataclasses.replace(store, latents=torch.full_like(store.latents, float("nan")))
    with pytest.raises(DataError, match="not finite 20 times"):
        train_generator(model(), broken, dataclasses.replace(TINY, steps=50), tmp_path, CPU, lambda *_: None)


def test_an_epoch_shows_every_sample_once() -> None:
    seen = [index for step in range(3) for index in batch_indices(12, TINY, step)]
    assert sorted(seen) == list(range(12))


def test_a_batch_is_a_function_of_seed_and_step(store: SampleStore) -> None:
    first, again, other = (make_batch(store, TINY, step, 1000, CPU) for step in (3, 3, 4))
    assert torch.equal(first.noise, again.noise) and first.layouts == again.layouts
    assert not torch.equal(first.noise, other.noise)


def test_masks_follow_their_objects(store: SampleStore) -> None:
    config = dataclasses.replace(TINY, prompt_dropout=0.0)
    for step in range(4):
        batch = make_batch(store, config, step, 1000, CPU)
        for row, index in enumerate(batch_indices(len(store.layouts), config, step)):
            layout = batch.layouts[row]
            assert layout is not None
            for n, box in enumerate(layout.boxes):
                original = store.masks[index][store.layouts[index].boxes.index(box)].float() / 255
                assert torch.equal(batch.masks[row, n], original)
            assert batch.object_mask[row].sum() == len(layout.boxes)


def test_emptied_prompts_have_no_objects(store: SampleStore) -> None:
    batch = make_batch(store, dataclasses.replace(TINY, prompt_dropout=1.0), 0, 1000, CPU)
    assert batch.layouts == (None,) * 4 and not batch.object_mask.any()


def test_no_samples_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="attributes stage"):
        SampleStore.load(tmp_path)
