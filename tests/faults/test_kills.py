"""kill -9 at random instants, no space, folders that are read-only, and two at once: what is durable is there as a
whole, or it is not there."""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import forks
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from app.store.entries import Entry
from app.store.history import History
from app.store.layout_store import LayoutStore
from app.store.recovery import recover
from detdiffusion.attributes import Strategy
from detdiffusion.core.files import hold, read_json, sealed_file, write_json, write_sealed
from detdiffusion.detectors.folder import Description, read_description, read_weights, save_detector
from detdiffusion.errors import DataError, DetectorError
from detdiffusion.image_record import ImageRecord, read_image, save_image
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import SamplingConfig
from training.core.arrays import load_arrays, save_arrays
from training.core.checkpoints import latest_checkpoint, save_checkpoint
from training.core.chunks import Chunks
from training.data.datasets import open_dataset
from training.data.index import Index
from training.generator.chunk import read_chunk, write_chunk

pytestmark = pytest.mark.slow
KILLS = 4  # of each writer
LATEST = 0.12  # seconds after which a writer is killed
LIMITS = 4  # sizes of the disk, for each writer
ROUNDS = 6  # of each of two writers

Writer = Callable[[Path, Layout], Iterator[None]]  # writes on and on
Check = Callable[[Path, Layout], int]  # how many whole things are there; raises where one is not


def image() -> Image.Image:
    return Image.effect_noise((96, 96), 90).convert("RGB")


# --- writers, each with what has to be true of what it leaves -------------------------------------


def checkpoints(folder: Path, _: Layout) -> Iterator[None]:
    done = latest_checkpoint(folder)
    for step in range(1 if done is None else done[0] + 1, 1000):
        save_checkpoint(folder, step, {"x": torch.full((20_000,), float(step))})
        yield


def check_checkpoints(folder: Path, _: Layout) -> int:
    found = latest_checkpoint(folder)
    if found is None:
        return 0
    step, tensors = found
    assert set(tensors["x"].tolist()) == {float(step)}
    return step


def latents(folder: Path, layout: Layout) -> Iterator[None]:
    for number in range(1000):
        write_chunk(folder / f"chunk-{number % 3:05d}.json", [layout], {"latents": torch.full((9_000,), float(number))})
        yield


def check_latents(folder: Path, layout: Layout) -> int:
    """A chunk whose files are of two writes is refused, and made again."""
    whole = 0
    for path in folder.glob("chunk-*.json"):
        with suppress(DataError):
            assert read_chunk(path) == (layout,)
            whole += 1
    return whole


def chunks(folder: Path, layout: Layout) -> Iterator[None]:
    job = Chunks(folder, "images", 4000, 4)
    record = ImageRecord(layout, SamplingConfig(7))
    for chunk in job.missing():
        saves = [partial(save, record=record) for _ in range(4)]
        job.commit(chunk, saves, [{"layout": layout.to_json()}] * 4)
        yield


def save(path: Path, record: ImageRecord) -> None:
    save_image(path, image(), record, durable=False)


def check_chunks(folder: Path, _: Layout) -> int:
    job = Chunks(folder, "images", 4000, 4)
    job.sweep()
    found = list(job.home.iterdir()) if job.home.exists() else []
    assert all(path.name.isdigit() for path in found)
    assert [job.faults(int(path.name)) for path in found] == [[]] * len(found)
    return len(found)


def studio(folder: Path, layout: Layout) -> Iterator[None]:
    history = History(folder)
    history.pictures.mkdir(exist_ok=True)
    record = ImageRecord(layout, SamplingConfig(7), Strategy.HARD, "m", "a" * 64, "d")
    for number in range(1000):
        file = history.pictures / f"{time.time_ns()}-seed7.png"
        save_image(file, image(), record)
        made_by = ("m", "a" * 64, SamplingConfig(7), Strategy.HARD, "d", 0.5)
        history.record([Entry("run", number, file.name, time.time(), *made_by, layout, (0.9, None))])
        yield
        if number % 5 == 4:
            history.delete([entry.id for entry in history.find()[:2]])
            yield


def check_studio(folder: Path, layout: Layout) -> int:
    history = History(folder)
    recover(history)
    entries = history.find()
    there = {path.name for path in history.pictures.iterdir()}
    assert {entry.file for entry in entries} == there
    assert all(read_image(history.pictures / name).layout == layout for name in there)
    assert sum(history.files().values()) == len(list(history.trash.glob("*"))) if history.trash.exists() else True
    return len(entries)


def layouts(folder: Path, layout: Layout) -> Iterator[None]:
    store = LayoutStore(folder)
    for number in range(1000):
        store.save(f"street {number % 7}", layout)
        yield


def check_layouts(folder: Path, layout: Layout) -> int:
    found = LayoutStore(folder).layouts()
    assert set(found.values()) <= {layout}
    assert len(found) == len(list(folder.glob("[!.]*.json")))
    return len(found)


def indexes(folder: Path, _: Layout) -> Iterator[None]:
    """The data lie beside it, whole from the start; a new time of their file makes them new: they are read again."""
    data = folder.parent / "data"
    if not data.exists():
        (data / "images").mkdir(parents=True)
        image().save(data / "images/a.png")
        row = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 5, 20, 20], "area": 400, "iscrowd": 0}
        coco: dict[str, Any] = {"images": [{"id": 1, "file_name": "images/a.png", "width": 96, "height": 96}]}
        write_json(data / "annotations.json", coco | {"annotations": [row], "categories": [{"id": 1, "name": "bus"}]})
    for _number in range(1000):
        os.utime(data / "annotations.json")
        found = open_dataset(data, index=folder / "index.sqlite")
        assert [sample.layout.labels for sample in found] == [("bus",)]
        yield


def check_indexes(folder: Path, _: Layout) -> int:
    path = folder / "index.sqlite"
    if path.exists():
        assert sealed_file(path) and [len(entries) for _number, entries in Index(path).walk()] == [1]
    return int(path.exists())


def detectors(folder: Path, _: Layout) -> Iterator[None]:
    about = Description("mine", "yolo11n.yaml", ("bus",), 64, 0.5, "")
    for number in range(1000):
        model = nn.Linear(40, 40)
        nn.init.constant_(model.weight, number)
        save_detector(model, folder, about)
        yield


def check_detectors(folder: Path, _: Layout) -> int:
    """The description comes last: without one there is no detector."""
    with suppress(DetectorError):
        weights = read_weights(folder, read_description(folder))["weight"]
        assert len(set(weights.flatten().tolist())) == 1
        return 1
    return 0


def reports(folder: Path, _: Layout) -> Iterator[None]:
    for number in range(1000):
        write_sealed(folder / "report.json", {"rows": [number] * 2000})
        save_arrays(folder / "evidence.npz", {"scores": np.full(2000, number)})
        yield


def check_reports(folder: Path, _: Layout) -> int:
    rows = read_json(folder / "report.json", lambda values: values["rows"], DataError)
    assert len(set(rows)) == len(set(load_arrays(folder / "evidence.npz")["scores"].tolist())) == 1
    return 1


WRITERS: dict[str, tuple[Writer, Check]] = {
    "checkpoints": (checkpoints, check_checkpoints),
    "latents": (latents, check_latents),
    "chunks of images": (chunks, check_chunks),
    "images of the studio": (studio, check_studio),
    "layouts": (layouts, check_layouts),
    "indexes": (indexes, check_indexes),
    "detectors": (detectors, check_detectors),
    "reports": (reports, check_reports),
}
ALONE = ("checkpoints", "detectors")  # a run, and what trains a detector, hold their folder: the second is refused


def on_and_on(writer: Writer, folder: Path, layout: Layout, count: int = 1000) -> None:
    for _, _ in zip(range(count), writer(folder, layout), strict=False):
        pass


@pytest.fixture(params=WRITERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(name: str, tmp_path: Path, scene: dict[str, Any]) -> Path:
    """Something whole is in it."""
    kept = tmp_path / "kept"
    kept.mkdir()
    on_and_on(WRITERS[name][0], kept, Layout.from_json(scene), 3)
    return kept


def test_a_kill_at_any_instant(
    name: str, folder: Path, scene: dict[str, Any], tally: Any, times: int, chance: random.Random
) -> None:
    (writer, check), layout, said = WRITERS[name], Layout.from_json(scene), folder.with_name("said")
    for _ in range(KILLS * times):
        number = forks.child(partial(on_and_on, writer, folder, layout), said)
        assert forks.kill_after(number, chance.uniform(0.01, LATEST)) == -9, said.read_text()
        check(folder, layout)
        tally(f"kill: {name}", "whole")
    on_and_on(writer, folder, layout, 2)  # and it goes on
    assert check(folder, layout)


def test_no_space(
    name: str, folder: Path, scene: dict[str, Any], tally: Any, times: int, chance: random.Random
) -> None:
    """A file may not grow beyond some bytes: the error says so, and what is there stays whole."""
    (writer, check), layout, said = WRITERS[name], Layout.from_json(scene), folder.with_name("said")
    for _ in range(LIMITS * times):
        before, largest = check(folder, layout), chance.choice((1, 100, 1000, 4000, 20_000))
        code = forks.ended(forks.child(partial(on_and_on, writer, folder, layout, 3), said, largest))
        assert code in (forks.FINE, forks.OURS, forks.SYSTEM), said.read_text()
        assert code == forks.FINE or "refused:" in said.read_text()
        assert check(folder, layout) >= min(before, 1) or name == "detectors"
        tally(f"no space: {name}", "refused by name" if code else "went on")


@pytest.fixture
def sealed_off(folder: Path) -> Iterator[Path]:
    """Nothing in it may be changed, by those whom permissions stop."""
    parts = [folder, *folder.rglob("*")]
    for part in parts:
        part.chmod(0o555 if part.is_dir() else 0o444)
    yield folder
    for part in parts:
        part.chmod(0o755 if part.is_dir() else 0o644)


def test_a_folder_that_is_read_only(name: str, sealed_off: Path, scene: dict[str, Any], tally: Any, times: int) -> None:
    """The error says so, and every byte stays."""
    (writer, _), layout, said = WRITERS[name], Layout.from_json(scene), sealed_off.with_name("said")
    before = {path: path.read_bytes() for path in sealed_off.rglob("*") if path.is_file()}
    for _ in range(times):
        code = forks.ended(forks.child(partial(on_and_on, writer, sealed_off, layout, 3), said, mighty=False))
        assert code in (forks.OURS, forks.SYSTEM) and "refused:" in said.read_text(), said.read_text()
        assert {path: path.read_bytes() for path in sealed_off.rglob("*") if path.is_file()} == before
        tally(f"read-only: {name}", "refused by name")


@pytest.mark.parametrize("name", [name for name in WRITERS if name not in ALONE])
def test_two_at_once(name: str, folder: Path, scene: dict[str, Any], tally: Any, times: int) -> None:
    (writer, check), layout = WRITERS[name], Layout.from_json(scene)
    said = [folder.with_name(f"said-{number}") for number in range(2)]
    for _ in range(times):
        both = [forks.child(partial(on_and_on, writer, folder, layout, ROUNDS), path) for path in said]
        codes = [forks.ended(number) for number in both]
        assert codes == [forks.FINE] * 2, [path.read_text() for path in said]
        assert check(folder, layout)
        assert not list(folder.rglob("*.lock")), "who has done with a folder leaves no lock in it"
        tally(f"two at once: {name}", "whole")


def test_what_one_alone_may_do(tmp_path: Path) -> None:
    """The second says who holds it; a kill lets go of it."""
    lock, ready = tmp_path / "status.lock", tmp_path / "ready"

    def stay() -> None:
        with hold(lock, DataError, "the run"):
            write_json(ready, True)
            time.sleep(60)

    first = forks.child(stay, tmp_path / "said")
    while not ready.exists():
        time.sleep(0.01)
    taken = pytest.raises(DataError, match=f"the run is in use by process {first} on .*: wait until")
    with taken, hold(lock, DataError, "the run"):
        pass
    forks.kill_after(first, 0)
    with hold(lock, DataError, "the run"):
        assert read_json(tmp_path / "status.holder", lambda by: by["process"], DataError) != first
    assert not list(tmp_path.glob("status.*")), "nothing stays among a person's files"
