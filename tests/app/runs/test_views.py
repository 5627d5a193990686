"""What becomes HTML of runs: escaped, and the same numbers as the values."""

import pytest

from app.runs.jobs import State, Status
from app.runs.views import RunHead, choice_html, duration, log_html, readable, run_row


def test_text_of_users_is_escaped() -> None:
    bad = "<img src=x onerror=alert(1)>"
    shown = [
        log_html([bad]),
        RunHead(Status(bad, State.FAILED, message=bad, about={"data": bad})).html(),
        run_row(Status(bad, State.FAILED), chosen=True),
        choice_html(bad, bad, chosen=False),
    ]
    assert not any("<img" in html for html in shown)


def test_head_of_a_run_tells_how_far_it_is() -> None:
    about = {"data": "Papercut, 200 scenes", "preset": "papercut-cpu"}
    html = RunHead(Status("street-1", State.RUNNING, 250, 1000, 100.0, "", False, about)).html()
    assert "step 250 of 1,000 · 2 min left" in html
    assert "width:25.0%" in html
    assert "Papercut, 200 scenes · papercut-cpu" in html
    assert 'class="run running"' in html
    failed = RunHead(Status("street-1", State.FAILED, message="no images")).html()
    assert '<p class="message">no images</p>' in failed
    assert "width:0.0%" in failed
    stopped = RunHead(Status("street-1", State.STOPPED, 2, 9, message="the same command goes on")).html()
    assert '<p class="message">Resume continues where it stopped.</p>' in stopped
    lost = RunHead(Status("street-1", State.STOPPED, message="job.json is damaged", resumable=False)).html()
    assert '<p class="message">job.json is damaged</p>' in lost


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


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("$ python -m training papercut --images 12 --out /tmp/x", "Drawing scenes:"),
        ("$ python -m training verify /tmp/x", "Checking the images:"),
        (
            "generator:  22%|██▏       | 257/1150 [00:22<01:35,  9.31it/s, total=0.328, denoise=0.324]",
            "generator: 22 %, 257 of 1150, 01:35 left",
        ),
        ("scenes:   0%|          | 0/12 [00:00<?, ?it/s]", "scenes: 0 %, 0 of 12"),
        ("error: the disk is full", "error: the disk is full"),
    ],
)
def test_a_line_of_a_log(line: str, shown: str) -> None:
    assert readable(line) == shown


def test_rows_of_tables_stay_in_one_line_and_sentences_wrap() -> None:
    shown = log_html(["class   hard   easy", "a sentence <b> of many words", "| car | 3 |"])
    assert shown.count("<span>") == 2
    assert "<span>class   hard   easy</span>\na sentence &lt;b&gt; of many words\n<span>| car | 3 |</span>" in shown
