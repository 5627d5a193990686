"""`python -m training download` against servers on this machine: nothing without the licence, and only whole files."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from file_server import Files, file_server
from hub_server import hub_server
from PIL import Image

from detdiffusion.errors import DownloadError
from training.__main__ import main
from training.data.datasets import open_dataset
from training.data.download import command, web
from training.data.download.offers import OFFERS, Offer

DATA = bytes(range(256)) * 4096  # 1 MiB
NAMES = ["sd15", "coco-val", "coco-train", "yolov4", "geodiffusion-256", "geodiffusion-512"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    monkeypatch.setattr(web, "WAITS", (0.0, 0.0))
    with file_server() as files:
        yield files


def serve(monkeypatch: pytest.MonkeyPatch, server: Files, name: str, **changes: Any) -> None:
    """The files of an offer come from `server`, each by the end of its own address."""
    offer = OFFERS[name]
    files = tuple(replace(file, url=f"{server.address}/{file.name}", size=1000, **changes) for file in offer.files)
    monkeypatch.setattr(command, "OFFERS", {name: replace(offer, files=files, size=3000)})


def zipped(members: Mapping[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return memory.getvalue()


def coco(split: str) -> dict[str, bytes]:
    """The three archives of COCO, with one image and files that nobody asks for."""
    picture = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(picture, "JPEG")
    images = [{"id": 1, "file_name": "000000000001.jpg", "width": 64, "height": 48}]

    def annotations(category: int, name: str) -> bytes:
        box = {"id": 1, "image_id": 1, "category_id": category, "bbox": [4, 4, 40, 30], "area": 1200, "iscrowd": 0}
        outline = {**box, "segmentation": [[4, 4, 44, 4, 44, 34, 4, 34]]}
        categories = [{"id": category, "name": name, "supercategory": name}]
        return json.dumps({"images": images, "annotations": [outline], "categories": categories}).encode()

    return {
        "/annotations_trainval2017.zip": zipped(
            {f"annotations/instances_{split}.json": annotations(3, "car"), f"annotations/captions_{split}.json": b"{}"}
        ),
        "/stuff_annotations_trainval2017.zip": zipped(
            {f"annotations/stuff_{split}.json": annotations(149, "road"), "annotations/stuff_pixelmaps.zip": b"x"}
        ),
        f"/{split}.zip": zipped({f"{split}/000000000001.jpg": picture.getvalue(), f"{split}/readme.txt": b"x"}),
    }


def test_coco_is_fetched_once_and_is_a_data_set(
    monkeypatch: pytest.MonkeyPatch, server: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(monkeypatch, server, "coco-val")
    server.content = coco("val2017")
    words = ["download", "coco-val", "--accept-licence", "--out", str(tmp_path / "coco")]
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(tmp_path / "coco") and "CC BY 4.0" in said.err and "size     about" in said.err
    files = sorted(path.relative_to(tmp_path / "coco").as_posix() for path in (tmp_path / "coco").rglob("*.*"))
    assert files == [
        ".download.json",
        "annotations/instances_val2017.json",
        "annotations/stuff_val2017.json",
        "val2017/000000000001.jpg",
    ]
    dataset = open_dataset(tmp_path / "coco")
    assert (dataset.things, dataset.stuff, len(dataset)) == (("car",), ("road",), 1)
    assert len(server.asked) == 3
    assert main(words) == 0 and len(server.asked) == 3, "what is there is not fetched again"


@pytest.mark.parametrize(("answer", "code"), [("", 2), ("n\n", 2), ("\n", 2), ("y\n", 0), ("Yes\n", 0)])
def test_nothing_is_asked_for_before_the_licence_is_taken(
    monkeypatch: pytest.MonkeyPatch,
    server: Files,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    code: int,
) -> None:
    serve(monkeypatch, server, "yolov4", exact=False)
    server.content = {"/yolov4.weights": DATA}
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert main(["download", "yolov4", "--out", str(tmp_path / "y")]) == code
    said = capsys.readouterr().err
    assert "licence  that of its repository" in said and "Fetch it under this licence? [y/N]" in said
    if code:
        assert "the licence was not taken: nothing was fetched" in said
        assert server.asked == [] and not (tmp_path / "y").exists()
    else:
        assert (tmp_path / "y/yolov4.weights").read_bytes() == DATA


def test_a_dry_run_asks_nobody(
    monkeypatch: pytest.MonkeyPatch, server: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(monkeypatch, server, "yolov4")
    assert main(["download", "yolov4", "--out", str(tmp_path / "y"), "--dry-run"]) == 0
    assert server.asked == [] and not (tmp_path / "y").exists() and "nothing is missing" in capsys.readouterr().err
    assert main(["download", "yolov4", "--out", str(tmp_path / "y"), "--revision", "main"]) == 2
    assert "yolov4 is not on the hub" in capsys.readouterr().err


def quiet(done: int, total: int) -> None:
    assert done <= total


def test_a_broken_connection_is_gone_on_with(server: Files, tmp_path: Path) -> None:
    server.content, server.breaks = {"/a": DATA}, [300_000, 1, 400_000]
    web.fetch(f"{server.address}/a", tmp_path / "a", quiet, sha256=hashlib.sha256(DATA).hexdigest())
    assert (tmp_path / "a").read_bytes() == DATA and [path.name for path in tmp_path.iterdir()] == ["a"]
    assert server.ranges == ["", "bytes=300000-", "bytes=300001-", "bytes=700001-"]


def test_what_came_before_a_stop_is_not_fetched_again(server: Files, tmp_path: Path) -> None:
    server.content, server.breaks = {"/a": DATA}, [300_000, 0, 0]
    with pytest.raises(DownloadError, match=r"ended after 300,000 of 1,048,576 bytes; the same command goes on from"):
        web.fetch(f"{server.address}/a", tmp_path / "a", quiet)
    assert not (tmp_path / "a").exists()
    web.fetch(f"{server.address}/a", tmp_path / "a", quiet)
    assert (tmp_path / "a").read_bytes() == DATA and server.ranges[-1] == "bytes=300000-"


def test_a_file_that_changed_meanwhile_is_begun_anew(server: Files, tmp_path: Path) -> None:
    server.content, server.breaks = {"/a": DATA}, [300_000, 0, 0]
    with pytest.raises(DownloadError):
        web.fetch(f"{server.address}/a", tmp_path / "a", quiet)
    server.content["/a"] = DATA[::-1]
    web.fetch(f"{server.address}/a", tmp_path / "a", quiet)
    assert (tmp_path / "a").read_bytes() == DATA[::-1]


def test_another_part_than_was_asked_for_is_not_taken(server: Files, tmp_path: Path) -> None:
    server.content, server.breaks, server.shift = {"/a": DATA}, [300_000], 5
    web.fetch(f"{server.address}/a", tmp_path / "a", quiet)
    assert (tmp_path / "a").read_bytes() == DATA and server.ranges == ["", "bytes=300000-", ""]


def test_a_file_that_was_whole_before_its_name_was_given_is_not_fetched_again(server: Files, tmp_path: Path) -> None:
    server.content = {"/a": DATA}
    tag = f'"{hashlib.sha1(DATA).hexdigest()}"'
    (tmp_path / ".a.part").write_bytes(DATA)
    (tmp_path / ".a.part.json").write_text(json.dumps({"url": f"{server.address}/a", "version": tag}))
    web.fetch(f"{server.address}/a", tmp_path / "a", quiet)
    assert (tmp_path / "a").read_bytes() == DATA and server.ranges == [f"bytes={len(DATA)}-"]


def test_damage_is_seen_and_removed(
    monkeypatch: pytest.MonkeyPatch, server: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(monkeypatch, server, "yolov4", exact=False, sha256=hashlib.sha256(DATA).hexdigest())
    server.content = {"/yolov4.weights": DATA[:-1] + b"x"}
    words = ["download", "yolov4", "--accept-licence", "--out", str(tmp_path / "y")]
    assert main(words) == 2
    wrong, right = (hashlib.sha256(data).hexdigest() for data in (DATA[:-1] + b"x", DATA))
    assert f"came damaged: its SHA-256 is {wrong}, and its publisher says {right}" in capsys.readouterr().err
    assert list((tmp_path / "y").iterdir()) == []
    server.content = {"/yolov4.weights": DATA}
    assert main(words) == 0
    with pytest.raises(DownloadError, match="it has 1,048,576 bytes, and its publisher says 7"):
        web.fetch(f"{server.address}/yolov4.weights", tmp_path / "a", quiet, size=7)


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (b"no archive at all", "is damaged .*; it was removed"),
        (zipped({"val2017/1.jpg": DATA})[:2000] + zipped({"val2017/1.jpg": DATA})[2001:], "is damaged"),
        (zipped({"val2017/../../1.jpg": b"x"}), r"holds val2017/\.\./\.\./1\.jpg, which leads out of the folder"),
        (zipped({"val2014/1.jpg": b"x"}), "holds nothing of val2017"),
    ],
)
def test_archives_that_are_not_what_they_should_be(
    monkeypatch: pytest.MonkeyPatch,
    server: Files,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    archive: bytes,
    message: str,
) -> None:
    serve(monkeypatch, server, "coco-val")
    server.content = {**coco("val2017"), "/val2017.zip": archive}
    words = ["download", "coco-val", "--accept-licence", "--out", str(tmp_path / "in/coco")]
    assert main(words) == 2
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(capsys.readouterr().err)
    assert not (tmp_path / "in/coco/val2017.zip").exists() and not (tmp_path / "1.jpg").exists()
    server.content = coco("val2017")
    assert main(words) == 0 and server.asked[-1][0] == "/val2017.zip"


def test_what_a_server_does_not_give(server: Files, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"/none: the server answered 404 Not Found$"):
        web.fetch(f"{server.address}/none", tmp_path / "a", quiet)
    assert len(server.asked) == 1
    with pytest.raises(DownloadError, match=r"[Cc]onnection refused.*; the same command goes on"):
        web.fetch("http://127.0.0.1:9/a", tmp_path / "a", quiet)


def test_a_token_is_not_sent_on_to_another_server(server: Files, tmp_path: Path) -> None:
    server.content = {"/b": DATA}
    with file_server() as first:
        first.moved = {"/a": f"{server.address}/b"}
        web.fetch(f"{first.address}/a", tmp_path / "a", quiet, headers={"Authorization": "Bearer secret"})
    assert first.asked[0][2] == "Bearer secret" and server.asked[0][2] == ""
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_disk_that_is_too_small_is_named_first(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"this needs 1000000\.0 GB of disk"):
        command.check_room(Offer("", 10**15, "", ""), tmp_path)


@pytest.mark.slow
def test_a_repository_of_the_hub_is_checked_and_converts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, published: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    name, out = "geodiffusion-256", tmp_path / "geo"
    monkeypatch.setattr(web, "WAITS", ())
    source = published.write_geodiffusion(tmp_path / "source")
    (source / "unet/diffusion_pytorch_model.fp16.bin").write_bytes(b"of another variant")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    words = ["download", name, "--accept-licence", "--out", str(out)]
    with hub_server(monkeypatch) as hub:
        hub.put(OFFERS[name].repository, source)
        hub.needs_token = "hf_secret"
        files = hub.repositories[OFFERS[name].repository]["main"]
        good = files["unet/diffusion_pytorch_model.bin"]
        monkeypatch.setattr(command, "check_room", lambda *_: None)  # this machine need not have room for the real one
        hub.spoiled = {"vae/diffusion_pytorch_model.bin": files["vae/diffusion_pytorch_model.bin"][:-1] + b"x"}
        assert main(words) == 2
        hub.spoiled.clear()
        said = capsys.readouterr().err
        assert "vae/diffusion_pytorch_model.bin came damaged: its SHA-256 is" in said
        assert (out / "unet/diffusion_pytorch_model.bin").read_bytes() == good
        before = len(hub.asked)
        assert main(words) == 0 and len(hub.asked) - before < before, "what came whole is not fetched again"
        asked = len(hub.asked)
        assert main(words) == 0 and len(hub.asked) == asked + 1, "the commit is looked up"
    assert not (out / "unet/diffusion_pytorch_model.fp16.bin").exists()
    said += capsys.readouterr().err
    assert f"4 of {len(list(out.rglob('*.*'))) - 1} files have a published SHA-256" in said
    assert "hf_secret" not in said
    assert not [path for path in out.rglob("*") if path.is_file() and b"hf_secret" in path.read_bytes()]
    assert main(["convert", str(out), str(tmp_path / "model")]) == 0


def test_the_names_are_those_of_the_docs() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/CHECKPOINTS.md").read_text(encoding="utf-8")
    assert list(OFFERS) == NAMES
    assert all(f"| `{name}` |" in page for name in NAMES)
