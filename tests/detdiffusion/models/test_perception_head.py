"""The perception head against Eq. 3 written out, and its size beside real U-Nets."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.errors import ConfigError
from detdiffusion.layout import Layout
from detdiffusion.models.features import FeatureTaps, feature_channels
from detdiffusion.models.perception_head import PerceptionHead

CHANNELS, SIZES = (16, 16, 8, 8), (2, 4, 8, 8)


def features(batch: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, c, s, s, generator=generator) for c, s in zip(CHANNELS, SIZES, strict=True)]


def test_equals_equation_3_written_out() -> None:
    head = PerceptionHead(CHANNELS, text_dim=12, width=8)
    f, objects = features(), torch.randn(2, 3, 12, generator=torch.Generator().manual_seed(1))
    below = f[0]  # F1 = f1
    for n, merge in enumerate(head.merge, start=1):
        grow = f[n].shape[-1] // below.shape[-1]
        upsampled = torch.from_numpy(below.detach().numpy().repeat(grow, axis=2).repeat(grow, axis=3))
        if n > 1:
            upsampled = upsampled * torch.sigmoid(upsampled)
        stacked = torch.cat([f[n], upsampled], dim=1)
        convolved = F.conv2d(stacked, merge[0].weight, merge[0].bias, padding=1)
        below = F.group_norm(convolved, 8, merge[1].weight, merge[1].bias)
    query = (objects @ head.query.weight.T + head.query.bias).detach().numpy()
    expected = np.einsum("bnc,bchw->bnhw", query, below.detach().numpy()) / 8**0.5
    np.testing.assert_allclose(head(f, objects).detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("scale", [2, 4])
def test_finer_masks_are_cells_of_a_convolution(scale: int) -> None:
    head, coarse = PerceptionHead(CHANNELS, 12, 8, scale), PerceptionHead(CHANNELS, 12, 8)
    coarse.load_state_dict({key: value for key, value in head.state_dict().items() if "refine" not in key})
    f, objects = features(), torch.randn(2, 3, 12, generator=torch.Generator().manual_seed(1))
    logits = head(f, objects)
    assert logits.shape == (2, 3, 8 * scale, 8 * scale) and coarse(f, objects).shape == (2, 3, 8, 8)
    with torch.no_grad():  # a convolution that repeats its input: every fine cell says what its coarse one says
        head.refine.weight.zero_()
        head.refine.bias.zero_()
        for channel in range(8):
            head.refine.weight[channel * scale**2 : (channel + 1) * scale**2, channel, 1, 1] = 1
    seen: list[torch.Tensor] = []
    head.merge[-1].register_forward_hook(lambda _, given, found: seen.append(found))
    repeated = head(f, objects)
    query = head.query(objects)
    expected = torch.einsum("bnc,bchw->bnhw", query, F.silu(seen[0])) / 8**0.5
    torch.testing.assert_close(repeated, expected.repeat_interleave(scale, 2).repeat_interleave(scale, 3))


def test_a_scale_is_1_or_more() -> None:
    with pytest.raises(ConfigError, match="head scale is 0, and needs to be 1 or more"):
        PerceptionHead(CHANNELS, 12, 8, 0)


def test_objects_do_not_see_each_other() -> None:
    head, f = PerceptionHead(CHANNELS, text_dim=12, width=8), features()
    objects = torch.randn(2, 5, 12)
    torch.testing.assert_close(head(f, objects)[:, :2], head(f, objects[:, :2]))


@pytest.mark.parametrize(
    ("channels", "text_dim", "width"),
    [((320, 640, 1280, 1280), 768, 256), ((64, 96, 160, 192), 192, 48)],
    ids=["stable-diffusion", "small"],
)
def test_is_one_to_two_percent_of_its_unet(channels: tuple[int, ...], text_dim: int, width: int) -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(block_out_channels=channels, cross_attention_dim=text_dim, norm_num_groups=16)
        head = PerceptionHead(feature_channels(unet), text_dim, width)
    share = sum(p.numel() for p in head.parameters()) / sum(p.numel() for p in unet.parameters())
    assert 0.01 < share < 0.02


def test_its_loss_reaches_unet_words_and_blueprint(
    tiny_pipeline: DetDiffusionPipeline, layout_of: type[Layout]
) -> None:
    pipe = tiny_pipeline
    condition = pipe.encode_layouts([layout_of(3), layout_of(1)])
    raw = pipe.draw_layouts([layout_of(3), layout_of(1)], (8, 8))
    with FeatureTaps(pipe.unet) as taps:
        pipe.denoise(torch.randn(2, 4, 8, 8), torch.tensor([5, 900]), condition, raw)
    assert [tuple(f.shape) for f in taps.features] == [(2, 16, 2, 2), (2, 16, 4, 4), (2, 8, 8, 8), (2, 8, 8, 8)]
    assert feature_channels(pipe.unet) == [16, 16, 8, 8]
    logits = pipe.perception_head(taps.features, condition.objects)
    assert logits.shape == (2, 3, 8, 8)
    words = pipe.text_encoder.get_input_embeddings().weight
    seen = (pipe.unet.conv_in.weight, pipe.blueprint.embed.weight, words)
    assert all(gradient.abs().sum() > 0 for gradient in torch.autograd.grad(logits.square().mean(), seen))
    assert not any(block._forward_hooks for block in pipe.unet.up_blocks)  # the taps are gone again
