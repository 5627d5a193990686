"""A model folder -> samples of its world -> a student that draws them in few steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from diffusers import DDIMScheduler

from detdiffusion.core.files import file_hash
from detdiffusion.core.settings import keep_settings
from detdiffusion.detectors import BUNDLED, load_detector
from detdiffusion.diffusion.checkpoint import save_pipeline
from detdiffusion.diffusion.manifest import INDEX, read_recommended
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.errors import ConfigError
from detdiffusion.sampling_config import WHOLE_SCHEDULE, Recommended
from training.core.cli import progress
from training.data.attributes import read_attributes
from training.data.datasets import open_dataset
from training.data.papercut.classes import STUFF, THINGS
from training.data.request import AS_IT_IS, Reading
from training.distillation.config import DistillConfig
from training.distillation.lesson import Distillation
from training.distillation.phases import Phases
from training.generator.batch import SampleStore
from training.generator.config import GeneratorConfig
from training.generator.latents import encode_dataset
from training.generator.samples import SUMMARY, make_samples
from training.generator.trainer import train_generator

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class DistillRequest:
    """What one distillation is asked for. data, attributes: of a world that is not the built-in one."""

    model: Path
    out: Path
    config: DistillConfig
    data: Path | None = None
    split: str | None = None
    attributes: Path | None = None
    reading: Reading = AS_IT_IS


def distill(request: DistillRequest, device: torch.device) -> Path:
    """The student's folder, `out/model`; the same request goes on after a stop.

    Raises:
        CheckpointError: the model cannot be read.
        ConfigError: `out` was started with other settings, the model needs data, or is a student itself.
        DataError, DetectorError: the data, or the model's detector, cannot be read.
    """
    if not read_recommended(request.model).guided:
        raise ConfigError(f"{request.model} is a student itself: give the model that it learned from")
    teacher, student = (load_pipeline(request.model) for _ in range(2))
    phases = Phases(request.config.steps, request.config.substeps, teacher.scheduler.config.num_train_timesteps)
    training = _training(request, teacher)
    _check_data(request, teacher)
    keep_settings(request.out / "config.json", _kept(request))
    teacher.to(device)
    samples = _samples(request, teacher, training, device)
    lesson = Distillation(teacher, phases, request.config.guidance_scale)
    with progress("distilling") as report:
        train_generator(student, SampleStore.load(samples), training, request.out, device, report, lesson=lesson)
    student.scheduler = few_steps(student)
    student.register_to_config(sampling=few_steps_wanted(request.config).to_json(), guidance_interval=WHOLE_SCHEDULE)
    save_pipeline(student, request.out / "model")
    return request.out / "model"


def few_steps(pipe: DetDiffusionPipeline) -> DDIMScheduler:
    """The sampler of a student: DDIM from pure noise to the clean latents, with the model's noise schedule."""
    config = dict(pipe.scheduler.config)
    schedule = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type")
    kept = {name: config[name] for name in schedule if name in config}
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


def _is_built_in(pipe: DetDiffusionPipeline) -> bool:
    words = pipe.vocabulary
    return (words.things, words.stuff) == (THINGS, STUFF)


def _check_data(request: DistillRequest, pipe: DetDiffusionPipeline) -> None:
    if request.data is None and not _is_built_in(pipe):
        raise ConfigError(
            f"{request.model} draws another world than Papercut: give images of it with --data DIR, and for a model "
            "that knows easy and hard --attributes FILE.jsonl (python -m training annotate)"
        )
    if request.data is not None and request.attributes is None and pipe.vocabulary.attribute_words:
        raise ConfigError(
            f"{request.model} knows easy and hard objects: give --attributes FILE.jsonl of --data (python -m training "
            "annotate)"
        )


def _samples(
    request: DistillRequest, pipe: DetDiffusionPipeline, training: GeneratorConfig, device: torch.device
) -> Path:
    """The folder of latents and layouts that the student learns from."""
    out = request.out / "samples"
    if request.data is not None:
        dataset = open_dataset(request.data, split=request.split, reading=request.reading)
        attributes = None if request.attributes is None else read_attributes(request.attributes, dataset)
        with progress("latents", "image") as report:
            encode_dataset(dataset, attributes, pipe.vae, training, out, device, report)
        return out
    if not (out / SUMMARY).exists():
        out.mkdir(parents=True, exist_ok=True)
        detector = load_detector(BUNDLED, request.model, device=device)
        with progress("attributes", "chunk") as report:
            make_samples(request.config.samples, pipe.native_size[0], detector, pipe.vae, out, report)
    return out


def _kept(request: DistillRequest) -> dict[str, object]:
    """What stays with the run: a teacher of other weights is another run."""
    manifest = request.model / "manifest.json"
    return {
        **request.config.to_json(),
        "teacher": file_hash(manifest if manifest.is_file() else request.model / INDEX),
        "data": None if request.data is None else str(request.data.resolve()),
        "attributes": None if request.attributes is None else file_hash(request.attributes),
    }
