"""What a run writes is shown as a person reads it."""

import pytest

from app.runs.views import log_html, readable


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


def test_a_log_is_escaped() -> None:
    assert "<script>" not in log_html(["<script>"])
