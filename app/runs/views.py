"""What the page shows of runs: heads, rows of a list, samples, logs, as HTML. Everything from a user is escaped."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from app.components.views import hint_html
from app.runs.jobs import State, Status


@dataclass(frozen=True, slots=True)
class RunHead:
    """Which run is shown and how far it is, counted in `unit`s."""

    status: Status | None = None
    unit: str = "step"

    def html(self) -> str:
        status = self.status
        if status is None:
            return hint_html("No run yet. Choose data and a preset, then press Start: curves and samples appear here.")
        facts = [f"{self.unit} {status.step:,} of {status.steps:,}"] if status.steps else []
        if status.seconds_left is not None:
            facts.append(f"{duration(status.seconds_left)} left")
        about = " · ".join(status.about.values())
        message = f'<p class="message">{escape(status.message)}</p>' if status.message else ""
        return (
            f'<div class="run {status.state}"><p class="facts"><strong>{escape(status.name)}</strong>'
            f'<b class="state">{status.state.capitalize()}</b><span>{" · ".join(facts)}</span>'
            f'<small>{escape(about)}</small></p><div class="meter"><i style="width:{share(status):.1%}"></i></div>'
            f"{message}</div>"
        )


def run_row(status: Status, *, chosen: bool) -> str:
    """One row of the list of runs."""
    name = escape(status.name)
    done = f" {share(status):.0%}" if status.state.alive and status.steps else ""
    return (
        f'<button type="button" class="{status.state}" data-name="{name}" aria-pressed="{_bool(chosen)}">'
        f"<i></i><span>{name}</span><small>{status.state}{done}</small></button>"
    )


def choice_html(name: str, text: str, *, chosen: bool) -> str:
    """One of some buttons, of which one is pressed."""
    return f'<button type="button" data-name="{escape(name)}" aria-pressed="{_bool(chosen)}">{escape(text)}</button>'


def sample_html(address: str, step: int) -> str:
    """A sample grid; `address` is a data address."""
    return (
        f'<figure><img src="{address}" alt="samples of step {step}"><figcaption>'
        "Same layouts and noise at every step. Rows: origin, all easy, all hard</figcaption></figure>"
    )


def _bool(value: bool) -> str:
    return "true" if value else "false"


def share(status: Status) -> float:
    """Of the run's steps, those that are done: 0 to 1."""
    return min(1.0, status.step / status.steps) if status.steps else float(status.state is State.FINISHED)


def duration(seconds: float) -> str:
    """As one would say it: 40 s, 12 min, 3 h 20 min, 2 d 5 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def log_html(lines: Sequence[str]) -> str:
    """The end of a run's log; the style keeps its last line in sight."""
    if not lines:
        return hint_html("The run's log stands here.")
    text = escape("\n".join(lines))
    return f'<div class="end"><pre>{text}</pre></div>'
