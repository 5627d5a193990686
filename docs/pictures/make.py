"""Makes the pictures of the documentation from the running studio: eleven tasks, and the moving one of the README.

python docs/pictures/make.py [NAME ...] [--out DIR]: starts a studio of its own with the bundled model, drives
it in Chromium, and writes WebP files. It needs requirements-test.txt and a Chromium; about ten minutes on two cores.
"""

import argparse
import io
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
SIZE = {"width": 1366, "height": 768}
MINUTE = 60_000  # milliseconds
FRAME_MS = 90  # of the moving picture
SAMPLE_STEP = 80  # of the training that is shown
NO_LOG = ".run-log { visibility: hidden }"  # it names folders of this machine

expect.set_options(timeout=4 * MINUTE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(TASKS)}, tour (default: all)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the WebP files")
    arguments = parser.parse_args()
    names = arguments.names or [*TASKS, "tour"]
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as workspace, serving(Path(workspace)) as address, chromium() as browser:
        if "tour" in names:
            page = opened(browser, address, ratio=1)
            film(page, arguments.out / "tour.webp")
            page.context.close()
        page = opened(browser, address, ratio=2)
        for name in TASKS:
            if name in names:
                TASKS[name](page)
                at_rest(page)
                save(page, arguments.out / f"{name}.webp")
        if "training" in names:
            page.locator("#train-stop").click()
            expect(page.locator("#train-stop")).to_be_hidden()


# --- the tasks, in the order in which a person meets them -------------------------------------------


def draw(page: Page) -> None:
    """A box has just been drawn, and its class is searched."""
    clear(page)
    page.keyboard.press("b")
    page.keyboard.type("road")
    page.keyboard.press("Enter")
    box(page, "bus", 0.06, 0.40, 0.50, 0.70)
    box(page, "person", 0.62, 0.42, 0.78, 0.86)
    page.keyboard.press("2")
    drag(page, 0.80, 0.16, 0.92, 0.52)
    page.keyboard.type("tra")
    expect(page.locator(".popup li").first).to_be_visible()


def generate(page: Page) -> None:
    """One picture, with what the detector finds."""
    page.keyboard.press("Escape")
    example(page, "Street")
    press(page, "Control+Enter")


def compare(page: Page) -> None:
    """Easy and hard from the same noise; the row under the pointer lights its box up."""
    press(page, "c")
    page.locator("#pair tbody tr").first.hover()


def noises(page: Page) -> None:
    """Many noises: how confidence spreads."""
    tab(page, "Many noises")
    number(page, "#noises-count", 24)
    page.locator("#run-noises").click()
    expect(page.locator("#noises .numbers")).to_contain_text("24/24")
    expect(page.locator("#run-noises")).to_be_enabled()


def difficulty(page: Page) -> None:
    """Harder from picture to picture."""
    tab(page, "Attribute guidance")
    page.locator("#run-attribute-guidance").click()
    expect(page.locator("#run-attribute-guidance")).to_be_disabled()
    expect(page.locator("#run-attribute-guidance")).to_be_enabled()


def inside(page: Page) -> None:
    """The masks of the perception head over the picture, one object lit."""
    tab(page, "Inside")
    expect(page.locator("#inside .layer").first).to_be_attached()
    page.locator("#inside tbody tr").filter(has_text="bus").hover()


def models(page: Page) -> None:
    """The paper's first figure: three models, one layout and noise."""
    page.mouse.move(0, 0)
    example(page, "Kite hill")
    page.locator("#figures > button").click()
    page.locator("#figure-1").click()
    expect(page.locator("#cancel")).to_be_visible()
    finished(page)


def gallery(page: Page) -> None:
    """Everything that was drawn so far."""
    page.get_by_role("tab", name="Gallery").click()
    tiles = page.locator("#gallery-view .tile")
    expect(tiles.first).to_be_visible()
    tiles.nth(1).locator(".pick").click()
    expect(page.locator("#gallery-restore")).to_be_enabled()


def dataset(page: Page) -> None:
    """A data set that was just made."""
    page.get_by_role("tab", name="Data sets").click()
    expect(page.locator("#data-page .tile").first).to_be_visible()
    at_rest(page)
    for name, value in {"layouts": 24, "count": 24, "steps": 12, "name": "hard-examples"}.items():
        page.locator(f"#data-{name} :is(input, textarea)").fill(str(value))
    page.locator("#data-start").click()
    expect(page.locator("#data-head .run.finished")).to_be_visible(timeout=5 * MINUTE)
    expect(page.locator("#data-page figure img").first).to_be_visible()
    page.add_style_tag(content=NO_LOG)


def diagnosis(page: Page) -> None:
    """What the bundled detector gets wrong in unseen scenes, and the images of the error that costs most."""
    page.get_by_role("tab", name="Diagnose").click()
    at_rest(page)
    page.locator("#diag-name :is(input, textarea)").fill("bundled-detector")
    page.locator("#diag-start").click()
    expect(page.locator("#diag-head .run.finished")).to_be_visible(timeout=10 * MINUTE)
    expect(page.locator("#diag-images .tile").first).to_be_visible()


def training(page: Page) -> None:
    """The training that the tab proposes, under way: the bundled model goes on, and its samples change."""
    page.get_by_role("tab", name="Training").click()
    at_rest(page)
    page.locator("#train-name :is(input, textarea)").fill("paper-streets")
    page.locator("#train-start").click()
    page.locator(f"#train-sample-steps button[data-name='{SAMPLE_STEP}']").wait_for(timeout=20 * MINUTE)
    page.add_style_tag(content=NO_LOG)


TASKS: dict[str, Callable[[Page], None]] = {
    task.__name__: task
    for task in (draw, generate, compare, noises, difficulty, inside, models, gallery, dataset, diagnosis, training)
}


def film(page: Page, path: Path) -> None:
    """The moving picture: a layout is drawn and tagged, the pair forms, the table lights up."""
    frames: list[tuple[Image.Image, int]] = []

    def take(milliseconds: int = FRAME_MS) -> None:
        frames.append((shot(page), milliseconds))

    clear(page)
    page.keyboard.press("b")
    page.keyboard.type("sky")
    page.keyboard.press("Enter")
    take(600)
    page.keyboard.press("Escape")
    box(page, "grass", 0.01, 0.56, 0.99, 0.99)
    take(600)
    for label, corners in (("kite", (0.12, 0.06, 0.36, 0.42)), ("person", (0.42, 0.44, 0.60, 0.86))):
        drag(page, *corners, take=take)
        take(300)
        page.keyboard.type(label[:3])
        take(500)
        page.keyboard.press("Enter")
        take(400)
    box(page, "cat", 0.68, 0.62, 0.92, 0.92)
    take(700)
    page.keyboard.press("c")
    expect(page.locator("#pair .side.a.busy")).to_be_visible()
    until = time.monotonic() + 120
    while page.locator("#cancel").is_visible() and time.monotonic() < until:
        take(120)
        page.wait_for_timeout(60)
    finished(page)
    at_rest(page)
    take(1600)
    for row in range(3):
        page.locator("#pair tbody tr").nth(row).hover()
        take(800)
    page.mouse.move(0, 0)
    take(2200)
    first, *others = [image.resize((1024, 576), Image.Resampling.LANCZOS) for image, _ in frames]
    durations = [duration for _, duration in frames]
    first.save(path, save_all=True, append_images=others, duration=durations, loop=0, quality=70, method=4)
    print(path, f"{len(frames)} frames, {path.stat().st_size / 1e6:.1f} MB")


# --- a person's hands --------------------------------------------------------------------------------


def clear(page: Page) -> None:
    page.locator("svg[tabindex]").focus()
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    expect(page.locator(".editor .empty")).to_be_visible()


def drag(
    page: Page, x1: float, y1: float, x2: float, y2: float, take: Callable[[], None] | None = None, steps: int = 5
) -> None:
    frame = page.locator("svg[tabindex]").bounding_box()
    assert frame is not None

    def move(x: float, y: float) -> None:
        page.mouse.move(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"])

    move(x1, y1)
    page.mouse.down()
    for step in range(1, steps + 1):
        move(x1 + (x2 - x1) * step / steps, y1 + (y2 - y1) * step / steps)
        if take is not None:
            take()
    page.mouse.up()


def box(page: Page, label: str, *corners: float) -> None:
    drag(page, *corners)
    page.keyboard.type(label)
    page.keyboard.press("Enter")


def example(page: Page, name: str) -> None:
    page.locator("#layouts > button").click()
    page.locator(f"#shelf button[data-name='example {name}']").click()
    expect(page.locator("#shelf")).to_be_hidden()
    page.locator("svg[tabindex]").focus()
    page.keyboard.press("Escape")


def press(page: Page, key: str) -> None:
    page.locator("svg[tabindex]").focus()
    page.keyboard.press(key)
    expect(page.locator("#cancel")).to_be_visible()
    finished(page)


def finished(page: Page) -> None:
    expect(page.locator("#cancel")).to_be_hidden()
    expect(page.locator("#generate")).to_be_enabled()


def tab(page: Page, name: str) -> None:
    page.locator("#results").get_by_role("tab", name=name).click()
    at_rest(page)


def number(page: Page, place: str, value: int) -> None:
    field = page.locator(f"{place} input[type=number]")
    field.fill(str(value))
    field.press("Tab")


def at_rest(page: Page) -> None:
    page.evaluate("() => new Promise((done) => requestIdleCallback(() => setTimeout(() => requestIdleCallback(done))))")
    page.wait_for_timeout(400)


def shot(page: Page) -> Image.Image:
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def save(page: Page, path: Path) -> None:
    shot(page).save(path, quality=82, method=6)
    print(path, f"{path.stat().st_size / 1e3:.0f} kB")


# --- the studio and the browser ----------------------------------------------------------------------


@contextmanager
def serving(workspace: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "app", "--port", str(port), "--workspace", str(workspace)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if "http://" not in process.stdout.readline():
            sys.exit("the studio did not start")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=120)


@contextmanager
def chromium() -> Iterator[Any]:
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((path for name in names if (path := shutil.which(name))), None)
    if program is None:
        sys.exit("there is no Chromium here (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def opened(browser: Any, address: str, ratio: int) -> Page:
    context = browser.new_context(viewport=SIZE, device_scale_factor=ratio)
    context.set_default_timeout(4 * MINUTE)
    page: Page = context.new_page()
    page.goto(address)
    page.locator("#pair table").wait_for()
    at_rest(page)
    return page


if __name__ == "__main__":
    main()
