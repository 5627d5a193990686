"""Data sets as they are ordered and shown: commands, refusals, layouts, pictures, numbers, a zip file."""

import json
import re
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image

from app.components.places import Places
from app.datasets import handlers
from app.datasets.form import KEEP, SET, DatasetOrder, Need, layouts_spec, make_dataset, make_loop, make_more
from app.datasets.handlers import A_PAGE, IMAGES, LAYOUTS, NUMBERS, REFUSED
from app.datasets.views import tile_html
from app.engine.studio import Studio
from app.runs.form import Source
from app.runs.jobs import Runs, State
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.errors import ConfigError
from detdiffusion.image_record import ImageRecord, save_image
from detdiffusion.layout import Attribute, Layout
from training.core.status import RunState, RunStatus, StageStatus
from training.data.papercut.classes import STUFF, THINGS
from training.data.papercut.scene import scene
from training.synthesis.exports import export
from training.synthesis.store import MANIFEST, job_chunks

PATIENCE = 60.0  # seconds


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "datasets", stop_seconds=PATIENCE)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A model folder with its detectors, and one beside it without any."""
    for name in ("home", "baseline"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "model_index.json").write_text("{}")
    (tmp_path / "models" / "home" / "detectors" / "bundled").mkdir(parents=True)
    return tmp_path / "models" / "home"


def option(command: tuple[str, ...], name: str) -> str | None:
    return command[command.index(name) + 1] if name in command else None


def test_an_order_becomes_two_commands(runs: Runs, home: Path) -> None:
    plan = make_dataset(DatasetOrder(str(home)), runs, home)
    generate, verify = plan.commands
    assert plan.name == "hard-1" and plan.about["data"] == "Papercut, 500 layouts"
    assert generate[:4] == (sys.executable, "-m", "training", "generate")
    assert option(generate, "--layouts") == "papercut:500@100000" and option(generate, "--strategy") == "hard"
    assert option(generate, "--count") == "200" and option(generate, "--workers") == "1"
    assert {"--augment", "--yolo"} <= set(generate) and not {"--refine", "--detector", "--steps"} & set(generate)
    assert verify[3:] == ("verify", str(runs.folder("hard-1") / "set")) and option(generate, "--out") == verify[4]


def test_everything_that_can_be_asked(runs: Runs, home: Path, tmp_path: Path) -> None:
    order = DatasetOrder(
        str(home.parent / "baseline"),
        Source.FOLDER,
        "",
        str(tmp_path),
        "origin",
        "5",
        "4",
        "9",
        "2",
        "redraw",
        augment=False,
        yolo=False,
        name="mine",
    )
    plan = make_dataset(order, runs, home)
    generate = plan.commands[0]
    assert option(generate, "--layouts") == str(tmp_path) and option(generate, "--refine") == "redraw"
    assert [option(generate, name) for name in ("--steps", "--seed", "--workers")] == ["4", "9", "2"]
    assert option(generate, "--detector") == str(home / "detectors" / "bundled"), "the home model's looks"
    assert not {"--augment", "--yolo"} & set(generate) and plan.name == "mine"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "/nowhere"}, "is not a model folder"),
        ({"layouts": ""}, "enter the number of layouts"),
        ({"layouts": "0"}, "layouts '0' needs to be a whole number from 1"),
        ({"count": ""}, "enter the number of images"),
        ({"count": "many"}, "images 'many' needs"),
        ({"workers": "0"}, "workers '0' needs"),
        ({"strategy": "odd"}, "there is no strategy 'odd'"),
        ({"source": Source.FOLDER, "folder": "/nowhere"}, "is not a folder"),
        ({"name": "a/b"}, "is not a valid name"),
    ],
)
def test_what_cannot_work_is_refused(change: dict[str, Any], reason: str, runs: Runs, home: Path) -> None:
    with pytest.raises(ConfigError, match=reason):
        make_dataset(replace(DatasetOrder(str(home)), **change), runs, home)
    assert not runs.root.exists()


# --- layouts --------------------------------------------------------------------------------------


def test_pages_of_layouts(home: Path) -> None:
    order = DatasetOrder(str(home), layouts="30")
    first, last = handlers.browse(order, "", 0), handlers.browse(order, "", 99)
    assert first.pages == last.pages == 3 and len(first.layouts) == A_PAGE and len(last.layouts) == 6
    assert first.html.count("<svg") == A_PAGE and "30 layouts" in first.html
    assert [box.xyxy for box in first.layouts[0].boxes] == [b.xyxy for b in scene(100_000, size=256).layout.boxes]
    objects = sum(len(scene(100_000 + number, size=256).layout.boxes) for number in range(30))
    assert f"{objects} objects" in first.html


def test_stuff_is_background() -> None:
    """As the model that is to draw knows it."""
    found = handlers.browse(DatasetOrder(str(BUNDLED_MODEL), layouts="3"), "", 0)
    for box in (box for layout in found.layouts for box in layout.boxes):
        assert (box.attribute is Attribute.BACKGROUND) == (box.label in STUFF)
    assert " things" in found.html and " background" in found.html


def test_layouts_with_a_class(home: Path) -> None:
    order = DatasetOrder(str(home), layouts="30")
    found = handlers.browse(order, "car", 0)
    assert found.layouts and all("car" in layout.labels for layout in found.layouts)
    assert re.search(r'data-name="class car" aria-pressed="true"', found.html)
    with pytest.raises(ConfigError, match="no layout has an object of class 'nothing'"):
        handlers.browse(order, "nothing", 0)


def test_layouts_of_a_file_are_escaped(home: Path, tmp_path: Path) -> None:
    bad = {"label": "<b>&", "box": [0, 0, 1, 1], "attribute": "hard"}
    (tmp_path / "data").mkdir()
    order = DatasetOrder(str(home), Source.FOLDER, folder=str(tmp_path / "data"))
    with pytest.raises(Exception, match="no data set in a known form"):
        handlers.browse(order, "", 0)
    assert layouts_spec(order) == str(tmp_path / "data")
    tile = tile_html(3, Layout.from_json({"width": 9, "height": 9, "objects": [bad]}))
    assert "<b>" not in tile and 'data-name="layout 3"' in tile and 'class="hard"' in tile


def test_a_class_that_the_model_does_not_know_is_marked_and_stops_the_start(runs: Runs, tmp_path: Path) -> None:
    """In a folder as people have it: YOLO, with one class of the model and one that it has never heard of."""
    data = tmp_path / "yolo"
    for part in ("images", "labels"):
        (data / part / "train").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(data / "images" / "train" / "one.png")
    (data / "labels" / "train" / "one.txt").write_text("0 0.5 0.5 0.4 0.4\n1 0.3 0.3 0.2 0.2\n")
    (data / "data.yaml").write_text("train: images/train\nval: images/train\nnames: [bus, dragon]\n")
    order = DatasetOrder(str(BUNDLED_MODEL), Source.FOLDER, folder=str(data))
    page = handlers.browse(order, "", 0).html
    assert "does not know dragon" in page
    assert 'class="unknown" data-name="class dragon"' in page and 'class="" data-name="class bus"' in page
    studio = cast(Studio, SimpleNamespace(models=SimpleNamespace(home=BUNDLED_MODEL)))
    with pytest.raises(ConfigError, match="papercut does not know dragon: leave these objects out"):
        handlers.start(studio, runs, order)
    assert runs.names() == []


# --- runs -----------------------------------------------------------------------------------------


Reasons = dict[int, list[dict[str, Any]]]


def put_images(out: Path, count: int, chunks_done: int, refused: Reasons | None = None) -> None:
    """What `generate` leaves: scenes, with made-up confidences; in the second one is nothing but background. refused:
    of --check, by image."""
    out.mkdir(parents=True)
    classes = {"things": THINGS, "stuff": STUFF}
    settings = {"format": "generation-1", "count": count, "chunk": 5, "classes": classes, "strategy": "hard"}
    settings |= {} if refused is None else {"check": {"by": "0", "originals": None}}
    (out / MANIFEST).write_text(json.dumps(settings))
    chunks = job_chunks(out, count, 5)
    for chunk in range(chunks_done):
        rows, saves = [], []
        for number in chunks.numbers(chunk):
            made = scene(number, size=64)
            if number == 1:
                stuff = tuple(box for box in made.layout.boxes if box.label in STUFF)
                made = replace(made, layout=replace(made.layout, boxes=stuff))
            tags = [Attribute.HARD if box.label in THINGS else Attribute.BACKGROUND for box in made.layout.boxes]
            asked = made.layout.with_attributes(tags)
            confidences = [0.25 if box.label in THINGS else None for box in made.layout.boxes]
            true = ["easy" if box.label in THINGS else "background" for box in made.layout.boxes]
            row = {"seed": number, "source": number, "layout": asked.to_json(), "true": true, "confidence": confidences}
            rows.append(row | ({"refused": refused[number]} if refused and number in refused else {}))
            saves.append(lambda path, made=made, asked=asked: save_image(path, made.image, ImageRecord(asked, None)))
        assert chunks.commit(chunk, saves, rows)


# What `generate` tells of itself, in short.
TELLS = """
import json, os, pathlib, sys, time
def tell(state, **more):
    path = pathlib.Path(sys.argv[1], "set", "status.json")
    aside = path.parent.with_name("aside")
    aside.write_text(json.dumps({"state": state, "pid": os.getpid(), "unit": "image", **more}))
    aside.replace(path)
while not pathlib.Path(sys.argv[1], "set", "images").exists():
    time.sleep(0.02)
"""


def begin(runs: Runs, name: str, code: str) -> Path:
    folder = runs.folder(name)
    command = [sys.executable, "-c", TELLS + code, str(folder)]
    runs.start(name, [command], {"kind": "Data set"}, online=False, status=[f"{SET}/status.json"])
    return folder


def wait(runs: Runs, name: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while runs.status(name).state.alive:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_pictures_while_they_are_made(runs: Runs) -> None:
    empty = handlers.look(runs, "", IMAGES, 0)
    assert "None yet" in empty.run.runs and "No data set yet" in empty.run.head
    folder = begin(runs, "one", "tell('running', done=15, total=40); time.sleep(60)")
    assert "images appear here" in handlers.look(runs, "one", IMAGES, 0).page
    put_images(folder / "set", 40, 3)
    deadline = time.monotonic() + PATIENCE
    while runs.status("one").state is not State.RUNNING:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    screen = handlers.look(runs, "one", IMAGES, 0)
    assert "image 15 of 40" in screen.run.head and screen.pages == 2 and screen.run.may_stop
    assert screen.page.count("<img") == A_PAGE and " 0.25" in screen.page
    assert screen.page.count(">background only<") == 1 and "not checked" not in screen.page
    assert handlers.look(runs, "one", IMAGES, 1).page.count("<img") == 3
    assert "when all images are finished" in handlers.look(runs, "one", NUMBERS, 0).page
    assert handlers.look(runs, "one", LAYOUTS, 0).page == ""
    with pytest.raises(ConfigError, match="nothing here yet"):
        handlers.download(Runs(runs.root.parent / "none"), "", runs.root.parent)
    runs.stop("one")
    wait(runs, "one")
    assert handlers.look(runs, "one", IMAGES, 0).run.may_resume


def test_refused_images_have_their_reasons(runs: Runs) -> None:
    folder, box = begin(runs, "one", "tell('finished', done=10, total=10)"), [0.1, 0.1, 0.4, 0.4]
    away = [{"reason": "absent", "absent": 3, "things": 4}, {"reason": "copy", "nearest": "a/7.png", "distance": 0.1}]
    extra = {"reason": "extra", "found": "dog", "score": 0.91, "box": box}
    wrong = {"reason": "wrong class", "object": 0, "found": "kite", "score": 0.8}
    put_images(folder / "set", 10, 2, refused={2: away, 7: [extra, wrong]})
    export(folder / "set")
    wait(runs, "one")
    screen = handlers.look(runs, "one", REFUSED, 0)
    assert re.findall("<figcaption.*?>(.*?)</figcaption>", screen.page) == [
        "Refused: 3 of 4 things are not there; nearly a copy of a/7.png",
        f"Refused: dog that nobody asked for (0.91); {scene(7, size=64).layout.boxes[0].label} looks like kite (0.80)",
    ]
    images = handlers.look(runs, "one", IMAGES, 0).page
    assert images.count('class="refused"') == 2 and images.count("<img") == 10
    large = handlers.enlarged(runs, "one", 7)
    assert "refused, dog that nobody asked for" in large.caption
    assert [(mark.label, list(mark.xyxy)) for mark in large.marks][-1] == ("not asked for: dog", box)
    assert "not among the annotations: 1 absent, 1 copy" in handlers.look(runs, "one", NUMBERS, 0).page


def test_none_refused_is_said(runs: Runs) -> None:
    folder = begin(runs, "one", "tell('finished', done=5, total=5)")
    put_images(folder / "set", 5, 1, refused={})
    folder = begin(runs, "two", "tell('finished', done=5, total=5)")
    put_images(folder / "set", 5, 1)
    for name in ("one", "two"):
        wait(runs, name)
    assert "None of the 5 images so far was refused" in handlers.look(runs, "one", REFUSED, 0).page
    assert "tick Check labels in the form" in handlers.look(runs, "two", REFUSED, 0).page


# --- more of a slice ------------------------------------------------------------------------------


def test_more_of_a_slice_becomes_three_commands(runs: Runs, home: Path, tmp_path: Path) -> None:
    order = DatasetOrder(str(home), strategy="origin", count="8", steps="3", augment=False, check=True)
    need = Need(tmp_path / "diagnosis", "car, left")
    plan = make_more(order, need, runs, home)
    layouts, generate, verify = plan.commands
    folder = runs.folder("more-car-left-1")
    assert plan.name == "more-car-left-1" and plan.about["data"] == "more of: car, left"
    assert layouts[3] == "plan" and option(layouts, "--diagnosis") == str(need.diagnosis)
    assert [option(layouts, name) for name in ("--slice", "--coverage", "--count")] == ["car, left", "0", "8"]
    assert option(layouts, "--out") == option(generate, "--layouts") == str(folder / "layouts.jsonl")
    assert option(generate, "--strategy") == "origin" and option(generate, "--steps") == "3" and "--check" in generate
    assert verify[3:] == ("verify", str(folder / SET)) and plan.status[plan.counts] == f"{SET}/status.json"
    folder.mkdir(parents=True)
    again = make_more(order, need, runs, home)
    assert option(again.commands[0], "--seed") != option(layouts, "--seed"), "other layouts the next time"
    with pytest.raises(ConfigError, match="images 'x' needs"):
        make_more(replace(order, count="x"), need, runs, home)


def test_a_finished_data_set(runs: Runs) -> None:
    folder = begin(runs, "one", "tell('finished', done=10, total=10)")
    put_images(folder / "set", 10, 2)
    export(folder / "set", yolo=True)
    wait(runs, "one")
    assert runs.status("one").state is State.FINISHED
    screen = handlers.look(runs, "one", NUMBERS, 0)
    assert screen.may_download and "<td>all</td>" in screen.page and "image 10 of 10" in screen.run.head
    large = handlers.enlarged(runs, "one", 7)
    assert large.file == folder / "set/images/00001/000007.png" and large.caption == "000007.png of one"
    assert [mark.score for mark in large.marks if mark.score is not None and mark.score < 0.5] == []
    with pytest.raises(ConfigError, match="image 99 of one is not there any more"):
        handlers.enlarged(runs, "one", 99)
    path = handlers.download(runs, "one", runs.root.parent / "cache")
    with zipfile.ZipFile(path) as file:
        names = set(file.namelist())
        assert file.testzip() is None
    assert {"one/annotations.json", "one/images/00001/000007.png", "one/labels/00000/000000.txt"} <= names


# --- closed loops ---------------------------------------------------------------------------------


def write_config(folder: Path) -> Path:
    (folder / "loop.yaml").write_text(
        "data: world\nout: run\npictures: {hard: 4}\nannotate: --detector a.yaml\ntrainability: --detector yolo11n\n"
    )
    return folder / "loop.yaml"


def test_a_loop_is_checked_before_it_starts(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name the loop's config file"):
        make_loop(" ", runs)
    path = write_config(tmp_path)
    plan = make_loop(str(path), runs)
    assert plan.name == "loop-1" and plan.commands[0][3:] == ("loop", "--config", str(path))
    path.write_text(path.read_text().replace("--detector a.yaml", "--detector a.yaml --speed 3"))
    with pytest.raises(ConfigError, match="what the config says for annotate is wrong"):
        make_loop(str(path), runs)
    assert not runs.root.exists()


def test_a_loop_reads_and_writes_where_the_studio_may(tmp_path: Path) -> None:
    workspace, secret = tmp_path / "workspace", tmp_path / "secret"
    for folder in (workspace, secret):
        folder.mkdir()
    runs = Runs(workspace / "datasets", places=Places([workspace], workspace=workspace))
    path = write_config(workspace)
    plan = make_loop(str(path), runs)
    runs.check_paths(plan.commands)
    for line, reason in (
        (f"out: {tmp_path}/elsewhere", "outside of the workspace"),
        ("out: ../elsewhere", "outside of the workspace"),
        (f"data: {secret}", "may read"),
        (f"base: {secret}", "may read"),
        (f"compare: [{secret}]", "may read"),
        (f"train: --out {secret}", "outside of the workspace"),
        (f"train: --set start={secret}/model", "may read"),
        (f"annotate: --detector {secret}/a.pt", "may read"),
    ):
        name = line.partition(":")[0]
        kept = [old for old in write_config(workspace).read_text().splitlines() if not old.startswith(f"{name}:")]
        path.write_text("\n".join([*kept, line]))
        with pytest.raises(ConfigError, match=reason):
            make_loop(str(path), runs)


def test_a_loop_for_a_model_folder_has_no_table_to_report(tmp_path: Path) -> None:
    workspace, secret = tmp_path / "workspace", tmp_path / "secret"
    for folder in (workspace, secret):
        folder.mkdir()
    runs = Runs(workspace / "datasets", places=Places([workspace], workspace=workspace))
    path = workspace / "loop.yaml"
    text = "data: data\nout: run\nannotate: --detector a.yaml\nstudio: {detector: --arch a, held_out: --arch b%s}\n"
    path.write_text(text % "")
    assert [command[3] for command in make_loop(str(path), runs).commands] == ["loop"]
    for more in (f", about: {secret}/card.md", f", examples: [{secret}/a.json]", f", distill: --out {secret}"):
        path.write_text(text % more)
        with pytest.raises(ConfigError, match=r"may read|outside of the workspace"):
            make_loop(str(path), runs)


def test_the_loop_field_shows_nothing_of_other_files(runs: Runs, tmp_path: Path) -> None:
    """Neither of what lies elsewhere, nor of what is no YAML."""
    private = tmp_path / "private.key"
    private.write_text("-----BEGIN KEY-----\nsecret: [text\n\tof a key")
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        make_loop(str(private), runs)
    assert "secret" not in str(caught.value) and "BEGIN" not in str(caught.value)
    bounded = Runs(runs.root, places=Places([tmp_path], workspace=tmp_path))
    for path in ("/etc/passwd", "/nowhere/at/all", "~root/.ssh/id"):
        with pytest.raises(ConfigError, match="may read"):
            make_loop(path, bounded)


def test_stages_of_a_loop(runs: Runs, tmp_path: Path) -> None:
    path = write_config(tmp_path)
    folder = runs.folder("loop-1")
    about = {"kind": "Closed loop", "out": str(tmp_path / "run")}
    told = [str(tmp_path / "run" / "status.json"), "page/status.json"]
    runs.start("loop-1", [[sys.executable, "-c", "import time; time.sleep(60)"]], about, online=False, status=told)
    assert "stages appear here" in handlers.look(runs, "loop-1", IMAGES, 0).page
    rows = (StageStatus("data: train", RunState.FINISHED), StageStatus("attributes", RunState.RUNNING))
    group = json.loads((folder / "job.json").read_text())["process"]["pid"]
    status = RunStatus(RunState.RUNNING, "attributes", 1, 2, "stage", group=group, stages=rows)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "status.json").write_text(json.dumps(status.to_json()))
    screen = handlers.look(runs, "loop-1", IMAGES, 0)
    assert "stage 1 of 2" in screen.run.head and '<li class="running"><i></i><span>attributes' in screen.page
    assert not screen.may_download
    runs.stop("loop-1")
    wait(runs, "loop-1")
    (folder / "page").mkdir()
    (folder / "page" / "report.html").write_text("<p>gain</p>")
    last = RunStatus(RunState.FINISHED, pid=group, group=group)  # of the last command, whose number is the run's
    (folder / "page" / "status.json").write_text(json.dumps(last.to_json()))
    assert "srcdoc" in handlers.look(runs, "loop-1", IMAGES, 0).page
    assert path.exists()


def test_the_report_of_rounds_is_shown_while_they_go_on(tmp_path: Path) -> None:
    """It lies in the loop's own folder, from the first round on; none is read from where the studio may not."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    runs = Runs(workspace / "datasets", places=Places([workspace], workspace=workspace))
    for name, out in (("closed-1", workspace / "run"), ("closed-2", tmp_path / "secret")):
        about, told = {"kind": "Closed loop", "out": str(out)}, [str(out / "status.json")]
        runs.start(name, [[sys.executable, "-c", "import time; time.sleep(60)"]], about, online=False, status=told)
        out.mkdir()
        (out / "report.html").write_text('<p class="gain">+ 1.5</p>')
        assert "srcdoc" not in handlers.look(runs, name, IMAGES, 0).page, "it is of something else, without rounds"
        (out / "rounds.json").write_text("{}")
        process = json.loads((runs.folder(name) / "job.json").read_text())["process"]["pid"]
        rows = (StageStatus("round 1: report", RunState.FINISHED), StageStatus("round 2: plan", RunState.RUNNING))
        (out / "status.json").write_text(
            json.dumps(
                RunStatus(RunState.RUNNING, "round 2: plan", 1, 2, "stage", group=process, stages=rows).to_json()
            )
        )
        page = handlers.look(runs, name, IMAGES, 0).page
        assert "<span>round 2: plan" in page
        shown = f'title="report of {name}" srcdoc="&lt;p class=&#34;gain&#34;&gt;+ 1.5' in page
        assert shown == (name == "closed-1")
        runs.stop(name)
        wait(runs, name)


def test_start_goes_through_the_studio(runs: Runs, home: Path) -> None:
    studio = cast(Studio, SimpleNamespace(models=SimpleNamespace(home=home)))
    name = handlers.start(studio, runs, DatasetOrder(str(home), refine=KEEP))
    try:
        assert name == "hard-1" and runs.status(name).about["model"] == "home"
    finally:
        runs.stop(name)
        wait(runs, name)
