"""Inputs of the page -> views, and what a bad input says."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.engine.insight import Insight
from app.engine.models import ModelRegistry
from app.engine.studio import Studio, open_studio
from app.studio import handlers
from app.studio.handlers import Figure, Form, Opening, Pair, Side, Sides, Single
from detdiffusion.attributes import Strategy
from detdiffusion.errors import ConfigError, LayoutError
from detdiffusion.layout import Attribute, Layout, read_png
from detdiffusion.sampling_config import SamplingConfig
from detdiffusion.text.vocabulary import Vocabulary

ROOT = Path(__file__).resolve().parents[3]
FIXED = Form(fixed=True, seed=5.0, steps=3.0, guidance_scale=3.0)


def single(studio: Studio, value: dict[str, Any], form: Form = FIXED) -> Single:
    *_, last = handlers.generate(studio, value, form, "me")
    return last


def pair(studio: Studio, value: dict[str, Any], form: Form = FIXED, sides: Sides | None = None) -> Pair:
    *_, last = handlers.compare_pair(studio, value, form, "me", sides)
    return last


def with_objects(*objects: dict[str, Any]) -> dict[str, Any]:
    return {"width": 64, "height": 64, "objects": list(objects)}


def test_generate_shows_noise_becoming_a_picture(studio: Studio, street: dict[str, Any]) -> None:
    *busy, last = handlers.generate(studio, street, Form(True, 5, 6, 3.0), "me")
    assert [view.picture.progress for view in busy] == [pytest.approx(step / 6) for step in range(1, 7)]
    assert busy[-1].picture.preview.startswith("data:image/jpeg;base64,")
    assert last.picture.progress is None
    assert last.picture.file is not None
    assert last.table is not None
    found = [(row.label, row.found) for row in last.table.rows]
    assert found == [("bus", True), ("car", True), ("road", False)]
    assert last.table.rows[2].confidence is None  # the detector cannot know a road


def test_fixed_noise_keeps_the_seed_and_random_noise_draws_one(studio: Studio, street: dict[str, Any]) -> None:
    assert single(studio, street).seed == 5
    seeds = {single(studio, street, form=Form(False, 5, 1, 3.0)).seed for _ in range(3)}
    assert len(seeds) > 1


def test_flipping_a_tag_keeps_the_noise(studio: Studio, street: dict[str, Any]) -> None:
    flipped = json.loads(json.dumps(street))
    flipped["objects"][0]["attribute"] = "hard"
    first, second = single(studio, street), single(studio, flipped)
    assert first.picture.file is not None
    assert second.picture.file is not None
    layouts, records = zip(*(read_png(view.picture.file) for view in (first, second) if view.picture.file), strict=True)
    assert [record["seed"] for record in records] == [5, 5]
    assert [box.attribute for box in layouts[1].boxes] == [Attribute.HARD, Attribute.HARD, Attribute.BACKGROUND]


def test_compare_asks_for_every_thing_easy_and_every_thing_hard(studio: Studio, street: dict[str, Any]) -> None:
    view = pair(studio, street)
    attributes = []
    for picture in (view.a, view.b):
        assert picture.file is not None
        layout, record = read_png(picture.file)
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


def test_a_run_that_waits_says_for_how_many(studio: Studio, street: dict[str, Any]) -> None:
    with studio.models.lend(None):
        news = handlers.generate(studio, street, FIXED, "me")
        assert next(news).picture.caption == "Waiting: one other is drawn before"
    *_, last = news
    assert last.table is not None


def test_both_sides_take_what_stands_under_more(studio: Studio, street: dict[str, Any]) -> None:
    *_, view = handlers.compare_pair(studio, street, replace(FIXED, attribute_guidance=0.5, sampler="ddim"), "me")
    for side in (view.a, view.b):
        assert side.file is not None
        record = read_png(side.file)[1]
        assert (record["attribute_guidance"], record["sampler"]) == (0.5, "ddim")
    assert (view.a.name, view.b.name) == ("Easy", "Hard")


def test_compare_needs_something_to_compare(studio: Studio, street: dict[str, Any]) -> None:
    with pytest.raises(LayoutError, match="everything here is background"):
        pair(studio, with_objects(street["objects"][2]))


@pytest.mark.parametrize(
    ("sides", "names", "records"),
    [
        (Sides(), ("Easy", "Hard"), [{"strategy": "easy"}, {"strategy": "hard"}]),
        (Sides(Side(), Side(Strategy.HARD)), ("As drawn", "Hard"), [{"strategy": "origin"}, {"strategy": "hard"}]),
        (
            Sides(Side(), Side(guidance_scale=5.0)),
            ("guidance 3", "guidance 5"),
            [{"guidance_scale": 3.0}, {"guidance_scale": 5.0}],
        ),
        (
            Sides(Side(attribute_guidance=-1.0), Side(Strategy.HARD, attribute_guidance=1.5)),
            ("As drawn · attribute guidance -1", "Hard · attribute guidance 1.5"),
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
        record = read_png(picture.file)[1]
        assert {name: record[name] for name in wanted} == wanted
        assert record["seed"] == 5
    assert [one.label for one in view.objects] == ["bus", "car", "road"]


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        (Sides(Side(), Side()), "both sides ask for the same picture"),
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
    with pytest.raises(LayoutError, match="as drawn and easy are the same here"):
        pair(studio, easy, sides=Sides(Side(), Side(Strategy.EASY)))


def test_many_noises_show_how_confidence_is_spread(studio: Studio, street: dict[str, Any]) -> None:
    *busy, last = handlers.many_noises(studio, street, FIXED, 6, "me")
    shares = [table.progress for table in busy if table.progress is not None]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1], last.progress) == (0.0, 1.0, None)
    assert [table.pairs for table in busy if table.progress in (4 / 6, 1.0)][-1] == 6
    assert {table.pairs for table in busy} == {0, 4, 6}, "the numbers grow while pictures are made"
    assert [(row.label, len(row.a), len(row.b)) for row in last.rows] == [("bus", 6, 6), ("car", 6, 6)]
    car = last.rows[1]
    drops = [a - b for a, b in zip(car.a, car.b, strict=True)]
    assert car.drop == pytest.approx(sum(drops) / 6)
    assert min(drops) <= car.ci95[0] < car.drop < car.ci95[1] <= max(drops)
    assert car.missed == tuple(sum(value < 0.5 for value in side) / 6 for side in (car.a, car.b))
    assert last.comparison is not None
    assert last.comparison.mean_drop == pytest.approx((last.rows[0].drop + car.drop) / 2)
    pictures = [read_png(file)[1] for file in studio.pictures.glob("*.png")]
    assert sorted(record["seed"] for record in pictures) == sorted([*range(5, 11)] * 2), "the form's seed and on"
    assert "6<i>/6</i>" in last.html()
    assert "meter" not in last.html()
    assert "meter" in busy[-1].html()


def test_many_noises_can_be_stopped_and_refuse_what_a_pair_refuses(studio: Studio, street: dict[str, Any]) -> None:
    running = handlers.many_noises(studio, street, FIXED, 8, "me")
    for table in running:
        if table.pairs:
            studio.generation.cancel("me")
            break
    with pytest.raises(LayoutError, match="everything here is background"):
        list(handlers.many_noises(studio, with_objects(street["objects"][2]), FIXED, 8, "me"))


@pytest.mark.parametrize(
    ("which", "names", "columns", "seeds"),
    [
        (Figure.MODELS, ["tiny", "silent"], 2, [5, 5]),
        (Figure.TAGS, ["As drawn", "Easy", "Hard"], 3, [5, 5, 5]),
        (Figure.TAGS_OF_NOISES, ["Easy"] * 4 + ["Hard"] * 4, 4, [5, 6, 7, 8, 5, 6, 7, 8]),
    ],
)
def test_figures_of_a_layout(
    two_models: Studio, street: dict[str, Any], which: Figure, names: list[str], columns: int, seeds: list[int]
) -> None:
    *busy, last = handlers.figure(two_models, street, FIXED, which, "me")
    assert busy[-1].progress == pytest.approx(1)
    assert (last.progress, last.columns, [panel.name for panel in last.panels]) == (None, columns, names)
    records = [read_png(panel.file)[1] for panel in last.panels if panel.file]
    assert [record["seed"] for record in records] == seeds
    if which is Figure.MODELS:
        assert [record["model"] for record in records] == names


def test_difficulty_rises_from_picture_to_picture(studio: Studio, street: dict[str, Any]) -> None:
    first, *busy, last = handlers.difficulty_strip(studio, street, FIXED, 2.0, "me")
    assert first.levels == (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0)
    shares = [view.sheet.progress or 0.0 for view in busy]
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert [len(view.tables) for view in (first, last)] == [0, 6] and last.sheet.progress is None
    files = [panel.file for panel in last.sheet.panels]
    records = [read_png(file)[1] for file in files if file]
    assert [record.get("attribute_guidance", 0.0) for record in records] == list(first.levels)
    assert {record["seed"] for record in records} == {5}
    html = last.html()
    assert html.count("<tr>") == 3, "head, bus and car; no detector knows a road"
    assert 'aria-label="On average at difficulty 2: confidence 0.85, found 1"' in html


def test_difficulty_needs_tags_and_things(studio: Studio, silent_studio: Studio, street: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="no words for easy and hard"):
        list(handlers.difficulty_strip(silent_studio, street, FIXED, 2.0, "me"))
    with pytest.raises(LayoutError, match="nothing can become harder"):
        list(handlers.difficulty_strip(studio, with_objects(street["objects"][2]), FIXED, 2.0, "me"))


def test_inside_is_what_the_model_read_and_saw(studio: Studio, street: dict[str, Any]) -> None:
    file = single(studio, street).picture.file
    assert file is not None
    view = handlers.show_inside(studio, file, Insight.ATTENTION)
    assert [layer.label for layer in view.layers] == ["bus", "car", "road"]
    html = view.html()
    assert html.count('class="layer"') == 3 and 'class="inside heat"' in html
    assert "from its blueprint" in html
    assert html.count('<span data-object="1"') == 4, "car, two corners, its tag"
    masks = handlers.show_inside(studio, file, Insight.MASKS)
    assert "no perception head" in masks.note and 'class="layer"' not in masks.html()
    assert "Generate a picture" in handlers.show_inside(studio, None, Insight.MASKS).html()


def test_inside_needs_the_model_that_drew_it(
    studio: Studio, street: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = single(studio, street).picture.file
    assert file is not None
    monkeypatch.setattr(ModelRegistry, "folders", lambda _: {"another": tmp_path})
    studio.models.present = replace(studio.model, name="another")
    with pytest.raises(ConfigError, match="there is no model 'tiny'"):
        handlers.show_inside(studio, file, Insight.MASKS)
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    with pytest.raises(LayoutError, match="carries no layout"):
        handlers.show_inside(studio, tmp_path / "plain.png", Insight.MASKS)


def test_a_figure_of_random_noises_has_the_own_one_first(studio: Studio, street: dict[str, Any]) -> None:
    *_, last = handlers.figure(studio, street, FIXED, Figure.NOISES, "me")
    seeds = [read_png(panel.file)[1]["seed"] for panel in last.panels if panel.file]
    assert (seeds[0], len(seeds), len(set(seeds))) == (5, 8, 8)


def test_figures_of_tags_need_a_model_with_tags(silent_studio: Studio, street: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="silent has no words for easy and hard"):
        list(handlers.figure(silent_studio, street, FIXED, Figure.TAGS, "me"))


BOX = [0.1, 0.1, 0.5, 0.5]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (with_objects(), "no objects"),
        (with_objects({"label": "bus", "box": [0.5, 0.1, 0.1, 0.5]}), "object 1 .bus.: .*inverted"),
        (with_objects({"label": "bus", "box": [0.1, 0.1, 0.1, 0.5]}), "empty"),
        (with_objects({"label": "bus", "box": [0.1, 0.1, 1.2, 0.5]}), "outside"),
        (with_objects({"label": "bus", "box": [0.1, 0.1, float("nan"), 0.5]}), "not finite"),
        (with_objects({"label": "buss", "box": BOX}), "nearest first: bus"),
        (with_objects(*[{"label": "bus", "box": BOX}] * 101), "101 objects; at most 100"),
    ],
)
def test_bad_layouts_are_named(studio: Studio, value: dict[str, Any], message: str) -> None:
    for act in (single, pair):
        with pytest.raises(LayoutError, match=message):
            act(studio, value)
    assert 'class="hint"' in handlers.show_prompt(studio, value)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (Form(True, None, 3, 3.0), "needs a seed"),
        (Form(True, 1.5, 3, 3.0), "whole number"),
        (Form(True, -4, 3, 3.0), "seed -4"),
        (Form(True, 1, 0, 3.0), "0 steps"),
    ],
)
def test_bad_settings_are_named(studio: Studio, street: dict[str, Any], form: Form, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        single(studio, street, form=form)


def test_prompt_is_shown_as_the_model_reads_it(studio: Studio, street: dict[str, Any]) -> None:
    html = handlers.show_prompt(studio, street)
    assert 'An image with (bus, &lt;9&gt;&lt;36&gt;, <b class="easy">[easy]</b>)' in html
    assert '<b class="hard">[hard]</b>' in html


def test_records_for_programs(studio: Studio, street: dict[str, Any]) -> None:
    record = handlers.generate_record(studio, street, "easy", SamplingConfig(5, 2))
    assert [item["attribute"] for item in record["objects"]] == ["easy", "easy", "background"]
    assert [item["found"] for item in record["objects"]] == [True, True, None]
    assert Image.open(io.BytesIO(base64.b64decode(record["png_base64"]))).size == (64, 64)
    assert record["model_sha256"] == studio.model.sha256
    both = handlers.compare_record(studio, street, SamplingConfig(5, 2))
    assert both["hard"]["objects"][1]["confidence"] == pytest.approx(0.2)
    with pytest.raises(ConfigError, match="origin, easy or hard"):
        handlers.generate_record(studio, street, "harder", SamplingConfig(5, 2))


def test_without_words_for_attributes_there_is_nothing_to_tag_or_compare(
    silent_studio: Studio, street: dict[str, Any]
) -> None:
    why = "silent has no words for easy and hard: tags change nothing, there is nothing to compare"
    assert handlers.why_no_tags(silent_studio).startswith(why)
    for objects in (street["objects"], []):
        assert why in handlers.show_prompt(silent_studio, with_objects(*objects))
    assert single(silent_studio, street).table is not None
    assert handlers.generate_record(silent_studio, street, "origin", SamplingConfig(5, 1))["flagged"] is False
    for act in (
        lambda: pair(silent_studio, street),
        lambda: handlers.compare_record(silent_studio, street, SamplingConfig(5, 1)),
        lambda: handlers.generate_record(silent_studio, street, "hard", SamplingConfig(5, 1)),
    ):
        with pytest.raises(ConfigError, match=why):
            act()
    opening = Opening(silent_studio, "Street", street, SamplingConfig(7, 1))
    assert opening.pair is None
    assert opening.single.result(60).table is not None


def test_words_for_attributes_need_no_explanation(studio: Studio, street: dict[str, Any]) -> None:
    assert handlers.why_no_tags(studio) == ""
    assert 'class="hint"' not in handlers.show_prompt(studio, street)


@pytest.mark.usefixtures("_last_is_flagged")
def test_a_flagged_picture_says_so(studio: Studio, street: dict[str, Any]) -> None:
    alone, both = single(studio, street), pair(studio, street)
    for picture in (alone.picture, both.b):
        assert "made black by the model's safety checker: try another seed" in picture.caption
        assert picture.marks == ()
    assert "safety checker" not in both.a.caption
    assert alone.table is not None and both.table is not None
    for table in (alone.table, both.table):
        assert "Not checked" in table.html()
        assert "the safety checker made the picture black" in table.html()
    assert handlers.generate_record(studio, street, "origin", SamplingConfig(5, 1))["flagged"] is True


def test_a_model_that_no_detector_knows_says_so(model_folder: Path, tmp_path: Path, street: dict[str, Any]) -> None:
    studio = open_studio(model_folder, tmp_path / "workspace", bundled=tmp_path)
    assert "<p>tiny · 2 things, 1 stuff · no detector</p>" in handlers.show_header(studio)
    alone, both = single(studio, street), pair(studio, street)
    assert alone.table is not None and both.table is not None
    for table in (alone.table, both.table):
        assert "Not checked" in table.html()
        assert "no detector here knows these classes" in table.html()
    road = single(studio, with_objects(street["objects"][2])).table
    assert road is not None
    assert "Background only" in road.html()


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
    for examples, name in (
        ({"A": street, "B": street}, "B"),
        ({"A": strange, "B": strange, "C": street}, "C"),
        ({"A": street}, "A"),
    ):
        opening = handlers.open_example(studio, examples, "B", SamplingConfig(7, 1))
        assert opening is not None
        assert (opening.name, opening.model) == (name, studio.model)
        opening.single.result(60)
    assert handlers.open_example(studio, {"B": strange}, "B", SamplingConfig(7, 1)) is None


def test_header_names_model_and_detector(studio: Studio) -> None:
    assert "<p>tiny · 2 things, 1 stuff · watcher</p>" in handlers.show_header(studio)


def test_examples_are_layouts_of_the_built_in_world() -> None:
    from training.data.papercut.classes import STUFF, THINGS

    found = handlers.examples(ROOT / "assets/layouts")
    assert len(found) >= 6
    vocabulary = Vocabulary(THINGS, STUFF)
    for name, value in found.items():
        layout = Layout.from_json(value)
        assert vocabulary.resolve(layout) == layout, name
        attributes = {box.attribute for box in layout.boxes}
        assert attributes == set(Attribute), f"{name}: shows every tag"
