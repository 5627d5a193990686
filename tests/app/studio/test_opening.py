"""The example that the page opens with."""

from pathlib import Path
from typing import Any

from app.engine.studio import Studio
from app.studio.opening import Opening, examples, open_example
from app.studio.results.compare import Pair, Sides, compare_pair
from app.studio.results.form import Form
from app.studio.results.generate import Single, generate
from detdiffusion.layout import Attribute, Layout
from detdiffusion.sampling_config import SamplingConfig
from detdiffusion.text.vocabulary import Vocabulary

ROOT = Path(__file__).resolve().parents[3]
FIXED = Form(fixed=True, seed=5.0, steps=3.0, guidance_scale=3.0)
BOX = [0.1, 0.1, 0.5, 0.5]


def single(studio: Studio, value: dict[str, Any], form: Form = FIXED) -> Single:
    *_, last = generate(studio, value, form, "me")
    return last


def pair(studio: Studio, value: dict[str, Any], form: Form = FIXED, sides: Sides | None = None) -> Pair:
    *_, last = compare_pair(studio, value, form, "me", sides)
    return last


def with_objects(*objects: dict[str, Any]) -> dict[str, Any]:
    return {"width": 64, "height": 64, "objects": list(objects)}


def test_opening_is_made_once_in_the_background(studio: Studio, street: dict[str, Any]) -> None:
    opening = Opening(studio, "Street", street, SamplingConfig(7, 2))
    assert opening.pair is not None
    assert opening.pair.result(60).table is not None
    assert opening.single.result(60).seed == 7


def test_an_opening_whose_pictures_were_deleted_is_lost(studio: Studio, street: dict[str, Any]) -> None:
    opening = Opening(studio, "Street", street, SamplingConfig(7, 1))
    assert opening.pair is not None
    pair, single_view = opening.pair.result(60), opening.single.result(60)
    assert not opening.lost
    assert pair.b.file is not None and single_view.picture.file is not None
    pair.b.file.unlink()
    assert opening.lost


def test_opening_is_the_favourite_or_one_that_the_model_knows(studio: Studio, street: dict[str, Any]) -> None:
    strange = with_objects({"label": "submarine", "box": BOX})
    for layouts, name in (
        ({"A": street, "B": street}, "B"),
        ({"A": strange, "B": strange, "C": street}, "C"),
        ({"A": street}, "A"),
    ):
        opening = open_example(studio, layouts, "B", SamplingConfig(7, 1))
        assert opening is not None
        assert (opening.name, opening.model) == (name, studio.model)
        opening.single.result(60)
    assert open_example(studio, {"B": strange}, "B", SamplingConfig(7, 1)) is None


def test_examples_are_layouts_of_the_built_in_world() -> None:
    from training.data.papercut.classes import STUFF, THINGS

    found = examples(ROOT / "assets/layouts")
    assert len(found) >= 6
    vocabulary = Vocabulary(THINGS, STUFF)
    for name, value in found.items():
        layout = Layout.from_json(value)
        assert vocabulary.resolve(layout) == layout, name
        attributes = {box.attribute for box in layout.boxes}
        assert attributes == set(Attribute), f"{name}: shows every tag"
