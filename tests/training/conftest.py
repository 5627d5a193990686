"""A model that learns in milliseconds, samples on disk, and a Papercut data set for `python -m training train`."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_models import write_small_model
from tqdm import tqdm

from detdiffusion.attributes import AttributeRule
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.core.files import write_json
from detdiffusion.diffusion.manifest import write_manifest
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.diffusion.untrained import new_pipeline
from detdiffusion.layout import Attribute, Box, Layout
from detdiffusion.models.autoencoder import SmallAutoencoder
from detdiffusion.models.cause_classifier import CauseClassifier, CauseConfig
from detdiffusion.models.config import LossConfig
from detdiffusion.text.vocabulary import Vocabulary
from training.data.attributes import encode_row, make_header
from training.data.datasets import open_dataset
from training.data.papercut.classes import STUFF, THINGS
from training.data.papercut.coco_export import write_dataset
from training.generator.batch import SampleStore
from training.generator.config import GeneratorConfig

CPU = torch.device("cpu")
TINY = GeneratorConfig(
    unet={
        "sample_size": 8,
        "block_out_channels": (16, 16, 16, 16),
        "down_block_types": ("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "norm_num_groups": 2,  # of 8 channels: where one cell is left, a norm over fewer values amplifies rounding
    },
    text={"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    head={"width": 8},
    grid=(8, 8),
    size=(64, 64),
    steps=8,
    batch=4,
    micro_batch=4,
    warmup_steps=2,
    checkpoint_steps=3,
    precision="fp32",
    loss=LossConfig(perception_weight=0.1),
)
IMAGES = 10


def build_model(config: GeneratorConfig = TINY) -> DetDiffusionPipeline:
    assert config.unet is not None and config.text is not None
    return new_pipeline(
        Vocabulary(("car", "cat"), ("grass",), config.grid),
        dict(config.unet),
        dict(config.text),
        SmallAutoencoder((8, 8, 8), (1, 1, 1), 4),
        {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
        {},
        {"width": 8},
        seed=0,
    )


def write_world_model(folder: Path, words: Vocabulary | None = None) -> Path:
    """A tiny model of random weights that draws 64 pixels and knows the built-in world."""
    return write_small_model(folder, words or Vocabulary(things=THINGS, stuff=STUFF, grid=(8, 8)))


def write_samples(folder: Path, *, std: bool = False, flipped: bool = False, value: float | None = None) -> SampleStore:
    """Six samples in two chunks, of 1, 2 and 3 objects in turn; `value` fills the latents."""
    boxes = (
        Box("car", (0.1, 0.1, 0.6, 0.6), Attribute.EASY),
        Box("cat", (0.5, 0.5, 0.9, 1.0), Attribute.HARD),
        Box("grass", (0.0, 0.5, 1.0, 1.0), Attribute.BACKGROUND),
    )
    generator = torch.Generator().manual_seed(0)
    names = [name + more for name in ("latents", "flipped")[: 1 + flipped] for more in (("", "_std") if std else ("",))]
    for number, counts in enumerate(((1, 2, 3, 1), (2, 3))):
        layouts = [Layout(64, 64, boxes[:count]) for count in counts]
        tensors = {name: torch.randn(len(counts), 4, 8, 8, generator=generator).half().abs() for name in names}
        if value is not None:
            tensors["latents"].fill_(value)
        tensors["masks"] = torch.randint(0, 256, (sum(counts), 8, 8), generator=generator, dtype=torch.uint8)
        path = folder / f"chunk-{number:05d}.json"
        write_json(path, [layout.to_json() for layout in layouts])
        save_file(tensors, path.with_suffix(".safetensors"))
    return SampleStore.load(folder)


@dataclass(frozen=True)
class Papercut:
    """Ten small scenes, attributes for them, and a folder with a tiny autoencoder."""

    data: Path
    attributes: Path
    base: Path

    def words(self, out: Path, *more: object, preset: str = "papercut-cpu", attributes: bool = True) -> list[str]:
        """`python -m training` + these: a tiny training without a detector."""
        words: list[object] = ["train", "--preset", preset, "--data", self.data, "--base", self.base, "--out", out]
        words += ["--attributes", self.attributes] if attributes else []
        words += ["--detector", "none", "--set", *settings(preset), *more]
        return [str(word) for word in words]


def settings(preset: str) -> list[str]:
    """The preset, tiny."""
    headless = "geodiffusion" in preset or "no-perception" in preset
    values: dict[str, Any] = {
        "unet": TINY.unet,
        "text": TINY.text,
        "head": None if headless else {"width": 8},
        "blueprint": {"out_channels": 4},
        "size": [64, 64],
        "grid": [8, 8],
        "precision": "fp32",
        "steps": 8,
        "batch": 4,
        "micro_batch": 4,
        "warmup_steps": 2,
        "checkpoint_steps": 3,
        "sample_steps": 0,
        "sampler_steps": 1,
        "sample_layouts": 3,
    }
    return [f"{name}={value if name == 'precision' else json.dumps(value)}" for name, value in values.items()]


@pytest.fixture(scope="session")
def build_world_model() -> Callable[..., Path]:
    """build_world_model(folder, vocabulary): a tiny model of the built-in world."""
    return write_world_model


@pytest.fixture(scope="session")
def world_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with the bundled model's two detectors inside, and a classifier of causes that has learned nothing."""
    folder = write_world_model(tmp_path_factory.mktemp("world-model") / "tiny")
    shutil.copytree(BUNDLED_MODEL / "detectors", folder / "detectors")
    config = CauseConfig(THINGS, {"colour": "unusual colour", "blur": "blurred"}, side=8, widths=(4,), embedding=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CauseClassifier(config, config.network()).save(folder / "causes")
    write_manifest(folder)
    return folder


@pytest.fixture
def tiny() -> GeneratorConfig:
    return TINY


@pytest.fixture
def make_model() -> Callable[..., DetDiffusionPipeline]:
    return build_model


@pytest.fixture
def make_store() -> Callable[..., SampleStore]:
    return write_samples


@pytest.fixture
def store(tmp_path: Path) -> SampleStore:
    return write_samples(tmp_path / "store")


@pytest.fixture(scope="session")
def papercut(tmp_path_factory: pytest.TempPathFactory) -> Papercut:
    folder = tmp_path_factory.mktemp("papercut")
    write_dataset(folder / "data", range(IMAGES), size=64)
    dataset = open_dataset(folder / "data", index=folder / "index.sqlite")
    detector = type("Nobody", (), {"name": "nobody", "sha256": "0" * 64})()
    rows = [json.dumps(make_header(dataset, AttributeRule(), [detector])).encode() + b"\n"]
    for sample in dataset:
        count = len(sample.layout.boxes)
        rows.append(encode_row(sample.image_id, sample.layout.with_attributes((list(Attribute) * count)[:count])))
    (folder / "attributes.jsonl").write_bytes(b"".join(rows))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        SmallAutoencoder((8, 8, 8), (1, 1, 1), 4).save_pretrained(folder / "base" / "vae")
    return Papercut(folder / "data", folder / "attributes.jsonl", folder / "base")


def kill_when(work: Callable[[], object], seen: Callable[[], bool]) -> None:
    """Begins the work in a fork, which has everything loaded, and kills it (kill -9) as soon as something is seen."""
    number = os.fork()
    if not number:
        try:
            tqdm.set_lock(threading.RLock())  # its own is shared with the parent, which would wait for a killed child
            work()
        finally:
            os._exit(0)
    deadline = time.monotonic() + 120
    while not seen():
        ended, _ = os.waitpid(number, os.WNOHANG)
        assert not ended and time.monotonic() < deadline, "it ended, or nothing was seen"
        time.sleep(0.005)
    os.kill(number, signal.SIGKILL)
    os.waitpid(number, 0)


@pytest.fixture(scope="session")
def killed() -> Callable[[Callable[[], object], Callable[[], bool]], None]:
    """killed(work, seen): the work is begun, and killed as soon as something is seen."""
    return kill_when


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of commands: indexes of data sets go aside, and a CPU is a CPU on every machine."""
    aside = {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")), "CUDA_VISIBLE_DEVICES": ""}
    return {**os.environ, **aside, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def at_home(cache: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same for commands that run in this process: as many threads too, since sums depend on their number."""
    monkeypatch.setenv("XDG_CACHE_HOME", cache["XDG_CACHE_HOME"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    threads = torch.get_num_threads()
    torch.set_num_threads(int(cache["OMP_NUM_THREADS"]))
    yield
    torch.set_num_threads(threads)
