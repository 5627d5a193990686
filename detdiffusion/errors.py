"""The errors of the project. Every message says what was got, what is needed and, where it can, what to do."""

from __future__ import annotations

import errno
from collections.abc import Sequence

QUOTED = 60  # letters of what somebody gave, in a message


class DetDiffusionError(Exception):
    """Everything that a user can put right; the edges (commands, pages) show its text and nothing else."""


class LayoutError(DetDiffusionError):
    """A layout, or a box of it, that cannot be used. `problems` holds one message for each fault."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("; ".join(self.problems))


class CheckpointError(DetDiffusionError):
    """A model folder that is missing, damaged, unsafe or of another architecture."""


class DetectorError(DetDiffusionError):
    """A detector that cannot be loaded, trained or used."""


class DataError(DetDiffusionError):
    """A data set that is missing, damaged or of another form."""


class DownloadError(DetDiffusionError):
    """Something that a server does not give, or gives damaged."""


class ConfigError(DetDiffusionError):
    """A setting that is out of range, or that does not fit the others."""


class Cancelled(DetDiffusionError):
    """The user stopped the work; raised inside a callback, it ends the work cleanly."""


_REASONS = {  # what the system says by number, in words that name what to do
    errno.ENOENT: "no such file or folder",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.EISDIR: "this is a folder, and a file is needed",
    errno.EEXIST: "it is there already",
    errno.ENOTEMPTY: "the folder is not empty",
    errno.EACCES: "there is no permission to use it",
    errno.EPERM: "there is no permission to use it",
    errno.EROFS: "it lies on a disk that cannot be written to",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than the disk allows",
    errno.EMFILE: "too many files are open",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOTSUP: "the disk does not support it",
}


_FULL = (errno.ENOSPC, errno.EDQUOT)


def why(error: BaseException) -> str:
    """What is wrong, without the file's name: for a message that names it."""
    if isinstance(error, OSError) and error.errno is not None:
        return _REASONS.get(error.errno) or (error.strerror or "it cannot be used").lower()
    return " ".join(str(error).split()) or type(error).__name__


def sentence(error: BaseException) -> str:
    """An error's text in one line, for people: no numbers of the system, but what is wrong with which file."""
    if not isinstance(error, OSError) or error.errno is None:
        return why(error)
    remedy = "; free some space" if error.errno in _FULL else ""
    return f"{error.filename}: {why(error)}{remedy}" if error.filename else f"{why(error)}{remedy}"


def quoted(value: object) -> str:
    """What somebody gave, as a message repeats it: at most `QUOTED` letters, text in quotes."""
    if isinstance(value, str):
        return repr(value if len(value) <= QUOTED else f"{value[:QUOTED]}...")
    try:
        shown = repr(value)
    except ValueError:  # Python refuses to write whole numbers of thousands of digits
        return "a number of thousands of digits"
    return shown if len(shown) <= QUOTED else f"{shown[:QUOTED]}..."
