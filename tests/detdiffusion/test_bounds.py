"""The bounds stand in one module, and docs/SECURITY.md says the same figures."""

import re
from pathlib import Path

from detdiffusion import bounds

ROOT = Path(__file__).resolve().parents[2]


def test_the_docs_have_every_bound() -> None:
    source = Path(bounds.__file__).read_text(encoding="utf-8")
    said = re.findall(r"^([A-Z_]+) = ([^#\n]+?)  # (.*)$", source, re.MULTILINE)
    assert {name for name, *_ in said} == {name for name in vars(bounds) if name.isupper()}
    table = (ROOT / "docs/SECURITY.md").read_text(encoding="utf-8").partition("<!-- bounds -->")[2]
    rows = re.findall(r"^\| `(\w+)` \| ([\d.,]+) \| (.*) \|$", table.partition("<!-- /bounds -->")[0], re.MULTILINE)
    assert rows == [(name, figure.replace("_", ","), what) for name, figure, what in said]
