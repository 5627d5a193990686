"""Pascal VOC folders and files as their tools write them, and as they arrive broken."""

import os
from pathlib import Path

import pytest
from form_files import HEIGHT, WIDTH, labels, opened, save

from detdiffusion.errors import DataError
from training.data.checks import Reason
from training.data.forms.recognise import find_source
from training.data.images import ImageFault
from training.data.index import open_index

REAL = os.environ.get("DETDIFFUSION_REAL_DATA")


BOX = "<bndbox><xmin>4</xmin><ymin>2</ymin><xmax>20</xmax><ymax>12</ymax></bndbox>"
OBJECT = f"<object><name>cat</name>{BOX}</object>"


def voc(root: Path, content: str = OBJECT, stem: str = "a", size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    shown = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    (root / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{shown}{content}</annotation>")
    save(root / "JPEGImages" / f"{stem}.jpg")
    return root


def lists(root: Path, **splits: str) -> None:
    folder = root / "ImageSets" / "Main"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in splits.items():
        (folder / f"{name}.txt").write_text(text)


def test_voc_boxes(tmp_path: Path) -> None:
    other = OBJECT.replace("cat", " dog ").replace("12", "8.5")
    root = voc(voc(tmp_path / "data", OBJECT + other), OBJECT, "b")
    index = opened(root)
    assert labels(index) == {"a": ["cat", "dog"], "b": ["cat"]}
    assert index.entries(0)[0].xyxy == (0.075, 0.05, 0.5, 0.6)  # corners count from 1
    assert index.entries(0)[1].xyxy == (0.075, 0.05, 0.5, 0.425)
    assert (index.things, index.has_masks, index.picture(1).path) == (("cat", "dog"), False, "JPEGImages/b.jpg")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (OBJECT.replace("20", "4"), Reason.EMPTY_BOX),
        (OBJECT.replace("20", "2"), Reason.EMPTY_BOX),
        (OBJECT.replace("<xmin>4", "<xmin>45").replace("20", "50"), Reason.OUTSIDE_BOX),
        (OBJECT.replace("20", "wide"), Reason.BAD_OBJECT),
        (OBJECT.replace("20", "inf"), Reason.BAD_OBJECT),
        ("<object><name>cat</name></object>", Reason.BAD_OBJECT),
        (OBJECT.replace("cat", " "), Reason.NAMELESS_CATEGORY),
        (f"<object>{BOX}</object>", Reason.NAMELESS_CATEGORY),
    ],
)
def test_a_voc_object_that_cannot_stay_is_counted(content: str, reason: str, tmp_path: Path) -> None:
    root = voc(tmp_path / "data", OBJECT + content)
    index = opened(root)
    assert labels(index) == {"a": ["cat"]}
    assert index.tally.objects == {reason: 1}


@pytest.mark.parametrize(
    ("splits", "wanted", "expected"),
    [
        ({}, None, ["a", "b"]),
        ({"train": "b\n", "val": "a\n"}, None, ["b"]),
        ({"train": "b\n", "val": "a\n", "trainval": "b\na\n"}, "trainval", ["b", "a"]),
        ({"trainval": "b\na\n", "test": ""}, None, ["b", "a"]),
        ({"cat_train": "a -1\n", "train": "b  1\n\n"}, "cat_train", ["a"]),
        ({"default": "a\n"}, None, ["a"]),
        ({"train": "b\n", "val": "a\n"}, "valid", ["a"]),
        ({"train": "b\n", "valid": "a\n"}, "val", ["a"]),
    ],
)
def test_voc_splits(splits: dict[str, str], wanted: str | None, expected: list[str], tmp_path: Path) -> None:
    root = voc(voc(tmp_path / "data"), stem="b")
    lists(root, **splits)
    assert list(labels(opened(root, wanted))) == expected


def test_voc_split_that_is_not_there(tmp_path: Path) -> None:
    root = voc(tmp_path / "data")
    with pytest.raises(DataError, match="no split 'val' here; there are: none"):
        find_source(root, "val")
    lists(root, train="a")
    with pytest.raises(DataError, match="no split 'val' here; there are: train"):
        find_source(root, "val")


def test_voc_pictures_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    root = tmp_path / "data"
    voc(root)
    voc(root, stem="other-size", size=(WIDTH, HEIGHT + 1))
    voc(root, stem="no-picture")
    (root / "JPEGImages" / "no-picture.jpg").unlink()
    voc(root, "<object>", stem="broken")
    voc(root, stem="entities")
    path = root / "Annotations" / "entities.xml"
    path.write_text('<!DOCTYPE a [<!ENTITY e "cat">]>' + path.read_text())
    stems = ["a", "other-size", "no-picture", "broken", "entities", "unknown", "../Annotations/a", "a"]
    lists(root, train="\n".join(stems))
    index = opened(root)
    assert labels(index) == {"a": ["cat"]}
    assert index.tally.pictures == {
        ImageFault.OTHER_SIZE: 1,
        ImageFault.MISSING: 1,
        Reason.BAD_FILE: 1,
        Reason.ENTITIES: 1,
        Reason.NO_ANNOTATIONS: 1,
        ImageFault.OUTSIDE: 1,
        Reason.REPEATED_IMAGE: 1,
    }
    assert index.tally.objects == {Reason.IN_DROPPED: 3}


DOCTYPE = '<!DOCTYPE annotation SYSTEM "voc.dtd">'


@pytest.mark.parametrize(
    ("head", "name", "encoding", "expected"),
    [
        ("", "cat &amp; dog", "utf-8", "cat & dog"),
        ("", "cat & dog", "utf-8", "cat & dog"),
        ("", "cat&nbsp;dog", "utf-8", "cat&nbsp;dog"),
        ("", "&#99;at", "utf-8", "cat"),
        (DOCTYPE, "cat", "utf-8", "cat"),
        ('<?xml version="1.0" encoding="ISO-8859-1"?>', "chat botté", "latin-1", "chat botté"),
        ('<?xml version="1.0" encoding="gb2312"?>', "猫", "gb2312", "猫"),
        ('<?xml version="1.0" encoding="utf-16"?>', "кот", "utf-16", "кот"),
        ("\ufeff", "кот", "utf-8", "кот"),
    ],
)
def test_voc_text(head: str, name: str, encoding: str, expected: str, tmp_path: Path) -> None:
    root = voc(tmp_path / "data")
    path = root / "Annotations" / "a.xml"
    path.write_bytes((head + path.read_text().replace("cat", name)).encode(encoding))
    assert labels(opened(root)) == {"a": [expected]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_voc_entities_are_refused_in_every_encoding(encoding: str, tmp_path: Path) -> None:
    root = voc(tmp_path / "data")
    text = '<!DOCTYPE a [<!ENTITY e "cat">]>' + (root / "Annotations" / "a.xml").read_text().replace("cat", "&e;")
    (root / "Annotations" / "a.xml").write_bytes(text.encode(encoding))
    assert opened(root).tally.pictures == {Reason.ENTITIES: 1}


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((1, 1, WIDTH, HEIGHT), (0, 0, 1, 1)),
        ((0, 0, WIDTH, HEIGHT), (0, 0, 1, 1)),
        ((5, 3, 20, 10), (0.1, 0.1, 0.5, 0.5)),
    ],
)
def test_voc_counts_pixels_from_1(box: tuple[int, ...], expected: tuple[float, ...], tmp_path: Path) -> None:
    sides = "".join(f"<{n}>{v}</{n}>" for n, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    root = voc(tmp_path / "data", f"<object><name>cat</name><bndbox>{sides}</bndbox></object>")
    index = opened(root)
    assert index.entries(0)[0].xyxy == pytest.approx(expected)
    assert index.tally.notes == {}


@pytest.mark.parametrize("listed", [False, True])
def test_voc_files_in_capitals(listed: bool, tmp_path: Path) -> None:
    root = voc(voc(tmp_path / "data"), stem="b.v2")
    for path in (root / "Annotations").iterdir():
        path.rename(path.with_name(path.name.replace(".xml", ".XML")))
    if listed:
        lists(root, train="a\nb.v2.XML\n")
    index = opened(root)
    assert labels(index) == {"a": ["cat"], "b.v2": ["cat"]}
    assert index.tally.pictures == {}


def test_voc_lists_as_tools_write_them(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for stem in ("a", "b.v2", "my photo", "sub", "x"):
        voc(root, stem=stem)
    lists(root, train="\ufeffa.jpg\r\nb.v2.xml\nmy photo\nJPEGImages/sub.jpg\nx 1\ngone.jpg\n")
    index = opened(root)
    assert list(labels(index)) == ["a", "b.v2", "my photo", "sub", "x"]
    assert index.tally.pictures == {Reason.NO_ANNOTATIONS: 1}


def test_voc_pictures_without_annotations_are_named(tmp_path: Path) -> None:
    root = voc(tmp_path / "data")
    save(root / "JPEGImages" / "b.jpg")
    index = opened(root)
    assert [(drop.file, drop.reason) for drop in index.dropped()] == [("JPEGImages/b.jpg", Reason.NO_ANNOTATIONS)]


def test_voc_without_a_size_and_with_another_file_name(tmp_path: Path) -> None:
    root = voc(tmp_path / "data", f"<filename>scan.PNG</filename>{OBJECT}", size=(0, 0))
    (root / "JPEGImages" / "a.jpg").unlink()
    save(root / "JPEGImages" / "scan.PNG")
    index = opened(root)
    assert index.picture(0).path == "JPEGImages/scan.PNG"
    assert index.entries(0)[0].xyxy == (0.075, 0.05, 0.5, 0.6)


def test_a_turned_voc_picture_turns_its_boxes(tmp_path: Path) -> None:
    root = voc(tmp_path / "data")
    save(root / "JPEGImages" / "a.jpg", orientation=6)
    assert opened(root).entries(0)[0].xyxy == pytest.approx((0.4, 0.075, 0.95, 0.5))


@pytest.mark.skipif(REAL is None, reason="DETDIFFUSION_REAL_DATA names no folder of real data")
@pytest.mark.parametrize(("split", "pictures", "objects", "empty"), [("trainval", 292, 3941, 2), ("test", 72, 945, 0)])
def test_real_voc(split: str, pictures: int, objects: int, empty: int, tmp_path: Path) -> None:
    """BCCD: 364 pictures of 640 x 480 with 4,888 boxes, two of them of zero size."""
    root = Path(str(REAL)) / "bccd"
    source = find_source(root, split)
    assert source is not None
    index = open_index(tmp_path / "index.sqlite", source)
    found = [entries for _, entries in index.walk()]
    assert (len(found), sum(map(len, found))) == (pictures, objects)
    assert index.tally.objects == ({Reason.EMPTY_BOX: empty} if empty else {})
    assert index.things == ("Platelets", "RBC", "WBC")
    assert max(map(len, found)) <= 30
    assert index.picture(0).frame.drawn_size == (640, 480)
