"""What a run shall do -> its commands, checked before it starts; what it has written -> views. No gradio here."""

from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from PIL import Image

from app.components.charts import Chart, Curve
from app.components.html import hint_html
from app.components.images import data_address
from app.engine.models import described
from app.engine.studio import Studio
from app.runs import handlers as shared
from app.runs.files import METRICS, MODEL, PROBE, Row, read_rows, sample_files
from app.runs.handlers import RunScreen
from app.runs.jobs import Runs, State
from app.runs.views import choice_html, sample_html
from app.training.form import AS_PRESET, Order, check_disk, make_plan, rehearse
from detdiffusion.errors import ConfigError

LATEST = "latest"
SAMPLE_SIZE = (1200, 900)  # pixels; larger grids are shown smaller
LOSSES = ("total", "denoise", "mask", "dice")
NO_RUN = "there is no run yet: fill in the form and press Start"
NOTHING_SHOWN = "No run yet. Choose data and a preset, then press Start: curves and samples appear here."
NO_LOSS = "The curves begin with the first step."
NO_PROBE = "Objects that the detector finds in fixed layouts, asked for as easy and as hard."
NO_SAMPLE = "The first samples appear here."
NO_SAMPLES_MADE = "This run ended before its first samples."


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is looked at: a run ("": the one that works, or the newest), and a step of its samples (None: the last)."""

    run: str = ""
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Screen:
    """Everything that the page shows of the runs. `sample` is None where the page has it already (`seen`)."""

    run: RunScreen
    charts: str
    sample_steps: str
    sample: str | None
    seen: str
    may_use: bool = False


def bases(studio: Studio, runs: Runs) -> list[tuple[str, str]]:
    """What a run may start from, as (name on the page, value); a folder or a hub id may be typed as well."""
    home = studio.models.home
    made = [(status.name, runs.folder(status.name) / MODEL) for status in runs.statuses() if status.has_model]
    models = [(described(name, folder), str(folder)) for name, folder in ((home.name, home), *made)]
    return [(AS_PRESET, AS_PRESET), *models]


def settle(runs: Runs, chosen: Chosen) -> Chosen:
    """The choice with the name of the run that is shown: presses are about that one, whatever starts meanwhile."""
    name = shared.settle(runs, chosen.run)
    return chosen if name == chosen.run else Chosen(name)


def start(studio: Studio, runs: Runs, order: Order) -> Chosen:
    """Starts a run that was found able to work.

    Raises:
        ConfigError: it is not, with the reason; nothing was written.
    """
    plan = make_plan(order, runs, studio.models.home, studio.models.present.folder)
    check_disk(runs.root, plan.bytes_needed)
    rehearse(plan, runs.environment(online=plan.online))
    last = len(plan.status) - 1
    runs.start(plan.name, plan.commands, plan.about, plan.online, status=plan.status, counts=last)
    return Chosen(plan.name)


def stop(runs: Runs, chosen: Chosen) -> str:
    """Returns what happens now. ConfigError if there is nothing to stop."""
    status = shared.current(runs, chosen.run, NO_RUN)
    runs.stop(status.name)
    if status.state is State.STOPPING:
        return f"{status.name} is stopped at once; Resume continues from its last checkpoint."
    first = "writes a checkpoint and its model, then stops" if status.state is State.RUNNING else "stops"
    return f"{status.name} {first}; Resume continues from there."


def resume(runs: Runs, chosen: Chosen) -> None:
    """ConfigError if there is no run, or it is running."""
    shared.resume(runs, chosen.run, NO_RUN)


def use_model(studio: Studio, runs: Runs, chosen: Chosen) -> str:
    """Lets the studio work with a run's model; returns what it works with now.

    Raises:
        ConfigError: the run has no model, or is just writing it.
        CheckpointError, DetectorError: the model cannot be loaded.
    """
    status = shared.current(runs, chosen.run, NO_RUN)
    if status.state.alive or not status.has_model:
        raise ConfigError(f"{status.name} has no finished model: stop it first, or wait until it is finished")
    studio.models.exchange(runs.folder(status.name) / MODEL, status.name)
    return f"{status.name} generates the images now; {studio.model.detector.name} checks them."


def choose_sample(runs: Runs, chosen: Chosen, name: str) -> Chosen:
    """A press on one of the sample steps."""
    return Chosen(shared.current(runs, chosen.run, NO_RUN).name, None if name == LATEST else int(name))


def look(runs: Runs, chosen: Chosen, seen: str) -> Screen:
    """The runs as they are now; `seen` names the sample grid that the page holds."""
    run = shared.look(runs, chosen.run, NOTHING_SHOWN)
    status = run.status
    if status is None:
        return Screen(run, charts_html([], []), "", hint_html(NO_SAMPLE), "")
    folder = runs.folder(status.name)
    samples = sample_files(folder)
    none = NO_SAMPLE if status.state.alive else NO_SAMPLES_MADE
    sample, now = _sample(status.name, samples, chosen.step, seen, none)
    return Screen(
        run,
        charts_html(read_rows(folder / METRICS), read_rows(folder / PROBE)),
        steps_html(list(samples), chosen.step),
        sample,
        now,
        may_use=status.has_model and not status.state.alive,
    )


def charts_html(metrics: list[Row], probes: list[Row]) -> str:
    """The loss with its parts, and how much of fixed layouts the detector finds."""
    memory = min(25.0, max(1.0, len(metrics) / 8))
    parts = [(name, _points(metrics, name)) for name in LOSSES]
    # A model without a perception head has no mask and no dice loss: zeros tell nothing.
    loss = tuple(Curve(name, name, points, memory) for name, points in parts if any(value for _, value in points))
    found = tuple(Curve(tag, tag, _points(probes, f"recall_{tag}"), dots=True) for tag in ("easy", "hard"))
    charts = (Chart("Loss", loss, NO_LOSS), Chart("Found by the detector", found, NO_PROBE, ceiling=1.0))
    return Markup('<div class="charts">{}</div>').format(Markup("").join(chart.html() for chart in charts))


def steps_html(steps: list[int], chosen: int | None) -> str:
    """The steps of which there are samples, newest first."""
    latest = [choice_html(LATEST, "Latest", chosen=chosen not in steps)] if steps else []
    others = (choice_html(str(step), f"{step:,}", chosen=step == chosen) for step in reversed(steps))
    return Markup('<div class="strip"><h3>Samples</h3>{}</div>').format(Markup("").join([*latest, *others]))


def _points(rows: list[Row], name: str) -> tuple[tuple[float, float], ...]:
    return tuple((row["step"], row[name]) for row in rows if name in row)


def _sample(run: str, samples: dict[int, Path], wanted: int | None, seen: str, none: str) -> tuple[str | None, str]:
    """The sample grid as HTML (None: the page holds it, or it is being written), and what the page holds then. none:
    what stands there without any."""
    step = wanted if wanted in samples else max(samples, default=None)
    if step is None:
        now = f"{run}/{none}"
        return (None if seen == now else hint_html(none)), now
    try:
        now = f"{run}/{step}/{samples[step].stat().st_mtime_ns}"
        return (None if seen == now else sample_html(_small(samples[step]), step)), now
    except (OSError, SyntaxError):  # so Pillow calls a broken PNG
        return None, seen  # a picture that is cut off is looked at again


def _small(path: Path) -> str:
    with Image.open(path) as image:
        picture = image.convert("RGB")
    picture.thumbnail(SAMPLE_SIZE)
    return data_address(picture)
