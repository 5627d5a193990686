"""What the system says by number becomes a sentence."""

import errno
from pathlib import Path

import pytest

from detdiffusion.errors import DataError, quoted, sentence, why


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.json"), "a.json: no such file or folder"),
        (NotADirectoryError(errno.ENOTDIR, "x", "a/b"), "a/b: a file stands where a folder is needed"),
        (PermissionError(errno.EACCES, "x", "a"), "a: there is no permission to use it"),
        (OSError(errno.ENOSPC, "No space left on device", "a"), "a: the disk is full; free some space"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full; free some space"),
        (OSError(errno.EIO, "Input/output error", "a"), "a: input/output error"),
        (OSError("a text of its own"), "a text of its own"),
        (DataError("two\nlines"), "two lines"),
        (ValueError(), "ValueError"),
    ],
)
def test_sentences(error: Exception, said: str) -> None:
    assert sentence(error) == said


def test_a_message_that_names_the_file_says_why_alone() -> None:
    assert why(OSError(errno.ENOSPC, "No space left on device", "a")) == "the disk is full"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("a", "'a'"),
        ("a" * 61, f"'{'a' * 60}...'"),
        (None, "None"),
        ([1] * 100, f"[{'1, ' * 19}1,..."),
        ([10**5000], "a number of thousands of digits"),  # which Python refuses to write
    ],
)
def test_what_was_given_is_repeated_in_short(value: object, said: str) -> None:
    assert quoted(value) == said


def test_no_number_of_the_system_is_shown(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for provoke in (
        lambda: (tmp_path / "absent").read_text(),
        lambda: (tmp_path / "file" / "a").mkdir(),
        lambda: tmp_path.read_text(),
        lambda: tmp_path.mkdir(),
        tmp_path.rmdir,
        lambda: (tmp_path / ("a" * 300)).touch(),
    ):
        with pytest.raises(OSError, match="Errno") as caught:
            provoke()
        assert "Errno" not in sentence(caught.value) and str(tmp_path) in sentence(caught.value)
