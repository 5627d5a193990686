"""Evaluations in the workspace -> what the page shows of them. No gradio here."""

from dataclasses import dataclass
from pathlib import Path

from app.components.html import hint_html
from app.engine.studio import Studio
from app.evaluation.form import PAGE, EvaluationOrder, make_evaluation
from app.runs import handlers as shared
from app.runs.handlers import RunScreen
from app.runs.jobs import Runs, State, Status
from app.runs.views import report_frame

NO_EVALUATION = "No evaluation yet. Choose a model and layouts, then press Start."
NO_PAGE = "The report appears here when the evaluation is finished."


@dataclass(frozen=True, slots=True)
class EvaluationScreen:
    """What the page shows. `page` is None where it has it already (`seen`)."""

    run: RunScreen
    page: str | None
    seen: str
    may_open: bool = False


def start(studio: Studio, runs: Runs, order: EvaluationOrder) -> str:
    """Starts an evaluation and returns its name.

    Raises:
        ConfigError: it cannot work, with the reason; nothing was written.
    """
    plan = make_evaluation(order, runs, studio.models.home)
    runs.start(plan.name, plan.commands, plan.about, online=False, status=plan.status)
    return plan.name


def look(runs: Runs, chosen: str, seen: str) -> EvaluationScreen:
    """The evaluations as they are now; `seen` names the report that the page holds."""
    run = shared.look(runs, chosen, NO_EVALUATION)
    if run.status is None:
        return EvaluationScreen(run, hint_html(NO_PAGE), "")
    page, now = _page(runs.folder(run.status.name) / PAGE, run.status, seen)
    return EvaluationScreen(run, page, now, may_open=run.status.state is State.FINISHED)


def _page(path: Path, status: Status, seen: str) -> tuple[str | None, str]:
    """The report as HTML (None: the page holds it), and what the page holds then."""
    if status.state is not State.FINISHED or not path.is_file():
        now = f"{status.name}/none"
        return (None if seen == now else hint_html(NO_PAGE)), now
    now = f"{status.name}/{path.stat().st_mtime_ns}"
    return (None if seen == now else report_frame(status.name, path.read_text(encoding="utf-8"))), now
