"""A larger autoencoder that begins exactly as a smaller one: the decoder can learn on where the latents are to stay."""

import torch
from torch import nn

from detdiffusion.errors import ConfigError
from detdiffusion.models.autoencoder import SmallAutoencoder

_TOO_LARGE = "the start's decoder does not fit into this one: its levels need to be as wide, and no deeper"


@torch.no_grad()
def grow(model: SmallAutoencoder, start: SmallAutoencoder) -> None:
    """Gives `model` the weights of `start`, in place: it encodes and decodes as that one does.

    The decoder's levels are as wide, and have as many residual blocks or more: those that are new are the identity. If
    only `model` ends at full resolution, the first three channels there are the image.

    Raises:
        ConfigError: the two do not fit.
    """
    if (wanted := _encoder_of(model)) != (found := _encoder_of(start)):
        raise ConfigError(f"the start's encoder has {found}, and this autoencoder's {wanted}")
    model.encoder.load_state_dict(start.encoder.state_dict())
    model.register_to_config(scaling_factor=start.config.scaling_factor)
    left = [module for module in model.decoder if not isinstance(module, nn.PixelShuffle)]
    for module in start.decoder:
        if isinstance(module, nn.PixelShuffle):
            continue
        while left and type(left[0]) is not type(module):
            left.pop(0)
        if not left:
            raise ConfigError(_TOO_LARGE)
        _take(left.pop(0), module)
    if left:
        _show_first_channels(left[-1])


def _encoder_of(model: SmallAutoencoder) -> dict[str, list[int]]:
    """Its settings, as if nothing were folded."""
    config = model.config
    return {
        "block_out_channels": list(config.block_out_channels),
        "layers_per_block": list(config.layers_per_block),
        "latent_channels": [config.latent_channels // config.fold**2],
    }


def _take(mine: nn.Module, its: nn.Module) -> None:
    """Weights of equal shapes, or the first rows of a wider convolution."""
    for parameter, other in zip(mine.parameters(), its.parameters(), strict=True):
        if parameter.shape[1:] != other.shape[1:] or len(parameter) < len(other):
            raise ConfigError(_TOO_LARGE)
        parameter[: len(other)] = other


def _show_first_channels(end: nn.Module) -> None:
    """The last convolution as a window on its first channels."""
    weight, bias = end.parameters()
    weight.zero_()
    bias.zero_()
    for channel in range(len(weight)):
        weight[channel, channel, 1, 1] = 1
