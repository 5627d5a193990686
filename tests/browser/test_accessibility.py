"""axe-core finds nothing to complain about: every tab, light and dark, results and menus. What other tests reach is
checked where they end, in `make test-long` (conftest.py)."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.model]

TABS = ("gallery", "dataset", "training", "evaluation", "diagnosis", "settings", "studio")
RESULTS = ("Image", "Many noises", "Attribute guidance", "Inside", "Figure", "Compare")
MENUS = ("layouts", "share", "more", "sides", "figures")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_tab_and_no_menu_has_a_violation(studio: Any, violations: Callable[[Page], list[str]], theme: str) -> None:
    page = studio.page
    page.evaluate(f"document.body.classList.toggle('dark', {'true' if theme == 'dark' else 'false'})")
    found: list[str] = []
    for tab in TABS:
        page.locator(f"#{tab}-view-button").click()
        expect(page.locator(f"#{tab}-view")).to_be_visible()
        found += violations(page)
    for name in RESULTS:
        page.get_by_role("tab", name=name, exact=True).click()
        found += violations(page)
    for menu in MENUS:
        page.locator(f"#{menu} > button").click()
        expect(page.locator(f"#{menu} > button + div")).to_be_visible()
        found += violations(page)
        page.keyboard.press("Escape")
    studio.canvas.focus()
    studio.press("?")
    found += violations(page)
    assert found == []
