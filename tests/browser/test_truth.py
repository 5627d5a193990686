"""What the page shows is what it says: results and their layout, the address, messages, limits."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from detdiffusion.layout import MAX_OBJECTS

pytestmark = [pytest.mark.browser, pytest.mark.model]

EARLIER = "From an earlier layout"


def test_a_result_of_an_earlier_layout_says_so(studio: Any) -> None:
    page = studio.page
    compared = page.locator("#pair").locator("xpath=ancestor::*[@role='tabpanel'][1]").locator(".earlier")
    single = page.locator("#single").locator("xpath=ancestor::*[@role='tabpanel'][1]").locator(".earlier")
    page.get_by_role("tab", name="Image", exact=True).click()
    expect(page.locator("#objects table")).to_be_visible()
    expect(compared).to_have_count(0)
    expect(single).to_have_count(0)
    studio.canvas.focus()
    studio.press("]", "Digit2")
    expect(single).to_have_text(EARLIER)
    expect(compared).to_have_count(0)  # its sides bring their own tags along
    studio.press("ArrowRight")
    expect(compared).to_have_text(EARLIER)
    studio.screenshot("earlier")
    studio.press("Control+z", "Control+z")
    expect(compared).to_have_count(0)
    expect(single).to_have_count(0)
    studio.clear()
    expect(compared).to_have_text(EARLIER)
    studio.draw("cat", 0.3, 0.3, 0.7, 0.8)
    studio.press("Escape")
    studio.generate()
    expect(single).to_have_count(0)
    page.get_by_role("tab", name="Compare", exact=True).click()
    expect(compared).to_be_visible()


def test_a_reload_brings_results_and_tab_back(studio: Any) -> None:
    page = studio.page
    studio.clear()
    studio.draw("kite", 0.3, 0.3, 0.7, 0.8)
    studio.press("Escape", "c")
    expect(page.locator("#cancel")).to_be_visible()
    studio.finished()
    page.locator("#pair table").wait_for()
    before = [page.locator(f"#pair .side.{side} img").get_attribute("src") for side in "ab"]
    page.get_by_role("tab", name="Gallery").click()
    expect(page).to_have_url(re.compile(r"\?tab=gallery$"))
    page.reload()
    expect(page.locator("#gallery-tiles")).to_be_visible()
    page.go_back()
    expect(page.locator("#editor")).to_be_visible()
    expect(page.locator("#pair td", has_text="kite")).to_be_visible()
    after = [page.locator(f"#pair .side.{side} img").get_attribute("src") for side in "ab"]
    assert [re.sub(r".*/", "", str(name)) for name in after] == [re.sub(r".*/", "", str(name)) for name in before]
    expect(page.locator(".earlier")).to_have_count(0)
    page.go_forward()
    expect(page.locator("#gallery-tiles")).to_be_visible()
    page.get_by_role("tab", name="Studio", exact=True).click()
    expect(page).not_to_have_url(re.compile("tab="))


@pytest.mark.long
def test_each_message_lives_its_full_time(studio: Any) -> None:
    page = studio.page
    first, second = (page.locator("#messages .message", has_text=name) for name in ("one.json", "two.json"))
    studio.open("one.json", b"{")
    expect(first).to_be_visible()
    page.wait_for_timeout(4000)
    studio.open("two.json", b"[")
    expect(second).to_be_visible()
    expect(first).to_be_visible()
    expect(first).to_have_count(0)
    page.wait_for_timeout(2500)
    expect(second).to_be_visible()
    expect(second).to_have_count(0)


def test_a_file_that_cannot_be_taken_is_refused_by_name(studio: Any, tmp_path: Path) -> None:
    message, huge = studio.page.locator("#messages .message"), tmp_path / "huge.png"
    huge.write_bytes(bytes(40_000_000))
    studio.open_path(huge)
    expect(message.filter(has_text="Not opened")).to_contain_text(re.compile(r"huge\.png is larger than [\d.]+ MB"))
    studio.open("film.mov", b"no image")
    expect(message.filter(has_text="film.mov")).to_contain_text(re.compile(r"Not opened.*Choose \.json, .* or \.tiff"))


def test_thresholds_are_changed_in_the_result(studio: Any) -> None:
    page = studio.page
    before = page.locator("#pair table").inner_text()
    page.locator("#sides > button").click()
    studio.set_number("#min-confidence", 1)
    page.keyboard.press("Escape")
    expect(page.locator("#pair .legend")).to_contain_text("missed below 1.00")
    expect(page.locator("#pair .mark.found")).to_have_count(0)
    page.locator("#sides > button").click()
    studio.set_number("#min-confidence", 0)
    page.keyboard.press("Escape")
    expect(page.locator("#pair .legend")).to_contain_text("missed below 0.50")
    assert page.locator("#pair table").inner_text() == before


def test_a_file_is_named_as_the_person_knows_it(studio: Any) -> None:
    page = studio.page
    studio.open("holiday.png", b"no image at all")
    message = page.locator("#messages .message")
    expect(message).to_contain_text("holiday.png")
    assert "/" not in message.inner_text()


def test_the_object_too_many_is_refused_at_once(studio: Any) -> None:
    page = studio.page
    box = {"label": "kite", "box": [0.4, 0.4, 0.6, 0.6], "attribute": "easy"}
    studio.open("many.json", json.dumps({"width": 256, "height": 256, "objects": [box] * MAX_OBJECTS}).encode())
    expect(page.locator("svg g.box")).to_have_count(MAX_OBJECTS)
    studio.drag(0.05, 0.05, 0.2, 0.2)
    studio.message(f"at most {MAX_OBJECTS} objects")
    studio.canvas.focus()
    studio.press("b")
    studio.message(f"at most {MAX_OBJECTS} objects")
    expect(page.locator("svg g.box")).to_have_count(MAX_OBJECTS)


def test_a_run_is_cancelled_as_soon_as_it_is_asked_for(studio: Any) -> None:
    page = studio.page
    page.locator("#more > button").click()
    studio.set_number("#steps", 100)
    page.keyboard.press("Escape")
    studio.canvas.focus()
    studio.press("Control+Enter", "Shift+X")
    studio.message("cancelled")
    studio.finished()


def test_a_selected_tab_goes_on_looking_whatever_order_answers_come_in(studio: Any) -> None:
    page = studio.page

    def ticks(seconds: float) -> set[int]:
        """Which clocks of the page tick meanwhile."""
        with page.expect_event("request", is_tick, timeout=20_000) as first:
            pass
        found = [first.value]
        page.on("request", lambda request: found.append(request))
        page.wait_for_timeout(seconds * 1000)
        return {each.post_data_json["fn_index"] for each in found if is_tick(each)}

    page.get_by_role("tab", name="Evaluation", exact=True).click()
    wanted = ticks(3)
    assert len(wanted) == 1
    page.evaluate(
        """() => {
            const ask = window.fetch;
            let late = 2500; // ms: of the first answers, the earlier the later
            window.fetch = async (...words) => {
                const answer = await ask(...words);
                if (!answer.url.includes("/run/predict")) return answer;
                const wait = late;
                late = Math.max(0, late - 250);
                await new Promise((done) => setTimeout(done, wait));
                return answer;
            };
        }"""
    )
    for name in ("Training", "Evaluation", "Training", "Evaluation"):
        page.get_by_role("tab", name=name, exact=True).click()
    page.wait_for_timeout(6000)  # every late answer is there
    assert ticks(3) == wanted


def is_tick(request: Any) -> bool:
    """Whether a clock of the page asks, and no person."""
    return "/run/predict" in request.url and "event_data" not in request.post_data_json
