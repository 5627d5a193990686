"""The prompt below the canvas, and the layouts to choose from, as HTML."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from app.components.html import hint_html
from app.components.layout_svg import layout_svg
from app.engine.models import Model
from detdiffusion.errors import LayoutError
from detdiffusion.layout import Attribute, Layout
from detdiffusion.text.prompt import readable_prompt
from training.core.markup import joined

_TILE = Markup('<button type="button" data-name="{} {}">{}<span>{}</span></button>')
_NO_EXAMPLES = hint_html("This model brings no examples (layouts/*.json in its folder).")
_REMOVE = Markup('<button type="button" class="remove" aria-label="Delete {0}" data-name="remove {0}">×</button>')


def show_prompt(model: Model, value: Mapping[str, Any]) -> Markup:
    """The prompt of what is on the canvas as the model reads it, as HTML; in its place, what is still wrong. Above
    it, why tags change nothing, where they do not."""
    note = hint_html(model.why_no_tags) if model.why_no_tags else Markup("")
    if not value["objects"]:
        return note + hint_html("Draw a box to see the prompt.")
    try:
        prompt = readable_prompt(Layout.from_json(value), model.vocabulary)
    except LayoutError as error:
        return note + hint_html(str(error))
    return note + prompt_html(prompt, model.vocabulary.attributes_by_word)


def prompt_html(prompt: str, words: Mapping[str, Attribute]) -> Markup:
    """The prompt with its attribute words coloured as on the canvas."""
    if not words:
        return Markup('<p tabindex="0">{}</p>').format(prompt)
    either = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    parts = re.split(f"({either})", prompt)  # words stand at every other place
    coloured = Markup('<b class="{}">{}</b>')
    return Markup('<p tabindex="0">{}</p>').format(
        Markup("").join(coloured.format(words[part], part) if place % 2 else part for place, part in enumerate(parts))
    )


def shelf_html(examples: Mapping[str, Layout], own: Mapping[str, Layout], faults: Sequence[str] = ()) -> Markup:
    """Layouts to choose from: a tile each; own ones can be deleted. faults: of examples that are left out."""
    tile = Markup('<div class="tile">{}{}</div>')
    ours = joined(tile.format(_tile("own", name, layout), _REMOVE.format(name)) for name, layout in own.items())
    given = joined(tile.format(_tile("example", name, layout), "") for name, layout in examples.items())
    yours = Markup("<h3>Yours</h3><div class=tiles>{}</div>").format(ours) if own else ""
    shown = Markup("<h3>Examples</h3><div class=tiles>{}</div>").format(given) if examples else _NO_EXAMPLES
    return yours + shown + joined(hint_html(f"Left out: {fault}") for fault in faults)


def _tile(kind: str, name: str, layout: Layout) -> Markup:
    return _TILE.format(kind, name, layout_svg(layout), name)
