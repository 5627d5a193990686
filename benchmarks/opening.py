"""How long does a person wait: until the studio serves, until the page that was opened shows its first finished pair,
and until the next pair of an example stands there. Every start is a fresh one, with an empty workspace.

python -m benchmarks.opening [--model DIR] [--repeats 5]; prints JSON. It needs requirements-test.txt and Chromium. Let
the machine idle before you run it.
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
    arguments = parser.parse_args()
    program = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if program is None:
        parser.error("there is no Chromium here (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        waits = [measure(browser, arguments.model) for _ in range(arguments.repeats)]
        browser.close()
    seconds = {name: sorted(round(wait[name], 2) for wait in waits) for name in waits[0]}
    print(json.dumps({"seconds": seconds, "cores": os.cpu_count(), "repeats": arguments.repeats}, indent=2))


def measure(browser: Browser, model: Path) -> dict[str, float]:
    """Seconds: to the address that is printed; from there to the first pair; from a key to the next one."""
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
            serving = time.perf_counter()
            page = browser.new_page(viewport={"width": 1366, "height": 768})
            page.goto(f"http://127.0.0.1:{port}")
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
        finally:
            process.terminate()
            process.wait(timeout=60)
    return {
        "start_to_address": serving - began,
        "page_to_first_pair": opened - serving,
        "key_to_next_pair": finished - pressed,
    }


if __name__ == "__main__":
    main()
