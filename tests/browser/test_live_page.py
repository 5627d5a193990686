"""Live mode in a real browser: what the canvas shows is drawn while one drags."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from small_models import write_quick_model

DRAG_SECONDS = 2.0
MOUSE_MS = 1000 / 60  # from one move of a mouse to the next
NOTED = """() => {
    window.made = [];
    const note = () => {
        const of = document.querySelector("#pair [data-made-of]")?.dataset.madeOf;
        if (of && of !== window.made.at(-1)) window.made.push(of);
    };
    note();
    new MutationObserver(note).observe(
        document.querySelector("#pair"), { subtree: true, childList: true, attributes: true });
}"""


@pytest.fixture
def live(address: str, visit: Any) -> Page:
    page: Page = visit(address)
    switch_on(page)
    return page


def switch_on(page: Page) -> None:
    button = page.locator("button.live")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    settle(page)
    page.evaluate(NOTED)


def settle(page: Page) -> None:
    page.wait_for_function("!document.documentElement.dataset.live")


def drag(page: Page, seconds: float) -> None:
    """Moves the frontmost object about as often as a mouse tells where it is, and lets go of it elsewhere."""
    box = page.locator(".canvas svg [data-id]").last.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate("window.since = performance.now()")
    step = 0
    while page.evaluate("performance.now() - window.since") < 1000 * seconds:
        step += 1
        page.mouse.move(x - 3 * step, y - step)
        page.wait_for_timeout(MOUSE_MS)
    page.mouse.up()


def seconds_of_a_pair(page: Page) -> float:
    """What the last one took, as the page says."""
    spent = re.search(r"in ([\d.]+) s", page.locator("#spent").inner_text())
    assert spent is not None
    return float(spent[1])


def made_of(page: Page) -> list[Any]:
    return [json.loads(text) for text in page.evaluate("window.made")]


def on_canvas(page: Page) -> Any:
    return page.evaluate("Object.entries(sessionStorage).filter(([k]) => k.startsWith('canvas')).map(([, v]) => v)[0]")


@pytest.mark.alone
def test_pairs_come_while_one_drags_and_the_last_is_of_the_last_layout(live: Page) -> None:
    before, idle = len(made_of(live)), seconds_of_a_pair(live)
    drag(live, DRAG_SECONDS)
    during = len(made_of(live)) - before
    settle(live)
    spent = max(0.1, idle, seconds_of_a_pair(live))  # other tests may have begun meanwhile
    assert during >= max(1, min(4, int(0.5 * DRAG_SECONDS / spent))), "four on two idle cores"
    places = [item["box"] for item in json.loads(on_canvas(live))["objects"]]
    assert [item["box"] for item in made_of(live)[-1]["objects"]] == places
    expect(live.locator("#results .stale")).to_have_count(0)


def test_a_tag_changes_the_numbers_without_another_key(live: Page) -> None:
    numbers = live.locator("#pair table").inner_text()
    live.locator(".canvas svg [data-id]").last.click()
    live.keyboard.press("2")
    expect(live.locator("#pair table")).not_to_have_text(numbers)
    settle(live)
    expect(live.locator("#pair .caption.b")).to_contain_text("As tagged")


def test_what_one_rests_on_goes_into_the_gallery_and_nothing_else(
    serve: Callable[[Path], str], visit: Any, tmp_path: Path
) -> None:
    live = visit(serve(write_quick_model(tmp_path / "quick")))
    switch_on(live)
    drag(live, 1.0)
    settle(live)
    live.wait_for_timeout(2500)
    live.locator("#gallery-view-button").click()
    expect(live.locator("#gallery-view .tile, #gallery-view [data-name^='image']")).not_to_have_count(0)
    shown = live.locator("#gallery-view img").count()
    assert 3 <= shown <= 9, "the opening example, and the pairs that stood still"


def test_switched_off_it_stops(live: Page) -> None:
    live.locator("button.live").click()
    settle(live)
    before = len(made_of(live))
    drag(live, 0.5)
    live.wait_for_timeout(1500)
    assert len(made_of(live)) == before
    expect(live.locator("#results .stale")).to_have_count(1)


def test_two_tabs_each_with_its_own_layout_and_one_that_goes(address: str, visit: Any) -> None:
    pages = [visit(address), visit(address)]
    for page in pages:
        switch_on(page)
    for page, key in zip(pages, ("ArrowLeft", "ArrowUp"), strict=True):
        page.bring_to_front()
        page.locator(".canvas svg [data-id]").last.click()
        for _ in range(3):
            page.keyboard.press(f"Shift+{key}")
    for page in pages:
        settle(page)
        places = [item["box"] for item in json.loads(on_canvas(page))["objects"]]
        page.wait_for_function(
            "places => JSON.stringify(JSON.parse(window.made.at(-1)).objects.map((item) => item.box)) === places",
            arg=json.dumps(places, separators=(",", ":")),
        )
    pages[0].keyboard.press("Shift+ArrowUp")
    pages[0].close()  # in the middle of drawing
    pages[1].bring_to_front()
    before = len(made_of(pages[1]))
    pages[1].keyboard.press("Shift+ArrowDown")
    pages[1].wait_for_function("before => window.made.length > before", arg=before)
