"""What was made is found again; what is deleted is gone; a damaged history says what to do."""

import json
import sqlite3
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.store.entries import Entry, Filter, Found
from app.store.history import A_PAGE, FILE, History
from app.store.history_export import coco, export_zip
from detdiffusion.attributes import Strategy
from detdiffusion.errors import ConfigError, DataError
from detdiffusion.image_record import ImageRecord, save_image
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import SamplingConfig

EASY, HARD, ORIGIN = Strategy.EASY, Strategy.HARD, Strategy.ORIGIN
FOUND = (Found("bus", (0.1, 0.2, 0.5, 0.6), 0.9),)


@pytest.fixture
def history(tmp_path: Path) -> History:
    (tmp_path / "pictures").mkdir()
    return History(tmp_path)


@pytest.fixture
def entry(street: dict[str, Any]) -> Entry:
    """A bus that is found, a car that is missed, a road that no detector knows."""
    made_by = ("papercut", "a" * 64, SamplingConfig(7, sampler="ddim"), ORIGIN, "watcher", 0.5)
    return Entry("run", 0, "one.png", 100.0, *made_by, Layout.from_json(street), (0.9, 0.2, None), FOUND)


def keep(history: History, *entries: Entry) -> None:
    """With files of 10 bytes."""
    for entry in entries:
        (history.pictures / entry.file).write_bytes(b"0123456789")
    history.record(entries)


def files(entries: tuple[Entry, ...]) -> list[str]:
    return [entry.file.removesuffix(".png") for entry in entries]


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"file": "../one.png"}, "needs to be a name"),
        ({"file": ".."}, "needs to be a name"),
        ({"file": ""}, "needs to be a name"),
        ({"confidences": (0.9, 0.2)}, "2 confidences for 3 objects"),
        ({"confidences": (0.9, 1.2, None)}, "confidence 1.2 needs to be from 0 to 1"),
        ({"confidences": (float("nan"), 0.2, None)}, "confidence nan"),
    ],
)
def test_entries_are_checked_at_birth(entry: Entry, values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        replace(entry, **values)


@pytest.mark.parametrize(
    ("confidences", "mean", "missed"),
    [((0.9, 0.2, None), 0.55, 1), ((None, None, None), None, 0), ((0.5, 0.0, None), 0.25, 1)],
)
def test_what_follows_from_confidences(
    entry: Entry, confidences: tuple[float | None, ...], mean: float | None, missed: int
) -> None:
    seen = replace(entry, confidences=confidences)
    assert seen.mean_confidence == (None if mean is None else pytest.approx(mean))
    assert seen.missed == missed


def test_an_entry_comes_back_as_it_was(history: History, entry: Entry) -> None:
    kept = replace(entry, sampling=SamplingConfig(2**48 - 1, 30, 4.5, -1.5), strategy=HARD, starred=True)
    keep(history, kept)
    (found,) = History(history.path.parent).find()
    assert replace(found, id=0) == kept and found.id > 0


def test_newest_first_and_a_run_in_its_order(history: History, entry: Entry) -> None:
    keep(history, *(replace(entry, run="a", place=i, file=f"a{i}.png") for i in (1, 0)))
    keep(history, *(replace(entry, run="b", place=i, file=f"b{i}.png", made_at=200.0) for i in (0, 1)))
    assert files(history.find()) == ["b0", "b1", "a0", "a1"]


def test_pages(history: History, entry: Entry) -> None:
    keep(history, *(replace(entry, place=i, file=f"{i}.png") for i in range(A_PAGE + 1)))
    assert files(history.find(page=0)) == [str(i) for i in range(A_PAGE)]
    assert files(history.find(page=1)) == [str(A_PAGE)]
    assert history.find(page=2) == ()


@pytest.mark.parametrize(
    ("made", "drops"),
    [
        ([(EASY, 7, "a", 0.9), (HARD, 7, "a", 0.4)], [0.5, 0.5]),
        ([(HARD, 7, "a", 0.9), (EASY, 7, "a", 0.4)], [-0.5, -0.5]),
        ([(ORIGIN, 7, "a", 0.9), (EASY, 7, "a", 0.8), (HARD, 7, "a", 0.6)], [0.2, 0.2, 0.2]),
        ([(EASY, 7, "a", 0.9), (EASY, 8, "a", 0.8), (HARD, 7, "a", 0.5), (HARD, 8, "a", 0.7)], [0.4, 0.1, 0.4, 0.1]),
        ([(EASY, 7, "a", 0.9), (HARD, 8, "a", 0.4)], [None, None]),
        ([(EASY, 7, "a", 0.9), (HARD, 7, "b", 0.4)], [None, None]),
        ([(EASY, 7, "a", 0.9), (HARD, 7, "a", None)], [None, None]),
        ([(ORIGIN, 7, "a", 0.9)], [None]),
    ],
)
def test_the_drop_of_easy_and_hard_from_one_noise(
    history: History, entry: Entry, made: list[tuple[Strategy, int, str, float | None]], drops: list[float | None]
) -> None:
    keep(
        history,
        *(
            replace(
                entry,
                place=place,
                file=f"{place}.png",
                strategy=strategy,
                sampling=SamplingConfig(seed),
                model_sha256=model,
                confidences=(mean, mean, None),
            )
            for place, (strategy, seed, model, mean) in enumerate(made)
        ),
    )
    assert [one.drop for one in history.find()] == [None if drop is None else pytest.approx(drop) for drop in drops]


def test_easy_and_hard_of_two_runs_are_no_pair(history: History, entry: Entry) -> None:
    keep(history, *(replace(entry, run=str(tag), file=f"{tag}.png", strategy=tag) for tag in (EASY, HARD)))
    assert [one.drop for one in history.find()] == [None, None]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(), ["easy", "hard", "other", "plain"]),
        (Filter("bus"), ["easy", "hard", "plain"]),
        (Filter("cat's"), ["other"]),
        (Filter("bu"), []),
        (Filter(missed=True), ["hard", "plain"]),
        (Filter("car", missed=True), ["hard", "plain"]),
        (Filter("bus", missed=True), ["hard"]),
        (Filter("road", missed=True), []),
        (Filter(min_drop=0.3), ["easy", "hard"]),
        (Filter(min_drop=0.9), []),
        (Filter(starred=True), ["plain"]),
        (Filter(model="baseline"), ["other"]),
        (Filter("bus", missed=True, min_drop=0.3, model="papercut"), ["hard"]),
    ],
)
def test_filters(history: History, entry: Entry, wanted: Filter, expected: list[str]) -> None:
    cat = Layout.from_json({"width": 64, "height": 64, "objects": [{"label": "cat's", "box": [0, 0, 1, 1]}]})
    keep(
        history,
        replace(entry, run="a", file="easy.png", made_at=9, strategy=EASY, confidences=(0.9, 0.8, None)),
        replace(entry, run="a", place=1, file="hard.png", made_at=9, strategy=HARD, confidences=(0.3, 0.1, None)),
        replace(entry, run="b", file="other.png", made_at=8, layout=cat, confidences=(0.9,), model="baseline"),
        replace(entry, run="c", file="plain.png", made_at=7, starred=True),
    )
    assert files(history.find(wanted)) == expected
    assert history.count(wanted) == len(expected)
    assert history.labels() == ("bus", "car", "cat's", "road") and history.models() == ("baseline", "papercut")


def test_star_delete_clean(history: History, entry: Entry) -> None:
    keep(history, *(replace(entry, place=i, file=f"{i}.png") for i in range(4)))
    _, second, third, last = (one.id for one in history.find())
    assert history.size() == (4, 40)
    history.star(second, True)
    assert [one.starred for one in history.find()] == [False, True, False, False]
    (history.pictures / "0.png").unlink()
    (history.pictures / "no image of ours.txt").touch()
    assert history.delete([last, 999]) == 1 and not (history.pictures / "3.png").exists()
    assert [one.id for one in history.get([third, second, last])] == [second, third]
    assert history.clean() == 1
    assert files(history.find()) == ["1"] and history.size() == (1, 10)
    assert history.clean(keep_starred=False) == 1 and history.size() == (0, 0)
    assert [path.name for path in history.pictures.iterdir()] == ["no image of ours.txt"]
    assert sorted(path.name for path in history.trash.iterdir()) == ["1.png", "2.png", "3.png"]
    keep(history, entry)
    assert history.find()[0].id > last  # an old page does not mean a new picture


def test_a_vanished_file_is_forgotten_a_vanished_folder_is_not(history: History, entry: Entry) -> None:
    keep(history, entry, replace(entry, place=1, file="two.png"))
    (history.pictures / "one.png").unlink()
    assert files(history.find()) == ["two"] and history.count() == 1
    (history.pictures / "one.png").touch()
    assert files(history.find()) == ["two"]
    history.pictures.rename(history.pictures.with_name("away"))
    with pytest.raises(DataError, match="folder of images"):
        history.find()
    history.pictures.with_name("away").rename(history.pictures)
    assert files(history.find()) == ["two"]


def test_what_another_studio_deletes_meanwhile_is_in_the_trash(
    history: History, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(history, entry)
    (kept,) = history.find()
    other = History(history.path.parent)

    def gone(_: Path) -> bool:
        monkeypatch.undo()
        other.delete([kept.id])
        return False

    monkeypatch.setattr("app.store.history.os.listdir", lambda _: [])
    monkeypatch.setattr(Path, "exists", gone)
    history.find()
    assert history.files() == {"one.png": True} and history.undo() == 1


def test_a_file_that_resists_stays_in_the_history(history: History, entry: Entry) -> None:
    keep(history, entry)
    history.trash.touch()  # no folder
    with pytest.raises(DataError, match=r"one\.png cannot be deleted"):
        history.clean()
    assert history.count() == 1


def test_what_was_deleted_comes_back_or_goes_for_good(history: History, entry: Entry) -> None:
    keep(history, *(replace(entry, place=i, file=f"{i}.png") for i in range(4)))
    first, second, third, fourth = (one.id for one in history.find())
    history.star(second, True)
    assert history.delete([first]) == 1 and history.delete([second, third]) == 2
    assert history.trash_size() == (3, 30) and history.size() == (1, 10) and history.newest() == fourth
    assert history.undo() == 2
    assert [(one.id, one.starred) for one in history.find()] == [(second, True), (third, False), (fourth, False)]
    assert (history.pictures / "1.png").read_bytes() == b"0123456789"
    assert history.undo() == 1 and history.undo() == 0 and history.trash_size() == (0, 0)
    history.delete([first, second])
    (history.trash / "0.png").unlink()  # by somebody else
    assert history.undo() == 1 and files(history.find()) == ["1", "2", "3"]
    history.delete([third])
    assert history.empty_trash(before=1.0) == 0
    assert history.empty_trash() == 1 and list(history.trash.iterdir()) == []
    assert history.undo() == 0 and history.size() == (2, 20)


def test_old_trash_goes_with_the_next_deletion(history: History, entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(history, *(replace(entry, place=i, file=f"{i}.png") for i in range(2)))
    first, second = (one.id for one in history.find())
    with monkeypatch.context() as past:
        past.setattr(time, "time", lambda: 1e9)
        history.delete([first])
    history.delete([second])
    assert history.trash_size() == (1, 10) and history.undo() == 1


def test_many_threads(history: History, entry: Entry) -> None:
    def make(worker: int) -> None:
        for i in range(10):
            keep(history, replace(entry, run=str(worker), place=i, file=f"{worker}-{i}.png"))
            history.find(page=0)

    threads = [threading.Thread(target=make, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert history.size() == (40, 400)


@pytest.mark.parametrize(
    ("version", "lacking"),
    [(1, ("sampler", "found", "deleted_at", "seal")), (2, ("deleted_at", "seal")), (3, ("seal",))],
)
def test_a_history_of_an_older_studio_is_read_and_goes_on(
    history: History, entry: Entry, version: int, lacking: tuple[str, ...]
) -> None:
    keep(history, entry)
    with sqlite3.connect(history.path) as file:
        for column in lacking:
            file.execute(f"ALTER TABLE pictures DROP COLUMN {column}")
        file.execute(f"PRAGMA user_version = {version}")
    file.close()
    (old,) = history.find()
    kept = (SamplingConfig(7), None) if version == 1 else (entry.sampling, FOUND)
    assert (old.sampling, old.found, old.confidences) == (*kept, entry.confidences)
    keep(history, replace(entry, file="two.png", made_at=200.0))
    assert [one.found for one in history.find()] == [FOUND, kept[1]]
    assert history.delete([old.id]) == 1 and history.undo() == 1


def test_a_star_is_sealed_and_heals_no_row(history: History, entry: Entry) -> None:
    keep(history, entry, replace(entry, file="two.png", place=1))
    first, second = history.find()
    history.star(first.id, True)
    assert [one.starred for one in history.find()] == [True, False]
    with sqlite3.connect(history.path) as file:
        file.execute("UPDATE pictures SET starred = 1, min_score = 0.4 WHERE id = ?", (second.id,))
    file.close()
    history.star(second.id, False)
    assert files(history.find()) == ["one"]


def test_columns_keep_the_names_of_version_0_1(history: History, entry: Entry) -> None:
    """Either version reads what the other wrote."""
    keep(history, replace(entry, sampling=SamplingConfig(8, 30, 4.5, -1.5, "euler")))
    with sqlite3.connect(history.path) as file:
        row = file.execute("SELECT seed, steps, guidance, difficulty, sampler FROM pictures").fetchone()
        assert row == (8, 30, 4.5, -1.5, "euler")
        file.execute("UPDATE pictures SET steps = 0")
    file.close()
    with pytest.raises(DataError, match=r"is damaged \(it says something else than what was written"):
        history.find()


def spoil_all(path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)


def spoil_version(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version = 6")
    file.close()


def spoil_layout(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("UPDATE pictures SET layout = '{'")
    file.close()


def spoil_table(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("ALTER TABLE pictures RENAME TO photographs")
    file.close()


def spoil_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (spoil_all, "is damaged.*move it away.*images stay"),
        (spoil_table, "is damaged.*move it away"),
        (spoil_version, "is of version 6, and this studio reads up to 5: update"),
        (spoil_place, "cannot be used.*check that"),
    ],
)
def test_a_history_that_cannot_be_read_says_what_to_do(
    history: History, entry: Entry, spoil: Any, complaint: str
) -> None:
    keep(history, entry)
    spoil(history.path)
    with pytest.raises(DataError, match=complaint) as caught:
        history.find(Filter("bus"))
    assert FILE in str(caught.value)
    assert (history.pictures / "one.png").exists()


def test_a_row_that_nobody_wrote_harms_nothing_else(history: History, entry: Entry, tmp_path: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    keep(history, entry, replace(entry, file="two.png"), replace(entry, file="three.png"))
    with sqlite3.connect(history.path) as file:
        file.execute("UPDATE pictures SET file = '../victim.txt' WHERE file = 'two.png'")
        file.execute("UPDATE pictures SET layout = '{' WHERE file = 'three.png'")
    file.close()
    assert files(history.find()) == files(history.find(Filter("bus"))) == ["one"]
    assert history.labels() == ("bus", "car", "road")
    assert history.size() == (2, 20)
    history.clean()
    history.undo()
    history.clean()
    history.empty_trash()
    assert victim.read_text() == "mine"


def test_a_history_of_nothing_but_damaged_rows_says_so(history: History, entry: Entry) -> None:
    keep(history, entry)
    spoil_layout(history.path)
    with pytest.raises(DataError, match=r"is damaged.*move it away"):
        history.find()


def test_export(history: History, entry: Entry, tmp_path: Path) -> None:
    cat = {"label": "cat", "box": [0, 0, 1, 1], "attribute": "easy"}
    layout = Layout.from_json({"width": 100, "height": 50, "objects": [cat]})
    keep(
        history,
        entry,
        replace(entry, place=1, file="two.png", layout=layout, confidences=(0.7,), sampling=SamplingConfig(8)),
    )
    for name in ("one.png", "two.png"):
        save_image(history.pictures / name, Image.new("RGB", (8, 8), "teal"), ImageRecord(layout, SamplingConfig(8)))
    path = export_zip(history.find(), history.pictures, tmp_path / "out" / "some.zip")
    with zipfile.ZipFile(path) as file:
        assert set(file.namelist()) == {"annotations.json", "images/one.png", "images/two.png"}
        assert file.read("images/one.png") == (history.pictures / "one.png").read_bytes()
        written = json.loads(file.read("annotations.json"))
    kinds = {one["name"]: one["supercategory"] for one in written["categories"]}
    assert kinds == {"bus": "thing", "car": "thing", "cat": "thing", "road": "stuff"}
    assert [one["id"] for one in written["annotations"]] == [1, 2, 3, 4]
    names = {one["id"]: one["name"] for one in written["categories"]}
    bus, _, road, last = written["annotations"]
    assert names[bus["category_id"]] == "bus" and bus["bbox"] == pytest.approx([6.4, 12.8, 25.6, 25.6])
    assert (bus["image_id"], bus["attribute"], bus["score"]) == (1, "easy", 0.9)
    assert (names[road["category_id"]], road["attribute"]) == ("road", "background") and "score" not in road
    assert (last["image_id"], last["bbox"], last["area"]) == (2, [0, 0, 100, 50], 5000)
    image = written["images"][1]
    assert (image["file_name"], image["width"], image["height"], image["seed"]) == ("images/two.png", 100, 50, 8)
    assert Layout.from_json(image["layout"]) == layout and image["caption"] == "An image with cat"


def test_an_export_that_cannot_be(history: History, entry: Entry, tmp_path: Path) -> None:
    path = tmp_path / "some.zip"
    with pytest.raises(ConfigError, match="no image"):
        export_zip((), history.pictures, path)
    with pytest.raises(DataError, match="just been deleted"):
        export_zip((entry,), history.pictures, path)
    with pytest.raises(ConfigError, match="50,000 images are too many for a zip of 50,000 files: select fewer"):
        export_zip((entry,) * 50_000, history.pictures, path)
    keep(history, entry)
    with pytest.raises(DataError, match=r"one\.png cannot be read as an image.*: delete it, or select others"):
        export_zip((entry,), history.pictures, path)
    assert [one.name for one in tmp_path.glob("some*")] == []
    assert coco((entry,))["images"][0]["strategy"] == "origin"
