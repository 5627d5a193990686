"""What `generate` is asked for: kept as it is, read again, also as version 0.1 wrote it."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detdiffusion.attributes import Strategy
from detdiffusion.core.files import write_json
from detdiffusion.errors import CheckpointError, DataError
from detdiffusion.sampling_config import DEFAULT_GUIDANCE, SamplingConfig, SamplingRequest
from training.data.filters import NO_FILTER, LayoutFilter
from training.data.request import Reading, SplitBy
from training.synthesis import command
from training.synthesis.augment import Augmentation
from training.synthesis.request import ORDER, Request, read_job
from training.synthesis.store import sampling_from_json, sampling_to_json

# As version 0.1 wrote it: every argument of the command, paths resolved.
OLD: dict[str, Any] = {
    "model": "/models/m",
    "layouts": "papercut:3@900000",
    "strategy": "hard",
    "count": 5,
    "seed": 2,
    "workers": 2,
    "steps": 4,
    "chunk": 8,
    "engine": "local",
    "out": "/data/made",
    "detector": "none",
    "difficulty": 0.5,
    "guidance": 2.0,
    "batch": 2,
    "threads": 1,
    "augment": "around",
    "add_missed": 1,
    "attributes": None,
    "split": None,
    "refine": None,
    "snap": False,
    "yolo": True,
    "captions": False,
    "webdataset": False,
    "device": "cpu",
    "min_area": 0.01,
    "min_objects": 1,
    "max_objects": 9,
    "crowds": False,
    "ignore": ["other"],
}
ASKED = Request(
    out=Path("/data/made"),
    model=Path("/models/m"),
    layouts="papercut:3@900000",
    strategy=Strategy.HARD,
    count=5,
    seed=2,
    sampling=SamplingRequest(4, 2.0, 0.5),
    bounds=LayoutFilter(0.01, 1, 9, False, ("other",)),
    detector="none",
    chunk=8,
    batch=2,
    augment=Augmentation.AROUND,
    add_missed=1,
    device="cpu",
)


def test_a_request_is_read_as_it_was_kept() -> None:
    kept = json.loads(json.dumps(ASKED.to_json()))
    assert Request.from_json(kept) == ASKED
    read = replace(ASKED, reading=Reading(Path("/data/images"), SplitBy(0.8, 3), strict=True))
    assert Request.from_json(json.loads(json.dumps(read.to_json()))) == read
    assert kept["bounds"]["max_objects"] == 9 and "workers" not in kept
    assert (kept["seed"], kept["steps"], kept["guidance"], kept["difficulty"]) == (2, 4, 2.0, 0.5), "names of 0.1"


@pytest.mark.parametrize("sampler", ["", "euler"])
def test_how_a_job_draws_is_kept_by_the_names_of_version_0_1(sampler: str) -> None:
    how = SamplingRequest(4, 2.0, 0.5, sampler)
    kept = sampling_to_json(how)
    assert kept == {"steps": 4, "guidance": 2.0, "difficulty": 0.5} | ({"sampler": sampler} if sampler else {})
    assert sampling_from_json(json.loads(json.dumps(kept))) == how


def test_a_request_of_version_0_1_still_counts() -> None:
    assert Request.from_json(OLD) == ASKED


def test_paths_mean_the_same_in_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("layouts.jsonl", "d.pt"):
        Path(name).touch()
    asked = Request(Path("out"), Path("m"), "layouts.jsonl", Strategy.EASY, 1, detector="d.pt", attributes=Path("a"))
    kept = asked.to_json()
    assert [kept[name] for name in ("out", "model", "layouts", "detector", "attributes")] == [
        str(tmp_path / name) for name in ("out", "m", "layouts.jsonl", "d.pt", "a")
    ]


@pytest.mark.parametrize("flag", ["--attribute-guidance", "--difficulty"])
def test_the_arguments_become_a_request(flag: str) -> None:
    words = "--model m --layouts papercut:3@900000 --strategy easy --count 1 --out o --min-area 0.1 --seed 3"
    words += f" --steps 5 --guidance 2 {flag} -1.5 --sampler ddpm"
    assert asked(words) == Request(
        Path("o"),
        Path("m"),
        "papercut:3@900000",
        Strategy.EASY,
        1,
        3,
        SamplingRequest(5, 2.0, -1.5, "ddpm"),
        bounds=LayoutFilter(0.1, 1, NO_FILTER.max_objects, True, ()),
    )


def asked(words: str) -> Request:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.request_of(parser.parse_args(words.split()))


def test_what_is_not_asked_for_is_settled_where_the_job_begins(tmp_path: Path) -> None:
    request = asked(f"--model {tmp_path} --layouts papercut:3@900000 --strategy easy --count 1 --out o --seed 3")
    assert request.sampling == SamplingRequest()
    with pytest.raises(CheckpointError):
        request.job()
    write_json(tmp_path / "model_index.json", {"sampling": {"steps": 2, "fewest_steps": 2, "most_steps": 4}})
    assert request.job().sampling == SamplingConfig(3, 2, DEFAULT_GUIDANCE)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", json.dumps({**OLD, "strategy": "odd"}), json.dumps({**OLD, "steps": 0})]
)
def test_a_folder_without_a_job(tmp_path: Path, text: str) -> None:
    (tmp_path / ORDER).write_text(text)
    with pytest.raises(DataError, match="holds no job of `python -m training generate`"):
        read_job(tmp_path)
