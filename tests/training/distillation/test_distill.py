"""`python -m training distill`, whole: a student of a model of one's own, and of one of the built-in world."""

import json
import shutil
import signal
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import warm
from diffusers import DDIMScheduler
from safetensors.torch import load_file

from app.engine.studio import open_studio
from detdiffusion.core.parts import shared_parts
from detdiffusion.diffusion.checkpoint import save_pipeline
from detdiffusion.diffusion.examples import read_examples
from detdiffusion.diffusion.manifest import Teacher, read_teacher, weights_hash
from detdiffusion.diffusion.pipeline import load_pipeline
from detdiffusion.diffusion.stable_diffusion import pipeline_from_stable_diffusion
from detdiffusion.errors import ConfigError
from detdiffusion.sampling_config import Recommended
from detdiffusion.text.vocabulary import Vocabulary
from training.__main__ import main
from training.data.datasets import open_dataset
from training.distillation import lora
from training.distillation.config import Method
from training.generator.start import start_from

QUICK = [
    "paths=4",
    "training.batch=2",
    "training.micro_batch=2",
    "training.warmup_steps=1",
    "training.learning_rate=1e-3",
]
ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 120.0  # seconds; a test machine may be busy


@pytest.fixture(scope="session")
def taught(papercut: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, trained for one step."""
    run = tmp_path_factory.mktemp("taught")
    assert main(papercut.words(run, "steps=1")) == 0
    return run / "model"


def words(teacher: Path, out: Path, papercut: Any | None, *more: str) -> list[str]:
    data = [] if papercut is None else ["--data", papercut.data, "--attributes", papercut.attributes]
    given = ["distill", "--model", teacher, "--out", out, *data, "--device", "cpu", "--set", *QUICK, *more]
    return [str(word) for word in given]


def student_weights(run: Path) -> dict[str, torch.Tensor]:
    return {k: v for path in (run / "model/unet").glob("*.safetensors") for k, v in load_file(path).items()}


@pytest.mark.slow
@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("method", Method)
def test_a_student_of_ones_own_model(taught: Path, papercut: Any, tmp_path: Path, method: Method) -> None:
    run = tmp_path / "run"
    asked = ["training.steps=3", "steps=3", "substeps=4", "guidance_scale=1.5", f"method={method}"]
    assert main(words(taught, run, papercut, *asked)) == 0
    assert (run / "paths").exists() == (method == Method.PATHS)
    teacher, student = load_pipeline(taught), load_pipeline(run / "model")
    assert isinstance(student.scheduler, DDIMScheduler) and student.vocabulary == teacher.vocabulary
    assert student.recommended == Recommended(3, 1.0, fewest_steps=3, most_steps=3)
    theirs, its = (read_examples(folder, teacher.vocabulary).layouts for folder in (taught, run / "model"))
    assert its == theirs and "Street" in its, "the examples are the teacher's, as its own are of the bundled model"
    assert main(words(run / "model", tmp_path / "again", papercut)) == 2, "of a student there is none"
    with pytest.raises(ConfigError, match="is a student of few steps"):
        start_from(teacher, run / "model")
    for name in ("text_encoder", "blueprint", "perception_head", "vae"):
        pairs = zip(getattr(student, name).parameters(), getattr(teacher, name).parameters(), strict=True)
        assert all(torch.equal(ours, theirs) for ours, theirs in pairs), f"{name} is the teacher's"
    pairs = zip(student.unet.parameters(), teacher.unet.parameters(), strict=True)
    assert not all(torch.equal(ours, theirs) for ours, theirs in pairs), "the U-Net has learned"
    assert read_teacher(run / "model") == Teacher("model", weights_hash(taught))
    installed = taught.with_name(f"fast-{method}")
    beside = ["assemble", "--model", run / "model", "--teacher", taught, "--out", installed]
    assert main([str(word) for word in beside]) == 0
    assert {"vae", "text_encoder", "tokenizer", "blueprint"} <= shared_parts(installed).keys()
    assert torch.equal(load_pipeline(installed).unet.conv_in.weight, student.unet.conv_in.weight)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3] and all(row["total"] > 0 for row in rows)
    assert json.loads((run / "status.json").read_text())["state"] == "finished"


@pytest.mark.slow
@pytest.mark.usefixtures("at_home")
def test_a_student_goes_on_from_an_earlier_one(
    taught: Path, papercut: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(words(taught, first, papercut, "training.steps=2")) == 0
    goes_on = ["training.steps=1", "training.learning_rate=1e-9", f"training.start={first / 'model'}"]
    assert main(words(taught, second, papercut, *goes_on)) == 0
    ours, theirs = student_weights(second), student_weights(first)
    assert all(torch.allclose(ours[key], theirs[key], rtol=0, atol=1e-6) for key in theirs)
    assert not torch.equal(ours["conv_in.weight"], load_pipeline(taught).unet.conv_in.weight)
    for start, asked in ((taught, "steps=2"), (first / "model", "steps=3")):
        capsys.readouterr()
        assert main(words(taught, tmp_path / "third", papercut, asked, f"training.start={start}")) == 2
        assert "give an earlier student of the same model and steps" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("at_home")
def test_what_does_not_fit_is_refused(
    taught: Path, papercut: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*given: object) -> str:
        assert main([str(word) for word in given]) == 2
        return capsys.readouterr().err

    run = tmp_path / "run"
    without_tags = ["distill", "--model", taught, "--out", run, "--data", papercut.data, "--device", "cpu"]
    assert "give --attributes FILE.jsonl" in refused(*without_tags)
    assert "method is 'magic'; there are paths, consistency" in refused(*words(taught, run, papercut, "method=magic"))
    assert "guidance_scale is -1.0" in refused(*words(taught, run, papercut, "guidance_scale=-1"))
    assert "0 paths, an adversary of 0.05" in refused(*words(taught, run, papercut, "paths=0"))
    assert "do not fit a schedule of 1000" in refused(*words(taught, run, papercut, "steps=60", "substeps=60"))
    assert not run.exists(), "bad input leaves no trace"
    assert main(words(taught, run, papercut, "training.steps=1")) == 0
    assert "substeps was 8, is 5" in refused(*words(taught, run, papercut, "training.steps=1", "substeps=5"))


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.usefixtures("at_home")
def test_a_killed_distillation_goes_on_to_the_bit(
    taught: Path, papercut: Any, tmp_path: Path, cache: dict[str, str]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    asked = ["training.steps=8", "training.checkpoint_steps=2", "training.precision=fp32"]

    assert main(words(taught, whole, papercut, *asked)) == 0
    process = warm.training(words(taught, killed, papercut, *asked), tmp_path / "said", cache)
    deadline = time.monotonic() + PATIENCE
    while not list((killed / "checkpoints").glob("*")) and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, (tmp_path / "said").read_text()
    assert main(words(taught, killed, papercut, *asked)) == 0
    ours, theirs = student_weights(killed), student_weights(whole)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    shutil.rmtree(whole)


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.usefixtures("at_home")
@pytest.mark.long
def test_two_processes_teach_what_one_does(
    taught: Path, papercut: Any, tmp_path: Path, cache: dict[str, str], free_port: int
) -> None:
    """The first one alone writes and speaks. tests/training/core starts such processes by torchrun."""
    asked = ["training.steps=3", "training.precision=fp32"]
    assert main(words(taught, tmp_path / "one", papercut, *asked)) == 0
    said = tmp_path / "said"
    two = warm.ranks(
        main, words(taught, tmp_path / "two", papercut, *asked), port=free_port, said=said, environment=cache
    )
    for rank in two:
        rank.join(3 * PATIENCE)
    first, second = ((said / f"rank-{rank}").read_text() for rank in (0, 1))
    assert [rank.exitcode for rank in two] == [0, 0], first + second
    assert first.splitlines()[-1] == str(tmp_path / "two" / "model") and "model" not in second
    assert first.count("checking the model") == 1
    logs = [(tmp_path / run / "metrics.jsonl").read_text().splitlines() for run in ("one", "two")]
    rows = [[json.loads(line) for line in log] for log in logs]
    assert [row["step"] for row in rows[1]] == [1, 2, 3]
    for one, two in zip(*rows, strict=True):
        for name in ("total", "denoise", "gradient_norm", "learning_rate"):
            assert two[name] == pytest.approx(one[name], rel=1e-4, abs=1e-6), (one["step"], name)
    start, alone, together = (
        torch.cat([weights.flatten() for weights in load_pipeline(folder).unet.parameters()])
        for folder in (taught, tmp_path / "one" / "model", tmp_path / "two" / "model")
    )
    assert (together - alone).norm() < 0.02 * (alone - start).norm(), "Adam makes more of what is rounded otherwise"


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.usefixtures("at_home")
def test_the_built_in_world_needs_no_data(world_model: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    scenes = ["samples.scenes=3", "samples.chunk=2"]
    assert main(words(world_model, run, None, "training.steps=1", *scenes)) == 0
    assert len(list((run / "samples").glob("chunk-*.json"))) == 2
    pipe = load_pipeline(run / "model")
    assert pipe.vocabulary == load_pipeline(world_model).vocabulary


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.long), 2])
def test_a_student_of_the_form_of_stable_diffusion(
    papercut: Any, tmp_path: Path, published: ModuleType, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With LoRA weights: a small file beside the whole student, in the form that diffusers reads."""
    published.write_stable_diffusion(tmp_path / "sd", safety=False)
    classes = open_dataset(papercut.data)
    vocabulary = Vocabulary(classes.things, classes.stuff, (8, 8))
    teacher = pipeline_from_stable_diffusion(
        tmp_path / "sd", vocabulary, blueprint_config=None, head_config=None, seed=0
    )
    save_pipeline(teacher, tmp_path / "teacher", dtype=torch.float32)
    run = tmp_path / "run"
    asked = words(tmp_path / "teacher", run, papercut, "training.steps=2", "training.precision=fp32")
    assert main([*asked, *(["--lora-rank", str(rank)] if rank else [])]) == 0
    student, plain = load_pipeline(run / "model"), load_pipeline(tmp_path / "teacher")
    assert student.unet.state_dict().keys() == plain.unet.state_dict().keys()
    assert any(
        not torch.equal(one, other)
        for one, other in zip(student.unet.parameters(), plain.unet.parameters(), strict=True)
    )
    assert open_studio(run / "model", tmp_path / "workspace").model.recommended.steps == 2
    if not rank:
        return
    small = run / "lora/pytorch_lora_weights.safetensors"
    assert small.stat().st_size < 0.7 * sum(path.stat().st_size for path in (run / "model/unet").glob("*.safetensors"))
    state = {name.removeprefix("unet."): tensor.float() for name, tensor in load_file(small).items()}
    plain.unet.load_lora_adapter(state, prefix=None)
    plain.unet.fuse_lora()
    plain.unet.unload_lora()
    for one, other in zip(student.unet.parameters(), plain.unet.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-3)  # half precision
    monkeypatch.setattr(lora, "find_spec", lambda _: None)
    assert main([*asked, "--lora-rank", "2"]) == 2, "where the library is missing"
