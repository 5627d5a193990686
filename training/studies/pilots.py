"""python -m training pilots: which settings of the generator's training reach most in the same time.

Each pilot is a short training of equally many minutes of the processor, and every image that it draws is measured. The
same command goes on after a stop; more pilots and more ways of drawing can be added to a folder later.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detdiffusion.core.arguments import add_device, amount, out_folder, positive, sampler_steps
from detdiffusion.core.devices import check_device, device_of
from detdiffusion.core.files import claim, file_hash, read_json, write_sealed, write_text
from detdiffusion.core.settings import check_settings, keep_settings
from detdiffusion.errors import ConfigError, DataError
from detdiffusion.sampling_config import SamplingConfig
from training.core import typed_json
from training.core.cli import add_dry_run, check_there, nothing_is_missing
from training.core.settings import read_settings, with_fields
from training.core.status import STATUS, RunState, status_writer, tells
from training.data.filters import LayoutFilter
from training.data.layout_sources import PapercutLayouts, layout_spec, open_source
from training.data.papercut.classes import STUFF, THINGS
from training.generator.config import ADDED, TRAIN_PRESETS, GeneratorConfig, Stage
from training.studies.pilot_table import PILOTS, Pace, PilotRow, PilotTable

if TYPE_CHECKING:
    import torch

    from training.autoencoder.loading import Autoencoder
    from training.generator.batch import SampleStore

TABLE, PAGE = "pilots.json", "pilots.md"
PRESET = "papercut-cpu"  # of a pilot that names none
UNTIMED, TIMED = 2, 8  # first steps, which warm up, and those whose time is taken


@dataclass(frozen=True, slots=True)
class Pilot:
    """One training. changes: as the file has them; samples: folder of `bundle --until attributes`."""

    name: str
    changes: Mapping[str, Any]
    samples: Path
    config: GeneratorConfig


@dataclass(frozen=True, slots=True)
class PilotPlan:
    """What all pilots share. causes: folder of a classifier of causes, or None."""

    minutes: float
    layouts: PapercutLayouts
    ways: tuple[SamplingConfig, ...]
    causes: Path | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training pilots`."""
    parser.add_argument(
        "--samples", type=Path, required=True, metavar="RUN", help="folder of `bundle --until attributes`"
    )
    parser.add_argument(
        "--pilots",
        type=Path,
        required=True,
        metavar="FILE",
        help='JSON or YAML: {"NAME": {field of GeneratorConfig: value}}; "preset" and "samples" may stand among them '
        f"(default {PRESET}, and --samples)",
    )
    parser.add_argument(
        "--minutes", type=_minutes, required=True, metavar="M", help="of the processor, that each of them learns"
    )
    parser.add_argument(
        "--layouts",
        type=layout_spec,
        default="papercut:64@900000",
        metavar="papercut:COUNT@FIRST_SEED",
        help="scenes that every pilot draws (default papercut:64@900000)",
    )
    parser.add_argument(
        "--sampling",
        type=ways_of,
        default=(SamplingConfig(0),),
        metavar="SAMPLER:STEPS:GUIDANCE,...",
        help="ways of drawing; an empty sampler is the model's own (default: 20 steps, the default guidance)",
    )
    parser.add_argument("--causes", type=Path, metavar="DIR", help="classifier of causes that looks at hard things")
    parser.add_argument(
        "--out", type=out_folder, required=True, metavar="DIR", help=f"DIR/{TABLE} and DIR/{PAGE} are written"
    )
    add_device(parser)
    parser.add_argument(
        "--most", type=positive, metavar="N", help="train at most N pilots now; the same command resumes"
    )
    add_dry_run(parser)


@tells(lambda arguments: arguments.out / STATUS, shared=True)
def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    check_device(arguments.device)
    source = open_source(arguments.layouts, LayoutFilter())
    if not isinstance(source, PapercutLayouts):
        raise ConfigError("--layouts needs papercut:COUNT@FIRST_SEED")
    plan = PilotPlan(arguments.minutes, source, arguments.sampling, arguments.causes)
    pilots, out = read_pilots(arguments.pilots, arguments.samples), arguments.out
    check_there(arguments.causes, *(pilot.samples for pilot in pilots), what="folder")
    for samples in {pilot.samples for pilot in pilots}:
        stages = (Stage.DETECTOR, Stage.HELD_OUT, Stage.AUTOENCODER)
        made = [samples / Stage.ATTRIBUTES, *(samples / stage / "model" for stage in stages)]
        check_there(*made, what="folder, which `bundle --until attributes` makes")
    check_settings(out / "config.json", _kept(plan))
    if arguments.dry_run:
        return nothing_is_missing()
    device = device_of(arguments.device)
    left = run_pilots(plan, pilots, out, device, most=arguments.most)
    table = tabulate(plan, pilots, out)
    write_text(out / TABLE, json.dumps(table.to_json(), indent=2, allow_nan=False) + "\n")
    write_text(out / PAGE, table.page())
    print(table.page())
    if left:
        said = f"pilots left: {left}; the same command goes on"
        status_writer().end(RunState.STOPPED, said)
        print(said, file=sys.stderr)
    print(out / TABLE)
    return 0


def read_pilots(path: Path, samples: Path) -> tuple[Pilot, ...]:
    """Of a file. samples: of those that name none.

    Raises:
        ConfigError: it cannot be read, there is no such preset or field, or a value is of another kind.
    """
    return tuple(_pilot(path, name, values, samples) for name, values in read_settings(path).items())


def _pilot(path: Path, name: str, values: Any, samples: Path) -> Pilot:
    if not isinstance(values, dict) or Path(name).name != name:
        raise ConfigError(f"{path}: {name} needs to be the name of a folder, with fields and their values under it")
    changes = dict(values)
    preset, samples = changes.pop("preset", PRESET), Path(changes.pop("samples", samples))
    if preset not in TRAIN_PRESETS:
        raise ConfigError(f"{path}: {name} names the preset {preset}; known: {', '.join(TRAIN_PRESETS)}")
    return Pilot(name, values, samples, with_fields(TRAIN_PRESETS[preset], changes, f"{path}: {name}: "))


def run_pilots(
    plan: PilotPlan, pilots: Sequence[Pilot], out: Path, device: torch.device, *, most: int | None = None
) -> int:
    """Trains what has not learned yet, and measures what has not been measured. Several processes share the work.

    Args:
        most: at most so many pilots.

    Returns:
        How many are left.

    Raises:
        ConfigError: `out`, or a pilot of the same name, was started with other settings.
    """
    keep_settings(out / "config.json", _kept(plan))
    waiting = [pilot for pilot in pilots if any(not _result(out, pilot, way).exists() for way in plan.ways)]
    for pilot in waiting[:most]:
        with claim(out / pilot.name / "claim") as mine:
            if mine:
                print(pilot.name, file=sys.stderr)
                _train(plan, pilot, out / pilot.name, device)
                for way in plan.ways:
                    _measure(plan, pilot, way, out, device)
    return len(waiting[most:]) if most is not None else 0


def _kept(plan: PilotPlan) -> dict[str, Any]:
    """What stays with the folder: of other pilots it may have more later."""
    return {"minutes": plan.minutes, "layouts": plan.layouts.spec}


def _result(out: Path, pilot: Pilot, way: SamplingConfig) -> Path:
    return out / pilot.name / slug(way) / "result.json"


def slug(way: SamplingConfig) -> str:
    """Of the folder of one way of drawing."""
    return f"{way.sampler or 'own'}-{way.steps}-{way.guidance_scale:g}"


def tabulate(plan: PilotPlan, pilots: Sequence[Pilot], out: Path) -> PilotTable:
    """The table of what is there."""
    paths = [_result(out, pilot, way) for pilot in pilots for way in plan.ways]
    rows = [_row(path) for path in paths if path.exists()]
    settings = {pilot.name: dict(pilot.changes) for pilot in pilots}
    return PilotTable(PILOTS, plan.minutes, plan.layouts.spec, tuple(rows), settings)


def _row(path: Path) -> PilotRow:
    remedy = "delete it, and the pilot is measured again"
    return read_json(path, lambda values: typed_json.from_json(PilotRow, values, str(path)), DataError, remedy)


def _measure(plan: PilotPlan, pilot: Pilot, way: SamplingConfig, out: Path, device: torch.device) -> None:
    """Writes the result, if it is not there."""
    from training.studies.pilot_scores import score_pilot

    result, folder = _result(out, pilot, way), out / pilot.name
    if result.exists():
        return
    detectors = [pilot.samples / stage / "model" for stage in (Stage.DETECTOR, Stage.HELD_OUT)]
    asked = (plan.layouts, way, plan.causes, result.parent / "evaluation", device)
    row = score_pilot(pilot.name, _pace(folder), folder / "model", detectors, *asked)
    write_sealed(result, typed_json.to_json(row))


# --- learning -------------------------------------------------------------------------------------


def _train(plan: PilotPlan, pilot: Pilot, folder: Path, device: torch.device) -> None:
    """`folder/model`, and `folder/pace.json`: a training that goes on has the steps that it began with."""
    from detdiffusion.diffusion.checkpoint import save_pipeline
    from training.autoencoder.loading import load_autoencoder
    from training.generator.batch import SampleStore
    from training.generator.bundle import learn

    if (folder / "model" / "manifest.json").exists():
        return
    autoencoder = load_autoencoder(pilot.samples / Stage.AUTOENCODER / "model")
    samples = pilot.samples / Stage.ATTRIBUTES
    store = SampleStore.load(samples)
    weights = sorted((pilot.samples / Stage.AUTOENCODER / "model").glob("*.safetensors"))
    about = {"autoencoder": [file_hash(path) for path in weights], "samples": len(store.layouts)}
    keep_settings(folder / "config.json", {"config": pilot.config.to_json(), **about}, added=ADDED)
    if not (folder / "pace.json").exists():
        seconds = seconds_a_step(pilot.config, autoencoder, store, device)
        steps = max(1, round(plan.minutes * 60 / seconds))
        write_sealed(folder / "pace.json", asdict(Pace(round(seconds, 4), steps, steps * pilot.config.batch)))
    steps = _pace(folder).steps
    config = replace(
        pilot.config,
        steps=steps,
        warmup_steps=min(pilot.config.warmup_steps, steps // 10),
        checkpoint_steps=min(pilot.config.checkpoint_steps, max(1, steps // 10)),
    )
    save_pipeline(learn(config, autoencoder, samples, folder, device), folder / "model")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # nobody goes back to them


def seconds_a_step(
    config: GeneratorConfig, autoencoder: Autoencoder, store: SampleStore, device: torch.device
) -> float:
    """The median of some steps of a model that is thrown away: seconds of the processor, added up over its threads, so
    that others who use it count for little; on an accelerator, of the clock."""
    from training.generator.model import small_model
    from training.generator.trainer import train_generator

    clock = time.process_time if device.type == "cpu" else time.perf_counter
    times: list[float] = []

    short = replace(config, steps=UNTIMED + TIMED, checkpoint_steps=UNTIMED + TIMED)
    with tempfile.TemporaryDirectory() as folder:
        pipe = small_model(config, THINGS, STUFF, autoencoder)
        train_generator(pipe, store, short, Path(folder), device, lambda *_: times.append(clock()))
    return float(np.median(np.diff(times[UNTIMED - 1 :])))


def _pace(folder: Path) -> Pace:
    return read_json(folder / "pace.json", lambda values: typed_json.from_json(Pace, values, "a pace"), DataError)


# --- arguments ------------------------------------------------------------------------------------


def ways_of(text: str) -> tuple[SamplingConfig, ...]:
    """ "dpm++:20:3,ddpm:40:1" -> ways of drawing."""
    return tuple(map(_way, text.split(",")))


def _way(text: str) -> SamplingConfig:
    try:
        sampler, steps, guidance = text.split(":")
        return SamplingConfig(0, sampler_steps(steps), amount(guidance), sampler=sampler)
    except (ValueError, ConfigError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} needs the form SAMPLER:STEPS:GUIDANCE, as ddpm:40:1 ({error})"
        ) from error


def _minutes(text: str) -> float:
    value = amount(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value
