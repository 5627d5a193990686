"""How long does a person wait: until the studio serves, until the page that was opened shows its first finished pair,
and until the next pair of an example stands there. Every start is a fresh one, with an empty workspace.

--training: instead, from a press on Start in the untouched Training tab: until its first samples, until those after
steps of its own, and until its model can be loaded.

python -m benchmarks.opening [--model DIR] [--repeats 5] [--training]; prints JSON. It needs requirements-test.txt
and Chromium. Let the machine idle before you run it.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MINUTE = 60_000  # milliseconds

expect.set_options(timeout=MINUTE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "assets" / "models" / "papercut")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--training", action="store_true", help="time a first training from its tab")
    arguments = parser.parse_args()
    measure = measure_training if arguments.training else measure_pair
    program = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if program is None:
        parser.error("there is no Chromium here (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        waits = [measure(browser, arguments.model) for _ in range(arguments.repeats)]
        browser.close()
    seconds = {name: sorted(round(wait[name], 2) for wait in waits) for name in waits[0]}
    print(json.dumps({"seconds": seconds, "cores": os.cpu_count(), "repeats": arguments.repeats}, indent=2))


@contextmanager
def serving(model: Path) -> Iterator[tuple[str, float]]:
    """A studio with an empty workspace: its address, and the seconds until it was printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as workspace:
        command: list[Any] = [sys.executable, "-m", "app", "--port", port, "--workspace", workspace, "--model", model]
        began = time.perf_counter()
        process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            if "http://" not in process.stdout.readline():
                sys.exit("the studio did not start")
            yield f"http://127.0.0.1:{port}", time.perf_counter() - began
        finally:
            process.terminate()
            process.wait(timeout=60)


def measure_pair(browser: Browser, model: Path) -> dict[str, float]:
    """Seconds: to the address that is printed; from there to the first pair; from a key to the next one."""
    with serving(model) as (address, waited):
        began = time.perf_counter()
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.goto(address)
        page.locator("#pair table").wait_for(timeout=MINUTE)
        opened = time.perf_counter()
        page.locator("svg[tabindex]").focus()
        page.wait_for_timeout(1000)
        pressed = time.perf_counter()
        page.keyboard.press("c")
        expect(page.locator("#cancel")).to_be_visible()
        expect(page.locator("#cancel")).to_be_hidden()
        finished = time.perf_counter()
        page.close()
    return {
        "start_to_address": waited,
        "page_to_first_pair": opened - began,
        "key_to_next_pair": finished - pressed,
    }


def measure_training(browser: Browser, model: Path) -> dict[str, float]:
    """Seconds from a press on Start in the Training tab, where nothing was touched."""
    with serving(model) as (address, _):
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.goto(f"{address}/?tab=training")
        page.locator("#train-start").wait_for()
        page.wait_for_timeout(10_000)  # the opening pair is drawn
        pressed = time.perf_counter()
        page.locator("#train-start").click()
        page.locator("#train-sample img").wait_for(timeout=10 * MINUTE)
        first = time.perf_counter()
        page.locator("#train-sample-steps button").nth(2).wait_for(timeout=10 * MINUTE)  # behind "Latest" and the first
        second = time.perf_counter()
        page.locator("#train-head .finished").wait_for(timeout=10 * MINUTE)
        page.locator("#train-use").wait_for()
        finished = time.perf_counter()
        page.close()
    return {
        "start_to_first_samples": first - pressed,
        "start_to_samples_of_its_own_steps": second - pressed,
        "start_to_model": finished - pressed,
    }


if __name__ == "__main__":
    main()
