"""Diagnoses as they are ordered and shown: commands, refusals before a start, bars, images, what is made of a slice."""

import argparse
import json
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.components.places import Places
from app.diagnosis import handlers
from app.diagnosis.form import OUT, SCENES, DiagnosisOrder, make_diagnosis
from app.diagnosis.handlers import REPORT, DiagnosisScreen, Place, Sort
from app.diagnosis.views import bars_html
from app.runs.form import Source
from app.runs.jobs import Runs, State
from detdiffusion.errors import ConfigError, DetDiffusionError
from detdiffusion.evaluation.tide import ErrorType
from detdiffusion.layout import Attribute
from training.data.papercut.coco_export import write_dataset
from training.diagnosis import command
from training.diagnosis.result import FILE, Diagnosis, read_diagnosis

PATIENCE = 60.0  # seconds
COUNT = 100  # scenes
# What `diagnose` tells of itself at its end, in short.
TELLS = """
import json, os, pathlib, sys, time
state, folder = sys.argv[1], pathlib.Path(sys.argv[2], "diagnosis")
folder.mkdir(exist_ok=True)
text = json.dumps({"state": state, "pid": os.getpid(), "unit": "image", "done": 3, "total": 4})
(folder / "status.json").write_text(text)
time.sleep(60 if state == "running" else 0)
"""


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "diagnoses", stop_seconds=PATIENCE)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A model folder with a detector."""
    (tmp_path / "home" / "detectors" / "bundled").mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with scenes and a diagnosis of a detector that finds no boat, and calls cats birds."""
    folder = tmp_path_factory.mktemp("made")
    write_dataset(folder / SCENES, range(COUNT), size=64)
    content = json.loads((folder / SCENES / "annotations" / "instances.json").read_text())
    names = {one["id"]: one["name"] for one in content["categories"]}
    bird = next(key for key, name in names.items() if name == "bird")
    rows = [
        {
            "image_id": one["image_id"],
            "category_id": bird if names[one["category_id"]] == "cat" else one["category_id"],
            "bbox": one["bbox"],
            "score": 0.9 - 0.001 * place,
        }
        for place, one in enumerate(content["annotations"])
        if names[one["category_id"]] != "boat"
    ]
    theirs = folder / "theirs.json"
    theirs.write_text(json.dumps({"annotations": rows, "categories": content["categories"]}))
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        words = ["--data", str(folder / SCENES), "--detector", str(theirs), "--out", str(folder / OUT)]
        assert command.run(parser.parse_args(words)) == 0
    return folder


@pytest.fixture(scope="module")
def found(made: Path) -> Diagnosis:
    return read_diagnosis(made / OUT)


Begin = Callable[..., Runs]


@pytest.fixture
def begin(runs: Runs, made: Path) -> Begin:
    """`begin(name, state)`: a run that says so of itself, with the scenes and the diagnosis where it is finished."""

    def begin(name: str, state: State = State.FINISHED) -> Runs:
        folder = runs.folder(name)
        status = [f"{OUT}/status.json"]
        words = [sys.executable, "-c", TELLS, state.value, str(folder)]
        runs.start(name, [words], {"data": "scenes"}, online=False, status=status)
        deadline = time.monotonic() + PATIENCE
        while runs.status(name).state is not state:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if state is State.FINISHED:
            shutil.copytree(made / SCENES, folder / SCENES)
            shutil.copytree(made / OUT, folder / OUT, dirs_exist_ok=True, ignore=shutil.ignore_patterns("status.json"))
        return runs

    return begin


def option(command: tuple[str, ...], name: str) -> str | None:
    return command[command.index(name) + 1] if name in command else None


def captions(screen: DiagnosisScreen) -> list[str]:
    assert screen.findings is not None
    return re.findall("<figcaption>(.*?)</figcaption>", screen.findings.images)


# --- the order ------------------------------------------------------------------------------------


def test_an_untouched_form_becomes_two_commands(runs: Runs, home: Path) -> None:
    plan = make_diagnosis(DiagnosisOrder(), runs, home)
    draw, diagnose = plan.commands
    folder = runs.folder("diagnosis-1")
    assert plan.about == {"detector": "bundled", "data": "Papercut, 500 unseen scenes"} and plan.counts == 1
    assert draw[3] == "papercut" and (option(draw, "--images"), option(draw, "--seed")) == ("500", "900000")
    assert option(draw, "--out") == option(diagnose, "--data") == str(folder / SCENES)
    assert diagnose[3] == "diagnose" and option(diagnose, "--out") == str(folder / OUT)
    assert option(diagnose, "--detector") == str(home / "detectors" / "bundled")
    assert plan.status == ("scenes/status.json", "diagnosis/status.json")


def test_a_folder_and_its_split(runs: Runs, home: Path, made: Path) -> None:
    order = DiagnosisOrder(Source.FOLDER, folder=str(made / SCENES), detector=str(made / "theirs.json"), name="mine")
    plan = make_diagnosis(order, runs, home)
    assert plan.name == "mine" and plan.counts == 0 and plan.about["data"] == SCENES
    assert option(plan.commands[0], "--detector") == str(made / "theirs.json") and "--split" not in plan.commands[0]
    with pytest.raises(DetDiffusionError, match="split"):
        make_diagnosis(replace(order, split="absent"), runs, home)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scenes": ""}, "enter the number of scenes"),
        ({"scenes": "none"}, "scenes 'none' needs to be a whole number"),
        ({"source": Source.FOLDER}, "enter the folder"),
        ({"source": Source.FOLDER, "folder": "/nowhere"}, "is not a folder"),
        ({"detector": "dreams"}, "dreams"),
        ({"name": "a/b"}, "is not a valid name"),
    ],
)
def test_what_cannot_work_is_refused(change: dict[str, Any], reason: str, runs: Runs, home: Path) -> None:
    with pytest.raises(ConfigError, match=reason):
        make_diagnosis(replace(DiagnosisOrder(), **change), runs, home)
    assert not runs.root.exists()


# --- what is shown --------------------------------------------------------------------------------


def test_without_a_run_the_page_says_what_to_press(runs: Runs) -> None:
    screen = handlers.look(runs, Place())
    assert screen.findings is not None and "press Start" in screen.run.head
    assert "appear here" in screen.findings.hint and not screen.findings.bars
    assert handlers.look(runs, screen.place).findings is None, "the page holds it"


def test_while_it_runs_and_after_it_was_stopped(begin: Begin) -> None:
    runs = begin("one", State.RUNNING)
    screen = handlers.look(runs, Place("one"))
    assert screen.findings is not None and "when the diagnosis is finished" in screen.findings.hint
    assert "image 3 of 4" in screen.run.head and screen.run.may_stop
    runs.stop("one")
    deadline = time.monotonic() + PATIENCE
    while runs.status("one").state.alive:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    screen = handlers.look(runs, screen.place)
    assert screen.findings is not None and "Resume continues it" in screen.findings.hint and screen.run.may_resume
    with pytest.raises(ConfigError, match="one is not finished"):
        handlers.slice_of(runs, Place("one"))


def test_the_worst_slice_comes_first_with_its_images(begin: Begin, found: Diagnosis) -> None:
    worst = found.slices[0]
    screen = handlers.look(begin("one"), Place())
    assert screen.findings is not None and screen.findings.may_more
    assert screen.place.picked == f"slice {worst.name}" and worst.bounds.get("class") in ("boat", "cat")
    assert f'data-name="slice {worst.name}" aria-pressed="true"' in screen.findings.bars
    assert all(f'data-name="error {kind}" aria-pressed="false"' in screen.findings.bars for kind in ErrorType)
    assert f"of {worst.count:,} objects in {worst.images:,} images" in screen.findings.title
    assert len(captions(screen)) == min(worst.images, handlers.A_PAGE)
    assert {one.split()[1] for one in captions(screen)} == {"missed"}
    assert screen.findings.images.count("data:image/jpeg") == screen.findings.images.count('class="about"')


def test_images_are_sorted_and_turned(begin: Begin, found: Diagnosis) -> None:
    runs = begin("one")
    other = next(one for one in found.others if one.explained_by is None and one.images > handlers.A_PAGE)
    place = Place("one", f"slice {other.name}", Sort.MOST)
    most = captions(handlers.look(runs, place))
    scores = [float(one.split()[-3].strip(",")) for one in most if "missed" not in one]
    assert scores == sorted(scores, reverse=True) and len(scores) > 3
    assert captions(handlers.look(runs, replace(place, sort=Sort.LEAST))) != most
    last = handlers.look(runs, replace(place, page=99))
    assert last.place.page == 1 and captions(last) and captions(last) != most
    low = captions(handlers.look(runs, replace(place, sort=Sort.LOW)))
    overlaps = [float(one.split()[-1].strip(")")) if "IoU" in one else 0.0 for one in low]
    assert overlaps == sorted(overlaps)


def test_errors_have_images_and_no_layouts(begin: Begin, found: Diagnosis) -> None:
    runs = begin("one")
    place = Place("one", f"error {ErrorType.CLASS}", handlers.natural("error cls"))
    screen = handlers.look(runs, place)
    assert screen.findings is not None and not screen.findings.may_more and "choose a slice" in screen.findings.title
    assert {one.split()[0] for one in captions(screen)} == {"bird"}, "cats that were called birds"
    with pytest.raises(ConfigError, match="choose a slice on the left"):
        handlers.slice_of(runs, place)
    none = handlers.look(runs, replace(place, picked=f"error {ErrorType.DUPLICATE}"))
    assert none.findings is not None and "There is none" in none.findings.title and captions(none) == []


def test_a_slice_that_another_diagnosis_has_not_is_not_picked(begin: Begin, found: Diagnosis) -> None:
    screen = handlers.look(begin("one"), Place("one", "slice dragon", Sort.HIGH, page=3))
    assert screen.place.picked == f"slice {found.slices[0].name}" and screen.place.sort == Sort.LEAST


def test_without_a_named_slice_it_says_so(found: Diagnosis) -> None:
    none = bars_html(replace(found, slices=()), "")
    assert f"None is, beyond chance, of {found.tested:,} slices" in none and "within chance" in none
    few = bars_html(replace(found, slices=(), others=(), tested=0), "")
    assert "too few objects" in few and "within chance" not in few


def test_an_image_has_its_layout_as_the_detector_found_it(begin: Begin) -> None:
    runs = begin("one")
    screen = handlers.look(runs, Place())
    assert screen.findings is not None
    number = int(re.findall('data-name="image (\\d+)"', screen.findings.images)[0])
    name, layout, image = handlers.image_of(runs, screen.place, number)
    assert name.endswith(".png") and image.size == (layout.width, layout.height) == (64, 64)
    tags = {box.label: box.attribute for box in layout.boxes}
    assert tags.get("boat", tags.get("cat")) is Attribute.HARD and Attribute.BACKGROUND in tags.values()
    with pytest.raises(ConfigError, match="has no image 999"):
        handlers.image_of(runs, screen.place, 999)


def test_images_that_are_gone_or_elsewhere_say_so(begin: Begin, tmp_path: Path, made: Path) -> None:
    runs = begin("one")
    first = next((runs.folder("one") / SCENES / "images").iterdir())
    number = handlers._read(runs.folder("one") / OUT, (runs.folder("one") / OUT / FILE).stat().st_mtime_ns)[1]
    place = [Path(path).name for path in number.paths.tolist()].index(first.name)
    first.unlink()
    with pytest.raises(DetDiffusionError, match="not found"):
        handlers.image_of(runs, Place("one"), place)
    shutil.rmtree(runs.folder("one") / SCENES)
    bounded = Runs(runs.root, places=Places([runs.root], workspace=runs.root))
    screen = handlers.look(bounded, Place("one"))
    assert screen.findings is not None and "The images cannot be shown" in screen.findings.images
    assert screen.findings.bars, "the rest is there"


def test_the_report_is_sent_once(begin: Begin) -> None:
    screen = handlers.look(begin("one"), Place(view=REPORT))
    assert screen.findings is not None and "srcdoc" in screen.findings.report and "TIDE" in screen.findings.report


def test_a_damaged_result_is_no_traceback(begin: Begin) -> None:
    runs = begin("one")
    (runs.folder("one") / OUT / FILE).write_text("{")
    screen = handlers.look(runs, Place("one"))
    assert screen.findings is not None and "cannot be read" in screen.findings.hint


def test_a_slice_knows_its_folder(begin: Begin, found: Diagnosis) -> None:
    runs = begin("one")
    assert handlers.slice_of(runs, Place("one")) == (runs.folder("one") / OUT, found.slices[0].name)
