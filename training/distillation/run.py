"""A model folder -> samples of its world -> a student that draws them in few steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from diffusers import DDIMScheduler

from detdiffusion.core.settings import keep_settings
from detdiffusion.detectors import BUNDLED, load_detector
from detdiffusion.diffusion.checkpoint import save_pipeline
from detdiffusion.diffusion.examples import Examples, bring_examples
from detdiffusion.diffusion.manifest import Teacher, weights_hash
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.sampling_config import WHOLE_SCHEDULE, Recommended
from training.core.cli import progress, progress_in_first
from training.core.processes import Processes
from training.data.attributes import read_attributes
from training.data.datasets import open_dataset
from training.distillation.adversary import Adversary
from training.distillation.config import DistillConfig, Method
from training.distillation.consistency import Consistency
from training.distillation.lora import add_lora, take_lora
from training.distillation.path_lesson import PathLesson
from training.distillation.paths import make_paths
from training.distillation.phases import Phases, noise_schedule
from training.distillation.request import DistillRequest
from training.distillation.teacher import GuidedTeacher
from training.generator.batch import SampleStore
from training.generator.config import GeneratorConfig
from training.generator.latents import encode_dataset
from training.generator.samples import SUMMARY, make_samples
from training.generator.step import Lesson
from training.generator.trainer import train_generator

if TYPE_CHECKING:
    import torch
    from torch import nn

LORA = "lora"  # folder of a run: LoRA weights alone


def distill(request: DistillRequest, device: torch.device, processes: Processes | None = None) -> Path:
    """The student's folder, `out/model`; the same request goes on after a stop. LoRA weights lie in `out/lora`, too.

    processes: this one among all of the run, of which the first writes.

    Raises:
        CheckpointError: the model cannot be read.
        ConfigError: `out` was started with other settings.
        DataError, DetectorError: the data, or the model's detector, cannot be read.
    """
    processes = processes or Processes()
    teacher, student = load_pipeline(request.model), load_pipeline(request.start or request.model)
    guided = GuidedTeacher(teacher, request.config.guidance_scale or teacher.recommended.guidance_scale)
    phases = Phases(request.config.steps, request.config.substeps, guided.timesteps)
    training = _training(request, teacher)
    if processes.main:
        keep_settings(request.out / "config.json", request.kept())
    teacher.to(device)
    for part in (teacher.unet, teacher.vae):
        part.requires_grad_(False)
    if request.config.lora_rank:
        add_lora(student.unet, request.config.lora_rank, training.seed)
    samples = _samples(request, teacher, training, device, processes)
    lesson: Lesson = Consistency(guided, phases)
    beside: dict[str, nn.Module] = {}
    if request.config.method == Method.PATHS:
        samples = _paths(request, guided, phases, samples, device, processes)
        weight = request.config.adversary
        adversary = Adversary.of(teacher, training.seed) if weight else None
        on_paths = PathLesson(guided, phases, adversary, weight, request.config.detail)
        lesson, beside = on_paths, on_paths.modules
    store = SampleStore.load(samples)
    with progress_in_first(processes.main, "distilling") as report:
        train_generator(
            student, store, training, request.out, device, report, lesson=lesson, beside=beside, processes=processes
        )
    if processes.main:
        _write(student, request)
    return request.out / "model"


def _write(student: DetDiffusionPipeline, request: DistillRequest) -> None:
    """What has learned, as a model folder, and the teacher's examples with it."""
    if request.config.lora_rank:
        take_lora(student.unet, request.out / LORA)
    student.scheduler = few_steps(student)
    student.register_to_config(
        sampling=few_steps_wanted(request.config).to_json(),
        guidance_interval=WHOLE_SCHEDULE,
        teacher=Teacher(request.model.resolve().name, weights_hash(request.model)).to_json(),
    )
    save_pipeline(student, request.out / "model")
    bring_examples(Examples(), request.model, request.out / "model", student.vocabulary)


def few_steps(pipe: DetDiffusionPipeline) -> DDIMScheduler:
    """The sampler of a student: DDIM from pure noise to the clean latents, with the model's noise schedule."""
    kept = noise_schedule(pipe.scheduler)
    return DDIMScheduler(**kept, timestep_spacing="trailing", set_alpha_to_one=True, clip_sample=False)


def few_steps_wanted(config: DistillConfig) -> Recommended:
    """How a student wants to be sampled: in as many steps as it has learned, guidance built in."""
    return Recommended(config.steps, 1.0, fewest_steps=config.steps, most_steps=config.steps)


def _training(request: DistillRequest, pipe: DetDiffusionPipeline) -> GeneratorConfig:
    words = pipe.vocabulary
    return replace(
        request.config.training,
        size=pipe.native_size,
        grid=words.grid,
        location_text=words.location_format,
        attributes=bool(words.attribute_words),
    )


def _samples(
    request: DistillRequest,
    pipe: DetDiffusionPipeline,
    training: GeneratorConfig,
    device: torch.device,
    processes: Processes,
) -> Path:
    """The folder of latents and layouts that the student learns from: processes share the images of a data set, and the
    first one alone draws scenes."""
    out = request.out / "samples"
    if request.data is not None:
        dataset = open_dataset(request.data, split=request.split, reading=request.reading)
        attributes = None if request.attributes is None else read_attributes(request.attributes, dataset)
        with progress_in_first(processes.main, "latents", "image") as report:
            encode_dataset(dataset, attributes, pipe.vae, training, out, device, report, processes)
        return out
    if processes.main and not (out / SUMMARY).exists():
        out.mkdir(parents=True, exist_ok=True)
        detector = load_detector(BUNDLED, request.model, device=device)
        with progress("attributes", "chunk") as report:
            make_samples(request.config.samples, pipe.native_size[0], detector, pipe.vae, out, report)
    processes.wait()
    return out


def _paths(
    request: DistillRequest,
    teacher: GuidedTeacher,
    phases: Phases,
    samples: Path,
    device: torch.device,
    processes: Processes,
) -> Path:
    """The folder of the teacher's paths, which processes share."""
    out, config = request.out / "paths", request.config
    out.mkdir(parents=True, exist_ok=True)
    store = SampleStore.load(samples)
    with progress_in_first(processes.main, "paths", "chunk") as report:
        make_paths(teacher, store, phases, config.paths, config.training.seed, out, device, report, processes)
    processes.wait()
    return out
