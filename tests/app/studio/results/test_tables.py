"""The same numbers as the values."""

import re

from app.studio.results.object_table import ObjectTable
from app.studio.results.pair_table import PairTable, Verdict
from detdiffusion.evaluation.comparison import Comparison, PairRow


def test_pair_table_shows_every_number() -> None:
    rows = (PairRow(0, 0, "car", 0.91, 0.2, False, True), PairRow(0, 1, "bus", 0.8, 0.7, False, False))
    verdict = Verdict(Comparison(rows[::-1], 0.405, (0.1, 0.7), 0.0, 0.5), "eye", 0.5)
    html = PairTable((verdict,)).html()
    number = r'.*?number(?: lost)?">([\d.]+)</td>'
    cells = re.findall(r'data-index="(\d)".*?</i></td><td>(.*?)</td>' + number + number + r'.*?drop">([\d.-]+)<', html)
    assert cells == [("0", "car", "0.91", "0.20", "0.71"), ("1", "bus", "0.80", "0.70", "0.10")], (
        "the greatest drop first"
    )
    assert "1<i>/2</i>" in html
    assert 'aria-label="easy 0.91, hard 0.20"' in html


def test_a_second_detector_has_columns_of_its_own() -> None:
    one = Comparison(
        (PairRow(0, 0, "car", 0.9, 0.2, False, True), PairRow(0, 1, "bus", 0.8, 0.7, False, False)), 0.4, (0, 1), 0, 0.5
    )
    other = Comparison((PairRow(0, 1, "bus", 0.66, 0.11, False, True),), 0.55, (0, 1), 0.0, 1.0)
    html = PairTable((Verdict(one, "eye", 0.5), Verdict(other, "<judge>", 0.5))).html()
    assert "mean drop, eye" in html
    assert "mean drop, &lt;judge&gt;" in html
    car, bus = html.split("<tr data-index")[1:]
    assert [re.findall(r">(\d\.\d\d)<", row) for row in (car, bus)] == [
        ["0.90", "0.20", "0.70"],
        ["0.80", "0.70", "0.10", "0.66", "0.11", "0.55"],
    ]


def test_long_names_stand_once_in_the_legend() -> None:
    """And a drop that rounds to nothing has no sign."""
    rows = (PairRow(0, 0, "car", 0.501, 0.503, False, False), PairRow(0, 1, "bus", 0.9, 0.2, False, True))
    verdict = Verdict(Comparison(rows, -0.002, (0, 1), 0.0, 0.5), "eye", 0.5)
    html = PairTable((verdict,), ("Fast (2 steps)", "Full (20 steps)")).html()
    assert "missed, A<" in html and "missed, B<" in html and "missed, fast" not in html
    assert html.count("A Fast (2 steps)<") == 1 and html.count("B Full (20 steps)<") == 1
    assert "-0.00" not in html and ">0.00<" in html
    assert "missed, easy<" in PairTable((verdict,)).html()


def test_empty_tables_say_what_will_stand_there() -> None:
    assert 'class="hint"' in ObjectTable().html()
    assert 'class="hint"' in PairTable().html()
