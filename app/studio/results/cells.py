"""Parts of the tables: bars, scores, colours of two sides."""

from collections.abc import Sequence

from markupsafe import Markup

from detdiffusion.layout import Attribute
from training.core.markup import joined

DASH = "–"

Tags = tuple[Attribute | None, Attribute | None]


def tag_html(attribute: Attribute) -> Markup:
    """What an object is asked to be, in its colour."""
    return Markup('<b class="tag {0}">{0}</b>').format(attribute)


def score_text(value: float | None) -> str:
    """A confidence, or a dash where there is none."""
    return DASH if value is None else f"{value:.2f}"


def side_kinds(tags: Tags) -> tuple[str, str]:
    """Of the marks of both sides in a chart: easy and hard where that is the difference."""
    a, b = tags
    return (str(a), str(b)) if a and b and a is not b else ("one", "two")


def bars_html(*bars: tuple[str, str, float | None], min_score: float) -> Markup:
    """Horizontal bars (kind, name, value) on a scale from 0 to 1, with the detector's limit as a line."""
    drawn = [(kind, name, value) for kind, name, value in bars if value is not None]
    if not drawn:
        return Markup("")
    text = ", ".join(f"{name} {value:.2f}" for _, name, value in drawn)
    inner = joined(Markup('<i class="{}" style="width:{:.1%}"></i>').format(kind, value) for kind, _, value in drawn)
    whole = Markup('<div class="bars" role="img" aria-label="{}">{}<u style="left:{:.1%}"></u></div>')
    return whole.format(text, inner, min_score)


def figures_html(numbers: Sequence[tuple[str, str]]) -> Markup:
    """Large numbers with their names below."""
    figure = Markup("<div><strong>{}</strong><small>{}</small></div>")
    return joined(figure.format(value, name) for name, value in numbers)
