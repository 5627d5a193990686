"""GLIGEN's published folders, of the form of diffusers' StableDiffusionGLIGENPipeline -> models.

Their U-Net reads boxes with the phrases that name them. Nothing is trained: the phrase of a box is its class's name,
and the prompt names the classes (with a layout's caption before them). GLIGEN knows no list of classes, and here a
model has one: COCO-Stuff's, or that of a vocabulary.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from detdiffusion.core.arguments import share
from detdiffusion.errors import ConfigError
from detdiffusion.sampling_config import Recommended
from detdiffusion.text.vocabulary import COCO_STUFF, COCO_THINGS, Vocabulary

if TYPE_CHECKING:
    from detdiffusion.diffusion.pipeline import DetDiffusionPipeline

SAMPLING = Recommended(steps=50, guidance_scale=7.5)  # diffusers' own, for such folders


def add_gligen(parser: argparse.ArgumentParser) -> None:
    """The option of GLIGEN's folders."""
    parser.add_argument(
        "--gligen-beta",
        type=share,
        metavar="B",
        help="for GLIGEN's folders: the first part of the steps, in which boxes are seen (default 0.3)",
    )


def gligen_vocabulary(folder: Path, fills: Mapping[str, str], given: Vocabulary | None) -> Vocabulary:
    """The classes of `given` (None: COCO-Stuff's), without words for places and attributes: boxes say the first, and
    nobody has taught it the second. ConfigError: fills, which belong to GeoDiffusion."""
    if fills:
        raise ConfigError(f"{folder} is GLIGEN's: --fill is for GeoDiffusion's folders")
    if given is None:
        spoken = tuple(label.replace("-", " ") for label in (*COCO_THINGS, *COCO_STUFF))
        given = Vocabulary(COCO_THINGS, COCO_STUFF, spoken=spoken)
    return replace(given, location_format="", attribute_words=(), padding=True)


def gligen_pipeline(folder: Path, vocabulary: Vocabulary, beta: float | None) -> DetDiffusionPipeline:
    """A model of GLIGEN's folder, float32 on the CPU.

    Args:
        vocabulary: of `gligen_vocabulary`.
        beta: the part of the steps that see boxes; None: 0.3.

    Raises:
        CheckpointError: it is damaged, a pickle, or of another architecture; how they differ is said.
    """
    from detdiffusion.diffusion.stable_diffusion import pipeline_from_stable_diffusion

    pipe = pipeline_from_stable_diffusion(
        folder, vocabulary, blueprint_config=None, head_config=None, seed=0, grounded=True
    )
    pipe.register_to_config(sampling=SAMPLING.to_json())
    if beta is not None:
        pipe.register_to_config(gligen_scheduled_sampling_beta=beta)
    return pipe
