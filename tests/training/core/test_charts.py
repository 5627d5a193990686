"""Parts of charts: where values land, round numbers, and text that cannot become markup."""

import xml.etree.ElementTree as ET

import pytest
from markupsafe import Markup

from training.core.charts import Scale, dots, line, nice_ceiling, path, svg, text
from training.core.markup import element, joined

BAD = '<img src=x onerror="a">&\''


def test_a_scale_runs_both_ways_and_may_hold() -> None:
    down = Scale(-1, 3, 100, 0)
    assert [down(value) for value in (-1, 0, 3, 5)] == [100, 75, 0, -50]
    assert (down.within(5), down.within(-9), down.within(0)) == (0, 100, 75)


def test_paths() -> None:
    assert line([(1, 2)]) == "M1 2h0"
    assert line([(0, 1 / 3), (10.5, 20)]) == "M0 0.33h0L10.5 20"
    assert dots([(1, 2), (3, 4)]) == "M1 2h0M3 4h0"


@pytest.mark.parametrize(
    ("value", "expected"), [(0.031, 0.05), (0.5, 0.5), (1, 1), (1.01, 1.5), (7, 10), (0, 1), (float("inf"), 1)]
)
def test_ceiling_is_a_round_number(value: float, expected: float) -> None:
    assert nice_ceiling(value) == pytest.approx(expected)


def test_what_is_said_is_text() -> None:
    drawing = svg(10, 20, BAD, text(1, 2, BAD, css="name"), path(BAD, "M0 0"))
    root = ET.fromstring(drawing)
    assert (root.attrib["aria-label"], root.attrib["viewBox"], root.attrib["width"]) == (BAD, "0 0 10 20", "10")
    assert "preserveAspectRatio" not in root.attrib
    assert ET.fromstring(svg(10, 20, "", stretched=True)).attrib["preserveAspectRatio"] == "none"
    said, drawn = root
    assert (said.text, said.attrib["class"], drawn.attrib["class"]) == (BAD, "name", BAD)


def test_markup_stays_and_the_rest_is_escaped() -> None:
    assert element("p", "a < b", Markup("<b>c</b>"), class_="note", id=None) == '<p class="note">a &lt; b<b>c</b></p>'
    assert (element("br"), element("td", "")) == ("<br/>", "<td></td>")
    assert element("rect", x=0.0, y=1 / 3, stroke_width=2) == '<rect x="0" y="0.33" stroke-width="2"/>'
    assert joined(["<", Markup("<i/>")]) == "&lt;<i/>"
