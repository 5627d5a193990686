"""A teacher whose paths are known: its model knows the one image that there is."""

from types import SimpleNamespace
from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.configuration_utils import FrozenDict
from torch import Tensor

from detdiffusion.layout import Box, Layout
from detdiffusion.text.vocabulary import Vocabulary

LAYOUT = Layout(64, 64, (Box("car", (0.1, 0.1, 0.6, 0.6)),))
SCHEDULE = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
CLEAN = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(3))


class Rows(list[bool]):
    """Stands for a text condition: whether each row has a layout."""

    def rows(self, chosen: slice | Tensor) -> "Rows":
        return Rows(self[chosen] if isinstance(chosen, slice) else [self[row] for row in chosen.tolist()])


class World:
    """Stands for a pipeline: its model knows the one image that there is, so it predicts v exactly; what it draws
    without a layout is `off` away from that."""

    def __init__(self, off: float = 0.0, **config: Any) -> None:
        self.off = off
        self.vocabulary = Vocabulary(("car",), ())
        self.config = FrozenDict({"guidance_interval": (0.0, 0.9), **config})
        self.scheduler = SimpleNamespace(config=SCHEDULE.config, alphas_cumprod=SCHEDULE.alphas_cumprod)
        self.asked: list[tuple[int, bool]] = []

    def conditions(self, layouts: Any, size: tuple[int, int], *, guided: bool, contrast: bool) -> tuple[Rows, None]:
        assert not (guided or contrast)
        self.shown = list(layouts)
        return Rows([layout == LAYOUT for layout in layouts]), None

    def show_layouts(self, layouts: Any, size: tuple[int, int]) -> Any:
        return layouts

    def encode_shown(self, shown: Any) -> Rows:
        return Rows([layout == LAYOUT for layout in shown])

    def draw_shown(self, shown: Any, size: tuple[int, int]) -> None:
        return None

    def denoise(self, latents: Tensor, t: Tensor, condition: list[bool], raw: None) -> Tensor:
        kept = SCHEDULE.alphas_cumprod[t][:, None, None, None]
        noise = (latents - kept.sqrt() * CLEAN) / (1 - kept).sqrt()
        exact = kept.sqrt() * noise - (1 - kept).sqrt() * CLEAN
        self.asked += list(zip(t.tolist(), condition, strict=True))
        off = torch.tensor([0.0 if known else self.off for known in condition])
        predicted: Tensor = exact + off[:, None, None, None]
        return predicted
