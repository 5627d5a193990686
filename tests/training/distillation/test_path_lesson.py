"""What a student learns of paths: the loss is zero for who ends where they end; the adversary moves who does not."""

from pathlib import Path

import pytest
import torch
from known_teacher import CLEAN, LAYOUT, SCHEDULE, World
from small_models import write_small_model
from torch import Tensor

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.layout import Box, Layout
from detdiffusion.models.config import LossConfig
from detdiffusion.text.vocabulary import Vocabulary
from training.distillation.adversary import Adversary, Looked, Told
from training.distillation.path_lesson import PathLesson
from training.distillation.paths import path_points
from training.distillation.phases import CLEAN as END
from training.distillation.phases import Phases, Step
from training.distillation.teacher import GuidedTeacher
from training.generator.batch import Batch

PHASES = Phases(2, 5, 1000)
TIMESTEPS = torch.tensor([0, 300, 499, 520, 740, 999])


def of(world: World) -> GuidedTeacher:
    return GuidedTeacher(world, 1.0)  # type: ignore[arg-type]


@pytest.fixture
def batch() -> Batch:
    count = len(TIMESTEPS)
    noise = torch.randn(count, 2, 4, 4, generator=torch.Generator().manual_seed(4))
    points = path_points(of(World()), [LAYOUT] * count, noise, PHASES)
    latents = torch.cat([*points, CLEAN.expand(count, -1, -1, -1)], dim=1)
    more, rows = torch.randn(latents.shape, generator=torch.Generator().manual_seed(5)), torch.zeros(count, 0)
    return Batch(latents, more, TIMESTEPS, (LAYOUT,) * count, torch.zeros(count, 0, 4, 4), rows.bool(), rows)


def loss(student: World, batch: Batch) -> float:
    lesson = PathLesson(of(World()), PHASES)
    return float(lesson(student, SCHEDULE, batch, LossConfig(perception_weight=0.0)).total)  # type: ignore[arg-type]


def test_half_of_the_samples_stand_where_a_phase_begins() -> None:
    start, end, share = PHASES.drawn(torch.arange(1000))
    assert start.unique().tolist() == list(range(10)) and end.unique().tolist() == [5, 10]
    begins = start[:500]
    assert begins.unique(return_counts=True)[0].tolist() == [0, 5] and int((begins == 5).sum()) == 250
    assert start[500:].unique(return_counts=True)[1].tolist() == [50] * 10
    assert bool((end > start).all()) and float(share.min()) >= 0 and 0.99 < float(share.max()) < 1


def test_who_ends_where_the_paths_end_has_nothing_to_learn(batch: Batch) -> None:
    student = World()
    assert loss(student, batch) < 1e-5
    own, asked = student.asked[:2], student.asked[2:]
    assert [t for t, _ in own] == [999, 999], "of those that stand at the beginning of the second phase"
    assert [t for t, _ in asked] == [999, 499, 499, 999, 599, 99], "a place for every timestep"
    assert all(known for _, known in student.asked)

    class Off(World):
        def denoise(self, latents: Tensor, t: Tensor, condition: list[bool], raw: None) -> Tensor:
            return super().denoise(latents, t, condition, raw) + 0.3

    assert loss(Off(), batch) > 0.02
    assert loss(Off(), batch._replace(foreground=torch.zeros(len(TIMESTEPS), 4, 4))) == 0, "its weights count"


def test_a_later_phase_begins_where_the_student_has_come(batch: Batch) -> None:
    class Late(World):
        """Wrong in the first step."""

        def denoise(self, latents: Tensor, t: Tensor, condition: list[bool], raw: None) -> Tensor:
            seen.append(latents)
            return super().denoise(latents, t, condition, raw) + 0.3 * (t == 999)[:, None, None, None]

    seen: list[Tensor] = []
    loss(Late(), batch)
    paths = batch.latents.unflatten(1, (12, -1))
    first, second = torch.tensor([999, 999]), torch.tensor([499, 499])
    step = Step.between(SCHEDULE.alphas_cumprod, first, second, "v_prediction")
    exact = World().denoise(paths[1:3, 0], first, [True, True], None)
    torch.testing.assert_close(seen[1][1:3], step(paths[1:3, 0], exact + 0.3))
    others = [(0, 0), (3, 0), (4, 4), (5, 9)]
    assert all(torch.equal(seen[1][row], paths[row, place]) for row, place in others), "those stand on their paths"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> DetDiffusionPipeline:
    pipe = load_pipeline(write_small_model(tmp_path_factory.mktemp("small") / "model", Vocabulary(("car",), ())))
    pipe.unet.requires_grad_(False)
    return pipe


def told(pipe: DetDiffusionPipeline, adversary: Adversary, drawn: Tensor) -> Told:
    layouts = [Layout(64, 64, (Box("car", (0.1, 0.1, 0.6, 0.6)),))] * len(drawn)
    noise = torch.randn(len(drawn), 3, *drawn.shape[1:], generator=torch.Generator().manual_seed(1))
    ends = torch.tensor([499, END, END, 499])
    looked = Looked(drawn, torch.zeros_like(drawn), ends, torch.linspace(0, 0.9, 4), noise)
    return adversary(pipe, looked, *pipe.conditions(layouts, (8, 8), guided=False, contrast=False))  # type: ignore[no-any-return]


def test_an_adversary_learns_to_tell_and_moves_the_student_alone(small: DetDiffusionPipeline) -> None:
    adversary = Adversary.of(small, seed=0)
    drawn = torch.full((4, 4, 8, 8), 2.0, requires_grad=True)
    optimizer = torch.optim.AdamW(adversary.parameters(), lr=3e-3)
    first = told(small, adversary, drawn)
    first.student.backward()
    assert drawn.grad is not None and float(drawn.grad.abs().sum()) > 0
    assert all(p.grad is None for p in adversary.parameters()), "the student's loss is not the adversary's"
    drawn.grad = None
    for _ in range(60):
        optimizer.zero_grad()
        found = told(small, adversary, drawn)
        found.own.backward()
        optimizer.step()
    assert drawn.grad is None, "the adversary's loss is not the student's"
    assert float(found.own) < 0.5 * float(first.own) and float(found.student) > 0.3
    assert float(told(small, adversary, torch.zeros(4, 4, 8, 8)).student) < float(found.student)


def test_the_adversary_is_taught_with_the_student(small: DetDiffusionPipeline) -> None:
    adversary = Adversary.of(small, seed=0)
    lesson = PathLesson(GuidedTeacher(small, 1.0), PHASES, adversary, 0.5)
    assert lesson.modules == {"adversary": adversary} and not PathLesson(GuidedTeacher(small, 1.0), PHASES).modules
    layouts = (Layout(64, 64, (Box("car", (0.1, 0.1, 0.6, 0.6)),)),) * len(TIMESTEPS)
    latents = torch.randn(len(TIMESTEPS), 12 * 4, 8, 8, generator=torch.Generator().manual_seed(2))
    rows = torch.zeros(len(TIMESTEPS), 0)
    given = Batch(latents, latents.flip(0), TIMESTEPS, layouts, torch.zeros(len(TIMESTEPS), 0, 8, 8), rows.bool(), rows)
    student = load_pipeline_of(small)
    losses = lesson(student, student.scheduler, given, LossConfig(perception_weight=0.0))
    losses.total.backward()
    assert float(losses.total) != float(losses.denoise)
    for module in (adversary, student.unet):
        assert any(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in module.parameters())
    assert all(p.grad is None for p in small.unet.parameters())
    plain, detailed = (PathLesson(GuidedTeacher(small, 1.0), PHASES, detail=weight) for weight in (0.0, 0.5))
    without, asked = (
        one(student, student.scheduler, given, LossConfig(perception_weight=0.0)) for one in (plain, detailed)
    )
    assert float(asked.denoise) == float(without.denoise) == float(without.total) < float(asked.total)


def load_pipeline_of(pipe: DetDiffusionPipeline) -> DetDiffusionPipeline:
    return load_pipeline(Path(pipe.config._name_or_path))
