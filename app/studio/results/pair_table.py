"""The same objects in two pictures."""

from dataclasses import dataclass

from markupsafe import Markup

from app.components.html import hint_html
from app.engine.models import Causes
from app.studio.results.cells import DASH, Tags, bars_html, figures_html, score_text, side_kinds
from detdiffusion.evaluation.comparison import Comparison, PairRow
from detdiffusion.layout import Attribute
from training.core.markup import joined

_TABLE = Markup(
    '<div class="numbers">{}{}</div><div class="scroll" tabindex="0"><table class="pairs">'
    "<thead>{}</thead><tbody>{}</tbody></table></div>"
)
_ROW = Markup(
    '<tr data-index="{}" tabindex="0"><td class="crops"><i data-side="0"></i><i data-side="1"></i></td><td>{}</td>'
    '<td class="chart">{}</td>{}{}</tr>'
)
_HEAD = Markup(
    '<td class="crops"></td><th>Object</th><th class="chart" title="Confidence of {}">'
    '<span class="axis"><i>0</i><i>0.5</i><i>1</i></span></th>{}'
)
_DETECTORS = Markup(
    '<tr class="eyes"><td colspan="3"></td><th colspan="3" class="of">{}</th><th colspan="3" class="of">{}</th></tr>'
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one detector makes of both pictures of a pair. `unseen`: as of `ObjectTable`."""

    comparison: Comparison
    detector: str
    min_score: float
    unseen: str = ""


@dataclass(frozen=True, slots=True)
class PairTable:
    """The same objects in two pictures: a table whose middle is the chart, the greatest drop first.

    verdicts: of one detector or two; none: there is no pair yet.
    names, tags: of both sides; where tags are alike, the sides have colours of their own.
    causes: of both sides: of each object of the layout, what makes it difficult; none: nobody can tell.
    """

    verdicts: tuple[Verdict, ...] = ()
    names: tuple[str, str] = ("Easy", "Hard")
    tags: Tags = (Attribute.EASY, Attribute.HARD)
    causes: tuple[Causes, Causes] = ((), ())

    def html(self) -> Markup:
        """A row per object, the largest drop first; a hint before there is a pair."""
        if not self.verdicts:
            return hint_html("Compare to see how the detector’s confidence drops when every object is hard.")
        first = self.verdicts[0]
        if not first.comparison.rows:
            return hint_html(f"Not checked: {first.unseen}.")
        second = self.verdicts[1] if len(self.verdicts) > 1 else None
        others = {row.index: row for row in second.comparison.rows} if second else {}
        rows = sorted(first.comparison.rows, key=lambda row: -row.drop)
        body = joined(self._row(row, others.get(row.index), second is not None) for row in rows)
        return _TABLE.format(joined(map(self._figures, self.verdicts)), self._legend(), self._head(second), body)

    @property
    def _short(self) -> tuple[str, str]:
        """The names, or A and B where one is wider than a column of numbers."""
        return self.names if max(map(len, self.names)) <= 10 else ("A", "B")

    def _figures(self, verdict: Verdict) -> Markup:
        rows, (a, b) = verdict.comparison.rows, (short if len(short) == 1 else short.lower() for short in self._short)
        drop = f"{_rounded(verdict.comparison.mean_drop):.2f}"
        if len(self.verdicts) > 1:  # whose numbers these are; less of them, for the place is narrow
            return figures_html([(f"mean drop, {verdict.detector}", drop)])
        count = Markup("{}<i>/{}</i>")
        return figures_html(
            [
                ("mean drop", drop),
                (f"missed, {a}", count.format(sum(row.missed_easy for row in rows), len(rows))),
                (f"missed, {b}", count.format(sum(row.missed_hard for row in rows), len(rows))),
            ]
        )

    def _legend(self) -> Markup:
        words = [
            name.lower() if short == name else f"{short} {name}"
            for name, short in zip(self.names, self._short, strict=True)
        ]
        sides = joined(
            Markup('<span class="{}"><i></i>{}</span>').format(kind, word)
            for kind, word in zip(side_kinds(self.tags), words, strict=True)
        )
        legend = Markup('<p class="legend">{}<span class="limit"><i></i>missed below {:.2f}</span></p>')
        return legend.format(sides, self.verdicts[0].min_score)

    def _head(self, second: Verdict | None) -> Markup:
        sides = joined(
            Markup('<th class="number" title="{}">{}</th>').format(name, short)
            for name, short in zip(self.names, self._short, strict=True)
        )
        scores = sides + Markup('<th class="number">Drop</th>')
        detector = self.verdicts[0].detector
        head = _HEAD.format(detector, scores)
        if second is None:
            return Markup("<tr>{}<th>Missed</th></tr>").format(head)
        return _DETECTORS.format(detector, second.detector) + Markup("<tr>{}{}</tr>").format(head, scores)

    def _row(self, row: PairRow, other: PairRow | None, two: bool) -> Markup:
        names = [name.lower() for name in self.names]
        bars = bars_html(
            *zip(side_kinds(self.tags), names, (row.easy, row.hard), strict=True), min_score=self.verdicts[0].min_score
        )
        if two:  # what is missed shows by its colour alone: the place is narrow
            last = _numbers(other) if other else Markup('<td class="number" colspan="3">{}</td>').format(DASH)
        else:
            lost = zip(self._short, (row.missed_easy, row.missed_hard), strict=True)
            missed = [Markup("<b class=missed>{}</b>").format(name.lower()) for name, gone in lost if gone]
            last = Markup("<td>{}</td>").format(Markup(" ").join(missed) or DASH)
        return _ROW.format(row.index, row.label, bars + self._causes(row.index), _numbers(row), last)

    def _causes(self, index: int) -> Markup:
        """What makes an object difficult; on which side, where it is so on both."""
        told = [
            (name, ", ".join(causes[index])) for name, causes in zip(self._short, self.causes, strict=True) if causes
        ]
        told = [(name, words) for name, words in told if words]
        if not told:
            return Markup("")
        shown = [words for _, words in told] if len(told) == 1 else [f"{name}: {words}" for name, words in told]
        return Markup('<small class="causes">{}</small>').format(" · ".join(shown))


def _numbers(row: PairRow) -> Markup:
    """The three cells of one detector: both confidences, and the drop."""
    cell = Markup('<td class="number{}">{}</td>')
    a = cell.format(" lost" if row.missed_easy else "", score_text(row.easy))
    b = cell.format(" lost" if row.missed_hard else "", score_text(row.hard))
    return a + b + Markup('<td class="number drop">{:.2f}</td>').format(_rounded(row.drop))


def _rounded(drop: float) -> float:
    """To two digits, without the sign of a zero."""
    return round(drop, 2) + 0.0
