"""The prompt below the canvas."""

from typing import Any

from app.engine.studio import Studio
from app.studio.shelf import show_prompt


def test_prompt_is_shown_as_the_model_reads_it(studio: Studio, street: dict[str, Any]) -> None:
    html = show_prompt(studio.model, street)
    assert 'An image with (bus, &lt;9&gt;&lt;36&gt;, <b class="easy">[easy]</b>)' in html
    assert '<b class="hard">[hard]</b>' in html


def test_words_for_attributes_need_no_explanation(studio: Studio, street: dict[str, Any]) -> None:
    assert studio.model.why_no_tags == ""
    assert 'class="hint"' not in show_prompt(studio.model, street)
