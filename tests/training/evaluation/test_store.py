"""Chunks of pictures: committed once, damage found and repaired, nothing of a killed run trusted."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detdiffusion.detection import Detections
from detdiffusion.errors import DataError
from detdiffusion.layout import Attribute, Box, Layout
from training.core.chunks import COMMIT, Chunks
from training.evaluation.store import Detected, SeenImages, image_file

COUNT, BATCH = 5, 2


def picture(number: int) -> Image.Image:
    return Image.fromarray(np.full((6, 4, 3), 40 * number, np.uint8))


def seen(number: int) -> Detections:
    """With scores and corners that have no short decimal form."""
    rng = np.random.default_rng(number)
    return Detections(("car",) * number, rng.random(number, np.float32), rng.random((number, 4), np.float32))


def layout(number: int) -> Layout:
    return Layout(4, 6, (Box("car", (0, 0, 1, 0.1 + number / 10), Attribute.HARD),))


class Job:
    """Fills the chunks of a folder and remembers which of them it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.chunks = SeenImages(Chunks(folder.parent, folder.name, COUNT, BATCH))
        self.asked = list[int]()
        self.told = list[tuple[int, bool]]()  # end of a chunk, whether it was made

    def look(self, chunk: range) -> Detected:
        self.asked.append(chunk.start)
        found = {"eyes": [seen(number) for number in chunk], "other": [seen(0) for _ in chunk]}
        return Detected([picture(number) for number in chunk], found, [layout(number) for number in chunk])

    def run(self) -> list[int]:
        self.asked, self.told = [], []
        self.chunks.fill(self.look, lambda path, image, _: image.save(path, format="PNG"), self.hear)
        return self.asked

    def hear(self, chunk: range, made: bool) -> None:
        self.told.append((chunk.stop, made))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    job = Job(tmp_path / "view")
    assert job.run() == [0, 2, 4]
    return job


def test_what_is_committed_comes_back(job: Job) -> None:
    chunks = job.chunks
    assert job.told == [(2, True), (4, True), (5, True)]
    assert [list(chunk) for chunk in chunks] == [[0, 1], [2, 3], [4]] and len(chunks) == 3
    for number, found in enumerate(chunks.detections("eyes")):
        assert found.labels == seen(number).labels
        assert np.array_equal(found.scores, seen(number).scores)
        assert np.array_equal(found.boxes_xyxy, seen(number).boxes_xyxy)
    assert [len(found) for found in chunks.detections("other")] == [0] * COUNT
    assert chunks.layouts() == [layout(number) for number in range(COUNT)]
    assert [np.asarray(image).max() for image in chunks.load(range(2, 4))] == [80, 120]
    assert sorted(path.name for path in chunks.folder.iterdir()) == [
        "00000",
        "00001",
        "00002",
    ]
    assert sorted(path.name for path in (chunks.folder / "00001").iterdir()) == ["000002.png", "000003.png", COMMIT]
    assert job.run() == [] and job.told == [(2, False), (4, False), (5, False)]


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip(path: Path) -> None:
    flipped = bytearray(path.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    path.write_bytes(bytes(flipped))


def change_score(path: Path) -> None:
    values = json.loads(path.read_text())
    values["pictures"][0]["detections"]["eyes"]["scores"][0] = 0.5
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("name", "harm", "reason"),
    [
        ("000003.png", Path.unlink, "000003.png is missing"),
        ("000002.png", tear, "000002.png is damaged"),
        ("000002.png", flip, "000002.png is damaged"),
        (COMMIT, Path.unlink, "00001/commit.json cannot be read"),
        (COMMIT, tear, "00001/commit.json is damaged"),
        (COMMIT, change_score, "00001/commit.json is damaged"),
        (COMMIT, lambda path: path.write_text("[]"), "00001/commit.json is damaged"),
    ],
)
def test_a_damaged_chunk_alone_is_done_again(
    job: Job, name: str, harm: object, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(job.chunks.folder)
    hash_before = job.chunks.images_hash()
    assert callable(harm)
    harm(job.chunks.folder / "00001" / name)
    assert job.run() == [2]
    assert reason in capsys.readouterr().err
    assert content(job.chunks.folder) == before
    assert job.chunks.images_hash() == hash_before


def test_pictures_without_their_commit_are_not_trusted(tmp_path: Path) -> None:
    """Whole pictures, and no commit."""
    folder = tmp_path / "view"
    (folder / "00000").mkdir(parents=True)
    picture(3).save(folder / "00000" / "000000.png")
    picture(3).save(folder / "00000" / "000001.png")
    job = Job(folder)
    assert job.run() == [0, 2, 4]
    assert np.asarray(job.chunks.load(range(1))[0]).max() == 0


def test_what_version_0_1_kept_is_made_again(tmp_path: Path) -> None:
    """It lay flat: committed pictures, and what a kill had left half written."""
    folder = tmp_path / "view"
    folder.mkdir()
    for name in ("00000.png", "00001.png"):
        picture(3).save(folder / name)
    (folder / "chunk-00000.json").write_text(json.dumps({"sha256": "0" * 64, "first": 0, "pictures": ["0" * 64] * 2}))
    (folder / "00002.png.partial").write_bytes(b"half")
    (folder / "distances.json").write_text("{}")
    job = Job(folder)
    assert job.run() == [0, 2, 4]
    assert np.asarray(job.chunks.load(range(1))[0]).max() == 0
    assert sorted(path.name for path in folder.iterdir()) == ["00000", "00001", "00002", "distances.json"]


def test_a_file_is_found_whatever_the_batch(job: Job, tmp_path: Path) -> None:
    assert image_file(tmp_path, "view", 3) == job.chunks.folder / "00001" / "000003.png"
    (tmp_path / "old").mkdir()
    picture(1).save(tmp_path / "old" / "00003.png")
    assert image_file(tmp_path, "old", 3) == tmp_path / "old" / "00003.png", "as version 0.1 kept it"


def test_full_disk_stops_and_keeps_what_is_committed(tmp_path: Path) -> None:
    job = Job(tmp_path / "view")

    def save(path: Path, image: Image.Image, number: int) -> None:
        if number == 3:
            raise OSError(28, "No space left on device")
        image.save(path, format="PNG")

    with pytest.raises(DataError, match=r"the disk is full.*free some space, the same command then goes on"):
        job.chunks.fill(job.look, save, lambda *_: None)
    assert job.run() == [2, 4]


def test_detections_alone(tmp_path: Path) -> None:
    """Pictures that are not worth keeping."""
    chunks, calls = SeenImages(Chunks(tmp_path, "view", 3, 2)), list[int]()

    def look(chunk: range) -> Detected:
        calls.append(chunk.start)
        return Detected(None, {"eyes": [seen(number) for number in chunk]})

    for _ in range(2):
        chunks.fill(look, lambda *_: pytest.fail("there is no image to save"), lambda *_: None)
    assert calls == [0, 2] and len(chunks.detections("eyes")) == 3


def test_lost_picture_is_named(job: Job) -> None:
    (job.chunks.folder / "00000" / "000001.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"000001\.png cannot be read .*run the same command again"):
        job.chunks.load(range(2))
