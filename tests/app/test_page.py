"""The head of the page, and what of the page is sent to a browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.engine.studio import Studio
from app.page import Workspace, build, header_html
from detdiffusion.sampling_config import Recommended


def test_header_names_model_and_detector(studio: Studio) -> None:
    assert ">tiny · 2 things, 1 stuff · watcher</p>" in header_html(studio.model)


def test_header_says_that_a_model_is_a_fast_one(studio: Studio) -> None:
    wanted = Recommended(2, 1.0, fewest_steps=2, most_steps=2)
    studio.model.pipeline.register_to_config(sampling=wanted.to_json())
    assert ">tiny, fast (2 steps) · 2 things, 1 stuff · watcher</p>" in header_html(studio.model)


def not_json(value: Any, place: str) -> Iterator[str]:
    """Where in a value something stands that JSON has no word for."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from not_json(one, f"{place}.{name}")
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield from not_json(one, f"{place}[{number}]")
    elif not isinstance(value, str | int | float | None):
        yield place


def test_a_page_has_nothing_of_the_studio_in_it(studio: Studio, tmp_path: Path) -> None:
    """Gradio copies it for every visitor, with all that hangs on it."""
    page = build(studio, Workspace.of(tmp_path, studio.places))
    found = [place for place in not_json(page.config, "page") if not place.endswith(".props.delete_callback")]
    assert found == []
