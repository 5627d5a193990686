"""The generator's training on a tiny model: all parts learn, a stopped run goes on bit-equal, bad steps are skipped."""

import copy
import dataclasses
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import warm
from diffusers import DDPMScheduler
from torch import Tensor, nn

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.errors import ConfigError, DataError
from detdiffusion.models.autoencoder import SmallAutoencoder
from detdiffusion.models.losses import Losses
from detdiffusion.text.vocabulary import Vocabulary, new_words, word_ids
from training.__main__ import main
from training.core.checkpoints import latest_checkpoint
from training.generator.batch import SampleStore, make_batch
from training.generator.config import VARIANTS, GeneratorConfig
from training.generator.learner import MovingAverage, make_optimizers, parameter_groups, trained_modules
from training.generator.model import small_model
from training.generator.progress import LOSSES, MAX_BAD_STEPS
from training.generator.step import generator_losses
from training.generator.trainer import train_generator

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
MakeModel = Callable[..., DetDiffusionPipeline]
Metrics = list[dict[str, float]]


class Killed(Exception):
    pass


def weights(pipe: DetDiffusionPipeline) -> dict[str, Tensor]:
    modules = {"unet": pipe.unet, "text": pipe.text_encoder, "blueprint": pipe.blueprint, "head": pipe.perception_head}
    return {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}


def rows(out: Path) -> Metrics:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def train(pipe: DetDiffusionPipeline, store: SampleStore, config: GeneratorConfig, out: Path, **more: Any) -> Metrics:
    train_generator(pipe, store, config, out, CPU, lambda *_: None, **more)
    return rows(out)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- the loop -------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"optimizer": "muon", "ema_length": 0.1}], ids=["plain", "muon"])
def test_a_killed_training_goes_on_bit_equal(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, tmp_path: Path, changes: dict[str, Any]
) -> None:
    tiny = dataclasses.replace(tiny, **changes)

    def kill(done: int, total: int, metrics: dict[str, float]) -> None:
        if done == 5:
            raise Killed

    whole, cut, resumed = make_model(), make_model(), make_model()
    train(whole, store, tiny, tmp_path / "whole")
    with pytest.raises(Killed):
        train_generator(cut, store, tiny, tmp_path / "cut", CPU, kill)
    seen: list[int] = []
    train_generator(resumed, store, tiny, tmp_path / "cut", CPU, lambda done, *_: seen.append(done))
    assert seen == [4, 5, 6, 7, 8], "it went on from the checkpoint of step 3"
    assert same(weights(whole), weights(resumed))
    assert [row["step"] for row in rows(tmp_path / "cut")] == list(range(1, 9)), "each step stands once"
    for one, other in zip(rows(tmp_path / "whole"), rows(tmp_path / "cut"), strict=True):
        assert [one[name] for name in LOSSES] == [other[name] for name in LOSSES]


def test_every_part_is_trained_and_logged(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, tmp_path: Path
) -> None:
    pipe = make_model()
    before = {name: tensor.clone() for name, tensor in weights(pipe).items()}
    logged = train(pipe, store, dataclasses.replace(tiny, ema_decay=0.0), tmp_path)
    after = weights(pipe)
    for part in ("unet.", "text.", "blueprint.", "head."):
        assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith(part)), part
    assert [row["step"] for row in logged] == list(range(1, tiny.steps + 1))
    assert {
        *LOSSES,
        "learning_rate",
        "learning_rate_text",
        "gradient_norm",
        "pictures_per_second",
        "memory_gb",
    } < {*logged[0]}
    for row in logged:
        assert row["total"] == pytest.approx(row["denoise"] + 0.1 * (row["mask"] + row["dice"]), rel=1e-5)
        assert row["learning_rate_text"] == pytest.approx(0.75 * row["learning_rate"])


@pytest.mark.parametrize(
    "switch",
    [
        {"use_mask": False},
        {"use_dice": False},
        {"use_alpha_bar": False},
        {"use_foreground": False},
        {"min_snr_gamma": 5.0},
        {"min_snr_gamma": 5.0, "use_foreground": False},
    ],
)
def test_every_switch_of_the_loss_is_read(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, tmp_path: Path, switch: dict[str, Any]
) -> None:
    config = dataclasses.replace(tiny, steps=1)
    off = dataclasses.replace(config, loss=dataclasses.replace(tiny.loss, **switch))
    on_row, off_row = (train(make_model(), store, each, tmp_path / str(each.loss))[0] for each in (config, off))
    assert on_row["total"] != off_row["total"]


def test_only_the_last_checkpoints_are_kept(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, tmp_path: Path
) -> None:
    train(make_model(), store, dataclasses.replace(tiny, checkpoint_steps=2, keep=3), tmp_path)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-00000004", "step-00000006", "step-00000008"]


def test_a_stop_leaves_a_checkpoint_and_the_rest_is_the_same(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, tmp_path: Path
) -> None:
    whole, first, second = make_model(), make_model(), make_model()
    train(whole, store, tiny, tmp_path / "whole")
    asked = iter([False, True])
    assert train_generator(first, store, tiny, tmp_path / "cut", CPU, lambda *_: None, stopped=lambda: next(asked)) == 2
    assert train_generator(second, store, tiny, tmp_path / "cut", CPU, lambda *_: None) == tiny.steps
    assert same(weights(whole), weights(second)) and not same(weights(whole), weights(first))


def test_what_watches_sees_the_average_and_changes_nothing(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, tmp_path: Path
) -> None:
    plain, watched = make_model(), make_model()
    seen: dict[int, dict[str, Tensor]] = {}

    def watch(step: int) -> None:
        assert not watched.unet.training
        seen[step] = {name: tensor.clone() for name, tensor in weights(watched).items()}

    train(plain, store, tiny, tmp_path / "plain")
    train(watched, store, dataclasses.replace(tiny, sample_steps=4), tmp_path / "watched", watch=watch)
    assert list(seen) == [4, 8]
    assert same(weights(plain), weights(watched)) and same(seen[8], weights(watched))


def test_tensorboard_holds_the_same(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged = train(make_model(), store, tiny, tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for name in ("total", "mask", "learning_rate", "gradient_norm"):
        scalars = events.Scalars(name)
        assert [event.step for event in scalars] == [row["step"] for row in logged]
        assert [event.value for event in scalars] == pytest.approx([row[name] for row in logged], rel=1e-6)


# --- parts of a step ------------------------------------------------------------------------------


@pytest.mark.parametrize("per_picture", [True, pytest.param(False, marks=pytest.mark.long)])
@pytest.mark.parametrize("micro_batch", [1, 3])
def test_micro_batches_add_up_to_the_batch(
    make_model: MakeModel,
    store: SampleStore,
    tiny: GeneratorConfig,
    tmp_path: Path,
    micro_batch: int,
    per_picture: bool,
) -> None:
    loss = dataclasses.replace(tiny.loss, per_picture=per_picture)
    config = dataclasses.replace(tiny, steps=5, loss=loss, prompt_dropout=0.3)
    whole = train(make_model(), store, config, tmp_path / "whole")
    parts = train(make_model(), store, dataclasses.replace(config, micro_batch=micro_batch), tmp_path / "parts")
    for one, other in zip(whole, parts, strict=True):
        for name in (*LOSSES, "gradient_norm"):
            assert other[name] == pytest.approx(one[name], rel=1e-5, abs=1e-5), (one["step"], name)


@pytest.mark.parametrize("per_picture", [True, False])
def test_gradients_of_parts_add_up_exactly(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, per_picture: bool
) -> None:
    loss = dataclasses.replace(tiny.loss, per_picture=per_picture)
    config = dataclasses.replace(tiny, loss=loss, prompt_dropout=0.3)

    def gradients(size: int) -> dict[str, Tensor]:
        pipe = make_model()
        modules = {name: module.double() for name, module in trained_modules(pipe, config, CPU).items()}
        schedule = DDPMScheduler.from_config(pipe.scheduler.config)
        for first in range(0, 4, size):
            batch = make_batch(store, config, 2, 1000, range(first, first + size))
            batch = batch._replace(latents=batch.latents.double(), noise=batch.noise.double())
            generator_losses(pipe, schedule, batch, config.loss).total.backward()
        named = ((f"{name}.{key}", p.grad) for name, m in modules.items() for key, p in m.named_parameters())
        return {name: gradient for name, gradient in named if gradient is not None}

    whole = gradients(4)
    for size in (1, 2):
        parts = gradients(size)
        assert parts.keys() == whole.keys()
        for name, gradient in whole.items():
            assert torch.allclose(parts[name], gradient, rtol=1e-6, atol=1e-8), name


def test_checkpointed_gradients_are_the_gradients(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(tiny, steps=4)
    whole = train(make_model(), store, config, tmp_path / "whole")
    again = make_model()
    spared = train(again, store, dataclasses.replace(config, gradient_checkpointing=True), tmp_path / "spared")
    assert again.unet.is_gradient_checkpointing and again.text_encoder.is_gradient_checkpointing
    for one, other in zip(whole, spared, strict=True):
        for name in (*LOSSES, "gradient_norm"):
            assert other[name] == pytest.approx(one[name], rel=1e-5), (one["step"], name)


def test_a_model_of_added_words_alone_keeps_its_text_encoder(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, tmp_path: Path
) -> None:
    pipe = make_model()
    before = {name: tensor.clone() for name, tensor in pipe.text_encoder.state_dict().items()}
    train(pipe, store, dataclasses.replace(tiny, text_words_only=True, weight_decay=0.5, ema_decay=0.5), tmp_path)
    table = next(name for name in before if name.endswith("token_embedding.weight"))
    added = torch.zeros(len(before[table]), dtype=torch.bool)
    added[word_ids(pipe.tokenizer, new_words(pipe.vocabulary))] = True
    for name, tensor in pipe.text_encoder.state_dict().items():
        if name == table:
            assert torch.equal(tensor[~added], before[name][~added]), "words that were there"
            assert (tensor[added] != before[name][added]).any()
        else:
            assert torch.equal(tensor, before[name]), name


def test_rates_fall_layer_by_layer(make_model: MakeModel, tiny: GeneratorConfig) -> None:
    pipe = make_model()
    config = dataclasses.replace(
        tiny, learning_rate=1.0, text_learning_rate=0.5, text_layer_decay=0.9, weight_decay=0.1
    )
    modules = trained_modules(pipe, config, CPU)
    groups = parameter_groups(modules, config)
    found = {id(p): (group["peak"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(found)
    layers = {"layers.0.": 0.45, "layers.1.": 0.5, "final_layer_norm": 0.5, "embeddings": 0.5 * 0.81}
    for name, module in modules.items():
        for key, parameter in module.named_parameters():
            rate, decay = found[id(parameter)]
            expected = 1.0
            if name == "text_encoder":
                expected = next(value for part, value in layers.items() if part in key)
            assert rate == pytest.approx(expected), (name, key)
            assert decay == (0.0 if parameter.ndim < 2 or "embedding" in key else 0.1), (name, key)


def test_muon_moves_hidden_matrices_and_adamw_the_rest(make_model: MakeModel, tiny: GeneratorConfig) -> None:
    config = dataclasses.replace(tiny, optimizer="muon", muon_learning_rate=3.0, learning_rate=1.0, weight_decay=0.1)
    modules = trained_modules(make_model(), config, CPU)
    optimizers = make_optimizers(modules, config)
    assert list(optimizers) == ["optimizer", "muon"] and list(make_optimizers(modules, tiny)) == ["optimizer"]
    moved = {name: {id(p) for g in one.param_groups for p in g["params"]} for name, one in optimizers.items()}
    by_name = {f"{name}.{key}": p for name, module in modules.items() for key, p in module.named_parameters()}
    assert not moved["optimizer"] & moved["muon"]
    assert moved["optimizer"] | moved["muon"] == {id(p) for p in by_name.values()}
    hidden = {key for key, p in by_name.items() if id(p) in moved["muon"]}
    assert all(by_name[key].ndim >= 2 for key in hidden)
    assert {
        "unet.down_blocks.0.resnets.0.conv1.weight",
        "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight",
    } <= hidden
    outer = (
        "unet.conv_in.weight",
        "unet.conv_out.weight",
        "unet.time_embedding.linear_1.weight",
        "blueprint.embed.weight",
    )
    assert not hidden & set(outer) and not any("token_embedding" in key for key in hidden)
    assert {(g["peak"], g["weight_decay"]) for g in optimizers["muon"].param_groups} == {(3.0, 0.1), (2.25, 0.1)}


def test_what_is_frozen_has_no_rate(make_model: MakeModel, tiny: GeneratorConfig) -> None:
    pipe = make_model()
    config = dataclasses.replace(tiny, text_words_only=True)
    groups = parameter_groups(trained_modules(pipe, config, CPU), config)
    rated = {id(p) for group in groups for p in group["params"]}
    table = pipe.text_encoder.get_input_embeddings().weight
    assert [id(p) in rated for p in pipe.text_encoder.parameters()] == [
        p is table for p in pipe.text_encoder.parameters()
    ]


@pytest.mark.parametrize("control_only", [False, True])
def test_a_controlnet_learns_beside_the_unet_or_alone(
    control_only: bool, store: SampleStore, tiny: GeneratorConfig, tmp_path: Path
) -> None:
    baseline = VARIANTS["controlnet"](tiny)
    config = dataclasses.replace(baseline, unet=tiny.unet, control_only=control_only)
    pipe = small_model(config, ("car", "cat"), ("grass",), SmallAutoencoder((8, 8, 8), (1, 1, 1), 4))
    names = ("unet", "text_encoder", "controlnet")
    before = {name: copy.deepcopy(getattr(pipe, name).state_dict()) for name in names}
    train(pipe, store, config, tmp_path)
    learned = {name: not same(before[name], getattr(pipe, name).state_dict()) for name in names}
    assert learned == {"unet": not control_only, "text_encoder": not control_only, "controlnet": True}
    saved = latest_checkpoint(tmp_path / "checkpoints")
    assert saved is not None and any(key.startswith("unet.") for key in saved[1]) is not control_only


def test_the_average_follows_and_swaps() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    average = MovingAverage([parameter], 0.5)
    parameter.data.fill_(1.0)
    average.update(0)  # warmed up: (1 + 0) / (10 + 0) of the old stays
    assert average.average[0].tolist() == pytest.approx([0.9, 0.9])
    for step in range(100, 140):
        average.update(step)
    assert average.average[0].tolist() == pytest.approx([1.0, 1.0])
    parameter.data.fill_(3.0)
    average.swap()
    assert parameter.tolist() == pytest.approx([1.0, 1.0]) and average.average[0].tolist() == [3.0, 3.0]


@pytest.mark.parametrize("length", [0.05, 0.15])
def test_an_average_of_a_length_is_as_wide_as_it_says(length: float) -> None:
    steps = 1_000
    parameter = nn.Parameter(torch.zeros(steps, dtype=torch.double))
    average = MovingAverage([parameter], 0.5, length)
    for step in range(steps):
        parameter.data.zero_()[step] = 1  # so that the average says how much every step counts
        average.update(step)
    weights, time = average.average[0], torch.arange(steps).double() / steps
    mean = (weights * time).sum()
    assert float(weights.sum()) == pytest.approx(1)
    assert float((weights * (time - mean) ** 2).sum().sqrt()) == pytest.approx(length, abs=0.002)


# --- losses that are not finite -------------------------------------------------------------------


def test_bad_losses_stop_the_run_and_keep_the_checkpoint(
    make_model: MakeModel, make_store: Callable[..., SampleStore], tiny: GeneratorConfig, tmp_path: Path
) -> None:
    good, bad = make_store(tmp_path / "good"), make_store(tmp_path / "bad", value=float("nan"))
    train(make_model(), good, dataclasses.replace(tiny, steps=3), tmp_path)
    kept = latest_checkpoint(tmp_path / "checkpoints")
    config = dataclasses.replace(tiny, steps=50, checkpoint_steps=100)
    with pytest.raises(DataError, match=r"step 23: the loss was not finite 20 times in a row; .*Lower learning_rate"):
        train_generator(make_model(), bad, config, tmp_path, CPU, lambda *_: None)
    after = latest_checkpoint(tmp_path / "checkpoints")
    assert kept is not None and after is not None and kept[0] == after[0] == 3 and same(kept[1], after[1])
    assert [row["total"] for row in rows(tmp_path)[3:]] == [None] * MAX_BAD_STEPS, "JSON has no word for NaN"


def test_a_bad_step_is_skipped(
    make_model: MakeModel,
    store: SampleStore,
    tiny: GeneratorConfig,
    tmp_path: Path,
) -> None:
    calls: list[int] = []
    states: dict[int, dict[str, Tensor]] = {}

    def sometimes_bad(*arguments: Any) -> Losses:
        calls.append(1)
        losses = generator_losses(*arguments)
        return losses._replace(total=losses.total * float("nan")) if 3 <= len(calls) <= 4 else losses

    pipe = make_model()

    def keep(done: int, total: int, metrics: dict[str, float]) -> None:
        states[done] = {name: tensor.clone() for name, tensor in weights(pipe).items()}

    train_generator(pipe, store, tiny, tmp_path, CPU, keep, lesson=sometimes_bad)
    assert same(states[2], states[3]) and same(states[3], states[4])
    assert not same(states[1], states[2]) and not same(states[4], states[5])
    assert [row["step"] for row in rows(tmp_path) if row["total"] is None] == [3, 4]
    assert all(torch.isfinite(tensor).all() for tensor in weights(pipe).values() if tensor.is_floating_point())


def test_twenty_bad_steps_have_to_be_in_a_row(
    make_model: MakeModel,
    store: SampleStore,
    tiny: GeneratorConfig,
    tmp_path: Path,
) -> None:
    calls: list[int] = []
    pipe = make_model()
    parameter = next(pipe.unet.parameters())

    def mostly_bad(*_: Any) -> Losses:
        calls.append(1)
        value = parameter.sum() * (1.0 if not len(calls) % 20 else float("nan"))
        return Losses(value, value, value, value)

    config = dataclasses.replace(tiny, steps=45, checkpoint_steps=100)
    logged = train(pipe, store, config, tmp_path, lesson=mostly_bad)
    assert [row["step"] for row in logged if row["total"] is not None] == [20, 40]


# --- kill -9 --------------------------------------------------------------------------------------


def die_in_the_second_checkpoint(words: list[str]) -> int:
    replace, written = Path.replace, list[Path]()

    def die(self: Path, target: Path) -> Path:
        if self.name.startswith(".step-"):
            written.append(self)
            if len(written) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    Path.replace = die  # type: ignore[method-assign, assignment]
    return main(words)


def kill_after(rows_seen: int, words: list[str], out: Path, environment: dict[str, str]) -> None:
    """Starts `python -m training` and kills it as soon as that many steps are in its log."""
    said = out.with_name("said")
    process = warm.training(words, said, environment)
    log = out / "metrics.jsonl"
    while process.is_alive() and (not log.exists() or len(log.read_bytes().splitlines()) < rows_seen):
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, said.read_text()


@pytest.mark.usefixtures("at_home")
@pytest.mark.process
@pytest.mark.long
def test_kill_9_anywhere_changes_nothing(papercut: Any, cache: dict[str, str], tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "cut"
    assert main(papercut.words(whole, "steps=20")) == 0
    words = papercut.words(out, "steps=20")
    kill_after(2, words, out, cache)  # before the first checkpoint, or behind it: as it comes
    died = warm.fork(die_in_the_second_checkpoint, words, said=tmp_path / "said", environment=cache)
    died.join()
    assert died.exitcode == -signal.SIGKILL, (tmp_path / "said").read_text()
    torn, *finished = sorted(path.name for path in (out / "checkpoints").iterdir())
    assert torn.startswith(".step-") and int(torn[6:14]) == int(finished[-1][-8:]) + 3, "written, not yet renamed"
    kill_after(13, words, out, cache)
    assert main(words) == 0
    ends = [latest_checkpoint(folder / "checkpoints") for folder in (whole, out)]
    assert ends[0] is not None and ends[1] is not None
    assert ends[0][0] == ends[1][0] == 20 and same(ends[0][1], ends[1][1])
    for part in ("unet", "text_encoder", "blueprint", "perception_head"):
        (weights_file,) = (whole / "model" / part).glob("*.safetensors")
        assert weights_file.read_bytes() == (out / "model" / part / weights_file.name).read_bytes()
    assert [row["step"] for row in rows(out)] == list(range(1, 21))


@pytest.mark.usefixtures("at_home")
def test_a_stop_is_a_checkpoint_a_model_and_130(papercut: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.core.status import StatusWriter

    progress = StatusWriter.progress

    def stop(self: StatusWriter, step: int, *words: Any, **more: Any) -> None:
        progress(self, step, *words, **more)
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with monkeypatch.context() as patch:
        patch.setattr(StatusWriter, "progress", stop)
        assert main(papercut.words(tmp_path)) == 130
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    saved = latest_checkpoint(tmp_path / "checkpoints")
    assert saved is not None and saved[0] == 5
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["state"], status["done"], status["total"]) == ("stopped", 5, 8)
    assert "the same command goes on" in status["message"]
    assert (tmp_path / "model" / "model_index.json").is_file()
    assert main(papercut.words(tmp_path)) == 0
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["state"], status["done"], status["message"]) == ("finished", 8, "")
    assert [row["step"] for row in rows(tmp_path)] == list(range(1, 9))
    assert main(papercut.words(tmp_path)) == 0, "a finished run has nothing to do"


@pytest.mark.usefixtures("at_home")
def test_another_config_is_refused(papercut: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(papercut.words(tmp_path, "steps=1")) == 0
    before = (tmp_path / "config.json").read_bytes()
    assert main(papercut.words(tmp_path, "steps=1", "learning_rate=1e-3", "loss.use_dice=false")) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "config.learning_rate was 0.0007, is 0.001" in said and "config.loss.use_dice was True, is False" in said
    assert (tmp_path / "config.json").read_bytes() == before
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "failed"


def test_a_vocabulary_without_attributes_trains(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, tmp_path: Path
) -> None:
    pipe = make_model()
    pipe.vocabulary = Vocabulary(("car", "cat"), ("grass",), tiny.grid, attribute_words=())
    assert len(train(pipe, store, dataclasses.replace(tiny, steps=1), tmp_path)) == 1


def test_processes_have_to_share_evenly(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, tmp_path: Path
) -> None:
    from training.core.processes import Processes

    with pytest.raises(ConfigError, match="batch is 4, and 3 processes cannot share it evenly"):
        train(make_model(), store, tiny, tmp_path, processes=Processes(0, 3))
