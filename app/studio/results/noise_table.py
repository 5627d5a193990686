"""The same pair from many noises: how confidence is spread, and what that makes of the drop."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from app.components.html import hint_html, made_of
from app.studio.results.cells import Tags, figures_html, side_kinds
from detdiffusion.evaluation.comparison import Comparison
from detdiffusion.layout import Attribute
from training.core.markup import joined

_EMPTY = "Generates both sides of the comparison from many seeds, and shows how the confidence varies."
_TABLE = Markup(
    '{}<div class="numbers">{}{}</div><div class="scroll" tabindex="0"><table class="noises"><thead><tr>'
    '<th>Object</th><th class="chart"><span class="axis"><i>0</i><i>0.5</i><i>1</i></span></th>'
    '<th class="number">Drop</th><th class="number">95 %</th><th class="number" colspan="2">Missed</th>'
    "</tr></thead><tbody>{}</tbody></table></div>"
)
_SIDE = Markup('<span class="{0}"><i class="lane {0}"><i></i></i>{1}, an image each</span>')
_LEGEND = Markup(
    '<p class="legend dots">{}<span class="mean"><i></i>mean</span>'
    '<span class="limit"><i></i>missed below {:.2f}</span></p>'
)
_ROW = Markup(
    '<tr><td>{}</td><td class="chart"><div class="lanes">{}<s style="left:{:.1%}"></s></div></td>'
    '<td class="number drop">{:.2f}</td><td class="number">{:.2f} to {:.2f}</td>{}</tr>'
)


@dataclass(frozen=True, slots=True)
class NoiseRow:
    """One object over many noises: its confidence in each picture of both sides, [P] each."""

    label: str
    a: tuple[float, ...]
    b: tuple[float, ...]
    drop: float
    ci95: tuple[float, float]
    missed: tuple[float, float]  # shares of the noises, of both sides


@dataclass(frozen=True, slots=True)
class NoiseTable:
    """What is known so far; `pairs` of the `wanted` ones are finished."""

    rows: tuple[NoiseRow, ...] = ()
    comparison: Comparison | None = None
    pairs: int = 0
    wanted: int = 0
    detector: str = ""
    min_score: float = 0.0
    names: tuple[str, str] = ("Easy", "Hard")
    tags: Tags = (Attribute.EASY, Attribute.HARD)
    progress: float | None = None
    unseen: str = ""  # as of `ObjectTable`
    layout: Mapping[str, Any] | None = None  # as of `Pair`

    def html(self) -> Markup:
        """What the comparison over many seeds says so far; a hint before it does."""
        meter = Markup("")
        if self.progress is not None:
            meter = Markup('<div class="meter"><i style="width:{:.1%}"></i></div>').format(self.progress)
        if self.comparison is None:
            return meter + hint_html("The first images are being generated." if self.wanted else _EMPTY)
        if not self.rows:
            return meter + hint_html(f"Not checked: {self.unseen}.")
        low, high = self.comparison.ci95
        a, b = (name.lower() for name in self.names)
        figures = figures_html(
            [
                (f"mean drop, 95 % interval {low:.2f} to {high:.2f}", f"{self.comparison.mean_drop:.2f}"),
                (f"missed, {a}", f"{self.comparison.miss_rate_easy:.0%}"),
                (f"missed, {b}", f"{self.comparison.miss_rate_hard:.0%}"),
                (f"noises by {self.detector}", Markup("{}<i>/{}</i>").format(self.pairs, self.wanted)),
            ]
        )
        rows = sorted(self.rows, key=lambda row: -row.drop)
        return made_of(self.layout, _TABLE.format(meter, figures, self._legend(), joined(map(self._row, rows))))

    def _legend(self) -> Markup:
        """What the marks of the chart are."""
        sides = joined(
            _SIDE.format(kind, name.lower()) for kind, name in zip(side_kinds(self.tags), self.names, strict=True)
        )
        return _LEGEND.format(sides, self.min_score)

    def _row(self, row: NoiseRow) -> Markup:
        kinds = side_kinds(self.tags)
        lanes = joined(_lane(kind, values) for kind, values in zip(kinds, (row.a, row.b), strict=True))
        missed = joined(
            Markup('<td class="number{}" title="{}">{:.0%}</td>').format(" lost" if share else "", name, share)
            for name, share in zip(self.names, row.missed, strict=True)
        )
        return _ROW.format(row.label, lanes, self.min_score, row.drop, *row.ci95, missed)


def _lane(kind: str, values: tuple[float, ...]) -> Markup:
    """A dot for each confidence, and a line for their mean."""
    dots = joined(Markup('<i style="left:{:.1%}"></i>').format(value) for value in values)
    lane = Markup('<div class="lane {}">{}<u style="left:{:.1%}"></u></div>')
    return lane.format(kind, dots, sum(values) / len(values))
