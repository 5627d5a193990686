"""Whatever text a person, a file or a model brings: no view lets it become HTML."""

import ast
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.components.charts import Chart, Curve
from app.components.html import hint_html
from app.components.images import ImageView, Mark
from app.components.layout_svg import layout_svg
from app.components.messages import _message
from app.datasets.views import images_html
from app.diagnosis.views import Tile, bars_html, title_html
from app.diagnosis.views import tiles_html as diagnosed_html
from app.engine.costs import CostRow, Costs
from app.engine.models import Model
from app.gallery.views import facts_html, large_view, tiles_html
from app.page import header_html
from app.settings.views import costs_html
from app.store.entries import Entry, Found
from app.studio.results.attribute_guidance import AttributeGuidanceView
from app.studio.results.inside import InsideView, Layer
from app.studio.results.noise_table import NoiseRow, NoiseTable
from app.studio.results.object_table import ObjectRow, ObjectTable
from app.studio.results.pair_table import PairTable, Verdict
from app.studio.shelf import prompt_html, shelf_html, show_prompt
from detdiffusion.attributes import Strategy
from detdiffusion.evaluation.bootstrap import Estimate
from detdiffusion.evaluation.comparison import Comparison, PairRow
from detdiffusion.layout import Attribute, Box, Layout
from detdiffusion.sampling_config import Recommended, SamplingConfig
from detdiffusion.text.vocabulary import Vocabulary
from training.diagnosis.result import Calibration, Confusion, Diagnosis, Slice, Source

APP = Path(__file__).resolve().parents[2] / "app"
BAD = "\"'><script>alert(1)</script>&"
LAYOUT = Layout(64, 64, (Box(BAD, (0.1, 0.1, 0.5, 0.5), Attribute.EASY),))
OBJECTS = ObjectTable((ObjectRow(BAD, Attribute.EASY, 0.5, True),), BAD, 0.5, BAD)
PAIR = Comparison((PairRow(0, 0, BAD, 0.9, 0.1, False, True),), 0.8, (0.8, 0.8), 0.0, 1.0)
VERDICT = Verdict(PAIR, BAD, 0.5, BAD)
NOISES = NoiseTable(
    (NoiseRow(BAD, (0.9,), (0.1,), 0.8, (0.7, 0.9), (0.0, 1.0)),), PAIR, 1, 1, BAD, 0.5, (BAD, BAD), unseen=BAD
)
LAYERS = (Layer(BAD, Attribute.HARD, "rgb(1, 2, 3)", "data:image/png;base64,"),)
ENTRY = Entry(
    "run", 0, "a.png", 0.0, BAD, "sha", SamplingConfig(5, 20, 3.0, 0.5, "euler"), Strategy.HARD, BAD, 0.5, LAYOUT,
    (0.1,), (Found(BAD, (0.1, 0.1, 0.5, 0.5), 0.9),), id=7,
)  # fmt: skip
HALF = Estimate(0.5, (0.4, 0.6))
SLICE = Slice(BAD, {"class": BAD}, 20, 10, 0.1, (0.0, 0.2), 0.1, (0.0, 0.2), 0.4, 0.01)
DIAGNOSIS = Diagnosis(
    "", Source(BAD, (BAD,), "", None, 10, 20, BAD, "", 0.5, (BAD,)), {}, HALF, HALF, HALF, {"cls": 1.0}, {"cls": 2},
    (SLICE,), (SLICE,), 3, {}, (), Calibration(0.0, 0.0, ()), Confusion((), ()), (), (), {},
)  # fmt: skip
ROW = {"id": 1, "confidence": [0.5], "layout": LAYOUT.to_json()}
MODEL = cast(
    Model,
    SimpleNamespace(
        name=BAD,
        vocabulary=Vocabulary(things=(BAD,), stuff=(), grid=(8, 8)),
        detector=SimpleNamespace(name=BAD),
        why_no_tags=BAD,
        recommended=Recommended(),
    ),
)


@pytest.mark.parametrize(
    "view",
    [
        lambda: Mark(BAD, (0, 0, 1, 1), 0.5).html(),
        lambda: ImageView(marks=(Mark(BAD, (0, 0, 1, 1), None),)).marks_html(),
        lambda: ImageView(caption=BAD, name=BAD).caption_html(),
        lambda: hint_html(BAD),
        lambda: layout_svg(LAYOUT),
        lambda: _message(BAD, BAD, BAD),
        lambda: Chart(BAD, (Curve(BAD, BAD, ((0, 1.0),), dots=True),), BAD, axis=BAD).html(),
        lambda: Chart(BAD, (), BAD).html(),
        lambda: OBJECTS.html(),
        lambda: ObjectTable((ObjectRow(BAD, Attribute.EASY, None, False),), unseen=BAD).html(),
        lambda: PairTable((VERDICT,), (BAD, BAD)).html(),
        lambda: PairTable((VERDICT, VERDICT), (BAD, BAD)).html(),
        lambda: PairTable((VERDICT,), ("Easy", "Hard"), causes=(((),), ((BAD,),))).html(),
        lambda: PairTable((Verdict(Comparison((), 0.0, (0.0, 0.0), 0.0, 0.0), BAD, 0.5, BAD),)).html(),
        lambda: NOISES.html(),
        lambda: NoiseTable(comparison=PAIR, unseen=BAD).html(),
        lambda: AttributeGuidanceView((0.0, 1.0), tables=(OBJECTS, OBJECTS)).html(),
        lambda: InsideView("data:", LAYERS, tokens=(((BAD, None), (BAD, 0)),), length=77, note=BAD).html(),
        lambda: InsideView(note=BAD).html(),
        lambda: prompt_html(BAD, {"script": Attribute.HARD, "alert": Attribute.EASY}),
        lambda: show_prompt(MODEL, LAYOUT.to_json()),
        lambda: shelf_html({BAD: LAYOUT}, {BAD: LAYOUT}),
        lambda: tiles_html([ENTRY], Path("nowhere"), ()),
        lambda: facts_html(ENTRY),
        lambda: large_view(ENTRY, Path("nowhere")).marks_html(),
        lambda: costs_html(Costs((CostRow(BAD, BAD, BAD, 1.0),), BAD, BAD)),
        lambda: header_html(MODEL),
        lambda: bars_html(DIAGNOSIS, ""),
        lambda: title_html(DIAGNOSIS, f"slice {BAD}", 1),
        lambda: diagnosed_html([Tile(0, BAD, BAD, "data:", (0, 0, 1, 1)), Tile(1, BAD, BAD, "", (0, 0, 1, 1))]),
        lambda: images_html([("data:", ROW), ("data:", {**ROW, "refused": [{"reason": "copy", "nearest": BAD}]})]),
    ],
)
def test_no_text_becomes_html(view: Callable[[], Any]) -> None:
    html = str(view())
    assert "<script" not in html and "\"'>" not in html
    assert "&lt;" in html, "the text is there"


def test_attribute_words_are_coloured_and_nothing_else_is() -> None:
    html = prompt_html("<b> an easy bus", {"easy": Attribute.EASY, "b": Attribute.HARD})
    assert (
        html == '<p tabindex="0">&lt;<b class="hard">b</b>&gt; an <b class="easy">easy</b> <b class="hard">b</b>us</p>'
    )


def test_templates_are_literals() -> None:
    """Of `Markup(...)`: a value that is put in by an f-string would not be escaped."""
    found = []
    for path in sorted(APP.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Markup":
                literal = node.args and isinstance(node.args[0], ast.Constant)
                found.append((path.name, node.lineno, literal))
    assert found and [place for place in found if not place[2]] == []
