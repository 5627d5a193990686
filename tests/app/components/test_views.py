"""What becomes HTML: escaped, and the same numbers as the values."""

import re

from app.components.views import Mark, ObjectRow, ObjectTable, PairTable, PictureView, Verdict, header_html, prompt_html
from detdiffusion.evaluation.comparison import Comparison, PairRow
from detdiffusion.layout import Attribute


def test_text_of_users_is_escaped() -> None:
    bad = "<img src=x onerror=alert(1)>"
    row = ObjectRow(bad, Attribute.EASY, 0.5, True)
    pair = Comparison((PairRow(0, 0, bad, 0.9, 0.1, False, True),), 0.8, (0.8, 0.8), 0.0, 1.0)
    shown = [
        Mark(bad, (0, 0, 1, 1), 0.5).html(),
        PictureView(caption=bad).caption_html(),
        ObjectTable((row,), bad, 0.5).html(),
        PairTable((Verdict(pair, bad, 0.5), Verdict(pair, bad, 0.5)), (bad, bad)).html(),
        prompt_html(bad, {}),
        header_html(bad),
    ]
    assert not any("<img" in html for html in shown)


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


def test_empty_tables_say_what_will_stand_there() -> None:
    assert 'class="hint"' in ObjectTable().html()
    assert 'class="hint"' in PairTable().html()


def test_marks_keep_their_text_inside_the_picture() -> None:
    assert 'class="mark found"' in Mark("car", (0.1, 0.5, 0.3, 0.7), 0.9).html()
    assert 'class="mark missed low end"' in Mark("car", (0.9, 0.0, 1.0, 0.2), None).html()
