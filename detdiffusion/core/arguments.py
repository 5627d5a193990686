"""Types of arguments that several commands take: numbers within bounds, and lists of words."""

import argparse
import math
from pathlib import Path

from detdiffusion.sampling_config import MAX_SEED, MAX_STEPS, SAMPLERS

DEVICE = "cpu, cuda, cuda:1, ... (default: cuda if available)"


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


def add_device(parser: argparse.ArgumentParser, help: str = DEVICE) -> None:
    """`--device NAME`, for `detdiffusion.core.devices.device_of`."""
    parser.add_argument("--device", metavar="NAME", help=help)


def add_sampler(parser: argparse._ActionsContainer) -> None:
    """`--sampler`, of every command that draws."""
    parser.add_argument("--sampler", choices=list(SAMPLERS), default="", help="default: the model's own")


def add_old_name(parser: argparse.ArgumentParser, old: str, new: str) -> None:
    """`old` goes on to be taken for `new` (a flag of the parser), as version 0.1 had it; help does not show it."""
    flag = next(action for action in parser._actions if new in action.option_strings)
    kind = flag.type or str
    parser.add_argument(old, dest=flag.dest, type=kind, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
