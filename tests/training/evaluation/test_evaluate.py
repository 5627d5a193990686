"""python -m training evaluate: its arguments, whole reports with a tiny model, and a run that is killed and goes on."""

import argparse
import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import warm
from PIL import Image

from detdiffusion.attributes import Strategy
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.core.files import claim, unsealed
from detdiffusion.detection import Detections
from detdiffusion.errors import CheckpointError, ConfigError, DetectorError, LayoutError
from detdiffusion.evaluation.effect import measure
from detdiffusion.image_record import read_image
from detdiffusion.layout import Attribute, Box, Layout
from detdiffusion.sampling_config import DEFAULT_GUIDANCE, SamplingRequest
from detdiffusion.text.vocabulary import Vocabulary
from training.__main__ import main
from training.core.typed_json import to_json
from training.data.layout_sources import PapercutLayouts
from training.data.papercut.classes import STUFF, THINGS
from training.data.papercut.scene import scene
from training.evaluation import command
from training.evaluation import summary as said
from training.evaluation.inputs import Plan, distinct, load_detectors, unique_names
from training.evaluation.run import evaluate
from training.evaluation.scoring import picture_id
from training.evaluation.store import stable_name

BuildWorldModel = Callable[..., Path]

COUNT, FIRST = 5, 900_000
SCENES = f"papercut:{COUNT}@{FIRST}"


@pytest.fixture(scope="module")
def model(world_model: Path) -> Path:
    return world_model


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory, build_world_model: BuildWorldModel) -> Path:
    words = Vocabulary(things=THINGS, stuff=STUFF, grid=(8, 8), attribute_words=())
    return build_world_model(tmp_path_factory.mktemp("baselines") / "geodiffusion" / "model", words)


# --- arguments ------------------------------------------------------------------------------------


def parse(*words: str | Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def ask(model: Path, out: Path, *words: str | Path) -> dict[str, Any]:
    """Runs the command and reads its report."""
    few = ("--model", model, "--layouts", SCENES, "--steps", "1", "--batch", "2", "--out", out)
    assert command.run(parse(*few, *words)) == 0
    report: dict[str, Any] = json.loads(out.read_text())
    return report


def test_strategy_lists() -> None:
    assert command.strategy_list("hard,origin") == [Strategy.HARD, Strategy.ORIGIN]
    for text in ("", "easy,easy", "odd", "easy,"):
        with pytest.raises(argparse.ArgumentTypeError):
            command.strategy_list(text)


def test_defaults(tmp_path: Path) -> None:
    given = parse("--model", tmp_path, "--layouts", SCENES, "--out", tmp_path / "r.json")
    assert (given.strategies, given.detector, given.batch) == (list(Strategy), [], 16)
    assert (given.steps, given.guidance, given.sampler) == (None, None, ""), "each model's own"
    assert (given.baselines, given.attribute_guidance, given.one_hard, given.inception) == ([], [], False, None)


@pytest.mark.model
@pytest.mark.parametrize(
    ("there", "looking"),
    [
        (("bundled", "judge"), ["yolo11n", "yolov8n"]),
        (("bundled",), ["yolo11n"]),
        (("judge",), ["yolov8n"]),
    ],
)
def test_the_models_own_detectors_look_where_none_is_named(
    tmp_path: Path, there: tuple[str, ...], looking: list[str]
) -> None:
    for name in there:
        shutil.copytree(BUNDLED_MODEL / "detectors" / name, tmp_path / "detectors" / name)
    plan = command.request_of(parse("--model", tmp_path, "--layouts", SCENES, "--out", tmp_path / "r.json"))
    detectors, results = load_detectors(plan, THINGS)
    assert list(detectors) == looking and not results


def test_lists(tmp_path: Path) -> None:
    words = (
        "--detector",
        "judge,a/b.pt",
        "--baselines",
        "a,b",
        "--attribute-guidance",
        "0,1.5,-2",
        "--layouts",
        SCENES,
    )
    given = parse("--model", tmp_path, "--out", tmp_path / "r.json", "--sampler", "sde-dpm++", *words)
    assert given.sampler == "sde-dpm++"
    assert (given.detector, given.baselines) == (["judge", "a/b.pt"], [Path("a"), Path("b")])
    assert given.attribute_guidance == [0, 1.5, -2]


def test_the_old_name_of_attribute_guidance_is_taken_and_not_shown(tmp_path: Path) -> None:
    words = ("--model", tmp_path, "--layouts", SCENES, "--out", tmp_path / "r.json")
    assert parse(*words, "--difficulties", "0,1.5").attribute_guidance == [0, 1.5]
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert "--attribute-guidance A,..." in parser.format_help() and "difficult" not in parser.format_help()


def test_the_old_name_of_a_flag(tmp_path: Path) -> None:
    few = ("--model", tmp_path, "--layouts", SCENES, "--out", tmp_path / "r.json")
    assert parse(*few, "--rivals", "a,b").baselines == parse(*few, "--baselines", "a,b").baselines == [*map(Path, "ab")]
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert "--rivals" not in parser.format_help() and "--baselines" in parser.format_help()


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("--steps", "0"),
        ("--batch", "0"),
        ("--strategies", "odd"),
        ("--detector", "bundled,"),
        ("--attribute-guidance", "1,two"),
        ("--difficulties", "nan"),
        ("--layouts", "papercut:0@1"),
    ],
)
def test_bad_arguments(tmp_path: Path, word: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    named = {"--difficulties": "--attribute-guidance"}.get(word, word)
    with pytest.raises(SystemExit) as caught:
        parse("--model", tmp_path, "--layouts", SCENES, "--out", tmp_path / "r.json", word, value)
    assert caught.value.code == 2
    assert named in capsys.readouterr().err


def test_report_path_is_checked_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command.check_report_path(tmp_path / "new" / "deep" / "report.json")
    for path in (tmp_path, tmp_path / "file" / "report.json"):
        with pytest.raises(ConfigError):
            command.check_report_path(path)


def test_names(tmp_path: Path) -> None:
    assert distinct(["a", "a", "b", "a-2", "a"]) == ["a", "a-2", "b", "a-2-2", "a-3"]
    folders = [tmp_path / name for name in ("papercut", "baselines/geo/model", "other/papercut", "real")]
    assert list(unique_names(folders)) == ["papercut", "geo", "papercut-2", "real-2"]
    assert list(unique_names(folders).values()) == folders


# --- what the report says -------------------------------------------------------------------------


class Eyes:
    """A detector by name only: blocks are measured from detections that exist already."""

    name, sha256, labels, min_score = "eyes", "2" * 64, THINGS, 0.5

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        raise NotImplementedError


def block_of(score: float) -> Any:
    """An easy car and a hard one, both found with this score."""
    boxes = ((0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0))
    layout = Layout(8, 8, (Box("car", boxes[0], Attribute.EASY), Box("car", boxes[1], Attribute.HARD)))
    found = Detections(("car", "car"), np.full(2, score, np.float32), np.array(boxes, np.float32))
    return measure([layout], [found], Eyes())


def test_autoencoder_keeps_a_share_of_the_easy() -> None:
    assert said.kept_of(block_of(0.8), block_of(0.6)).kept == pytest.approx(0.75)
    nothing = said.kept_of(block_of(0.0), block_of(0.6))
    assert math.isnan(nothing.kept) and to_json(nothing) == {"kept": None}


def test_hard_objects_are_found_by_others() -> None:
    """The first detector is left out; a share of nothing is null."""
    found, missed = block_of(0.9), block_of(0.1)
    real = {"first": found, "judge": found, "blind": missed}
    views = {"hard": {"first": missed, "judge": missed, "blind": found}}
    assert said.hard_found_of(views, real) == pytest.approx({"judge": 0.0, "blind": math.nan}, nan_ok=True)
    assert said.hard_found_of({"hard": real}, real) == pytest.approx({"judge": 1.0, "blind": math.nan}, nan_ok=True)
    assert said.hard_found_of({"easy": real}, real) is None
    assert said.hard_found_of(views, None) is None
    assert said.hard_found_of(views, {"first": found}) is None


def test_drop_needs_both() -> None:
    views = {"easy": {"eyes": block_of(0.9)}, "hard": {"eyes": block_of(0.4)}}
    drop = said.drop_of(views)
    assert drop is not None and to_json(drop["eyes"])["confidence"] == {"mean": 0.5, "ci95": [0.5, 0.5]}
    assert drop["eyes"].AP50.mean == 0
    assert said.drop_of({"easy": views["easy"]}) is None


@pytest.fixture(scope="module")
def whole(model: Path, baseline: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("whole") / "new" / "report.json"
    words = ("--one-hard", "--baselines", baseline, "--sheet", out.with_name("sheet.png"))
    return ask(model, out, *words), out


def test_report(whole: tuple[dict[str, Any], Path]) -> None:
    report, out = whole
    things = sum(box.label in THINGS for place in range(COUNT) for box in scene(FIRST + place, size=64).layout.boxes)
    assert report["format"] == 2
    about = report["layouts"]
    assert (about["spec"], about["source"], about["count"], about["things"]) == (SCENES, "papercut", COUNT, things)
    assert report["sampler"] == {"steps": 1, "guidance": DEFAULT_GUIDANCE, "batch": 2, "size": [64, 64], "sampler": ""}
    assert [one["name"] for one in report["detectors"]] == ["yolo11n", "yolov8n"]
    assert report["attributes_by"]["sha256"] == report["detectors"][0]["sha256"]
    assert all(one["unmapped"] == [] for one in report["detectors"])
    main, other = report["systems"]
    assert (main["name"], main["kind"], other["name"], other["kind"]) == (
        *("tiny", "DetDiffusion"),
        *("geodiffusion", "GeoDiffusion"),
    )
    assert [view["name"] for view in main["views"]] == ["origin", "easy", "hard", "one-hard"]
    assert [view["name"] for view in other["views"]] == ["origin"]
    assert (other["drop"], other["transfer"], other["hard_found"]) == (None, None, None)
    assert main["attributes"] and main["blueprint"] and main["perception_head"] and not other["attributes"]
    for view in main["views"]:
        assert view["fid"] is None and view["fid_note"] == "no --inception FILE was given"
        assert view["detector_feature_distance"] > 0
        for block in view["scores"].values():
            assert block["objects"] == things == sum(group["objects"] for group in block["by_size"].values())
            assert sum(group["objects"] for group in block["by_class"].values()) == things
    assert set(main["drop"]) == set(main["transfer"]) == {"yolo11n", "yolov8n"}
    assert set(main["hard_found"]) == {"yolov8n"}
    causes = main["causes"]
    assert set(causes["views"]) == {"origin", "easy", "hard", "one-hard"} and "causes" not in other
    assert causes["views"]["hard"]["hard"]["objects"] == causes["views"]["easy"]["easy"]["objects"] == things
    assert causes["truth"]["hard"]["objects"] + causes["truth"]["easy"]["objects"] == things
    assert 0 <= main["autoencoder"]["kept"] <= 1
    assert str(out.parent) not in out.read_text()


def test_rows_of_objects(whole: tuple[dict[str, Any], Path]) -> None:
    """They add up to the report: same objects, same mean confidence."""
    report, out = whole
    lines = (out.with_name("report.work") / "objects.jsonl").read_text().splitlines()
    rows = [unsealed(json.loads(line)) for line in lines]
    assert {(row["system"], row["view"]) for row in rows} == {
        (None, "real"),
        *(("tiny", name) for name in ("origin", "easy", "hard", "one-hard")),
        ("geodiffusion", "origin"),
    }
    for system in report["systems"]:
        for view in system["views"]:
            own = [row for row in rows if (row["system"], row["view"]) == (system["name"], view["name"])]
            assert len(own) == report["layouts"]["objects"]
            for detector, block in view["scores"].items():
                known = [row["confidence"][detector] for row in own if row["confidence"][detector] is not None]
                assert np.mean(known) == pytest.approx(block["mean_confidence"], abs=1e-6)
    asked = {row["asked"] for row in rows if row["view"] == "hard"}
    assert asked == {"hard", "background"}
    assert {row["asked"] for row in rows if row["system"] in (None, "geodiffusion")} == {None}
    tagged = [row for row in rows if row["view"] == "one-hard" and row["asked"] == "hard"]
    assert [row["picture"] for row in tagged] == list(range(COUNT))


def test_work_folder(whole: tuple[dict[str, Any], Path]) -> None:
    out = whole[1]
    work = out.with_name("report.work")
    rows = [json.loads(line) for line in (work / "layouts.jsonl").read_text().splitlines()]
    assert [(row["index"], row["seed"], row["image"]) for row in rows] == [
        (place, FIRST + place, f"real/{place // 2:05d}/{place:06d}.png") for place in range(COUNT)
    ]
    assert all(Layout.from_json(row["layout"]).boxes[0].attribute for row in rows)
    layout, about = (kept := read_image(work / "tiny" / "hard" / "00001" / "000003.png")).layout, kept.to_json()
    assert (about["model"], about["seed"], about["steps"]) == ("tiny", FIRST + 3, 1)
    assert {box.attribute for box in layout.boxes} <= {Attribute.HARD, Attribute.BACKGROUND}
    assert not list(work.rglob(".*")), "nothing is left half written"
    with Image.open(out.with_name("sheet.png")) as picture:  # real, and four views
        assert picture.size == ((64 + 4) * COUNT - 4, (64 + 4) * 5 - 4)


def test_the_same_again_draws_nothing(whole: tuple[dict[str, Any], Path], model: Path, baseline: Path) -> None:
    out = whole[1]
    before, made = out.read_bytes(), (out.with_name("report.work") / "tiny/easy/00000/000000.png").stat().st_mtime_ns
    ask(model, out, "--one-hard", "--baselines", baseline)
    assert out.read_bytes() == before
    assert (out.with_name("report.work") / "tiny/easy/00000/000000.png").stat().st_mtime_ns == made


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("--steps", "2"), "sampler.steps was 1, is 2"),
        (("--batch", "3"), "sampler.batch was 2, is 3"),
        (("--layouts", "papercut:4@900000"), "layouts.spec was 'papercut:5@900000', is 'papercut:4@900000'"),
        (("--detector", "held-out"), "detectors was"),
    ],
)
def test_other_settings_are_refused(
    whole: tuple[dict[str, Any], Path], model: Path, words: tuple[str, ...], field: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        ask(model, whole[1], *words)
    assert field in str(caught.value) and "another --out" in str(caught.value)


def test_another_model_of_the_same_name_is_refused(whole: tuple[dict[str, Any], Path], model: Path) -> None:
    work = whole[1].with_name("report.work")
    other = json.loads((work / "tiny" / "config.json").read_text()) | {"model": "0" * 64}
    kept = (work / "tiny" / "config.json").read_text()
    (work / "tiny" / "config.json").write_text(json.dumps(other))
    with pytest.raises(ConfigError, match=f"model was '{'0' * 64}'"):
        ask(model, whole[1])
    (work / "tiny" / "config.json").write_text(kept)


def test_damaged_picture_is_drawn_again(model: Path, tmp_path: Path) -> None:
    ask(model, tmp_path / "r.json", "--strategies", "easy", "--detector", "bundled")
    report, picture = (tmp_path / "r.json").read_bytes(), tmp_path / "r.work" / "tiny" / "easy" / "00001" / "000002.png"
    content = picture.read_bytes()
    picture.write_bytes(content[:-40])
    (tmp_path / "r.work" / "real" / "00000" / "000001.png").unlink()
    ask(model, tmp_path / "r.json", "--strategies", "easy", "--detector", "bundled")
    assert picture.read_bytes() == content
    assert (tmp_path / "r.json").read_bytes() == report


def test_two_at_once_are_refused(model: Path, tmp_path: Path) -> None:
    with claim(tmp_path / "r.work" / "lock"), pytest.raises(ConfigError, match="another evaluation is writing to"):
        ask(model, tmp_path / "r.json")


def test_layouts_of_a_file_keep_their_attributes(model: Path, tmp_path: Path) -> None:
    car, bus = {"label": "car", "box": [0, 0, 0.5, 0.5], "attribute": "hard"}, {"label": "bus", "box": [0, 0, 1, 1]}
    row = {"image_id": 1, "width": 640, "height": 480, "objects": [car, bus]}
    (tmp_path / "some.jsonl").write_text(f"{json.dumps(row)}\n" * 3)
    words = ("--layouts", tmp_path / "some.jsonl", "--strategies", "origin", "--sheet", tmp_path / "sheet.jpg")
    report = ask(model, tmp_path / "r.json", *words)
    assert (report["real"], report["attributes_by"], report["layouts"]["spec"]) == (None, None, "some.jsonl")
    assert (report["layouts"]["source"], report["layouts"]["hard_share"]) == ("file", 0.5)
    (view,) = report["systems"][0]["views"]
    assert (view["fid_note"], view["detector_feature_distance"]) == ("the layouts have no images", None)
    assert report["systems"][0]["autoencoder"] is None
    assert json.loads((tmp_path / "r.work" / "layouts.jsonl").read_text().splitlines()[0])["image"] is None
    with Image.open(tmp_path / "sheet.jpg") as picture:
        assert picture.size == ((64 + 4) * 3 - 4, 64)


def test_what_is_missing_is_said_before_anything_is_drawn(
    model: Path, tmp_path: Path, build_world_model: BuildWorldModel
) -> None:
    small = build_world_model(tmp_path / "small", Vocabulary(things=("car",), grid=(8, 8)))
    for words, error, reason in (
        (("--baselines", tmp_path / "absent"), CheckpointError, "no model folder"),
        (("--inception", tmp_path / "absent.pth"), CheckpointError, "FID needs Inception's weights"),
        (("--scene-fid",), ConfigError, "--inception FILE"),
        (("--gligen-beta", "0.5"), ConfigError, "none of the models is GLIGEN's: --gligen-beta is for its models"),
        (("--one-hard", "--strategies", "hard"), ConfigError, "add easy"),
        (("--model", small), ConfigError, "has no detector of its own"),
        (("--baselines", small), LayoutError, "small does not know these classes of the layouts: "),
    ):
        with pytest.raises(error, match=reason):
            ask(model, tmp_path / "r.json", *words)
    assert not list((tmp_path / "r.work").rglob("easy"))


def test_gligens_beta_is_for_its_models_alone(model: Path, tmp_path: Path, published: ModuleType) -> None:
    source = published.write_gligen(tmp_path / "source", safety=False)
    assert main(["convert", str(source), str(tmp_path / "gligen")]) == 0
    layout = Layout(64, 64, (Box("car", (0.0, 0.1, 0.5, 0.6), Attribute.EASY),))
    (tmp_path / "layouts.jsonl").write_text(json.dumps(layout.to_json()) + "\n")
    words = ("--layouts", tmp_path / "layouts.jsonl", "--strategies", "origin", "--baselines", tmp_path / "gligen")
    report = ask(model, tmp_path / "r.json", *words, "--gligen-beta", "0.8")
    own, other = report["systems"]
    assert "gligen_scheduled_sampling_beta" not in report["sampler"] and own.get("sampler") is None
    assert other["sampler"]["gligen_scheduled_sampling_beta"] == 0.8
    drawn = [read_image(next((tmp_path / f"r.work/{name}/origin").rglob("*.png"))) for name in ("tiny", "gligen")]
    assert [image.sampling.gligen_scheduled_sampling_beta for image in drawn] == [None, 0.8]
    with pytest.raises(ConfigError, match=r"gligen_scheduled_sampling_beta was 0\.8, is 0\.5"):
        ask(model, tmp_path / "r.json", *words, "--gligen-beta", "0.5")


# --- results files of other frameworks ------------------------------------------------------------


def results_of(work: Path, out: Path, view: str) -> Path:
    """What another framework would find: every object of the pictures of one view, exactly."""
    index = json.loads((work / "pictures.json").read_text())
    names = {image["id"]: image["file_name"] for image in index["images"]}
    assert all((work / name).is_file() for name in names.values())
    seen = [one for one in index["annotations"] if names[one["image_id"]].startswith(f"{view}/")]
    rows = [{key: one[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9} for one in seen]
    out.write_text(json.dumps(rows))
    return out


def test_results_file_is_waited_for_and_then_scored(model: Path, baseline: Path, tmp_path: Path) -> None:
    """It sees everything in easy pictures and nothing elsewhere; the bundled detector's scores stay as they were."""
    few = ("--strategies", "easy,hard", "--detector", "bundled", "--baselines", baseline)
    plain = ask(model, tmp_path / "r.json", *few)
    report = (tmp_path / "r.json").read_bytes()
    wanted = (*few[:3], f"bundled,{tmp_path / 'theirs.json'}", *few[4:])
    with pytest.raises(DetectorError, match=r"theirs\.json: no such file.*pictures\.json"):
        ask(model, tmp_path / "r.json", *wanted)
    assert (tmp_path / "r.json").read_bytes() == report
    results_of(tmp_path / "r.work", tmp_path / "theirs.json", "tiny/easy")
    both = ask(model, tmp_path / "r.json", *wanted)
    assert [one["name"] for one in both["detectors"]] == ["yolo11n", "theirs"]
    easy, hard = both["systems"][0]["views"]
    assert (easy["scores"]["theirs"]["AP50"], easy["scores"]["theirs"]["recall50"]) == (1, 1)
    assert (hard["scores"]["theirs"]["AP50"], hard["scores"]["theirs"]["mean_confidence"]) == (0, 0)
    assert both["systems"][0]["drop"]["theirs"]["confidence"]["mean"] == pytest.approx(0.9)
    assert easy["scores"]["yolo11n"] == plain["systems"][0]["views"][0]["scores"]["yolo11n"]


def test_results_files_alone(baseline: Path, papercut: Any, tmp_path: Path, at_home: None) -> None:
    """A model and a data set whose detector lives elsewhere: attributes by its results, then scores by them."""
    bounds = ("--layouts", papercut.data, "--min-objects", "1", "--min-area", "0", "--max-objects", "100")
    theirs = ("--detector", tmp_path / "theirs.json")
    with pytest.raises(ConfigError, match="give them with --attributes"):
        ask(baseline, tmp_path / "r.json", *bounds, *theirs)
    known = (*bounds, *theirs, "--attributes", papercut.attributes)
    with pytest.raises(DetectorError, match="The images are drawn"):
        ask(baseline, tmp_path / "r.json", *known)
    results_of(tmp_path / "r.work", tmp_path / "theirs.json", "real")
    report = ask(baseline, tmp_path / "r.json", *known)
    assert report["attributes_by"]["name"] == "nobody"
    assert [one["name"] for one in report["detectors"]] == ["theirs"]
    assert report["real"]["scores"]["theirs"]["recall50"] == 1
    (system,) = report["systems"]
    assert (system["autoencoder"], system["views"][0]["detector_feature_distance"]) == (None, None)


def test_results_of_other_pictures_are_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text('[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 8, 8], "score": 0.5}]')
    with pytest.raises(DetectorError, match="tells nothing of the images of this evaluation"):
        ask(model, tmp_path / "r.json", "--detector", f"bundled,{tmp_path / 'odd.json'}")


def test_pictures_keep_their_numbers(tmp_path: Path) -> None:
    """Whatever else is asked for later; and no two are the same."""
    names = [stable_name(f"tiny/{view}", place) for view in ("easy", "hard", "one-hard") for place in range(5000)]
    assert len({picture_id(name) for name in names}) == len(names)
    assert picture_id("tiny/easy/00003.png") == 253967433195548


def test_views_of_attribute_guidance(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 is origin; others reach the pipeline, here one that knows the word and looks away."""
    from detdiffusion.diffusion.pipeline import DetDiffusionPipeline

    given, call = list[float](), DetDiffusionPipeline.__call__

    def guided(self: Any, layouts: Any, *, attribute_guidance: float = 0.0, **words: Any) -> Any:
        given.append(attribute_guidance)
        return call(self, layouts, **words)

    monkeypatch.setattr(DetDiffusionPipeline, "__call__", guided)
    words = ("--strategies", "easy", "--attribute-guidance", "0,1.5", "--detector", "held-out")
    report = ask(model, tmp_path / "r.json", *words)
    views = report["systems"][0]["views"]
    assert [(view["name"], view["strategy"], view["attribute_guidance"]) for view in views] == [
        ("origin", "origin", 0.0),
        ("easy", "easy", 0.0),
        ("attribute guidance 1.5", "origin", 1.5),
    ]
    assert given == [0.0] * 6 + [1.5] * 3
    assert (tmp_path / "r.work" / "tiny" / "difficulty-1.5" / "00002" / "000004.png").is_file()


def test_masks_are_compared_with_the_true_ones(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = PapercutLayouts(2, FIRST)
    plan = Plan(model, source, (Strategy.ORIGIN,), detectors=("bundled",), sampling=SamplingRequest(1), batch=2)

    def find(_: Any, images: Sequence[Image.Image], layouts: Sequence[Layout]) -> list[np.ndarray]:
        return [source.masks(place, (64, 64)) for place, _ in enumerate(layouts)]

    monkeypatch.setattr("training.evaluation.mask_quality.object_masks", find)
    report = evaluate(plan, tmp_path / "work")
    assert report.to_json()["systems"][0]["mask_iou"] == {"mean": 1.0, "ci95": [1.0, 1.0]}
    assert "masks, mean IoU: 1.000" in "\n".join(said.summary(report))
    assert sorted(path.name for path in (tmp_path / "work" / "tiny" / "masks").iterdir()) == ["00000.png", "00001.png"]


# --- a kill ---------------------------------------------------------------------------------------


@pytest.mark.process
def test_killed_and_resumed_is_the_uninterrupted_report(model: Path, tmp_path: Path) -> None:
    """kill -9 in the middle of the first view; what was committed is not drawn again, and the bytes are the same."""
    words = ["--model", model, "--layouts", SCENES, "--steps", "1", "--batch", "2", "--strategies", "easy,hard"]
    killed, whole = tmp_path / "killed.json", tmp_path / "whole.json"
    process = warm.training(["evaluate", *words, "--out", killed], tmp_path / "printed")
    mark = tmp_path / "killed.work" / "tiny" / "easy" / "00000" / "commit.json"
    deadline = time.monotonic() + 300
    while not mark.exists():
        assert process.is_alive() and time.monotonic() < deadline, "it ended before it could be killed"
        time.sleep(0.002)
    process.kill()
    process.join()
    assert not killed.exists()
    committed = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed.work").rglob("commit.json")}
    assert len(committed) >= 3 + 1, "all real images, and a chunk of easy"

    for out in (killed, whole):
        assert command.run(parse(*words, "--out", out)) == 0
    assert killed.read_bytes() == whole.read_bytes()
    for path, made in committed.items():
        assert path.stat().st_mtime_ns == made, f"{path} was done again"
    for path in sorted((tmp_path / "whole.work").rglob("*.*")):
        if path.name == "status.json":  # when, and by which process
            continue
        twin = tmp_path / "killed.work" / path.relative_to(tmp_path / "whole.work")
        assert twin.read_bytes() == path.read_bytes(), path.name
