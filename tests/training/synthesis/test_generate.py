"""python -m training generate and verify: data sets by a tiny model, workers that are killed, what others read."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import warm
from pycocotools.coco import COCO

from detdiffusion.core.files import read_json
from detdiffusion.errors import ConfigError, DataError, DetectorError, LayoutError
from detdiffusion.image_record import read_image
from detdiffusion.layout import Attribute, Layout
from detdiffusion.sampling_config import DEFAULT_GUIDANCE, DEFAULT_STEPS
from detdiffusion.text.vocabulary import Vocabulary
from training.data.datasets import open_dataset
from training.data.papercut.classes import STUFF, THINGS
from training.synthesis import command, verify, workers
from training.synthesis.request import ORDER, read_job
from training.synthesis.store import Job, job_chunks, read_chunks
from training.synthesis.workers import run_local, work

COUNT = 10
SCENES = "papercut:6@900000"
Start = Callable[..., subprocess.Popen[str]]
MINUTES = 600.0  # seconds of patience with a busy machine


def words_of(model: Path, out: Path, *more: object) -> list[str]:
    few = ("--strategy", "hard", "--count", COUNT, "--steps", 1, "--chunk", 4, "--batch", 2, "--threads", 1)
    return [str(word) for word in ("--model", model, "--layouts", SCENES, *few, "--out", out, *more)]


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


def ask(model: Path, out: Path, *more: object) -> int:
    """The command, drawing in this process: a worker of its own would load everything again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "run_local", lambda job, _: work(job))
        return command.run(parse(words_of(model, out, *more)))


def begun(model: Path, out: Path, *more: object) -> Job:
    """What a coordinator writes before anybody draws."""
    command.begin(command.request_of(parse(words_of(model, out, *more))))
    return read_job(out)


def check(out: Path) -> int:
    parser = argparse.ArgumentParser()
    verify.add_arguments(parser)
    return verify.run(parser.parse_args([str(out)]))


def pictures(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.png")}


def by_name(out: Path) -> dict[str, bytes]:
    """Whatever chunk they belong to."""
    return {Path(name).name: content for name, content in pictures(out).items()}


@pytest.fixture(scope="module")
def made(world_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generate") / "hard"
    assert ask(world_model, out, "--yolo", "--captions", "--webdataset") == 0
    return out


def test_pictures_and_rows(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(made) == 0
    assert "10 images: 10 whole, 0 missing, 0 double, 0 damaged; 0 other faults" in capsys.readouterr().out
    rows = list(read_chunks(made).all_rows())
    assert [row["source"] for row in rows] == [number % 6 for number in range(COUNT)]
    assert len({row["seed"] for row in rows}) == COUNT
    for row in rows:
        layout, about = (kept := read_image(made / row["file"])).layout, kept.to_json()
        assert layout == Layout.from_json(row["layout"])
        assert (about["seed"], about["strategy"], about["model"]) == (row["seed"], "hard", "tiny")
        assert {box.attribute for box in layout.boxes} <= {Attribute.HARD, Attribute.BACKGROUND}
        assert set(row["true"]) <= {"easy", "hard", "background"}, "the detector looked at the real scenes"
        for box, confidence in zip(layout.boxes, row["confidence"], strict=True):
            assert (confidence is None) == (box.attribute is Attribute.BACKGROUND)


def test_manifest_names_what_pictures_depend_on(made: Path) -> None:
    settings = json.loads((made / "manifest.json").read_text())
    assert (settings["count"], settings["chunk"], settings["batch"], settings["threads"]) == (COUNT, 4, 2, 1)
    assert (settings["strategy"], settings["device"]) == ("hard", "cpu")
    assert settings["precision"] in ("bfloat16", "float32")
    assert len(settings["model"]) == len(settings["detector"]) == 64
    assert str(made.parent) not in (made / "manifest.json").read_text()


def test_coco_tools_read_it(made: Path) -> None:
    from torchvision.datasets import CocoDetection

    coco = COCO(made / "annotations.json")
    assert sorted(coco.imgs) == list(range(COUNT)) and [one["name"] for one in coco.cats.values()] == list(THINGS)
    for row in coco.anns.values():
        assert row["attribute"] == "hard" and row["true_attribute"] in ("easy", "hard")
        assert 0 <= row["score"] <= 1
        x, y, width, height = row["bbox"]
        assert width > 0 and height > 0 and x + width <= 64.01 and y + height <= 64.01
    image, target = CocoDetection(str(made), str(made / "annotations.json"))[3]
    assert image.size == (64, 64) and len(target) == len(coco.imgToAnns[3])


@pytest.mark.usefixtures("at_home")
def test_our_own_reader_reads_it(made: Path) -> None:
    dataset = open_dataset(made)
    assert (len(dataset), dataset.things, dataset.stuff) == (COUNT, THINGS, ())
    rows = list(read_chunks(made).all_rows())
    for sample, row in zip(dataset, rows, strict=True):
        things = [box for box in Layout.from_json(row["layout"]).boxes if box.label in THINGS]
        assert [box.label for box in sample.layout.boxes] == [box.label for box in things]
        assert sample.load_image().size == (64, 64)


def test_card(made: Path) -> None:
    card, rows = json.loads((made / "card.json").read_text()), list(read_chunks(made).all_rows())
    known = [value for row in rows for value in row["confidence"] if value is not None]
    every = card["classes"]["all"]
    assert card["pictures"] == COUNT and every["objects"] == len(known) == every["asked"]["hard"]
    assert every["after"] == {"easy": sum(v >= 0.5 for v in known), "hard": sum(v < 0.5 for v in known)}
    assert every["mean_confidence"] == pytest.approx(sum(known) / len(known), abs=1e-4)
    assert sum(every["before"].values()) == every["objects"]
    assert sum(one["objects"] for name, one in card["classes"].items() if name != "all") == every["objects"]
    assert "| all |" in (made / "README.md").read_text()


def test_exports(made: Path) -> None:
    captions = [json.loads(line) for line in (made / "captions.jsonl").read_text().splitlines()]
    assert len(captions) == COUNT and all(row["text"].startswith("An image with ") for row in captions)
    with tarfile.open(made / "shards" / "00000.tar") as tar:
        names = tar.getnames()
        assert names[:3] == ["000000.png", "000000.txt", "000000.json"] and len(names) == 3 * COUNT
        assert tar.extractfile("000007.png").read() == pictures(made)["images/00001/000007.png"]  # type: ignore[union-attr]
    coco = COCO(made / "annotations.json")
    for image in coco.imgs.values():
        lines = (made / image["file_name"].replace("images", "labels")).with_suffix(".txt").read_text().splitlines()
        boxes = [[float(number) for number in line.split()] for line in lines]
        wanted = [(row["category_id"] - 1, row["bbox"]) for row in coco.imgToAnns[image["id"]]]
        for (label, x, y, width, height), (category, bbox) in zip(boxes, wanted, strict=True):
            assert label == category
            corners = [(x - width / 2) * 64, (y - height / 2) * 64, width * 64, height * 64]
            assert corners == pytest.approx(bbox, abs=0.01)


@pytest.mark.long
@pytest.mark.process
def test_ultralytics_trains_on_it(made: Path, tmp_path: Path) -> None:
    """A few steps on the folder as it is; the library runs in a process of its own."""
    code = (
        "import sys; from ultralytics import YOLO\n"
        "model = YOLO('yolo11n.yaml')\n"
        "model.train(data=sys.argv[1], epochs=1, imgsz=64, batch=5, device='cpu', workers=0, plots=False, val=False,"
        " project=sys.argv[2], amp=False, save=False, cache=False)\n"
        "data = model.trainer.train_loader.dataset\n"
        "print('images', len(data), 'objects', sum(len(one['cls']) for one in data.labels))"
    )
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(tmp_path), "YOLO_OFFLINE": "true"}
    words = [sys.executable, "-c", code, str(made / "data.yaml"), str(tmp_path / "runs")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    objects = len(COCO(made / "annotations.json").anns)
    assert f"images {COUNT} objects {objects}" in done.stdout


# --- workers --------------------------------------------------------------------------------------


def wait(until: Callable[[], object]) -> None:
    deadline = time.monotonic() + MINUTES
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(line, **pipes)`: a process that does not outlive the test, nor does what it started."""
    started: list[subprocess.Popen[str]] = []

    def start(line: list[str], **pipes: int) -> subprocess.Popen[str]:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started.append(subprocess.Popen(line, text=True, start_new_session=True, **{**quiet, **pipes}))
        return started[-1]

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def workers_of(process: int) -> list[int]:
    """Those that a coordinator has started and that live."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process and fields[0] not in "ZX":
            found.append(int(path.parent.name))
    return found


@pytest.mark.process
@pytest.mark.long
def test_killed_workers_change_nothing(world_model: Path, made: Path, tmp_path: Path) -> None:
    """kill -9 of both workers, then of the coordinator: the pictures are those of one worker without a kill."""
    out = tmp_path / "killed"
    words = ["generate", *words_of(world_model, out, "--workers", 2, "--chunk", 2)]
    process = warm.training(words, tmp_path / "said")
    chunks = job_chunks(out, COUNT, 2)
    wait(lambda: len(workers_of(process.pid)) == 2 or not process.is_alive())
    first = workers_of(process.pid)
    for worker in first:
        os.kill(worker, signal.SIGKILL)
    wait(lambda: set(workers_of(process.pid)) - set(first) or not process.is_alive())
    second = workers_of(process.pid)
    assert len(first) == 2 and second and not set(first) & set(second), "others took their place"
    wait(lambda: chunks.done() or not process.is_alive())
    process.kill()
    for worker in second:
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    process.join()
    before = {path: path.read_bytes() for chunk in chunks.done() for path in chunks.folder(chunk).iterdir()}
    assert ask(world_model, out, "--chunk", 2) == 0
    assert before and {path: path.read_bytes() for path in before} == before, "what was committed stays"
    assert check(out) == 0
    assert by_name(out) == by_name(made)
    assert [row["sha256"] for row in read_chunks(out).all_rows()] == [
        row["sha256"] for row in read_chunks(made).all_rows()
    ]


@pytest.mark.long
@pytest.mark.process
def test_a_worker_leaves_with_who_started_it(world_model: Path, tmp_path: Path, start: Start) -> None:
    """A coordinator that is killed leaves nobody behind who goes on for hours; here a shell coordinates."""
    job = begun(world_model, tmp_path / "left", "--count", 4000, "--chunk", 2)
    line = ["sh", "-c", '"$@" & wait', "sh", sys.executable, "-m", "training.synthesis.worker", str(job.out), "0"]
    line[2] = line[2].replace("&", "$$ &")  # the number of the shell, which the worker is told
    process = start(line)
    wait(lambda: job.chunks.done() or process.poll() is not None)
    (worker,) = workers_of(process.pid)
    process.kill()
    process.wait()
    wait(lambda: not Path("/proc", str(worker)).exists())
    assert len(job.chunks.done()) < 2000, "it left in the middle of its work"


@pytest.mark.process
def test_two_jobs_at_once_share_the_work(world_model: Path, made: Path, tmp_path: Path) -> None:
    """The same command, in this process and in another."""
    out = tmp_path / "two"
    other = warm.training(["generate", *words_of(world_model, out)], tmp_path / "said")
    wait(lambda: workers_of(other.pid) or not other.is_alive())
    assert ask(world_model, out) == 0
    other.join()
    assert other.exitcode == 0, (tmp_path / "said").read_text()
    assert check(out) == 0 and pictures(out) == pictures(made)


@pytest.mark.long
@pytest.mark.process
def test_ray_with_a_killed_worker(world_model: Path, made: Path, tmp_path: Path, start: Start) -> None:
    """A local cluster; the process that draws is killed with -9 once something is committed."""
    pytest.importorskip("ray", reason="Ray is an extra: pip install -r requirements-ray.txt")
    out = tmp_path / "ray"
    line = [sys.executable, "-m", "training", "generate", *words_of(world_model, out, "--engine", "ray", "--chunk", 2)]
    process = start(line, stderr=subprocess.PIPE)
    chunks = job_chunks(out, COUNT, 2)
    killed = list[int]()

    def one_is_killed() -> bool:
        found = [pid for pid in ray_workers() if chunks.done()]
        for pid in found[:1]:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        return bool(killed) or process.poll() is not None

    wait(one_is_killed)
    _, said = process.communicate(timeout=MINUTES)
    assert process.returncode == 0, said
    assert killed and check(out) == 0
    assert by_name(out) == by_name(made)


def ray_workers() -> list[int]:
    """Processes that draw chunks for Ray, which names them after what they do."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if words.startswith(b"ray::draw_chunk"):
            found.append(int(path.parent.name))
    return found


def test_workers_that_cannot_live_are_given_up(
    world_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begun(world_model, tmp_path / "dying")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DataError, match="workers died 5 times without finishing a chunk"):
        run_local(job, 1)


@pytest.mark.long
@pytest.mark.process
def test_a_worker_says_why_it_cannot_go_on(world_model: Path, tmp_path: Path) -> None:
    job = begun(world_model, tmp_path / "odd")
    (job.out / "images").write_text("a file where a folder needs to be")
    with pytest.raises(DataError, match="cannot be written"):
        run_local(job, 1)


# --- going on, and what is refused ----------------------------------------------------------------


def test_damage_is_drawn_again(world_model: Path, made: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "damaged"
    ask(world_model, out)
    (out / "images" / "00001" / "000006.png").write_bytes(b"other")
    assert check(out) == 1
    said = capsys.readouterr()
    assert (
        "10 images: 9 whole, 0 missing, 0 double, 1 damaged; 0 other faults" in said.out
        and "000006.png is damaged" in said.err
    )
    assert ask(world_model, out) == 0
    assert check(out) == 0 and pictures(out) == pictures(made)


def test_what_verify_finds(world_model: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "some"
    ask(world_model, out)
    (out / "annotations.json").rename(out / "kept.json")
    assert check(out) == 1 and "annotations.json is missing" in capsys.readouterr().err
    content = json.loads((out / "kept.json").read_text())
    content["images"].append(content["images"][0])
    (out / "annotations.json").write_text(json.dumps(content))
    assert check(out) == 1 and "lists image 0 2 times" in capsys.readouterr().err
    (out / "images" / "00002").rename(out / "images" / "00007")
    assert check(out) == 1
    said = capsys.readouterr()
    assert "2 missing" in said.out and "00007 belongs to no chunk of this job" in said.err


def test_exports_can_be_asked_for_later(world_model: Path, made: Path, tmp_path: Path) -> None:
    ask(world_model, tmp_path / "later")
    work(read_job(tmp_path / "later"))  # nothing is left to draw
    assert not (tmp_path / "later" / "data.yaml").exists()
    ask(world_model, tmp_path / "later", "--yolo")
    labels = sorted(path.name for path in (tmp_path / "later" / "labels").rglob("*.txt"))
    assert labels == [f"{number:06d}.txt" for number in range(COUNT)]


def test_other_settings_are_refused(world_model: Path, made: Path) -> None:
    before = pictures(made)
    for more, reason in (
        (("--steps", 2), "steps was 1, is 2"),
        (("--seed", 5), "seed was 0, is 5"),
        (("--strategy", "easy"), "strategy was 'hard', is 'easy'"),
        (("--threads", 2), "threads was 1, is 2"),
    ):
        with pytest.raises(ConfigError, match=reason):
            ask(world_model, made, *more)
    assert pictures(made) == before


def test_bad_input_is_said_before_anything_is_drawn(world_model: Path, build_world_model: Any, tmp_path: Path) -> None:
    bare = build_world_model(tmp_path / "bare", Vocabulary(things=THINGS, stuff=STUFF, grid=(8, 8), attribute_words=()))
    plain = build_world_model(tmp_path / "plain")
    odd = {"width": 64, "height": 64, "objects": [{"label": "caar", "box": [0, 0, 1, 1]}]}
    (tmp_path / "odd.jsonl").write_text(json.dumps(odd) + "\n")
    (tmp_path / "folder").mkdir()
    for model, more, error, reason in (
        (world_model, ("--layouts", tmp_path / "odd.jsonl"), LayoutError, "unknown class 'caar'.*nearest first: car"),
        (world_model, ("--layouts", tmp_path / "folder"), DataError, "no data set in a known form"),
        (world_model, ("--layouts", tmp_path / "absent"), DataError, "no such layouts"),
        (bare, (), ConfigError, "knows no easy and hard objects"),
        (plain, ("--strategy", "origin"), ConfigError, "needs true attributes"),
        (world_model, ("--add-missed", 2), ConfigError, "--add-missed needs attributes"),
        (world_model, ("--detector", "nowhere"), DetectorError, "no detector at .*nowhere"),
    ):
        with pytest.raises(error, match=reason):
            ask(model, tmp_path / "out", *more)
    assert not (tmp_path / "out").exists()


def test_a_model_without_detector_or_attributes(build_world_model: Any, tmp_path: Path) -> None:
    words = Vocabulary(things=THINGS, stuff=STUFF, grid=(8, 8), attribute_words=())
    bare = build_world_model(tmp_path / "bare", words)
    assert ask(bare, tmp_path / "out", "--strategy", "origin", "--count", 3) == 0
    for row in read_chunks(tmp_path / "out").all_rows():
        assert set(row["confidence"]) == {None} == set(row["true"])


def test_what_the_model_recommends_is_kept_where_the_job_begins(
    world_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The workers read it there: what a model recommends later changes no job."""
    words = words_of(world_model, tmp_path / "out", "--detector", "none")
    few = words.index("--steps")
    command.begin(command.request_of(parse(words[:few] + words[few + 2 :])))
    kept = read_json(tmp_path / "out" / ORDER, dict, DataError)
    assert (kept["steps"], kept["guidance"]) == (DEFAULT_STEPS, DEFAULT_GUIDANCE)
    assert "note: this model" not in capsys.readouterr().err
    begun(world_model, tmp_path / "few", "--detector", "none")
    assert "note: this model is asked for 1 step, where it needs at least 4" in capsys.readouterr().err


def test_augmented_layouts_are_in_the_picture(world_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "shifted"
    ask(world_model, out, "--augment", "--strategy", "origin", "--count", 6)
    shifted = [Layout.from_json(row["layout"]) for row in read_chunks(out).all_rows()]
    assert check(out) == 0
    plain = command.request_of(parse(words_of(world_model, out))).job().source
    assert all(one.boxes != plain.sample(place, (64, 64))[1].boxes for place, one in enumerate(shifted))


def test_what_the_detector_misses_is_added(world_model: Path, tmp_path: Path) -> None:
    car = {"label": "car", "box": [0.1, 0.1, 0.3, 0.3], "attribute": "hard"}
    cat = {"label": "cat", "box": [0.6, 0.6, 0.9, 0.9], "attribute": "easy"}
    layout = {"width": 64, "height": 64, "objects": [car, cat]}
    (tmp_path / "some.jsonl").write_text(json.dumps(layout) + "\n")
    out = tmp_path / "more"
    more = ("--layouts", tmp_path / "some.jsonl", "--add-missed", 3, "--augment", "around", "--strategy", "origin")
    ask(world_model, out, *more, "--count", 4)
    assert check(out) == 0
    for row in read_chunks(out).all_rows():
        labels = [one["label"] for one in row["layout"]["objects"]]
        assert labels.count("car") > 1 or len(labels) > 2
        assert set(row["true"]) <= {"easy", "hard"}
    with pytest.raises(ConfigError, match="add_missed was 3, is 4"):
        ask(world_model, out, *more, "--count", 4, "--add-missed", 4)


# --- refinement -----------------------------------------------------------------------------------


def test_dropped_objects_leave_the_annotations(world_model: Path, tmp_path: Path) -> None:
    """Random weights draw no object: hardly any of the easy ones stays, and the rows say what became of them."""
    out = tmp_path / "dropped"
    ask(world_model, out, "--strategy", "easy", "--refine", "drop", "--snap", "--count", 4, "--yolo")
    rows, coco = list(read_chunks(out).all_rows()), COCO(out / "annotations.json")
    things = [item["label"] in THINGS for row in rows for item in row["layout"]["objects"]]
    fates = [fate for row in rows for fate in row["fate"]]
    assert set(fates) <= {"detector", "gone", "unchecked"} and "gone" in fates
    kept = sum(thing and fate != "gone" for thing, fate in zip(things, fates, strict=True))
    assert len(coco.anns) == kept and check(out) == 0
    lines = [line for path in (out / "labels").rglob("*.txt") for line in path.read_text().splitlines()]
    assert len(lines) == kept
    card = json.loads((out / "card.json").read_text())
    assert card["fates"]["easy"]["gone"] == fates.count("gone")
    assert "not there, and dropped" in (out / "README.md").read_text()


def test_pictures_are_drawn_again(world_model: Path, tmp_path: Path) -> None:
    """Up to three times, each from noise of its own; the one that lacks least stays."""
    once, thrice = tmp_path / "once", tmp_path / "thrice"
    few = ("--strategy", "easy", "--count", 4)
    ask(world_model, once, *few, "--refine", "drop")
    ask(world_model, thrice, *few, "--refine", "redraw")
    pairs = list(zip(read_chunks(once).all_rows(), read_chunks(thrice).all_rows(), strict=True))
    assert all(b["fate"].count("gone") <= a["fate"].count("gone") for a, b in pairs)
    assert {b["attempt"] for _, b in pairs} <= {0, 1, 2}
    for a, b in pairs:
        assert (a["seed"] == b["seed"]) == (b["attempt"] == 0)


def test_refinement_needs_a_detector(world_model: Path, tmp_path: Path) -> None:
    for more in (("--refine", "drop"), ("--snap",)):
        with pytest.raises(ConfigError, match="give one with --detector"):
            ask(world_model, tmp_path / "out", "--detector", "none", *more)


# --- checked --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checked(world_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By a model of random weights, which draws nothing that was asked for; its head sees everything, so that hard
    objects stay."""
    out = tmp_path_factory.mktemp("checked") / "out"
    assert ask(world_model, out, "--strategy", "origin", "--check", "--yolo", "--captions", "--webdataset") == 0
    return out


def test_refused_images_are_in_no_annotation(checked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = json.loads((checked / "refused.json").read_text())["images"]
    assert refused and {one["reason"] for row in refused for one in row["reasons"]} == {"absent"}
    kept = set(range(COUNT)) - {row["id"] for row in refused}
    assert kept, "most things of these are hard"
    listed = json.loads((checked / "annotations.json").read_text())
    assert {row["id"] for row in listed["images"]} == kept
    assert {row["image_id"] for row in listed["annotations"]} <= kept
    assert len((checked / "captions.jsonl").read_text().splitlines()) == len(kept)
    assert (checked / "accepted.txt").read_text().count(".png") == len(kept) == len(list(checked.glob("labels/*/*")))
    assert "train: accepted.txt" in (checked / "data.yaml").read_text()
    card = json.loads((checked / "card.json").read_text())
    assert card["refused"] == {"absent": len(refused)} and card["pictures"] == len(kept)
    assert check(checked) == 0
    assert "10 whole" in capsys.readouterr().out, "their files are there, to be looked at"


def test_who_checks_stands_in_the_manifest(checked: Path, world_model: Path) -> None:
    settings = json.loads((checked / "manifest.json").read_text())
    assert len(settings["check"]["by"]) == 64 and settings["check"]["originals"] is None
    assert settings["refine"] == "redraw" and settings["snap"] is True
    assert settings["check"]["by"] != settings["detector"], "the model's held-out detector"
    with pytest.raises(ConfigError, match="was started with other settings"):
        begun(world_model, checked)


def test_words_of_the_check_belong_to_it(world_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="say how --check works"):
        begun(world_model, tmp_path / "out", "--check-by", "held-out")
    with pytest.raises(ConfigError, match="ask a detector what is there"):
        begun(world_model, tmp_path / "out", "--check", "--detector", "none")
    with pytest.raises(ConfigError, match="is not GLIGEN's: --gligen-beta is for its models"):
        begun(world_model, tmp_path / "out", "--gligen-beta", "0.5")
    with pytest.raises(DataError, match="no such folder"):
        begun(world_model, tmp_path / "out", "--check", "--originals", tmp_path / "absent")
    assert not (tmp_path / "out").exists()


def test_a_detector_may_guide(world_model: Path, tmp_path: Path) -> None:
    """Other images than without it; the manifest and every image name the strength, and the job goes on with it."""
    plain, led = tmp_path / "plain", tmp_path / "led"
    assert ask(world_model, plain, "--steps", 4, "--count", 2) == 0
    assert ask(world_model, led, "--steps", 4, "--count", 2, "--detector-guidance", 1) == 0
    assert json.loads((led / "manifest.json").read_text())["detector_guidance"] == 1
    assert "detector_guidance" not in json.loads((plain / "manifest.json").read_text())
    assert read_job(led).sampling.detector_guidance == 1
    rows = list(read_chunks(led).all_rows())
    assert all((kept := read_image(led / row["file"]).sampling) and kept.detector_guidance == 1 for row in rows)
    assert by_name(plain).keys() == by_name(led).keys() and by_name(plain) != by_name(led)
    with pytest.raises(ConfigError, match="--detector-guidance and --fix-boxes need a detector"):
        ask(world_model, tmp_path / "none", "--detector-guidance", 1, "--detector", "none")
