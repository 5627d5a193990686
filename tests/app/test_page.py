"""The head of the page."""

from app.engine.studio import Studio
from app.page import header_html


def test_header_names_model_and_detector(studio: Studio) -> None:
    assert "<p>tiny · 2 things, 1 stuff · watcher</p>" in header_html(studio.model)
