"""Draws the sheet of a model card: unseen layouts, in groups of four rows: the real ordinary scene, the same layout
generated with all things easy, the real difficult scene, and its layout generated with all things hard. Both generated
images start from the same noise.

python -m docs.pictures.sheet [--model DIR] [--layouts papercut:32@900000] [--out FILE] [--device NAME]
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
    parser.add_argument("--model", type=Path, default=BUNDLED_MODEL, metavar="DIR", help="model folder")
    parser.add_argument(
        "--layouts", type=papercut_layouts, default="papercut:32@900000", metavar="papercut:COUNT@FIRST_SEED"
    )
    parser.add_argument("--out", type=Path, default=Path("assets/papercut-sheet.jpg"), help="image to write")
    add_device(parser)
    arguments = parser.parse_args()
    source = arguments.layouts
    pipe = load_pipeline(arguments.model, device=device_of(arguments.device))
    ordinary, difficult = (real_scenes(pipe, source, hard_share) for hard_share in (0.0, 1.0))
    easy, hard = generated(pipe, ordinary, Strategy.EASY), generated(pipe, difficult, Strategy.HARD)
    sheet([ordinary.images, easy, difficult.images, hard]).save(arguments.out, optimize=True, quality=88)


if __name__ == "__main__":
    main()
