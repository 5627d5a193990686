"""A person at the Training tab: starts a real run, watches it, reloads, stops, resumes, draws with its model."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from screens import misfits

from detdiffusion.image_record import read_image

pytestmark = [pytest.mark.browser, pytest.mark.model]

MINUTES = 60_000  # milliseconds: scenes, attributes and latents come before the first step, on a busy machine
STEPS = 3000  # more than this test waits for; a run that it could not stop ends by itself

STEP_ABOVE = """(least) => {
  const found = document.querySelector("#train-head .facts")?.textContent.match(/step ([\\d,]+) of/);
  return found && Number(found[1].replaceAll(",", "")) > least;
}"""


class Training:
    """The tab in a user's words."""

    def __init__(self, studio: Any, fill: Callable[..., None]) -> None:
        page = studio.page
        self.page, self._fill, self.message, self.screenshot = page, fill, studio.message, studio.screenshot
        self.head = page.locator("#train-head")
        self.loss = page.locator("#train-charts path.line.total")

    def open(self) -> None:
        self.page.get_by_role("tab", name="Training").click()
        expect(self.page.locator("#train-runs").locator("button, .hint").first).to_be_visible()

    def fill(self, **values: object) -> None:
        self._fill("train", **values)

    def start(self) -> None:
        self.page.locator("#train-start").click()

    def press(self, button: str) -> None:
        self.page.locator(f"#train-{button}").click()

    def reaches(self, state: str) -> None:
        expect(self.head.locator(f".run.{state}")).to_be_visible(timeout=5 * MINUTES)

    def passes(self, step: int) -> None:
        self.page.wait_for_function(STEP_ABOVE, arg=step, timeout=5 * MINUTES)

    def step(self) -> int:
        found = re.search(r"step ([\d,]+) of", self.head.inner_text())
        assert found is not None
        return int(found[1].replace(",", ""))

    def curve(self) -> str:
        return self.loss.get_attribute("d") or ""


@pytest.fixture
def training(studio: Any, fill: Callable[..., None]) -> Iterator[Training]:
    page, training = studio.page, Training(studio, fill)
    training.open()
    yield training
    stop = page.locator("#train-stop")  # also after a failure: nothing goes on behind the tests' back
    if stop.is_visible():
        stop.click()
        expect(stop).to_be_hidden()


@pytest.mark.bundled
def test_a_run_from_start_to_picture(training: Training) -> None:
    page = training.page
    training.screenshot("training-empty")
    assert page.evaluate("document.documentElement.scrollHeight <= window.innerHeight"), "the page scrolls"

    training.fill(scenes=12, steps=STEPS, batch=2, name="tiny")
    page.locator("#train-more > button").click()
    training.fill(settings="sample_steps=4\ncheckpoint_steps=4\nsampler_steps=2\nsample_layouts=1")
    training.start()
    training.reaches("preparing")
    expect(page.locator("#train-log")).to_contain_text("Drawing scenes")
    training.reaches("running")
    expect(training.loss).to_be_attached()
    early = training.curve()
    training.passes(5)
    assert training.curve() != early, "the curve moves"
    expect(page.locator("#train-sample img")).to_be_visible()
    expect(page.locator("#train-charts path.dots.easy")).to_be_attached()
    expect(training.head).to_contain_text(re.compile(r"\d+ (s|min|h|d)\b.* left"))
    training.screenshot("training-running")

    before = training.step()
    page.reload()  # the tab stands in the address
    training.open()
    training.reaches("running")
    training.passes(before)
    expect(page.locator("#train-sample img")).to_be_visible()

    training.press("stop")
    training.message("checkpoint")
    training.reaches("stopped")
    stopped = training.step()
    expect(page.locator("#train-stop")).to_be_hidden()
    training.press("resume")
    training.reaches("running")
    training.passes(stopped)
    training.press("stop")
    training.message("checkpoint")
    training.reaches("stopped")
    training.screenshot("training-stopped")
    assert misfits(page, "training") == []

    training.press("use")
    training.message("tiny generates the images now")
    expect(page.locator("#header")).to_contain_text(re.compile(r"tiny · \d+ things"))
    page.locator("svg[tabindex]").focus()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#cancel")).to_be_visible()
    expect(page.locator("#cancel")).to_be_hidden()
    with page.expect_download() as download:
        page.locator("#picture a.download").click()
    picture = Path(download.value.path()).with_suffix(".png")
    picture.write_bytes(Path(download.value.path()).read_bytes())
    assert read_image(picture).to_json()["model"] == "tiny"
    training.screenshot("training-loaded")

    training.open()
    training.press("back")
    expect(page.locator("#header")).to_contain_text(re.compile(r"papercut · \d+ things"))


def test_what_cannot_work_is_said_before_it_starts(training: Training) -> None:
    page = training.page
    listed = page.locator("#train-runs button")
    page.wait_for_timeout(3000)  # the list of runs is looked at every two seconds
    before = listed.count()
    page.get_by_label("Folder", exact=True).click()
    for folder, message in (
        ("", "the folder of the images"),
        ("nowhere/at/all", "is not a folder"),
        ("/nowhere/at/all", "outside of what the studio may read"),
    ):
        training.fill(folder=folder)
        training.start()
        training.message(message)
        expect(page.locator("#train-start")).to_be_enabled()
    page.get_by_label("Papercut", exact=True).click()
    training.fill(scenes=0)
    training.start()
    training.message("scenes '0'")
    training.fill(scenes=24, name="no/name")
    training.start()
    training.message("is not a valid name")
    training.fill(name="")
    page.locator("#train-more > button").click()
    training.fill(settings="no_such_field=1")
    training.start()
    training.message("no_such_field")
    expect(listed).to_have_count(before)
