"""Cut-outs: all objects are used, as often as they should be, where there is room; pixels and boxes go together."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detdiffusion.layout import Box, Layout
from training.data.datasets import Dataset, LazyMasks, MaskSource, Sample, open_dataset
from training.synthesis.augment import FREE, _covered
from training.synthesis.pasting import MARGIN, CutOut, PastedImages, PastedSample, _deck, cut_outs, paste


@pytest.fixture
def real(papercut: Any, at_home: None) -> Dataset:
    return open_dataset(papercut.data)


def pasted(images: PastedImages) -> list[PastedSample]:
    found = [images[place] for place in range(len(images))]
    assert all(isinstance(one, PastedSample) for one in found)
    return found  # type: ignore[return-value]


def test_every_object_is_used_and_none_twice_before_its_turn(real: Dataset) -> None:
    places = range(len(real))
    cuts = cut_outs(real, places)
    assert {real[cut.place].layout.boxes[cut.number].label for cut in cuts} <= set(real.things)
    assert len(cuts) == sum(box.label in real.things for sample in real for box in sample.layout.boxes)
    images = PastedImages(real, places, cuts, 12 * len(real))
    assert images.used == len(cuts)
    often = Counter((sample.image_id, number) for one in pasted(images) for sample, number, _ in one.cuts)
    assert max(often.values()) <= 2 + sum(often.values()) // len(cuts)


def test_how_often_is_in_proportion_to_the_chance() -> None:
    cuts = [CutOut(0, number, chance) for number, chance in enumerate((1.0, 2.0, 5.0))]
    drawn = Counter(_deck(cuts, 80, np.random.default_rng(0)))
    assert [abs(drawn[number] - wanted) <= 1 for number, wanted in enumerate((10, 20, 50))] == [True] * 3
    assert _deck([], 80, np.random.default_rng(0)) == []


def test_they_go_where_there_is_room(real: Dataset) -> None:
    images = PastedImages(real, [3, 1, 4], cut_outs(real, range(len(real))), 30, most=4)
    found = pasted(images)
    assert [one.onto.image_id for one in found[:3] if one.onto] == [real[place].image_id for place in (3, 1, 4)]
    assert any(one.cuts for one in found) and {one.mirror for one in found} == {True, False}
    for one in found:
        assert one.onto is not None and len(one.cuts) <= 4
        others = [box for box in one.onto.layout.boxes if box.label in real.things]
        for sample, number, box in one.cuts:
            source = sample.layout.boxes[number]
            assert box.label == source.label and sample.image_id != one.onto.image_id
            assert box.area == pytest.approx(source.area, rel=1e-6)
            assert np.abs(np.subtract(box.xyxy, source.xyxy)).max() <= 0.1 + 1e-6, "near to where it was"
            assert all(_covered(box, other) <= FREE for other in others)
            others.append(box)
        boxes = (*one.onto.layout.boxes, *(box for _, _, box in one.cuts))
        assert one.layout.boxes == (tuple(box.mirrored() for box in boxes) if one.mirror else boxes)
        assert one.load_image().size == (one.layout.width, one.layout.height)


def test_the_same_arguments_give_the_same_images(real: Dataset) -> None:
    def made(seed: int) -> PastedImages:
        return PastedImages(real, range(10), cut_outs(real, range(10)), 8, seed=seed)

    one, again, other = made(0), made(0), made(1)
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert [one[i].load_image().tobytes() for i in range(8)] == [again[i].load_image().tobytes() for i in range(8)]


def drawn(colour: tuple[int, int, int], ground: tuple[int, int, int], box: Box, tmp: Any, name: str) -> Sample:
    """An image of one object, which fills its box."""
    image = Image.new("RGB", (40, 40), ground)
    x1, y1, x2, y2 = (round(40 * value) for value in box.xyxy)
    image.paste(colour, (x1, y1, x2, y2))
    image.save(tmp / name)
    layout = Layout(40, 40, (box,))
    return Sample(name, tmp / name, layout, LazyMasks(layout, (None,)))


@pytest.mark.parametrize("masked", [True, False])
def test_an_object_comes_with_its_pixels(masked: bool, tmp_path: Any) -> None:
    sample = drawn((200, 30, 30), (90, 90, 90), Box("car", (0.25, 0.25, 0.5, 0.5)), tmp_path, "a.png")
    pixels = np.full((80, 80, 3), 90, np.float32)
    to = Box("car", (0.5, 0.25, 0.75, 0.5))  # in an image of twice the size
    paste(pixels, to, sample, 0, masked=masked)
    assert pixels[30, 50] == pytest.approx((200, 30, 30), abs=3 if masked else 20), "its middle, as bright as around"
    margin = round(80 * 0.25 * MARGIN) + 1
    outside = np.ones((80, 80), bool)
    outside[20 - margin : 40 + margin, 40 - margin : 60 + margin] = False
    assert (pixels[outside] == 90).all(), "and nothing else changes"
    if masked:
        assert pixels[22, 42] == pytest.approx((200, 30, 30), abs=3), "up to its corners"


def test_an_object_at_the_edge_stays_there(real: Dataset, tmp_path: Any) -> None:
    sample = drawn((200, 30, 30), (90, 90, 90), Box("car", (0.0, 0.5, 0.25, 1.0)), tmp_path, "a.png")
    pixels = np.full((40, 40, 3), 90, np.float32)
    paste(pixels, Box("car", (0.0, 0.5, 0.25, 1.0)), sample, 0, masked=True)
    assert pixels[39, 0] == pytest.approx((200, 30, 30), abs=3) and (pixels[:, 20:] == 90).all()


def test_without_masks_it_is_an_oval(real: Dataset) -> None:
    real.mask_source = MaskSource.BOXES
    images = PastedImages(real, range(10), cut_outs(real, range(10)), 4)
    assert all(not one.masked for one in pasted(images)) and images[0].load_image().mode == "RGB"
