"""A comparison from many noises."""

from typing import Any

import pytest

from app.engine.studio import Studio
from app.studio.results.form import Form
from app.studio.results.noises import many_noises
from detdiffusion.errors import LayoutError
from detdiffusion.image_record import read_image

FIXED = Form(fixed=True, seed=5.0, steps=3.0, guidance_scale=3.0)


def with_objects(*objects: dict[str, Any]) -> dict[str, Any]:
    return {"width": 64, "height": 64, "objects": list(objects)}


def test_many_noises_show_how_confidence_is_spread(studio: Studio, street: dict[str, Any]) -> None:
    *busy, last = many_noises(studio, street, FIXED, 6, "me")
    shares = [table.progress for table in busy if table.progress is not None]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1], last.progress) == (0.0, 1.0, None)
    assert [table.pairs for table in busy if table.progress in (4 / 6, 1.0)][-1] == 6
    assert {table.pairs for table in busy} == {0, 4, 6}, "the numbers grow while images are made"
    assert [(row.label, len(row.a), len(row.b)) for row in last.rows] == [("bus", 6, 6), ("car", 6, 6)]
    car = last.rows[1]
    drops = [a - b for a, b in zip(car.a, car.b, strict=True)]
    assert car.drop == pytest.approx(sum(drops) / 6)
    assert min(drops) <= car.ci95[0] < car.drop < car.ci95[1] <= max(drops)
    assert car.missed == tuple(sum(value < 0.5 for value in side) / 6 for side in (car.a, car.b))
    assert last.comparison is not None
    assert last.comparison.mean_drop == pytest.approx((last.rows[0].drop + car.drop) / 2)
    pictures = [read_image(file).to_json() for file in studio.pictures.glob("*.png")]
    assert sorted(record["seed"] for record in pictures) == sorted([*range(5, 11)] * 2), "the form's seed and on"
    assert "6<i>/6</i>" in last.html()
    assert "meter" not in last.html()
    assert "meter" in busy[-1].html()


def test_many_noises_can_be_stopped_and_refuse_what_a_pair_refuses(studio: Studio, street: dict[str, Any]) -> None:
    running = many_noises(studio, street, FIXED, 8, "me")
    for table in running:
        if table.pairs:
            studio.generation.cancel("me")
            break
    with pytest.raises(LayoutError, match="all objects are background"):
        list(many_noises(studio, with_objects(street["objects"][2]), FIXED, 8, "me"))
