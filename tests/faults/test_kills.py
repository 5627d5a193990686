"""kill -9 at random instants, no space, and two at once: what is durable is there as a whole, or it is not there."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

from app.store.entries import Entry
from app.store.history import History
from app.store.layout_store import LayoutStore
from app.store.recovery import recover
from detdiffusion.attributes import Strategy
from detdiffusion.core.files import hold, read_json, write_json
from detdiffusion.errors import DataError
from detdiffusion.image_record import ImageRecord, read_image, save_image
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import SamplingConfig
from training.core.checkpoints import latest_checkpoint, save_checkpoint
from training.core.chunks import Chunks
from training.data.datasets import open_dataset
from training.data.index import Index
from training.generator.chunk import read_chunk, write_chunk

pytestmark = pytest.mark.slow
KILLS = 6  # of each writer
LIMITS = 4  # sizes of the disk, for each writer

Writer = Callable[[Path, Layout], Iterator[None]]  # writes on and on
Check = Callable[[Path, Layout], int]  # how many whole things are there; raises where one is not


@pytest.fixture(scope="session")
def forks() -> ModuleType:
    spec = spec_from_file_location("forks", Path(__file__).with_name("forks.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    data = folder / "data"
    (data / "images").mkdir(parents=True, exist_ok=True)
    image().save(data / "images/a.png")
    row = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 5, 20, 20], "area": 400, "iscrowd": 0}
    coco: dict[str, Any] = {"images": [{"id": 1, "file_name": "images/a.png", "width": 96, "height": 96}]}
    coco |= {"annotations": [row], "categories": [{"id": 1, "name": "bus"}]}
    for _number in range(1000):
        write_json(data / "annotations.json", coco)  # it is new, and read again
        open_dataset(data, index=folder / "index.sqlite")
        yield


def check_indexes(folder: Path, _: Layout) -> int:
    path = folder / "index.sqlite"
    if path.exists():
        assert [len(entries) for _number, entries in Index(path).walk()] == [1]
    return int(path.exists())


WRITERS: dict[str, tuple[Writer, Check]] = {
    "checkpoints": (checkpoints, check_checkpoints),
    "latents": (latents, check_latents),
    "chunks of images": (chunks, check_chunks),
    "images of the studio": (studio, check_studio),
    "layouts": (layouts, check_layouts),
    "indexes": (indexes, check_indexes),
}


def on_and_on(writer: Writer, folder: Path, layout: Layout, count: int = 1000) -> None:
    for _, _ in zip(range(count), writer(folder, layout), strict=False):
        pass


@pytest.mark.parametrize("name", WRITERS)
def test_a_kill_at_any_instant(
    name: str, tmp_path: Path, scene: dict[str, Any], forks: ModuleType, tally: Any, times: int, chance: random.Random
) -> None:
    writer, check = WRITERS[name]
    layout, folder, most = Layout.from_json(scene), tmp_path / "kept", 0
    folder.mkdir()
    on_and_on(writer, folder, layout, 1)
    for _ in range(KILLS * times):
        number = forks.child(partial(on_and_on, writer, folder, layout), tmp_path / "said")
        assert forks.kill_after(number, chance.uniform(0.01, 0.25)) == -9, (tmp_path / "said").read_text()
        most = max(most, check(folder, layout))
        tally(f"kill: {name}", "whole")
    assert most
    on_and_on(writer, folder, layout, 2)  # and it goes on
    check(folder, layout)


@pytest.mark.parametrize("name", WRITERS)
def test_no_space(
    name: str, tmp_path: Path, scene: dict[str, Any], forks: ModuleType, tally: Any, times: int, chance: random.Random
) -> None:
    """A file may not grow beyond some bytes: the error says so, and what is there stays whole."""
    writer, check = WRITERS[name]
    layout, folder = Layout.from_json(scene), tmp_path / "kept"
    folder.mkdir()
    on_and_on(writer, folder, layout, 3)
    for _ in range(LIMITS * times):
        before, largest = check(folder, layout), chance.choice((1, 100, 1000, 4000, 20_000))
        number = forks.child(partial(on_and_on, writer, folder, layout, 3), tmp_path / "said", largest)
        code = forks.ended(number)
        said = (tmp_path / "said").read_text()
        assert code in (forks.FINE, forks.OURS, forks.SYSTEM), said
        assert code == forks.FINE or "refused:" in said
        assert check(folder, layout) >= min(before, 1)
        tally(f"no space: {name}", "refused by name" if code else "went on")


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "checkpoints"])
def test_two_at_once(
    name: str, tmp_path: Path, scene: dict[str, Any], forks: ModuleType, tally: Any, times: int
) -> None:
    writer, check = WRITERS[name]
    layout, folder = Layout.from_json(scene), tmp_path / "kept"
    folder.mkdir()
    on_and_on(writer, folder, layout, 1)
    for _ in range(times):
        both = [
            forks.child(partial(on_and_on, writer, folder, layout, 6), tmp_path / f"said-{number}")
            for number in range(2)
        ]
        codes = [forks.ended(number) for number in both]
        assert codes == [forks.FINE] * 2, [(tmp_path / f"said-{number}").read_text() for number in range(2)]
        assert check(folder, layout)
        tally(f"two at once: {name}", "whole")


def test_what_one_alone_may_do(tmp_path: Path, forks: ModuleType) -> None:
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
    assert not (tmp_path / "status.holder").exists()
