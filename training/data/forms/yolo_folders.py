"""YOLO folders: which file names the classes and the splits, and where the pictures are."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath

from detdiffusion.errors import DataError
from training.data.forms.common import Listing, Way, is_picture, parents_of, pictures_below, read_lines
from training.data.forms.yolo import CLASS_LISTS, IMAGES, LABELS, LISTS, YoloSplit, is_label_file
from training.data.forms.yolo_config import (
    DARKNET,
    YAML,
    YoloConfig,
    looks_like_config,
    read_config,
    read_names,
)
from training.data.images import is_file, is_there, name_within
from training.data.index import Source

_CONFIGS = ("data.yaml", "data.yml")


def yolo_ways(folder: Path) -> list[Way]:
    """YOLO folders, as their tools write them:

    data.yaml or another YAML with `names` and splits; obj.data; or the classes in classes.txt, obj.names or a YAML
    without splits, and images/ beside labels/, with splits in them or around them, or all of it in one folder.

    Raises:
        DataError: data.yaml cannot be read, or names no classes.
    """
    listing = Listing.of(folder)
    own = next((name for name in _CONFIGS if name in listing.files), None)
    named = [own] if own else [name for name in listing.with_suffix(*YAML) if looks_like_config(folder / name)]
    configs = [read_config(folder / name) for name in (*named, *listing.with_suffix(DARKNET))]
    complete = [_from_config(folder, config) for config in configs if config.places]
    found = complete or _from_folders(folder, configs[0] if configs else None)
    if found or own is None:
        return found
    lacking = f"{folder / own}: it names no images; set train: (and val:) to their places within {folder}"
    return [Way("YOLO", folder, folder / own, (), lambda _: _missing(lacking), lacking)]


def yolo_file(path: Path) -> Way:
    """A YAML, an obj.data, or a list of classes; the data are in its folder, or where the YAML's `path` leads.

    Raises:
        DataError: it cannot be read, or there are no data beside it.
    """
    config = None
    if path.suffix.lower() in (*YAML, DARKNET):
        config = read_config(path)
        if config.places:
            return _from_config(_home(config), config)
    root = path.parent.parent if path.parent.name.lower() == LABELS else path.parent
    found = _from_folders(root, config or YoloConfig(path, read_names(path), {}))
    if not found:
        raise DataError(f"{path}: there are no images with labels beside it; the data set's folder holds this file")
    return found[0]


# --- by a config ----------------------------------------------------------------------------------


def _from_config(root: Path, config: YoloConfig) -> Way:
    same = len(set(config.places.values())) == 1
    return Way("YOLO", root, config.file, tuple(config.places), partial(_of_config, root, config), same=same)


def _of_config(root: Path, config: YoloConfig, split: str | None) -> Source:
    entries = config.places[split or ""]
    places = [_inside(root, config, entry) for entry in entries]
    pictures = tuple(picture for place in places for picture in _listed(root, config, place))
    lists = tuple(place for place in places if place.is_file())
    about = (config.file, *lists)
    return _source(YoloSplit(root, about, config.names, pictures, config.key_points, config.remarks))


def _home(config: YoloConfig) -> Path:
    """The folder of the data: that of the config, or the one that its `path` names, if the pictures are there. What
    `path` names is looked for from the config's folder, inside it, and in ultralytics' datasets/ there or beside it."""
    folder = config.file.parent
    kept = [part for part in PurePosixPath(config.base).parts if part not in ("..", "/")]
    around = (folder, folder / "datasets", folder.parent / "datasets")
    named = [home.joinpath(*kept[at:]) for home in around for at in range(len(kept))]
    for home in (folder, folder / config.base, *named):
        try:
            for entries in config.places.values():
                for entry in entries:
                    _inside(home, config, entry)
            return home
        except DataError:
            continue
    return folder


def _inside(folder: Path, config: YoloConfig, entry: str) -> Path:
    """A folder or list that a config names. Configs carry the paths of the machine that wrote them, or "../" from a
    folder that is gone: what counts is what is found inside this folder."""
    plain = PureWindowsPath(entry).as_posix() if "\\" in entry else entry
    kept = [part for part in PurePosixPath(plain).parts if part != ".."]
    home = folder.resolve()
    # CVAT and darknet name data/train.txt from the folder above.
    ends = (folder.joinpath(*kept[at:]) for at in range(1, len(kept)))
    for candidate in (folder / config.base / plain, folder / plain, folder.joinpath(*kept), *ends):
        if not is_there(candidate):
            continue
        if ".." not in candidate.parts and candidate.is_relative_to(folder):
            return candidate
        if candidate.resolve().is_relative_to(home):
            return folder / candidate.resolve().relative_to(home)
    raise DataError(f"{config.file}: {entry[:300]!r} is not found inside {folder}; set it to the place of the images")


def _listed(root: Path, config: YoloConfig | None, place: Path) -> Iterator[tuple[Path, str]]:
    """Pictures below a folder, or those that a text file lists, one path a line: relative to its own folder, to the
    data set's, or of the machine that wrote it."""
    if place.is_dir():
        yield from ((place, name) for name in pictures_below(place))
        return
    base = root / config.base if config is not None and config.base else root
    homes = [place.parent, *(home for home in (base, root) if home.is_relative_to(root) and home != place.parent)]
    for line in map(str.strip, read_lines(place)):
        if not PurePosixPath(line).name or line.startswith("#"):
            continue
        for home in homes:
            name = name_within(home, line)
            if is_file(home / name) and not Path(name).is_absolute() and ".." not in Path(name).parts:
                yield home, PurePosixPath(name).as_posix()
                break
        else:
            yield _upwards(root, place.parent, line) or (place.parent, line)


def _upwards(root: Path, home: Path, line: str) -> tuple[Path, str] | None:
    """A path with "../" that leads to a picture in the folder after all, or with data/ before it for the folder."""
    kept = [part for part in PurePosixPath(line.replace("\\", "/")).parts if part != "."]
    aside = (home / line).resolve()
    if ".." in kept:
        inside = is_file(aside) and aside.is_relative_to(root.resolve())
        return (root, aside.relative_to(root.resolve()).as_posix()) if inside else None
    ends = ("/".join(kept[at:]) for at in range(1, len(kept)))
    return next(((root, end) for end in ends if not PurePosixPath(line).is_absolute() and is_file(root / end)), None)


# --- by folders -----------------------------------------------------------------------------------


def _from_folders(folder: Path, config: YoloConfig | None) -> list[Way]:
    """images/ beside labels/, pictures and labels in one folder, or either of them once for every split."""
    splits = _splits(folder)
    if not splits:
        return []
    names = config.file if config is not None else _class_list(folder, splits)
    if names is None:
        lacking = (
            f"{folder}: YOLO labels number their classes; name them in data.yaml (names: [...]) or in "
            f"{CLASS_LISTS[0]}, one a line"
        )
        if not any((folder / name).is_dir() for name in (*IMAGES, LABELS)):
            return []  # text files beside pictures may be anything
        return [Way("YOLO", folder, folder / LABELS, (), lambda _: _missing(lacking), lacking)]
    found = config or YoloConfig(names, read_names(names), {})
    whole = tuple(split for split in splits if split is not None)
    return [Way("YOLO", folder, names, whole, partial(_of_folders, folder, found, splits))]


def _of_folders(folder: Path, config: YoloConfig, splits: dict[str | None, Path], split: str | None) -> Source:
    place = splits[split]
    pictures = tuple(_listed(folder, None, place))
    about = (config.file, place) if place.is_file() else (config.file,)
    return _source(YoloSplit(folder, about, config.names, pictures, config.key_points, config.remarks))


def _splits(folder: Path) -> dict[str | None, Path]:
    """Places of pictures by split; None is data in one piece; empty where these are no pictures with YOLO's labels."""
    listing = Listing.of(folder)
    images, labels = listing.folder(*IMAGES), listing.folder(LABELS)
    if images and labels:
        if not any(is_label_file(path.name) for path in (folder / labels).rglob("*.txt")):
            return {}
        both = set(Listing.of(folder / images).folders) & set(Listing.of(folder / labels).folders)
        return {name: folder / images / name for name in sorted(both)} or {None: folder / images}
    if listing.pictures and any(map(is_label_file, listing.files)):
        lists = {name: folder / name for name in LISTS if name in listing.files and _is_list(folder / name)}
        return {Path(name).stem: path for name, path in lists.items()} or {None: folder}
    if images and any(is_label_file(name) for name in Listing.of(folder / images).files):
        return {None: folder / images}
    return {name: place for name in listing.folders if (place := _one_split(folder / name)) is not None}


def _is_list(path: Path) -> bool:
    """Whether it lists pictures; train.txt may also be the label of the picture of a train."""
    return any(is_picture(line.strip()) for line in read_lines(path)[:1])


def _one_split(folder: Path) -> Path | None:
    """The pictures of SPLIT/images beside SPLIT/labels, or of a folder with both of them."""
    listing = Listing.of(folder)
    images, labels = listing.folder(*IMAGES), listing.folder(LABELS)
    if images and labels and Listing.of(folder / labels).with_suffix(".txt"):
        return folder / images
    return folder if listing.pictures and any(map(is_label_file, listing.files)) else None


def _class_list(folder: Path, splits: dict[str | None, Path]) -> Path | None:
    """The file that names the classes: beside the folders, or among the labels."""
    around = (folder, folder / LABELS, *(path for place in splits.values() for path in (place, place.parent)))
    for home in dict.fromkeys(path for path in around if path.is_dir() and path.is_relative_to(folder)):
        files = Listing.of(home).files
        own = next((name for name in CLASS_LISTS if name in files), None)
        own = own or next((name for name in files if name.endswith(".names")), None)
        if own:
            return home / own
    return None


def _missing(message: str) -> Source:
    raise DataError(message)


def _source(data: YoloSplit) -> Source:
    labels = data.label_files()
    there = [(place, name) for place, name in data.pictures if is_file(place / name)] if not labels else []
    if there:
        wanted = data.label_file(*there[0]).relative_to(data.root).as_posix()
        raise DataError(
            f"{data.root}: none of {len(there)} images has a label file; looked for {wanted} and so on. Put them "
            "there; an empty one says that there is nothing in an image"
        )
    plain = ((place, name) for place, name in data.pictures if not Path(name).is_absolute() and ".." not in name)
    folders = parents_of(data.root, [(place / name).relative_to(data.root).as_posix() for place, name in plain])
    return Source(
        form="YOLO",
        root=data.root,
        files=(*data.about, *labels),
        folders=tuple(place for place in folders if place != data.root and place.is_dir()),
        fill=data.fill,
    )
