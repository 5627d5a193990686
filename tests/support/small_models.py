"""Model folders for tests: whole and tiny ones of random weights, as a training writes them, and a quick Papercut."""

import json
import os
import shutil
from pathlib import Path

import torch

from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.core.parts import ONLOOKERS
from detdiffusion.detectors.folder import Description, save_detector
from detdiffusion.detectors.ultralytics.library import contained
from detdiffusion.diffusion.checkpoint import save_pipeline
from detdiffusion.diffusion.manifest import Teacher, same_parts, share_part, weights_hash, write_manifest
from detdiffusion.diffusion.pipeline import load_pipeline
from detdiffusion.diffusion.untrained import new_pipeline
from detdiffusion.models.autoencoder import SmallAutoencoder
from detdiffusion.text.vocabulary import Vocabulary
from training.distillation.config import DistillConfig
from training.distillation.run import few_steps, few_steps_wanted


def write_small_model(folder: Path, words: Vocabulary) -> Path:
    """Draws 64 pixels of noise."""
    unet = {"sample_size": 8, "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}
    blocks = {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        autoencoder = SmallAutoencoder((8, 8, 8), (1, 1, 1), 4)
    pipeline = new_pipeline(
        words,
        unet_config={**unet, **blocks, "attention_head_dim": 2},
        text_config={"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        autoencoder=autoencoder,
        scheduler_config={"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
        blueprint_config={},
        head_config={"width": 8},
        seed=0,
    )
    save_pipeline(pipeline, folder)
    return folder


def write_small_student(folder: Path, teacher: Path) -> Path:
    """A student as `distill` writes it, of a U-Net that has learned something else."""
    pipe = load_pipeline(teacher)
    with torch.no_grad():
        pipe.unet.conv_out.bias.add_(1.0)
    config = DistillConfig(steps=2)
    pipe.scheduler = few_steps(pipe)
    learned_from = Teacher(teacher.name, weights_hash(teacher)).to_json()
    pipe.register_to_config(sampling=few_steps_wanted(config).to_json(), teacher=learned_from)
    save_pipeline(pipe, folder)
    return folder


def write_quick_model(folder: Path) -> Path:
    """The bundled model's weights, asked for two steps without guidance, as a student is: quick, whatever it draws."""
    return _bundled_as(folder, sampling={"steps": 2, "guidance_scale": 1.0, "fewest_steps": 2, "most_steps": 2})


def write_quick_pair(folder: Path) -> Path:
    """The student in `folder/fast`, of two steps and without a part of its own, and in `folder/full` its teacher: the
    bundled model, asked for four steps."""
    teacher = _bundled_as(folder / "full", sampling={"steps": 4, "guidance_scale": 2.0})
    learned_from = Teacher("full", weights_hash(teacher)).to_json()
    wanted = {"steps": 2, "guidance_scale": 1.0, "fewest_steps": 2, "most_steps": 2}
    student = _bundled_as(folder / "fast", sampling=wanted, teacher=learned_from)
    for part in (*same_parts(student, teacher), *ONLOOKERS):
        share_part(student, part, teacher)
    return student


def _bundled_as(folder: Path, **said: object) -> Path:
    """The bundled model under another name, whose model_index.json says something else."""
    shutil.copytree(BUNDLED_MODEL, folder, copy_function=os.link)
    index = json.loads((folder / "model_index.json").read_text())
    for name in ("model_index.json", "manifest.json"):
        (folder / name).unlink()  # links: the bundled ones stay
    (folder / "model_index.json").write_text(json.dumps({**index, **said}))
    write_manifest(folder)
    return folder


def add_small_detectors(model: Path, labels: tuple[str, ...], *names: str) -> None:
    """Untrained YOLO11n detectors of these names, inside a model folder."""
    with contained():
        from ultralytics.nn.tasks import DetectionModel

        network = DetectionModel("yolo11n.yaml", nc=len(labels), verbose=False)
    for name in names:
        about = Description(f"untrained {name}", "yolo11n.yaml", labels, 64, 0.5, "")
        save_detector(network, model / "detectors" / name, about)
    write_manifest(model)
