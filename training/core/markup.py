"""Elements of HTML and SVG, by markupsafe: whatever is not markup already is escaped."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape


def element(name: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """`<name attribute="value">children</name>`; without children `<name attribute="value"/>`.

    attributes: `class_` is `class`, `text_anchor` is `text-anchor`; None: left out. Children that are no Markup are
    text.

    >>> element("p", "a < b", class_="note")
    Markup('<p class="note">a &lt; b</p>')
    """
    given = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    head = name + "".join(f' {key}="{escape(short(value))}"' for key, value in given)
    return Markup(f"<{head}>{joined(children)}</{name}>") if children else Markup(f"<{head}/>")  # its parts are escaped


def joined(parts: Iterable[str]) -> Markup:
    """One after the other."""
    return Markup("").join(parts)


def short(value: str | float) -> str:
    """A number with two decimals at most: 12, 0.5, 33.33."""
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
