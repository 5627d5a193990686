"""Draws a student beside its teacher: unseen layouts, in groups of four rows: all things easy by the teacher and by the
student, all things hard by the teacher and by the student, each layout from one noise.

python -m docs.pictures.fast [--model DIR] [--fast DIR] [--layouts papercut:8@930000] [--out FILE] [--device NAME]
"""

import argparse
from pathlib import Path

from benchmarks.sharpness import generated, real_scenes
from detdiffusion.attributes import Strategy
from detdiffusion.core.arguments import add_device
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.core.devices import device_of
from detdiffusion.diffusion.pipeline import load_pipeline
from training.data.layout_sources import papercut_layouts
from training.evaluation.command import sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=BUNDLED_MODEL, metavar="DIR", help="the teacher")
    parser.add_argument("--fast", type=Path, default=BUNDLED_MODEL.with_name("papercut-fast"), metavar="DIR")
    parser.add_argument(
        "--layouts", type=papercut_layouts, default="papercut:8@930000", metavar="papercut:COUNT@FIRST_SEED"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/fast.webp"), help="image to write")
    add_device(parser)
    arguments = parser.parse_args()
    pipes = [load_pipeline(model, device=device_of(arguments.device)) for model in (arguments.model, arguments.fast)]
    scenes = real_scenes(pipes[0], arguments.layouts, 0.0)
    rows = [generated(pipe, scenes, strategy) for strategy in (Strategy.EASY, Strategy.HARD) for pipe in pipes]
    sheet(rows).save(arguments.out, quality=88, method=6)


if __name__ == "__main__":
    main()
