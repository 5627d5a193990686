"""Files of one layout, in and out: layout JSON, pictures of the studio, COCO, YOLO and Pascal VOC annotations of one
picture, any other picture by what the detector sees in it; and links."""

import base64
import binascii
import json
import shutil
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

from PIL import Image

from app.components.canvas_sizes import nearest_size
from app.components.images import data_address
from app.engine.limits import beyond_limits
from app.engine.studio import Studio
from detdiffusion.bounds import LAYOUT_BYTES, LINK_BYTES
from detdiffusion.errors import DataError, LayoutError
from detdiffusion.image_record import ImageRecord, has_record, read_image
from detdiffusion.layout import MAX_OBJECTS, Box, Layout
from detdiffusion.sampling_config import SamplingConfig
from training.data.checks import NothingLeft
from training.data.datasets import open_dataset
from training.data.forms.yolo_config import read_config
from training.data.images import SUFFIXES, ImageError, read_image_file

BACKDROP_SIDE = 1024  # pixels
KEYS = {"label", "box", "attribute"}  # of an object that are read
NAMES = ("classes.txt", "data.yaml", "data.yml")  # files that name YOLO's classes


class Form(StrEnum):
    """What a layout can be written as."""

    JSON = "Layout JSON"
    COCO = "COCO"
    YOLO = "YOLO"
    VOC = "Pascal VOC"


@dataclass(frozen=True, slots=True)
class Opened:
    """A layout from files. A studio picture also brings how it was made; `backdrop` is the address of a picture to draw
    behind the boxes."""

    layout: dict[str, Any]
    note: str
    recipe: SamplingConfig | None = None
    backdrop: str = ""


def open_files(studio: Studio, paths: Sequence[Path]) -> Opened:
    """The layout in some files: a layout JSON; a picture that the studio made; an annotation of one picture, with the
    picture or without, in COCO (.json), Pascal VOC (.xml) or YOLO (.txt with classes.txt or data.yaml; without them its
    numbers are the model's classes); any other picture: what the detector sees.

    Raises:
        LayoutError: it is none of these, or holds a layout that this model cannot draw.
        DataError: annotations or a picture that cannot be read; it names the file as the person knows it.
    """
    try:
        return _open(studio, paths)
    except DataError as error:
        text = str(error)
        for path in paths:
            text = text.replace(str(path), path.name)
        raise DataError(text) from error


def _open(studio: Studio, paths: Sequence[Path]) -> Opened:
    pictures = [path for path in paths if path.suffix.lower() in SUFFIXES]
    names = [path for path in paths if path.name in NAMES]
    rest = [path for path in paths if path not in pictures and path not in names]
    if len(pictures) > 1 or len(rest) > 1 or not (pictures or rest):
        shown = ", ".join(path.name for path in paths)
        raise LayoutError(f"{shown}: choose one layout, or one annotation file with its image (and class names)")
    picture = pictures[0] if pictures else None
    if not rest:
        assert picture is not None
        return _open_image(studio, picture)
    file = rest[0]
    match file.suffix.lower():
        case ".json":
            return _open_json(studio, file, picture)
        case ".xml":
            return _open_annotation(studio, file, picture, _lay_out_voc)
        case ".txt":
            described = names[0] if names else None
            return _open_annotation(studio, file, picture, lambda *asked: _lay_out_yolo(studio, described, *asked))
    raise LayoutError(f"{file.name} is not a layout; choose .json, .xml, .txt or an image")


def _open_image(studio: Studio, path: Path) -> Opened:
    if has_record(path):
        return restored(studio, read_image(path))
    try:
        image = read_image_file(path)
    except ImageError as error:
        raise DataError(f"{path.name}: {error.fault}. Choose another file, or write it anew as PNG or JPEG") from error
    model, detector = studio.model, studio.model.detector
    seen = detector.detect([image])[0].at_least(detector.min_score)
    found = tuple(
        Box(label, _inside(box))
        for label, box in zip(seen.labels, seen.boxes_xyxy, strict=True)
        if label in model.vocabulary.labels
    )
    if not found:
        raise LayoutError(f"{detector.name} finds nothing in {path.name} that {model.name} can generate")
    layout = Layout(image.width, image.height, found[:MAX_OBJECTS])
    return _placed(studio, layout, image, f"{detector.name} finds {_objects(len(found))} in {path.name}")


def _open_json(studio: Studio, file: Path, picture: Path | None) -> Opened:
    if file.stat().st_size > LAYOUT_BYTES and b'"annotations"' not in file.read_bytes():
        raise LayoutError(f"{file.name} is too large to be a layout; choose a layout JSON or an image of the studio")
    try:
        values = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        why = f"is not JSON ({error})" if file.stat().st_size else "is empty"
        raise LayoutError(f"{file.name} {why}: choose another file, or write it anew") from error
    if isinstance(values, dict) and "images" in values and "annotations" in values:
        return _open_annotation(studio, file, picture, lambda *asked: _lay_out_coco(values, *asked))
    layout = Layout.from_json(values)
    others = sorted({str(key) for item in values["objects"] for key in item} - KEYS)
    left = f"; not read: {', '.join(others)}" if others else ""
    return Opened(studio.model.vocabulary.resolve(layout).to_json(), f"{file.name}: layout opened{left}")


# --- annotations ----------------------------------------------------------------------------------
# A folder of one picture in the form that `open_dataset` reads: it knows what can be wrong with such data.


def _open_annotation(studio: Studio, file: Path, picture: Path | None, lay_out: Any) -> Opened:
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "data"
        folder.mkdir()
        lay_out(file, picture, folder)
        try:
            sample = open_dataset(folder, index=Path(scratch) / "index.sqlite")[0]
            image = sample.load_image() if picture is not None else None
        except NothingLeft as error:
            cause = error.cause.replace(f"{file.parent.name}/", "").replace("labels/", "").replace("Annotations/", "")
            raise DataError(f"{file.name} holds no object that can be read: {cause}. Choose another file") from error
        except DataError as error:
            reason = str(error).replace(f"{folder}: ", "").replace(f"{folder}/", "")
            raise DataError(f"{file.name}: {reason}") from error
    return annotated(studio, file.name, sample.layout, image)


def annotated(studio: Studio, name: str, annotation: Layout, image: Image.Image | None) -> Opened:
    """The layout of an annotated image, with the image behind it. LayoutError: the model knows none of its classes."""
    known = [box for box in annotation.boxes if box.label in studio.model.vocabulary.labels]
    unknown = Counter(box.label for box in annotation.boxes if box.label not in studio.model.vocabulary.labels)
    if not known:
        classes = f"knows none of its classes ({', '.join(unknown)})" if unknown else "needs an object, and it has none"
        raise LayoutError(f"{name}: {studio.model.name} {classes}")
    note = f"{name}: {_objects(len(known))}"
    if unknown:
        left = ", ".join(f"{label} ×{count}" for label, count in unknown.most_common(5))
        note += f"; left out, since {studio.model.name} does not know them: {left}"
    return _placed(studio, replace(annotation, boxes=tuple(known[:MAX_OBJECTS])), image, note)


def _lay_out_voc(file: Path, picture: Path | None, folder: Path) -> None:
    (folder / "Annotations").mkdir()
    (folder / "JPEGImages").mkdir()
    shutil.copyfile(file, folder / "Annotations" / file.name)
    if picture is None:
        try:
            tree = ElementTree.fromstring(file.read_bytes()) if b"<!" not in file.read_bytes() else None
            size = [int(tree.findtext(f"size/{side}") or 0) for side in ("width", "height")] if tree is not None else []
        except (ElementTree.ParseError, ValueError):
            size = []
        _blank(folder / "JPEGImages" / f"{file.stem}.png", size, file)
    else:
        shutil.copyfile(picture, folder / "JPEGImages" / f"{file.stem}{picture.suffix.lower()}")


def _lay_out_yolo(studio: Studio, names: Path | None, file: Path, picture: Path | None, folder: Path) -> None:
    for name in ("images", "labels"):
        (folder / name).mkdir()
    shutil.copyfile(file, folder / "labels" / file.name)
    if picture is None:
        height, width = studio.model.pipeline.native_size
        _blank(folder / "images" / f"{file.stem}.png", (width, height), file)
    else:
        shutil.copyfile(picture, folder / "images" / f"{file.stem}{picture.suffix.lower()}")
    if names is None:
        (folder / "classes.txt").write_text("\n".join(studio.model.vocabulary.things), encoding="utf-8")
    elif names.suffix == ".txt":
        shutil.copyfile(names, folder / "classes.txt")
    else:
        (folder / "classes.txt").write_text("\n".join(_names_in(names)), encoding="utf-8")


def _names_in(path: Path) -> list[str]:
    names = read_config(path).names
    return [names.get(number, "") for number in range(max(names) + 1)]


def _lay_out_coco(values: Mapping[str, Any], file: Path, picture: Path | None, folder: Path) -> None:
    images = [one for one in values["images"] if isinstance(one, dict)] if isinstance(values["images"], list) else []
    if picture is not None:
        images = [one for one in images if Path(str(one.get("file_name"))).name == picture.name] or images
    if len(images) != 1:
        raise LayoutError(
            f"{file.name} describes {len(images)} images, and a canvas holds one: choose it together with one of its "
            "images, or open the folder in Data sets"
        )
    image = images[0]
    name = f"picture{picture.suffix.lower() if picture else '.png'}"
    if picture is None:
        _blank(folder / name, [image.get("width"), image.get("height")], file)
    else:
        shutil.copyfile(picture, folder / name)
    listed = values["annotations"] if isinstance(values["annotations"], list) else []
    own = [one for one in listed if isinstance(one, dict) and one.get("image_id") == image.get("id")]
    one_image = {**values, "images": [{**image, "file_name": name}], "annotations": own}
    (folder / "annotations.json").write_text(json.dumps(one_image), encoding="utf-8")


def _blank(path: Path, size: Sequence[object], file: Path) -> None:
    """A picture of the stated size in the place of one that was not given."""
    sides = [side for side in size if isinstance(side, int) and 0 < side <= 10_000]
    if len(sides) != 2:
        raise DataError(f"{file.name} does not say how large its image is: choose it together with the image")
    Image.new("RGB", (sides[0], sides[1])).save(path)


# --- out ------------------------------------------------------------------------------------------


def export_file(layout: Layout, form: Form, things: Sequence[str], folder: Path) -> Path:
    """Writes the layout into a folder; returns the file. YOLO is a zip of layout.txt and classes.txt.

    Args:
        things: class names of detectors, in their order; other classes of the layout stand behind them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys([*things, *layout.labels]))
    match form:
        case Form.JSON:
            path = folder / "layout.json"
            path.write_text(json.dumps(layout.to_json(), indent=2), encoding="utf-8")
        case Form.COCO:
            path = folder / "layout.coco.json"
            path.write_text(json.dumps(_coco(layout, names, things)), encoding="utf-8")
        case Form.VOC:
            path = folder / "layout.xml"
            ElementTree.ElementTree(_voc(layout)).write(path, encoding="utf-8")
        case Form.YOLO:
            path = folder / "layout.yolo.zip"
            with zipfile.ZipFile(path, "w") as file:
                file.writestr("layout.txt", "".join(_yolo_row(names.index(box.label), box) for box in layout.boxes))
                file.writestr("classes.txt", "\n".join(names))
    return path


def _coco(layout: Layout, names: Sequence[str], things: Sequence[str]) -> dict[str, Any]:
    numbered = {label: number for number, label in enumerate(names, start=1)}
    annotations = []
    for number, box in enumerate(layout.boxes, start=1):
        x1, y1, x2, y2 = _pixels(box, layout)
        w, h = x2 - x1, y2 - y1
        about = {"id": number, "image_id": 1, "category_id": numbered[box.label], "attribute": box.attribute}
        annotations.append({**about, "bbox": [x1, y1, w, h], "area": w * h, "iscrowd": 0})
    categories = [{"id": number, "name": name, "isthing": int(name in things)} for name, number in numbered.items()]
    image = {"id": 1, "file_name": "layout.png", "width": layout.width, "height": layout.height}
    return {"images": [image], "annotations": annotations, "categories": categories}


def _voc(layout: Layout) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = "layout.png"
    size = ElementTree.SubElement(root, "size")
    for side, value in (("width", layout.width), ("height", layout.height), ("depth", 3)):
        ElementTree.SubElement(size, side).text = str(value)
    for box in layout.boxes:
        item = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(item, "name").text = box.label
        ElementTree.SubElement(item, "difficult").text = str(int(box.attribute == "hard"))
        corners = ElementTree.SubElement(item, "bndbox")
        x1, y1, x2, y2 = _pixels(box, layout)  # VOC counts pixels from 1, and names the last one inside
        for side, at in (("xmin", x1 + 1), ("ymin", y1 + 1), ("xmax", x2), ("ymax", y2)):
            ElementTree.SubElement(corners, side).text = f"{at:.2f}"
    return root


def _yolo_row(number: int, box: Box) -> str:
    x1, y1, x2, y2 = box.xyxy
    return f"{number} {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}\n"


def _pixels(box: Box, layout: Layout) -> tuple[float, ...]:
    return tuple(value * side for value, side in zip(box.xyxy, (layout.width, layout.height) * 2, strict=True))


# --- links ----------------------------------------------------------------------------------------


def link_of(layout: Layout) -> str:
    """The layout as text for `?layout=`: its JSON, packed."""
    packed = zlib.compress(json.dumps(layout.to_json(), separators=(",", ":")).encode(), 9)
    return base64.urlsafe_b64encode(packed).decode("ascii").rstrip("=")


def layout_of_link(text: str) -> Layout:
    """The inverse of `link_of`.

    Raises:
        LayoutError: the link is damaged, or what it carries is no layout.
    """
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        opener = zlib.decompressobj()
        content = opener.decompress(packed, LINK_BYTES)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise LayoutError("the link's layout is damaged: copy the whole link") from error
    if not opener.eof:
        raise LayoutError("the link's layout is damaged or too large: copy the whole link")
    return Layout.from_json(content)


# --- parts ----------------------------------------------------------------------------------------


def _placed(studio: Studio, layout: Layout, image: Image.Image | None, note: str) -> Opened:
    """On a canvas of a size that the model can draw, of about the picture's shape."""
    pipeline = studio.model.pipeline
    width, height = nearest_size(layout.width / layout.height, pipeline.native_size, pipeline.size_multiple)
    shown = studio.model.vocabulary.resolve(replace(layout, width=width, height=height)).to_json()
    if image is None:
        return Opened(shown, note)
    small = image.copy()
    small.thumbnail((BACKDROP_SIDE, BACKDROP_SIDE))
    return Opened(shown, note, backdrop=data_address(small))


def restored(studio: Studio, record: ImageRecord) -> Opened:
    """The layout, with the settings where the studio draws with such; the note says what will differ."""
    layout = studio.model.vocabulary.resolve(record.layout).to_json()
    sampling, fault = record.sampling, record.fault
    if beyond := sampling and beyond_limits(sampling):
        sampling, fault = (
            None,
            f"the studio does not allow {', '.join(f'{one.what} ({one.bounds})' for one in beyond)}",
        )
    back = (
        "Restored layout, seed and settings of this image"
        if sampling
        else f"Restored the layout, but not its settings: {fault}"
    )
    return Opened(layout, ". ".join([back, *_differences(studio, record)]), sampling)


def _differences(studio: Studio, record: ImageRecord) -> Iterator[str]:
    """Why the studio would draw another image now, a sentence each."""
    if record.model_sha256 and record.model_sha256 != studio.model.sha256:
        yield f"Made by another model ({record.model or 'unknown'}): this model will make a different image"
        return
    now = studio.model.pipeline.computed_in(studio.models.engine.dtype)
    made = (record.precision or now[0], record.device or now[1])
    if made != now:
        yield f"Made in {' on '.join(made)}: {' on '.join(now)} may differ in details"
    elif record.batch > 1 and record.device != "cpu":  # there each is drawn by itself
        yield f"Generated together with {record.batch - 1} others: alone, its details will differ slightly"


def _inside(box: Any) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (min(1.0, max(0.0, float(value))) for value in box)
    return x1, y1, x2, y2


def _objects(count: int) -> str:
    return f"{count} object{'' if count == 1 else 's'}"
