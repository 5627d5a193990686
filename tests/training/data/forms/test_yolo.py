"""YOLO folders and rows as their tools write them, and as they arrive broken."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from form_files import HEIGHT, WIDTH, labels, opened, save

from detdiffusion.errors import DataError
from training.data.checks import Reason
from training.data.forms.coco_masks import unpack
from training.data.forms.recognise import find_source
from training.data.images import ImageFault

ROW = "0 0.5 0.5 0.2 0.4"


def yolo(root: Path, rows: Mapping[str, str | None], config: str | None = "train: images\nnames: [cat, dog]\n") -> Path:
    """Pictures images/NAME.png with these label rows (None: no label file), data.yaml of that text."""
    (root / "labels").mkdir(parents=True)
    for name, text in rows.items():
        save(root / "images" / f"{name}.png")
        label = root / "labels" / f"{name}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            label.write_text(text)
    if config is not None:
        (root / "data.yaml").write_text(config)
    return root


def test_yolo_boxes(tmp_path: Path) -> None:
    rows = {"a": f"{ROW}\n1 0.9 0.25 0.2 0.5\n\n", "empty": "", "sub/b": ROW, "unlabelled": None}
    root = yolo(tmp_path / "data", rows)
    index = opened(root)
    expected = {"images/a": ["cat", "dog"], "images/empty": [], "images/sub/b": ["cat"], "images/unlabelled": []}
    assert labels(index) == expected
    assert [entry.xyxy for entry in index.entries(0)] == [
        pytest.approx((0.4, 0.3, 0.6, 0.7)),
        pytest.approx((0.8, 0, 1, 0.5)),
    ]
    assert (index.things, index.stuff, index.has_masks) == (("cat", "dog"), (), False)
    assert index.tally.report(0, 0).to_json() == {
        "pictures": 0, "objects": 0, "dropped_pictures": {}, "dropped_objects": {}, "notes": {Reason.NO_LABELS: 1},
    }  # fmt: skip


@pytest.mark.parametrize("labels_in", ["labels", "Labels", "LABELS"])
@pytest.mark.parametrize("suffix", [".txt", ".TXT"])
def test_yolo_names_in_capitals(labels_in: str, suffix: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    save(root / "Images" / "a.PNG")
    (root / labels_in).mkdir()
    (root / labels_in / f"a{suffix}").write_text(ROW)
    (root / "data.yaml").write_text("train: Images\nnames: [cat]\n")
    index = opened(root)
    assert labels(index) == {"Images/a": ["cat"]}
    assert index.tally.notes == {}


@pytest.mark.parametrize("elsewhere", ["label", "annotations", "labels/train"])
def test_pictures_without_any_label_file_are_no_data_set(elsewhere: str, tmp_path: Path) -> None:
    """Labels that lie where nobody looks are no pictures of nothing."""
    root = yolo(tmp_path / "data", {"a": None, "b": None})
    (root / elsewhere).mkdir()
    for stem in "ab":
        (root / elsewhere / f"{stem}.txt").write_text(ROW)
    with pytest.raises(DataError, match=r"none of 2 images has a label file; looked for labels/a\.txt"):
        opened(root)
    (root / "labels" / "a.txt").touch()
    assert labels(opened(root)) == {"images/a": [], "images/b": []}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2 0.5 0.5 0.2 0.4", Reason.UNKNOWN_CATEGORY),
        ("-1 0.5 0.5 0.2 0.4", Reason.UNKNOWN_CATEGORY),
        ("0.5 0.5 0.5 0.2 0.4", Reason.UNKNOWN_CATEGORY),
        ("0 0.5 0.5 0.2", Reason.BAD_ROW),
        ("0 0.5 0.5 0.2 0.4 0.9 0.1 0.3", Reason.BAD_ROW),
        ("0 0.5 0.5 nan 0.4", Reason.BAD_OBJECT),
        ("cat 0.5 0.5 0.2 0.4", Reason.BAD_OBJECT),
        ("0 0.5 0.5 0 0.4", Reason.EMPTY_BOX),
        ("0 1.5 0.5 0.2 0.4", Reason.OUTSIDE_BOX),
    ],
)
def test_a_yolo_row_that_cannot_stay_is_counted(row: str, reason: str, tmp_path: Path) -> None:
    root = yolo(tmp_path / "data", {"a": f"{ROW}\n{row}"})
    index = opened(root)
    assert labels(index) == {"images/a": ["cat"]}
    assert index.tally.objects == {reason: 1}


def test_yolo_polygons_are_masks(tmp_path: Path) -> None:
    root = yolo(tmp_path / "data", {"a": f"{ROW}\n1 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75"})
    index = opened(root)
    box, shape = index.entries(0)
    assert shape.xyxy == (0.25, 0.25, 0.75, 0.75)
    nothing, packed = index.segmentations([box, shape])
    assert nothing is None and packed is not None
    mask = unpack(packed, WIDTH, HEIGHT)
    assert mask[5:15, 10:30].all() and mask.sum() == 200
    assert index.tally.notes == {Reason.NO_MASK: 1}


@pytest.mark.parametrize(
    "text",
    [
        "0 0.5 0.5 0.2 0.4\n",
        "0,0.5,0.5,0.2,0.4\r\n",
        "0, 0.5, 0.5, 0.2, 0.4,\n".replace(",\n", "\n"),
        "0;0.5;0.5;0.2;0.4",
        "0 0.5 0.5 0.2 0.4 0.93\n",
        "0.000000e+00 5e-1 0.5 0.2 0.4",
        "  0\t0.5 0.5   0.2 0.4  \n\n",
        "0 0.4 0.3 0.6 0.3 0.6 0.7 0.4 0.7",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_yolo_rows_as_tools_write_them(text: str, encoding: str, tmp_path: Path) -> None:
    root = yolo(tmp_path / "data", {"a": None})
    (root / "labels" / "a.txt").write_bytes(text.encode(encoding))
    index = opened(root)
    assert [(entry.label, entry.xyxy) for entry in index.entries(0)] == [("cat", pytest.approx((0.4, 0.3, 0.6, 0.7)))]
    assert index.tally.objects == {}


@pytest.mark.parametrize(
    ("shape", "more", "stays"),
    [
        ("[4, 3]", " 0.1 0.1 2" * 4, True),
        ("[4, 3]", " 0.1 0.1 2" * 4 + " 0.7", True),
        ("[4, 3]", "", True),
        ("[4, 3]", " 0.1 0.1" * 4, False),
        ("[1, 2]", " 0.1 0.1", True),
        ("[2, 2]", " 0.9 0.9 0.1 0.1", True),  # as wide as a triangle
    ],
)
def test_yolo_key_points_are_no_polygon(shape: str, more: str, stays: bool, tmp_path: Path) -> None:
    root = yolo(tmp_path / "data", {"a": ROW + more}, f"names: [cat]\ntrain: images\nkpt_shape: {shape}\n")
    index = opened(root)
    assert [entry.xyxy for entry in index.entries(0)] == ([pytest.approx((0.4, 0.3, 0.6, 0.7))] if stays else [])
    assert index.tally.objects == ({} if stays else {Reason.BAD_ROW: 1})


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("[0, 1]", ("0", "1")),
        ("{0: 0, 1: 1}", ("0", "1")),
        ("[yes, no]", ("yes", "no")),
        ("[1e3, 2024-01-01]", ("1e3", "2024-01-01")),
        ("['0', \"null\"]", ("0", "null")),
        ("{'0': on, '1': off}", ("on", "off")),
        ("{1: dog, 0: cat}", ("cat", "dog")),
        ("classes.txt", ("eins", "zwei drei")),
        ("[~, cat]", ("cat",)),
    ],
)
def test_yolo_names_are_text(names: str, expected: tuple[str, ...], tmp_path: Path) -> None:
    root = yolo(tmp_path / "data", {"a": ROW}, f"train: images\nnames: {names}\n")
    (root / "classes.txt").write_text("\ufeffeins\nzwei drei\n\n", encoding="utf-8")
    assert opened(root).things == expected


def test_another_number_of_classes_is_said(tmp_path: Path) -> None:
    root = yolo(tmp_path / "data", {"a": ROW}, "train: images\nnames: [cat, dog]\nnc: 5\n")
    assert opened(root).tally.notes == {"data.yaml: nc is 5, the classes that are named are 2": 1}
    (root / "data.yaml").write_text("train: images\nnames: [cat, dog]\nnc: 2\n")
    assert opened(root).tally.notes == {}


@pytest.mark.parametrize(
    "line",
    [
        "{root}/images/sub/a.png",
        "/elsewhere/data/images/sub/a.png",
        "C:\\data\\images\\sub\\a.png",
        "images\\sub\\a.png",
        "./images/sub/a.png",
        "data/images/sub/a.png",
        "../data/images/sub/a.png",
    ],
)
@pytest.mark.parametrize("place", ["train.txt", "lists/train.txt"])
def test_yolo_lists_as_tools_write_them(line: str, place: str, tmp_path: Path) -> None:
    root = yolo(tmp_path / "data", {"sub/a": ROW, "sub/b": ROW}, f"train: {place}\nnames: [cat]\n")
    (root / place).parent.mkdir(exist_ok=True)
    base = "../" if line.startswith("..") and "/" in place else ""
    (root / place).write_text("\ufeff" + base + line.format(root=root) + "\r\n", encoding="utf-8")
    index = opened(root)
    assert labels(index) == {"images/sub/a": ["cat"]}
    assert index.tally.pictures == {}, "b belongs to another split: its label file is not without an image"


def test_a_yaml_elsewhere_leads_to_its_data(tmp_path: Path) -> None:
    root = yolo(tmp_path / "data", {"a": ROW}, None)
    (tmp_path / "notes").mkdir()
    config = tmp_path / "notes" / "mine.yaml"
    for path in (root, "../data"):
        config.write_text(f"path: {path}\ntrain: images\nnames: [cat]\n")
        index = opened(config)
        assert labels(index) == {"images/a": ["cat"]}


@pytest.mark.parametrize(
    ("path", "place"),
    [("../datasets/coco8", "datasets/coco8"), ("coco8", "datasets/coco8"), ("/kaggle/input/coco8", "input/coco8")],
)
def test_a_yaml_as_ultralytics_brings_it(path: str, place: str, tmp_path: Path) -> None:
    """Its `path` is meant from a folder that is not here: what it names lies below the YAML's own."""
    yolo(tmp_path / place, {"a": ROW}, None)
    config = tmp_path / "coco8.yaml"
    config.write_text(f"path: {path} # dataset root dir\ntrain: images\nval: images\ntest:\nnames:\n  0: cat\n")
    if path.startswith("/"):
        config = config.rename(tmp_path / "input" / "coco8.yaml")
    assert labels(opened(config)) == {"images/a": ["cat"]}


def test_a_label_called_as_a_list(tmp_path: Path) -> None:
    """The picture of a train, and its label file, in one folder with all others."""
    root = tmp_path / "data"
    for stem in ("train", "test"):
        save(root / f"{stem}.png")
        (root / f"{stem}.txt").write_text(ROW)
    save(root / "a.png")
    (root / "a.txt").write_text(ROW)
    (root / "classes.txt").write_text("cat\n")
    assert labels(opened(root)) == {"a": ["cat"], "test": ["cat"], "train": ["cat"]}


def test_yolo_boxes_are_drawn_on_the_upright_picture(tmp_path: Path) -> None:
    root = yolo(tmp_path / "data", {"a": "0 0.5 0.25 0.2 0.1"})
    save(root / "images" / "a.png", orientation=6)
    index = opened(root)
    frame = index.picture(0).frame
    assert (frame.width, frame.height) == (HEIGHT, WIDTH)
    assert index.entries(0)[0].xyxy == pytest.approx((0.4, 0.2, 0.6, 0.3))


@pytest.mark.parametrize(
    ("config", "split", "expected"),
    [
        ("train: images/a\nval: images/b\nnames: {0: cat}", None, "images/a/x"),
        ("train: images/a\nval: images/b\nnames: {0: cat}", "val", "images/b/x"),
        ("path: /elsewhere/data\ntrain: images/a\nnames: [cat]", None, "images/a/x"),
        ("path: .\ntrain: ../images/a\nnames: [cat]", None, "images/a/x"),
        ("train: [images/a]\nnames: [cat]\ndownload: exit(1)", None, "images/a/x"),
        ("train: list.txt\nnames: [cat]", None, "images/b/x"),
        (None, "b", "images/b/x"),
    ],
)
def test_yolo_splits(config: str | None, split: str | None, expected: str, tmp_path: Path) -> None:
    root = yolo(tmp_path / "data", {"a/x": ROW, "b/x": ROW}, config)
    (root / "list.txt").write_text("./images/b/x.png\n\n")
    if config is None:
        (root / "classes.txt").write_text("cat\n")
    assert labels(opened(root, split)) == {expected: ["cat"]}


def test_yolo_without_a_config_or_splits(tmp_path: Path) -> None:
    root = yolo(tmp_path / "data", {"a": ROW}, None)
    (root / "labels" / "classes.txt").write_text("cat\n")
    index = opened(root)
    assert labels(index) == {"images/a": ["cat"]}
    assert index.tally.pictures == {}  # the class list is no label file without a picture


@pytest.mark.parametrize(
    ("config", "split", "reason"),
    [
        (None, None, "YOLO labels number their classes; name them in data.yaml"),
        ("train: images", None, "it needs `names`"),
        ("train: images\nnames: {cat: 0}", None, "it needs `names`"),
        ("- a", None, "it needs `names`"),
        ("names: [cat", None, "not a YAML file"),
        ("names: [cat]", "val", "no split 'val' here; there are: none"),
        ("names: [cat, [dog]]\ntrain: images", None, "the name of class 1 is no text"),
        ("names: {30000000: cat}\ntrain: images", None, "it names class 30000000; at most 10,000"),
        (f"names: [{'a' * 201}]\ntrain: images", None, "the name of class 0 is no text of at most 200"),
        ("names: [cat]\ntrain: images\nkpt_shape: 4", None, "kpt_shape '4' needs to be"),
        ("train: images\nnames: [cat]", "val", "no split 'val' here; there are: train"),
        ("train: pictures\nnames: [cat]", None, "'pictures' is not found inside"),
        ("train: ../..\nnames: [cat]\npath: /", None, None),
    ],
)
def test_yolo_configs_that_cannot_be_used(
    config: str | None, split: str | None, reason: str | None, tmp_path: Path
) -> None:
    root = yolo(tmp_path / "data", {"a": ROW}, config)
    if reason is None:  # what leads out of the folder is looked for inside it
        source = find_source(root, split)
        assert source is not None and all(path.is_relative_to(root) for path in (*source.files, *source.folders))
    else:
        with pytest.raises(DataError, match=reason):
            find_source(root, split)


def test_yolo_labels_without_pictures_and_names_that_lead_outside(tmp_path: Path) -> None:
    root = yolo(tmp_path / "data", {"a": ROW, "gone": f"{ROW}\n{ROW}"})
    (root / "images" / "gone.png").unlink()
    assert opened(root).tally.pictures == {ImageFault.MISSING: 1}

    save(tmp_path / "secret.png")
    (root / "list.txt").write_text(f"images/a.png\n../secret.png\n{tmp_path / 'secret.png'}\n.\n")
    (root / "data.yaml").write_text("train: list.txt\nnames: [cat]")
    index = opened(root)
    assert labels(index) == {"images/a": ["cat"]}
    assert index.tally.pictures[ImageFault.OUTSIDE] == 2


def test_two_yolo_pictures_of_one_name_share_a_label_file(tmp_path: Path) -> None:
    root = yolo(tmp_path / "data", {"a": ROW, "b": ROW})
    save(root / "images" / "a.jpg")
    index = opened(root)
    assert labels(index) == {"images/a.jpg": ["cat"], "images/a.png": ["cat"], "images/b": ["cat"]}
    assert index.tally.pictures == {}


def test_other_folders_are_not_of_these_forms(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "Annotations").mkdir()
    assert find_source(tmp_path, None) is None
