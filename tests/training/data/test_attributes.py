"""attributes.jsonl knows its detector: by hash, version, head, image size and thresholds; others are not mixed in."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from detdiffusion.attributes import AttributeRule
from detdiffusion.errors import DataError
from training.data.attributes import check_same, make_header, write_header

SETTINGS = {
    "version": "ultralytics 8.4",
    "head": "Detect",
    "image_size": 640,
    "thresholds": {"lowest_score": 0.001, "nms_iou": 0.6},
}
DATA: Any = SimpleNamespace(fingerprint="f" * 64)


def header(*, settings: dict[str, Any] | None = None, sha256: str = "a") -> dict[str, Any]:
    detector: Any = SimpleNamespace(name="mine", sha256=sha256, settings=SETTINGS if settings is None else settings)
    return make_header(DATA, AttributeRule(), [detector])


def test_a_file_says_by_what_it_was_made(tmp_path: Path) -> None:
    write_header(tmp_path / "a.jsonl", header())
    written = json.loads((tmp_path / "a.jsonl").read_text())
    assert written["detector"] == {"name": "mine", "sha256": "a", **SETTINGS}
    check_same(tmp_path / "a.jsonl", header())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 320}, r"another detector \(image_size was 640, is 320\)"),
        ({"version": "ultralytics 9"}, "version was ultralytics 8.4, is ultralytics 9"),
        ({"head": "Segment"}, "head was Detect"),
        ({"thresholds": {"lowest_score": 0.001, "nms_iou": 0.7}}, "thresholds was .*0.6.* is .*0.7"),
    ],
)
def test_other_settings_are_not_mixed_in(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_header(tmp_path / "a.jsonl", header())
    with pytest.raises(DataError, match=message):
        check_same(tmp_path / "a.jsonl", header(settings={**SETTINGS, **change}))


def test_other_weights_are_not_mixed_in(tmp_path: Path) -> None:
    write_header(tmp_path / "a.jsonl", header())
    with pytest.raises(DataError, match="attributes of another detector;"):
        check_same(tmp_path / "a.jsonl", header(sha256="b"))
    several = make_header(DATA, AttributeRule(), [SimpleNamespace(name="x", sha256="a")] * 2)  # type: ignore[list-item]
    with pytest.raises(DataError, match="attributes of another detector;"):
        check_same(tmp_path / "a.jsonl", several)


def test_a_file_of_version_0_1_goes_on(tmp_path: Path) -> None:
    write_header(tmp_path / "a.jsonl", header(settings={}))
    check_same(tmp_path / "a.jsonl", header())
    with pytest.raises(DataError, match="another detector"):
        check_same(tmp_path / "a.jsonl", header(sha256="b"))
