"""python -m training layouts: the layouts of a data set's images, by a filter, one JSON row each."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from detdiffusion.core.arguments import out_file
from detdiffusion.core.files import written_aside
from detdiffusion.errors import ConfigError
from training.core.cli import add_dry_run, check_there, nothing_is_missing
from training.data.datasets import Dataset, data_words, open_annotations, open_dataset
from training.data.filters import add_filter_arguments, filter_of
from training.data.request import add_data, add_reading_arguments, reading_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training layouts`."""
    either = parser.add_mutually_exclusive_group(required=True)
    add_data(either)
    either.add_argument(
        "--instances", type=Path, metavar="I.json", help="a COCO file of things alone: its images need not be there"
    )
    parser.add_argument(
        "--stuff", type=Path, metavar="S.json", help="with --instances: COCO file of stuff in the same images"
    )
    add_reading_arguments(parser)
    parser.add_argument("--out", type=out_file, required=True, metavar="FILE.jsonl", help="file to write")
    add_filter_arguments(parser)
    add_dry_run(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    dataset = request_of(arguments)
    print("\n".join(dataset.describe()), file=sys.stderr)
    if arguments.dry_run:
        return nothing_is_missing()
    write_layouts(dataset, arguments.out)
    print(f"{len(dataset)} layouts", file=sys.stderr)
    print(arguments.out)
    return 0


def request_of(arguments: argparse.Namespace) -> Dataset:
    """The data that are asked for, opened.

    Raises:
        ConfigError: what belongs to --data stands beside --instances, or the other way round.
        DataError: they cannot be read, or no image is left.
    """
    bounds, reading = filter_of(arguments), reading_of(arguments)
    if arguments.instances is None:
        if arguments.stuff is not None:
            raise ConfigError(
                "--stuff goes with --instances; --data finds stuff_SPLIT.json beside instances_SPLIT.json"
            )
        return open_dataset(arguments.data, filter=bounds, split=arguments.split, reading=reading)
    words = data_words(arguments.instances, arguments.split, reading)[2:]
    if words:
        raise ConfigError(f"{' '.join(words)} goes with --data; --instances reads one file, without its images")
    check_there(arguments.instances, arguments.stuff, what="file")
    return open_annotations(arguments.instances, arguments.stuff, bounds, strict=reading.strict)


def write_layouts(dataset: Dataset, out: Path) -> None:
    """Writes one JSON row an image: `image_id` as the data give it, then the layout in its public form."""
    with written_aside(out) as aside, aside.open("w", encoding="utf-8", newline="\n") as file:
        for image_id, layout in dataset.layouts():
            file.write(json.dumps({"image_id": image_id, **layout.to_json()}) + "\n")
