"""What the page tells a person: messages that pop up, errors turned into them, and options that events share."""

import logging
from typing import Any

import gradio as gr
from markupsafe import Markup

from detdiffusion.errors import Cancelled, DetDiffusionError, LayoutError

MAX_PROBLEMS = 5  # of a bad layout, named in one message
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
# Of a choice among many: Gradio drops a second one where the answer to the first is still on its way. (It can also put
# it off, but then forgets what was chosen.)
EACH_CHOICE: dict[str, Any] = {**QUIET, "trigger_mode": "multiple"}

# Of a gr.HTML: a click on one of its buttons with a data-name is an event `choose` with that name.
CHOOSE = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-name]");
  if (button) trigger("choose", { name: button.dataset.name });
});
"""

log = logging.getLogger(__name__)
Updates = dict[Any, Any]  # component -> its new value or gr.update(...); components that are not named stay as they are


def warn(title: str, problem: DetDiffusionError | str) -> None:
    """Shows what went wrong, at most MAX_PROBLEMS lines of it."""
    lines = problem.problems if isinstance(problem, LayoutError) else (str(problem),)
    more = [f"and {len(lines) - MAX_PROBLEMS} more"] if len(lines) > MAX_PROBLEMS else []
    gr.Warning(_message(title, *lines[:MAX_PROBLEMS], *more), title=title)


def say(title: str, text: str) -> None:
    """Shows a short note for four seconds."""
    gr.Info(_message(title, text), title=title, duration=4)


def _message(title: str, *lines: str) -> Markup:
    """Gradio shows messages as HTML, and their kind instead of their title."""
    return Markup("<br>").join([Markup("<b>{}</b>").format(title), *lines])


class Messages:
    """Turns errors into messages on the page, under a title; `comfort` says what is still as it was."""

    def __init__(self, title: str, comfort: str) -> None:
        self.title, self.comfort = title, comfort

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Cancelled):
            say("Cancelled", self.comfort)
        elif isinstance(error, DetDiffusionError):
            warn(self.title, error)
        elif isinstance(error, Exception):
            log.error("%s", self.title, exc_info=error)
            warn(self.title, f"{type(error).__name__}: {error}. {self.comfort}")
        return error is None or isinstance(error, Exception)


START = "Start"
