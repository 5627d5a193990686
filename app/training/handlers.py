"""What a run shall do -> its commands, checked before it starts; what it has written -> views. No gradio here."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from app.components.charts import Chart, Curve
from app.components.views import data_address, hint_html
from app.engine.studio import Studio
from app.runs.files import LOG, METRICS, MODEL, PROBE, Row, log_tail, read_rows, sample_files
from app.runs.jobs import Runs, State, Status
from app.runs.views import RunHead, choice_html, log_html, run_row, sample_html
from app.training.form import AS_PRESET, Order, check_disk, make_plan, rehearse
from detdiffusion.errors import ConfigError

LATEST = "latest"
SAMPLE_SIZE = (1200, 900)  # pixels; larger grids are shown smaller
LOSSES = ("total", "denoise", "mask", "dice")
NO_RUNS = "None yet."
NO_LOSS = "The curves begin with the first step."
NO_PROBE = "How many objects of fixed layouts the detector finds, asked for easy and for hard."
NO_SAMPLE = "The first samples appear here."


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is looked at: a run ("": the one that works, or the newest), and a step of its samples (None: the last)."""

    run: str = ""
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Screen:
    """Everything that the page shows of the runs, as HTML. `sample` is None where the page has it already (`seen`)."""

    runs: str
    head: str
    charts: str
    sample_steps: str
    sample: str | None
    seen: str
    log: str
    may_stop: bool = False
    stopping: bool = False
    may_resume: bool = False
    may_use: bool = False


def bases(studio: Studio, runs: Runs) -> list[tuple[str, str]]:
    """What a run may start from, as (name on the page, value); a folder or a hub id may be typed as well."""
    made = [(status.name, str(runs.folder(status.name) / MODEL)) for status in runs.statuses() if status.has_model]
    return [(AS_PRESET, AS_PRESET), (studio.models.home.name, str(studio.models.home)), *made]


def settle(runs: Runs, chosen: Chosen) -> Chosen:
    """The choice with the name of the run that is shown: presses are about that one, whatever starts meanwhile."""
    status = _find(runs.statuses(), chosen)
    return chosen if status is None or status.name == chosen.run else Chosen(status.name)


def start(studio: Studio, runs: Runs, order: Order) -> Chosen:
    """Starts a run that was found able to work.

    Raises:
        ConfigError: it is not, with the reason; nothing was written.
    """
    plan = make_plan(order, runs, studio.models.home)
    check_disk(runs.root, plan.bytes_needed)
    rehearse(plan, runs.environment(online=plan.online))
    runs.start(plan.name, plan.commands, plan.about, plan.online)
    return Chosen(plan.name)


def stop(runs: Runs, chosen: Chosen) -> str:
    """Returns what happens now. ConfigError if there is nothing to stop."""
    status = _current(runs, chosen)
    runs.stop(status.name)
    if status.state is State.STOPPING:
        return f"{status.name} is ended at once; Resume goes on from its last checkpoint."
    first = "writes a checkpoint and its model, and ends" if status.state is State.RUNNING else "ends"
    return f"{status.name} {first}; Resume goes on from there."


def resume(runs: Runs, chosen: Chosen) -> None:
    """ConfigError if there is no run, or it is running."""
    runs.resume(_current(runs, chosen).name)


def use_model(studio: Studio, runs: Runs, chosen: Chosen) -> str:
    """Lets the studio work with a run's model; returns what it works with now.

    Raises:
        ConfigError: the run has no model, or is just writing it.
        CheckpointError, DetectorError: the model cannot be loaded.
    """
    status = _current(runs, chosen)
    if status.state.alive or not status.has_model:
        raise ConfigError(f"{status.name} has no finished model: stop it first, or wait until it is finished")
    studio.models.exchange(runs.folder(status.name) / MODEL, status.name)
    return f"{status.name} draws the pictures now; {studio.model.detector.name} looks at them."


def choose_sample(runs: Runs, chosen: Chosen, name: str) -> Chosen:
    """A press on one of the sample steps."""
    return Chosen(_current(runs, chosen).name, None if name == LATEST else int(name))


def look(runs: Runs, chosen: Chosen, seen: str) -> Screen:
    """The runs as they are now; `seen` names the sample grid that the page holds."""
    statuses = runs.statuses()
    status = _find(statuses, chosen)
    listed = "".join(run_row(other, chosen=other is status) for other in statuses) or hint_html(NO_RUNS)
    if status is None:
        return Screen(listed, RunHead().html(), charts_html([], []), "", hint_html(NO_SAMPLE), "", log_html([]))
    folder = runs.folder(status.name)
    samples = sample_files(folder)
    sample, now = _sample(status.name, samples, chosen.step, seen)
    return Screen(
        listed,
        RunHead(status).html(),
        charts_html(read_rows(folder / METRICS), read_rows(folder / PROBE)),
        steps_html(list(samples), chosen.step),
        sample,
        now,
        log_html(log_tail(folder / LOG)),
        may_stop=status.state.alive,
        stopping=status.state is State.STOPPING,
        may_resume=status.state in (State.STOPPED, State.FAILED),
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
    return f'<div class="charts">{"".join(chart.html() for chart in charts)}</div>'


def steps_html(steps: list[int], chosen: int | None) -> str:
    """The steps of which there are samples, newest first."""
    latest = choice_html(LATEST, "Latest", chosen=chosen not in steps)
    others = (choice_html(str(step), f"{step:,}", chosen=step == chosen) for step in reversed(steps))
    return f'<div class="strip"><h3>Samples</h3>{latest if steps else ""}{"".join(others)}</div>'


def _points(rows: list[Row], name: str) -> tuple[tuple[float, float], ...]:
    return tuple((row["step"], row[name]) for row in rows if name in row)


def _sample(run: str, samples: dict[int, Path], wanted: int | None, seen: str) -> tuple[str | None, str]:
    """The sample grid as HTML (None: the page holds it, or it is being written), and what the page holds then."""
    step = wanted if wanted in samples else max(samples, default=None)
    if step is None:
        now = f"{run}/none"
        return (None if seen == now else hint_html(NO_SAMPLE)), now
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


def _current(runs: Runs, chosen: Chosen) -> Status:
    """What a press is about: never another run than the one that was shown. ConfigError if it is there no more."""
    if chosen.run:
        return runs.status(chosen.run)
    status = _find(runs.statuses(), chosen)
    if status is None:
        raise ConfigError("there is no run yet: start one")
    return status


def _find(statuses: list[Status], chosen: Chosen) -> Status | None:
    """The run of that name; without one, the first that lives, or the newest."""
    by_name = [status for status in statuses if status.name == chosen.run]
    alive = [status for status in statuses if status.state.alive]
    return next(iter((*by_name, *alive, *statuses)), None)
