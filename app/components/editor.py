"""The canvas on which layouts are drawn: a `gr.HTML` component.

It needs no build step and no network. Its style is `editor.css`, which the page loads whole.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import gradio as gr
from gradio import component_meta
from gradio.data_classes import GradioModel
from pydantic import Field

from detdiffusion.layout import MAX_CAPTION, MAX_OBJECTS

# Gradio writes a stub beside the source of every component, which type checkers would then read in its place.
component_meta.create_or_modify_pyi = lambda *_: None

# The canvas: one function body, in this order.
_SCRIPTS = ("state", "actions", "view", "drawing", "search", "list", "pointer", "keys", "files")
_KEYS = (
    ("Drag, or N then drag", "draw a box"),
    ("N then Enter", "a box in the middle"),
    ("1 / 2 / 3", "easy / hard / background"),
    ("Shift 1 / 2", "all things easy / hard"),
    ("L, or double click", "search for a class"),
    ("[ / ], or click again", "next box, the box underneath"),
    ("Shift click, Shift drag", "select more"),
    ("Ctrl A", "select all"),
    ("Arrows", "move (Shift: ten times as far)"),
    ("Ctrl Arrows", "grow, shrink"),
    ("Alt while dragging", "no snapping"),
    ("Page up / down", "forward, backward (Shift: to front, to back)"),
    ("B", "background box, full canvas"),
    ("Ctrl D, Ctrl C / X / V", "duplicate, copy, cut, paste"),
    ("Delete", "delete"),
    ("O", "list of objects: order, tags, exact places"),
    ("H / K", "hide / lock; with nothing selected: show / unlock all"),
    ("Ctrl Z / Ctrl Shift Z", "undo, redo"),
    ("Ctrl wheel, + / −", "zoom (wheel or Space drag: pan)"),
    ("0 / F", "fit everything / the selection"),
    ("Ctrl Enter", "generate"),
    ("C", "compare easy / hard"),
    ("M", "of a fast model: compare with the full one"),
    ("Shift X", "cancel"),
)
_ICONS = {
    "draw": "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5M12 9v6M9 12h6",
    "select": "M4 7V4h3M10 4h4M17 4h3v3M20 10v3M4 10v4M4 17v3h3M10 20h3M13 13l7 3-3 1-1 3z",
    "fill": "M4 5h16v14H4zM4 15l5-5 5 5 2-2 4 4",
    "undo": "M9 7L4 12l5 5M4 12h10a6 6 0 0 1 6 6",
    "redo": "M15 7l5 5-5 5M20 12H10a6 6 0 0 0-6 6",
    "duplicate": "M9 9h11v11H9zM5 15H4V4h11v1",
    "forward": "M4 10h10v10H4zM14 14h6V4H10v6M12 7l2-2",
    "backward": "M10 14h10V4H10zM10 10H4v10h10v-6",
    "hide": "M3 12s3.5-6 9-6 9 6 9 6-3.5 6-9 6-9-6-9-6zM12 9.5a2.5 2.5 0 1 0 .01 0M4 4l16 16",
    "lock": "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
    "delete": "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
    "list": "M4 6h2M10 6h10M4 12h2M10 12h10M4 18h2M10 18h10",
    "save": "M12 4v11M7 11l5 5 5-5M5 20h14",
    "help": "M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 18v.01",
}
_TITLES = {
    "draw": "Draw a box, also on top of others (N)",
    "select": "Select with a rectangle (V, or Shift+drag)",
    "fill": "Background box, full canvas (B)",
    "undo": "Undo (Ctrl+Z)",
    "redo": "Redo (Ctrl+Shift+Z)",
    "duplicate": "Duplicate (Ctrl+D)",
    "forward": "Bring forward (Page up)",
    "backward": "Send backward (Page down)",
    "hide": "Hide, or show all (H)",
    "lock": "Lock, or unlock all (K)",
    "delete": "Delete (Delete)",
    "list": "List of objects (O)",
    "save": "Save the layout as JSON",
    "help": "Keyboard shortcuts (?)",
}
_RAIL = (
    ("draw", "select", "fill"),
    ("undo", "redo"),
    ("duplicate", "forward", "backward"),
    ("hide", "lock", "list", "delete"),
    ("save", "help"),
)


class LayoutObject(GradioModel):  # type: ignore[misc]  # Gradio is Any to mypy
    """One object of the public JSON form."""

    label: str
    box: list[float]
    attribute: Literal["easy", "hard", "background"] | None = None
    difficulty: float | None = None


class LayoutValue(GradioModel):  # type: ignore[misc]  # Gradio is Any to mypy
    """The public JSON form of a layout; unlike `Layout` it may be empty, as a canvas may."""

    width: int = 256
    height: int = 256
    objects: list[LayoutObject] = Field(default_factory=list)
    caption: str = ""
    world: str = ""  # whose canvas it is for; empty: the present one's


class LayoutEditor(gr.HTML):  # type: ignore[misc]  # Gradio is Any to mypy
    """The canvas. `commit` fires after each edit; keys also press the page's `#generate`, `#compare`,
    `#full-model` and `#cancel`, and a file dropped on it goes the way of the upload button of `#layout-card`."""

    data_model = LayoutValue

    def __init__(
        self,
        things: Sequence[str],
        stuff: Sequence[str],
        *,
        sizes: Sequence[tuple[str, int, int]],
        multiple: int,
        world: str = "",
        untagged: str = "",
        captions: bool = False,
        backdrop: str = "",
        **options: Any,
    ) -> None:
        """`sizes`: name, width and height for the menu; `multiple`: sides need to be one of it; `world`: names the set
        of classes, each of which has a layout and an undo of its own; `untagged`: why objects cannot be tagged, empty
        where they can; `captions`: whether the scene may be said in words; `backdrop`: address of a picture behind the
        boxes."""
        super().__init__(
            value=LayoutValue(),
            things=list(things),
            stuff=list(stuff),
            sizes=[list(size) for size in sizes],
            multiple=multiple,
            world=world,
            untagged=untagged,
            captions=captions,
            backdrop=backdrop,
            limit=MAX_OBJECTS,
            html_template=_editor_html(),
            js_on_load="\n".join(
                Path(__file__).with_name("canvas").joinpath(f"{name}.js").read_text(encoding="utf-8")
                for name in _SCRIPTS
            ),
            apply_default_css=False,
            **options,
        )

    def get_config(self) -> dict[str, Any]:
        """What a page gets of it. Gradio looks for each argument as an attribute, and takes a word of the script for an
        event, with all that hangs on it: the model would be copied for every page."""
        return {name: value for name, value in super().get_config().items() if not callable(value)}

    def preprocess(self, payload: LayoutValue | None) -> dict[str, Any]:
        """What a handler gets: a layout as JSON has it."""
        value: dict[str, Any] = (payload or LayoutValue()).model_dump(exclude={"world"})
        if not value["caption"]:
            del value["caption"]
        for item in value["objects"]:
            if item["difficulty"] is None:
                del item["difficulty"]
        return value

    def postprocess(self, value: LayoutValue | Mapping[str, Any] | None) -> LayoutValue:
        """What the page gets, of a layout as JSON has it."""
        return value if isinstance(value, LayoutValue) else LayoutValue(**(value or {}))

    def api_info(self) -> dict[str, Any]:
        """JSON schema of a layout, for callers over HTTP."""
        schema: dict[str, Any] = LayoutValue.model_json_schema()
        item = schema.pop("$defs")["LayoutObject"]  # clients do not follow references: stand it in its place
        schema["properties"]["objects"]["items"] = item
        return schema


def _button(action: str) -> str:
    title = _TITLES[action]
    return (
        f'<button type="button" data-action="{action}" title="{title}" aria-label="{title}">'
        f'<svg viewBox="0 0 24 24" aria-hidden="true"><path d="{_ICONS[action]}"/></svg></button>'
    )


def _editor_html() -> str:
    rail = "<hr>".join("".join(_button(action) for action in group) for group in _RAIL)
    tags = "".join(
        f'<button type="button" class="{name}" data-tag="{name}"><i></i>{name.capitalize()}<kbd>{number}</kbd></button>'
        for number, name in enumerate(("easy", "hard", "background"), start=1)
    )
    everything = "".join(
        f'<button type="button" class="{name}" data-tag-all="{name}" title="Tag all things {name} (Shift+{number})">'
        f"All {name}</button>"
        for number, name in enumerate(("easy", "hard"), start=1)
    )
    keys = "".join(f"<div><dt>{key}</dt><dd>{what}</dd></div>" for key, what in _KEYS)
    return f"""
<div class="editor">
  <div class="rail" role="toolbar" aria-label="Drawing" aria-orientation="vertical">{rail}</div>
  <div class="canvas">
    <svg tabindex="0" role="application" aria-label="Layout canvas" aria-describedby="canvas-state"></svg>
    <p class="empty" hidden>Drag to draw a box<small>or choose an example, or drop an image here</small></p>
    <div class="popup" hidden>
      <input type="text" placeholder="Class…" aria-label="Box class" role="combobox" aria-expanded="true"
        aria-controls="class-matches" autocomplete="off" spellcheck="false">
      <ul role="listbox" id="class-matches"></ul><p hidden>No such class: press Backspace, or Escape</p>
    </div>
    <div class="corner">
      <button type="button" class="size" data-action="size" title="Size of the canvas"></button>
      <button type="button" class="zoom" data-action="whole" title="Fit to view (0)"></button>
    </div>
    <div class="sizes" hidden>
      <ul></ul>
      <p><input type="number" aria-label="Width"> × <input type="number" aria-label="Height"><small>Enter</small></p>
    </div>
    <span class="state" id="canvas-state"></span>
    <span class="spoken" aria-live="polite"></span>
    <section class="list" aria-label="Objects" hidden>
      <button type="button" class="close" data-action="list" aria-label="Close the list">×</button>
      <h3>Objects, the frontmost first <small>left, top, width and height in pixels</small></h3>
      <p class="hint">No object yet: drag on the canvas to draw one.</p><ol></ol></section>
    <div class="help" hidden><button type="button" class="close" data-action="help" aria-label="Close">×</button>
      <h3>Keyboard shortcuts</h3><dl>{keys}</dl></div>
  </div>
  <div class="tags" role="toolbar" aria-label="Tag">
    <button type="button" class="class" data-action="class" title="Search for a class (L)">
      <span class="class-name"></span><kbd>L</kbd></button>
    <div class="choice">{tags}</div>
    <label class="difficulty" hidden>Difficulty
      <input type="range" min="0" max="1" step="0.05" aria-label="Difficulty of the selected boxes"
        title="From easy, 0, to hard, 1; a tag takes the number away"><output></output></label>
  </div>
  <div class="classes" role="toolbar" aria-label="Classes">
    <div class="palette"></div><div class="all">{everything}</div></div>
  <input class="caption" type="text" maxlength="{MAX_CAPTION}" aria-label="Caption of the scene" autocomplete="off"
    placeholder="Describe the scene, such as: a harbour at dusk" hidden>
</div>
"""
