"""What a student is taught: on a teacher whose paths are known, the loss is zero for the right student alone."""

from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.configuration_utils import FrozenDict
from torch import Tensor

from detdiffusion.diffusion.steering.tag_guidance import opposite
from detdiffusion.layout import Attribute, Box, Layout
from detdiffusion.models.config import LossConfig
from detdiffusion.text.vocabulary import Vocabulary
from training.distillation.lesson import Distillation
from training.distillation.phases import Phases
from training.generator.batch import Batch

LAYOUT = Layout(64, 64, (Box("car", (0.1, 0.1, 0.6, 0.6)),))
SCHEDULE = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
CLEAN = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(3))


class Rows(list[bool]):
    """Stands for a text condition: whether each row has a layout."""

    def rows(self, chosen: slice) -> "Rows":
        return Rows(self[chosen])


class World:
    """Stands for a pipeline: its model knows the one image that there is, so it predicts v exactly; what it draws
    without a layout is `off` away from that."""

    def __init__(self, off: float = 0.0, **config: Any) -> None:
        self.off = off
        self.vocabulary = Vocabulary(("car",), ())
        self.config = FrozenDict({"guidance_interval": (0.0, 0.9), **config})
        self.asked: list[tuple[int, bool]] = []

    def conditions(self, layouts: Any, size: tuple[int, int], *, guided: bool, contrast: bool) -> tuple[Rows, None]:
        assert not (guided or contrast)
        self.shown = list(layouts)
        return Rows([layout == LAYOUT for layout in layouts]), None

    def denoise(self, latents: Tensor, t: Tensor, condition: list[bool], raw: None) -> Tensor:
        kept = SCHEDULE.alphas_cumprod[t][:, None, None, None]
        noise = (latents - kept.sqrt() * CLEAN) / (1 - kept).sqrt()
        exact = kept.sqrt() * noise - (1 - kept).sqrt() * CLEAN
        self.asked += list(zip(t.tolist(), condition, strict=True))
        return exact + torch.tensor([0.0 if known else self.off for known in condition])[:, None, None, None]


@pytest.fixture
def batch() -> Batch:
    timesteps = torch.tensor([999, 700, 501, 499, 250, 20])
    count = len(timesteps)
    noise = torch.randn(count, 2, 4, 4, generator=torch.Generator().manual_seed(4))
    empty = torch.zeros(count, 0, 4, 4)
    latents, rows = CLEAN.expand(count, -1, -1, -1), torch.zeros(count, 0)
    return Batch(latents, noise, timesteps, (LAYOUT,) * count, empty, rows.bool(), rows)


def loss(teacher: World, student: World, batch: Batch, scale: float) -> float:
    lesson = Distillation(teacher, Phases(2, 5, 1000), scale)  # type: ignore[arg-type]
    found = lesson(student, SCHEDULE, batch, LossConfig(perception_weight=0.0))  # type: ignore[arg-type]
    return float(found.total)


def test_who_follows_the_teacher_has_nothing_to_learn(batch: Batch) -> None:
    assert loss(World(), World(), batch, 1.0) < 1e-4
    assert loss(World(), World(), batch, 3.0) < 1e-4, "what the teacher does not change by guidance"


def test_guidance_is_taught_where_the_teacher_has_it_on(batch: Batch) -> None:
    assert loss(World(off=0.5), World(), batch, 1.0) < 1e-4
    assert loss(World(off=0.5), World(), batch, 3.0) > 0.03
    noisiest = batch._replace(timesteps=torch.full_like(batch.timesteps, 999))
    assert loss(World(off=0.5), World(), noisiest, 3.0) < 1e-4, "its interval leaves them out"


def test_guidance_away_from_other_tags_is_taught_at_the_noisiest_timesteps(batch: Batch) -> None:
    tags = {"strength": 0.5, "noisiest": 0.4}
    teacher = World(off=0.5, guidance_interval=(0.0, 1.0), tag_guidance=tags)
    noisiest = batch._replace(timesteps=torch.full_like(batch.timesteps, 999))
    assert loss(teacher, World(), noisiest, 1.0) < 1e-4
    half = loss(teacher, World(), noisiest, 3.0)
    assert half == pytest.approx(loss(World(off=0.5, guidance_interval=(0.0, 1.0)), World(), noisiest, 2.0), rel=1e-5)
    loss(teacher, World(), batch, 3.0)
    other = opposite(Vocabulary(("car",), ()).resolve(LAYOUT))
    assert other.boxes[0].attribute is Attribute.HARD, "things are easy where nobody says otherwise"
    assert teacher.shown == [other, other, None, None, None, None] + [LAYOUT] * 6, "at 999 and 799 of the path"


def test_the_student_is_asked_once_for_what_it_learns_and_once_for_the_target(batch: Batch) -> None:
    teacher, student = World(), World()
    loss(teacher, student, batch, 2.0)
    assert [t for t, _ in student.asked[:6]] == [999, 799, 599, 499, 299, 99], "the points of the teacher's path"
    assert all(known for _, known in student.asked) and len(student.asked) == 12
    assert [known for _, known in teacher.asked] == [False] * 6 + [True] * 6


def test_gradients_reach_the_student_alone(batch: Batch) -> None:
    learned = torch.nn.Parameter(torch.tensor(0.3))

    class Learning(World):
        def denoise(self, latents: Tensor, t: Tensor, condition: list[bool], raw: None) -> Tensor:
            return super().denoise(latents, t, condition, raw) + learned

    lesson = Distillation(World(), Phases(2, 5, 1000), 1.0)  # type: ignore[arg-type]
    found = lesson(Learning(), SCHEDULE, batch, LossConfig(perception_weight=0.0))  # type: ignore[arg-type]
    found.total.backward()
    assert learned.grad is not None and float(learned.grad) > 0, "an offset above zero has to fall"
