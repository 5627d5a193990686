"""attributes.jsonl: a header that says what it belongs to, then one line a picture, written on after a kill.

Header: `{"format": ..., "data": fingerprint, "detector": {"name", "sha256", ...}, "rule": {...}}`, with a list of
detectors where several shared the pictures; of each also the library's version, its head, image size and thresholds.
Lines: `{"image_id": "7", "attributes": ["easy", "background"]}`, attributes in the order of the objects of the
picture's layout. Every line has a seal: the hash of what it says.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from detdiffusion.attributes import AttributeRule
from detdiffusion.core.files import checked, sealed
from detdiffusion.detection import Detector, identity
from detdiffusion.errors import DataError
from detdiffusion.layout import Attribute, Box, Layout
from training.data.datasets import Dataset, Sample
from training.data.filters import NO_FILTER, filter_words

FORMAT = "detdiffusion-attributes/1"
_START = b'{"format": "' + FORMAT.encode() + b'"'
_DIFFERENCES = {"data": "other data", "detector": "another detector", "rule": "another rule"}

Attributes = tuple[Attribute, ...]


class Content(NamedTuple):
    """What a file holds; an empty header: a kill came before it was written."""

    header: dict[str, Any]
    rows: list[tuple[str, Attributes]]  # image id, attributes
    size: int  # bytes up to the end of the last whole line


def make_header(dataset: Dataset, rule: AttributeRule, detectors: Sequence[Detector] = ()) -> dict[str, Any]:
    """The header; what is known of it where the detectors are still to be trained."""
    named = [identity(detector) for detector in detectors]
    who = {"detector": named if len(named) > 1 else named[0]} if named else {}
    return {"format": FORMAT, "data": dataset.fingerprint, **who, "rule": asdict(rule)}


def write_header(path: Path, header: Mapping[str, Any]) -> None:
    """Begins an attribute file: its first row says by whom and how."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_encoded(header))


def encode_row(image_id: str, layout: Layout) -> bytes:
    """A picture's line; its layout has attributes."""
    return _encoded({"image_id": image_id, "attributes": [box.attribute for box in layout.boxes]})


def check_same(path: Path, header: Mapping[str, Any]) -> None:
    """DataError if there is a file with another header; what `header` leaves out is not looked at, nor what a file of
    version 0.1 does not say of its detector."""
    started = read_file(path).header
    differing = [
        text for key, text in _DIFFERENCES.items() if key in header and started and _differ(started[key], header[key])
    ]
    if differing == ["another detector"]:
        differing = [f"another detector{_settings_of(started['detector'], header['detector'])}"]
    if differing:
        raise DataError(f"{path} holds attributes of {', '.join(differing)}; delete it or give another --out")


def _differ(old: Any, new: Any) -> bool:
    """Whether two entries of headers contradict each other."""
    if isinstance(old, list) and isinstance(new, list):
        return len(old) != len(new) or any(_differ(*pair) for pair in zip(old, new, strict=True))
    if isinstance(old, dict) and isinstance(new, dict):
        return any(old[key] != new[key] for key in old.keys() & new.keys())
    return bool(old != new)


def _settings_of(old: Any, new: Any) -> str:
    """ ": image_size was 640, is 320": what differs where the weights are the same; else empty."""
    if not isinstance(old, dict) or not isinstance(new, dict) or old["sha256"] != new["sha256"]:
        return ""
    changed = [f"{key} was {old[key]}, is {new[key]}" for key in new if key in old and old[key] != new[key]]
    return f" ({'; '.join(changed)})"


def continue_file(path: Path, header: Mapping[str, Any], samples: Iterable[Sample]) -> int:
    """Makes the file ready to be appended to, and returns how many pictures it holds, the first ones of `samples`.

    Raises:
        DataError: the file has another header or other pictures.
    """
    check_same(path, header)
    content = read_file(path)
    if not content.header:
        write_header(path, header)
        return 0
    theirs = [(image_id, len(attributes)) for image_id, attributes in content.rows]
    ours = ((sample.image_id, len(sample.layout.boxes)) for sample in samples)
    if list(islice(ours, len(theirs))) != theirs:
        raise DataError(f"{path} holds images that came, went or changed since; delete it or give another --out")
    os.truncate(path, content.size)
    return len(theirs)


def read_file(path: Path) -> Content:
    """What is in the file, if there is one; a last line that a kill cut off is left out.

    Raises:
        DataError: it is another file, or damaged.
    """
    if not path.exists():
        return Content({}, [], 0)
    with path.open("rb") as file:
        first = file.readline()
        if not first.endswith(b"\n") and (_START.startswith(first) or first.startswith(_START)):
            return Content({}, [], 0)
        if not first.startswith(_START):
            raise DataError(f"{path} is not a file of attributes ({FORMAT}); give another one")
        rows: list[tuple[str, Attributes]] = []
        size = len(first)
        try:
            header = _parsed_header(first)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                rows.append(_parsed_row(line))
                size += len(line)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is damaged ({error!r}); delete it and annotate again") from error
    return Content(header, rows, size)


def _parsed_header(line: bytes) -> dict[str, Any]:
    values = checked(json.loads(line))
    return {key: values[key] for key in ("format", "data", "detector", "rule")}


def _parsed_row(line: bytes) -> tuple[str, Attributes]:
    values = checked(json.loads(line))
    return str(values["image_id"]), tuple(Attribute(name) for name in values["attributes"])


def _encoded(value: Mapping[str, Any]) -> bytes:
    return json.dumps(sealed(value)).encode() + b"\n"


def read_attributes(path: Path, dataset: Dataset) -> dict[str, Attributes]:
    """Image id -> attributes of its objects, in the order of its layout, for every picture of the data set.

    A file that was made of the whole data set also serves what a filter leaves of it.

    Raises:
        DataError: there is no such file, it is damaged, belongs to other data or is not finished; the text says which
            command makes it.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; {_remedy(path, dataset)}")
    content = read_file(path)
    made_of = content.header.get("data", dataset.fingerprint)  # without a header: nothing is there yet
    whole = dataset if made_of == dataset.fingerprint else dataset.unfiltered()
    if made_of != whole.fingerprint:
        raise DataError(f"{path} belongs to another data set, or to another filter of it; {_remedy(path, dataset)}")
    rows = dict(content.rows)
    attributes: dict[str, Attributes] = {sample.image_id: () for sample in dataset if not sample.layout.boxes}
    for sample, full in _side_by_side(dataset, whole, rows):
        found = _of_kept(full.layout.boxes, sample.layout.boxes, rows[sample.image_id])
        if found is None:
            raise DataError(f"{path}: image {sample.image_id} has other objects now; {_remedy(path, dataset)}")
        attributes[sample.image_id] = found
    if len(attributes) < len(dataset):
        missing = next(sample.image_id for sample in dataset if sample.image_id not in attributes)
        raise DataError(
            f"{path} holds {len(attributes)} of {len(dataset)} images, not {missing}; {_remedy(path, dataset)}"
        )
    return attributes


def _side_by_side(part: Dataset, whole: Dataset, known: Collection[str]) -> Iterator[tuple[Sample, Sample]]:
    """Every picture of `part` that is known, filtered and whole. Both data sets have the same order."""
    if part is whole:
        yield from ((sample, sample) for sample in part if sample.image_id in known)
        return
    everything = iter(whole)
    for sample in part:
        if sample.image_id in known:
            for full in everything:
                if full.image_id == sample.image_id:
                    yield sample, full
                    break


def _of_kept(boxes: Sequence[Box], kept: Sequence[Box], attributes: Attributes) -> Attributes | None:
    """The attributes of the objects that a filter kept, which stand in the same order; None if these are others."""
    if len(attributes) != len(boxes):
        return None
    pairs = zip(boxes, attributes, strict=True)
    found = []
    for wanted in kept:
        attribute = next((attribute for box, attribute in pairs if box == wanted), None)
        if attribute is None:
            return None
        found.append(attribute)
    return tuple(found)


def _remedy(path: Path, dataset: Dataset) -> str:
    command = f"python -m training annotate {shlex.join(dataset.words)} --detector bundled|PATH --out {path}"
    bounds = dataset.layout_filter
    only = "" if bounds == NO_FILTER else f" (with {' '.join(filter_words(bounds))} for what these bounds leave alone)"
    return f"make or finish it with: {command}{only}"
