"""Folders -> samples: pictures, layouts and masks in step, on made and on real pictures."""

import json
import os
import pickle
from multiprocessing import get_context
from operator import getitem
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from detdiffusion.errors import DataError
from detdiffusion.layout import Box, Layout
from training.data.datasets import Dataset, LazyMasks, MaskSource, Sample, fitted, open_dataset
from training.data.filters import LayoutFilter
from training.data.images import ImageError, ImageFault
from training.data.papercut.classes import STUFF, THINGS
from training.data.papercut.coco_export import write_dataset
from training.data.papercut.scene import scene
from training.data.request import Reading, SplitBy

REAL = os.environ.get("DETDIFFUSION_REAL_DATA")
needs_real_data = pytest.mark.skipif(REAL is None, reason="DETDIFFUSION_REAL_DATA names no folder of real data")
SEEDS = range(910_000, 910_004)


@pytest.fixture(scope="module")
def papercut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("papercut") / "data"
    write_dataset(folder, SEEDS, size=128)
    return folder


@pytest.fixture
def opened(papercut: Path, tmp_path: Path) -> Dataset:
    return open_dataset(papercut, index=tmp_path / "index.sqlite")


def same(a: Sample, b: Sample) -> bool:
    return (a.image_id, a.path, a.layout) == (b.image_id, b.path, b.layout) and np.array_equal(
        a.masks.decode(), b.masks.decode()
    )


def test_papercut_comes_back_as_it_was_made(opened: Dataset) -> None:
    assert (opened.name, opened.things, opened.stuff) == ("data", THINGS, STUFF)
    assert (len(opened), opened.mask_source) == (len(SEEDS), MaskSource.INSTANCES)
    for sample, seed in zip(opened, SEEDS, strict=True):
        made = scene(seed, size=128)
        assert sample.image_id == str(seed)
        assert sample.layout.labels == made.layout.labels
        boxes = np.array([box.xyxy for box in sample.layout.boxes])
        assert boxes == pytest.approx(np.array([box.xyxy for box in made.layout.boxes]))
        assert all(box.attribute is None for box in sample.layout.boxes)
        assert np.array_equal(np.asarray(sample.load_image()), np.asarray(made.image))
        assert np.array_equal(sample.masks.decode(), made.masks)
        assert len(sample.masks) == len(made.masks)


def test_it_is_a_sequence(opened: Dataset) -> None:
    assert same(opened[-1], opened[3])
    assert [sample.image_id for sample in opened[1:3]] == [str(seed) for seed in SEEDS[1:3]]
    with pytest.raises(IndexError):
        opened[4]


def test_other_processes_read_it_too(opened: Dataset) -> None:
    """Workers get the data set by pickling (spawn) or find it in the memory that they inherit (fork)."""
    expected = opened[0]  # the connection is open before the fork
    assert same(pickle.loads(pickle.dumps(opened))[0], expected)  # noqa: S301 - our own bytes
    for method in ("fork", "spawn"):
        with get_context(method).Pool(1) as pool:
            assert same(pool.apply(getitem, (opened, 0)), expected)
    assert same(opened[0], expected)


def test_the_filter_decides_what_is_in_it(papercut: Path, tmp_path: Path) -> None:
    index = tmp_path / "index.sqlite"
    whole = open_dataset(papercut, index=index)
    no_sky = LayoutFilter(min_area=0.05, min_objects=2, max_objects=5, ignored=("sky-other",))
    part = open_dataset(papercut, filter=no_sky, index=index)
    assert "sky-other" in whole.stuff and "sky-other" not in part.stuff
    for sample in part:
        (before,) = [other for other in whole if other.image_id == sample.image_id]
        stays = [box.label != "sky-other" and box.area > 0.05 for box in before.layout.boxes]
        assert sample.layout.boxes == tuple(box for box, stay in zip(before.layout.boxes, stays, strict=True) if stay)
        assert np.array_equal(sample.masks.decode(), before.masks.decode()[np.array(stays)])
        assert 2 <= len(sample.layout.boxes) <= 5
    report = part.report
    assert report.pictures == len(part) and report.objects == sum(len(sample.masks) for sample in part)
    assert report.pictures + sum(report.dropped_images.values()) == len(whole)
    assert report.objects + sum(report.dropped_objects.values()) == whole.report.objects


def test_the_fingerprint_is_that_of_contents_and_filter(papercut: Path, tmp_path: Path) -> None:
    def fingerprint(folder: Path, number: int, layout_filter: LayoutFilter) -> str:
        return open_dataset(folder, filter=layout_filter, index=tmp_path / f"{number}.sqlite").fingerprint

    loose, tight = LayoutFilter(min_objects=1), LayoutFilter(min_objects=1, min_area=0.03)
    write_dataset(tmp_path / "copy", SEEDS, size=128)
    write_dataset(tmp_path / "fewer", SEEDS[:2], size=128)
    found = fingerprint(papercut, 0, loose)
    assert len(found) == 64
    assert fingerprint(tmp_path / "copy", 1, loose) == found
    assert len({found, fingerprint(papercut, 2, tight), fingerprint(tmp_path / "fewer", 3, loose)}) == 3


def test_boxes_stand_in_for_masks_and_it_is_said(tmp_path: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / "data" / name).mkdir(parents=True)
    Image.new("RGB", (40, 20)).save(tmp_path / "data" / "images" / "a.png")
    (tmp_path / "data" / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.4\n0 0.9999 0.9999 0.0001 0.0001")
    (tmp_path / "data" / "data.yaml").write_text("train: images\nnames: [cat]")
    dataset = open_dataset(tmp_path / "data", index=tmp_path / "index.sqlite")
    assert dataset.mask_source is MaskSource.BOXES
    assert "boxes stand in for them" in dataset.describe()[-1]
    expected = np.zeros((2, 20, 40), bool)
    expected[0, 6:14, 16:24] = True
    expected[1, 19, 39] = True  # thinner than a pixel, but there
    assert np.array_equal(dataset[0].masks.decode(), expected)


def test_what_was_found_and_dropped_is_described(papercut: Path, tmp_path: Path) -> None:
    dataset = open_dataset(
        papercut, filter=LayoutFilter(0.0, 1, 100, ignored=("sea",)), index=tmp_path / "index.sqlite"
    )
    lines = dataset.describe()
    assert lines[:2] == [
        "data set data: COCO-Thing-Stuff by annotations/instances.json",
        "images: 4 found, 4 kept, 0 dropped",
    ]
    assert lines[-2:] == [f"classes: {len(THINGS)} of things, {len(STUFF) - 1} of stuff", "masks: the objects' own"]


def test_it_knows_the_words_that_ask_for_it(papercut: Path, tmp_path: Path) -> None:
    """Messages that say which command to give next name its split, too."""
    index = tmp_path / "index.sqlite"
    assert open_dataset(papercut, index=index).words == ("--data", str(papercut))
    part = open_dataset(papercut, split="val", index=index, reading=Reading(split_by=SplitBy(0.5, 2)))
    assert part.words == ("--data", str(papercut), "--split", "val", "--split-by", "0.5@2")
    assert part.unfiltered().words == part.words


# --- what is wrong --------------------------------------------------------------------------------


def test_folders_that_hold_no_data_set(papercut: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        open_dataset(tmp_path / "absent")
    with pytest.raises(DataError, match=r"it is empty\. Looked for COCO .*data\.yaml.*XML.*DATA_FOLDERS"):
        open_dataset(tmp_path)
    too_tight = LayoutFilter(min_objects=99, max_objects=100)
    with pytest.raises(DataError, match=r"no image is left; images: 4 found, 0 kept.*fewer than 99 objects left"):
        open_dataset(papercut, filter=too_tight, index=tmp_path / "index.sqlite")


def test_a_picture_that_goes_bad_later_is_named(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", SEEDS[:1], size=64)
    sample = open_dataset(tmp_path / "data", index=tmp_path / "index.sqlite")[0]
    whole = sample.path.read_bytes()
    sample.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=sample.path.name) as caught:
        sample.load_image()
    assert caught.value.fault is ImageFault.UNREADABLE
    Image.new("RGB", (32, 64)).save(sample.path)
    with pytest.raises(ImageError, match="replaced since the data set was opened"):
        sample.load_image()
    sample.path.unlink()
    with pytest.raises(ImageError, match="not found"):
        sample.load_image()


def test_an_index_that_cannot_be_written(papercut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "training.data.index._TABLES", "PRAGMA max_page_count = 2; CREATE TABLE a(b); CREATE TABLE c(d);"
    )
    with pytest.raises(DataError, match=r"the index cannot be written .*is the disk full"):
        open_dataset(papercut, index=tmp_path / "index.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_the_index_lies_in_the_cache_folder_where_none_is_named(
    papercut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = sorted(papercut.rglob("*"))
    open_dataset(papercut)
    (index,) = (tmp_path / "detdiffusion" / "indexes").glob("*.sqlite")
    assert index.name.startswith("data-")
    assert sorted(papercut.rglob("*")) == before  # nothing is written among the user's data


# --- in step --------------------------------------------------------------------------------------


def bounds(mask: np.ndarray) -> np.ndarray:
    """x1, y1, x2, y2 of a mask, in fractions."""
    (rows, columns), (height, width) = np.nonzero(mask), mask.shape
    corners = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return np.array(corners) / (width, height, width, height)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", [(20, 40), (57, 100), (10, 20), (64, 64)])
def test_picture_boxes_and_masks_are_stretched_and_mirrored_together(size: tuple[int, int], flip: bool) -> None:
    image = Image.new("RGB", (40, 20), "white")
    image.paste("red", (4, 8, 24, 18))
    mask = np.zeros((20, 40), bool)
    mask[8:18, 4:24] = True
    layout = Layout(40, 20, (Box("cat", (0.1, 0.4, 0.6, 0.9)),))
    picture, laid, masks = fitted(image, layout, mask[None], size, flip=flip)
    assert picture.size == (laid.width, laid.height) == (size[1], size[0])
    assert masks.shape == (1, *size) and masks.dtype == np.bool_
    expected = (0.4, 0.4, 0.9, 0.9) if flip else (0.1, 0.4, 0.6, 0.9)
    assert laid.boxes[0].xyxy == pytest.approx(expected)
    pixel = 1 / min(size)
    assert bounds(masks[0]) == pytest.approx(np.array(expected), abs=pixel)
    assert bounds(np.asarray(picture)[..., 1] < 128) == pytest.approx(np.array(expected), abs=pixel)


def test_an_object_thinner_than_a_pixel_keeps_a_mask() -> None:
    mask = np.zeros((2, 100, 100), bool)
    mask[0, 40, 60] = True
    layout = Layout(100, 100, (Box("cat", (0.6, 0.4, 0.61, 0.41)), Box("cat", (0, 0, 1, 1))))
    *_, masks = fitted(Image.new("RGB", (100, 100)), layout, mask, (10, 10), flip=False)
    assert masks[0].sum() == 1 and masks[0, 4, 6]
    assert not masks[1].any()  # what was nowhere stays nowhere


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_and_masks_follow_a_turned_picture(orientation: int, tmp_path: Path) -> None:
    """A COCO folder whose picture is stored on its side: the red box, its box and its mask stay one."""
    image = Image.new("RGB", (40, 20), "white")
    image.paste("red", (4, 8, 24, 18))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    for name in ("images", "annotations"):
        (tmp_path / "data" / name).mkdir(parents=True)
    image.save(tmp_path / "data" / "images" / "a.png", exif=exif)
    thing = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [4, 8, 20, 10]}
    polygon = {"segmentation": [[4, 8, 24, 8, 24, 18, 4, 18]]}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 20}],
        "annotations": [{**thing, **polygon}],
        "categories": [{"id": 1, "name": "box"}],
    }
    (tmp_path / "data" / "annotations" / "instances.json").write_text(json.dumps(content))
    sample = open_dataset(tmp_path / "data", index=tmp_path / "index.sqlite")[0]
    red = np.asarray(sample.load_image())[..., 1] < 128
    assert np.array_equal(sample.masks.decode()[0], red)
    assert sample.layout.boxes[0].xyxy == pytest.approx(tuple(bounds(red)))


def test_lazy_masks_are_as_many_as_the_boxes() -> None:
    masks = LazyMasks(Layout(4, 2, (Box("cat", (0, 0, 0.5, 1)),)), (None,))
    assert len(masks) == 1
    assert masks.decode().tolist() == [[[True, True, False, False]] * 2]


# --- real pictures --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = Path(str(REAL)) / "coco_thing_stuff_100"
    index = tmp_path_factory.mktemp("real") / "index.sqlite"
    dataset = open_dataset(folder, filter=LayoutFilter(), index=index)
    assert (len(dataset), dataset.report.objects) == (56, 308)
    assert (len(dataset.things), len(dataset.stuff), dataset.mask_source) == (80, 91, MaskSource.INSTANCES)
    return dataset[::4]


def nearest(mask: np.ndarray, size: tuple[int, int], flip: bool) -> np.ndarray:
    """The mask at the centres of the new pixels: no Pillow, no order of steps to get wrong."""
    rows = ((np.arange(size[0]) + 0.5) * mask.shape[0] / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * mask.shape[1] / size[1]).astype(int)
    return mask[np.ix_(rows, columns[::-1] if flip else columns)]


@needs_real_data
@pytest.mark.parametrize(("size", "flip"), [((456, 800), False), ((256, 256), True), ((512, 512), True)])
def test_real_boxes_and_masks_stay_in_step(real: list[Sample], size: tuple[int, int], flip: bool) -> None:
    """Boxes are found again from the masks: within 3 pixels for nearly all (a few of COCO's stuff boxes are wider than
    their masks, and a pole thinner than half a pixel loses its tip)."""
    distances = []
    for sample in real:
        picture, layout, masks = fitted(sample.load_image(), sample.layout, sample.masks, size, flip=flip)
        assert picture.size == (layout.width, layout.height) == (size[1], size[0])
        assert layout.labels == sample.layout.labels and masks.shape == (len(layout.boxes), *size)
        for box, mask, before in zip(layout.boxes, masks, sample.masks, strict=True):
            assert np.mean(mask != nearest(before, size, flip)) < 0.01
            pixels = np.abs(bounds(mask) - box.xyxy) * (size[1], size[0], size[1], size[0])
            distances.append(pixels.max())
    assert len(distances) > 60
    assert np.quantile(distances, 0.9) < 3


@needs_real_data
def test_real_pictures_are_mirrored_as_a_whole(real: list[Sample]) -> None:
    sample = real[0]
    image = sample.load_image()
    plain, _, masks = fitted(image, sample.layout, sample.masks, (256, 256), flip=False)
    mirrored, _, mirrored_masks = fitted(image, sample.layout, sample.masks, (256, 256), flip=True)
    assert np.array_equal(np.asarray(mirrored), np.asarray(plain)[:, ::-1])
    assert np.array_equal(mirrored_masks, masks[:, :, ::-1])


@needs_real_data
def test_real_voc_pictures_have_boxes_for_masks(tmp_path: Path) -> None:
    dataset = open_dataset(Path(str(REAL)) / "bccd", split="test", index=tmp_path / "index.sqlite")
    assert (len(dataset), dataset.mask_source) == (72, MaskSource.BOXES)
    sample = dataset[0]
    assert sample.load_image().size == (640, 480)
    for box, mask in zip(sample.layout.boxes, sample.masks, strict=True):
        assert bounds(mask) == pytest.approx(np.array(box.xyxy), abs=1 / 480)
        assert mask.mean() == pytest.approx(box.area, rel=0.05)
