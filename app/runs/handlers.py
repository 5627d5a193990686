"""What every tab of runs asks of them: which one is shown, how far it is, stop, resume. No gradio here."""

from dataclasses import dataclass
from pathlib import Path

from app.components.html import hint_html
from app.engine.models import described
from app.runs.files import LOG, MODEL, log_tail
from app.runs.form import model_name
from app.runs.jobs import Runs, State, Status
from app.runs.views import RunHead, log_html, run_row
from detdiffusion.errors import ConfigError

NONE_YET = "None yet."
NOTHING = "nothing here yet: fill in the form and press Start"


@dataclass(frozen=True, slots=True)
class RunScreen:
    """What the page shows of runs, as HTML, and what may be pressed. `status` is of the run that is shown."""

    status: Status | None
    runs: str
    head: str
    log: str
    may_stop: bool = False
    stopping: bool = False
    may_resume: bool = False


def look(runs: Runs, chosen: str, empty: str) -> RunScreen:
    """The runs as they are now. `empty`: what stands there before the first one."""
    statuses = runs.statuses()
    status = find_status(statuses, chosen)
    listed = "".join(run_row(other, chosen=other is status) for other in statuses) or hint_html(NONE_YET)
    if status is None:
        return RunScreen(None, listed, hint_html(empty), log_html([]))
    return RunScreen(
        status,
        listed,
        RunHead(status).html(),
        log_html(log_tail(runs.folder(status.name) / LOG)),
        may_stop=status.state.alive,
        stopping=status.state is State.STOPPING,
        may_resume=status.resumable and status.state in (State.STOPPED, State.FAILED),
    )


def find_status(statuses: list[Status], chosen: str) -> Status | None:
    """The one of that name; without one, the first that lives, or the newest."""
    by_name = [status for status in statuses if status.name == chosen]
    alive = [status for status in statuses if status.state.alive]
    return next(iter((*by_name, *alive, *statuses)), None)


def settle(runs: Runs, chosen: str) -> str:
    """The choice as the name of the run that is shown: presses are about that one, whatever starts meanwhile."""
    status = find_status(runs.statuses(), chosen)
    return chosen if status is None else status.name


def current(runs: Runs, chosen: str, nothing: str = NOTHING) -> Status:
    """What a press is about: never another run than the one that was shown.

    Raises:
        ConfigError: it is there no more, or there is none at all (`nothing` says so).
    """
    if chosen:
        return runs.status(chosen)
    status = find_status(runs.statuses(), chosen)
    if status is None:
        raise ConfigError(nothing)
    return status


def stop(runs: Runs, chosen: str) -> str:
    """Returns what happens now. ConfigError if there is nothing to stop."""
    name = current(runs, chosen).name
    runs.stop(name)
    return f"{name} is stopping; Resume continues after its last finished images."


def resume(runs: Runs, chosen: str, nothing: str = NOTHING) -> None:
    """ConfigError if there is none (`nothing` says so), or it is running."""
    runs.resume(current(runs, chosen, nothing).name)


def models(home: Path, trainings: Runs) -> list[tuple[str, str]]:
    """Model folders as (name on the page with what it can do, path): the studio's home, those beside it, and what runs
    have made."""
    beside = sorted(path.parent for path in home.resolve().parent.glob("*/model_index.json"))
    made = [trainings.folder(status.name) / MODEL for status in trainings.statuses() if status.has_model]
    folders = dict.fromkeys([home.resolve(), *beside, *(path.resolve() for path in made)])
    return [(described(model_name(folder), folder), str(folder)) for folder in folders]
