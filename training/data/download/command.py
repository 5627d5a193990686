"""python -m training download NAME: published weights and data, after their size and licence were shown and taken.

Nothing else in this project fetches anything that was not named by its hub id. Files are taken up where they were
left, and checked against what their publisher says of them: SHA-256 where there is one, else the size.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from detdiffusion.core.files import hold, json_object, read_json, write_json
from detdiffusion.errors import ConfigError, DownloadError
from training.core.cli import Report, add_dry_run, nothing_is_missing, progress
from training.data.download.archives import unpack
from training.data.download.offers import GB, OFFERS, Offer, WebFile
from training.data.download.web import NOTHING, fetch

DONE = ".download.json"  # what was fetched into a folder: a file that is in it is not fetched again
LOCK = ".download.lock"
MB = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training download`."""
    parser.add_argument("name", choices=list(OFFERS), metavar="NAME", help=f"one of {', '.join(OFFERS)}")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for it (default: downloads/NAME)")
    parser.add_argument(
        "--accept-licence", action="store_true", help="take the licence that is shown, instead of being asked"
    )
    parser.add_argument("--revision", metavar="R", help="of what is on the hub: a branch, a tag or a commit")
    add_dry_run(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    offer, out = OFFERS[arguments.name], arguments.out or Path("downloads") / arguments.name
    if arguments.revision is not None and not offer.repository:
        raise ConfigError(f"{arguments.name} is not on the hub: --revision is for what is there")
    print("\n".join(describe(arguments.name, offer, out)), file=sys.stderr)
    check_room(offer, out)
    if arguments.dry_run:
        return nothing_is_missing()
    if not (arguments.accept_licence or _takes_licence()):
        raise ConfigError("the licence was not taken: nothing was fetched (--accept-licence takes it without asking)")
    out.mkdir(parents=True, exist_ok=True)
    with hold(out / LOCK, DownloadError, str(out)):
        fill(out, offer, arguments.revision)
    print(f"then: {offer.then.format(out=out)}", file=sys.stderr)
    print(out)
    return 0


def describe(name: str, offer: Offer, out: Path) -> list[str]:
    """What somebody has to know before it is fetched."""
    first, *more = offer.sources
    return [
        f"{name}: {offer.about}",
        f"from     {first}",
        *(f"         {source}" for source in more),
        f"size     about {offer.size / GB:.1f} GB",
        f"licence  {offer.licence}",
        f"to       {out}",
    ]


def check_room(offer: Offer, out: Path) -> None:
    """DownloadError where the disk is too small: archives lie beside their content until that is whole."""
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    written = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) if out.exists() else 0
    needed = offer.size + max((file.size for file in offer.files if file.members), default=0)
    free = shutil.disk_usage(there).free + written
    if free < needed:
        raise DownloadError(f"this needs {needed / GB:.1f} GB of disk, and {there} has {free / GB:.1f} GB: free some")


def _takes_licence() -> bool:
    print("Fetch it under this licence? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def fill(out: Path, offer: Offer, revision: str | None) -> None:
    """Fetches what is missing of an offer into a folder, which remembers what is there as a whole.

    Raises:
        DownloadError: it is not given, comes damaged, or the connection breaks: the same command goes on.
    """
    files, headers = offer.files, NOTHING
    if offer.repository:
        from training.data.download.hub import hub_headers, repository_files

        files, headers = tuple(repository_files(offer.repository, revision)), hub_headers()
    note, hashed = out / DONE, sum(bool(file.sha256) for file in files)
    for file in files:
        done = read_json(note, json_object, DownloadError, f"delete {note}") if note.exists() else {}
        if file.url not in done:
            _get(file, out, headers)
            write_json(note, {**done, file.url: file.name})
    print(
        f"{hashed} of {len(files)} files have a published SHA-256, which is theirs; others were checked by size",
        file=sys.stderr,
    )


def _get(file: WebFile, out: Path, headers: Mapping[str, str]) -> None:
    target = out / file.name
    if not (file.members and target.is_file()):  # an archive that is whole, and was not unpacked to its end
        with progress(file.name, "MB") as bar:
            exact = file.size if file.exact else None
            told = _whole_numbers(bar)
            fetch(file.url, target, told, size=exact, sha256=file.sha256, headers=headers)
    if not file.members:
        return
    try:
        with progress(f"unpacking {file.name}", "file") as bar:
            unpack(target, out, file.members, lambda done, total: bar(done, total, {}))
    except DownloadError as error:
        target.unlink()
        raise DownloadError(f"{error}; it was removed: run the same command again") from error
    target.unlink()


def _whole_numbers(bar: Report) -> Callable[[int, int], None]:
    """Bytes -> megabytes, when there is one more."""
    last = 0

    def told(done: int, total: int) -> None:
        nonlocal last
        if done // MB > last or done == total:
            last = done // MB
            bar(max(last, 1), max(total // MB, 1), {})

    return told
