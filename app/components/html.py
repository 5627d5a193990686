"""Pieces of HTML that tabs share. What is put into a template is escaped there (`Markup.format`), never by hand."""

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup


def hint_html(text: str) -> Markup:
    """What will stand in a place, while nothing stands there."""
    return Markup('<p class="hint">{}</p>').format(text)


def made_of(layout: Mapping[str, Any] | None, html: Markup) -> Markup:
    """A result with the layout that it is of (in its public JSON form): where the canvas shows another one, the page
    says so (`results/stale.js`)."""
    return html if layout is None else Markup('<div data-made-of="{}">{}</div>').format(json.dumps(layout), html)


def flag(value: bool) -> str:
    """Of an attribute such as aria-pressed."""
    return "true" if value else "false"
