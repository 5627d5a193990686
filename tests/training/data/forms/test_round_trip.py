"""What the project writes, it reads: random data sets in each of its forms come back the same."""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from detdiffusion.detectors.ultralytics.yolo_folder import write_yolo_folder
from detdiffusion.layout import Box, EmptyLayout, Layout
from training.core.chunks import Chunks
from training.data import subset
from training.data.datasets import Dataset, open_dataset
from training.data.filters import EVERYTHING
from training.synthesis.exports import write_annotations, write_yolo

HALF = 0.5  # pixels
ODD = ("yes", "no", "0", "1.0", "null", "cat & dog", "ключ", "a: b", "#", "[x]", "'", "2024-01-01")
NAMES = st.sampled_from(ODD) | st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)


@dataclass(frozen=True)
class Data:
    names: tuple[str, ...]
    layouts: tuple[Layout, ...]


@st.composite
def boxes(draw: st.DrawFn, names: tuple[str, ...], width: int, height: int) -> Box:
    x1, y1 = draw(st.floats(0, width - 2)), draw(st.floats(0, height - 2))
    x2, y2 = draw(st.floats(x1 + 1, width)), draw(st.floats(y1 + 1, height))
    return Box(draw(st.sampled_from(names)), (x1 / width, y1 / height, x2 / width, y2 / height))


@st.composite
def data_sets(draw: st.DrawFn) -> Data:
    """At least one image with an object, and some without."""
    names = tuple(draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)))
    layouts = []
    for number in range(draw(st.integers(1, 4))):
        width, height = draw(st.integers(4, 40)), draw(st.integers(4, 40))
        found = draw(st.lists(boxes(names, width, height), min_size=0 if number else 1, max_size=3, unique=True))
        layouts.append(Layout(width, height, tuple(found)) if found else EmptyLayout(width, height, ()))
    return Data(names, tuple(layouts))


def images(data: Data) -> Iterator[Image.Image]:
    for number, layout in enumerate(data.layouts):
        pixels = np.random.default_rng(number).integers(0, 255, (layout.height, layout.width, 3), np.uint8)
        yield Image.fromarray(pixels)


def as_coco(data: Data, root: Path) -> Path:
    """A COCO folder, by hand, for `as_subset`."""
    (root / "images").mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for number, (image, layout) in enumerate(zip(images(data), data.layouts, strict=True)):
        image.save(root / "images" / f"{number}.png")
        for box in layout.boxes:
            x1, y1, x2, y2 = (v * s for v, s in zip(box.xyxy, (layout.width, layout.height) * 2, strict=True))
            about = {"id": len(rows), "image_id": number, "category_id": data.names.index(box.label)}
            rows.append({**about, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    listed = [
        {"id": number, "file_name": f"{number}.png", "width": layout.width, "height": layout.height}
        for number, layout in enumerate(data.layouts)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(data.names)]
    (root / "annotations.json").write_text(
        json.dumps({"images": listed, "annotations": rows, "categories": categories})
    )
    return root


def as_subset(data: Data, root: Path) -> Path:
    parser = argparse.ArgumentParser()
    subset.add_arguments(parser)
    words = ["--data", str(as_coco(data, root.with_name("before"))), "--out", str(root)]
    assert subset.run(parser.parse_args(words)) == 0
    return root


def as_detector_data(data: Data, root: Path) -> Path:
    """What a detector of ultralytics is trained on, with the YAML that names its classes."""
    write_yolo_folder(root, zip(images(data), data.layouts, strict=True), data.names, "train")
    about = {"train": "train/images", "names": list(data.names)}
    (root / "data.yaml").write_text(yaml.safe_dump(about, allow_unicode=True), encoding="utf-8")
    return root


def chunk(data: Data, root: Path) -> Chunks:
    """Images of `generate`, in a chunk."""

    class Rows(Chunks):
        def all_rows(self) -> Iterator[dict[str, Any]]:
            for number, (image, layout) in enumerate(zip(images(data), data.layouts, strict=True)):
                file = f"images/00000/{number:06d}.png"
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                image.save(root / file)
                nothing = [None] * len(layout.boxes)
                # An image of nothing is one whose only object was not drawn.
                shown = layout if layout.boxes else Layout(layout.width, layout.height, (Box("x", (0, 0, 1, 1)),))
                fates = nothing if layout.boxes else ["gone"]
                known = {"true": fates and [None] * len(fates), "confidence": [None] * len(fates), "fate": fates}
                yield {"id": number, "seed": 0, "source": 0, "file": file, "layout": shown.to_json(), **known}

    return Rows(root, "images", len(data.layouts), 1000)


def as_generated(data: Data, root: Path) -> Path:
    root.mkdir()
    write_annotations(chunk(data, root), data.names, root / "annotations.json")
    return root


def as_generated_yolo(data: Data, root: Path) -> Path:
    root.mkdir()
    write_yolo(chunk(data, root), data.names, root)
    return root / "data.yaml"


FORMS = (as_subset, as_detector_data, as_generated, as_generated_yolo)


def same(dataset: Dataset, data: Data) -> None:
    assert len(dataset) == len(data.layouts)
    assert dataset.report.dropped == 0
    assert set(dataset.things) == set(data.names)
    for sample, layout, image in zip(dataset, data.layouts, images(data), strict=True):
        assert np.array_equal(np.asarray(sample.load_image()), np.asarray(image))
        pixels = (layout.width, layout.height) * 2
        assert [box.label for box in sample.layout.boxes] == [box.label for box in layout.boxes]
        for found, box in zip(sample.layout.boxes, layout.boxes, strict=True):
            assert np.multiply(found.xyxy, pixels) == pytest.approx(np.multiply(box.xyxy, pixels), abs=HALF)


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=data_sets())
def test_what_is_written_is_read(form: Callable[[Data, Path], Path], data: Data) -> None:
    with TemporaryDirectory() as scratch:
        made = form(data, Path(scratch) / "data")
        same(open_dataset(made, filter=EVERYTHING, split="train" if form is as_subset else None), data)
