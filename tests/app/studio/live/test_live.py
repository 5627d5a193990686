"""Live mode without its page: the newest request alone is drawn, and what one rests on is kept, once."""

import threading
from collections.abc import Callable
from typing import Any

import gradio as gr
import pytest

from app.components.messages import Updates
from app.engine.generation import MOST_PASSING, PASSING, Ask
from app.engine.studio import Studio
from app.studio.last_results import LastResults
from app.studio.live.handlers import Live, as_tagged
from app.studio.live.switch import LiveValue
from app.studio.results.compare import Pair, Side, Sides, compare_pair, kept_pair
from app.studio.results.form import Form
from app.studio.results.thresholds import Thresholds
from detdiffusion.attributes import Strategy
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import SamplingConfig

FORM = Form(fixed=False, seed=5.0, steps=3.0, guidance_scale=1.0)


class Page:
    """A page with live mode, as its handlers see it."""

    def __init__(self, studio: Studio) -> None:
        self.last = LastResults()
        with gr.Blocks():
            self.live = Live(studio, lambda _: (FORM, Sides(), Thresholds()), lambda pair: {"pair": pair}, self.last)
            self.state, tab = gr.State(), gr.State("7")
            self.live.wire([], [], self.state, tab)
        self.request = gr.Request(session_hash="me")

    def draw(self, layout: dict[str, Any], number: int) -> Updates:
        return self.live._on_draw(LiveValue(layout=layout, number=number), self.request)


def passing(studio: Studio) -> int:
    return len(list((studio.pictures / PASSING).iterdir()))


def test_a_tag_that_is_pressed_is_seen(street: dict[str, Any]) -> None:
    easy = {**street, "objects": [{**item, "attribute": "easy"} for item in street["objects"]]}
    assert as_tagged(Sides(), street) == Sides(b=Side(Strategy.ORIGIN))
    assert as_tagged(Sides(), easy) == Sides(), "nothing is hard: both are shown as ever"
    chosen = Sides(a=Side(guidance_scale=3.0))
    assert as_tagged(chosen, street) == chosen


def test_a_pair_passes_until_one_rests_on_it(studio: Studio, street: dict[str, Any]) -> None:
    page = Page(studio)
    news = page.draw(street, 3)
    pair = news[page.state]
    assert isinstance(pair, Pair) and pair.seed == 5, "the noise stays, whatever the form says"
    assert (news[page.live.switch].done, news[page.live.switch].note) == (3, "")
    assert studio.history.count() == 0 and passing(studio) == 2
    kept = page.live._on_rest(pair, "7")[page.state]
    assert studio.history.count() == 2 and kept.a.file.parent == studio.pictures
    assert page.last.of("7").pair == kept
    assert page.live._on_rest(kept, "7")[page.state] == kept and studio.history.count() == 2, "kept once"


def test_what_cannot_be_drawn_is_said(studio: Studio, street: dict[str, Any]) -> None:
    page = Page(studio)
    said = page.draw({**street, "objects": []}, 4)
    assert list(said) == [page.live.switch] and said[page.live.switch].done == 4
    assert "no objects" in said[page.live.switch].note


def test_the_newest_request_stops_the_one_before(
    studio: Studio, street: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    page, begun, go_on = Page(studio), threading.Event(), threading.Event()
    models = studio.models

    def slow(name: str | None) -> Any:
        begun.set()
        assert go_on.wait(30)
        return models.present

    answers: dict[int, Updates] = {}
    monkeypatch.setattr(models, "get", slow)
    first = threading.Thread(target=lambda: answers.update({1: page.draw(street, 1)}))
    first.start()
    assert begun.wait(30)
    second = threading.Thread(target=lambda: answers.update({2: page.draw(street, 2)}))
    second.start()
    _until(lambda: len(studio.generation._turns._line) == 2)
    go_on.set()
    for thread in (first, second):
        thread.join(60)
    assert list(answers[1]) == [page.live.switch] and answers[1][page.live.switch].done == 1, "nothing is shown of it"
    assert page.state in answers[2] and passing(studio) == 2


def test_images_that_pass_do_not_pile_up(studio: Studio, street: dict[str, Any]) -> None:
    asked = [Ask(Layout.from_json(street), SamplingConfig(seed, 1)) for seed in range(MOST_PASSING // 2 + 1)]
    for _ in range(2):
        list(studio.generation.run(asked, "me", kept=False))
    assert passing(studio) == MOST_PASSING and studio.history.count() == 0


def test_what_has_passed_is_not_kept(studio: Studio, street: dict[str, Any]) -> None:
    *_, pair = compare_pair(studio, street, FORM, "me", kept=False)
    assert pair.a.file is not None
    pair.a.file.unlink()
    assert kept_pair(studio, pair).results == pair.results and studio.history.count() == 0


def _until(there: Callable[[], bool]) -> None:
    for _ in range(3000):
        if there():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not come to that")
