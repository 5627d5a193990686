"""Pascal VOC folders: where the XML files, the pictures and the lists of splits are."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from training.data.forms.common import SPLIT, Listing, Way, is_picture, parents_of, read_lines, with_capitals
from training.data.forms.voc import VocSplit, is_plain
from training.data.index import Source

_ANNOTATIONS = ("annotations", "annotation", "annots", "xmls", "xml", "labels")
_PICTURES = ("jpegimages", "images", "image", "imgs", "img", "pictures", "photos")
_XML = "*.[xX][mM][lL]"

Places = tuple[Path, Path]  # folder of XML files, folder of pictures


def voc_ways(folder: Path) -> list[Way]:
    """Pascal VOC folders, as their tools write them:

    Annotations/ and JPEGImages/ with lists in ImageSets/Main or without; annotations/ or annots/ and images/; XML and
    pictures in one folder; either of these once for every split.
    """
    splits = _splits(folder)
    if not splits:
        return []
    by = _first_xml(next(iter(splits.values()))[0])
    lists = _lists(folder) if None in splits else {}
    read = partial(_of_list, folder, splits[None], lists) if lists else partial(_of_folder, folder, splits)
    return [Way("Pascal VOC", folder, by, tuple(lists or (name for name in splits if name is not None)), read)]


def voc_file(path: Path) -> Way | None:
    """The data set that an annotation file belongs to."""
    for folder in path.absolute().parents[:3]:
        found = next(iter(voc_ways(folder)), None)
        if found is not None:
            return found
    return None


def _splits(folder: Path) -> dict[str | None, Places]:
    """Places by split; None is data in one piece, or with lists."""
    listing = Listing.of(folder)
    whole = _places(folder, listing)
    if whole is None:
        parts = {name: _places(folder / name, Listing.of(folder / name)) for name in listing.folders}
        return {name: found for name, found in parts.items() if found is not None}
    inside = Listing.of(whole[0])
    if not inside.with_suffix(".xml") and (named := [name for name in inside.folders if SPLIT.fullmatch(name)]):
        return {name: (whole[0] / name, _or_above(whole[1], name)) for name in named}
    return {None: whole}


def _places(folder: Path, listing: Listing) -> Places | None:
    own, pictures = listing.folder(*_ANNOTATIONS), listing.folder(*_PICTURES)
    if own and (any((folder / own).rglob(_XML)) or (pictures == "JPEGImages" and own == "Annotations")):
        inside = (folder / own,) if Listing.of(folder / own).pictures else (folder,)
        return folder / own, folder / pictures if pictures else inside[0]
    if listing.with_suffix(".xml") and listing.pictures:
        return folder, folder
    if pictures and listing.with_suffix(".xml"):
        return folder, folder / pictures
    if pictures and Listing.of(folder / pictures).with_suffix(".xml"):
        return folder / pictures, folder / pictures
    return None


def _or_above(place: Path, name: str) -> Path:
    return place / name if (place / name).is_dir() else place


def _first_xml(folder: Path) -> Path:
    """What shows the form: a file that --data takes, or the folder while it is empty."""
    return next((folder / name for name in Listing.of(folder).with_suffix(".xml")), folder)


def _lists(folder: Path) -> Mapping[str, Path]:
    places = (folder / "ImageSets" / "Main", folder / "ImageSets")
    found = ({path.stem: path for path in sorted(place.glob("*.txt"))} for place in places)
    return next((lists for lists in found if lists), {})


def _of_list(root: Path, places: Places, lists: Mapping[str, Path], split: str | None) -> Source:
    file = lists[split or ""]
    annotations, _ = places
    stems = [_stem(annotations, line.strip()) for line in read_lines(file) if line.strip()]
    return _source(VocSplit(root, *places, tuple(stems), file.relative_to(root).as_posix()), file)


def _stem(annotations: Path, line: str) -> str:
    """Of a line such as a, a.jpg, a.xml or a -1: VOC's lists of a class say whether it is in the picture."""
    for words in (line, line.split()[0]):
        plain = words.replace("\\", "/")
        for stem in (plain, str(Path(plain).with_suffix("")) if _has_suffix(plain) else plain, Path(plain).stem):
            if is_plain(plain) and with_capitals(annotations / f"{stem}.xml").is_file():
                return stem
    first = line.split()[0]
    return str(Path(first).with_suffix("")) if _has_suffix(first) else first


def _has_suffix(name: str) -> bool:
    return is_picture(name) or name.lower().endswith(".xml")


def _of_folder(root: Path, splits: Mapping[str | None, Places], split: str | None) -> Source:
    annotations, pictures = splits[split]
    found = annotations.glob(_XML) if annotations == pictures else annotations.rglob(_XML)
    stems = sorted(path.relative_to(annotations).with_suffix("").as_posix() for path in found)
    return _source(VocSplit(root, annotations, pictures, tuple(stems), all_pictures=True))


def _source(data: VocSplit, *lists: Path) -> Source:
    folders = parents_of(data.pictures, [stem for stem in data.stems if is_plain(stem)])
    return Source(
        form="Pascal VOC",
        root=data.root,
        files=(*lists, *data.annotation_files()),
        folders=tuple(
            place for place in dict.fromkeys((data.pictures, *folders)) if place != data.root and place.is_dir()
        ),
        fill=data.fill,
    )
