"""python -m training.synthesis.worker OUT INDEX PARENT: one of the processes of `python -m training generate`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from detdiffusion.errors import DetDiffusionError, sentence
from training.core.orphans import end_with
from training.synthesis.request import read_job
from training.synthesis.workers import BAD_INPUT, work


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0 when nothing is left to take, 2 with a reason on standard error."""
    out, index, parent = arguments
    end_with(int(parent))
    try:
        work(read_job(Path(out)), int(index))
    except (DetDiffusionError, OSError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
