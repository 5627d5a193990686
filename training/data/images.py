"""Picture files as they come, turned upright and in RGB; boxes and masks follow the same turn."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from detdiffusion.errors import DataError
from detdiffusion.layout import MAX_PIXELS

Mask = NDArray[np.bool_]
Corners = tuple[float, float, float, float]  # x1, y1, x2, y2

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

# What Pillow raises on files that are damaged, cut short or no pictures at all.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error)


class ImageFault(StrEnum):
    """Why a picture cannot be used; the text stands in messages and reports."""

    MISSING = "image file not found"
    OUTSIDE = "image file outside the data folder"
    UNREADABLE = "image cannot be read"
    TOO_LARGE = f"image over {MAX_PIXELS // 1_000_000} megapixels"
    DEEP = "image of 32 bits a channel, whose range nobody states"
    NO_SIZE = "image of unknown size"
    OTHER_SIZE = "image of another size than its annotations say"


class ImageError(DataError):
    """A picture that cannot be used; `fault` is the kind of trouble."""

    def __init__(self, fault: ImageFault, path: Path | str, detail: object = "") -> None:
        super().__init__(fault, str(path), str(detail))  # what another process rebuilds the error from
        self.fault = fault

    def __str__(self) -> str:
        fault, path, detail = self.args
        return f"{path}: {fault}{f' ({detail})' if detail else ''}; put it right or take it out of the data"


@dataclass(frozen=True, slots=True)
class Turn:
    """What makes a stored picture upright: first its axes are swapped, (x, y) -> (y, x), then it is mirrored."""

    swap: bool = False
    flip_x: bool = False
    flip_y: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) after the turn; the turn and its inverse change sizes alike."""
        return (height, width) if self.swap else (width, height)

    def box(self, xyxy: Corners) -> Corners:
        """A box in fractions after the turn."""
        x1, y1, x2, y2 = xyxy
        if self.swap:
            x1, y1, x2, y2 = y1, x1, y2, x2
        if self.flip_x:
            x1, x2 = 1 - x2, 1 - x1
        if self.flip_y:
            y1, y2 = 1 - y2, 1 - y1
        return x1, y1, x2, y2

    def mask(self, mask: Mask) -> Mask:
        """[H, W] -> [H, W], or [W, H] where the axes are swapped."""
        mask = mask.T if self.swap else mask
        mask = mask[:, ::-1] if self.flip_x else mask
        return mask[::-1] if self.flip_y else mask


TURNS = {  # by the EXIF orientation of the stored picture
    1: Turn(),
    2: Turn(flip_x=True),
    3: Turn(flip_x=True, flip_y=True),
    4: Turn(flip_y=True),
    5: Turn(swap=True),
    6: Turn(swap=True, flip_x=True),
    7: Turn(swap=True, flip_x=True, flip_y=True),
    8: Turn(swap=True, flip_y=True),
}
SIGNATURE = (9, 8)  # columns and rows of a picture's thumbnail: eight differences of brightness in each row
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Frame:
    """Size of the upright picture, and the orientation (1 to 8) of the frame in which its annotations were drawn."""

    width: int
    height: int
    orientation: int = 1

    @property
    def turn(self) -> Turn:
        """From the annotations' frame to the upright picture."""
        return TURNS[self.orientation]

    @property
    def drawn_size(self) -> tuple[int, int]:
        """(width, height) of the annotations' frame."""
        return self.turn.size(self.width, self.height)


def read_frame(path: Path, stated: tuple[int, int] | None) -> Frame:
    """The frame of a picture from its header alone; `stated` is the (width, height) that its annotations give.

    Annotations were drawn on the stored picture, unless their size fits only the upright one. Where none is stated
    (YOLO, whose tools turn pictures before anything else) they were drawn on the upright picture.

    Raises:
        ImageError: the file is missing, damaged, too large, or of a size that the annotations do not know.
    """
    with _opened(path) as image:
        stored, orientation = image.size, _orientation(image)
    upright = TURNS[orientation].size(*stored)
    if stated == stored:
        return Frame(*upright, orientation)
    if stated is None or stated == upright:
        return Frame(*upright)
    raise ImageError(ImageFault.OTHER_SIZE, path, f"{_shown(stored)}, the annotations say {_shown(stated)}")


def read_image_file(path: Path) -> Image.Image:
    """The picture, upright and in RGB.

    Raises:
        ImageError: the file is missing, damaged (cut short, too), over 25 megapixels or of 32 bits a channel.
    """
    with _opened(path) as image:
        orientation = _orientation(image)
        rgb = _rgb(image)
        return rgb.transpose(_TRANSPOSES[orientation]) if orientation in _TRANSPOSES else rgb


def is_turned(path: Path) -> bool:
    """Whether the picture is stored otherwise than it is to be seen, so that tools that ignore EXIF show it turned.

    Raises:
        ImageError: the file is missing, damaged or too large.
    """
    with _opened(path) as image:
        return _orientation(image) != 1


class Seen(NamedTuple):
    """What one look at a picture finds: a thumbnail in RGB, row by row, by which near-duplicates are known,
    and whether it has 16 bits a channel."""

    signature: bytes
    deep: bool


def look_at(path: Path) -> Seen:
    """Every byte of the picture is decoded for it.

    Raises:
        ImageError: the file is missing, damaged (cut short, too), over 25 megapixels or of 32 bits a channel.
    """
    with _opened(path) as image:
        image.draft("RGB", (64, 64))  # of a JPEG, an eighth of the pixels are computed, and all of the file is read
        return Seen(_rgb(image).resize(SIGNATURE, Image.Resampling.BOX).tobytes(), _is_deep(image))


def locate(root: Path, place: Path, name: str, stated: tuple[int, int] | None) -> tuple[str, Frame]:
    """Path within `root` and frame (see `read_frame`) of the picture `name` in `place`, a folder within `root`.

    Raises:
        ImageError: the name leads out of its folder (an absolute path, "..", a link), or the picture is of no use.
    """
    home = place.resolve()  # the folder itself may be a link: that is how people keep large data elsewhere
    name = name_within(home, name)
    if "\0" in name or ".." in Path(name).parts or not (home / name).resolve().is_relative_to(home):
        raise ImageError(ImageFault.OUTSIDE, repr(name))
    return (place.relative_to(root) / name).as_posix(), read_frame(home / name, stated)


def name_within(home: Path, name: str) -> str:
    """A picture's name as it is in a folder: with forward slashes where a Windows tool wrote others, and of the path
    of another machine the longest end that is there. A name that leads nowhere stays as it is."""
    if "\0" in name or (is_file(home / name) and not Path(name).is_absolute()):
        return name
    plain = PureWindowsPath(name) if "\\" in name else Path(name)
    parts = plain.parts[1:] if plain.is_absolute() or plain.drive else plain.parts
    if ".." in parts or not parts:
        return name
    ends = range(len(parts)) if len(parts) < len(plain.parts) else range(1)
    return next((end for at in ends if is_file(home / (end := "/".join(parts[at:])))), name)


def is_file(path: Path) -> bool:
    """Whether there is such a file; False for names that no file system takes."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_there(path: Path) -> bool:
    """The same of files and folders."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(ImageFault.TOO_LARGE, path, _shown(image.size))
            if image.mode in ("I", "F"):
                raise ImageError(ImageFault.DEEP, path, f"mode {image.mode}")
            yield image
    except FileNotFoundError as error:
        raise ImageError(ImageFault.MISSING, path) from error
    except Image.DecompressionBombError as error:
        raise ImageError(ImageFault.TOO_LARGE, path) from error
    except _BROKEN as error:
        raise ImageError(ImageFault.UNREADABLE, path, error) from error


def _is_deep(image: Image.Image) -> bool:
    """Whether it has 16 bits a channel and is grey; Pillow opens coloured ones with the upper 8 bits of each."""
    return image.mode.startswith("I;16")


def _rgb(image: Image.Image) -> Image.Image:
    """In 8 bits a channel: of 16, the upper 8, as OpenCV reads them, and Pillow those of coloured images."""
    if _is_deep(image):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 where there is none. Pillow turns TIFF itself; in a PNG the data may stand after the pixels,
    and looking for it there would decode every picture."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _BROKEN:
        return 1  # the EXIF block is damaged, the picture is not
    return int(found) if found in TURNS else 1


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
