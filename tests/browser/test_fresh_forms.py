"""A person who opens the page, goes to a tab and presses its main button, with every menu as it was."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.model]

MINUTES = 60_000  # milliseconds


@pytest.mark.parametrize(
    ("tab", "form"),
    [
        pytest.param("Training", "train", marks=pytest.mark.bundled),
        ("Evaluation", "eval"),
        ("Data sets", "data"),
        ("Diagnose", "diag"),
    ],
    ids=str.lower,
)
def test_an_untouched_form_starts(studio: Any, tab: str, form: str) -> None:
    page = studio.page
    page.get_by_role("tab", name=tab).click()
    rename, manage = page.locator(f"#{form}-rename"), page.locator(f"#{form}-manage > button")
    page.locator(f"#{form}-start").click()
    run = page.locator(f"#{form}-head .run")
    expect(run).to_be_visible(timeout=2 * MINUTES)
    stop = page.locator(f"#{form}-stop")
    stop.click()
    expect(stop).to_be_hidden()
    manage.click()
    expect(rename).to_be_enabled()


@pytest.mark.bundled
@pytest.mark.long
def test_only_what_is_necessary_was_filled(studio: Any, fill: Callable[..., None]) -> None:
    page = studio.page
    page.get_by_role("tab", name="Training").click()
    fill("train", scenes=12)
    page.locator("#train-start").click()
    expect(page.locator("#train-log")).to_contain_text("Drawing scenes", timeout=2 * MINUTES)
    stop = page.locator("#train-stop")
    stop.click()
    expect(stop).to_be_hidden()
    runs = page.locator("#train-runs button")
    page.locator("#train-manage > button").click()
    page.locator("#train-new-name input").fill("street")
    page.locator("#train-rename").click()
    expect(runs.filter(has_text="street")).to_be_visible()
    expect(page.locator("#train-head strong")).to_have_text("street")
    page.locator("#train-manage > button").click()
    page.locator("#train-delete").click()
    studio.message("In the trash")
    expect(runs.filter(has_text="street")).to_have_count(0)
    page.locator("#train-undo").click()
    studio.message("Brought back")
    expect(runs.filter(has_text="street")).to_be_visible()


def test_a_loop_without_its_file_says_what_is_missing(studio: Any) -> None:
    page = studio.page
    page.get_by_role("tab", name="Data sets").click()
    page.locator("#data-more > button").click()
    page.locator("#data-start-loop").click()
    studio.message("name the loop's config file")
