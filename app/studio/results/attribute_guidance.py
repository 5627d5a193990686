"""Attribute guidance at work: one layout and noise, harder from image to image."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from markupsafe import Markup

from app.components.charts import Chart, Curve
from app.components.html import hint_html
from app.components.images import ImageView
from app.engine.generation import Ask, Progress
from app.engine.studio import Studio
from app.studio.results.cells import score_text
from app.studio.results.figures import SheetView
from app.studio.results.form import Form, read_canvas
from app.studio.results.images import busy, finished, object_table
from app.studio.results.object_table import ObjectRow, ObjectTable
from detdiffusion.errors import ConfigError, LayoutError
from detdiffusion.layout import Attribute
from training.core.markup import joined

_TABLE = Markup(
    '<div class="scroll" tabindex="0"><table><thead><tr><th title="Confidence of {}">Confidence</th>{}</tr></thead>'
    "<tbody>{}</tbody></table></div>"
)


@dataclass(frozen=True, slots=True)
class AttributeGuidanceView:
    """The same layout and noise at rising values of attribute guidance, and what the detector makes of each picture.

    tables: of the pictures that are finished, in the order of `levels`.
    """

    levels: tuple[float, ...] = ()
    sheet: SheetView = field(default_factory=lambda: SheetView("Attribute guidance", (), 1))
    tables: tuple[ObjectTable, ...] = ()

    def html(self) -> Markup:
        """A row per object, a column per level; a hint before there is anything."""
        if not self.levels:
            return hint_html(
                "Attribute guidance goes further than the tags alone: the same image, harder from left to "
                "right, and the detector's confidence."
            )
        if not self.tables:
            return hint_html("The first image is being generated.")
        rows = [
            row for row in zip(*(table.rows for table in self.tables), strict=True) if row[0].confidence is not None
        ]
        if not rows:
            return hint_html(f"Not checked: {self.tables[0].unseen}.")
        return Markup('<div class="climb">{}{}</div>').format(self._chart(rows), self._table(rows))

    def _chart(self, rows: Sequence[Sequence[ObjectRow]]) -> Markup:
        means, found = [], []
        for level, column in zip(self.levels, zip(*rows, strict=True), strict=False):
            known = [row for row in column if row.confidence is not None]  # none in a picture that was not looked at
            if known:
                means.append((level, sum(row.confidence or 0.0 for row in known) / len(known)))
                found.append((level, sum(row.found for row in known) / len(known)))
        curves = (
            Curve("confidence", "denoise", tuple(means), dots=True),
            Curve("found", "easy", tuple(found), dots=True),
        )
        start, end = self.levels[0], self.levels[-1]
        return Chart("On average", curves, "", 1.0, axis="attribute guidance", start=start, end=end).html()

    def _table(self, rows: Sequence[Sequence[ObjectRow]]) -> Markup:
        head = joined(Markup('<th class="number">{:g}</th>').format(level) for level in self.levels)
        return _TABLE.format(self.tables[0].detector, head, joined(map(self._row, rows)))

    def _row(self, row: Sequence[ObjectRow]) -> Markup:
        """An object in each picture; cells are empty where there is no picture yet."""
        cell = Markup('<td class="number{}">{}</td>')
        cells = joined(cell.format("" if one.found else " lost", score_text(one.confidence)) for one in row)
        empty = cell.format("", "") * (len(self.levels) - len(self.tables))
        return Markup("<tr><td>{}</td>{}{}</tr>").format(row[0].label, cells, empty)


def attribute_guidance_levels(highest: float) -> tuple[float, ...]:
    """Values of attribute guidance for a strip of pictures: from half as far towards easy up to the highest."""
    return tuple(highest * share for share in (-0.5, 0.0, 0.25, 0.5, 0.75, 1.0))


def attribute_guidance_strip(
    studio: Studio, value: Mapping[str, Any], form: Form, highest: float, user: str
) -> Iterator[AttributeGuidanceView]:
    """The layout as it is tagged, from one noise, the more difficult the further right; one picture after the other, so
    that others may have the model in between. Raises as `generate` does, and ConfigError where tags change nothing."""
    if not studio.model.tags_matter:
        raise ConfigError(studio.model.why_no_tags)
    recipe, layout = form.recipe(), read_canvas(value, studio.model.vocabulary)
    if all(box.attribute is Attribute.BACKGROUND for box in layout.boxes):
        raise LayoutError("all objects are background, which cannot become harder: draw an object")
    levels = attribute_guidance_levels(highest)
    ratio = layout.width / layout.height
    panels = [ImageView(name=f"{level:+g}" if level else "0", ratio=ratio) for level in levels]
    view = AttributeGuidanceView(
        levels, SheetView("Attribute guidance", tuple(panels), len(levels), ratio, progress=0.0, layout=value)
    )
    yield view
    for place, level in enumerate(levels):
        for news in studio.generation.run([Ask(layout, replace(recipe, attribute_guidance=level))], user):
            if isinstance(news, Progress):
                panels[place] = busy(news, 0, layout, panels[place].name)
                done = (place + news.step / news.steps) / len(levels)
            else:
                panels[place] = replace(finished(news[0], panels[place].name), caption="")
                done = (place + 1) / len(levels)
                view = replace(view, tables=(*view.tables, object_table(news[0])))
            view = replace(view, sheet=replace(view.sheet, panels=tuple(panels), progress=done))
            yield view
    yield replace(view, sheet=replace(view.sheet, progress=None))
