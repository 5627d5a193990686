"""What every verb checks before it works: what is wrong is said at once, and by a dry run as by the run."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from data_trees import TREES
from safetensors.torch import save_file

from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.core.files import write_json
from detdiffusion.detectors.architectures import SMALL
from training.__main__ import VERBS, main
from training.data.papercut.coco_export import write_dataset

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "torchvision", "diffusers", "transformers", "accelerate", "ultralytics", "gradio")
SIGN_OF_LIFE = 3.0  # seconds

HAS_DRY_RUN = {*VERBS} - {"verify"}  # which writes nothing anyway
TESTED_ELSEWHERE = {"plan"}  # it reads what diagnose has made: tests/training/diagnosis
BAD_WORDS = (  # what is wrong -> what is said
    ("annotate --data absent --detector bundled --out a.jsonl", "absent: no such folder"),
    ("annotate --data here --detector absent --out a.jsonl", "no detector at"),
    ("annotate --data here --detector bundled --out a.jsonl", "no data set in a known form"),
    ("annotate --data here --detector bundled --out a.jsonl --min-score 2", "min_score"),
    ("annotate --data here --detector nothing.yaml --folds 3 --out a.jsonl", "is no built-in architecture"),
    ("autoencoder --data absent --out r", "absent: no such folder"),
    ("autoencoder --data here --out r", "no images"),
    ("autoencoder --data here --detector absent --out r", "no detector at"),
    ("autoencoder --data here --device nonsense --out r", "--device nonsense"),
    ("bundle --preset cpu --out file", "file is a file, and a folder is needed"),
    ("bundle --preset cpu --device nonsense --out r", "--device nonsense"),
    ("bundle --preset cpu --examples absent.json --out r", "absent.json: no such file"),
    ("bundle --preset cpu --examples list.json --out r", "list.json: "),
    ("assemble --model absent --detector here --out r", "absent"),
    ("assemble --model absent --teacher here --out r", "absent"),
    ("assemble --model here --out r", "one of the arguments --detector --teacher is required"),
    ("causes --autoencoder absent --out r", "absent: no such"),
    ("convert absent to", "absent"),
    ("detector --arch yolo11n --data absent --out r", "absent: no such folder"),
    ("detector --arch yolo0n --data here --out r", "is no built-in architecture"),
    ("detector --arch yolo11n --data here --out r", "no data set in a known form"),
    ("detector --arch fasterrcnn_resnet18_fpn --data here --image-size 8 --out r", "image_size 8"),
    ("detector --data here --out r", "give --arch"),
    ("diagnose --data absent --detector bundled --out r", "absent: no such folder"),
    ("diagnose --data here --detector absent --out r", "no detector at"),
    ("diagnose --data here --detector bundled --out r", "no data set in a known form"),
    ("diagnose --data data --detector bundled --min-score 2 --out r", "needs to be from 0 to 1"),
    ("diagnose --data here --out r", "give --data and --detector, or --compare"),
    ("diagnose --compare here absent --out r", "here holds no diagnosis.json"),
    ("distill --model absent --out r", "absent is no model folder"),
    ("distill --model here --steps 0 --out r", "not a number of steps"),
    ("distill --model here --set stesp=3 --out r", "did you mean steps"),
    ("evaluate --model absent --layouts papercut:1@0 --out r.json", "absent is no model folder"),
    ("evaluate --model absent --layouts papercut:1 --out r.json", "papercut:1"),
    ("generate --model absent --layouts papercut:1@0 --strategy hard --count 1 --out r", "absent is no model folder"),
    ("generate --model here --layouts papercut:1@0 --strategy odd --count 1 --out r", "odd"),
    ("layouts --instances absent.json --out a.jsonl", "absent.json: no such file"),
    ("layouts --instances list.json --out a.jsonl", "not the JSON that is needed"),
    ("layouts --data here --out a.jsonl", "no data set in a known form"),
    ("layouts --data data --out a.jsonl --min-objects 90", "no image is left"),
    ("layouts --data data --instances list.json --out a.jsonl", "not allowed with"),
    ("loop --config absent.yaml", "absent.yaml"),
    ("pilots --samples absent --pilots file --minutes 1 --out r", "file"),
    ("plan --diagnosis absent --count 1 --out a.jsonl", "absent holds no diagnosis.json"),
    ("plan --diagnosis here --count 0 --out a.jsonl", "not a positive number"),
    ("plan --diagnosis here --count 1 --out a.json", "needs to end with .jsonl"),
    ("report absent.json --out r", "absent.json"),
    ("subset --data absent --out r", "absent: no such folder"),
    ("train --preset papercut-cpu --data absent --out r", "absent: no such folder"),
    ("train --preset papercut-cpu --data here --out r", "--attributes"),
    ("train --preset papercut-cpu --data here --attributes absent.jsonl --out r", "absent.jsonl: no such file"),
    ("train --preset papercut-cpu-no-attributes --data here --out r", "no data set in a known form"),
    ("train --preset fine-tune --base absent --data here --out r", "absent"),
    ("train --data here --out r", "give --preset"),
    ("train --preset papercut-cpu --data here --set bach=3 --out r", "did you mean batch"),
    ("trainability --data absent --synthetic here --detector yolo11n --out r", "absent: no such folder"),
    ("trainability --data here --synthetic here --detector yolo0n --out r", "is no built-in architecture"),
    ("trainability --data here --synthetic here --detector yolo11n --out r", "no data set in a known form"),
    ("verify absent", "absent"),
    ("verify made", "annotations.json is missing"),
    ("verify", "DIR"),
    ("annotate --data data --detector bundled --out a.jsonl --device cuda", "no CUDA device here"),
    ("annotate --data data --detector junk.pt --out a.jsonl", "not a checkpoint of torch"),
    ("annotate --data data --detector file --out a.jsonl", "nothing is known of such a file"),
    ("annotate --data data --detector here --out a.jsonl", "detector.json is missing"),
    ("annotate --data data --detector yolo11n=file --out a.jsonl", "is no architecture of torchvision"),
    ("annotate --data data --split nope --detector bundled --out a.jsonl", "no split 'nope'"),
    ("annotate --data data --split-by 2 --detector bundled --out a.jsonl", "above 0 and below 1"),
    ("annotate --data cats --split-by 0.5 --detector bundled --out a.jsonl", "has splits already"),
    ("annotate --data data --images here --detector bundled --out a.jsonl", "goes with a COCO file"),
    ("annotate --data list.json --detector bundled --out a.jsonl", "not a COCO file"),
    ("annotate --data data --detector bundled --out a.jsonl --folds 1", "2 or more"),
    ("annotate --data data --detector bundled --out rows.jsonl", "is not a file of attributes"),
    ("autoencoder --data data --out r --held-out 50", "nothing is left to train on"),
    ("autoencoder --data data --out old", "was started with other settings"),
    ("autoencoder --data data --out r --weights here", "has no autoencoder"),
    ("autoencoder --data data --out r --detector junk.pt", "not a checkpoint of torch"),
    ("bundle --preset cpu --out r --set nope=1", "there is no such field"),
    ("bundle --preset cpu --out r --set held_out.start=absent", "absent: no such"),
    ("bundle --preset cpu --out old", "was started with other settings"),
    ("causes --out r --autoencoder here", "has no autoencoder"),
    ("causes --out old", "was started with other settings"),
    ("convert here to", "holds no model_index.json"),
    ("convert here here", "is there already"),
    ("detector --arch yolo11n --data data --out r --held-out 50", "nothing is left to learn from"),
    ("detector --arch yolo11n --data data --out r --set mosaik=3", "did you mean mosaic"),
    ("detector --arch fasterrcnn_resnet18_fpn --data data --out r --set nope=3", "there is no such field"),
    ("detector --data data --arch yolo11n --weights junk.pt --out r", "not a checkpoint of torch"),
    ("detector --data data --arch yolo11n --config list.json --out r", "needs fields and their values"),
    ("detector --data cats --arch yolo11n --split nope --out r", "no split 'nope'"),
    ("distill --model {model} --out r --data data", "give --attributes"),
    ("distill --model {model} --out r --data data --attributes rows.jsonl", "is not a file of attributes"),
    ("distill --model {model} --out old", "was started with other settings"),
    ("evaluate --model {model} --layouts here --out r.json", "no data set in a known form"),
    ("evaluate --model {model} --layouts cats --out r.json", "does not know these classes"),
    ("evaluate --model {model} --layouts papercut:1@0 --split x --out r.json", "--split x belongs to a data set"),
    ("evaluate --model {model} --layouts papercut:1@0 --detector junk.pt --out r.json", "not a checkpoint of torch"),
    ("evaluate --model {model} --layouts papercut:1@0 --baselines here --out r.json", "is no model folder"),
    ("evaluate --model {model} --layouts papercut:1@0 --scene-fid --out r.json", "--inception"),
    ("evaluate --model {model} --layouts papercut:1@0 --one-hard --strategies hard --out r.json", "add easy"),
    ("evaluate --model {model} --layouts papercut:1@0 --sampler heun --out r.json", "heun"),
    ("generate --model {model} --layouts cats --strategy hard --count 1 --out r", "unknown class 'dog'"),
    (
        "generate --model {model} --layouts papercut:1@0 --strategy origin --count 1 --out r --detector none",
        "needs true attributes",
    ),
    (
        "generate --model {model} --layouts papercut:1@0 --strategy hard --count 1 --out r --detector none --snap",
        "ask a detector what is there",
    ),
    (
        "generate --model {model} --layouts papercut:1@0 --strategy hard --count 1 --out r --add-missed 1",
        "--add-missed needs attributes",
    ),
    ("loop --config loop.yaml", "not a checkpoint of torch"),
    ("pilots --samples here --pilots pilots.json --minutes 1 --out r", "here/attributes: no such folder"),
    ("ablation --preset small --out r --device cuda", "no CUDA device here"),
    ("ablation --preset small --out old", "was started with other settings"),
    ("report list.json --out r", "has format None"),
    ("subset --data data --count 99 --out r", "99 were asked for"),
    ("subset --data data --out old", "is there already"),
    ("train --preset papercut-cpu --data data --attributes rows.jsonl --out r", "is not a file of attributes"),
    ("train --preset papercut-cpu-no-attributes --data data --base here --out r", "has no autoencoder"),
    ("train --preset papercut-cpu-no-attributes --data data --out old", "was started with other settings"),
    ("train --preset papercut-cpu-no-attributes --data data --out r --set start=absent", "absent: no such folder"),
    ("train --preset sd15-512 --data data --attributes rows.jsonl --out r", "fine-tunes Stable Diffusion"),
    ("train --preset fine-tune --data data --out r --set nope=1", "there is no such field"),
    ("trainability --data cats --synthetic data --detector yolo11n --out r", "has classes that cats does not have"),
    ("trainability --data cats --synthetic cats --detector yolo11n --out r --limit 99", "99 were asked for"),
    ("trainability --data cats --synthetic cats --detector yolo11n --out r --val-split x", "no split 'x'"),
    ("trainability --data cats --synthetic cats --detector here --out r", "detector.json is missing"),
    (
        "trainability --data cats --synthetic cats --detector yolo11n --weights file --out r",
        "starts from a detector",
    ),
    ("verify here", "holds no job"),
    ("nonsense", "nonsense"),
    ("detdiffusion absent.json --out r", "absent.json: no such file"),
    ("detdiffusion layout.json --out r --model here", "is no model folder"),
    ("detdiffusion layout.json --out r --detector junk.pt", "not a checkpoint of torch"),
    ("detdiffusion layout.json --out r", "unknown class 'dragon'"),
    ("app --model absent", "is no model folder"),
    ("app --workspace file", "file is a file, and a folder is needed"),
    ("app --device nonsense", "--device nonsense"),
)
FINE = (  # what is right, as far as it can be seen without a heavy library
    "annotate --data data --detector bundled --out a.jsonl",
    "autoencoder --data data --image-size 64 --set crop=32 --out r",
    "bundle --preset cpu --out r",
    "causes --out r",
    "convert model to",
    "detector --data data --arch yolo11n --out r",
    "diagnose --data data --detector bundled --out r",
    "distill --model {model} --out r",
    "evaluate --model {model} --layouts papercut:1@900000 --out r.json",
    "ablation --preset small --out r",
    "generate --model {model} --layouts papercut:1@900000 --strategy hard --count 1 --out r",
    "train --preset papercut-cpu-no-attributes --data data --out r",
    "trainability --data cats --synthetic cats --detector fasterrcnn_resnet18_fpn --out r",
    "subset --data data --count 1 --out r",
)
WITHOUT_LIBRARIES = f"""
import contextlib, io, json, shlex, sys, time

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name in {HEAVY}:
            raise ImportError(f"{{name}} is imported")

class Heard(io.StringIO):
    first = None
    def write(self, text):
        self.first = self.first or time.monotonic()
        return super().write(text)

sys.meta_path.insert(0, Refusing())
import app.__main__, detdiffusion.__main__, training.__main__
mains = {{"app": app.__main__.main, "detdiffusion": detdiffusion.__main__.main}}
found = []
for words in json.load(sys.stdin):
    code, began = None, time.monotonic()
    with contextlib.redirect_stderr(Heard()) as said, contextlib.redirect_stdout(io.StringIO()):
        try:
            first, *more = shlex.split(words)
            code = mains[first](more) if first in mains else training.__main__.main([first, *more])
        except SystemExit as end:
            code = end.code
        except Exception as error:
            code = repr(error)
    found.append([words, code, said.getvalue(), (said.first or float("inf")) - began])
print(json.dumps(found))
"""


def build(folder: Path) -> set[Path]:
    """What the words name: data, a folder of another run, files of other kinds; returns all that is there."""
    write_dataset(folder / "data", range(4), size=64)
    TREES["YOLO 1"].build(folder / "cats")
    for name in ("here", "old"):
        (folder / name).mkdir()
    (folder / "file").touch()
    (folder / "junk.pt").write_bytes(b"junk")
    (folder / "list.json").write_text("[]")
    (folder / "rows.jsonl").write_text('{"format": "other"}\n')
    write_json(
        folder / "made" / "manifest.json",
        {"format": "generation-1", "count": 1, "chunk": 1, "classes": {"things": ["car"], "stuff": []}},
    )
    write_json(folder / "old" / "config.json", {"size": 1, "batch": 1, "generator": 1, "steps": 1, "base": 1})
    write_json(folder / "old" / "annotations" / "instances_train.json", {})
    write_json(folder / "model" / "model_index.json", {})
    write_json(folder / "model" / "unet" / "config.json", {"_class_name": "UNet2DConditionModel"})
    write_json(folder / "pilots.json", {"a": {"steps": 2}})
    dragon = {"label": "dragon", "box": [0, 0, 0.5, 0.5]}
    write_json(folder / "layout.json", {"width": 64, "height": 64, "objects": [dragon]})
    loop = {"data": "data", "out": "run", "split_by": 0.5, "pictures": {"hard": 1}}
    loop |= {"annotate": "--detector junk.pt", "trainability": "--detector yolo11n"}
    (folder / "loop.yaml").write_text(yaml.safe_dump(loop))
    return set(folder.rglob("*"))


def said(words: list[str], folder: Path) -> dict[str, tuple[object, str, float]]:
    """Exit code, standard error and seconds to its first word, of commands that run where no heavy library can be
    imported."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBRARIES],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder.parent / "cache")},
        input=json.dumps([word.format(model=BUNDLED_MODEL) for word in words]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {words[at]: tuple(row[1:]) for at, row in enumerate(json.loads(done.stdout))}


@pytest.mark.parametrize("dry", ["", " --dry-run"])
def test_what_is_typed_wrong_is_said_without_a_heavy_library(dry: str, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    there = build(folder)
    wrong = {words + dry: reason for words, reason in BAD_WORDS if not (dry and words.split()[0] not in HAS_DRY_RUN)}
    found = said(list(wrong), folder)
    assert {words: one for words, one in found.items() if one[0] != (1 if words == "verify made" else 2)} == {}
    assert {words: found[words][1] for words, reason in wrong.items() if reason not in found[words][1]} == {}
    assert set(folder.rglob("*")) - there <= {folder / "made" / "status.json"}, "bad words leave no trace"


def test_a_long_command_says_what_it_does_before_it_imports_a_heavy_library(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    build(folder)
    for words, (code, lines, seconds) in said(list(FINE), folder).items():
        assert "is imported" in str(code) and "loading " in lines, (words, code, lines)
        assert seconds < 3 * SIGN_OF_LIFE, f"{words}: machines of CI may be slow"


def ready(papercut: Any, model: Path, published: ModuleType, folder: Path) -> dict[str, list[object]]:
    """Words of every verb that lack nothing."""
    base = published.write_stable_diffusion(folder / "published", pickled=True)
    splits = TREES["YOLO 1"].build(folder / "cats")
    for name in ("attributes", "detector/model", "judge/model", "autoencoder/model"):
        (folder / "samples" / name).mkdir(parents=True)
    write_json(folder / "pilots.json", {"a": {"steps": 2}})
    loop = {"data": str(splits), "out": "run", "base": str(papercut.base), "pictures": {"hard": 1}}
    loop |= {"annotate": "--detector yolo11n.yaml --folds 9", "trainability": "--detector yolo11n"}
    (folder / "loop.yaml").write_text(yaml.safe_dump(loop))
    report = ROOT / "docs" / "results" / "ablation" / "ablation.json"
    scenes, data = "papercut:1@900000", ["--data", papercut.data]
    return {
        "papercut": ["--images", 1],
        "bundle": ["--preset", "cpu"],
        "autoencoder": [*data, "--image-size", 64, "--set", "crop=32", "--weights", papercut.base],
        "causes": [],
        "layouts": data,
        "subset": [*data, "--fraction", 0.5],
        "detector": [*data, "--arch", "yolo11n"],
        "annotate": [*data, "--model", model, "--detector", "bundled"],
        "diagnose": [*data, "--model", model, "--detector", "bundled"],
        "train": papercut.words(folder)[1:],
        "distill": ["--model", model],
        "assemble": ["--model", model, "--detector", model / "detectors" / "bundled"],
        "download": ["yolov4"],
        "convert": [base, folder / "converted"],
        "evaluate": ["--model", model, "--layouts", scenes],
        "report": [report],
        "ablation": ["--preset", "small"],
        "pilots": ["--samples", folder / "samples", "--pilots", folder / "pilots.json", "--minutes", 1],
        "generate": ["--model", model, "--layouts", scenes, "--strategy", "hard", "--count", 1],
        "trainability": ["--data", splits, "--synthetic", splits, "--detector", "fasterrcnn_resnet18_fpn"],
        "loop": ["--config", folder / "loop.yaml"],
    }


@pytest.mark.slow
@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_what_only_a_library_can_see_is_said_before_the_work(
    dry: list[str], world_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of detectors and weights that can be read, and do not fit."""
    cats, weights = str(TREES["YOLO 1"].build(tmp_path / "cats")), str(tmp_path / "other.safetensors")
    save_file({"other": torch.zeros(1)}, weights)
    names = tmp_path / "cats" / "data.yaml"
    names.write_text(names.read_text().replace("[cat, dog]", "[elf, orc]"))
    there, out = set(tmp_path.rglob("*")), str(tmp_path / "out")
    small = ["--weights", weights, "--image-size", "64"]
    bundled = ["--model", str(world_model), "--detector", "bundled"]
    for words, reason in (
        (["detector", "--data", cats, "--arch", SMALL, *small], "nothing in it fits"),
        (["detector", "--data", cats, "--arch", "yolo11n", "--set", "hsv_h=7"], "ultralytics refuses a setting"),
        (["trainability", "--data", cats, "--synthetic", cats, "--detector", SMALL, *small], "nothing in it fits"),
        (["annotate", "--data", cats, *bundled], "knows no class of the data"),
    ):
        to = out if words[0] != "annotate" else f"{out}.jsonl"
        assert main([*words, "--out", to, *dry]) == 2 and reason in capsys.readouterr().err, words
        assert set(tmp_path.rglob("*")) == there, words


@pytest.mark.slow
@pytest.mark.usefixtures("at_home")
def test_a_dry_run_of_what_is_right_writes_nothing(
    papercut: Any, world_model: Path, published: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ready(papercut, world_model, published, tmp_path)
    assert set(words) == HAS_DRY_RUN - TESTED_ELSEWHERE
    there = set(tmp_path.rglob("*"))
    out = {"annotate": "a.jsonl", "layouts": "a.jsonl", "evaluate": "r.json"}
    for verb, asked in words.items():
        to = [] if verb in ("convert", "loop") else ["--out", tmp_path / "out" / out.get(verb, "")]
        assert main([verb, *map(str, [*asked, *to, "--dry-run"])]) == 0, capsys.readouterr().err
        heard = capsys.readouterr()
        last = {"train": "disk: ", "loop": "python -m training report "}.get(verb)
        assert heard.out.splitlines()[-1].startswith(last) if last else "nothing is missing" in heard.err, verb
        assert set(tmp_path.rglob("*")) == there, f"{verb} has written something"
