"""A sign of life before what takes seconds to import."""

import importlib
import sys
from pathlib import Path

import pytest

from detdiffusion.core import loading
from detdiffusion.core.loading import announced_imports


def test_the_first_import_of_a_slow_library_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a_slow_library", "a_quick_library"):
        (tmp_path / f"{name}.py").write_text("import sys\nprint('imported', file=sys.stderr)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(loading, "SLOW", ("a_slow_library", "json"))
    before = list(sys.meta_path)
    with announced_imports():
        for name in ("a_quick_library", "a_slow_library", "a_slow_library", "json"):
            importlib.import_module(name)
    assert capsys.readouterr().err == "imported\nloading a_slow_library ...\nimported\n"
    assert sys.meta_path == before
    for name in ("a_slow_library", "a_quick_library"):
        del sys.modules[name]
