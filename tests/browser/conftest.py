"""The real page: `python -m app` with the weights of the bundled model, in a real Chromium. Nothing is replaced; its
process is a fork of one that has loaded the libraries.

Most tests are about the page and draw with two steps; those marked `bundled` draw as a user does, train, which a
model of few steps refuses, or choose among the models that lie beside it.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import axe_playwright_python
import pytest
import warm
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from small_models import write_quick_model

from detdiffusion.core.assets import BUNDLED_MODEL

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LAPTOP = {"width": 1366, "height": 768}
SECONDS = 120  # for whatever the page has to do
# An image of two steps may be there before anybody looks whether it is being drawn.
NOTES_BUSY = """(place) => {
    window.wasBusy = false;
    new MutationObserver((_, watch) => {
        if (!document.querySelector(place)) return;
        window.wasBusy = true;
        watch.disconnect();
    }).observe(document.body, { subtree: true, childList: true, attributes: true });
}"""

expect.set_options(timeout=SECONDS * 1000)


def lacking(what: str) -> NoReturn:
    """Skips aloud, or fails where the browser tests are required."""
    if os.environ.get("DETDIFFUSION_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{what}, and DETDIFFUSION_REQUIRE_BROWSER=1")
    pytest.skip(f"BROWSER TESTS SKIPPED: {what}")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    program = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if program is None:
        lacking("there is no Chromium on this machine (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def address(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the studio serves a quick Papercut, for all tests together."""
    model = write_quick_model(tmp_path_factory.mktemp("models") / "papercut")
    with warm.studio(model, tmp_path_factory.mktemp("studio")) as (_, address):
        yield address


@pytest.fixture(scope="session")
def bundled(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where it serves the bundled model, for the tests with that mark."""
    with warm.studio(BUNDLED_MODEL, tmp_path_factory.mktemp("studio")) as (_, address):
        yield address


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Path], str]]:
    """`serve(model)`: where a studio of this test's own serves it."""
    with ExitStack() as stack:
        yield lambda model: stack.enter_context(warm.studio(model, tmp_path / "studio"))[1]


@pytest.fixture(scope="module")
def serve_together(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], str]]:
    """`serve_together(model)`: where a studio serves it for all tests of a file."""
    with ExitStack() as stack:
        yield lambda model: stack.enter_context(warm.studio(model, tmp_path_factory.mktemp("studio")))[1]


@pytest.fixture(scope="session")
def laptop(chromium: Browser) -> Iterator[BrowserContext]:
    """A laptop's screen. Its pages share the browser's cache: what Gradio is made of is fetched and compiled once."""
    context = new_screen(chromium, viewport=LAPTOP)
    yield context
    context.close()


def find_violations(page: Page) -> list[str]:
    """What axe-core says against the page as it stands, of any impact."""
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(AXE)
    found: list[str] = page.evaluate(
        """async () => {
            const fades = document.getAnimations().filter((each) => each instanceof CSSTransition);
            await Promise.allSettled(fades.map((each) => each.finished)); // no colour half way to another
            return (await axe.run(document, { iframes: false })).violations.flatMap(
                ({ id, impact, nodes }) => nodes.map((node) => {
                    const why = (node.any[0] ?? node.all[0] ?? node.none[0])?.message ?? "";
                    return `${impact}: ${id}: ${node.target.join(" ")}: ${why}`;
                }));
        }"""
    )
    return found


@pytest.fixture
def violations() -> Callable[[Page], list[str]]:
    """For tests that ask on the way."""
    return find_violations


def new_screen(chromium: Browser, **screen: Any) -> BrowserContext:
    context = chromium.new_context(**{"accept_downloads": True, **screen})
    context.set_default_timeout(SECONDS * 1000)
    # Whether a machine is quick enough for live mode decides nothing here.
    quiet = "if (!localStorage.getItem('live')) localStorage.setItem('live', 'off');"
    context.add_init_script(f"try {{ {quiet} }} catch {{}}")  # a report's frame has no storage
    return context


class Visits:
    """Pages as they open, example pair finished. They may ask for nothing beyond this machine, and nothing may fail."""

    def __init__(self, chromium: Browser, laptop: BrowserContext) -> None:
        self.chromium, self.laptop = chromium, laptop
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.violations: list[str] = []
        self.pages: list[Page] = []
        self.addresses: list[str] = []

    def __call__(self, address: str, **screen: Any) -> Page:
        """`visit(address, device_scale_factor=2)`: on a laptop's screen, or another one like it."""
        context = new_screen(self.chromium, **{"viewport": LAPTOP, **screen}) if screen else self.laptop
        page = context.new_page()
        self.pages.append(page)
        self.addresses.append(address)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("domcontentloaded", self._forget_what_was_cut_off)
        page.goto(address)
        page.locator("#pair table").wait_for()
        at_rest(page)
        return page

    def _forget_what_was_cut_off(self, _: Page) -> None:
        """A page was left: what Gradio says of a stream that ends with it is no fault of the page."""
        cut_off = ("AbortError", "Unexpected error Connection errored out")
        self.errors[:] = [error for error in self.errors if not error.startswith(cut_off)]

    def check(self) -> None:
        asked, errors, violations = list(self.asked), list(self.errors), list(self.violations)
        for kept in (self.asked, self.errors, self.violations):
            kept.clear()
        assert [url for url in asked if not url.startswith((*self.addresses, "data:", "blob:"))] == []
        assert errors == []
        assert violations == []

    def look(self) -> None:
        """How accessible the pages are as a test leaves them: two seconds for each test, so not in `make test`."""
        for page in self.pages:
            if not page.is_closed() and page.url.startswith("http"):
                self.violations += find_violations(page)

    def end(self) -> None:
        """Closes the pages; what they remember for the next visit is forgotten."""
        for page in self.pages:
            if page.context is not self.laptop:
                page.context.close()
            elif not page.is_closed():
                page.evaluate("localStorage.clear()")
                page.close()
        self.pages.clear()
        self.laptop.clear_cookies()


@pytest.fixture
def visit(chromium: Browser, laptop: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Visits]:
    visits = Visits(chromium, laptop)
    yield visits
    if "not long" not in request.config.option.markexpr:
        visits.look()
    visits.end()
    visits.check()


@pytest.fixture(scope="module")
def book(chromium: Browser, laptop: BrowserContext) -> Iterator[Visits]:
    """For files whose tests take turns on one page."""
    visits = Visits(chromium, laptop)
    yield visits
    visits.end()


@pytest.fixture
def page(visit: Visits, request: pytest.FixtureRequest) -> Page:
    served = "bundled" if request.node.get_closest_marker("bundled") else "address"
    return visit(request.getfixturevalue(served))


def at_rest(page: Page) -> None:
    """Waits until the page has worked off what it was told: a person is never faster than that, a test may be.

    Two frames of it, because Gradio sets the values of a menu's widgets once more in the frame after they appear.
    """
    page.evaluate(
        """async () => {
            const soon = (call) => new Promise((done) => call(done));
            for (const call of [requestIdleCallback, setTimeout, requestAnimationFrame, requestAnimationFrame]) {
                await soon(call);
            }
            await soon(requestIdleCallback);
        }"""
    )


@pytest.fixture
def fill(page: Page) -> Callable[..., None]:
    """Types values into the fields of a form: `fill("train", scenes=24)` into the one of #train-scenes."""

    def fill(form: str, **values: object) -> None:
        for name, value in values.items():
            field = page.locator(f"#{form}-{name} :is(input, textarea)")
            field.wait_for()
            at_rest(page)
            field.fill(str(value))

    return fill


class Studio:
    """A person at the studio."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.canvas = page.locator("svg[tabindex]")
        self.seed = page.locator("#seed input")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def type(self, text: str) -> None:
        self.page.keyboard.type(text)

    def at(self, x: float, y: float) -> tuple[float, float]:
        frame = self.canvas.bounding_box()
        assert frame is not None
        return frame["x"] + x * frame["width"], frame["y"] + y * frame["height"]

    def drag(self, x1: float, y1: float, x2: float, y2: float) -> None:
        self.page.mouse.move(*self.at(x1, y1))
        self.page.mouse.down()
        self.page.mouse.move(*self.at((x1 + x2) / 2, (y1 + y2) / 2))
        self.page.mouse.move(*self.at(x2, y2))
        self.page.mouse.up()

    def set_number(self, place: str, value: int) -> None:
        """Types a number into a slider's field, and leaves the field."""
        field = self.page.locator(f"{place} input[type=number]")
        field.wait_for()
        at_rest(self.page)
        field.fill(str(value))
        field.press("Tab")
        at_rest(self.page)
        expect(field).to_have_value(str(value))

    def draw(self, label: str, x1: float, y1: float, x2: float, y2: float) -> None:
        self.drag(x1, y1, x2, y2)
        self.type(label)
        self.press("Enter")

    def clear(self) -> None:
        self.canvas.focus()
        for _ in self.layout()["objects"]:
            self.press("]", "Delete")
        expect(self.page.locator(".editor .empty")).to_be_visible()

    def layout(self) -> dict[str, Any]:
        with self.page.expect_download() as download:
            self.page.locator("[data-action=save]").click()
        layout: dict[str, Any] = json.loads(Path(download.value.path()).read_text())
        return layout

    def finished(self) -> None:
        """Waits until nothing is being generated."""
        expect(self.page.locator("#cancel")).to_be_hidden()
        expect(self.page.locator("#generate")).to_be_enabled()
        expect(self.page.locator(".picture.busy")).to_have_count(0)

    def generate(self) -> Path:
        """Generates by key; the picture file."""
        self.page.evaluate(NOTES_BUSY, "#picture .picture.busy")
        self.press("Control+Enter")
        self.page.wait_for_function("window.wasBusy")
        self.finished()
        return self.saved("#picture")

    def saved(self, place: str) -> Path:
        with self.page.expect_download() as download:
            self.page.locator(f"{place} a.download").click()
        target = Path(download.value.path()).with_suffix(".png")
        target.write_bytes(Path(download.value.path()).read_bytes())
        return target

    def open(self, name: str, content: bytes) -> None:
        self._choose({"name": name, "mimeType": "application/octet-stream", "buffer": content})

    def open_path(self, path: Path) -> None:
        """For a large file: the browser reads it by itself."""
        self._choose(path)

    def _choose(self, file: Any) -> None:
        with self.page.expect_file_chooser() as chooser:
            self.page.locator("#open-file").click()
        chooser.value.set_files(file)

    def drop(self, name: str, content: bytes) -> None:
        """Drops a file on the canvas."""
        self.page.locator(".editor .canvas").evaluate(
            """(canvas, [name, bytes]) => {
                const dataTransfer = new DataTransfer();
                dataTransfer.items.add(new File([new Uint8Array(bytes)], name));
                canvas.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
            }""",
            [name, list(content)],
        )

    def message(self, text: str) -> None:
        """A message with this text appears; it is closed again."""
        toast = self.page.locator("#messages .message").filter(has_text=re.compile(text, re.IGNORECASE))
        expect(toast).to_be_visible()
        toast.get_by_role("button").click()
        expect(toast).to_have_count(0)

    def screenshot(self, name: str) -> None:
        if folder := os.environ.get("DETDIFFUSION_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png")


@pytest.fixture
def person() -> type[Studio]:
    """For tests that bring pages of their own."""
    return Studio


@pytest.fixture
def studio(page: Page) -> Studio:
    return Studio(page)
