"""Pictures as people have them: turned by EXIF, CMYK, cut short, too large; boxes and masks follow the turn."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from training.data.images import TURNS, Frame, ImageError, ImageFault, locate, look_at, read_frame, read_image_file

WIDTH, HEIGHT = 60, 40
BOX = (6, 4, 24, 12)  # pixels of the stored picture


def marked(orientation: int | None, path: Path) -> Image.Image:
    """A white picture with a red box, stored under an orientation."""
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    image.paste("red", BOX)
    exif = Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    image.save(path, exif=exif)
    return image


def red_box(image: Image.Image) -> tuple[float, ...]:
    """Bounds of what is red, in fractions."""
    pixels = np.asarray(image).astype(int)
    rows, columns = np.nonzero((pixels[..., 0] > 200) & (pixels[..., 1] < 100))
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return left / image.width, top / image.height, right / image.width, bottom / image.height


@pytest.mark.parametrize("orientation", [None, *range(1, 9), 9])
def test_boxes_and_masks_follow_the_picture(orientation: int | None, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    stored = marked(orientation, path)
    with Image.open(path) as image:
        expected = ImageOps.exif_transpose(image)
    found = read_image_file(path)
    assert np.array_equal(np.asarray(found), np.asarray(expected))
    frame = read_frame(path, (WIDTH, HEIGHT))
    assert (frame.width, frame.height) == found.size
    assert frame.drawn_size == (WIDTH, HEIGHT)
    x1, y1, x2, y2 = BOX
    turned = frame.turn.box((x1 / WIDTH, y1 / HEIGHT, x2 / WIDTH, y2 / HEIGHT))
    assert turned == pytest.approx(red_box(found))
    mask = np.asarray(stored)[..., 1] < 100
    assert np.array_equal(frame.turn.mask(mask), np.asarray(found)[..., 1] < 100)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ((WIDTH, HEIGHT), Frame(HEIGHT, WIDTH, 6)),  # drawn on the stored picture
        ((HEIGHT, WIDTH), Frame(HEIGHT, WIDTH, 1)),  # drawn on the upright one
        (None, Frame(HEIGHT, WIDTH, 1)),
    ],
)
def test_the_stated_size_says_on_what_boxes_were_drawn(
    stated: tuple[int, int] | None, expected: Frame, tmp_path: Path
) -> None:
    marked(6, tmp_path / "a.jpg")
    assert read_frame(tmp_path / "a.jpg", stated) == expected


def test_cmyk_and_palettes_become_rgb(tmp_path: Path) -> None:
    for mode, name in (("CMYK", "a.jpg"), ("P", "b.png"), ("L", "c.jpg"), ("1", "d.png"), ("RGBA", "e.png")):
        Image.new("RGB", (8, 8), "white").convert(mode).save(tmp_path / name)
        image = read_image_file(tmp_path / name)
        assert image.mode == "RGB"
        assert np.asarray(image).min() > 250, mode


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_of_16_bits_the_upper_8_are_read(suffix: str, order: str, tmp_path: Path) -> None:
    """As OpenCV reads them, grey ones and coloured ones."""
    path, values = tmp_path / f"a{suffix}", np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    Image.fromarray(values.astype(order)).save(path)
    expected = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(np.asarray(read_image_file(path)), expected) and expected.max() == 255
    assert look_at(path).deep
    cv2.imwrite(str(tmp_path / "b.png"), np.stack([values] * 3, axis=-1))
    assert np.array_equal(np.asarray(read_image_file(tmp_path / "b.png")), expected)


def spoil(path: Path, fault: str) -> None:
    if fault == "cut short":
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:-2000])
    elif fault == "no image":
        path.write_text("x" * 1000)
    elif fault == "folder":
        path.mkdir()
    elif fault == "large":
        Image.new("1", (5001, 5000)).save(path, format="PNG")
    elif fault == "deep":
        Image.fromarray(np.zeros((8, 8), np.int32)).save(path, format="TIFF")


@pytest.mark.parametrize(
    ("fault", "expected", "text"),
    [
        ("missing", ImageFault.MISSING, "image file not found"),
        ("cut short", ImageFault.UNREADABLE, "truncated"),
        ("no image", ImageFault.UNREADABLE, "cannot be read"),
        ("folder", ImageFault.UNREADABLE, "cannot be read"),
        ("large", ImageFault.TOO_LARGE, "over 25 megapixels (5001x5000)"),
        ("deep", ImageFault.DEEP, "32 bits a channel"),
    ],
)
def test_a_bad_picture_is_named_with_its_fault(fault: str, expected: ImageFault, text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.jpg"
    spoil(path, fault)
    with pytest.raises(ImageError, match=r"bad\.jpg") as caught:
        read_image_file(path)
    assert caught.value.fault is expected
    assert text in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own error, as a worker process sends it
    assert (again.fault, str(again)) == (expected, str(caught.value))


def test_a_bomb_is_a_picture_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow itself refuses what claims to be much larger than its limit."""
    marked(None, tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError) as caught:
        read_image_file(tmp_path / "a.png")
    assert caught.value.fault is ImageFault.TOO_LARGE


def test_a_picture_of_another_size_than_stated(tmp_path: Path) -> None:
    marked(None, tmp_path / "a.png")
    with pytest.raises(ImageError, match="60x40, the annotations say 61x40") as caught:
        read_frame(tmp_path / "a.png", (61, 40))
    assert caught.value.fault is ImageFault.OTHER_SIZE


def test_names_stay_in_their_folder(tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "images" / "sub").mkdir(parents=True)
    marked(None, root / "images" / "sub" / "a.png")
    marked(None, tmp_path / "secret.png")
    (root / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "elsewhere").symlink_to(root / "images", target_is_directory=True)
    for place in ("images", "elsewhere"):
        path, frame = locate(root, root / place, "sub/a.png", None)
        assert (path, frame) == (f"{place}/sub/a.png", Frame(WIDTH, HEIGHT))
    for name in ("../../secret.png", str(tmp_path / "secret.png"), "link.png", "a\0.png", "sub/../../../secret.png"):
        with pytest.raises(ImageError) as caught:
            locate(root, root / "images", name, None)
        assert caught.value.fault is ImageFault.OUTSIDE


def test_every_turn_is_undone_by_a_turn() -> None:
    """The eight turns are the symmetries of a rectangle: each has an inverse among them."""
    box = (0.1, 0.2, 0.4, 0.9)
    for turn in TURNS.values():
        assert any(other.box(turn.box(box)) == pytest.approx(box) for other in TURNS.values())
    assert len({tuple(round(v, 6) for v in turn.box(box)) for turn in TURNS.values()}) == 8
