"""Evaluations in the workspace -> what the page shows of them. No gradio here."""

from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from app.components.views import hint_html
from app.engine.studio import Studio
from app.evaluation.form import PAGE, PROGRESS, EvaluationOrder, make_evaluation, model_name
from app.runs.files import LOG, MODEL, log_tail, read_object
from app.runs.jobs import Runs, State, Status
from app.runs.views import RunHead, log_html, run_row
from detdiffusion.errors import ConfigError

NONE_YET = "None yet."
NO_EVALUATION = "No evaluation yet. Choose a model and layouts, then press Start: the report appears here."
NO_PAGE = "The report appears here when the evaluation is finished."


@dataclass(frozen=True, slots=True)
class EvaluationScreen:
    """What the page shows. `page` is None where it has it already (`seen`)."""

    runs: str
    head: str
    page: str | None
    seen: str
    log: str
    may_stop: bool = False
    stopping: bool = False
    may_resume: bool = False
    may_open: bool = False


def models(studio: Studio, trainings: Runs) -> list[tuple[str, str]]:
    """Model folders as (name on the page, path): the studio's home, those beside it, and what runs have made."""
    beside = sorted(path.parent for path in studio.models.home.resolve().parent.glob("*/model_index.json"))
    made = [trainings.folder(status.name) / MODEL for status in trainings.statuses() if status.has_model]
    folders = dict.fromkeys([studio.models.home.resolve(), *beside, *(path.resolve() for path in made)])
    return [(model_name(folder), str(folder)) for folder in folders]


def start(studio: Studio, runs: Runs, order: EvaluationOrder) -> str:
    """Starts an evaluation and returns its name.

    Raises:
        ConfigError: it cannot work, with the reason; nothing was written.
    """
    plan = make_evaluation(order, runs, studio.models.home)
    runs.start(plan.name, plan.commands, plan.about, online=False)
    return plan.name


def stop(runs: Runs, chosen: str) -> str:
    """Returns what happens now. ConfigError if there is nothing to stop."""
    name = current(runs, chosen)
    runs.stop(name)
    return f"{name} ends; Resume goes on from its last finished pictures."


def resume(runs: Runs, chosen: str) -> None:
    """ConfigError if there is none, or it is running."""
    runs.resume(current(runs, chosen))


def current(runs: Runs, chosen: str) -> str:
    """The name of the evaluation that is shown. ConfigError without any."""
    status = find_status(runs.statuses(), chosen)
    if status is None:
        raise ConfigError("there is nothing yet: start one")
    return status.name


def settle(runs: Runs, chosen: str) -> str:
    """The choice with the name of what is shown."""
    status = find_status(runs.statuses(), chosen)
    return chosen if status is None else status.name


def look(runs: Runs, chosen: str, seen: str) -> EvaluationScreen:
    """The evaluations as they are now; `seen` names the report that the page holds."""
    statuses = [_measured(status, runs.folder(status.name)) for status in runs.statuses()]
    status = find_status(statuses, chosen)
    listed = "".join(run_row(other, chosen=other is status) for other in statuses) or hint_html(NONE_YET)
    if status is None:
        return EvaluationScreen(listed, hint_html(NO_EVALUATION), hint_html(NO_PAGE), "", log_html([]))
    folder = runs.folder(status.name)
    page, now = _page(folder, status, seen)
    return EvaluationScreen(
        listed,
        RunHead(status, "picture").html(),
        page,
        now,
        log_html(log_tail(folder / LOG)),
        may_stop=status.state.alive,
        stopping=status.state is State.STOPPING,
        may_resume=status.state in (State.STOPPED, State.FAILED),
        may_open=status.state is State.FINISHED,
    )


def _measured(status: Status, folder: Path) -> Status:
    """With the pictures that are done and the time left, as the evaluation keeps them."""
    told = read_object(folder / PROGRESS) or {}
    done, of, left = (told.get(key) for key in ("pictures", "of", "seconds_left"))
    if not isinstance(done, int) or not isinstance(of, int):
        return status
    running = status.state is State.RUNNING and isinstance(left, int | float)
    return replace(status, step=done, steps=of, seconds_left=left if running else None)


def _page(folder: Path, status: Status, seen: str) -> tuple[str | None, str]:
    path = folder / PAGE
    if status.state is not State.FINISHED:
        now = f"{status.name}/none"
        return (None if seen == now else hint_html(NO_PAGE)), now
    now = f"{status.name}/{path.stat().st_mtime_ns}"
    if seen == now:
        return None, now
    return report_frame(status.name, path.read_text(encoding="utf-8")), now


def report_frame(name: str, page: str) -> str:
    """A report in a frame of its own, which runs no scripts."""
    return f'<iframe sandbox title="report of {escape(name, quote=True)}" srcdoc="{escape(page, quote=True)}"></iframe>'


def find_status(statuses: list[Status], chosen: str) -> Status | None:
    """The one of that name; without one, the first that lives, or the newest."""
    by_name = [status for status in statuses if status.name == chosen]
    alive = [status for status in statuses if status.state.alive]
    return next(iter((*by_name, *alive, *statuses)), None)
