"""A detector over a data set: attributes by Eq. 2; killed, resumed, read back through a filter; and the command."""

import argparse
import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from detdiffusion.attributes import AttributeRule
from detdiffusion.core.files import unsealed
from detdiffusion.detection import Detections
from detdiffusion.errors import ConfigError, DataError, DetectorError
from detdiffusion.layout import Attribute
from training.data.attributes import FORMAT, read_attributes
from training.data.datasets import Dataset, open_dataset
from training.data.filters import EVERYTHING, NO_FILTER, LayoutFilter
from training.labelling import annotate
from training.labelling.annotate import annotate_dataset, with_attributes

EASY, HARD, BACKGROUND = Attribute
WIDTH, HEIGHT = 32, 24
PATCHES = {  # name -> class, colour, box in pixels
    "bright": ("car", (220, 40, 40), (2, 2, 12, 12)),
    "dim": ("car", (120, 20, 20), (16, 2, 30, 12)),
    "cup": ("cup", (40, 40, 220), (2, 14, 12, 22)),
    "grass": ("grass", (40, 200, 60), (16, 14, 30, 22)),
}
SCORES = {"bright": 0.9, "dim": 0.3, "cup": 0.9, "grass": 0.9}
IMAGES = (("bright", "grass"), ("dim", "cup"), ("dim", "bright", "cup", "grass")) * 2  # things first, as COCO has it
IDS = [str(10 + number) for number in range(len(IMAGES))]
# The detector below knows cars, finds the bright one, and knows grass, which is stuff in these data.
TRUTH = {"bright": EASY, "dim": HARD, "cup": BACKGROUND, "grass": BACKGROUND}
EXPECTED = {image_id: tuple(TRUTH[name] for name in names) for image_id, names in zip(IDS, IMAGES, strict=True)}
SOME = LayoutFilter(min_area=0.12, min_objects=2, max_objects=8, crowds=True, ignored=())  # leaves the cup out
REAL = os.environ.get("DETDIFFUSION_REAL_DATA")


class Killed(Exception):
    pass


class ColourDetector:
    """Finds the patches by their colours."""

    name, min_score = "colours", 0.5

    def __init__(self, labels: tuple[str, ...] = ("car", "grass"), sha256: str = "c" * 64) -> None:
        self.labels, self.sha256 = labels, sha256
        self.batches: list[int] = []

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        self.batches.append(len(images))
        return [self._look(np.asarray(image)) for image in images]

    def _look(self, pixels: np.ndarray) -> Detections:
        labels, scores, boxes = [], [], []
        for name, (label, colour, _) in PATCHES.items():
            rows, columns = np.nonzero((pixels == colour).all(-1))
            if label in self.labels and len(rows):
                low, high = (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)
                labels.append(label)
                scores.append(SCORES[name])
                boxes.append([low[0] / WIDTH, low[1] / HEIGHT, high[0] / WIDTH, high[1] / HEIGHT])
        return Detections(tuple(labels), np.array(scores, np.float32), np.array(boxes, np.float32).reshape(-1, 4))


def write_folder(folder: Path, pictures: Sequence[Sequence[str]] = IMAGES) -> Path:
    """A COCO-Thing-Stuff folder with a picture for each list of patches."""
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for file, categories in (("instances", ("car", "cup")), ("stuff", ("grass",))):
        images, annotations = [], []
        for number, names in enumerate(pictures, start=10):
            image = Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90))
            images.append({"id": number, "file_name": f"{number}.png", "width": WIDTH, "height": HEIGHT})
            for name in names:
                label, colour, (x1, y1, x2, y2) = PATCHES[name]
                ImageDraw.Draw(image).rectangle((x1, y1, x2 - 1, y2 - 1), fill=colour)
                if label in categories:
                    box = {"category_id": categories.index(label) + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
                    annotations.append({"id": len(annotations), "image_id": number, "iscrowd": 0, **box})
            image.save(folder / "images" / f"{number}.png")
        names_of = [{"id": number, "name": name} for number, name in enumerate(categories, start=1)]
        content = {"images": images, "annotations": annotations, "categories": names_of}
        (folder / "annotations" / f"{file}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "data")


@pytest.fixture
def dataset(folder: Path, tmp_path: Path) -> Dataset:
    return open_dataset(folder, index=tmp_path / "index.sqlite")


@pytest.fixture
def made(dataset: Dataset, tmp_path: Path) -> Path:
    return annotate_dataset(dataset, ColourDetector(), tmp_path / "made.jsonl", AttributeRule())


# --- writing --------------------------------------------------------------------------------------


def test_found_is_easy_missed_is_hard_unknown_things_and_all_stuff_are_background(dataset: Dataset, made: Path) -> None:
    header, *rows = (unsealed(json.loads(line)) for line in made.read_text().splitlines())
    assert header == {
        "format": FORMAT,
        "data": dataset.fingerprint,
        "detector": {"name": "colours", "sha256": "c" * 64},
        "rule": {"min_score": 0.5, "min_iou": 0.5, "match_class": True},
    }
    assert rows == [{"image_id": i, "attributes": list(attributes)} for i, attributes in EXPECTED.items()]


@pytest.mark.parametrize(
    ("rule", "labels", "attributes"),
    [
        (AttributeRule(min_score=0.2), ("car",), (EASY, EASY, BACKGROUND, BACKGROUND)),
        (AttributeRule(min_score=0.95), ("car",), (HARD, HARD, BACKGROUND, BACKGROUND)),
        (AttributeRule(), ("cup", "car"), (HARD, EASY, EASY, BACKGROUND)),
        (AttributeRule(), ("zebra",), (BACKGROUND,) * 4),
    ],
)
def test_rule_and_classes_of_the_detector_decide(
    dataset: Dataset, tmp_path: Path, rule: AttributeRule, labels: tuple[str, ...], attributes: tuple[Attribute, ...]
) -> None:
    out = annotate_dataset(dataset, ColourDetector(labels), tmp_path / "a.jsonl", rule)
    assert read_attributes(out, dataset)["12"] == attributes


@pytest.mark.parametrize("torn", [b"", b'{"image_id": "14", "attri', b"{"])
def test_a_killed_run_goes_on_and_ends_with_the_same_file(
    dataset: Dataset, made: Path, tmp_path: Path, torn: bytes
) -> None:
    reports: list[tuple[int, int, dict[str, float]]] = []

    def kill(done: int, total: int, metrics: dict[str, float]) -> None:
        reports.append((done, total, metrics))
        if done == 4:
            raise Killed

    cut, first, second = tmp_path / "cut.jsonl", ColourDetector(), ColourDetector()
    with pytest.raises(Killed):
        annotate_dataset(dataset, first, cut, AttributeRule(), batch=2, on_step=kill)
    assert reports == [(2, 6, {"easy_share": 0.5}), (4, 6, {"easy_share": 0.6})]
    with cut.open("ab") as file:
        file.write(torn)
    annotate_dataset(dataset, second, cut, AttributeRule(), batch=2)
    assert cut.read_bytes() == made.read_bytes()
    assert (first.batches, second.batches) == ([2, 2], [2])
    annotate_dataset(dataset, second, cut, AttributeRule(), batch=2)
    assert second.batches == [2], "nothing is left to ask"


@pytest.mark.parametrize("length", [0, 1, 20, 60])
def test_a_kill_within_the_header_is_survived(dataset: Dataset, made: Path, tmp_path: Path, length: int) -> None:
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(made.read_bytes()[:length])
    with pytest.raises(DataError, match="holds 0 of 6 images, not 10"):
        read_attributes(cut, dataset)
    annotate_dataset(dataset, ColourDetector(), cut, AttributeRule())
    assert cut.read_bytes() == made.read_bytes()


def test_another_rule_detector_or_data_set_needs_another_file(dataset: Dataset, made: Path, tmp_path: Path) -> None:
    other_data = open_dataset(write_folder(tmp_path / "other", IMAGES[:3]), index=tmp_path / "other.sqlite")
    before = made.read_bytes()
    for data, detector, rule, what in (
        (dataset, ColourDetector(), AttributeRule(min_iou=0.6), "another rule"),
        (dataset, ColourDetector(sha256="d" * 64), AttributeRule(), "another detector"),
        (other_data, ColourDetector(), AttributeRule(), "other data"),
        (other_data, ColourDetector(sha256="d" * 64), AttributeRule(), "other data, another detector"),
    ):
        with pytest.raises(DataError, match=f"holds attributes of {what}; delete it or give another --out"):
            annotate_dataset(data, detector, made, rule)
        assert detector.batches == []
    assert made.read_bytes() == before


def test_pictures_that_went_are_noticed(folder: Path, made: Path, tmp_path: Path) -> None:
    (folder / "images" / "12.png").unlink()
    fewer = open_dataset(folder, index=tmp_path / "new.sqlite")
    assert len(fewer) == 5
    with pytest.raises(DataError, match="came, went or changed since"):
        annotate_dataset(fewer, ColourDetector(), made, AttributeRule())
    kept = {image_id: attributes for image_id, attributes in EXPECTED.items() if image_id != "12"}
    assert read_attributes(made, fewer) == kept, "what is left has its attributes"


@pytest.mark.parametrize("text", ["my notes", "my notes\n", "[]\n", '{"format": "other/1"}\n'])
def test_another_file_is_left_as_it_is(dataset: Dataset, tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text(text)
    for attempt in (
        lambda: annotate_dataset(dataset, ColourDetector(), path, AttributeRule()),
        lambda: read_attributes(path, dataset),
    ):
        with pytest.raises(DataError, match="is not a file of attributes"):
            attempt()
    assert path.read_text() == text


def test_a_cut_picture_stops_the_run_which_goes_on_when_it_is_whole(
    dataset: Dataset, folder: Path, made: Path, tmp_path: Path
) -> None:
    picture, out = folder / "images" / "13.png", tmp_path / "a.jsonl"
    whole = picture.read_bytes()
    picture.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"13\.png: image cannot be read"):
        annotate_dataset(dataset, ColourDetector(), out, AttributeRule(), batch=1)
    picture.write_bytes(whole)
    annotate_dataset(dataset, ColourDetector(), out, AttributeRule(), batch=1)
    assert out.read_bytes() == made.read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_said(dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "full.jsonl"
    annotate_dataset(dataset, ColourDetector(), out, AttributeRule())
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:3]))

    class Full(type(out)):  # type: ignore[misc]
        def open(self, mode: str = "r", *more: object, **others: object) -> object:
            return Path("/dev/full").open("wb") if mode == "ab" else super().open(mode, *more, **others)

    with pytest.raises(DataError, match=r"cannot be written .*free some space"):
        annotate_dataset(dataset, ColourDetector(), Full(out), AttributeRule())
    assert out.read_bytes() == b"".join(lines[:3])


# --- reading --------------------------------------------------------------------------------------


def test_what_was_written_is_read(dataset: Dataset, made: Path) -> None:
    attributes = read_attributes(made, dataset)
    assert attributes == EXPECTED
    layout = with_attributes(dataset[2].layout, attributes["12"])
    assert [(box.label, box.attribute) for box in layout.boxes] == [
        ("car", HARD),
        ("car", EASY),
        ("cup", BACKGROUND),
        ("grass", BACKGROUND),
    ]


def test_a_filter_takes_its_part_of_a_whole_file(folder: Path, made: Path, tmp_path: Path) -> None:
    some = open_dataset(folder, filter=SOME, index=tmp_path / "index.sqlite")
    two, three = (EASY, BACKGROUND), (HARD, EASY, BACKGROUND)
    expected = {"10": two, "12": three, "13": two, "15": three}
    assert read_attributes(made, some) == expected
    own = annotate_dataset(some, ColourDetector(), tmp_path / "own.jsonl", AttributeRule())
    assert read_attributes(own, some) == expected


def test_images_of_nothing_need_no_attributes(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", [*IMAGES, ()])
    some, whole = (
        open_dataset(folder, filter=bounds, index=tmp_path / "index.sqlite") for bounds in (NO_FILTER, EVERYTHING)
    )
    path = annotate_dataset(some, ColourDetector(), tmp_path / "made.jsonl", AttributeRule())
    assert len(whole) == len(some) + 1
    assert read_attributes(path, whole) == {**EXPECTED, str(10 + len(IMAGES)): ()}


def test_a_file_of_a_part_does_not_serve_the_whole(folder: Path, dataset: Dataset, tmp_path: Path) -> None:
    some = open_dataset(folder, filter=SOME, index=tmp_path / "index.sqlite")
    part = annotate_dataset(some, ColourDetector(), tmp_path / "part.jsonl", AttributeRule())
    with pytest.raises(DataError, match="another filter of it; make or finish it with: python -m training annotate"):
        read_attributes(part, dataset)
    with pytest.raises(DataError, match=r"--min-area 0\.13 --min-objects 2 --max-objects 8 --crowds --ignore for what"):
        read_attributes(part, open_dataset(folder, filter=replace(SOME, min_area=0.13), index=tmp_path / "i.sqlite"))


def test_an_unfinished_or_absent_file_names_the_command(dataset: Dataset, made: Path, tmp_path: Path) -> None:
    made.write_bytes(b"".join(made.read_bytes().splitlines(keepends=True)[:5]))
    command = f"python -m training annotate --data {dataset.root} "
    with pytest.raises(DataError) as unfinished:
        read_attributes(made, dataset)
    assert f"holds 4 of 6 images, not 14; make or finish it with: {command}" in str(unfinished.value)
    with pytest.raises(DataError) as absent:
        read_attributes(tmp_path / "absent.jsonl", dataset)
    assert f"no such file; make or finish it with: {command}" in str(absent.value)


@pytest.mark.parametrize("line", ["{}", "no JSON", '{"image_id": "12", "attributes": ["odd"]}', "[1]"])
def test_a_damaged_line_is_refused(dataset: Dataset, made: Path, line: str) -> None:
    lines = made.read_text().splitlines()
    made.write_text("\n".join([*lines[:3], line, *lines[4:]]) + "\n")
    with pytest.raises(DataError, match=r"is damaged .*delete it and annotate again"):
        read_attributes(made, dataset)


def test_a_line_of_another_length_is_refused(dataset: Dataset, made: Path) -> None:
    lines = made.read_text().splitlines()
    lines[3] = '{"image_id": "12", "attributes": ["easy"]}'
    made.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="image 12 has other objects now"):
        read_attributes(made, dataset)


# --- the command ----------------------------------------------------------------------------------


def parse(*words: str | Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    annotate.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(annotate, "load_detector", lambda name, model, **_: ColourDetector())
    monkeypatch.setattr(annotate, "detector_path", lambda name, model: name)


@pytest.mark.usefixtures("no_home")
def test_the_command_writes_attributes_summary_and_chart(
    folder: Path, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "attributes.jsonl"
    assert annotate.run(parse("--data", folder, "--detector", "bundled", "--out", out)) == 0
    assert read_attributes(out, dataset) == EXPECTED
    said = capsys.readouterr()
    assert "colours does not know 1 of the 2 classes of things; their objects are background" in said.err
    assert said.err.count(": cup\n") == 1
    *table, path = said.out.splitlines()
    assert path == str(out)
    assert [line.split() for line in table] == [
        ["class", "objects", "easy", "hard", "background", "easy", "share"],
        ["car", "8", "4", "4", "0", "50.0%"],
        ["cup", "4", "0", "0", "4", "-"],
        ["grass", "4", "0", "0", "4", "-"],
        ["all", "16", "4", "4", "8", "50.0%"],
    ]
    summary = json.loads(out.with_suffix(".summary.json").read_text())
    assert summary["objects"] == {
        "car": {"easy": 4, "hard": 4},
        "cup": {"background": 4},
        "grass": {"background": 4},
    }
    assert (summary["data"], summary["pictures"], summary["easy_share"]) == (dataset.fingerprint, 6, 0.5)
    with Image.open(out.with_suffix(".png")) as chart:
        assert chart.width == 1920
    assert sorted(file.name for file in out.parent.iterdir()) == [
        "attributes.jsonl",
        "attributes.png",
        "attributes.status.json",
        "attributes.summary.json",
    ]


@pytest.mark.usefixtures("no_home")
def test_options_reach_the_rule_and_the_filter(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    words = ("--min-score", "0.2", "--min-iou", "0.4", "--any-class", "--min-area", "0.12", "--min-objects", "2")
    annotate.run(parse("--data", folder, "--detector", "x", "--out", out, "--max-objects", "8", *words))
    assert json.loads(out.read_text().splitlines()[0])["rule"] == {
        "min_score": 0.2,
        "min_iou": 0.4,
        "match_class": False,
    }
    some = open_dataset(folder, filter=SOME, index=tmp_path / "index.sqlite")
    assert read_attributes(out, some)["12"] == (EASY, EASY, BACKGROUND)


@pytest.mark.usefixtures("no_home")
@pytest.mark.parametrize(
    ("min_score", "advice"), [("0.1", "100% .* easy .* higher --min-score"), ("0.99", "100% .* hard .* lower")]
)
def test_attributes_that_say_nothing_are_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], min_score: str, advice: str
) -> None:
    out = tmp_path / "a.jsonl"
    annotate.run(parse("--data", folder, "--detector", "x", "--out", out, "--min-score", min_score))
    assert re.search(advice, capsys.readouterr().err)


@pytest.mark.usefixtures("no_home")
@pytest.mark.parametrize("name", ["attributes.json", "attributes"])
def test_the_file_needs_its_ending(folder: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"needs to end with \.jsonl"):
        annotate.run(parse("--data", folder, "--detector", "x", "--out", tmp_path / name))


@pytest.mark.usefixtures("no_home")
def test_folds_do_not_start_where_the_end_would_be_refused(folder: Path, tmp_path: Path, made: Path) -> None:
    words = ("--data", folder, "--detector", "yolo11n.yaml", "--out", made, "--folds", "2")
    for more, what in (((), "another detector"), (("--min-iou", "0.7"), "another rule")):
        with pytest.raises(DataError, match=f"holds attributes of {what}"):
            annotate.run(parse(*words, *more))
    assert not made.with_suffix(".folds").exists()


def results_of(detector: ColourDetector, dataset: Dataset, ids: dict[str, int]) -> list[dict[str, object]]:
    """What the detector finds, as COCO's tools write it."""
    rows: list[dict[str, object]] = []
    for sample in dataset:
        (found,) = detector.detect([sample.load_image()])
        for label, score, (x1, y1, x2, y2) in zip(found.labels, found.scores, found.boxes_xyxy.tolist(), strict=True):
            box = [x1 * WIDTH, y1 * HEIGHT, (x2 - x1) * WIDTH, (y2 - y1) * HEIGHT]
            row = {"image_id": int(sample.image_id), "category_id": ids[label], "bbox": box, "score": float(score)}
            rows.append(row)
    return rows


def test_a_results_file_stands_in_for_the_detector(
    folder: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same attributes as by the detector itself; category ids are those of the data's own annotation file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    results, out = tmp_path / "results.json", tmp_path / "a.jsonl"
    results.write_text(json.dumps(results_of(ColourDetector(("car",)), dataset, {"car": 1})))
    assert annotate.run(parse("--data", folder, "--detector", results, "--out", out)) == 0
    assert read_attributes(out, dataset) == EXPECTED
    assert json.loads(out.read_text().splitlines()[0])["detector"]["name"] == "results"
    assert "results does not know 1 of the 2 classes of things" in capsys.readouterr().err
    results.write_text(results.read_text().replace('"image_id": 1', '"image_id": 99'))
    with pytest.raises(DetectorError, match=r"results for other images: it has image ids such as 99\d, and data .* 10"):
        annotate.run(parse("--data", folder, "--detector", results, "--out", tmp_path / "b.jsonl"))


def test_classes_are_matched_by_name(
    folder: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Results with names of their own, spelt in another way, and a class that the data set has not."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = results_of(ColourDetector(("car", "cup")), dataset, {"car": 5, "cup": 6})
    names = [{"id": 5, "name": "Car"}, {"id": 6, "name": "_CUP"}, {"id": 7, "name": "zebra"}]
    results, out = tmp_path / "results.json", tmp_path / "a.jsonl"
    results.write_text(json.dumps({"categories": names, "annotations": rows}))
    assert annotate.run(parse("--data", folder, "--detector", results, "--out", out)) == 0
    assert read_attributes(out, dataset)["12"] == (HARD, EASY, EASY, BACKGROUND)
    said = capsys.readouterr().err
    assert "2 classes of results have another name in the data: Car -> car, _CUP -> cup" in said
    assert "1 classes of results are not in the data: zebra" in said
    assert "does not know" not in said


@pytest.mark.model
@pytest.mark.skipif(REAL is None, reason="DETDIFFUSION_REAL_DATA names no folder of real data")
def test_real_coco_with_the_bundled_detector(tmp_path: Path) -> None:
    """Every object whose class the detector knows is easy or hard; stuff and unknown things, counted in COCO's own
    files, are background."""
    from detdiffusion.core.assets import BUNDLED_MODEL
    from detdiffusion.detectors import load_detector

    folder = Path(REAL or "") / "coco_thing_stuff_100"
    dataset = open_dataset(folder, index=tmp_path / "index.sqlite")
    detector = load_detector("bundled", BUNDLED_MODEL)
    out = annotate_dataset(dataset, detector, tmp_path / "a.jsonl", AttributeRule())
    given = [attribute for attributes in read_attributes(out, dataset).values() for attribute in attributes]
    instances = json.loads((folder / "annotations" / "instances_train2017.json").read_text())
    names = {category["id"]: category["name"] for category in instances["categories"]}
    knowable = sum(names[item["category_id"]] in detector.labels for item in instances["annotations"])
    assert len(given) == dataset.report.objects
    assert sum(attribute is not BACKGROUND for attribute in given) == pytest.approx(knowable, abs=3)  # empty boxes


@pytest.mark.usefixtures("no_home")
def test_a_detector_of_other_classes_is_refused_before_it_looks(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ColourDetector(("zebra", "kite"))
    monkeypatch.setattr(annotate, "load_detector", lambda name, model, **_: other)
    with pytest.raises(
        DetectorError, match=r"colours knows no class of the data: it knows zebra, kite, .* have car, cup"
    ):
        annotate.run(parse("--data", folder, "--detector", "x", "--out", tmp_path / "a.jsonl"))
    assert other.batches == [] and not (tmp_path / "a.jsonl").exists()
