"""What a student is taught: on a teacher whose paths are known, the loss is zero for the right student alone."""

import pytest
import torch
from known_teacher import CLEAN, LAYOUT, SCHEDULE, World
from torch import Tensor

from detdiffusion.diffusion.steering.tag_guidance import opposite
from detdiffusion.layout import Attribute
from detdiffusion.models.config import LossConfig
from detdiffusion.text.vocabulary import Vocabulary
from training.distillation.consistency import Consistency
from training.distillation.phases import Phases
from training.distillation.teacher import GuidedTeacher
from training.generator.batch import Batch


@pytest.fixture
def batch() -> Batch:
    timesteps = torch.tensor([999, 700, 501, 499, 250, 20])
    count = len(timesteps)
    noise = torch.randn(count, 2, 4, 4, generator=torch.Generator().manual_seed(4))
    empty = torch.zeros(count, 0, 4, 4)
    latents, rows = CLEAN.expand(count, -1, -1, -1), torch.zeros(count, 0)
    return Batch(latents, noise, timesteps, (LAYOUT,) * count, empty, rows.bool(), rows)


def loss(teacher: World, student: World, batch: Batch, scale: float) -> float:
    lesson = Consistency(GuidedTeacher(teacher, scale), Phases(2, 5, 1000))  # type: ignore[arg-type]
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

    lesson = Consistency(GuidedTeacher(World(), 1.0), Phases(2, 5, 1000))  # type: ignore[arg-type]
    found = lesson(Learning(), SCHEDULE, batch, LossConfig(perception_weight=0.0))  # type: ignore[arg-type]
    found.total.backward()
    assert learned.grad is not None and float(learned.grad) > 0, "an offset above zero has to fall"
