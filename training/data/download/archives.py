"""Zip archives that were fetched: the wanted files of them, each whole or not at all."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from detdiffusion.core.files import written_aside
from detdiffusion.errors import DownloadError, why


def unpack(archive: Path, folder: Path, wanted: Sequence[str], report: Callable[[int, int], None]) -> None:
    """Writes the wanted files of an archive into a folder; those that are there in their size are left.

    Args:
        wanted: patterns of names in the archive.
        report: is told (files that are there, files in all).

    Raises:
        DownloadError: the archive is damaged, has none of these files, or one whose name leads out of the folder.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if any(fnmatchcase(member.filename, w) for w in wanted)]
            if not members:
                raise DownloadError(f"{archive} holds nothing of {', '.join(wanted)}: its publisher has changed it")
            for number, member in enumerate(members, start=1):
                target = folder / _inside(archive, member.filename)
                if not target.is_file() or target.stat().st_size != member.file_size:
                    with written_aside(target, durable=False) as aside:
                        _copy(opened, member, aside)
                report(number, len(members))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DownloadError(f"{archive} is damaged ({why(error)})") from error


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    try:
        source = archive.open(member)
    except OSError as error:  # it was sent to a place that the archive does not have
        raise zipfile.BadZipFile(why(error)) from error
    with source, path.open("wb") as file:
        shutil.copyfileobj(source, file, 2**20)


def _inside(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise DownloadError(f"{archive} holds {name}, which leads out of the folder: nothing more of it was unpacked")
    return path
