"""Every form of docs/DATA_FOLDERS.md goes the whole way as it is: a detector, attributes, and a loop of two updates."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from data_trees import TREES, Tree

from training.__main__ import main
from training.loop import perform as closed_loop
from training.loop.stages import LoopConfig, stages
from training.synthesis import workers

DETECTOR = "fasterrcnn_resnet18_fpn"
TINY = f"--arch {DETECTOR} --epochs 1 --image-size 64 --batch 1 --held-out 1 --set proposals=8"
TABLE = f"--detector {DETECTOR} --updates 2 --seeds 0 --batch 1 --image-size 64"


@pytest.fixture(autouse=True)
def in_this_process(at_home: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages of a loop and workers of a job work here: processes of their own would import torch for seconds."""
    monkeypatch.setattr(closed_loop, "_run", lambda command: main(command[len(closed_loop.COMMAND) :]))
    monkeypatch.setattr(workers, "run_local", lambda job, _: workers.work(job))


@pytest.fixture(scope="module")
def looped() -> set[frozenset[tuple[str, bytes]]]:
    """What a loop has learned from here: files by path."""
    return set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name if name.endswith(" 1") else pytest.param(name, marks=pytest.mark.long) for name in TREES]
)
def test_a_form_goes_the_whole_way(name: str, looped: set[Any], tmp_path: Path, papercut: Any) -> None:
    """A loop copies its data first and then sees the copy alone: where that is the same to the byte as an earlier
    form's, the loop has been run."""
    tree, root = TREES[name], tmp_path / "data"
    data, reading = tree.request(tree.build(root))
    before = state(root)
    words = ["--data", str(data), *(("--images", str(reading.images)) if reading.images else ())]
    detector, attributes = str(tmp_path / "detector"), tmp_path / "attributes.jsonl"
    assert main(["detector", *words, "--out", detector, *shlex.split(TINY)]) == 0
    assert main(["annotate", *words, "--out", str(attributes), "--detector", detector]) == 0
    assert len(attributes.read_text().splitlines()) == 3, "the header, and two images"
    config = {"data": str(data), **({} if reading.images is None else {"images": str(reading.images)})}
    config |= smallest(tree, detector, papercut)
    if looped:
        config["trainability"] += " --most 1"  # all rows of the table are trained once
    (tmp_path / "loop.yaml").write_text(yaml.safe_dump(config))
    loop, run = ["loop", "--config", str(tmp_path / "loop.yaml")], tmp_path / "run"
    assert main([*loop, "--dry-run"]) == 0
    assert not run.exists()
    copying = stages(LoopConfig.read(tmp_path / "loop.yaml"))[:2]
    assert closed_loop.perform(copying, run) == 0
    copied = frozenset((str(path.relative_to(run)), path.read_bytes()) for path in run.glob("data/*/*"))
    assert len(copied) == 2 + len([path for path in tree.files if path.endswith(".jpg")])
    if copied not in looped:
        assert main(loop) == 0
        assert (run / "report" / "report.html").is_file()
        looped.add(copied)
        assert len(looped) <= 3, "with three images, with two, and without the classes that are in no object"
    assert state(root) == before, "data are only read"


def smallest(tree: Tree, detector: str, papercut: Any) -> dict[str, Any]:
    """The smallest loop: two updates of a tiny generator, one image, two updates of a detector."""
    tiny = papercut.words("run")
    settings = shlex.join([*tiny[tiny.index("--set") :], "steps=2", "checkpoint_steps=2"])
    return {
        "out": "run",
        "base": str(papercut.base),
        "pictures": {"hard": 1},
        "annotate": f"--detector {detector}",
        "train": f"--detector none {settings}",
        "generate": "--steps 1 --detector none",
        "trainability": TABLE,
        **tree.split_by,
    }


def state(folder: Path) -> dict[Path, tuple[int, int]]:
    """What lies there, with sizes and times."""
    return {path: ((about := path.stat()).st_size, about.st_mtime_ns) for path in folder.rglob("*")}
