"""python -m app.runs.chain RUN: works through the commands of RUN/job.json, in the process group of a training run.

Commands that are finished are not run again, so that the same call goes on with a run that was stopped. The last one
takes this process over: what it writes down as its own number is the number of the run.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from app.runs.files import JOB
from detdiffusion.core.files import read_json, write_sealed
from detdiffusion.errors import DataError
from training.core.orphans import bound_to_this

DONE = "chain.json"


def main(run: Path) -> int:
    """Returns the exit code of the command that failed; does not return if none did."""
    *before, last = read_json(run / JOB, lambda job: job["commands"], DataError)
    for number, command in enumerate(before, start=1):
        if number <= _finished(run):
            continue
        _announce(command)
        if code := subprocess.run(command, env=bound_to_this(), check=False).returncode:
            return code
        write_sealed(run / DONE, {"finished": number})
    _announce(last)
    return os.execvp(last[0], last)


def _finished(run: Path) -> int:
    try:
        return read_json(run / DONE, lambda values: int(values["finished"]), DataError)
    except DataError:
        return 0  # there is none yet, or doing a command again costs no more than it did


def _announce(command: list[str]) -> None:
    words = ["python", *command[1:]] if command[0] == sys.executable else command
    print("$", shlex.join(words), flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
