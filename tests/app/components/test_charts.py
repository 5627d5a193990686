"""Curves: the points where they belong, the numbers beside them, nothing of a user's text unescaped."""

import re

import pytest

from app.components.charts import Chart, Curve


def points(html: str, css: str, kind: str = "line") -> list[tuple[float, float]]:
    path = re.search(rf'class="{kind} {css}" d="([^"]*)"', html)
    assert path is not None, html
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path[1])]


def test_points_lie_where_they_belong() -> None:
    html = Chart("Loss", (Curve("total", "total", ((10, 2.0), (20, 1.0), (40, 0.0))),), "none yet").html()
    assert points(html, "total") == [(25, 0), (50, 50), (100, 100)]
    assert 'aria-label="Loss at step 40: total 0"' in html
    assert "<b>0</b>" in html


def test_scale_is_shared_and_can_be_given() -> None:
    curves = (Curve("easy", "easy", ((1, 0.5),), dots=True), Curve("hard", "hard", ((1, 0.25),), dots=True))
    shared, given = Chart("Found", curves, "").html(), Chart("Found", curves, "", ceiling=1.0).html()
    assert (points(shared, "easy"), points(shared, "hard")) == ([(100, 0)], [(100, 50)])
    assert (points(given, "easy"), points(given, "hard")) == ([(100, 50)], [(100, 75)])
    assert points(given, "easy", kind="dots") == [(100, 50)]


def test_curves_may_begin_below_zero_and_end_later() -> None:
    curve = Curve("found", "easy", ((-1, 1.0), (0, 0.5)))
    html = Chart("Found", (curve,), "", 1.0, axis="attribute guidance", start=-1, end=1).html()
    assert points(html, "easy") == [(0, 0), (50, 50)]
    assert "attribute guidance -1</span>" in html and 'end">1</span>' in html
    assert 'aria-label="Found at attribute guidance 0: found 0.5"' in html


def test_values_beyond_the_scale_stay_inside() -> None:
    html = Chart("x", (Curve("a", "a", ((1, -1.0), (2, 3.0))),), "", ceiling=1.0).html()
    assert points(html, "a") == [(50, 100), (100, 0)]


def test_smoothing_keeps_a_constant_and_calms_noise() -> None:
    assert [value for _, value in Curve("a", "a", ((1, 0.3), (2, 0.3)), memory=5).smooth()] == pytest.approx([0.3, 0.3])
    noisy = Curve("a", "a", tuple((step, step % 2) for step in range(100)), memory=20)
    assert all(abs(value - 0.5) < 0.06 for _, value in noisy.smooth()[60:])
    html = Chart("x", (noisy,), "").html()
    assert len(points(html, "a")) == len(points(html, "a", kind="raw")) == 100


def test_nothing_to_draw() -> None:
    assert "no loss yet" in Chart("Loss", (Curve("total", "total", ()),), "no loss yet").html()
    flat = Chart("Loss", (Curve("total", "total", ((0, 0.0),)),), "").html()
    assert points(flat, "total") == [(0, 100)]


def test_text_is_escaped() -> None:
    bad = '<img src=x>"'
    assert "<img" not in Chart(bad, (Curve(bad, "a", ((1, 1.0),)),), bad).html()
