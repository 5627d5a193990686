"""What the page shows: frozen values, and the little HTML that they become. Everything from a user is escaped here."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from app.components.charts import Chart, Curve
from detdiffusion.evaluation.comparison import Comparison, PairRow
from detdiffusion.layout import Attribute, Layout

DASH = "–"


@dataclass(frozen=True, slots=True)
class Mark:
    """A frame over a picture: something that the detector found, or an object that it missed (`score` None)."""

    label: str
    xyxy: tuple[float, float, float, float]
    score: float | None

    def html(self) -> str:
        x1, y1, x2, y2 = self.xyxy
        place = f"left:{x1:.2%};top:{y1:.2%};width:{x2 - x1:.2%};height:{y2 - y1:.2%}"
        kind, text = ("missed", "missed") if self.score is None else ("found", f"{self.score:.2f}")
        wide = 0.026 * (len(self.label) + 7)  # about the share of the picture that the text takes
        kind += (" low" if y1 < 0.06 else "") + (" end" if x1 + wide > 1 else "")  # it stays inside
        return f'<div class="mark {kind}" style="{place}"><span>{escape(self.label)} <b>{text}</b></span></div>'


@dataclass(frozen=True, slots=True)
class PictureView:
    """A finished picture (`file`), or the noise becoming one (`preview`, `progress` from 0 to 1)."""

    file: Path | None = None
    preview: str = ""
    marks: tuple[Mark, ...] = ()
    caption: str = ""
    name: str = ""  # of the side of a comparison
    tag: Attribute | None = None  # what all things are asked to be
    ratio: float = 1.0  # width / height
    progress: float | None = None

    def marks_html(self) -> str:
        return "".join(mark.html() for mark in self.marks)

    def caption_html(self) -> str:
        name = f'<b class="tag {self.tag or ""}">{escape(self.name)}</b>' if self.name else ""
        return f"{name}<span>{escape(self.caption)}</span>"


@dataclass(frozen=True, slots=True)
class SheetView:
    """Pictures of one figure, row by row."""

    title: str
    panels: tuple[PictureView, ...]
    columns: int
    ratio: float = 1.0  # width / height of each
    progress: float | None = None
    spent: str = ""  # what it took


@dataclass(frozen=True, slots=True)
class CostRow:
    """What one setting costs: so many seconds a unit."""

    setting: str
    choice: str
    unit: str
    seconds: float


@dataclass(frozen=True, slots=True)
class CostTable:
    """What settings cost here; empty before anything was measured."""

    rows: tuple[CostRow, ...] = ()
    title: str = ""
    about: str = ""
    progress: bool = False

    def html(self) -> str:
        if not self.rows:
            return hint_html("Nothing was measured yet." if not self.progress else "Measuring…")
        body, before = "", ""
        for row in self.rows:
            setting = "" if row.setting == before else escape(row.setting)
            before = row.setting
            took = f"{1000 * row.seconds:,.0f} ms {escape(row.unit)}"
            body += f"<tr><td>{setting}</td><td>{escape(row.choice)}</td><td class=number>{took}</td></tr>"
        busy = '<p class="hint">Measuring…</p>' if self.progress else ""
        return (
            f'<div class="numbers"><div><strong>{escape(self.title)}</strong><small>{escape(self.about)}</small></div>'
            f"</div><table><thead><tr><th>Setting</th><th>Choice</th><th class=number>Takes</th></tr></thead>"
            f"<tbody>{body}</tbody></table>{busy}"
        )


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

    def html(self) -> str:
        if not self.rows:
            return '<p class="hint">What the detector finds stands here.</p>'
        headline, small = self._headline()
        body = "".join(self._row(row) for row in self.rows)
        return (
            f'<div class="numbers"><div><strong>{headline}</strong><small>{escape(small)}</small></div></div>'
            f'<div class="scroll"><table class="objects"><thead><tr><th>Object</th><th>Asked for</th>'
            f"<th class=number colspan=2>Confidence</th></tr></thead><tbody>{body}</tbody></table></div>"
        )

    def _headline(self) -> tuple[str, str]:
        known = [row for row in self.rows if row.confidence is not None]
        if known:
            by = f"by {self.detector}, at confidence {self.min_score:.2f} or more"
            return f"{sum(row.found for row in known)} of {len(known)} found", by
        if all(row.attribute is Attribute.BACKGROUND for row in self.rows):
            return "Background only", "no detector looks for background"
        return "Not checked", self.unseen

    def _row(self, row: ObjectRow) -> str:
        state = "" if row.confidence is None else "found" if row.found else "missed"
        return (
            f'<tr class="{state}"><td>{escape(row.label)}</td><td>{_tag(row.attribute)}</td>'
            f'<td class="chart">{_bars((row.attribute, row.attribute, row.confidence), min_score=self.min_score)}</td>'
            f'<td class="number">{_score(row.confidence)}{_missed(state == "missed")}</td></tr>'
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
    """

    verdicts: tuple[Verdict, ...] = ()
    names: tuple[str, str] = ("Easy", "Hard")
    tags: tuple[Attribute | None, Attribute | None] = (Attribute.EASY, Attribute.HARD)

    def html(self) -> str:
        if not self.verdicts:
            return '<p class="hint">Compare shows how the detector’s confidence drops when every object is hard.</p>'
        first = self.verdicts[0]
        if not first.comparison.rows:
            return hint_html(f"Not checked: {first.unseen}.")
        second = self.verdicts[1] if len(self.verdicts) > 1 else None
        others = {row.index: row for row in second.comparison.rows} if second else {}
        rows = sorted(first.comparison.rows, key=lambda row: -row.drop)
        body = "".join(self._row(row, others.get(row.index), second is not None) for row in rows)
        figures = "".join(map(self._figures, self.verdicts))
        return (
            f'<div class="numbers">{figures}{self._legend()}</div><div class="scroll"><table class="pairs">'
            f"<thead>{self._head(second)}</thead><tbody>{body}</tbody></table></div>"
        )

    @property
    def _short(self) -> tuple[str, str]:
        """The names, or A and B where one is wider than a column of numbers."""
        return self.names if max(map(len, self.names)) <= 10 else ("A", "B")

    def _figures(self, verdict: Verdict) -> str:
        rows, (a, b) = verdict.comparison.rows, self.names
        numbers = [
            ("mean drop", f"{verdict.comparison.mean_drop:.2f}"),
            (f"missed, {a.lower()}", f"{sum(row.missed_easy for row in rows)}<i>/{len(rows)}</i>"),
            (f"missed, {b.lower()}", f"{sum(row.missed_hard for row in rows)}<i>/{len(rows)}</i>"),
        ]
        if len(self.verdicts) > 1:  # whose numbers these are; less of them, for the place is narrow
            numbers = [(f"mean drop, {verdict.detector}", numbers[0][1])]
        return "".join(f"<div><strong>{value}</strong><small>{escape(name)}</small></div>" for name, value in numbers)

    def _legend(self) -> str:
        words = [
            name.lower() if short == name else f"{short} {name}"
            for name, short in zip(self.names, self._short, strict=True)
        ]
        sides = "".join(
            f'<span class="{kind}"><i></i>{escape(word)}</span>'
            for kind, word in zip(_kinds(self.tags), words, strict=True)
        )
        limit = self.verdicts[0].min_score
        return f'<p class="legend">{sides}<span class="limit"><i></i>missed below {limit:.2f}</span></p>'

    def _head(self, second: Verdict | None) -> str:
        axis = '<span class="axis"><i>0</i><i>0.5</i><i>1</i></span>'
        sides = "".join(
            f'<th class="number" title="{escape(name)}">{escape(short)}</th>'
            for name, short in zip(self.names, self._short, strict=True)
        )
        scores = sides + '<th class="number">Drop</th>'
        detector = escape(self.verdicts[0].detector)
        chart = f'<th class="chart" title="Confidence of {detector}">{axis}</th>'
        head = f'<th class="crops"></th><th>Object</th>{chart}{scores}'
        if second is None:
            return f"<tr>{head}<th>Missed</th></tr>"
        names = (
            f'<th colspan="3"></th><th colspan="3" class="of">{detector}</th>'
            f'<th colspan="3" class="of">{escape(second.detector)}</th>'
        )
        return f'<tr class="eyes">{names}</tr><tr>{head}{scores}</tr>'

    def _row(self, row: PairRow, other: PairRow | None, two: bool) -> str:
        names = [name.lower() for name in self.names]
        bars = _bars(
            *zip(_kinds(self.tags), names, (row.easy, row.hard), strict=True), min_score=self.verdicts[0].min_score
        )
        crops = '<i data-side="0"></i><i data-side="1"></i>'
        if two:  # what is missed shows by its colour alone: the place is narrow
            last = _numbers(other) if other else f'<td class="number" colspan="3">{DASH}</td>'
        else:
            lost = zip(self._short, (row.missed_easy, row.missed_hard), strict=True)
            missed = " ".join(f"<b class=missed>{escape(name.lower())}</b>" for name, gone in lost if gone)
            last = f"<td>{missed or DASH}</td>"
        return (
            f'<tr data-index="{row.index}" tabindex="0"><td class="crops">{crops}</td><td>{escape(row.label)}</td>'
            f'<td class="chart">{bars}</td>{_numbers(row)}{last}</tr>'
        )


def _numbers(row: PairRow) -> str:
    sides = ((row.easy, row.missed_easy), (row.hard, row.missed_hard))
    scores = "".join(f'<td class="number{" lost" if missed else ""}">{_score(value)}</td>' for value, missed in sides)
    return f'{scores}<td class="number drop">{row.drop:.2f}</td>'


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
    """The same pair from many noises: how confidence is spread, and what that makes of the drop."""

    rows: tuple[NoiseRow, ...] = ()
    comparison: Comparison | None = None
    pairs: int = 0
    wanted: int = 0
    detector: str = ""
    min_score: float = 0.0
    names: tuple[str, str] = ("Easy", "Hard")
    tags: tuple[Attribute | None, Attribute | None] = (Attribute.EASY, Attribute.HARD)
    progress: float | None = None
    unseen: str = ""  # as of `ObjectTable`

    def html(self) -> str:
        meter = "" if self.progress is None else f'<div class="meter"><i style="width:{self.progress:.1%}"></i></div>'
        if self.comparison is None:
            text = (
                "Many noises show how confidence is spread: both sides of the comparison, from one seed after another."
            )
            return meter + hint_html("The first pictures are being made." if self.wanted else text)
        if not self.rows:
            return meter + hint_html(f"Not checked: {self.unseen}.")
        low, high = self.comparison.ci95
        a, b = (name.lower() for name in self.names)
        numbers = (
            (f"mean drop, 95 % interval {low:.2f} to {high:.2f}", f"{self.comparison.mean_drop:.2f}"),
            (f"missed, {a}", f"{self.comparison.miss_rate_easy:.0%}"),
            (f"missed, {b}", f"{self.comparison.miss_rate_hard:.0%}"),
            (f"noises by {self.detector}", f"{self.pairs}<i>/{self.wanted}</i>"),
        )
        figures = "".join(
            f"<div><strong>{value}</strong><small>{escape(name)}</small></div>" for name, value in numbers
        )
        head = (
            '<th>Object</th><th class="chart"><span class="axis"><i>0</i><i>0.5</i><i>1</i></span></th>'
            '<th class="number">Drop</th><th class="number">95 %</th><th class="number" colspan="2">Missed</th>'
        )
        body = "".join(self._row(row) for row in sorted(self.rows, key=lambda row: -row.drop))
        return (
            f'{meter}<div class="numbers">{figures}</div><div class="scroll"><table class="noises">'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    def _row(self, row: NoiseRow) -> str:
        kinds = _kinds(self.tags)
        lanes = "".join(
            f'<div class="lane {kind}">{"".join(_dot(value) for value in values)}'
            f'<u style="left:{sum(values) / len(values):.1%}"></u></div>'
            for kind, values in zip(kinds, (row.a, row.b), strict=True)
        )
        missed = "".join(
            f'<td class="number{" lost" if share else ""}" title="{escape(name)}">{share:.0%}</td>'
            for name, share in zip(self.names, row.missed, strict=True)
        )
        return (
            f'<tr><td>{escape(row.label)}</td><td class="chart"><div class="lanes">{lanes}'
            f'<s style="left:{self.min_score:.1%}"></s></div></td><td class="number drop">{row.drop:.2f}</td>'
            f'<td class="number">{row.ci95[0]:.2f} to {row.ci95[1]:.2f}</td>{missed}</tr>'
        )


def _dot(value: float) -> str:
    return f'<i style="left:{value:.1%}"></i>'


def _kinds(tags: tuple[Attribute | None, Attribute | None]) -> tuple[str, str]:
    """Of the marks of both sides in a chart: easy and hard where that is the difference."""
    a, b = tags
    return (str(a), str(b)) if a and b and a is not b else ("one", "two")


@dataclass(frozen=True, slots=True)
class DifficultyView:
    """The same layout and noise at rising values of attribute guidance, and what the detector makes of each picture.

    tables: of the pictures that are finished, in the order of `levels`.
    """

    levels: tuple[float, ...] = ()
    sheet: SheetView = SheetView("Difficulty", (), 1)
    tables: tuple[ObjectTable, ...] = ()

    def html(self) -> str:
        if not self.levels:
            return hint_html(
                "Attribute guidance goes on where the words easy and hard end: the same picture, harder from left to "
                "right, and the detector's confidence on the way."
            )
        if not self.tables:
            return hint_html("The first picture is being made.")
        rows = [
            row for row in zip(*(table.rows for table in self.tables), strict=True) if row[0].confidence is not None
        ]
        if not rows:
            return hint_html(f"Not checked: {self.tables[0].unseen}.")
        return f'<div class="climb">{self._chart(rows)}{self._table(rows)}</div>'

    def _chart(self, rows: Sequence[Sequence[ObjectRow]]) -> str:
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
        return Chart("On average", curves, "", 1.0, axis="difficulty", start=self.levels[0], end=self.levels[-1]).html()

    def _table(self, rows: Sequence[Sequence[ObjectRow]]) -> str:
        head = "".join(f'<th class="number">{level:g}</th>' for level in self.levels)
        empty = '<td class="number"></td>' * (len(self.levels) - len(self.tables))
        body = "".join(
            f"<tr><td>{escape(row[0].label)}</td>"
            + "".join(f'<td class="number{"" if one.found else " lost"}">{_score(one.confidence)}</td>' for one in row)
            + f"{empty}</tr>"
            for row in rows
        )
        detector = escape(self.tables[0].detector)
        return (
            f'<div class="scroll"><table><thead><tr><th title="Confidence of {detector}">Confidence</th>{head}</tr>'
            f"</thead><tbody>{body}</tbody></table></div>"
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """An object of a picture and what is laid over it: a see-through picture in the object's colour, a data address."""

    label: str
    attribute: Attribute
    colour: str
    address: str
    share: float | None = None  # of its box that the mask covers


@dataclass(frozen=True, slots=True)
class InsideView:
    """What the model read and saw: the picture with a layer an object, and the tokens of the prompt.

    tokens: by window: text, and the place of its object or None.
    """

    address: str = ""
    layers: tuple[Layer, ...] = ()
    masks: bool = True
    tokens: tuple[tuple[tuple[str, int | None], ...], ...] = ()
    length: int = 0  # tokens of a window
    note: str = ""

    def html(self) -> str:
        if not self.address:
            return hint_html(self.note or "Generate a picture: what the model read and saw in it stands here.")
        layers = "".join(
            f'<img class="layer" data-object="{place}" src="{layer.address}" alt="">'
            for place, layer in enumerate(self.layers)
            if layer.address
        )
        rows = "".join(self._row(place, layer) for place, layer in enumerate(self.layers))
        head = f'<th>Object</th><th>Asked for</th><th class="number">{"Mask in its box" if self.masks else ""}</th>'
        note = f"<p>{escape(self.note)}</p>" if self.note else ""
        return (
            f'<div class="inside {"masks" if self.masks else "heat"}"><div class="view"><img src="{self.address}" '
            f'alt="generated picture">{layers}</div><div class="read">{note}<div class="scroll"><table><thead><tr>'
            f"{head}</tr></thead><tbody>{rows}</tbody></table></div>{self._tokens()}</div></div>"
        )

    def _row(self, place: int, layer: Layer) -> str:
        share = "" if layer.share is None else f"{layer.share:.0%}"
        return (
            f'<tr data-object="{place}" tabindex="0" style="--own:{layer.colour}"><td><i></i>{escape(layer.label)}</td>'
            f'<td>{_tag(layer.attribute)}</td><td class="number">{share}</td></tr>'
        )

    def _tokens(self) -> str:
        used = sum(map(len, self.tokens))
        windows = "".join(f"<p>{''.join(self._token(*token) for token in window)}</p>" for window in self.tokens)
        return (
            f"<h4>{used} tokens <small>of {len(self.tokens) * self.length} in {len(self.tokens)} "
            f'window{"s" if len(self.tokens) > 1 else ""}</small></h4><div class="tokens">{windows}</div>'
        )

    def _token(self, text: str, place: int | None) -> str:
        if place is None:
            return f"<span>{escape(text)}</span>"
        return f'<span data-object="{place}" style="--own:{self.layers[place].colour}">{escape(text)}</span>'


def data_address(image: Image.Image) -> str:
    """A small picture as an address that needs no file: for previews, which nobody keeps."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def layer_address(alpha: np.ndarray, colour: tuple[int, int, int]) -> str:
    """One colour over a picture, [H, W] in 0..1 as thick as that, as a data address."""
    pixels = np.empty((*alpha.shape, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = colour, (alpha.clip(0, 1) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def prompt_html(prompt: str, words: dict[str, Attribute]) -> str:
    """The prompt with its attribute words coloured as on the canvas."""
    text = escape(prompt)
    for word, attribute in words.items():
        text = text.replace(escape(word), f'<b class="{attribute}">{escape(word)}</b>')
    return f"<p>{text}</p>"


def layout_svg(layout: Layout) -> str:
    """A layout as a small drawing: things above stuff, in the colours of their tags."""
    width, height = 100.0, 100.0 * layout.height / layout.width
    drawn = []
    for box in sorted(layout.boxes, key=lambda box: (box.attribute is not Attribute.BACKGROUND, -box.area)):
        x1, y1, x2, y2 = (value * side for value, side in zip(box.xyxy, (width, height) * 2, strict=True))
        kind, name = box.attribute or "thing", escape(box.label)
        place = f'x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" height="{y2 - y1:.1f}"'
        drawn.append(f'<rect class="{kind}" {place}/>')
        if box.attribute is not Attribute.BACKGROUND:
            drawn.append(f'<text x="{x1 + 1.5:.1f}" y="{y1 + 7:.1f}">{name}</text>')
    names = escape(", ".join(layout.labels), quote=True)
    return (
        f'<svg class="thumbnail" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{names}">'
        f"{''.join(drawn)}</svg>"
    )


def shelf_html(examples: Mapping[str, Layout], own: Mapping[str, Layout]) -> str:
    """Layouts to choose from: a tile each; own ones can be deleted."""
    ours = "".join(
        f'<div class="tile">{_tile("own", name, layout)}<button type="button" class="remove" aria-label="Delete '
        f'{escape(name, quote=True)}" data-name="{escape(f"remove {name}", quote=True)}">×</button></div>'
        for name, layout in own.items()
    )
    given = "".join(f'<div class="tile">{_tile("example", name, layout)}</div>' for name, layout in examples.items())
    yours = f"<h4>Yours</h4><div class=tiles>{ours}</div>" if own else ""
    return f"{yours}<h4>Examples</h4><div class=tiles>{given}</div>"


def _tile(kind: str, name: str, layout: Layout) -> str:
    return (
        f'<button type="button" data-name="{escape(f"{kind} {name}", quote=True)}">{layout_svg(layout)}'
        f"<span>{escape(name)}</span></button>"
    )


def header_html(*facts: str) -> str:
    """The page's title, and facts at its right."""
    return (
        f"<h1>DetDiffusion <span>Studio</span></h1><p>{escape(' · '.join(facts))}</p>"
        '<button type="button" class="tour">Tour</button>'
        '<button type="button" class="theme" aria-label="Light or dark" title="Light or dark">◐</button>'
    )


def hint_html(text: str) -> str:
    return f'<p class="hint">{escape(text)}</p>'


def _tag(attribute: Attribute) -> str:
    return f'<b class="tag {attribute}">{attribute}</b>'


def _score(value: float | None) -> str:
    return DASH if value is None else f"{value:.2f}"


def _missed(missed: bool) -> str:
    return " <b class=missed>missed</b>" if missed else ""


def _bars(*bars: tuple[str, str, float | None], min_score: float) -> str:
    """Horizontal bars (kind, name, value) on a scale from 0 to 1, with the detector's limit as a line."""
    drawn = [(kind, name, value) for kind, name, value in bars if value is not None]
    if not drawn:
        return ""
    text = escape(", ".join(f"{name} {value:.2f}" for _, name, value in drawn), quote=True)
    inner = "".join(f'<i class="{kind}" style="width:{value:.1%}"></i>' for kind, _, value in drawn)
    return f'<div class="bars" role="img" aria-label="{text}">{inner}<u style="left:{min_score:.1%}"></u></div>'
