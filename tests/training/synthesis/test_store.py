"""A job's folder: what is no job is said to be none, and what version 0.1 made is still one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detdiffusion.attributes import Strategy
from detdiffusion.core.settings import keep_settings
from detdiffusion.errors import ConfigError, DataError
from detdiffusion.sampling_config import SamplingConfig
from detdiffusion.text.vocabulary import Vocabulary
from training.data.layout_sources import PapercutLayouts
from training.synthesis.store import MANIFEST, Job, read_manifest

# As version 0.1 wrote it, but for the precision and the layouts' fingerprint, which depend on the machine and the code.
OLD: dict[str, Any] = {
    "format": "generation-1",
    "model": "1" * 64,
    "strategy": "hard",
    "count": 5,
    "seed": 2,
    "steps": 4,
    "guidance": 2.0,
    "difficulty": 0.5,
    "chunk": 64,
    "batch": 16,
    "augment": None,
    "add_missed": 0,
    "refine": None,
    "snap": False,
    "detector": None,
    "device": "cpu",
    "threads": 1,
    "classes": {"things": ["car"], "stuff": ["road"]},
}


def test_a_folder_without_a_job(tmp_path: Path) -> None:
    for text in (None, "[", "{}", '{"format": "other"}'):
        if text is not None:
            (tmp_path / MANIFEST).write_text(text)
        with pytest.raises(DataError, match="holds no job"):
            read_manifest(tmp_path)


def test_a_job_of_version_0_1_goes_on(tmp_path: Path) -> None:
    source = PapercutLayouts(3, 900_000)
    how = SamplingConfig(2, 4, 2.0, 0.5)
    job = Job(tmp_path, tmp_path / "m", source, Strategy.HARD, 5, how, None, device="cpu")
    vocabulary = Vocabulary(things=("car",), stuff=("road",))
    now = job.settings("1" * 64, None, vocabulary)
    layouts = {"spec": "papercut:3@900000", "fingerprint": source.fingerprint}
    assert now == {**OLD, "layouts": layouts, "precision": now["precision"]}
    (tmp_path / MANIFEST).write_text(json.dumps(now))
    keep_settings(tmp_path / MANIFEST, now)
    for other, fault in (
        (replace(how, attribute_guidance=1.0), "difficulty was 0.5, is 1.0"),
        (replace(how, guidance_scale=3.0), "guidance was 2.0, is 3.0"),
        (replace(how, sampler="euler"), "sampler was None, is 'euler'"),
    ):
        with pytest.raises(ConfigError, match=fault):
            keep_settings(tmp_path / MANIFEST, replace(job, sampling=other).settings("1" * 64, None, vocabulary))


def test_seeds_of_images_are_those_of_version_0_1(tmp_path: Path) -> None:
    """A job that goes on draws the rest as it would have drawn them."""
    job = Job(tmp_path, tmp_path, PapercutLayouts(3, 900_000), Strategy.HARD, 5, SamplingConfig(2), None)
    assert [job.image_seed(0), job.image_seed(1, 1)] == [149066633966087, 221339532624553]
