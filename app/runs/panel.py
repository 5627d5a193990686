"""The widgets that the tabs of runs share, and the wiring between them: source of data, start, list, head, log, stop,
resume, and a clock that looks while the tab is open."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import gradio as gr

from app.components.clock import new_clock
from app.components.html import hint_html
from app.components.messages import CHOOSE, EACH_CHOICE, QUIET, START, Messages, Updates, say
from app.components.path_dialog import PathDialog, Wanted
from app.runs import trash
from app.runs.form import Source
from app.runs.handlers import NONE_YET, RunScreen, current
from app.runs.jobs import Runs
from app.runs.views import log_html
from detdiffusion.errors import ConfigError

FOLDER_LABEL = "Folder (COCO, YOLO or Pascal VOC)"
IMAGE_FOLDER = Wanted("Choose a folder of images and annotations")
MODEL_FOLDER = Wanted("Choose a model folder")
DETECTOR = Wanted("Choose a detector: its folder, or a .pt file", suffixes=(".pt",))


@dataclass(frozen=True, slots=True)
class PanelWords:
    """How a tab calls its runs."""

    one: str  # such as "run"
    heading: str  # above their list


class RunView(Protocol):
    """What a tab does in its own way. Its methods get the values of widgets in the order of `form` and `place`."""

    runs: Runs
    form: list[Any]  # as the form's dataclass has its fields
    place: list[Any]  # what a look depends on; the run that is chosen comes first
    shown: list[Any]  # what a look changes
    opens: list[Any]  # what also changes when the tab is opened
    turns: list[Any]  # what also changes when another run is chosen or started

    def look(self, chosen: Any, *place: Any) -> Updates:
        """The runs as they are now."""

    def opened(self, *values: Any) -> Updates:
        """The tab was opened: the run that is settled on, and what the form offers."""

    def choose(self, name: str, *place: Any) -> Updates:
        """A press on a run of the list; "": the one that is shown without one."""

    def name_of(self, chosen: Any) -> str:
        """Of the run that is chosen; "": none is."""

    def begin(self, *values: Any) -> Any:
        """Starts a run and returns it as the choice. DetDiffusionError if it cannot work."""

    def begun(self, chosen: Any, *values: Any, started: bool) -> Updates:
        """What is shown after a start, or after it was refused."""

    def stop(self, chosen: Any) -> str:
        """Stops the run and returns what happens now. DetDiffusionError if there is nothing to stop."""

    def resume(self, chosen: Any) -> None:
        """DetDiffusionError if there is nothing to resume."""


class RunPanel:
    """The shared widgets of one tab, each made where its card has its place.

    tab: the prefix of its element ids. uses: whether the studio works with something in a folder. paths: the page's.
    """

    def __init__(self, tab: str, words: PanelWords, uses: Callable[[Path], bool], paths: PathDialog) -> None:
        self.tab, self.words, self.uses, self.paths = tab, words, uses, paths

    # --- widgets ---

    def data(self, source: str, element: str, count: str, count_label: str, count_element: str) -> None:
        """Where the data come from: how many are drawn, or which folder."""
        self.source = gr.Radio(
            [one.value for one in Source],
            value=source,
            show_label=False,
            container=False,
            elem_id=element,
            elem_classes="choice run-source",
        )
        self.count = gr.Textbox(count, label=count_label, max_lines=1, elem_id=count_element)
        with self.paths.line():
            self.folder = gr.Textbox(label=FOLDER_LABEL, max_lines=1, visible=False, elem_id=f"{self.tab}-folder")
            self.paths.button(self.folder, IMAGE_FOLDER)

    def launch(self) -> None:
        """Name and start."""
        with gr.Row(elem_id=f"{self.tab}-launch", elem_classes="run-launch"):
            self.name = gr.Textbox(
                label="Name",
                show_label=False,
                container=False,
                placeholder="Name",
                max_lines=1,
                elem_id=f"{self.tab}-name",
                elem_classes="run-name",
            )
            self.start = gr.Button(
                START, size="sm", variant="primary", elem_id=f"{self.tab}-start", elem_classes="run-start"
            )

    def runs(self) -> None:
        """The list."""
        gr.HTML(f"<h3>{self.words.heading}</h3>", elem_classes="title")
        self.list = gr.HTML(
            hint_html(NONE_YET),
            js_on_load=CHOOSE,
            elem_id=f"{self.tab}-runs",
            elem_classes="run-list",
            apply_default_css=False,
        )

    def buttons(self) -> None:
        """Of the run that is shown."""
        self.resume = gr.Button("Resume", size="sm", visible=False, elem_id=f"{self.tab}-resume")
        self.stop = gr.Button("Stop", size="sm", visible=False, elem_id=f"{self.tab}-stop")
        with gr.Accordion("Manage", open=False, elem_id=f"{self.tab}-manage", elem_classes="menu manage") as self.menu:
            with gr.Row(elem_classes="manage-row"):
                self.new_name = gr.Textbox(
                    show_label=False,
                    label="New name",
                    container=False,
                    placeholder="New name",
                    max_lines=1,
                    elem_id=f"{self.tab}-new-name",
                )
                self.rename = gr.Button("Rename", size="sm", interactive=False, elem_id=f"{self.tab}-rename")
            with gr.Row(elem_classes="manage-row"):
                self.delete = gr.Button(
                    f"Delete this {self.words.one}", size="sm", interactive=False, elem_id=f"{self.tab}-delete"
                )
            with gr.Row(elem_classes="manage-row"):
                self.undo = gr.Button("Undo the last deletion", size="sm", elem_id=f"{self.tab}-undo")
                self.empty = gr.Button("Empty the trash", size="sm", elem_id=f"{self.tab}-empty")

    def headline(self, empty: str) -> None:
        """How far the run is. `empty`: what stands there before the first one."""
        self.head = gr.HTML(
            hint_html(empty), elem_id=f"{self.tab}-head", elem_classes="run-head", apply_default_css=False
        )

    def logbook(self) -> None:
        """The end of its log."""
        self.log = gr.HTML(log_html([]), elem_id=f"{self.tab}-log", elem_classes="run-log", apply_default_css=False)

    def states(self, chosen: Any) -> None:
        """What the tab remembers, and its clock."""
        self.chosen = gr.State(chosen)
        self.clock = new_clock()
        self.shown = [self.list, self.head, self.log, self.stop, self.resume, self.rename, self.delete]

    def show(self, screen: RunScreen) -> Updates:
        """What `shown` shows of it."""
        return {
            self.list: screen.runs,
            self.head: screen.head,
            self.log: screen.log,
            self.stop: gr.update(visible=screen.may_stop, value="Stop now" if screen.stopping else "Stop"),
            self.resume: gr.update(visible=screen.may_resume),
            **dict.fromkeys((self.rename, self.delete), gr.update(interactive=screen.status is not None)),
        }

    # --- wiring ---

    def wire(self, view: RunView, opened: gr.Tab) -> None:
        """`opened` is the view's tab."""
        quick: dict[str, Any] = {"queue": False, **QUIET}  # cannot show messages
        values, moved = [*view.form, *view.place], [*view.shown, self.chosen, *view.turns]
        opened.select(view.opened, values, [*view.shown, self.chosen, *view.opens], **quick)
        self.clock.tick(view.look, view.place, view.shown, **quick)
        self.list.choose(_on_choose(view), view.place, moved, queue=False, **EACH_CHOICE)
        self.stop.click(self._on_stop(view), view.place, view.shown, **QUIET)
        self.resume.click(self._on_resume(view), view.place, view.shown, **QUIET)
        self.source.change(self._on_source, self.source, [self.count, self.folder], **quick)
        managed = [*moved, self.new_name, self.menu]
        self.rename.click(self._on_rename(view), [self.new_name, *view.place], managed, **QUIET)
        self.new_name.submit(self._on_rename(view), [self.new_name, *view.place], managed, **QUIET)
        self.delete.click(self._on_delete(view), view.place, managed, **QUIET)
        self.undo.click(self._on_undo(view), view.place, managed, **QUIET)
        self.empty.click(self._on_empty(view), None, None, **QUIET)
        self.start.click(self._on_start(view), values, [*moved, self.start, self.name], **QUIET)

    def _on_stop(self, view: RunView) -> Callable[..., Updates]:
        def stopped(*place: Any) -> Updates:
            with Messages("Not stopped", f"The {self.words.one} continues."):
                say("Stopping", view.stop(place[0]))
            return view.look(*place)

        return stopped

    def _on_resume(self, view: RunView) -> Callable[..., Updates]:
        def resumed(*place: Any) -> Updates:
            with Messages("Not resumed", f"The files of the {self.words.one} are unchanged."):
                view.resume(place[0])
            return view.look(*place)

        return resumed

    def _free(self, view: RunView, chosen: Any) -> str:
        """The run that is shown. ConfigError where there is none, or the studio works with it."""
        name = current(view.runs, view.name_of(chosen)).name
        if self.uses(view.runs.folder(name)):
            raise ConfigError(f"the studio works with a model of {name}: press Back first")
        return name

    def _on_rename(self, view: RunView) -> Callable[..., Updates]:
        def renamed(wish: str, *place: Any) -> Updates:
            with Messages("Not renamed", f"The {self.words.one} is unchanged."):
                name = trash.rename(view.runs, self._free(view, place[0]), wish)
                return {**view.choose(name, *place), self.new_name: "", self.menu: gr.update(open=False)}
            return {self.list: gr.skip()}

        return renamed

    def _on_delete(self, view: RunView) -> Callable[..., Updates]:
        def deleted(*place: Any) -> Updates:
            with Messages("Not deleted", f"The {self.words.one} is unchanged."):
                name = self._free(view, place[0])
                trash.throw_away(view.runs, name)
                say("In the trash", f"{name}. Undo the last deletion, under Manage, brings it back.")
                return view.choose("", *place)
            return {self.list: gr.skip()}

        return deleted

    def _on_undo(self, view: RunView) -> Callable[..., Updates]:
        def undone(*place: Any) -> Updates:
            with Messages("Not brought back", "The trash is as it was."):
                name = trash.bring_back(view.runs)
                say("Brought back", name)
                return {**view.choose(name, *place), self.menu: gr.update(open=False)}
            return {self.list: gr.skip()}

        return undone

    def _on_empty(self, view: RunView) -> Callable[[], None]:
        def emptied() -> None:
            with Messages("Not emptied", "The trash is as it was."):
                gone = trash.empty(view.runs)
                say("Trash emptied", f"{gone} deleted for good." if gone else "There was nothing in it.")

        return emptied

    def _on_source(self, source: str) -> Updates:
        return {
            self.count: gr.update(visible=source == Source.PAPERCUT),
            self.folder: gr.update(visible=source == Source.FOLDER),
        }

    def _on_start(self, view: RunView) -> Callable[..., Iterator[Updates]]:
        chosen_at = len(view.form)

        def started(*values: Any) -> Iterator[Updates]:
            chosen, done = values[chosen_at], False
            yield {self.start: gr.update(interactive=False, value="Checking…")}
            with Messages("Not started", "Nothing was written."):
                chosen, done = view.begin(*values), True
                yield {self.chosen: chosen, self.name: ""}
            shown = view.begun(chosen, *values, started=done)
            yield {**shown, self.start: gr.update(interactive=True, value=START)}

        return started


def _on_choose(view: RunView) -> Callable[..., Updates]:
    def chosen(event: gr.EventData, *values: Any) -> Updates:
        return view.choose(str(event.name), *values)

    return chosen
