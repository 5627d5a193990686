"""The objects of one picture, and what the detector made of them."""

from dataclasses import dataclass

from markupsafe import Markup

from app.components.html import hint_html
from app.studio.results.cells import bars_html, score_text, tag_html
from detdiffusion.layout import Attribute
from training.core.markup import joined

_TABLE = Markup(
    '<div class="numbers"><div><strong>{}</strong><small>{}</small></div></div>'
    '<div class="scroll" tabindex="0"><table class="objects"><thead><tr><th>Object</th><th>Asked for</th>'
    "<th class=number colspan=2>Confidence</th></tr></thead><tbody>{}</tbody></table></div>"
)
_ROW = Markup('<tr class="{}"><td>{}</td><td>{}</td><td class="chart">{}</td><td class="number">{}{}</td></tr>')
_MISSED = Markup(" <b class=missed>missed</b>")


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """What the detector made of one object. `confidence` is None where it cannot know the class."""

    label: str
    attribute: Attribute
    confidence: float | None
    found: bool


@dataclass(frozen=True, slots=True)
class ObjectTable:
    """The objects of one picture."""

    rows: tuple[ObjectRow, ...] = ()
    detector: str = ""
    min_score: float = 0.0
    unseen: str = ""  # why the detector says nothing about anything, where that is so

    def html(self) -> Markup:
        """A row per object; a hint before there is an image."""
        if not self.rows:
            return hint_html("Generate an image to see what the detector finds.")
        return _TABLE.format(*self._headline(), joined(map(self._row, self.rows)))

    def _headline(self) -> tuple[str, str]:
        known = [row for row in self.rows if row.confidence is not None]
        if known:
            by = f"by {self.detector}, at confidence {self.min_score:.2f} or more"
            return f"{sum(row.found for row in known)} of {len(known)} found", by
        if all(row.attribute is Attribute.BACKGROUND for row in self.rows):
            return "Background only", "background is not checked"
        return "Not checked", self.unseen

    def _row(self, row: ObjectRow) -> Markup:
        state = "" if row.confidence is None else "found" if row.found else "missed"
        bars = bars_html((row.attribute, row.attribute, row.confidence), min_score=self.min_score)
        missed = _MISSED if state == "missed" else ""
        return _ROW.format(state, row.label, tag_html(row.attribute), bars, score_text(row.confidence), missed)
