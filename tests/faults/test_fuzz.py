"""Every reader of files from people gets damaged and hostile ones: it reads them, or refuses with an error of ours."""

import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from app.runs.files import log_tail, read_object, read_rows
from app.runs.jobs import Job, Leader, Runs
from app.runs.processes import Table, living
from app.store.layout_store import LayoutStore
from detdiffusion.attributes import Strategy
from detdiffusion.core.files import sealed
from detdiffusion.core.yaml_files import load_yaml
from detdiffusion.detectors.folder import read_description
from detdiffusion.detectors.results_file import load_results
from detdiffusion.diffusion.manifest import read_vocabulary
from detdiffusion.errors import DetDiffusionError
from detdiffusion.image_record import ImageRecord, read_image, read_layout, save_image
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import SamplingConfig
from detdiffusion.text.vocabulary import Vocabulary
from training.core.checkpoints import MANIFEST, latest_checkpoint
from training.core.chunks import Chunks
from training.core.settings import read_settings
from training.core.status import STATUS, RunState, RunStatus, cut_rows
from training.data.attributes import read_file
from training.data.datasets import open_dataset
from training.data.filters import NO_FILTER
from training.data.forms.yolo_config import read_config, read_names
from training.data.images import read_image_file
from training.data.layout_sources import open_source
from training.generator.chunk import read_chunk
from training.loop import LoopConfig
from training.report.data import read_report
from training.synthesis.store import read_chunks

CASES, CASES_OF_DATA = 120, 12  # of each reader; of those that open a whole data set
LONGEST = 20_000  # characters of a message

Read = Callable[[Path], object]

EXTREMES: list[Any] = [
    None, True, False, 0, -1, 1, 2**63, 10**400, -(10**400), 1e308, -1e308, float("inf"), float("-inf"), float("nan"),
    0.1, "", "x", "x" * 5000, "\0", "../../x", "/etc/passwd", "~nosuchuser/x", "\ud800", [], {}, [[]], [None],
    {"": None}, [1, 2, 3, 4], ["a"] * 300, {"a": {"b": []}},
]  # fmt: skip


def mutated_bytes(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[place:]
            case 2:
                data[place:place] = chance.randbytes(chance.randrange(1, 9))
            case 3:
                del data[place : place + chance.randrange(1, 40)]
            case _:
                data[place:place] = data[: chance.randrange(1, 40)]
    return bytes(data)


def mutated_json(value: Any, chance: random.Random) -> Any:
    """Another value at one place of the tree, or a key gone, doubled or renamed."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        match chance.randrange(6):
            case 0:
                return {name: one for name, one in value.items() if name != key}
            case 1:
                return {**value, chance.choice(("", "x", key * 50)): value[key]}
            case _:
                return {**value, key: mutated_json(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        place = chance.randrange(len(value))
        if chance.randrange(5) == 0:
            return value[:place] if chance.random() < 0.5 else value * chance.randrange(2, 40)
        return [mutated_json(one, chance) if number == place else one for number, one in enumerate(value)]
    return chance.choice(EXTREMES)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def as_yaml(value: Any) -> bytes:
    return yaml.safe_dump(value, allow_unicode=False).encode()


class Reader:
    """A reader, the file it reads and what it is told beside. lines: of a .jsonl file."""

    def __init__(self, read: Read, name: str, content: Any, write: Callable[[Any], bytes] = as_json) -> None:
        self.read, self.name, self.content, self.write = read, name, content, write

    def case(self, chance: random.Random) -> bytes:
        whole = self.content if isinstance(self.content, bytes) else self.write(self.content)
        if isinstance(self.content, bytes) or chance.random() < 0.4:
            return mutated_bytes(whole, chance)
        value = self.content
        for _ in range(chance.choice((1, 1, 2, 4))):
            value = mutated_json(value, chance)
        try:
            return self.write(value)
        except (ValueError, yaml.YAMLError, RecursionError):  # no file of this kind can say so
            return mutated_bytes(whole, chance)


def in_lines(rows: list[Any]) -> bytes:
    return b"".join(as_json(row) + b"\n" for row in rows) if isinstance(rows, list) else as_json(rows)


def as_names(value: Any) -> bytes:
    return "\n".join(map(str, value)).encode("utf-8", "replace") if isinstance(value, list) else str(value).encode()


COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [4, 5, 20, 20], "area": 400, "iscrowd": 0,
                     "segmentation": [[4, 5, 24, 5, 24, 25]]}],
    "categories": [{"id": 3, "name": "bus"}],
}  # fmt: skip
VOC = b"""<annotation><filename>a.png</filename><size><width>64</width><height>48</height><depth>3</depth></size>
<object><name>bus</name><bndbox><xmin>4</xmin><ymin>5</ymin><xmax>24</xmax><ymax>25</ymax></bndbox></object></annotation>
"""
YOLO = {"names": ["bus", "car"], "train": "images", "val": "images", "kpt_shape": [2, 3], "nc": 2}
LOOP = {"data": "d", "out": "o", "pictures": {"hard": 9}, "annotate": "--detector x", "trainability": "--detector y",
        "fraction": 0.5, "split_by": 0.2, "compare": ["a"], "seed": 3}  # fmt: skip
COMMITTED = [{"id": number, "layout": {}} for number in range(4)]
GENERATION = {"format": "generation-1", "count": 8, "chunk": 4, "classes": {"things": ["bus"], "stuff": []}}


def dataset(folder: Path) -> object:
    """Where the file lies in a data set, every sample is asked for."""
    data = open_dataset(folder, index=folder.parent / "index.sqlite")
    return [(sample.layout, sample.load_image().size, list(sample.masks)) for sample in data]


def labels(folder: Path, place: str) -> Read:
    """The file is put in its place of a whole data set."""

    def read(path: Path) -> object:
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        return dataset(folder)

    return read


def with_image(folder: Path) -> Path:
    (folder / "images").mkdir(parents=True)
    Image.new("RGB", (64, 48), (90, 120, 60)).save(folder / "images" / "a.png")
    return folder


def placed(folder: Path, place: str, read: Callable[[Path], object]) -> Read:
    """The same of another folder's reader."""

    def asked(path: Path) -> object:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(path.read_bytes())
        return read(folder)

    return asked


def make_readers(tmp: Path, scene: dict[str, Any]) -> dict[str, Reader]:
    layout = Layout.from_json(scene)
    save_image(tmp / "drawn.png", Image.effect_noise((64, 48), 60).convert("RGB"), ImageRecord(
        layout, SamplingConfig(7, 20, 3.0), Strategy.HARD, "papercut", "a" * 64, "bundled"))  # fmt: skip
    yolo, voc, coco = (with_image(tmp / name) for name in ("yolo", "voc", "coco"))
    (yolo / "labels").mkdir()
    (yolo / "labels/a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (yolo / "data.yaml").write_text("names: [bus, car]\ntrain: images\n")
    for name in ("Annotations", "JPEGImages"):
        (voc / name).mkdir()
    (voc / "images/a.png").rename(voc / "JPEGImages/a.png")
    vocabulary = Vocabulary(things=("bus", "car"), stuff=("road",), grid=(8, 8))
    job = Job((("python", "-m", "x"),), {"a": "b"}, 1.0, False, process=Leader(99_999_999, "1"), status=(STATUS,))
    processes = living()
    jobs, runs, commit = Runs(tmp / "jobs"), Runs(tmp / "runs"), {"pictures": COMMITTED}
    status = RunStatus(RunState.RUNNING, "s", 1, 9, seconds_left=3.0).to_json()
    attributes = [
        {"format": "attributes-1", "data": {}, "detector": "x", "rule": {}},
        {"image_id": "1", "attributes": ["easy"]},
    ]
    results = [{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}]
    (tmp / "categories.json").write_text(json.dumps(COCO))
    return {
        "layout": Reader(lambda path: Layout.from_json(path.read_bytes()), "l.json", scene),
        "layout file": Reader(read_layout, "l.json", scene),
        "image of the studio": Reader(read_image, "a.png", (tmp / "drawn.png").read_bytes()),
        "image file": Reader(read_image_file, "a.png", (tmp / "drawn.png").read_bytes()),
        "saved layouts": Reader(lambda path: LayoutStore(path.parent).layouts(), "l.json", scene),
        "vocabulary": Reader(lambda path: Vocabulary.from_json(path.read_bytes()), "v.json", vocabulary.to_json()),
        "model's vocabulary": Reader(
            placed(tmp / "model", "vocabulary.json", read_vocabulary), "v.json", vocabulary.to_json()
        ),
        "settings, JSON": Reader(read_settings, "s.json", {"steps": 3, "loss": {"a": 0.1}, "size": [64, 64]}),
        "settings, YAML": Reader(read_settings, "s.yaml", {"steps": 3, "loss": {"a": 0.1}, "size": [64, 64]}, as_yaml),
        "loop": Reader(LoopConfig.read, "loop.yaml", LOOP, as_yaml),
        "YOLO's data.yaml": Reader(read_config, "data.yaml", YOLO, as_yaml),
        "list of classes": Reader(read_names, "classes.txt", ["bus", "car"], as_names),
        "YOLO data, labels": Reader(labels(yolo, "labels/a.txt"), "a.txt", b"0 0.5 0.5 0.2 0.2\n1 0.2 0.2 0.1 0.1\n"),
        "YOLO data, data.yaml": Reader(labels(yolo, "data.yaml"), "d.yaml", YOLO, as_yaml),
        "VOC data": Reader(labels(voc, "Annotations/a.xml"), "a.xml", VOC),
        "COCO data": Reader(labels(coco, "annotations.json"), "a.json", COCO),
        "layouts in lines": Reader(
            lambda path: [open_source(str(path), NO_FILTER).layout(0, (64, 64))], "l.jsonl", [scene, scene], in_lines
        ),
        "attributes": Reader(read_file, "a.jsonl", attributes, in_lines),
        "results of a detector": Reader(lambda path: load_results(path, tmp / "categories.json"), "r.json", results),
        "detector folder": Reader(
            placed(tmp / "detector", "detector.json", read_description),
            "d.json",
            {"kind": "torchvision", "labels": ["a"]},
        ),
        "status": Reader(lambda path: RunStatus.read(path), "status.json", status),
        "job": Reader(
            placed(jobs.folder("one"), "job.json", lambda _: jobs._status("one", processes)), "job.json", job.to_json()
        ),
        "status of a run": Reader(
            placed(runs.folder("two"), STATUS, lambda folder: _with_job(runs, folder, job, processes)),
            "status.json",
            status,
        ),
        "metrics": Reader(_rows, "metrics.jsonl", [{"step": n, "loss": 0.5} for n in range(9)], in_lines),
        "checkpoint": Reader(
            placed(tmp / "checkpoints", f"step-00000022/{MANIFEST}", lambda folder: latest_checkpoint(folder)),
            "m.json",
            sealed({"step": 22, "sha256": "0" * 64}),
        ),
        "latents' layouts": Reader(read_chunk, "chunk-00000.json", sealed({"layouts": [scene], "sha256": "0" * 64})),
        "committed chunk": Reader(
            placed(tmp / "chunks", "images/00000/commit.json", lambda folder: Chunks(folder, "images", 4, 4).faults(0)),
            "commit.json",
            commit,
        ),
        "generation": Reader(
            placed(tmp / "generation", "manifest.json", lambda folder: read_chunks(folder).missing()),
            "m.json",
            GENERATION,
        ),
        "report": Reader(read_report, "r.json", {"format": "trainability-2", "settings": {}, "rows": []}),
        "YAML": Reader(_yaml, "y.yaml", {"a": [1, "x", {"b": None}]}, as_yaml),
    }


def _with_job(runs: Runs, folder: Path, job: Job, processes: Table) -> object:
    (folder / "job.json").write_text(json.dumps(job.to_json()))
    return runs._status(folder.name, processes)


def _rows(path: Path) -> object:
    found = read_rows(path), log_tail(path), read_object(path)
    cut_rows(path, 5)
    return found


def _yaml(path: Path) -> object:
    try:
        return load_yaml(path.read_text(encoding="utf-8", errors="replace"))
    except ValueError:
        return None


NAMES = [
    "layout", "layout file", "image of the studio", "image file", "saved layouts", "vocabulary", "model's vocabulary",
    "settings, JSON", "settings, YAML", "loop", "YOLO's data.yaml", "list of classes", "YOLO data, labels",
    "YOLO data, data.yaml", "VOC data", "COCO data", "layouts in lines", "attributes", "results of a detector",
    "detector folder", "status", "job", "status of a run", "metrics", "checkpoint", "latents' layouts",
    "committed chunk", "generation", "report", "YAML",
]  # fmt: skip


@pytest.fixture(scope="session")
def readers(tmp_path_factory: pytest.TempPathFactory, scene: dict[str, Any]) -> dict[str, Reader]:
    made = make_readers(tmp_path_factory.mktemp("readers"), scene)
    assert list(made) == NAMES
    return made


OPENS_DATA = ("YOLO data, labels", "YOLO data, data.yaml", "VOC data", "COCO data")


@pytest.mark.parametrize("name", NAMES)
def test_every_reader_refuses_in_words_of_ours(
    name: str, tmp_path: Path, readers: dict[str, Reader], tally: Any, times: int, chance: random.Random
) -> None:
    reader, path = readers[name], tmp_path / readers[name].name
    path.write_bytes(reader.content if isinstance(reader.content, bytes) else reader.write(reader.content))
    warnings.simplefilter("ignore")
    for number in range(times * (CASES_OF_DATA if name in OPENS_DATA else CASES)):
        content = reader.case(chance)
        path.write_bytes(content)
        try:
            reader.read(path)
            outcome, said = "read", ""
        except DetDiffusionError as error:
            outcome, said = "refused", str(error)
        except Exception as error:
            case = f"case {number} of {name}: {type(error).__name__}: {str(error)[:300]}; {content[:1500]!r}"
            raise AssertionError(case) from error
        assert len(said) < LONGEST
        tally("fuzz", outcome)
