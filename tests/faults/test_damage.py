"""One changed byte, or a cut, in every stored file in turn: what is read is what was written, or it is refused by name,
or made again. It is never something else."""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from app.runs.jobs import Job, Leader, Runs
from app.store.entries import Entry
from app.store.history import History
from app.store.layout_store import LayoutStore
from app.store.recovery import recover
from detdiffusion.attributes import AttributeRule, Strategy
from detdiffusion.core.files import read_json, sealed_file, write_sealed
from detdiffusion.core.settings import keep_settings
from detdiffusion.detectors.folder import Description, read_description, read_weights, save_detector
from detdiffusion.diffusion.manifest import INDEX, verify, write_manifest
from detdiffusion.errors import DetDiffusionError
from detdiffusion.image_record import ImageRecord, read_image, save_image
from detdiffusion.layout import Attribute, Layout
from detdiffusion.models.cause_classifier import CauseClassifier, CauseConfig
from detdiffusion.sampling_config import SamplingConfig
from training.autoencoder.command import image_stack
from training.core.arrays import load_arrays, save_arrays
from training.core.checkpoints import latest_checkpoint, save_checkpoint
from training.core.chunks import Chunks
from training.data.attributes import encode_row, make_header, read_attributes, read_file, write_header
from training.data.datasets import Dataset, open_dataset
from training.generator.batch import SampleStore
from training.generator.chunk import write_chunk
from training.synthesis.exports import export
from training.synthesis.store import MANIFEST, read_chunks
from training.synthesis.verify import look_at

pytestmark = pytest.mark.slow
DAMAGES = 3  # of each file
UNREAD = ("README.md", ".lock", ".sqlite3-shm", ".sqlite3-wal")  # ends of names: for people, or of nothing but a moment

AGAIN = "made again"  # what `read` returns where it found the damage and what is there is as good


class Kind:
    """Something that is stored. read: what a user of it gets, as it can be compared; AGAIN where it was mended."""

    def __init__(self, write: Callable[[Path, Layout], None], read: Callable[[Path, Layout], object]) -> None:
        self.write, self.read = write, read


def image() -> Image.Image:
    return Image.effect_noise((96, 96), 90).convert("RGB")


def write_checkpoints(folder: Path, _: Layout) -> None:
    for step in (11, 22):
        save_checkpoint(folder, step, {"x": torch.full((50,), float(step))})


def read_checkpoints(folder: Path, _: Layout) -> object:
    step, tensors = latest_checkpoint(folder) or (0, {"x": torch.zeros(50)})
    assert set(tensors["x"].tolist()) == {float(step)}
    return (
        22 if step == 22 else AGAIN
    )  # a resume from an earlier one, named on standard error, ends in the same weights


def write_latents(folder: Path, layout: Layout) -> None:
    tensors = {"latents": torch.rand(1, 4, 8, 8), "masks": torch.zeros(2, 8, 8, dtype=torch.uint8)}
    write_chunk(folder / "chunk-00000.json", [layout], tensors)


def read_latents(folder: Path, _: Layout) -> object:
    store = SampleStore.load(folder)
    return store.layouts, store.latents(0).mean.tolist(), store.masks(0).tolist()


def write_generation(folder: Path, layout: Layout) -> None:
    classes = {"things": ["bus", "car"], "stuff": []}
    settings = {"format": "generation-1", "count": 4, "chunk": 2, "classes": classes, "strategy": "hard", "seed": 7}
    settings |= {"model": "a" * 64, "steps": 20, "guidance": 3.0, "difficulty": 0.0, "layouts": {"spec": "x"}}
    settings |= {"detector": "b" * 64, "refine": None, "snap": False, "augment": None, "add_missed": 0, "batch": 2}
    keep_settings(folder / MANIFEST, settings)
    chunks = read_chunks(folder)
    for chunk in range(2):
        record = ImageRecord(layout, SamplingConfig(7))
        row: dict[str, Any] = {
            "seed": 1,
            "source": 0,
            "layout": layout.to_json(),
            "true": ["easy", "hard"],
            "confidence": [0.9, 0.2],
        }
        rows = [row, {**row, "refused": [{"reason": "copy"}]}] if chunk else [row, row]
        chunks.commit(chunk, [partial(_save, record=record)] * 2, rows)
    export(folder, yolo=True, captions=True, webdataset=True)


def _save(path: Path, record: ImageRecord) -> None:
    save_image(path, image(), record, durable=False)


def read_generation(folder: Path, _: Layout) -> object:
    found = look_at(read_chunks(folder), lambda *_: None)
    assert found.lines() == [] or found.line()
    if found.lines():
        raise DetDiffusionError(found.lines()[0])
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_settings(folder: Path, _: Layout) -> None:
    keep_settings(folder / "config.json", {"steps": 300, "loss": {"weight": 0.1}, "name": "a"})


def read_settings(folder: Path, layout: Layout) -> object:
    write_settings(folder, layout)
    return read_json(folder / "config.json", lambda values: values, DetDiffusionError)


def write_layouts(folder: Path, layout: Layout) -> None:
    LayoutStore(folder).save("street", layout)


def read_layouts(folder: Path, _: Layout) -> object:
    found = LayoutStore(folder).layouts()
    if not found:
        raise DetDiffusionError("left out, and named in the log")
    return found


def write_run(folder: Path, _: Layout) -> None:
    words = ("python", "-m", "training", "train", "--set", "steps=300", "learning_rate=0.001")
    job = Job((words,), {"data": "d"}, 1.0, False, process=Leader(99_999_999, "1"), counts=0)
    Runs(folder)._write("one", job)
    write_sealed(folder / "one" / "chain.json", {"finished": 1})


def read_run(folder: Path, _: Layout) -> object:
    done = read_json(folder / "one" / "chain.json", lambda values: values["finished"], DetDiffusionError)
    return Runs(folder)._job("one"), done


def write_report(folder: Path, _: Layout) -> None:
    write_sealed(folder / "report.json", {"format": 1, "rows": [{"AP50": 0.512, "seeds": [1, 2]}]})


def read_report(folder: Path, _: Layout) -> object:
    return read_json(folder / "report.json", lambda values: (values["format"], values["rows"]), DetDiffusionError)


def write_model(folder: Path, _: Layout) -> None:
    (folder / "unet").mkdir()
    (folder / INDEX).write_text('{"unet": ["diffusers", "UNet2DConditionModel"]}')
    (folder / "unet/config.json").write_text('{"sample_size": 8}')
    (folder / "unet/weights.safetensors").write_bytes(bytes(range(256)))
    write_manifest(folder)


def read_model(folder: Path, _: Layout) -> object:
    verify(folder)
    return {
        path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"
    }


def data_beside(folder: Path, index: str = "../index.sqlite") -> Dataset:
    """A data set beside a folder; index: where it is, seen from the folder."""
    data = folder.parent / "data"
    if not data.exists():
        (data / "images").mkdir(parents=True)
        for name in "ab":
            image().save(data / f"images/{name}.png")
        (data / "data.yaml").write_text("names: [bus, car]\ntrain: images\n")
        (data / "labels").mkdir()
        for name in "ab":
            (data / f"labels/{name}.txt").write_text("0 0.5 0.5 0.2 0.2\n1 0.25 0.25 0.125 0.125\n")
    return open_dataset(data, index=folder / index)


def write_index(folder: Path, _: Layout) -> None:
    data_beside(folder, "index.sqlite")


def read_index(folder: Path, _: Layout) -> object:
    whole = sealed_file(folder / "index.sqlite")
    data = data_beside(folder, "index.sqlite")
    assert (data.things, [sample.image_id for sample in data]) == (("bus", "car"), ["images/a", "images/b"])
    assert len({sample.layout for sample in data}) == 1
    return [sample.layout for sample in data] if whole else AGAIN


def write_attributes(folder: Path, _: Layout) -> None:
    data = data_beside(folder)
    somebody = type("Somebody", (), {"name": "somebody", "sha256": "5" * 64})()
    path = folder / "attributes.jsonl"
    write_header(path, make_header(data, AttributeRule(), [somebody]))
    tags = (Attribute.EASY, Attribute.HARD)
    rows = [encode_row(sample.image_id, sample.layout.with_attributes(tags)) for sample in data]
    path.write_bytes(path.read_bytes() + b"".join(rows))


def read_tags(folder: Path, _: Layout) -> object:
    path = folder / "attributes.jsonl"
    return read_attributes(path, data_beside(folder)), read_file(path).header


def write_detector(folder: Path, _: Layout) -> None:
    save_detector(nn.Linear(8, 8), folder, Description("mine", "yolo11n.yaml", ("bus",), 64, 0.5, ""))


def read_detector(folder: Path, _: Layout) -> object:
    about = read_description(folder)
    return about, {name: tensor.tolist() for name, tensor in read_weights(folder, about).items()}


def write_causes(folder: Path, _: Layout) -> None:
    about = CauseConfig(("bus",), {"fog": "fog"}, {"fog": 0.5}, side=16, widths=(4, 4), embedding=4)
    CauseClassifier(about, about.network()).save(folder)


def read_causes(folder: Path, _: Layout) -> object:
    found = CauseClassifier.load(folder)
    return found.config, {name: tensor.tolist() for name, tensor in found.network.state_dict().items()}


def write_arrays(folder: Path, _: Layout) -> None:
    save_arrays(folder / "evidence.npz", {"ids": np.array(["a", "b"]), "scores": np.arange(9.0)})


def read_arrays(folder: Path, _: Layout) -> object:
    return {name: array.tolist() for name, array in load_arrays(folder / "evidence.npz").items()}


def write_stack(folder: Path, _: Layout) -> None:
    data_beside(folder)
    read_stack(folder, _)


def read_stack(folder: Path, _: Layout) -> object:
    """Pixels that are read for the autoencoder, as they are in the files of the data."""
    whole, files = sealed_file(folder / "images.npy"), [folder.parent / f"data/images/{name}.png" for name in "ab"]
    stack = image_stack(files, 96, folder / "images.npy")
    assert all((one == np.asarray(Image.open(file))).all() for one, file in zip(stack, files, strict=True))
    return "the images" if whole else AGAIN


def write_studio(folder: Path, layout: Layout) -> None:
    history = History(folder)
    history.pictures.mkdir()
    for number in range(3):
        name = f"{number}-seed{number}.png"
        save_image(history.pictures / name, image(), ImageRecord(layout, SamplingConfig(number), model="m"))
        made_by = ("m", "a" * 64, SamplingConfig(number), Strategy.HARD, "d", 0.5)
        history.record([Entry("run", number, name, 100.0 + number, *made_by, layout, (0.9, None))])


def read_studio(folder: Path, layout: Layout) -> object:
    """Of every image that is shown: what was kept, or (where its row was lost) what its own file says of it. What is
    not shown any more was named in the log."""
    history = History(folder)
    recover(history)
    found = history.find()
    for entry in found:
        read_image(history.pictures / entry.file)
        assert (entry.layout, entry.sampling, entry.starred) == (layout, SamplingConfig(int(entry.file[0])), False)
    if len(found) < 3:
        raise DetDiffusionError("left out, and named in the log")
    kept = [(entry.file, entry.confidences, entry.made_at, entry.drop) for entry in found]
    return AGAIN if any(entry.confidences == (None, None) for entry in found) else kept


KINDS = {
    "checkpoints": Kind(write_checkpoints, read_checkpoints),
    "latents": Kind(write_latents, read_latents),
    "generated data": Kind(write_generation, read_generation),
    "settings of a run": Kind(write_settings, read_settings),
    "layouts": Kind(write_layouts, read_layouts),
    "runs of the studio": Kind(write_run, read_run),
    "reports": Kind(write_report, read_report),
    "model folders": Kind(write_model, read_model),
    "indexes": Kind(write_index, read_index),
    "attributes": Kind(write_attributes, read_tags),
    "detector folders": Kind(write_detector, read_detector),
    "classifiers of causes": Kind(write_causes, read_causes),
    "arrays of runs": Kind(write_arrays, read_arrays),
    "cached images": Kind(write_stack, read_stack),
    "history": Kind(write_studio, read_studio),
}


def damaged(content: bytes, chance: random.Random) -> bytes:
    if not content or chance.random() < 0.15:
        return content[: chance.randrange(max(1, len(content)))] or b"x"
    data, place = bytearray(content), chance.randrange(len(content))
    data[place] ^= 1 << chance.randrange(8)
    return bytes(data)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def restore(folder: Path, whole: dict[Path, bytes]) -> None:
    """As it was written; only what differs is touched."""
    there = contents(folder)
    for path in there.keys() - whole.keys():
        (folder / path).unlink()
    for path, content in whole.items():
        if there.get(path) != content:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)


@pytest.mark.parametrize("name", KINDS)
def test_every_stored_file_in_turn(
    name: str, tmp_path: Path, scene: dict[str, Any], tally: Any, times: int, chance: random.Random
) -> None:
    kind, layout, folder = KINDS[name], Layout.from_json(scene), tmp_path / "kept"
    folder.mkdir()
    kind.write(folder, layout)
    whole = contents(folder)
    right = kind.read(folder, layout)
    files = [path for path in whole if not path.name.endswith(UNREAD) and "claims" not in path.parts]
    assert files and right != AGAIN
    for file in files * (DAMAGES * times):
        content = damaged(whole[file], chance)
        if content == whole[file]:
            continue
        restore(folder, whole)
        (folder / file).write_bytes(content)
        try:
            found = kind.read(folder, layout)
        except DetDiffusionError:
            tally(f"damage: {name}", "refused by name")
            continue
        tally(f"damage: {name}", "made again" if found == AGAIN else "as it was")
        assert found in (right, AGAIN), f"{file}: another result"


def test_an_exported_file_that_is_gone_is_named(tmp_path: Path, scene: dict[str, Any]) -> None:
    """A label file that is missing would make its image one of nothing."""
    write_generation(tmp_path, Layout.from_json(scene))
    assert look_at(read_chunks(tmp_path), lambda *_: None).lines() == []
    for name in ("labels/00000/000001.txt", "accepted.txt", "shards/00000.tar"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        (fault,) = look_at(read_chunks(tmp_path), lambda *_: None).lines()
        assert f"{name} is missing: run generate again" in fault
        (tmp_path / name).write_bytes(content)


def test_every_kind_of_commit_is_looked_at(tmp_path: Path, scene: dict[str, Any]) -> None:
    """A chunk whose commit lists other images, or whose image is another one, is drawn again."""
    layout = Layout.from_json(scene)
    write_generation(tmp_path, layout)
    chunks = Chunks(tmp_path, "images", 4, 2)
    first, second = (tmp_path / chunks.file(number) for number in (0, 1))
    first.write_bytes(second.read_bytes()[:-1])
    assert "damaged" in str(chunks.repair(0)) and chunks.missing() == [0]
