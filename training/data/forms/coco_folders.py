"""COCO folders: which file says what is in the pictures, and where the pictures are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from training.data.forms.coco import read_coco
from training.data.forms.common import SPLIT, Listing, Way, below
from training.data.index import Source

_FOLDERS = ("annotations", "annotation", "annots")
# Files of COCO that say something else about the same pictures.
_OTHERS = ("captions", "person_keypoints", "panoptic", "image_info", "stuff")
_KEYS = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')
_SNIFFED = 2**20  # bytes at either end of a file
ROBOFLOW = "_annotations.coco.json"


def coco_ways(folder: Path) -> list[Way]:
    """COCO, COCO-Thing-Stuff and Papercut folders, as their tools write them:

    annotations/instances_SPLIT.json, with stuff_SPLIT.json beside it or not; annotations/SPLIT.json; annotations.json,
    labels.json or any other name beside the pictures' folder; SPLIT/_annotations.coco.json beside the pictures.
    """
    files = _annotation_files(folder)
    if not files:
        return []
    by = files[next(iter(files))]
    return [Way(_form(by), folder, by, tuple(files), lambda split: _source(folder, files[split or ""], split))]


def coco_file(path: Path, images: Path | None = None) -> Way:
    """A single file; its pictures are in `images`, or where a folder would have them."""
    home = path.parent.parent if path.parent.name.lower() in _FOLDERS else path.parent
    root = home if images is None else images
    split = _split_of(path)
    return Way(_form(path), root, path, (split,), lambda chosen: _source(root, path, chosen, given=images is not None))


def is_coco(path: Path) -> bool:
    """Whether a JSON file lists pictures and what is in them, by its two ends."""
    try:
        with path.open("rb") as file:
            ends = file.read(_SNIFFED)
            file.seek(max(_SNIFFED, path.stat().st_size - _SNIFFED))
            ends += file.read(_SNIFFED)
    except OSError:
        return False
    start = ends[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    return start.startswith(b"{") and len(set(_KEYS.findall(ends))) >= 2


def _annotation_files(folder: Path) -> dict[str, Path]:
    """By split; empty where there is none."""
    found = sorted((folder / "annotations").glob("instances*.json"))
    if found:
        return {path.stem.removeprefix("instances").removeprefix("_"): path for path in found}
    if (folder / "annotations.json").is_file():
        return {"": folder / "annotations.json"}
    listing = Listing.of(folder)
    own = listing.folder(*_FOLDERS)
    for files in (_inside(folder / own) if own else (), _inside(folder)):
        if named := _by_split(list(files)):
            return named
    parts = {name: list(_inside(folder / name)) for name in listing.folders if name != own}
    return {name: files[0] for name, files in parts.items() if len(files) == 1}


def _inside(folder: Path) -> Iterator[Path]:
    for name in Listing.of(folder).with_suffix(".json"):
        if not name.startswith(_OTHERS) and is_coco(folder / name):
            yield folder / name


def _by_split(files: list[Path]) -> dict[str, Path]:
    """Named by the word that says a split, where that tells them apart, or by all of their names."""
    named = {_split_of(path): path for path in files}
    return named if len(named) == len(files) else {path.stem: path for path in files}


def _split_of(path: Path) -> str:
    """instances_train2017.json, custom_train.json -> train2017, train; labels.json -> no name."""
    if path.name == ROBOFLOW:
        return path.parent.name if SPLIT.fullmatch(path.parent.name) else ""
    stem = path.stem.removeprefix("instances").removeprefix("_")
    words = [word for word in re.split(r"[._\- ]", stem) if SPLIT.fullmatch(word)]
    if len(words) == 1:
        return words[0]
    return stem if path.stem.startswith("instances") else ""


def _form(path: Path) -> str:
    return "COCO-Thing-Stuff" if _stuff_of(path) else "COCO"


def _stuff_of(instances: Path) -> Path | None:
    stuff = instances.with_name(instances.name.replace("instances", "stuff", 1))
    return stuff if stuff != instances and stuff.is_file() else None


def _source(root: Path, instances: Path, split: str | None, *, given: bool = False) -> Source:
    split = split or ""
    stuff = _stuff_of(instances)
    home = instances.parent
    beside = (home,) if home != root and home.is_relative_to(root) and home.name.lower() not in _FOLDERS else ()
    names = ((split,), ("images", split), ("images",), (split, "images"), (split, "data"))
    known = tuple(below(root, *one) for one in names)
    candidates = (root, *known) if given else (*known, *beside, below(root, "data"), root)
    places = tuple(place for place in dict.fromkeys(candidates) if place.is_dir())
    files = (instances,) if stuff is None else (instances, stuff)
    fill = partial(read_coco, instances=instances, stuff=stuff, root=root, places=places)
    return Source(_form(instances), root, files, tuple(place for place in places if place != root), fill)
