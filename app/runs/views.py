"""What the page shows of runs: heads, rows of a list, samples, logs, as HTML. What is put into it is escaped."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from app.components.html import hint_html
from app.runs.jobs import State, Status

HEAD = Markup(
    '<div class="run {state}"><p class="facts"><strong>{name}</strong><b class="state">{title}</b><span>{facts}</span>'
    '<small>{about}</small></p><div class="meter"><i style="width:{share:.1%}"></i></div>{message}</div>'
)
MESSAGE = Markup('<p class="message">{}</p>')
ROW = Markup(
    '<button type="button" class="{state}" data-name="{name}" aria-pressed="{chosen}"><i></i><span>{name}</span>'
    "<small>{state}{done}</small></button>"
)
CHOICE = Markup('<button type="button" data-name="{name}" aria-pressed="{chosen}">{text}</button>')
SAMPLE = Markup(
    '<figure><img src="{address}" alt="samples of step {step}"><figcaption>'
    "Same layouts and noise at every step. Rows: origin, all easy, all hard</figcaption></figure>"
)
LOG = Markup('<div class="end" tabindex="0"><pre>{}</pre></div>')
STAGES = {
    "papercut": "drawing scenes",
    "attributes": "asking the detector",
    "latents": "encoding images",
    "looking": "asking the detector",
    "matching": "comparing",
    "scores": "counting",
    "layouts": "planning",
}
TABLE_ROW = Markup("<span>{}</span>")  # of a table: it stays in one line
COLUMNS = re.compile(r"\S {2,}\S.* {2,}\S|^\|.*\|")
BAR = re.compile(
    r"(?P<name>.+?):\s+(?P<share>\d+)%\|[^|]*\|\s*(?P<done>\S+)/(?P<total>\S+) \[[^<\]]*<(?P<left>[^,\]]+)"
)
COMMAND = re.compile(r"\$ python -m training (\w+)")
WORK = {
    "papercut": "Drawing scenes",
    "annotate": "Asking the detector which objects are easy and which are hard",
    "train": "Training",
    "diagnose": "Diagnosing the detector",
    "plan": "Planning layouts",
    "generate": "Generating images",
    "verify": "Checking the images",
    "evaluate": "Evaluating",
    "loop": "Working through the loop",
    "report": "Writing the report",
}
GOES_ON = "Resume continues where it stopped."  # what its command says is meant for a shell
FRAME = Markup('<iframe sandbox title="report of {name}" srcdoc="{page}"></iframe>')


@dataclass(frozen=True, slots=True)
class RunHead:
    """Which run is shown and how far it is."""

    status: Status

    def html(self) -> str:
        """Name, state, counts, time left, what was chosen, a meter, and why it ended."""
        status = self.status
        doing = f"{STAGES[status.stage]}: " if status.stage in STAGES else ""
        facts = [f"{doing}{status.unit} {status.step:,} of {status.steps:,}"] if status.steps else []
        if status.seconds_left is not None:
            facts.append(f"{duration(status.seconds_left)} left")
        stopped = status.state is State.STOPPED and status.resumable
        message = GOES_ON if stopped else readable(status.message)
        return HEAD.format(
            state=status.state,
            name=status.name,
            title=status.state.capitalize(),
            facts=" · ".join(facts),
            about=" · ".join(status.about.values()),
            share=share(status),
            message=MESSAGE.format(message) if message else "",
        )


def run_row(status: Status, *, chosen: bool) -> Markup:
    """One row of the list of runs."""
    done = f" {share(status):.0%}" if status.state.alive and status.steps else ""
    return ROW.format(state=status.state, name=status.name, chosen=_bool(chosen), done=done)


def choice_html(name: str, text: str, *, chosen: bool) -> Markup:
    """One of some buttons, of which one is pressed."""
    return CHOICE.format(name=name, text=text, chosen=_bool(chosen))


def sample_html(address: str, step: int) -> str:
    """A sample grid; `address` is a data address."""
    return SAMPLE.format(address=address, step=step)


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
    """The end of a run's log; the style keeps its last line in sight, and each row of a table in one line."""
    shown = (TABLE_ROW.format(line) if COLUMNS.search(line) else escape(line) for line in map(readable, lines))
    return LOG.format(Markup("\n").join(shown)) if lines else hint_html("The log of the run appears here.")


def readable(line: str) -> str:
    """A line of a log as a person reads it: a command by what it does, a progress bar in words."""
    if command := COMMAND.match(line):
        return f"{WORK.get(command[1], command[1])}:"
    if bar := BAR.match(line):
        left = "" if "?" in bar["left"] else f", {bar['left']} left"
        return f"{bar['name']}: {bar['share']} %, {bar['done']} of {bar['total']}{left}"
    return line


def report_frame(name: str, page: str) -> str:
    """A report in a frame of its own, which runs no scripts."""
    return FRAME.format(name=name, page=page)
