"""Muon: an optimizer for hidden matrices and convolutions, whose steps are orthogonal (Jordan et al. 2024).

An orthogonal step moves every direction of a matrix alike, where AdamW's follows the few that have large gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan's: they lift small singular values quickly, to about 0.7 .. 1.2
ITERATIONS = 5
ROOT_MEAN_SQUARE = 0.2  # of a step's elements, as a share of the rate: about AdamW's (Liu et al. 2025)


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal, with decoupled weight decay.

    A kernel [out, in, k, k] counts as the matrix [out, in * k * k]. Steps are as large as AdamW's, so that learning
    rate and weight decay of AdamW can be kept (Liu et al. 2025). Deviation from `torch.optim.Muon`, which takes
    matrices alone and iterates in bfloat16: here it is float32, 15 times as fast on processors without bfloat16.

    Args:
        params: of two dimensions or more, or groups of such.
        lr: learning rate.
        momentum: share of the old that stays.
        weight_decay: share of the weights, times the rate, that goes at every step.

    As torch's fused optimizers, it leaves all as it is where its attribute `found_inf`, a tensor on the device, is 1.

    Raises:
        ValueError: a parameter is no matrix and no kernel.
    """

    found_inf: Tensor | None = None

    def __init__(self, params: Any, lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        flat = [p.shape for group in self.param_groups for p in group["params"] if p.ndim < 2]
        if flat:
            raise ValueError(f"Muon moves matrices and kernels, not parameters of the shape {list(flat[0])}")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return loss

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, momentum, rate = self.state[parameter], group["momentum"], group["lr"]
        if not state:
            state["average"] = torch.zeros_like(parameter)
        average: Tensor = state["average"]
        if self.found_inf is not None:
            gradient = torch.where(self.found_inf > 0, average, gradient)  # then it stays
        average.lerp_(gradient, 1 - momentum)
        ahead = gradient.lerp(average, momentum)  # Nesterov's
        matrix = ahead.flatten(1)  # [out, in, k, k] -> [out, in * k * k]
        size = ROOT_MEAN_SQUARE * math.sqrt(max(matrix.shape))
        moved = parameter * (1 - rate * group["weight_decay"])
        moved.add_(orthogonal(matrix).reshape(parameter.shape), alpha=-rate * size)
        parameter.copy_(moved if self.found_inf is None else torch.where(self.found_inf > 0, parameter, moved))


def orthogonal(matrix: Tensor) -> Tensor:
    """[A, B] -> about U V^T of its singular value decomposition U S V^T, by five Newton-Schulz iterations.

    Each multiplies X by a polynomial of X X^T. They are multiplied with each other first and with X at the end: kernels
    are far wider than high, so this is two to three times as fast, and single precision bears it.
    """
    a, b, c = NEWTON_SCHULZ
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / x.norm().clamp(min=1e-7)  # singular values of at most 1
    gram = x @ x.T
    whole = torch.eye(len(x), dtype=x.dtype, device=x.device)
    for _ in range(ITERATIONS):
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal().add_(a)
        whole = factor @ whole
        gram = factor @ gram @ factor  # (factor x)(factor x)^T; it is symmetric
    found: Tensor = whole @ x
    return found if wide else found.T
