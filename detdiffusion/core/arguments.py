"""Types of arguments that several commands take: numbers within bounds, and lists of words."""

import argparse
import math
import os
from pathlib import Path

from detdiffusion.sampling_config import MAX_DETECTOR_GUIDANCE, MAX_SEED, MAX_STEPS, SAMPLERS

DEVICE = "cpu, cuda, cuda:1, ... (default: cuda if available)"
DRAWING_DEVICE = "cpu, openvino (quicker on most CPUs), cuda, cuda:1, ... (default: cuda if available)"


def amount(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return value


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = amount(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def fraction(text: str) -> float:
    """A number above 0 and up to 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} needs to be above 0 and at most 1")
    return value


def natural(text: str) -> int:
    """A whole number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 0 or more")
    return int(text)


def positive(text: str) -> int:
    """A whole number of 1 or more."""
    value = natural(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def sampler_steps(text: str) -> int:
    """Steps of a sampler."""
    if not text.isdecimal() or not 1 <= int(text) <= MAX_STEPS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of steps from 1 to {MAX_STEPS}")
    return int(text)


def words(text: str) -> list[str]:
    """ "a,b" -> ["a", "b"]; none is empty."""
    if not all(text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} needs to be a list without gaps")
    return text.split(",")


def paths(text: str) -> list[Path]:
    """ "a,b" -> paths; none is empty."""
    return [Path(word) for word in words(text)]


def seed_number(text: str) -> int:
    """The seed of an image's noise."""
    if not text.strip().isdecimal() or int(text) > MAX_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed: a whole number from 0 to {MAX_SEED}")
    return int(text)


def seed_list(text: str) -> list[int]:
    """ "0:20" (the end is left out) or "3,8,11" -> seeds."""
    first, colon, end = text.partition(":")
    seeds = (
        list(range(seed_number(first), seed_number(end))) if colon else [seed_number(part) for part in text.split(",")]
    )
    if not seeds or len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"{text!r} needs to name at least one seed, each once, such as 0:20 or 3,8")
    return seeds


def out_folder(text: str) -> Path:
    """`--out` of a command that writes a folder: refused at once where that cannot be done."""
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a file, and a folder is needed: name another one")
    _check_above(path)
    return path


def out_file(text: str) -> Path:
    """`--out` of a command that writes one file: refused at once where that cannot be done."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder, and a file is needed: name the file to write")
    _check_above(path)
    return path


def _check_above(path: Path) -> None:
    """What is there of the path is a folder in which one may write."""
    there = next(part for part in (path.absolute(), *path.absolute().parents) if part.exists())
    folder = there.parent if there == path.absolute() and there.is_file() else there
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{folder} is a file, so nothing can be written below it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"there is no permission to write in {folder}")


def add_device(parser: argparse.ArgumentParser, help: str = DEVICE) -> None:
    """`--device NAME`, for `detdiffusion.core.devices.device_of`."""
    parser.add_argument("--device", metavar="NAME", help=help)


def add_sampler(parser: argparse._ActionsContainer) -> None:
    """`--sampler` alone."""
    parser.add_argument("--sampler", choices=list(SAMPLERS), default="", help="default: the model's own")


def add_sampling(parser: argparse._ActionsContainer) -> None:
    """`--steps`, `--sampler` and `--guidance`, of every command that draws, None where each model's own is meant;
    updates of a training are `--updates`."""
    parser.add_argument(
        "--steps",
        type=sampler_steps,
        metavar="N",
        help=f"sampler steps, 1 to {MAX_STEPS} (default: the model's own)",
    )
    add_sampler(parser)
    parser.add_argument(
        "--guidance",
        type=amount,
        metavar="G",
        help="classifier-free guidance scale; 1 is none, and takes half the time (default: the model's own)",
    )


def led_strength(text: str) -> float:
    """The strength of detector guidance."""
    value = amount(text)
    if not 0 <= value <= MAX_DETECTOR_GUIDANCE:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and {MAX_DETECTOR_GUIDANCE:g}; 1 is usual")
    return value


def add_detector_guidance(parser: argparse._ActionsContainer) -> None:
    """`--detector-guidance`, of commands whose detector may guide what is drawn."""
    parser.add_argument(
        "--detector-guidance",
        type=led_strength,
        default=0.0,
        metavar="D",
        help="lead easy objects to be found by the detector, and hard ones to be missed, by its gradient, for any "
        "model; 1 is usual, 0 (the default) is none, and others take about twice the time",
    )


def add_fix_boxes(parser: argparse._ActionsContainer) -> None:
    """`--fix-boxes`, of the same commands."""
    parser.add_argument(
        "--fix-boxes",
        action="store_true",
        help="draw objects again that the detector does not find in their place, and wash out what nobody asked for, "
        "in up to 2.7 times the time",
    )


def add_gligen_beta(parser: argparse._ActionsContainer) -> None:
    """`--gligen-beta`, of commands that draw, in place of what a GLIGEN model's folder says."""
    parser.add_argument(
        "--gligen-beta",
        type=share,
        metavar="B",
        help="for GLIGEN's models: the first part of the steps, in which boxes are seen (default: the model's own)",
    )


def add_batch(parser: argparse._ActionsContainer, default: int) -> None:
    """`--batch`, of every command that draws or looks at many images."""
    parser.add_argument(
        "--batch", type=positive, default=default, metavar="N", help=f"images per batch (default {default})"
    )


def add_old_name(parser: argparse._ActionsContainer, old: str, new: str) -> None:
    """`old` goes on to be taken for `new` (a flag of the parser), as version 0.1 had it; help does not show it."""
    parser._option_string_actions[old] = parser._option_string_actions[new]
