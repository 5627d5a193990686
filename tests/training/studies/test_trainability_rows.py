"""`--rows`, `--shares`, `--also`, `--weights`: which rows there are, what they learn, and what is said of them."""

import argparse
import json
import math
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detdiffusion.core.files import write_json
from detdiffusion.detection import Detections
from detdiffusion.errors import ConfigError, DataError
from detdiffusion.evaluation.bootstrap import Estimate
from training.data.datasets import Dataset, open_dataset
from training.data.papercut.coco_export import write_dataset
from training.diagnosis.result import FILE, FORMAT, Calibration, Confusion, Diagnosis, Slice, Source
from training.report.data import read_report
from training.report.study_tables import Gain, ImageCounts, SeedEstimate, TrainabilityRow, TrainabilityTable
from training.report.tables import trainability_sections
from training.studies import trainability as command
from training.studies.trainability_findings import findings
from training.studies.trainability_rows import REAL, Kind, Row, Wanted, make_plan
from training.studies.trainability_slices import ALL, Slices
from training.studies.trainability_table import summarise
from training.synthesis.pasting import PastedImages, cut_outs

SMALL, SIZE = "fasterrcnn_resnet18_fpn", 64


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two splits, and two folders that stand for images of generate."""
    root = tmp_path_factory.mktemp("rows")
    (root / "real" / "annotations").mkdir(parents=True)
    for split, seeds in (("train", range(6)), ("val", range(10, 13))):
        write_dataset(root / split, seeds, size=SIZE)
        shutil.copytree(root / split / "images", root / "real" / split)
        shutil.copy(
            root / split / "annotations" / "instances.json", root / "real" / "annotations" / f"instances_{split}.json"
        )
    for name, seed in (("origin", 20), ("planned", 30)):
        write_dataset(root / name, range(seed, seed + 6), size=SIZE)
    return root


@pytest.fixture
def real(data: Path, at_home: None) -> Dataset:
    return open_dataset(data / "real", split="train")


@pytest.fixture
def validation(data: Path, at_home: None) -> Dataset:
    return open_dataset(data / "real", split="val")


@pytest.fixture
def made(data: Path, at_home: None) -> list[Dataset]:
    return [open_dataset(data / name) for name in ("origin", "planned")]


@pytest.fixture
def diagnosis(data: Path, tmp_path: Path) -> Path:
    """A diagnosis that names one slice, of large objects."""
    large = Slice("large", {"size": [0.05, 1.0]}, 20, 10, 0.2, (0.1, 0.3), 0.2, (0.1, 0.3), 0.3, 0.001)
    nothing = Estimate(0.0, (0.0, 0.0))
    source = Source("d", (), "0", None, 1, 1, "d", "0", 0.5, ())
    found = Diagnosis(
        FORMAT, source, {}, nothing, nothing, nothing, {}, {}, (large,), (), 1, {"sizes": [0.01, 0.05], "fills": {}},
        (), Calibration(0.0, 0.05, ()), Confusion((), ()), (), (), {},
    )  # fmt: skip
    write_json(tmp_path / "diagnosis" / FILE, found.to_json())
    return tmp_path / "diagnosis"


def ask(*words: object) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


# --- which rows -----------------------------------------------------------------------------------


def test_all_rows(real: Dataset, validation: Dataset, made: list[Dataset]) -> None:
    """Of every share and start, equally long; generated images in proportion to their number."""
    pasted = PastedImages(real, range(4), cut_outs(real, range(4)), 6)
    wanted = Wanted(tuple(Kind), shares=(0.5, 1.5), starts=(False, True))
    plan = make_plan(real, validation, made, range(4), wanted, pasted=pasted)
    names = [row.name for row in plan.rows]
    added = [f"real + {part} {share} %{more}" for part in ("pasted", "origin", "planned") for share in (50, 150)
             for more in ("", ", augmented")]  # fmt: skip
    nothing = [REAL, "real, augmented", *added]
    assert names == [*nothing, *(f"{name}, from weights" for name in nothing)]
    assert len({row.slug for row in plan.rows}) == len(names) == 28 and "%" not in "".join(
        row.slug for row in plan.rows
    )
    assert {len(row.learned) for row in plan.rows} == {4 + 6} == {plan.epoch}
    by_name = {row.name: row for row in plan.rows}
    half, most = by_name["real + planned 50 %"], by_name["real + planned 150 %"]
    assert (half.real, half.synthetic, most.synthetic) == (4, 2, 6)
    assert len(set(half.learned)) == 6 and set(half.learned) < set(most.learned)
    assert sorted(Counter(half.learned).values()) == [1, 1, 2, 2, 2, 2], "as often as it takes, each alike"
    assert not {place for row in plan.rows for place in row.learned} & set(plan.held_out)
    assert by_name["real + origin 50 %, augmented, from weights"].start
    assert by_name["real + origin 50 %, augmented"].augment


def test_what_a_row_is_compared_with(real: Dataset, validation: Dataset, made: list[Dataset]) -> None:
    pasted = PastedImages(real, range(4), cut_outs(real, range(4)), 4)
    wanted = Wanted(tuple(Kind), shares=(0.5, 1.0), starts=(False, True))
    rows = make_plan(real, validation, made, range(4), wanted, pasted=pasted).rows
    simpler = {row.name: [one.name for one in row.simpler(rows)] for row in rows}
    assert simpler[REAL] == [] and simpler["real, augmented"] == [REAL]
    assert simpler["real + pasted 50 %"] == [REAL]
    assert simpler["real + origin 50 %, augmented"] == ["real, augmented", "real + pasted 50 %, augmented"]
    assert simpler["real + origin 100 %, from weights"] == [
        "real only, from weights",
        "real + pasted 100 %, from weights",
    ]
    assert simpler["real + planned 50 %"] == [REAL, "real + pasted 50 %", "real + origin 50 %"]


def test_what_every_row_learns_beside_real_images(real: Dataset, validation: Dataset, made: list[Dataset]) -> None:
    rounds = make_plan(real, validation, made[1:], range(4), Wanted((Kind.REAL, Kind.GENERATED)), also=made[:1])
    before, after = rounds.rows
    assert (before.name, after.name) == ("real + origin", "real + origin + planned")
    assert (before.real, before.synthetic, after.synthetic) == (4, 6, 12)
    assert set(before.learned) < set(after.learned) and len(after.learned) == 16


def test_too_few_images_for_a_share_are_said(real: Dataset, validation: Dataset, made: list[Dataset]) -> None:
    with pytest.raises(DataError, match="origin has 6 images, and 200 % of 4 real ones are 8: generate more"):
        make_plan(real, validation, made, range(4), Wanted(shares=(1.0, 2.0)))


@pytest.mark.parametrize(
    ("more", "error", "reason"),
    [
        (("--rows", "all"), ConfigError, "rows of generated images need --model"),
        (("--rows", "real", "--from-nothing"), ConfigError, "goes with --weights"),
        (("--rows", "real,pasted", "--shares", "0.5", "--share", "0.5"), ConfigError, "give one of them"),
        (("--rows", "real", "--diagnosis", "absent"), DataError, "python -m training diagnose"),
        (("--rows", "pasted,nothing"), SystemExit, None),
        (("--rows", "pasted", "--shares", "0.5,0"), SystemExit, None),
    ],
)
def test_bad_words(
    more: tuple[str, ...], error: type, reason: str | None, data: Path, tmp_path: Path, at_home: None
) -> None:
    with pytest.raises(error, match=reason):
        ask("--data", data / "real", "--detector", "yolo11n", "--out", tmp_path / "out", *more)
    assert not (tmp_path / "out").exists()


# --- slices ---------------------------------------------------------------------------------------


def test_a_slice_of_another_data_set(diagnosis: Path, validation: Dataset) -> None:
    """Large objects alone are found."""

    class Big:
        name, sha256, labels, min_score = "big", "0", validation.things, 0.5

    found, large, count = [], 0, 0
    for sample in validation:
        boxes = [box for box in sample.layout.boxes if box.label in validation.things]
        big = [box for box in boxes if box.area >= 0.05]
        large, count = large + len(big), count + len(boxes)
        corners = np.array([box.xyxy for box in big]).reshape(-1, 4)
        found.append(Detections(tuple(box.label for box in big), np.full(len(big), 0.9), corners))
    assert 0 < large < count
    recalls = Slices.read(diagnosis).recalls(validation, found, Big)  # type: ignore[arg-type]
    assert recalls["large"] == {"count": large, "recall": 1.0}
    assert recalls[ALL] == {"count": count, "recall": pytest.approx(large / count, abs=1e-6)}


def test_objects_of_a_slice_are_pasted_more_often(diagnosis: Path, real: Dataset) -> None:
    cuts = Slices.read(diagnosis).cut_outs(real, [0, 2, 5])
    assert {cut.place for cut in cuts} == {0, 2, 5}
    boxes = {cut: real[cut.place].layout.boxes[cut.number] for cut in cuts}
    large = [cut.chance for cut, box in boxes.items() if box.area >= 0.05]
    small = [cut.chance for cut, box in boxes.items() if box.area < 0.05]
    assert small and large and min(large) > max(small)
    assert sum(large) + sum(small) == pytest.approx(1) and sum(large) == pytest.approx(
        0.7 + 0.3 * len(large) / len(cuts)
    )


# --- what is said ---------------------------------------------------------------------------------


def estimate(*values: float) -> SeedEstimate:
    found = SeedEstimate.of(values)
    assert found is not None
    return found


def row(name: str, against: dict[str, SeedEstimate], **parts: dict[str, SeedEstimate]) -> TrainabilityRow:
    score = estimate(0.4, 0.5)
    return TrainabilityRow(
        name, ImageCounts(4, 2), (0, 1), score, score, score, score, score, Gain(None, None), {}, None,
        against=against, **parts,
    )  # fmt: skip


SURE, UNSURE, LOSS = (0.02, 0.021, 0.022), (0.05, -0.03, 0.01), (-0.02, -0.021, -0.022)


def test_three_sentences_of_what_helps() -> None:
    rows = [
        row(REAL, {}),
        row("real, augmented", {REAL: estimate(*UNSURE)}),
        row("real + hard", {REAL: estimate(*LOSS)}),
        row(
            "real + planned",
            {REAL: estimate(*SURE), "real + pasted": estimate(*UNSURE)},
            class_gains={"car": estimate(*UNSURE)},
            slice_gains={"car, left": estimate(*(3 * value for value in SURE))},
        ),
    ]
    assert findings(rows) == (
        "What helps most is real + planned: +2.1 [1.9, 2.3] points of mAP over real only, with 3 seeds; 1 of 3 rows"
        " have a gain with an interval above zero.",
        "It gains +1.0 [-8.9, 10.9] points over real + pasted, which may be chance, and most on car, left"
        " (+6.3 [5.6, 7.0]).",
        "Not shown to help: real, augmented (+1.0 [-8.9, 10.9]), real + hard (-2.1 [-2.3, -1.9]).",
    )


def test_three_sentences_of_what_does_not() -> None:
    rows = [row(REAL, {}), *(row(f"real + {name}", {REAL: estimate(*UNSURE)}) for name in "abcdefg")]
    first, second, third = findings(rows)
    assert first.startswith(
        "No row helps: of 7 gains none has an interval above zero, and the largest is that of real + a"
    )
    assert second.startswith("Of single classes and slices, none gains")
    assert third.endswith("real + e (+1.0 [-8.9, 10.9]), and 2 more.")
    assert (
        "by chance alone about 1 would"
        in findings([*rows, *(row(str(i), {REAL: estimate(*SURE)}) for i in range(30))])[0]
    )


def test_one_seed_says_nothing() -> None:
    assert findings([row(REAL, {}), row("real + a", {REAL: estimate(0.1)})]) == (
        "Nothing can be said yet: a gain has an interval from two seeds on, of a row and of real images.",
    )


def test_gains_by_class_and_slice_are_paired_by_seed(tmp_path: Path) -> None:
    rows = (Row(REAL, (0,), 1, 0), Row("real + hard", (0, 1), 1, 1, part="hard"))
    for one, values in zip(rows, ([0.3, 0.5], [0.4, 0.5]), strict=True):
        for seed, value in enumerate(values):
            parts = {
                "by_class": {"car": {"mAP": value, "AP50": value}},
                "by_slice": {"left": {"recall": value, "count": 7}},
            }
            scores = dict.fromkeys(("mAP", "AP50", "AP75", "APm", "APl"), value)
            write_json(command.result_path(tmp_path, one, seed), {**scores, **parts})
    pictures = {"real": 1, "validation": 1, "an_epoch": 2, "epochs": 1}
    settings = {"real": "d", "detector": SMALL, "batch": 2, "image_size": 64, "pictures": pictures}
    table = summarise(rows, [0, 1], tmp_path, settings)
    base, hard = table.rows
    assert base.over is None and hard.over is not None and hard.over[0] == REAL
    for gains in (hard.class_gains, hard.slice_gains, hard.against):
        assert gains is not None
        (gain,) = gains.values()
        assert gain is not None and gain.values == pytest.approx((0.1, 0.0))
    assert table.slices == {"left": 7} and hard.by_slice and hard.by_slice["left"] == estimate(0.4, 0.5)
    write_json(tmp_path / command.RESULT, table.to_json())
    read = read_report(tmp_path / command.RESULT)
    assert isinstance(read, TrainabilityTable) and read.to_json() == table.to_json()
    shown = repr(list(trainability_sections(read)))
    assert "Findings" in shown and "left (7)" in shown and "No row helps" in shown and "Against simpler rows" in shown


# --- trainings ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("at_home")
def test_a_killed_table_goes_on(
    data: Path, diagnosis: Path, tmp_path: Path, killed: Callable[[Callable[[], object], Callable[[], bool]], None]
) -> None:
    """kill -9 after the first training: it is not made again, and nothing is lost or twice."""
    out = tmp_path / "out"
    words = ("--data", data / "real", "--detector", SMALL, "--rows", "real,pasted", "--shares", "0.5", "--seeds", "0")
    words = (*words, "--updates", 1, "--batch", 2, "--image-size", SIZE, "--limit", 4, "--diagnosis", diagnosis)
    words = (*words, "--out", out)
    killed(lambda: ask(*words), lambda: any((out / "runs").glob("*/result.json")))
    (first,) = out.rglob("result.json")
    before = first.read_bytes(), first.stat().st_mtime_ns
    assert ask(*words) == 0
    assert (first.read_bytes(), first.stat().st_mtime_ns) == before
    table = json.loads((out / command.RESULT).read_text())
    assert [(one["name"], one["seeds"], one["pictures"]["synthetic"]) for one in table["rows"]] == [
        (REAL, [0], 0),
        ("real + pasted 50 %", [0], 2),
    ]
    assert table["slices"]["large"] >= 1 and math.isfinite(table["rows"][1]["by_slice"]["large"]["mean"])
    assert table["rows"][1]["against"][REAL]["ci95"] == [None, None] and "Nothing can be said" in table["findings"][0]
    assert sorted(path.parent.name for path in out.rglob("result.json")) == ["real+pasted-50-seed0", "real-only-seed0"]
    with pytest.raises(ConfigError, match="was started with other settings"):
        ask(*words, "--paste", 9)


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.usefixtures("at_home")
def test_rows_from_nothing_and_from_weights(data: Path, tmp_path: Path) -> None:
    """An ultralytics architecture beside weights of a detector folder, in one table."""
    from detdiffusion.core.assets import BUNDLED_MODEL

    theirs = BUNDLED_MODEL / "detectors" / "bundled"
    words = ("--data", data / "real", "--detector", "yolo11n", "--weights", theirs, "--from-nothing", "--rows", "real")
    assert (
        ask(*words, "--seeds", "0", "--updates", 1, "--batch", 6, "--image-size", SIZE, "--out", tmp_path / "out") == 0
    )
    nothing, weights = json.loads((tmp_path / "out" / command.RESULT).read_text())["rows"]
    assert (nothing["name"], weights["name"]) == (REAL, f"{REAL}, from weights")
    assert weights["gain"]["mAP"] is None, "each start has its own first row"
    assert weights["mAP"]["mean"] > nothing["mAP"]["mean"]
