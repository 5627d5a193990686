"""What the studio makes is in the gallery: tiles, selection, deletion, and what is said where there is no history."""

import logging
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.engine.studio import Studio, open_studio
from app.gallery import handlers
from app.gallery.handlers import Deletion, Form
from app.gallery.views import size_text, tiles_html
from app.store.history import A_PAGE, History
from app.studio.layout_files import restored
from app.studio.records import generate_record
from app.studio.results.compare import compare_pair
from app.studio.results.form import Form as StudioForm
from app.studio.results.generate import generate
from detdiffusion.attributes import Strategy
from detdiffusion.errors import ConfigError, DataError
from detdiffusion.image_record import read_image, save_image
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import SamplingConfig

ANY = Form(None, None, 0.0, False, False)
QUICK = StudioForm(True, 5, 2, 3.0)


def last(views: Iterator[Any]) -> Any:
    *_, end = views
    return end


@pytest.fixture
def drawn(studio: Studio, street: dict[str, Any]) -> History:
    """One picture, then a pair, of which the hard one has a missed car."""
    last(generate(studio, street, QUICK, "me"))
    last(compare_pair(studio, street, QUICK, "me"))
    return studio.history


def ids(history: History) -> list[int]:
    return [entry.id for entry in history.find()]


def test_pictures_of_the_page_and_of_programs_are_kept(studio: Studio, street: dict[str, Any]) -> None:
    single = last(generate(studio, street, QUICK, "me"))
    generate_record(studio, street, "hard", SamplingConfig(6, 2, 4.0))
    newest, oldest = studio.history.find()
    assert studio.pictures / oldest.file == single.picture.file
    assert (oldest.sampling, oldest.strategy) == (SamplingConfig(5, 2, 3.0), Strategy.ORIGIN)
    assert (newest.sampling, newest.strategy) == (SamplingConfig(6, 2, 4.0), Strategy.HARD)
    assert oldest.layout == Layout.from_json(street)
    assert (oldest.model, oldest.model_sha256) == (studio.model.name, studio.model.sha256)
    assert (oldest.detector, oldest.min_score) == ("watcher", 0.5)
    assert oldest.confidences == (pytest.approx(0.9), pytest.approx(0.8), None)


def test_a_pair_shares_its_run_and_its_drop(drawn: History) -> None:
    easy, hard, single = drawn.find()
    assert [easy.strategy, hard.strategy] == [Strategy.EASY, Strategy.HARD]
    assert easy.run == hard.run != single.run
    assert easy.drop == hard.drop == pytest.approx(0.3) and single.drop is None


@pytest.mark.usefixtures("_last_is_flagged")
def test_a_picture_that_was_made_black_has_not_been_looked_at(drawn: History) -> None:
    easy, hard, _ = drawn.find()
    assert (easy.known, hard.known, easy.drop) == ((pytest.approx(0.9), pytest.approx(0.8)), (), None)
    assert "not checked" in handlers.look(drawn, ANY).tiles


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        (ANY, [0, 1, 2]),
        (replace(ANY, label="bus", model="tiny"), [0, 1, 2]),
        (replace(ANY, label="bus", missed=True), []),
        (replace(ANY, missed=True), [1]),
        (replace(ANY, drop=0.2), [0, 1]),
        (replace(ANY, starred=True), []),
    ],
)
def test_the_filter(drawn: History, form: Form, shown: list[int]) -> None:
    screen = handlers.look(drawn, form)
    everything = ids(drawn)
    assert [number for number in everything if f'data-name="pick {number}"' in screen.tiles] == [
        everything[place] for place in shown
    ]
    assert screen.count == len(shown)
    assert (screen.labels, screen.models) == (("bus", "car", "road"), ("tiny",))
    assert ("choose another filter" in screen.tiles) == (not shown)


def test_choose_star_select_all(drawn: History) -> None:
    easy, hard, single = ids(drawn)
    assert handlers.click(drawn, f"pick {hard}", (easy,)) == (easy, hard)
    assert handlers.click(drawn, f"pick {easy}", (easy, hard)) == (hard,)
    assert handlers.click(drawn, f"star {hard}", (easy,)) == (easy,)
    assert [entry.starred for entry in drawn.find()] == [False, True, False]
    handlers.click(drawn, f"star {hard}", ())
    assert not any(entry.starred for entry in drawn.find())
    assert handlers.select_all(drawn, replace(ANY, drop=0.2), ()) == (easy, hard)
    assert handlers.select_all(drawn, ANY, (single,)) == ()


def test_the_one_chosen_last_is_shown(drawn: History) -> None:
    easy, hard, single = ids(drawn)
    screen = handlers.look(drawn, ANY, selected=(single, 999, hard))
    assert screen.selected == (single, hard)
    assert screen.tiles.count('class="pick"') == 3 and "2 selected" in screen.head
    assert screen.shown.file == drawn.pictures / drawn.get([hard])[0].file
    assert [(mark.label, mark.score) for mark in screen.shown.marks] == [("bus", pytest.approx(0.9)), ("car", None)]
    assert "found 1 of 2 · drop 0.30" in screen.facts and "2 steps · guidance 3 · hard" in screen.facts
    assert handlers.chosen_last(drawn, (easy, single)).id == single
    with pytest.raises(ConfigError, match="select an image"):
        handlers.chosen_last(drawn, ())
    with pytest.raises(DataError, match="has been deleted"):
        handlers.chosen_last(drawn, (999,))


def test_news(drawn: History, studio: Studio, street: dict[str, Any]) -> None:
    known = handlers.look(drawn, ANY).newest
    assert not handlers.has_news(drawn, known)
    last(generate(studio, street, QUICK, "me"))
    assert handlers.has_news(drawn, known) and not handlers.has_news(drawn, handlers.look(drawn, ANY).newest)
    drawn.path.write_bytes(b"no database at all" * 100)
    assert not handlers.has_news(drawn, known)


def test_pages_stay_within_what_there_is(drawn: History) -> None:
    first = drawn.find()[0]
    more = [replace(first, id=0, run="more", place=i, file=f"{i}.png") for i in range(A_PAGE)]
    for entry in more:
        (drawn.pictures / entry.file).write_bytes(b"no picture")
    drawn.record(more)
    assert [(handlers.look(drawn, ANY, page).page, handlers.look(drawn, ANY, page).pages) for page in (-1, 0, 9)] == [
        (0, 2),
        (0, 2),
        (1, 2),
    ]
    assert "cannot be read" in handlers.look(drawn, ANY, 0).tiles + handlers.look(drawn, ANY, 1).tiles


def test_deletion_is_asked_for(drawn: History) -> None:
    easy, hard, single = ids(drawn)
    drawn.star(hard, True)
    with pytest.raises(ConfigError, match="nothing is selected"):
        handlers.question(drawn, Deletion.SELECTED, ())
    assert handlers.question(drawn, Deletion.SELECTED, (easy, hard)).startswith("Delete 2 images, 1 of them with a st")
    assert handlers.question(drawn, Deletion.UNSTARRED, (hard,)).startswith("Delete 2 images, all without a star")
    assert handlers.delete(drawn, Deletion.SELECTED, (easy,)).startswith("1 image moved to the trash")
    assert ids(drawn) == [hard, single]
    handlers.delete(drawn, Deletion.UNSTARRED, (hard,))
    assert ids(drawn) == [hard] and len(list(drawn.pictures.glob("*.png"))) == 1
    with pytest.raises(ConfigError, match="every image has a star"):
        handlers.question(drawn, Deletion.UNSTARRED, ())
    assert "Trash: 2 images" in handlers.look(drawn, ANY).trash
    assert handlers.undo(drawn) == "1 image" and ids(drawn) == [hard, single]
    assert handlers.empty_trash(drawn).startswith("1 image, ") and handlers.look(drawn, ANY).trash == ""
    with pytest.raises(ConfigError, match="the trash is empty"):
        handlers.undo(drawn)


def test_what_a_filter_hides_is_not_selected(drawn: History) -> None:
    easy, hard, single = ids(drawn)
    drawn.star(hard, True)
    seen = handlers.look(drawn, replace(ANY, starred=True), 0, (easy, hard, single))
    assert seen.selected == (hard,) and "1 selected" in seen.head


@pytest.mark.parametrize(
    ("selected", "form", "count"), [([2], ANY, 1), ([], ANY, 3), ([], replace(ANY, missed=True), 1)]
)
def test_export(drawn: History, tmp_path: Path, selected: list[int], form: Form, count: int) -> None:
    chosen = [ids(drawn)[place] for place in selected]
    with zipfile.ZipFile(handlers.export(drawn, form, chosen, tmp_path / "zip")) as file:
        assert len(file.namelist()) == count + 1


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({}, []),
        ({"model": "other", "model_sha256": "b"}, ["Made by another model (other)", "will make a different image"]),
    ],
)
@pytest.mark.parametrize("file_is_there", [True, False])
def test_what_is_said_when_a_picture_is_restored(
    drawn: History, studio: Studio, model: dict[str, str], words: list[str], file_is_there: bool
) -> None:
    """By the image's file; by the history where the file is damaged."""
    entry = drawn.find()[-1]
    file = drawn.pictures / entry.file
    if file_is_there:
        with Image.open(file) as image:
            save_image(file, image.copy(), replace(read_image(file), **model))
    else:
        file.write_bytes(b"damaged")
        entry = replace(entry, **model)
    opened = restored(studio, handlers.record_of(drawn, entry))
    assert (opened.recipe, opened.layout) == (SamplingConfig(5, 2, 3.0), entry.layout.to_json())
    assert opened.note.startswith("Restored layout, seed and settings")
    assert [word for word in words if word not in opened.note] == []
    assert ("another model" in opened.note) == ("model" in model)


def test_the_note_says_what_only_the_file_knows(drawn: History, studio: Studio) -> None:
    entry = drawn.find()[-1]
    file = drawn.pictures / entry.file
    with Image.open(file) as image:
        save_image(file, image.copy(), replace(read_image(file), precision="float16", device="cuda"))
    assert "Made in float16 on cuda: " in restored(studio, handlers.record_of(drawn, entry)).note


def test_the_studio_draws_without_a_history(
    studio: Studio, street: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    studio.history.path.write_bytes(b"no database at all" * 100)
    again = open_studio(studio.models.home, studio.workspace)
    with caplog.at_level(logging.ERROR):
        single = last(generate(again, street, QUICK, "me"))
    assert single.picture.file.is_file()
    assert "not in the history" in caplog.text and "is damaged" in caplog.text
    screen = handlers.look(again.history, ANY)
    assert "is damaged" in screen.tiles and "move it away" in screen.tiles
    assert (screen.count, screen.selected, screen.storage) == (0, (), "")


def test_an_empty_gallery_says_what_comes_here(studio: Studio) -> None:
    screen = handlers.look(studio.history, ANY)
    assert "No images yet" in screen.tiles and "0 images" in screen.storage
    with pytest.raises(ConfigError, match="no image is shown"):
        handlers.export(studio.history, ANY, (), studio.workspace)


def test_names_of_others_are_escaped(drawn: History) -> None:
    entry = drawn.find()[0]
    evil = '<img src=x onerror="alert(1)">'
    layout = replace(entry.layout, boxes=tuple(replace(box, label=evil) for box in entry.layout.boxes))
    shown = tiles_html([replace(entry, layout=layout)], drawn.pictures, ())
    assert evil not in shown and "&lt;img" in shown
    drawn.record([replace(entry, id=0, run="evil", file="evil.png", model=evil, detector=evil, layout=layout)])
    (drawn.pictures / "evil.png").touch()
    newest = next(one for one in drawn.find() if one.model == evil)
    screen = handlers.look(drawn, ANY, selected=(newest.id,))
    assert evil not in screen.facts + screen.tiles + screen.shown.marks_html() and "&lt;img" in screen.facts


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 kB"), (812_400, "812 kB"), (14_300_000, "14 MB"), (3_210_000_000, "3.2 GB")]
)
def test_sizes_as_one_would_say_them(size: int, text: str) -> None:
    assert size_text(size) == text
