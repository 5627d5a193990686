"""A diagnosis for people: one HTML page with everything inside, and a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

from PIL import Image

from detdiffusion.core.files import write_text
from detdiffusion.drawing import grid
from detdiffusion.evaluation.bootstrap import Estimate
from training.data.datasets import Dataset
from training.diagnosis.cases import Cases, drawn
from training.diagnosis.evidence import Evidence
from training.diagnosis.result import Diagnosis, Slice
from training.report.blocks import Block, Heading, ImageBlock, Plot, Table, Text, to_html
from training.report.plots import Bar, Line, bars, curves

SLICES = 12  # that are drawn, and shown with images
OTHERS = 25  # slices that are not named, in the table
IMAGES = 6  # of a slice, or of the hardest
COLUMNS = 3  # of a sheet
CONFUSED = 12  # classes up to which the whole confusion matrix is a table
NAME_WIDTH = 190  # of a slice in a drawing
ERRORS = {  # kind of error -> what people read
    "cls": "right place, wrong class",
    "loc": "right class, box too far off",
    "both": "near an object, wrong class and place",
    "dup": "an object found twice",
    "bkg": "nothing is there",
    "miss": "objects missed",
}
HEALTH = {
    "duplicates": "images that look alike",
    "tiny": "boxes with a side under 4 pixels",
    "huge": "boxes over 95 % of the image",
    "twice": "objects that are probably annotated twice",
    "missing": "sure detections where no object is annotated",
    "misplaced": "boxes that a sure detection would move",
    "swapped": "objects that a sure detection gives another class",
}


def write_page(found: Diagnosis, evidence: Evidence, dataset: Dataset, path: Path) -> Path:
    """Writes the page, and returns its path."""
    title = f"Diagnosis of {found.source.detector} on {found.source.data}"
    write_text(path, to_html(title, list(_blocks(found, evidence, dataset))))
    return path


def summary(found: Diagnosis) -> list[str]:
    """For the terminal: scores, errors, and the slices that are named."""
    source = found.source
    lines = [
        f"{source.images:,} images, {source.objects:,} objects: mAP {_points(found.mAP)}, "
        f"found {_percent(found.recall)}",
        "costs in points of mAP at IoU 0.5: "
        + ", ".join(f"{kind} {cost:.1f}" for kind, cost in found.errors.items() if not isnan(cost)),
    ]
    if not found.slices:
        return [*lines, f"no slice of {found.tested:,} is off the average beyond chance"]
    lines.append(f"slices off the average, worst first (of {found.tested:,}):")
    for one in found.slices[:SLICES]:
        lines.append(f"  {one.name}: found {_percent(Estimate(one.recall, one.ci95))} of {one.count:,}")
    return lines


def _blocks(found: Diagnosis, evidence: Evidence, dataset: Dataset) -> Iterator[Block]:
    sheets = _Sheets(evidence, dataset, found.source.min_score)
    yield from _overview(found)
    yield from _slices(found, evidence, sheets)
    yield from _errors(found)
    yield from _classes(found)
    yield from _calibration(found)
    yield from _confusion(found)
    yield from _hardest(found, sheets)
    yield from _health(found)


def _overview(found: Diagnosis) -> Iterator[Block]:
    source = found.source
    yield Text(
        f"{source.images:,} images with {source.objects:,} objects. An object is found where a detection of its class "
        f"with a score of {source.min_score:g} or more overlaps it by half or more (IoU), each detection counting "
        "once. Brackets: 95 % intervals, bootstrap over images."
    )
    if source.unknown:
        yield Text(
            f"{source.detector} does not know: {', '.join(source.unknown)}. Their objects do not count.", note=True
        )
    scores = ("mAP", "AP50", "AP75", "APs", "APm", "APl", "AR100")
    cells = tuple(_number(100 * found.metrics[name], 1) for name in scores)
    yield Heading("Scores")
    row = ("per cent", *cells, _percent(found.recall), _points(found.confidence))
    yield Table("", ("", *scores, "found", "mean confidence"), (row,))
    yield Text(
        f"COCO's numbers in per cent (mAP {_points(found.mAP)}); APs, APm, APl: objects under 32x32 pixels, under "
        "96x96, and larger ones. Mean confidence: over all objects, 0 where one is missed.",
        note=True,
    )


# --- slices ---------------------------------------------------------------------------------------


def _slices(found: Diagnosis, evidence: Evidence, sheets: _Sheets) -> Iterator[Block]:
    yield Heading("Slices that are worse than the average")
    average = 100 * found.recall.mean
    if not found.slices:
        yield Text(
            f"None: of {found.tested:,} slices with enough objects, no one's recall is below the average "
            f"({average:.0f} %) by more than chance explains."
        )
    else:
        yield Text(
            f"Of {found.tested:,} slices with enough objects these are below the average ({average:.0f} %) by more "
            "than chance explains, all slices counted; worst first. Slices that one of these explains are not repeated."
        )
        shown = found.slices[:SLICES]
        rows = [Bar(one.name, 100 * one.recall, 100 * one.ci95[0], 100 * one.ci95[1]) for one in shown]
        rows.append(Bar("all objects", average, 100 * found.recall.ci95[0], 100 * found.recall.ci95[1]))
        yield Plot("slices", "Found, in per cent", bars(rows, "objects found, per cent", NAME_WIDTH))
        yield Table("", _SLICE_COLUMNS, tuple(map(_slice_row, shown)))
        for number, one in enumerate(shown[: SLICES // 2]):
            yield from sheets.of_slice(f"slice-{number}", f"{one.name}: missed", Cases.of_slice(found, evidence, one))
    others = [one for one in found.others if one.explained_by is None][:OTHERS]
    if others:
        yield Table("The next ones: not off the average beyond chance", _SLICE_COLUMNS, tuple(map(_slice_row, others)))


_SLICE_COLUMNS = ("", "found", "objects", "images", "confidence", "chance (all slices counted)")


def _slice_row(one: Slice) -> tuple[str, ...]:
    confidence = _points(Estimate(one.confidence, one.confidence_ci95))
    chance = "under 0.001" if one.p < 0.001 else f"{one.p:.3f}"
    recall = _percent(Estimate(one.recall, one.ci95))
    return (one.name, recall, f"{one.count:,}", f"{one.images:,}", confidence, chance)


# --- errors, classes, calibration, confusion ------------------------------------------------------


def _errors(found: Diagnosis) -> Iterator[Block]:
    yield Heading("What errors cost")
    rows = [Bar(ERRORS[kind], cost, cost, cost) for kind, cost in found.errors.items() if not isnan(cost)]
    if rows:
        yield Plot("errors", "Points of mAP lost", bars(rows, "points of mAP at IoU 0.5", NAME_WIDTH + 30))
    counts = tuple((ERRORS[kind], kind, f"{found.error_counts[kind]:,}") for kind in found.errors)
    yield Table("", ("", "key", "how many"), counts)
    yield Text(
        "TIDE (Bolya et al., ECCV 2020): by how much mAP at IoU 0.5 would rise if the errors of one kind were mended. "
        "Each is measured alone, so they add up to no total. All detections count for that, down to the lowest score. "
        f"How many there are: with detections from a score of {found.error_score:g} on, where F1 is best.",
        note=True,
    )


def _classes(found: Diagnosis) -> Iterator[Block]:
    yield Heading("Classes")
    rows = tuple(
        (
            row.label,
            f"{row.objects:,}",
            _number(100 * row.mAP, 1),
            _number(100 * row.AP50, 1),
            _number(100 * row.recall, 0),
            _number(row.confidence, 2),
        )
        for row in found.classes
    )
    yield Table("", ("", "objects", "mAP", "AP50", "found, %", "confidence"), rows)


def _calibration(found: Diagnosis) -> Iterator[Block]:
    one = found.calibration
    yield Heading("Calibration")
    points = tuple((item.confidence, item.precision) for item in one.bins if item.count)
    if not points:
        yield Text("No detection has a score that says anything.")
        return
    said = f"Expected calibration error: {one.ece:.3f}"
    lines = [Line("this detector", points), Line("as sure as right", ((0, 0), (1, 1)), dashed=True)]
    drawn = curves(lines, "confidence", (0, 0.5, 1))
    yield Plot("calibration", f"{said}. Share of detections that are right, by confidence", drawn)
    rows = tuple(
        (
            f"{item.low:.1f} to {item.high:.1f}",
            f"{item.count:,}",
            _number(item.confidence, 2),
            _number(item.precision, 2),
        )
        for item in one.bins
        if item.count
    )
    yield Table("", ("confidence", "detections", "mean confidence", "right"), rows)
    yield Text(f"Of detections with a score of {one.least:g} or more.", note=True)


def _confusion(found: Diagnosis) -> Iterator[Block]:
    yield Heading("What is taken for what")
    labels, rows = found.confusion.labels, found.confusion.rows
    names = (*labels, "nothing")
    if len(labels) <= CONFUSED:
        table = tuple(
            (f"{name} is" if name != "nothing" else "nothing there", *(f"{count:,}" if count else "" for count in row))
            for name, row in zip(names, rows, strict=True)
        )
        yield Table("", ("", *labels, "missed"), table)
    pairs = sorted(
        (-count, names[true], names[said])
        for true, row in enumerate(rows)
        for said, count in enumerate(row)
        if count and true != said and said < len(labels) and true < len(labels)
    )[:OTHERS]
    listed = tuple((f"{true} taken for {said}", f"{-count:,}") for count, true, said in pairs)
    if listed:
        yield Table("Most often", ("", "objects"), listed)
    else:
        yield Text("No class is taken for another one.")


# --- images ---------------------------------------------------------------------------------------


def _hardest(found: Diagnosis, sheets: _Sheets) -> Iterator[Block]:
    yield Heading("The hardest images")
    yield Text(
        "By 1 - the sum of confidence x IoU over what is found, by objects and false alarms. Green: found; red: "
        "missed; with a score: a wrong detection."
    )
    ids = [one.image for one in found.hardest_images[:IMAGES]]
    yield from sheets.of_images("hardest", "Hardest first", ids)
    rows = tuple(
        (one.image, f"{one.hardness:.2f}", f"{one.objects:,}", f"{one.missed:,}", f"{one.false_alarms:,}")
        for one in found.hardest_images[:OTHERS]
    )
    yield Table("", ("image", "hardness", "objects", "missed", "false alarms"), rows)


class _Sheets:
    """Images of the data with what was found and missed in them."""

    def __init__(self, evidence: Evidence, dataset: Dataset, min_score: float) -> None:
        self.evidence, self.dataset, self.min_score = evidence, dataset, min_score
        self.place = {image_id: number for number, image_id in enumerate(evidence.ids.tolist())}

    def of_slice(self, name: str, title: str, cases: Cases) -> Iterator[Block]:
        """Images of the objects that the detector is least sure of, one of each image."""
        first = cases.ranked(cases.confidence, lowest=True)[:IMAGES]
        yield from self._sheet(name, title, cases.image[first].tolist())

    def of_images(self, name: str, title: str, ids: Sequence[str]) -> Iterator[Block]:
        """Images by their ids."""
        yield from self._sheet(name, title, [self.place[image_id] for image_id in ids])

    def _sheet(self, name: str, title: str, images: Sequence[int]) -> Iterator[Block]:
        if images:
            yield ImageBlock(name, title, grid([self._drawn(image) for image in images], COLUMNS))

    def _drawn(self, image: int) -> Image.Image:
        return drawn(self.evidence, image, self.dataset[image].load_image(), self.min_score)


# --- the data -------------------------------------------------------------------------------------


def _health(found: Diagnosis) -> Iterator[Block]:
    yield Heading("Health of the data")
    health = found.health
    rows = [(text, f"{health[key]['count']:,}") for key, text in HEALTH.items()]
    rows += [
        (f"images that look like one of split {name}", f"{one['count']:,}") for name, one in health["leaks"].items()
    ]
    yield Table("", ("", "how many"), tuple(rows))
    few: Sequence[Mapping[str, Any]] = health["few"]
    if few:
        named = ", ".join(f"{one['label']} ({one['objects']})" for one in few[:OTHERS])
        yield Text(f"Classes with few objects: {named}.")
    for key in ("missing", "misplaced", "swapped"):
        examples = health[key]["examples"][: SLICES // 2]
        table = tuple(
            (one["image"], f"{one['score']:.2f}", one["found"], one.get("label", "nothing")) for one in examples
        )
        if table:
            yield Table(HEALTH[key].capitalize(), ("image", "score", "detector", "annotation"), table)
    yield Text("Each is a candidate for a look, and no verdict; all that were found are in diagnosis.json.", note=True)


# --- numbers --------------------------------------------------------------------------------------


def _points(found: Estimate) -> str:
    return _interval(found, 1)


def _percent(found: Estimate) -> str:
    return _interval(found, 0) + (" %" if not isnan(found.mean) else "")


def _interval(found: Estimate, digits: int) -> str:
    if isnan(found.mean):
        return "-"
    low, high = found.ci95
    around = "" if isnan(low) else f" [{100 * low:.{digits}f}, {100 * high:.{digits}f}]"
    return f"{100 * found.mean:.{digits}f}{around}"


def _number(value: float, digits: int) -> str:
    return "-" if isnan(value) else f"{value:.{digits}f}"
