"""600 pictures while workers are killed with -9, against the same 600 by one worker without a kill.

python -m benchmarks.generate_kill [--model DIR] [--count 600] [--kills 6]; prints JSON, exits with 1 where a picture is
missing, double, damaged or another one, or where anything that was committed before a kill is not there after it.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from training.synthesis.store import job_chunks

ROOT = Path(__file__).resolve().parent.parent
CHUNK = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "assets" / "models" / "papercut")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--kills", type=int, default=6)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        killed, whole = Path(folder) / "killed", Path(folder) / "whole"
        kills, lost = generate_and_kill(arguments, killed)
        subprocess.run(words(arguments, whole, 1), check=True, stdout=subprocess.DEVNULL)
        verified = subprocess.run(
            [sys.executable, "-m", "training", "verify", str(killed)], capture_output=True, text=True, check=False
        )
        same = hashes(killed, arguments.count) == hashes(whole, arguments.count)
    print(
        json.dumps({"kills": kills, "lost": lost, "verify": verified.stdout.strip(), "same_pictures": same}, indent=2)
    )
    sys.exit(verified.returncode or lost or not same)


def words(arguments: argparse.Namespace, out: Path, workers: int) -> list[str]:
    command = [sys.executable, "-m", "training", "generate", "--model", str(arguments.model), "--workers", str(workers)]
    few = ["--layouts", "papercut:200@900000", "--strategy", "hard", "--count", str(arguments.count), "--steps", "4"]
    return [*command, *few, "--chunk", str(CHUNK), "--out", str(out)]


def generate_and_kill(arguments: argparse.Namespace, out: Path) -> tuple[int, int]:
    """How many workers were killed, and how many committed files a kill took away or changed."""
    chunks, rng, lost = job_chunks(out, arguments.count, CHUNK), random.Random(0), 0
    process = subprocess.Popen(words(arguments, out, 2), stdout=subprocess.DEVNULL)
    wanted = [round((number + 1) * len(chunks) / (arguments.kills + 2)) for number in range(arguments.kills)]
    kills = 0
    while process.poll() is None:
        time.sleep(0.05)
        workers = children(process.pid)
        if kills < len(wanted) and len(chunks.done()) >= wanted[kills] and workers:
            before = {path: path.read_bytes() for chunk in chunks.done() for path in chunks.folder(chunk).iterdir()}
            os.kill(rng.choice(workers), signal.SIGKILL)
            kills += 1
            lost += sum(not path.exists() or path.read_bytes() != content for path, content in before.items())
    if process.returncode:
        sys.exit("generate failed")
    return kills, lost


def children(process: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process and fields[0] not in "ZX":
            found.append(int(path.parent.name))
    return found


def hashes(out: Path, count: int) -> list[str]:
    return [row["sha256"] for row in job_chunks(out, count, CHUNK).all_rows()]


if __name__ == "__main__":
    main()
