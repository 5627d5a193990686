"""What learns: the trained modules with their optimizers and their moving average, whole in a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.text.vocabulary import new_words, word_ids
from training.core.checkpoints import (
    latest_checkpoint,
    pack_modules,
    pack_optimizer,
    unpack_modules,
    unpack_optimizer,
)
from training.core.muon import Muon
from training.generator.config import GeneratorConfig
from training.generator.speed import lay_out

ADAMW, MUON = "optimizer", "muon"  # names of the optimizers' states in a checkpoint
LEARNING = ("unet", "text_encoder", "blueprint", "perception_head", "controlnet")  # parts of a pipeline (Fig. 2)
ADVERSARY = "adversary"  # name of what learns beside a pipeline to tell its work from real ones
MATRICES = ("unet", "controlnet", "text_encoder")  # modules whose hidden matrices Muon moves
OUTER = ("embed", "conv_in", "conv_out")  # parts of the names of what is not hidden: inputs, outputs, tables


class MovingAverage:
    """Exponential moving average of the trained parameters, warmed up; or one that grows with the training.

    Args:
        decay: share of the old that stays at every step.
        length: above 0, in place of `decay`: the width of what is averaged, as a share of the steps done (sigma_rel of
            Karras et al. 2024, section 3.1).
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float, length: float = 0.0) -> None:
        self.parameters = list(parameters)
        self.average = [p.detach().clone() for p in self.parameters]
        self.decay = decay
        self.power = _power(length) if length > 0 else None

    def update(self, step: int) -> None:
        """Moves the average towards the weights after a step; early steps count more."""
        decay = min(self.decay, (1 + step) / (10 + step)) if self.power is None else (step / (1 + step)) ** self.power
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """The average becomes the parameters and the other way round."""
        for parameter, average in zip(self.parameters, self.average, strict=True):
            held = parameter.clone()
            parameter.copy_(average)
            average.copy_(held)


def _power(length: float) -> float:
    """gamma + 1 of the decay (1 - 1 / t)^(gamma + 1), for a profile of this width (Karras et al. 2024, section 3.1:
    length^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)))."""
    precision = length**-2
    roots = np.roots([1, 7, 16 - precision, 12 - precision])
    return float(roots.real.max()) + 1


@dataclass(frozen=True, slots=True)
class Learner:
    """What a step changes, and all that a checkpoint holds: modules, optimizers and moving average."""

    modules: Mapping[str, nn.Module]
    parameters: Sequence[Tensor]  # those of the modules that are not frozen
    optimizers: Mapping[str, torch.optim.Optimizer]  # by name
    average: MovingAverage

    @classmethod
    def of(
        cls,
        pipe: DetDiffusionPipeline,
        config: GeneratorConfig,
        device: torch.device,
        beside: Mapping[str, nn.Module] = MappingProxyType({}),
    ) -> Learner:
        """As a new run begins; the pipeline's modules, and those `beside` it, are on the device and ready to learn."""
        modules = trained_modules(pipe, config, device)
        modules |= {name: module.to(device).train() for name, module in beside.items()}
        parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
        average = MovingAverage(parameters, config.ema_decay, config.ema_length)
        return cls(modules, parameters, make_optimizers(modules, config), average)

    def gradients(self) -> list[Tensor]:
        """Zeros where a part had nothing to do: all processes have to add up the same tensors."""
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]

    def update(self, step: int, share: float, *, finite: Tensor) -> None:
        """One step of the optimizers at a share of each group's peak rate, and of the average.

        finite: a scalar that stays on the device; where it is False, weights and optimizers stay as they are.
        """
        for optimizer in self.optimizers.values():
            optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]  # torch's GradScaler says it so, too
            for group in optimizer.param_groups:
                group["lr"] = share * group["peak"]
            optimizer.step()
            optimizer.zero_grad()
        self.average.update(step)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model as it would be saved now; afterwards it is what it was, to the bit."""
        self._show_average()
        try:
            yield
        finally:
            self.average.swap()
            for module in self.modules.values():
                module.train()

    def finish(self) -> None:
        """The modules hold the averaged weights, in the order in which files hold them, and learn no more."""
        self._show_average()
        for module in self.modules.values():
            module.to(memory_format=torch.contiguous_format)

    def _show_average(self) -> None:
        self.average.swap()
        for module in self.modules.values():
            module.eval()

    def state(self) -> dict[str, Tensor]:
        """All that a checkpoint holds."""
        tensors = pack_modules(self.modules)
        for name, optimizer in self.optimizers.items():
            tensors |= pack_optimizer(optimizer, name)
        return tensors | {f"average.{i}": tensor for i, tensor in enumerate(self.average.average)}

    def restore(self, folder: Path) -> int:
        """Puts the newest whole checkpoint back and returns its step; 0 where there is none."""
        saved = latest_checkpoint(folder)
        if saved is None:
            return 0
        step, tensors = saved
        unpack_modules(self.modules, tensors)
        for name, optimizer in self.optimizers.items():
            unpack_optimizer(optimizer, tensors, name)
        for i, tensor in enumerate(self.average.average):
            tensor.copy_(tensors[f"average.{i}"])
        return step


def trained_modules(pipe: DetDiffusionPipeline, config: GeneratorConfig, device: torch.device) -> dict[str, nn.Module]:
    """The text encoder, the U-Net and, where the model has them, blueprint and perception head (Fig. 2)."""
    modules = {name: getattr(pipe, name) for name in LEARNING if getattr(pipe, name) is not None}
    pipe.vae.to(device)
    alone = "controlnet" if config.control_only else "unet" if config.unet_only else None
    if alone is not None:
        for name in modules.keys() - {alone}:
            modules.pop(name).to(device).requires_grad_(False)
    for module in modules.values():
        module.to(device).train()
    if config.gradient_checkpointing:
        pipe.unet.enable_gradient_checkpointing()
        pipe.text_encoder.gradient_checkpointing_enable()
        if pipe.controlnet is not None:
            pipe.controlnet.enable_gradient_checkpointing()
    if config.text_words_only:
        _train_added_words(pipe)
    lay_out([network for network in (pipe.unet, pipe.controlnet) if network is not None], config.speed, device)
    return modules


def make_optimizers(modules: dict[str, nn.Module], config: GeneratorConfig) -> dict[str, torch.optim.Optimizer]:
    """AdamW for everything; or Muon for hidden matrices, and AdamW for the rest."""
    groups = parameter_groups(modules, config)
    plain = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
    if config.optimizer != MUON:
        return {ADAMW: plain}
    hidden = parameter_groups(modules, config, hidden=True)
    return {ADAMW: plain, MUON: Muon(hidden, config.learning_rate)}


def parameter_groups(
    modules: dict[str, nn.Module], config: GeneratorConfig, *, hidden: bool = False
) -> list[dict[str, Any]]:
    """GeoDiffusion's: no weight decay on 1-D and position parameters, lower rates for the text encoder, layer by layer.
    What is frozen is in none.

    Args:
        hidden: those that Muon moves; without it, those that AdamW moves.
    """
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, module in modules.items():
        for key, parameter in module.named_parameters():
            by_muon = config.optimizer == MUON and _is_hidden_matrix(name, key, parameter)
            if parameter.requires_grad and by_muon == hidden:
                peak = config.learning_rate
                if name == "text_encoder":
                    depth = _depth(key, int(module.config.num_hidden_layers))  # type: ignore[union-attr, arg-type]
                    peak *= config.text_learning_rate * config.text_layer_decay**depth
                if name == ADVERSARY:
                    peak *= config.adversary_learning_rate
                if hidden:
                    peak *= config.muon_learning_rate
                decay = 0.0 if parameter.ndim < 2 or "embedding" in key else config.weight_decay
                groups.setdefault((peak, decay), []).append(parameter)
    return [{"params": list_, "peak": peak, "weight_decay": decay} for (peak, decay), list_ in groups.items()]


def _is_hidden_matrix(module: str, key: str, parameter: Tensor) -> bool:
    """Whether it is one that Muon is made for: neither input, nor output, nor a table of embeddings (Jordan 2024)."""
    return module in MATRICES and parameter.ndim >= 2 and not any(part in key for part in OUTER)


def _depth(key: str, layers: int) -> int:
    """How far below the text encoder's output a parameter stands: 0 for the top layer, `layers` for the embeddings."""
    if "embeddings" in key:
        return layers
    _, inside, rest = key.partition("layers.")
    return layers - 1 - int(rest.split(".")[0]) if inside else 0


def _train_added_words(pipe: DetDiffusionPipeline) -> None:
    """Freezes the text encoder but for the rows of location and attribute words."""
    pipe.text_encoder.requires_grad_(False)
    table = pipe.text_encoder.get_input_embeddings().weight
    added = torch.zeros(len(table), 1, device=table.device)
    added[word_ids(pipe.tokenizer, new_words(pipe.vocabulary))] = 1
    table.requires_grad_(True)
    table.register_hook(lambda gradient: gradient * added)
