"""Taps on the U-Net: the up-block features that the perception head reads (f of Eq. 3)."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn


def feature_channels(unet: UNet2DConditionModel) -> list[int]:
    """Channels of each up block's output, coarse to fine."""
    return [int(channels) for channels in reversed(unet.config.block_out_channels)]


class FeatureTaps:
    """Collects the outputs of the up blocks, coarse to fine, with their gradients.

    >>> with FeatureTaps(unet) as taps:
    ...     prediction = unet(...)
    >>> head(taps.features, objects)
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self._blocks = list(unet.up_blocks)
        self._outputs: dict[int, Tensor] = {}
        self._handles: list[Any] = []

    @property
    def features(self) -> list[Tensor]:
        """[B, C_n, h_n, w_n] of the latest forward, one a block, coarse to fine."""
        return [self._outputs[level] for level in range(len(self._blocks))]

    def __enter__(self) -> FeatureTaps:
        self._handles = [block.register_forward_hook(self._keep(level)) for level, block in enumerate(self._blocks)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _keep(self, level: int) -> Any:
        def hook(block: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            self._outputs[level] = output

        return hook
