"""The example that the page opens with."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.engine.studio import Studio
from app.studio.opening import Opening, canvas_of, open_example
from app.studio.results.compare import Pair, Sides, compare_pair
from app.studio.results.form import Form
from app.studio.results.generate import Single, generate
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.diffusion.examples import read_examples
from detdiffusion.errors import LayoutError
from detdiffusion.layout import Attribute
from detdiffusion.sampling_config import SamplingConfig
from detdiffusion.text.vocabulary import Vocabulary

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
    opening = Opening(studio, street, SamplingConfig(7, 2))
    assert opening.pair is not None
    assert opening.pair.result(60).table is not None
    assert opening.single.result(60).seed == 7


def test_an_opening_whose_pictures_were_deleted_is_lost(studio: Studio, street: dict[str, Any]) -> None:
    opening = Opening(studio, street, SamplingConfig(7, 1))
    assert opening.pair is not None
    pair, single_view = opening.pair.result(60), opening.single.result(60)
    assert not opening.lost
    assert pair.b.file is not None and single_view.picture.file is not None
    pair.b.file.unlink()
    assert opening.lost


def test_a_page_opens_with_the_first_example_of_the_model(
    studio: Studio, street: dict[str, Any], tmp_path: Path
) -> None:
    assert studio.model.examples.layouts == {}, "Papercut's are of classes that this model does not know"
    assert open_example(studio, SamplingConfig(7, 1)) is None
    folder = Path(shutil.copytree(studio.models.home, tmp_path / "other"))
    (folder / "layouts").mkdir()
    for name in ("alley", "10-corner", "2-street"):
        (folder / "layouts" / f"{name}.json").write_text(json.dumps(street))
    studio.models.exchange(folder, "other")
    assert list(studio.model.examples.layouts) == ["Street", "Corner", "Alley"]
    opening = open_example(studio, SamplingConfig(7, 1))
    assert opening is not None
    assert (opening.layout, opening.model) == (street, studio.model)
    opening.single.result(60)


def test_what_a_tab_has_kept_of_the_model_s_classes_is_on_the_canvas(studio: Studio, street: dict[str, Any]) -> None:
    words, world = studio.model.vocabulary, studio.model.world
    empty = {"width": 64, "height": 32, "objects": []}
    for value, found in ((street, street), (empty, empty)):
        kept = json.dumps({world: json.dumps(value), "another": json.dumps(with_objects(*street["objects"][:1]))})
        assert canvas_of(kept, world, words) == found
        assert canvas_of(kept, "a third", words) is None
    assert canvas_of("", world, words) is None
    strange = with_objects({"label": "submarine", "box": BOX})
    for damaged in ("[", "7", json.dumps({world: 7}), json.dumps({world: "{"}), json.dumps({world: strange})):
        with pytest.raises(LayoutError):
            canvas_of(damaged, world, words)
    with pytest.raises(LayoutError, match="positive whole number"):
        canvas_of(json.dumps({world: {**empty, "width": -1}}), world, words)


def test_examples_of_the_bundled_model_are_of_its_world() -> None:
    from training.data.papercut.classes import STUFF, THINGS

    found = read_examples(BUNDLED_MODEL, Vocabulary(THINGS, STUFF))
    assert next(iter(found.layouts)) == "Street" and len(found.layouts) >= 6
    assert found.faults == ()
    for name, layout in found.layouts.items():
        attributes = {box.attribute for box in layout.boxes}
        assert attributes == set(Attribute), f"{name}: shows every tag"
