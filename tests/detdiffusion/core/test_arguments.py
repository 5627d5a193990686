"""Arguments that several commands take: where they write is checked at once, old names stand for new ones."""

import argparse
import os
from pathlib import Path

import pytest

from detdiffusion.core.arguments import add_old_name, out_file, out_folder, seed_list


def test_an_out_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("", "new", "new/deep"):
        assert out_folder(str(tmp_path / name)) == tmp_path / name
    for name in ("file", "new", "new/deep"):
        assert out_file(str(tmp_path / name)) == tmp_path / name
    assert not (tmp_path / "new").exists()


def test_an_out_that_cannot(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for kind, name, message in (
        (out_folder, "file", "is a file, and a folder is needed"),
        (out_folder, "file/a", "file is a file, so nothing can be written below it"),
        (out_file, "", "is a folder, and a file is needed"),
        (out_file, "file/a", "file is a file, so nothing can be written below it"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=message):
            kind(str(tmp_path / name))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_out_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(argparse.ArgumentTypeError, match="there is no permission to write in"):
        out_folder(str(tmp_path / "new"))


def test_seeds() -> None:
    assert seed_list("0:3") == [0, 1, 2] and seed_list("3,8") == [3, 8]
    for text in ("", "a", "1,1", "2:2", "-1", "1,,2"):
        with pytest.raises(argparse.ArgumentTypeError):
            seed_list(text)


def test_an_old_name_is_taken_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    add_old_name(parser, "--real", "--data")
    assert parser.parse_args(["--real", "a"]) == parser.parse_args(["--data", "a"])
    assert "--real" not in parser.format_help()
    with pytest.raises(SystemExit):
        parser.parse_args([])
    assert "--data" in capsys.readouterr().err
