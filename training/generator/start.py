"""The weights of a trained model as the beginning of another one: what both share need not be learned again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from detdiffusion.diffusion.manifest import read_recommended
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.errors import ConfigError
from training.generator.learner import LEARNING

TIMESTEPS = 1000  # of the noise schedules here
_LEVEL = re.compile(r"^down_blocks\.(\d+)\.")


def start_from(pipe: DetDiffusionPipeline, folder: Path) -> float:
    """Gives `pipe`, in place, every weight of a model folder that has the same place and shape.

    The levels of U-Nets are matched from the coarsest up: one that works on latents of half the size begins with all
    levels but the finest of one that works on whole ones. Words are matched by what they say: a model without the words
    for easy, hard and background can be the start of one with them, and the other way round.

    Returns:
        The share of the weights of `pipe` that were given, 0..1.

    Raises:
        CheckpointError: the folder cannot be read.
        ConfigError: the two have other classes or places, or the folder's model is a student.
    """
    check_no_student(folder)
    start = load_pipeline(folder)
    mine, its = (replace(model.vocabulary, attribute_words=()) for model in (pipe, start))
    if mine != its:
        raise ConfigError(
            f"{folder} knows other classes or places: it cannot be the start of this model; leave start empty, or take "
            "a preset that begins from nothing"
        )
    given = total = 0
    for name in LEARNING:
        part, other = getattr(pipe, name), getattr(start, name)
        if part is not None:
            total += sum(parameter.numel() for parameter in part.parameters())
            given += _take(part, other) if other is not None else 0
    if pipe.vocabulary != start.vocabulary:  # last: tables of one length were taken by place
        given += _take_words(pipe, start)
    return given / total


def check_no_student(folder: Path) -> None:
    """ConfigError for a model of few steps: what it has learned of going there in one is lost in ordinary training."""
    if not read_recommended(folder).guided:
        raise ConfigError(
            f"{folder} is a student of few steps, which ordinary training would undo: train the model that it learned "
            "from, and distill that one again"
        )


@torch.no_grad()
def _take_words(pipe: DetDiffusionPipeline, start: DetDiffusionPipeline) -> int:
    """The embeddings of the words that both have, whatever their places in the two lists; how many weights that are
    more than `_take` gives, which takes whole tables of one shape."""
    mine, its = (model.text_encoder.get_input_embeddings().weight for model in (pipe, start))
    known = start.tokenizer.get_vocab()
    if mine.shape[1] != its.shape[1]:
        return 0
    shared = [(place, known[word]) for word, place in pipe.tokenizer.get_vocab().items() if word in known]
    places, others = torch.tensor(shared, device=mine.device).T
    mine[places] = its[others].to(mine)
    return 0 if mine.shape == its.shape else len(shared) * int(mine.shape[1])


@torch.no_grad()
def _take(mine: nn.Module, its: nn.Module) -> int:
    """How many weights were taken."""
    other, shift, given = _by_coarsest(its), _levels(mine), 0
    for key, parameter in mine.named_parameters():
        found = other.get(_counted_from(key, shift))
        if found is not None and found.shape == parameter.shape:
            parameter.copy_(found)
            given += parameter.numel()
    if isinstance(mine, UNet2DConditionModel) and isinstance(its, UNet2DConditionModel):
        _take_time(mine, its)
    return given


def _take_time(mine: UNet2DConditionModel, its: UNet2DConditionModel) -> None:
    """The first layer of the time embedding, which sees other waves where the finest level has another width: fitted
    to give the same for every timestep (least squares)."""
    layer, other = mine.time_embedding.linear_1, its.time_embedding.linear_1
    if layer.weight.shape == other.weight.shape or len(layer.weight) != len(other.weight):
        return
    timesteps = torch.arange(TIMESTEPS)
    waves = mine.time_proj(timesteps).double()  # [T, inputs]
    wanted = its.time_proj(timesteps).double() @ other.weight.double().T  # [T, outputs]
    layer.weight.copy_(torch.linalg.lstsq(waves, wanted, rcond=0.01, driver="gelsd").solution.T)
    layer.bias.copy_(other.bias)


def _by_coarsest(module: nn.Module) -> Mapping[str, Tensor]:
    """Parameters by names that count the levels of the way down from the coarsest."""
    levels = _levels(module)
    return {_counted_from(key, levels): parameter for key, parameter in module.named_parameters()}


def _levels(module: nn.Module) -> int:
    return len(getattr(module, "down_blocks", ()))


def _counted_from(key: str, levels: int) -> str:
    """ "down_blocks.1.x" of 4 levels -> "down_blocks.-3.x"; the way up begins at the coarsest anyway."""
    return _LEVEL.sub(lambda match: f"down_blocks.{int(match[1]) - levels}.", key)
