"""Pieces of HTML that tabs share. What is put into a template is escaped there (`Markup.format`), never by hand."""

from markupsafe import Markup


def hint_html(text: str) -> Markup:
    """What will stand in a place, while nothing stands there."""
    return Markup('<p class="hint">{}</p>').format(text)


def flag(value: bool) -> str:
    """Of an attribute such as aria-pressed."""
    return "true" if value else "false"
