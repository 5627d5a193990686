"""Runs the tests: side by side first, then alone what asserts a rate; one closing line counts both.

`python tests/suite.py` runs what says whether a change may stay, in 25 minutes on two slow cores. `--long` runs
all, also what tests the same at length or in another way. `--fast` runs what needs no browser, no trained model and no
process with torch, and no more than a second or two. More words go to pytest.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
SLOW = ("browser", "model", "process", "slow", "long", "alone")  # the markers of what `--fast` leaves out
TIERS = ("--fast", "--long")
MOST_WORKERS = 4  # each may hold torch, a studio and a browser: 2 GB of memory
ALONE = ("tests/browser", "tests/test_help.py")  # where tests lie that run alone: the other folders are not even read
NOTHING_CHOSEN = 5  # pytest's exit code where no test matches


def parts(tier: str) -> list[list[str]]:
    """pytest's arguments, one list for each call. tier: "--fast", "--long", or neither."""
    workers = min(MOST_WORKERS, os.cpu_count() or 1)
    # Whoever is done takes over half of what the other still has: neighbours, which share servers and models, stay
    # together, and nobody waits for the longest file.
    side_by_side = ["-n", str(workers), "--dist", "worksteal"]
    if tier == "--fast":
        return [[*side_by_side, "-m", " and ".join(f"not {name}" for name in SLOW)]]
    left_out = "" if tier == "--long" else " and not long"
    return [[*side_by_side, "-m", f"not alone{left_out}"], ["-m", f"alone{left_out}"]]


def chosen(words: Sequence[str], arguments: Sequence[str]) -> Sequence[str]:
    """What the caller asks for; else everything, or where tests lie that run alone."""
    return words or (ALONE if arguments[-1].startswith("alone") else [])


def count(report: Path) -> Counter[str]:
    """How many tests passed, failed and were skipped, by the report that pytest wrote."""
    found = Counter[str]()
    for suite in ElementTree.parse(report).iter("testsuite"):
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        found += Counter(passed=int(suite.get("tests", 0)) - failed - skipped, failed=failed, skipped=skipped)
    return found


def main(words: Sequence[str]) -> int:
    tier = next((word for word in words if word in TIERS), "")
    more = [word for word in words if word not in TIERS]
    begun, codes, total = time.monotonic(), list[int](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        for number, arguments in enumerate(parts(tier)):
            report = Path(folder) / f"{number}.xml"
            command = [sys.executable, "-m", "pytest", *arguments, f"--junitxml={report}", *chosen(more, arguments)]
            codes.append(subprocess.run(command, cwd=ROOT, check=False).returncode)
            if report.is_file():
                total += count(report)
    if total:
        codes = [code for code in codes if code != NOTHING_CHOSEN]
    seconds = round(time.monotonic() - begun)
    print(f"== {seconds // 60} min {seconds % 60} s" + (": FAILED" if any(codes) else ""))
    print(f"tests: {total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped", flush=True)
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
