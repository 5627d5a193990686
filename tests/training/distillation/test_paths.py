"""The teacher's paths: as of diffusers' DPM-Solver++, and kept over a stop."""

from pathlib import Path

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from known_teacher import CLEAN, LAYOUT, SCHEDULE, World
from torch import Tensor

from training.distillation.paths import make_paths, path_points
from training.distillation.phases import Phases
from training.distillation.teacher import GuidedTeacher
from training.generator.batch import SampleStore
from training.generator.chunk import write_chunk

NOISE = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(1))
CPU = torch.device("cpu")


def of(world: World, scale: float = 1.0) -> GuidedTeacher:
    return GuidedTeacher(world, scale)  # type: ignore[arg-type]


@pytest.mark.parametrize("phases", [Phases(1, 1, 1000), Phases(2, 4, 1000), Phases(3, 3, 1000)])
def test_a_path_goes_from_the_noise_to_the_one_image_that_the_teacher_knows(phases: Phases) -> None:
    points = path_points(of(World()), [LAYOUT] * 3, NOISE, phases)
    assert len(points) == len(phases.points) and torch.equal(points[0], NOISE)
    torch.testing.assert_close(points[-1], CLEAN.expand_as(NOISE), atol=1e-3, rtol=0)


def test_a_path_is_that_of_diffusers() -> None:
    class Wavy(World):
        def denoise(self, latents: Tensor, t: Tensor, condition: list[bool], raw: None) -> Tensor:
            return super().denoise(latents, t, condition, raw) + 0.3 * torch.sin(3 * latents)

    phases, world = Phases(2, 6, 1000), Wavy()
    scheduler = DPMSolverMultistepScheduler.from_config(SCHEDULE.config, algorithm_type="dpmsolver++")
    scheduler.set_timesteps(timesteps=phases.points[:-1].tolist())
    latents, found = NOISE, path_points(of(world), [LAYOUT] * 3, NOISE, phases)
    for t, ours in zip(scheduler.timesteps, found[1:], strict=True):
        prediction = world.denoise(latents, t.expand(3), [True] * 3, None)
        latents = scheduler.step(prediction, t, latents).prev_sample
        torch.testing.assert_close(ours, latents, atol=1e-4, rtol=1e-3)


def test_guidance_is_in_a_path() -> None:
    plain, guided = (
        path_points(of(World(off=0.5), scale), [LAYOUT] * 3, NOISE, Phases(2, 4, 1000)) for scale in (1, 3)
    )
    assert not torch.allclose(plain[-1], guided[-1], atol=0.05)


def test_paths_are_of_the_samples_in_turn_and_stay_over_a_stop(tmp_path: Path) -> None:
    samples, out = tmp_path / "samples", tmp_path / "paths"
    for folder in (samples, out):
        folder.mkdir()
    latents = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(5)).half()
    write_chunk(samples / "chunk-00000.json", [LAYOUT, LAYOUT], {"latents": latents})
    store, phases = SampleStore.load(samples), Phases(2, 2, 1000)

    def make(count: int, seed: int = 0) -> SampleStore:
        make_paths(of(World()), store, phases, count, seed, out, CPU, lambda *_: None)
        return SampleStore.load(out)

    made = make(70)
    assert len(made.layouts) == 70 and made.shape == (6 * 2, 4, 4) and len(list(out.glob("chunk-*.json"))) == 2
    for index in (0, 1, 66):
        points = made.latents(index).mean.unflatten(0, (6, 2))
        assert torch.equal(points[-1], latents[index % 2].float()), "behind a path lie its sample's own latents"
        torch.testing.assert_close(points[-2], CLEAN[0], atol=2e-3, rtol=0)
    assert not torch.equal(made.latents(0).mean[:2], made.latents(2).mean[:2]), "of other noise"
    first = {path.name: path.read_bytes() for path in out.glob("chunk-00000*")}
    (out / "chunk-00001.json").unlink()  # as a kill leaves it
    assert make(70).shape == made.shape
    assert first == {path.name: path.read_bytes() for path in out.glob("chunk-00000*")}
    assert torch.equal(made.latents(69).mean, SampleStore.load(out).latents(69).mean)
