"""What becomes HTML: escaped, and the same numbers as the values."""

import re

import pytest

from app.components.views import (
    Mark,
    ObjectRow,
    ObjectTable,
    PairTable,
    PictureView,
    RunHead,
    Verdict,
    choice_html,
    duration,
    header_html,
    log_html,
    prompt_html,
    run_row,
)
from app.runs.jobs import State, Status
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
        log_html([bad]),
        RunHead(Status(bad, State.FAILED, message=bad, about={"data": bad})).html(),
        run_row(Status(bad, State.FAILED), chosen=True),
        choice_html(bad, bad, chosen=False),
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


def test_head_of_a_run_tells_how_far_it_is() -> None:
    about = {"data": "Papercut, 200 scenes", "preset": "papercut-cpu"}
    html = RunHead(Status("street-1", State.RUNNING, 250, 1000, 100.0, "", False, about)).html()
    assert "step 250 of 1,000 · 2 min left" in html
    assert "width:25.0%" in html
    assert "Papercut, 200 scenes · papercut-cpu" in html
    assert 'class="run running"' in html
    failed = RunHead(Status("street-1", State.FAILED, message="no pictures")).html()
    assert '<p class="message">no pictures</p>' in failed
    assert "width:0.0%" in failed
    assert "No run yet" in RunHead().html()


def test_list_of_runs_marks_the_one_that_is_shown() -> None:
    row = run_row(Status("street-1", State.RUNNING, 250, 1000), chosen=True)
    assert 'data-name="street-1"' in row
    assert 'aria-pressed="true"' in row
    assert "running 25%" in row
    assert 'aria-pressed="false"' in run_row(Status("b", State.STOPPED, 250, 1000), chosen=False)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3569, "59 min"),
        (3590, "1 h"),
        (7500, "2 h 5 min"),
        (86_399, "1 d"),
        (200_000, "2 d 7 h"),
    ],
)
def test_duration_is_said_as_one_would(seconds: float, text: str) -> None:
    assert duration(seconds) == text
