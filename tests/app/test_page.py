"""The head of the page."""

from app.engine.studio import Studio
from app.page import header_html
from detdiffusion.sampling_config import Recommended


def test_header_names_model_and_detector(studio: Studio) -> None:
    assert ">tiny · 2 things, 1 stuff · watcher</p>" in header_html(studio.model)


def test_header_says_that_a_model_is_a_fast_one(studio: Studio) -> None:
    wanted = Recommended(2, 1.0, fewest_steps=2, most_steps=2)
    studio.model.pipeline.register_to_config(sampling=wanted.to_json())
    assert ">tiny, fast (2 steps) · 2 things, 1 stuff · watcher</p>" in header_html(studio.model)
