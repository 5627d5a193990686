"""Two images from one noise."""

import re
from dataclasses import replace
from typing import Any

import pytest

from app.engine.studio import Studio
from app.studio.results.compare import Pair, Side, Sides, compare_pair
from app.studio.results.form import Form
from app.studio.results.generate import generate
from app.studio.results.thresholds import Thresholds
from detdiffusion.attributes import Strategy
from detdiffusion.errors import ConfigError, LayoutError
from detdiffusion.image_record import read_image

FIXED = Form(fixed=True, seed=5.0, steps=3.0, guidance_scale=3.0)


def pair(studio: Studio, value: dict[str, Any], form: Form = FIXED, sides: Sides | None = None) -> Pair:
    *_, last = compare_pair(studio, value, form, "me", sides)
    return last


def with_objects(*objects: dict[str, Any]) -> dict[str, Any]:
    return {"width": 64, "height": 64, "objects": list(objects)}


def test_compare_asks_for_every_thing_easy_and_every_thing_hard(studio: Studio, street: dict[str, Any]) -> None:
    view = pair(studio, street)
    attributes = []
    for picture in (view.a, view.b):
        assert picture.file is not None
        layout, record = (kept := read_image(picture.file)).layout, kept.to_json()
        assert record["seed"] == 5
        attributes.append([str(box.attribute) for box in layout.boxes])
    assert attributes == [["easy", "easy", "background"], ["hard", "hard", "background"]]
    assert view.table is not None
    comparison = view.table.verdicts[0].comparison
    rows = [(row.label, round(row.drop, 3), row.missed_easy, row.missed_hard) for row in comparison.rows]
    assert rows == [("bus", 0.0, False, False), ("car", 0.6, False, True)]
    assert comparison.mean_drop == pytest.approx(0.3)


def test_missed_objects_are_marked_in_the_picture(studio: Studio, street: dict[str, Any]) -> None:
    marks = pair(studio, street).b.marks
    assert [(mark.label, None if mark.score is None else round(mark.score, 1)) for mark in marks] == [
        ("bus", 0.9),
        ("car", None),
    ]


def test_other_thresholds_read_the_same_images_again(studio: Studio, street: dict[str, Any]) -> None:
    made = pair(studio, street)

    def missed(thresholds: Thresholds) -> list[tuple[str, bool, bool]]:
        view = made.read(thresholds)
        assert view.table is not None and (view.a.file, view.seed, view.layout) == (made.a.file, 5, made.layout)
        return [(row.label, row.missed_easy, row.missed_hard) for row in view.table.verdicts[0].comparison.rows]

    assert missed(Thresholds()) == [("bus", False, False), ("car", False, True)]
    assert missed(Thresholds(confidence=0.15)) == [("bus", False, False), ("car", False, False)]
    assert missed(Thresholds(confidence=0.95)) == [("bus", True, True), ("car", True, True)]
    assert made.read(Thresholds(confidence=0.15)).b.marks[1].score == pytest.approx(0.2)
    assert "missed below 0.15" in made.read(Thresholds(confidence=0.15)).table.html()  # type: ignore[union-attr]
    assert made.read(Thresholds()).table == made.table
    for wrong in ({"confidence": 1.5}, {"iou": 0.0}):
        with pytest.raises(ConfigError, match="thresholds need to be from 0 to 1"):
            Thresholds(**wrong)


def test_overlap_decides_whether_an_object_was_found(studio: Studio, street: dict[str, Any]) -> None:
    *_, single = generate(studio, street, FIXED, "me")
    assert single.read(Thresholds()).table == single.table
    box = single.result.looks[0].detections.boxes_xyxy  # type: ignore[union-attr]
    box[:, 2] -= 0.25 * (box[:, 2] - box[:, 0])  # three quarters of each
    for iou, expected in ((0.7, True), (0.8, False)):
        table = single.read(Thresholds(iou=iou)).table
        assert table is not None and [row.found for row in table.rows[:2]] == [expected, expected]


def test_both_sides_take_what_stands_under_more(studio: Studio, street: dict[str, Any]) -> None:
    *_, view = compare_pair(studio, street, replace(FIXED, attribute_guidance=0.5, sampler="ddim"), "me")
    for side in (view.a, view.b):
        assert side.file is not None
        record = read_image(side.file).to_json()
        assert (record["attribute_guidance"], record["sampler"]) == (0.5, "ddim")
    assert (view.a.name, view.b.name) == ("Easy", "Hard")


def test_compare_needs_something_to_compare(studio: Studio, street: dict[str, Any]) -> None:
    with pytest.raises(LayoutError, match="all objects are background"):
        pair(studio, with_objects(street["objects"][2]))


@pytest.mark.parametrize(
    ("sides", "names", "records"),
    [
        (Sides(), ("Easy", "Hard"), [{"strategy": "easy"}, {"strategy": "hard"}]),
        (Sides(Side(), Side(Strategy.HARD)), ("As tagged", "Hard"), [{"strategy": "origin"}, {"strategy": "hard"}]),
        (
            Sides(Side(), Side(guidance_scale=5.0)),
            ("guidance 3", "guidance 5"),
            [{"guidance_scale": 3.0}, {"guidance_scale": 5.0}],
        ),
        (
            Sides(Side(attribute_guidance=-1.0), Side(Strategy.HARD, attribute_guidance=1.5)),
            ("As tagged · attribute guidance -1", "Hard · attribute guidance 1.5"),
            [{"attribute_guidance": -1.0}, {"attribute_guidance": 1.5}],
        ),
    ],
)
def test_sides_differ_in_what_was_chosen(
    studio: Studio, street: dict[str, Any], sides: Sides, names: tuple[str, str], records: list[dict[str, Any]]
) -> None:
    view = pair(studio, street, sides=sides)
    assert (view.a.name, view.b.name) == names
    assert view.table is not None
    assert view.table.names == names
    for picture, wanted in zip((view.a, view.b), records, strict=True):
        assert picture.file is not None
        record = read_image(picture.file).to_json()
        assert {name: record[name] for name in wanted} == wanted
        assert record["seed"] == 5
    assert [one.label for one in view.objects] == ["bus", "car", "road"]


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        (Sides(Side(), Side()), "both sides ask for the same image"),
        (Sides(second="nobody"), "no detector 'nobody'; choose one of bundled"),
        (Sides(b=Side(model="loud")), "no model 'loud'"),
        (Sides(b=Side(Strategy.HARD, attribute_guidance=9)), "attribute guidance 9 needs to be"),
    ],
)
def test_sides_that_cannot_be_compared(studio: Studio, street: dict[str, Any], sides: Sides, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pair(studio, street, sides=sides)


def test_what_is_drawn_easy_is_not_compared_with_easy(studio: Studio, street: dict[str, Any]) -> None:
    easy = with_objects(street["objects"][0])
    with pytest.raises(LayoutError, match="as tagged and easy are the same here"):
        pair(studio, easy, sides=Sides(Side(), Side(Strategy.EASY)))


def causes(view: Pair) -> list[str]:
    """What the rows of the table say of what makes objects difficult."""
    assert view.table is not None
    return re.findall(r'<small class="causes">(.*?)</small>', view.table.html())


def test_what_makes_a_hard_object_hard_stands_beside_its_confidence(
    telling_studio: Studio, street: dict[str, Any]
) -> None:
    view = pair(telling_studio, street)
    assert view.table is not None
    assert view.table.causes == (((), (), ()), (("blurred",), (), ())), "of objects that are asked to be hard"
    assert causes(view) == ["blurred"], "the classifier does not know cars"


def test_what_is_hard_on_both_sides_names_them(telling_studio: Studio, street: dict[str, Any]) -> None:
    street["objects"][0]["attribute"] = "hard"
    sides = Sides(Side(), Side(attribute_guidance=1.0))
    assert causes(pair(telling_studio, street, sides=sides)) == ["A: blurred · B: blurred"]
    assert causes(pair(telling_studio, street, sides=Sides(Side(), Side(Strategy.EASY)))) == ["blurred"]


def test_a_model_without_a_classifier_tells_no_causes(studio: Studio, street: dict[str, Any]) -> None:
    assert causes(pair(studio, street)) == []
