"""The real page: `python -m app` with the bundled model, in a real Chromium. Nothing is replaced."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.person import Studio

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "assets/models/papercut"
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
START_SECONDS = 90  # a test machine may be busy; the promise of 20 s is for an idle one
SECONDS = 120  # for whatever the page has to do

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
    """Where the studio serves."""
    if not MODEL.is_dir():
        lacking(f"the bundled model is missing ({MODEL.relative_to(ROOT)})")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    workspace = tmp_path_factory.mktemp("studio")
    command = [sys.executable, "-m", "app", "--port", str(port), "--workspace", str(workspace), "--model", str(MODEL)]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    with (workspace / "errors.log").open("w") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        killer = threading.Timer(START_SECONDS, process.kill)
        killer.start()
        assert process.stdout is not None
        line = process.stdout.readline()
        killer.cancel()
        assert f"http://127.0.0.1:{port}" in line, (workspace / "errors.log").read_text()
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in (workspace / "errors.log").read_text()


@pytest.fixture
def page(chromium: Browser, address: str) -> Iterator[Page]:
    """The page as it opens, example pair finished, on a laptop's screen. It may ask for nothing beyond this machine."""
    context = chromium.new_context(viewport={"width": 1366, "height": 768}, accept_downloads=True)
    context.set_default_timeout(SECONDS * 1000)
    asked: list[str] = []
    errors: list[str] = []
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.locator("#pairs table").wait_for()
    yield page
    context.close()
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert errors == []


@pytest.fixture
def studio(page: Page) -> Studio:
    return Studio(page)
