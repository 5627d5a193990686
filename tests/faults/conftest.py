"""How long the harness works: DETDIFFUSION_FAULTS=20 makes everything twenty times as long.
DETDIFFUSION_FAULTS_TABLE=FILE writes what became of all cases; docs/SECURITY.md has the table of the last long run."""

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TIMES = int(os.environ.get("DETDIFFUSION_FAULTS", "1"))
TABLE = os.environ.get("DETDIFFUSION_FAULTS_TABLE")

SCENE: dict[str, Any] = {
    "width": 64,
    "height": 48,
    "objects": [
        {"label": "bus", "box": [0.1, 0.2, 0.5, 0.6], "attribute": "easy"},
        {"label": "car", "box": [0.6, 0.5, 0.9, 0.9], "attribute": "hard"},
    ],
}


class Tally:
    """What became of the cases of one test."""

    def __init__(self) -> None:
        self.rows: dict[str, Counter[str]] = {}

    def __call__(self, kind: str, outcome: str, count: int = 1) -> None:
        self.rows.setdefault(kind, Counter())[outcome] += count


@pytest.fixture(scope="session")
def tally() -> Iterator[Tally]:
    kept = Tally()
    yield kept
    if TABLE:
        path = Path(TABLE)
        before = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**before, **kept.rows}, indent=1))


@pytest.fixture
def times() -> int:
    return TIMES


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """The same cases in every run of a test."""
    return random.Random(request.node.name)


@pytest.fixture(scope="session")
def scene() -> dict[str, Any]:
    return SCENE
