"""A fast model in a real browser: what its full model makes of the same noise, by a button and by a key."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops
from playwright.sync_api import Page, expect
from screens import SCREENS, misfits
from small_models import write_quick_model, write_quick_pair

from detdiffusion.image_record import read_image


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory, serve_together: Callable[[Path], str]) -> str:
    """Where a studio serves a student beside its teacher."""
    return serve_together(write_quick_pair(tmp_path_factory.mktemp("models")))


def drawn(person: Any, page: Page) -> list[Any]:
    """What the two images that stand side by side were made of."""
    expect(page.locator("#pair .caption.a")).to_contain_text("Fast (2 steps)")
    expect(page.locator("#pair .caption.b")).to_contain_text("Full (4 steps)")
    person.finished()
    return [person.saved(f"#pair .caption.{side}") for side in "ab"]


def test_the_full_model_stands_beside_the_fast_one_on_demand(fast: str, visit: Any, person: Any) -> None:
    page = visit(fast)
    someone = person(page)
    button = page.locator("#full-model")
    expect(button).to_have_text("Full (4 steps)")
    expect(page.locator("#header p")).to_contain_text("fast, fast (2 steps) · 16 things")
    button.click()
    files = drawn(someone, page)
    records = [read_image(file) for file in files]
    assert [record.to_json()["model"] for record in records] == ["fast", "full"]
    assert [record.to_json()["steps"] for record in records] == [2, 4]
    assert len({record.to_json()["seed"] for record in records}) == 1
    assert records[0].layout == records[1].layout
    images = [Image.open(file).convert("RGB") for file in files]
    assert ImageChops.difference(*images).getbbox() is not None
    expect(page.locator("#pair .legend")).to_contain_text("A Fast (2 steps)")
    expect(page.locator("#pair .legend")).to_contain_text("B Full (4 steps)")
    expect(page.locator("#results .stale")).to_have_count(0)
    someone.screenshot("fast-and-full")


def test_live_goes_on_behind_it(fast: str, visit: Any, person: Any) -> None:
    """A key asks for it; the next change is drawn by the fast model again."""
    page = visit(fast)
    someone = person(page)
    page.locator("button.live").click()
    page.wait_for_function("!document.documentElement.dataset.live")
    page.locator(".canvas svg [data-id]").last.click()
    page.keyboard.press("m")
    files = drawn(someone, page)
    page.keyboard.press("Shift+2")  # all things hard
    expect(page.locator("#pair .caption.b")).to_contain_text("As tagged")
    page.wait_for_function("!document.documentElement.dataset.live")
    page.keyboard.press("m")
    later = drawn(someone, page)
    assert read_image(later[1]).layout != read_image(files[1]).layout, "of the layout as it is tagged now"
    assert read_image(later[1]).to_json()["seed"] == read_image(files[1]).to_json()["seed"]


@pytest.mark.long
def test_a_model_that_knows_no_teacher_has_no_such_button(
    tmp_path_factory: pytest.TempPathFactory, serve: Callable[[Path], str], visit: Any, person: Any
) -> None:
    page = visit(serve(write_quick_model(tmp_path_factory.mktemp("alone") / "alone")))
    expect(page.locator("#compare")).to_be_visible()
    expect(page.locator("#full-model")).to_have_count(0)
    before = page.locator("#pair .caption.b").inner_text()
    page.locator(".canvas svg").click()
    page.keyboard.press("m")
    person(page).finished()
    assert page.locator("#pair .caption.b").inner_text() == before


@pytest.mark.long
def test_it_has_its_place_on_every_screen(fast: str, visit: Any, person: Any) -> None:
    page = visit(fast)
    someone = person(page)
    page.locator("#full-model").click()
    drawn(someone, page)
    assert misfits(page, "studio", (1.0,)) == []
    for width, height in SCREENS:
        page.set_viewport_size({"width": width, "height": height})
        page.locator("#full-model").click(trial=True)
        someone.screenshot(f"fast-and-full-{width}")
        for caption, name in (("a", "Fast (2 steps)"), ("b", "Full (4 steps)")):
            words = page.locator(f"#pair .caption.{caption} .tag")
            expect(words).to_have_text(name)
            assert words.evaluate("it => it.scrollWidth <= it.clientWidth"), f"{name} is cut at {width}x{height}"


def test_another_model_draws_what_is_on_the_canvas(fast: str, visit: Any, person: Any) -> None:
    """Where live mode is on: nobody has to press anything to see it."""
    page = visit(fast)
    someone = person(page)
    page.locator("button.live").click()
    page.wait_for_function("!document.documentElement.dataset.live")
    for model in ("full", "fast"):
        page.get_by_role("tab", name="Settings").click()
        page.locator("#settings-model input").click()
        with page.expect_response(
            lambda answer, model=model: f'"{model}"' in answer.text() if "/run/" in answer.url else False
        ):
            page.get_by_role("option", name=re.compile(rf"^{model} \(")).click()
        page.locator("#use-settings").click()
        expect(page.locator("#header")).to_contain_text(re.compile(rf"^.*{model}(, fast \(\d steps\))? · "))
        page.get_by_role("tab", name="Studio", exact=True).click()
        page.wait_for_function("document.documentElement.dataset.live === 'drawing'")
        page.wait_for_function("!document.documentElement.dataset.live")
        someone.finished()
        assert read_image(someone.saved("#pair .caption.a")).to_json()["model"] == model
