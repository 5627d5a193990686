"""A report from given numbers: what is in it, what is left out, and that it needs nothing from anywhere."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from detdiffusion.core.files import sealed
from detdiffusion.errors import ConfigError, DataError
from training.__main__ import main
from training.report.blocks import Heading, ImageBlock, Plot, Table, Text, to_html, write_markdown
from training.report.command import write_report
from training.report.data import Evaluation, read_report
from training.report.plots import Bar, Line, bars, curves, scatter
from training.report.sections import evaluation_sections
from training.report.study_tables import (
    ABLATION_COLUMNS,
    ABLATION_SCORES,
    AblationTable,
    TrainabilityTable,
)
from training.report.tables import ablation_sections, trainability_sections

IMAGES = 12
DETECTOR, HELD_OUT = "yolo11n", "yolov5n"
GROUP = ("objects", "recall50", "mean_confidence")
VIEWS = (("origin", 0.0), ("easy", 0.0), ("hard", 0.0), ("origin", 1.0), ("origin", -1.0))


def block(value: float) -> dict[str, Any]:
    names = ("mAP", "AP50", "AP75", "recall50", "mean_confidence")
    intervals = {f"{name}_ci95": [value - 0.05, value + 0.05] for name in names if name != "AP75"}
    groups = {key: {"car": dict.fromkeys(GROUP, 12)} for key in ("by_attribute", "by_class", "by_size")}
    return {**dict.fromkeys((*names, "APs", "APm", "APl"), value), **intervals, "objects": 24, **groups}


def estimate(value: float) -> dict[str, Any]:
    return {"mean": value, "ci95": [value - 0.03, value + 0.03]}


def over_seeds(value: float) -> dict[str, Any]:
    return {**estimate(value), "values": [value]}


def causes() -> dict[str, Any]:
    def shares(objects: int, none: float, colour: float, blur: float) -> dict[str, Any]:
        return {
            "objects": objects,
            "shares": {"none": estimate(none), "colour": estimate(colour), "blur": estimate(blur)},
        }

    real = {"hard": shares(9, 0.0, 0.6, 0.4), "easy": shares(15, 0.97, 0.03, 0.0)}
    hard, easy = ({one: shares(24, *found), other: shares(0, 0, 0, 0)} for one, other, found in (
        ("hard", "easy", (0.1, 0.87, 0.03)), ("easy", "hard", (0.92, 0.08, 0.0)),
    ))  # fmt: skip
    words = {"colour": "unusual colour", "blur": "<blurred>"}
    return {"sha256": "f" * 64, "words": words, "truth": real, "real": real, "views": {"easy": easy, "hard": hard}}


def evaluation() -> dict[str, Any]:
    def view(strategy: str, strength: float) -> dict[str, Any]:
        scores = {name: block(0.9 if strategy == "easy" else 0.4) for name in (DETECTOR, HELD_OUT)}
        about = {"name": strategy if not strength else f"attribute guidance {strength:g}", "strategy": strategy}
        fid = {"fid": None, "fid_note": "no --inception FILE was given", "scene_fid": None}
        return {**about, "attribute_guidance": strength, "scores": scores, "detector_feature_distance": 1.25, **fid}

    system = {"kind": "DetDiffusion", "blueprint": True, "attributes": True, "perception_head": True}
    drop = {key: estimate(0.5) for key in ("confidence", "AP50", "mAP")}
    ours = {
        **system,
        "name": "papercut",
        "parameters": 17_000_000,
        "sha256": "a" * 64,
        "autoencoder": {"kept": 0.98},
        "views": [view(*one) for one in VIEWS],
        "drop": {DETECTOR: drop, HELD_OUT: drop},
        "transfer": {DETECTOR: {"own": estimate(0.4), "others": estimate(0.05), "ratio": 8.0}},
        "hard_found": {HELD_OUT: 1.7},
        "mask_iou": estimate(0.82),
        "causes": causes(),
    }
    baseline = {
        **ours,
        "name": "geodiffusion",
        "kind": "GeoDiffusion",
        "views": [view("origin", 0.0)],
        "sha256": "b" * 64,
    }
    del baseline["causes"]
    baseline |= {"drop": None, "transfer": None, "hard_found": None, "mask_iou": None, "attributes": False}
    return {
        "format": 2,
        "layouts": {"spec": "papercut:12@900000", "source": "papercut", "count": IMAGES, "objects": 24, "things": 24}
        | {"filter": None}
        | {"hard_share": 0.41, "fingerprint": "c" * 64},
        "sampler": {"steps": 20, "guidance": 3.0, "batch": 16, "size": [64, 64]},
        "attributes_by": {"name": DETECTOR, "sha256": "d" * 64},
        "detectors": [
            {"name": DETECTOR, "sha256": "d" * 64, "min_score": 0.5, "unmapped": ["<zebra>"]},
            {"name": HELD_OUT, "sha256": "e" * 64, "min_score": 0.5, "unmapped": []},
        ],
        "inception": None,
        "real": {"scores": {DETECTOR: block(0.6), HELD_OUT: block(0.7)}},
        "systems": [ours, baseline],
    }


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """report.json with report.work beside it."""
    path, work = tmp_path / "report.json", tmp_path / "report.work"
    path.write_text(json.dumps(evaluation()))
    boxes = [{"label": "car", "box": [0.1, 0.1, 0.5, 0.5]}, {"label": "cat", "box": [0.5, 0.5, 0.6, 0.6]}]
    for folder in ("real", "papercut/origin", "papercut/easy", "papercut/hard", "papercut/masks"):
        (work / folder).mkdir(parents=True)
        for number in range(IMAGES):
            Image.new("RGB", (64, 64), (number * 9, 99, 99)).save(work / folder / f"{number:05d}.png")
    layout = {"width": 64, "height": 64, "objects": [{**box, "attribute": "easy"} for box in boxes]}
    lines = [json.dumps({"index": i, "seed": i, "image": None, "layout": layout}) for i in range(IMAGES)]
    (work / "layouts.jsonl").write_text("\n".join(lines))
    rows = []
    for system, view, confidence in ((None, "real", 0.7), ("papercut", "easy", 0.9), ("papercut", "hard", 0.3)):
        for number in range(IMAGES):
            for place, box in enumerate(boxes):
                sure = round(confidence * (number + 1) / IMAGES, 3)
                about = {"system": system, "view": view, "picture": number, "object": place, "label": box["label"]}
                rest = {"attribute": "easy", "asked": view, "area": 0.16 if place == 0 else 0.01}
                rows.append(json.dumps({**about, **rest, "confidence": {DETECTOR: sure, HELD_OUT: sure}}))
    (work / "objects.jsonl").write_text("\n".join(rows))
    return path


def ablation() -> dict[str, Any]:
    def row(name: str, seeds: list[int], value: dict[str, Any] | None) -> dict[str, Any]:
        scores = {**dict.fromkeys(ABLATION_COLUMNS), **dict.fromkeys(ABLATION_SCORES, value)}
        return {"name": name, "variant": None, "seeds": seeds, **scores}

    settings = {"generator": {"steps": 2000, "batch": 16, "size": [160, 160]}, "layouts": 150}
    rows = [row("full", [0, 1], {**estimate(0.31), "values": [0.3, 0.32]}), row("without dice", [], None)]
    return {"format": "ablation-2", "preset": "small", "rows": rows, "settings": settings}


def titles(blocks: list[Any]) -> list[str]:
    return [
        block.text if isinstance(block, Heading) else block.title for block in blocks if not isinstance(block, Text)
    ]


def test_everything_is_said(report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "ablation.json"
    other.write_text(json.dumps(ablation()))
    assert main(["report", str(report), str(other), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out" / "report.html")
    page, notes = ((tmp_path / "out" / name).read_text() for name in ("report.html", "report.md"))
    for text in (
        "papercut:12@900000 (12 layouts)",
        "41 % of the things are truly hard",
        "0.900 [0.850, 0.950]",  # AP50 of easy
        "50.0 [47.0, 53.0]",  # AP50 points lost
        "170 %",
        "0.820 [0.790, 0.850]",
        "No FID: no --inception FILE was given.",
        "29.8",  # of the paper
        "31.0 ± 3.0",
        "31.2 / 40.2 / 35.6",
        "unusual colour",
        "87 [84, 90]",
        "Causes of 5 % or more of the generated hard objects: 1.",
        "a" * 64,
        "e" * 64,
    ):
        assert text in page.replace("\u00a0", " ") and text in notes, text
    assert "&lt;zebra&gt;" in page and "<zebra>" not in page
    assert not re.search(r"""(src|href)=["']?(?!["']?data:)|@import|url\(""", page.replace('src="data:', "")), (
        "nothing from anywhere"
    )
    assert str(tmp_path) not in page + notes
    for link in re.findall(r"\]\(([^)]+)\)", notes):
        assert (tmp_path / "out" / link).is_file(), link


def test_the_same_input_gives_the_same_bytes(report: Path, tmp_path: Path) -> None:
    pages = [write_report([read_report(report)], tmp_path / name).read_bytes() for name in ("a", "b")]
    assert pages[0] == pages[1]


def test_pairs_are_chosen_by_the_numbers(report: Path) -> None:
    one = read_report(report)
    assert isinstance(one, Evaluation)
    blocks = list(evaluation_sections(one))
    assert titles(blocks).count("papercut: by class") == 1 and "papercut: attribute guidance" in titles(blocks)
    sheets = {block.name: block.image for block in blocks if isinstance(block, ImageBlock)}
    assert set(sheets) == {f"papercut-{name}" for name in ("largest", "median", "smallest", "masks")}
    # The drop grows with the picture's number, and so does the red of the picture: the corner of the first sheet.
    reds = {name: sheet.getpixel((4, 4))[0] for name, sheet in sheets.items() if name != "papercut-masks"}  # type: ignore[index]
    assert reds == {"papercut-largest": 99, "papercut-median": 63, "papercut-smallest": 18}


def test_what_is_not_there_is_left_out(report: Path, tmp_path: Path) -> None:
    bare = evaluation()
    bare["real"], bare["attributes_by"], bare["layouts"]["hard_share"] = None, None, None
    path = tmp_path / "alone.json"
    path.write_text(json.dumps(bare))
    one = read_report(path)
    assert isinstance(one, Evaluation)
    blocks = list(evaluation_sections(one))
    assert not [block for block in blocks if isinstance(block, ImageBlock)]
    assert not [block for block in blocks if isinstance(block, Plot) and "guidance" not in block.title]
    assert "By yolo11n" in titles(blocks)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("{", "cannot be read as a report"), ("[]", "has format None"), ('{"format": 1}', "has format 1; a report has 2")],
)
def test_other_files_are_refused(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(DataError, match=reason):
        read_report(tmp_path / "report.json")
    (tmp_path / "half.json").write_text('{"format": 2}')
    with pytest.raises(DataError, match=r"half\.json: layouts is missing"):
        read_report(tmp_path / "half.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_report(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="is a file"):
        write_report([], tmp_path / "report.json")


def test_damaged_rows_are_said(report: Path) -> None:
    (report.parent / "report.work" / "objects.jsonl").write_text('{"system": ')
    with pytest.raises(DataError, match=r"objects\.jsonl is damaged"):
        write_report([read_report(report)], report.parent / "out")


def test_a_row_that_says_something_else_than_was_written_is_refused(report: Path) -> None:
    """Every row has its seal: one digit more of confidence would be a plot of results that nobody had."""
    path = report.parent / "report.work" / "objects.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("\n".join(json.dumps(sealed(row)) for row in rows))
    assert read_report(report).objects[(None, "real")], "sealed rows are read, as those without a seal"
    path.write_text(path.read_text().replace(f'"{DETECTOR}": 0.', f'"{DETECTOR}": 0.9', 1))
    with pytest.raises(DataError, match=r"objects\.jsonl is damaged"):
        _ = read_report(report).objects


def test_an_ablation_without_results() -> None:
    table = next(block for block in ablation_sections(AblationTable.from_json(ablation())) if isinstance(block, Table))
    assert table.rows[1] == ("without dice", "-", "-", "-", "-", "-", "0", "29.6 / 39.4 / 34.5")


def trainability(seeds: int) -> dict[str, Any]:
    def row(name: str, value: float, gain: float | None) -> dict[str, Any]:
        scores = dict.fromkeys(("mAP", "AP50", "AP75", "APm", "APl"), over_seeds(value))
        gains = dict.fromkeys(("mAP", "AP50"), None if gain is None else over_seeds(gain))
        about = {"name": name, "pictures": {"real": 59, "synthetic": 400}, "seeds": list(range(seeds))}
        recall = {"easy": over_seeds(0.9), "hard": over_seeds(0.2)}
        return {**about, **scores, "gain": gains, "by_class": {"cell": over_seeds(value)}, "recall50": recall}

    counts = {"real": 59, "validation": 72, "an_epoch": 459, "epochs": 10}
    settings = {"detector": "yolo11n", "real": "cells", "batch": 16, "image_size": 320, "pictures": counts}
    rows = [row("real only", 0.4, None), row("real + hard", 0.42, 0.02)]
    return {"format": "trainability-1", "settings": settings, "rows": rows}


@pytest.mark.parametrize(("counts", "updates"), [({}, 290), ({"an_epoch": 48, "epochs": 2 / 3}, 2)])
def test_what_detectors_learn(counts: dict[str, float], updates: int, tmp_path: Path) -> None:
    """Torchvision's detectors may make less than an epoch."""
    path, values = tmp_path / "trainability.json", trainability(3)
    values["settings"]["pictures"] |= counts
    path.write_text(json.dumps(values))
    assert main(["report", str(path), "--out", str(tmp_path / "out")]) == 0
    notes = (tmp_path / "out" / "report.md").read_text()
    assert f"{updates} updates of 16" in notes and "| real + hard | 400 |" in notes
    assert "2.0 \u00b1 3.0" in notes and "easy ones" in notes and "files/cells-gain.svg" in notes


def test_a_report_writes_into_its_folder_alone(tmp_path: Path) -> None:
    """Names in it come from data of anybody: they are no paths, and no markup."""
    values = trainability(3)
    values["settings"]["real"] = "../../../<img src=x onerror=alert(1)>"
    values["rows"][1]["name"] = "[x](javascript:alert(1)) <b>|"
    path = tmp_path / "deep/er/trainability.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(values))
    assert main(["report", str(path), "--out", str(path.parent / "out")]) == 0
    written = {file.relative_to(tmp_path).parts[:3] for file in tmp_path.rglob("*.svg")}
    assert written == {("deep", "er", "out")}
    notes = (path.parent / "out" / "report.md").read_text()
    assert "<img" not in notes and "<b>" not in notes and "](javascript" not in notes


def test_a_table_without_trainings() -> None:
    """Before the first one is done there are no numbers, and the page says so."""
    empty = trainability(0)
    for row in empty["rows"]:
        row |= dict.fromkeys(("mAP", "AP50", "AP75", "APm", "APl", "recall50"))
        row |= {"gain": {"mAP": None, "AP50": None}, "by_class": {}}
    blocks = list(trainability_sections(TrainabilityTable.from_json(empty)))
    assert not [block for block in blocks if isinstance(block, Plot)]
    table = next(block for block in blocks if isinstance(block, Table))
    assert table.rows[0] == ("real only", "400", *["-"] * 7, "0")


@pytest.mark.parametrize(
    "svg",
    [
        scatter([(0.0, 1.0), (0.5, 0.5)], "a & b", "c < d"),
        bars([Bar("car & <cat>", 0.5, 0.4, 0.6), Bar("dog", -0.1, -0.2, 0.0)], "lost"),
        curves([Line("easy", ((0.0, 0.1), (2.0, 0.9))), Line("hard", ((0.0, 0.2), (2.0, 0.1)), dashed=True)], "a"),
        curves([Line("one", ((1.0, 0.5),))], "a"),
    ],
)
def test_plots_are_drawings(svg: str) -> None:
    root = ET.fromstring(svg)
    width, height = (float(value) for value in root.attrib["viewBox"].split()[2:])
    for element in root.iter():
        assert 0 <= float(element.attrib.get("x", 0)) <= width and 0 <= float(element.attrib.get("y", 0)) <= height
        assert 0 <= float(element.attrib.get("width", 0)) <= width
    assert "nan" not in svg


def test_plots_beside_each_other_and_sections_are_closed(tmp_path: Path) -> None:
    plot = Plot("p", "p", scatter([], "a", "b"))
    blocks = [Heading("one"), plot, plot, Text("t"), plot, Heading("two"), Table("", ("a", "b"), (("x|y", "1"),))]
    page = to_html("title", blocks)
    for tag in ("section", "div", "figure", "table"):
        assert page.count(f"<{tag}") == page.count(f"</{tag}>"), tag
    assert page.count('class="row"') == 2
    write_markdown("title", blocks, tmp_path)
    assert "| x\\|y | 1 |" in (tmp_path / "report.md").read_text()
    ET.parse(tmp_path / "files" / "p.svg")
