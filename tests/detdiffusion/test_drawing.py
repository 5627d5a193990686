"""Drawing leaves its input alone, and puts ink where the boxes are."""

import numpy as np
import pytest
from PIL import Image

from detdiffusion.detection import Detections
from detdiffusion.drawing import ATTRIBUTE_COLOURS, class_colour, crop, draw_detections, draw_layout, grid
from detdiffusion.errors import LayoutError
from detdiffusion.layout import Attribute, Box, Layout


def paper(size: tuple[int, int] = (64, 64), colour: str = "white") -> Image.Image:
    return Image.new("RGB", size, colour)


def test_detections_above_the_score_are_drawn() -> None:
    boxes = np.array([[0.25, 0.5, 0.75, 0.75], [0.0, 0.75, 0.1, 1.0]], np.float32)
    before = paper()
    after = draw_detections(before, Detections(("car", "bus"), np.array([0.9, 0.2], np.float32), boxes), 0.5)
    assert after.getpixel((16, 40)) == class_colour("car")
    assert after.getpixel((40, 47)) == class_colour("car")
    assert after.getpixel((0, 60)) == (255, 255, 255)  # the bus is below the score
    assert np.asarray(before).min() == 255


def test_layout_is_drawn_in_the_colours_of_its_attributes() -> None:
    boxes = (Box("car", (0.25, 0.5, 0.75, 0.75), Attribute.HARD), Box("road", (0, 0, 1, 1), Attribute.BACKGROUND))
    after = draw_layout(paper(), Layout(64, 64, boxes))
    assert after.getpixel((16, 40)) == ATTRIBUTE_COLOURS[Attribute.HARD]
    assert after.getpixel((0, 32)) == ATTRIBUTE_COLOURS[Attribute.BACKGROUND]


def test_tiny_picture_and_box_at_the_edge() -> None:
    everything = Detections(("traffic light",), np.array([1.0], np.float32), np.array([[0, 0, 1, 1]], np.float32))
    assert draw_detections(paper((5, 3)), everything, 0.0).size == (5, 3)


def test_grid_places_pictures_in_rows() -> None:
    sheet = grid([paper(colour="red"), paper(colour="green"), paper(colour="blue")], columns=2, gap=4)
    assert sheet.size == (132, 132)
    assert [sheet.getpixel(at) for at in ((5, 5), (70, 5), (5, 70))] == [(255, 0, 0), (0, 128, 0), (0, 0, 255)]
    assert grid([paper()], columns=8).size == (64, 64)
    with pytest.raises(LayoutError, match="needs images"):
        grid([], columns=2)


@pytest.mark.parametrize(
    ("box", "margin", "size"),
    [
        ((0.25, 0.25, 0.5, 0.75), 0.0, (16, 32)),
        ((0.0, 0.0, 1.0, 1.0), 0.5, (64, 64)),
        ((0.5, 0.5, 0.501, 0.501), 0.0, (1, 1)),
    ],
)
def test_crop(box: tuple[float, float, float, float], margin: float, size: tuple[int, int]) -> None:
    assert crop(paper(), box, margin).size == size


def test_classes_have_colours_of_their_own() -> None:
    assert class_colour("car") == class_colour("car")
    assert len({class_colour(label) for label in ("car", "bus", "cat", "person", "kite")}) == 5
