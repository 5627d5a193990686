"""Reports -> sections: what was run, scores, what asking for hard does, pairs that nobody picked, weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
from PIL import Image, ImageDraw

from detdiffusion.drawing import ATTRIBUTE_COLOURS, grid
from detdiffusion.evaluation.bootstrap import Estimate, bootstrap_ci
from detdiffusion.layout import Attribute, Layout
from training.evaluation.report import COMMON, CauseShares, CausesReport, ObjectRow, SamplerReport, Scores, SystemReport
from training.report.blocks import Block, Heading, ImageBlock, Plot, Table, Text
from training.report.data import Evaluation
from training.report.plots import Bar, Line, bars, curves, scatter

PAIRS = 3  # best, median and worst ones each
POINTS = 1500  # of the scatter, at most
SIDE = 256  # pixels of a shown picture
SIZES = (("small (under 2 %)", 0.0, 0.02), ("medium (2 to 10 %)", 0.02, 0.1), ("large (over 10 %)", 0.1, 1.01))

# DetDiffusion, CVPR 2024: FID and YOLO score on COCO (main paper).
PAPER_FIDELITY = (
    ("GLIGEN", "21.04", "22.4"),
    ("ControlNet", "20.37", "24.8"),
    ("GeoDiffusion", "20.16", "29.1"),
    ("DetDiffusion, origin", "19.28", "29.8"),
    ("DetDiffusion, easy", "19.66", "31.2"),
    ("DetDiffusion, hard", "19.72", "25.3"),
)
PAPER_GAP = 5.9  # points of mAP, easy to hard


@dataclass(frozen=True, slots=True)
class Pair:
    """The first detector's confidence in one object, asked to be easy and asked to be hard; NaN: it does not count."""

    image: int  # place among the layouts
    label: str
    area: float
    easy: float
    hard: float

    @property
    def drop(self) -> float:
        """Confidence lost from easy to hard."""
        return self.easy - self.hard


def evaluation_sections(one: Evaluation) -> Iterator[Block]:
    """The blocks of one evaluation, from what was run to what it looks like."""
    yield Heading(f"Evaluation: {one.title}")
    yield from _what_was_run(one)
    yield from _scores(one)
    yield from _effect(one)
    yield from _causes(one)
    yield from _plots(one)
    yield from _pairs(one)
    yield from _masks(one)
    yield from _weights(one)


# --- tables ---


def _what_was_run(one: Evaluation) -> Iterator[Block]:
    layouts, sampler = one.report.layouts, one.report.sampler
    height, width = sampler.size
    share = "" if isnan(layouts.hard_share) else f", {100 * layouts.hard_share:.0f} % of the things are truly hard"
    names = [labeller.name for labeller in one.report.labellers]
    by = f"by {', '.join(names)}" if names else "they came with the layouts"
    yield Text(
        f"{layouts.objects:,} objects, {layouts.things:,} of them things{share} (attributes: {by}). Images of "
        f"{width}x{height} pixels, {_way(sampler)}; every system and view "
        "draws a layout from the same noise."
    )
    for system in one.report.systems:
        if system.sampler is not None:
            yield Text(f"{system.name} is drawn in {_way(system.sampler)}.")
    for detector in one.report.detectors:
        if detector.unmapped:
            yield Text(f"{detector.name} does not know: {', '.join(detector.unmapped)}.", note=True)


def _scores(one: Evaluation) -> Iterator[Block]:
    views = [(system, view) for system in one.report.systems for view in system.views]
    for detector in one.detectors:
        rows = [
            (f"{system.name}, {view.name}", _parts(system), *_score_cells(view.scores[detector]))
            for system, view in views
        ]
        if one.report.real is not None:
            rows.insert(0, ("real images", "", *_score_cells(one.report.real.scores[detector])))
        columns = ("", "blueprint", "AP50", "mAP", "AP75", "found", "confidence")
        yield Table(f"By {detector}", columns, tuple(rows))
    yield Text(
        "AP by COCO's rules, found: share of objects with confidence at the detector's threshold or above; brackets: "
        "95 % intervals, bootstrap over layouts.",
        note=True,
    )
    distances = tuple(
        (
            f"{system.name}, {view.name}",
            _number(view.detector_feature_distance, 2),
            _number(view.fid, 2),
            _number(view.scene_fid, 2),
        )
        for system, view in views
    )
    yield Table("Distance to the real images", ("", "detector feature distance", "FID", "FID of objects"), distances)
    yield Text(
        f"Detector feature distance: Frechet distance of the features of {one.lead}, a figure of our own that compares "
        "with nothing but itself.",
        note=True,
    )
    notes = {view.fid_note for _, view in views if view.fid_note}
    for note in sorted(notes):
        yield Text(f"No FID: {note}.", note=True)
    yield Table("The paper, on COCO", ("", "FID", "YOLO mAP"), PAPER_FIDELITY)
    yield Text(
        "The paper's rows are of Stable Diffusion v1.5 on COCO, by YOLOv4: they show the shape of the effect and are "
        "in no ranking with the numbers above.",
        note=True,
    )


def _effect(one: Evaluation) -> Iterator[Block]:
    gaps: list[tuple[str, ...]] = []
    transfers: list[tuple[str, ...]] = []
    for system in one.report.systems:
        for detector, drop in (system.drop or {}).items():
            found = (system.hard_found or {}).get(detector, nan)
            lost = (_estimate(drop.confidence), _points(drop.AP50), _points(drop.mAP))
            gaps.append((f"{system.name}, by {detector}", *lost, "-" if isnan(found) else f"{100 * found:.0f} %"))
        for detector, moved in (system.transfer or {}).items():
            ratio = "the others lose nothing" if isnan(moved.ratio) else _number(moved.ratio, 1)
            transfers.append((f"{system.name}, by {detector}", _estimate(moved.own), _estimate(moved.others), ratio))
    if gaps:
        columns = ("", "confidence lost", "AP50 points lost", "mAP points lost", "hard ones found")
        yield Table("From easy to hard, same layouts and noises", columns, tuple(gaps))
        yield Text(
            f"The paper's gap is {PAPER_GAP} points of mAP. Hard ones found: recall on objects asked to be hard, as a "
            "share of that on truly hard objects of real images, by detectors that gave no attributes; far below "
            "100 % would mean that hard objects were left out.",
            note=True,
        )
    if transfers:
        heads = ("", "its own confidence lost", "lost by the others", "ratio")
        yield Table("One object of each layout asked to be hard, the others easy", heads, tuple(transfers))
    shapes = [(system.name, _estimate(system.mask_iou)) for system in one.report.systems if system.mask_iou]
    if shapes:
        yield Table("Masks of the perception head on real images", ("", "mean IoU with the true masks"), tuple(shapes))


def _causes(one: Evaluation) -> Iterator[Block]:
    for system in one.report.systems:
        if system.causes is None:
            continue
        columns = list(_cause_columns(system.causes))
        names = ("none", *system.causes.words)
        words = {"none": "no cause", **system.causes.words}
        rows = [("objects", *(f"{found.objects:,}" for _, found in columns))]
        rows += [(words[name], *(_percent(found.shares[name]) for _, found in columns)) for name in names]
        heads = ("", *(head for head, _ in columns))
        yield Table(f"{system.name}: what makes objects difficult, % of the objects", heads, tuple(rows))
        drawn = system.causes.views.get("hard") or system.causes.views.get("origin")
        common = [] if drawn is None else drawn["hard"].common
        yield Text(
            f"A cause is counted where the classifier of the model's folder gives it 50 % or more; an object may have "
            "several. It errs, so found shares compare with found ones. The view origin has the boxes of the real hard "
            "objects; where all are asked to be hard, sizes and places are those of all. "
            f"Causes of {100 * COMMON:.0f} % or more of the generated hard objects: {len(common)}.",
            note=True,
        )


def _cause_columns(causes: CausesReport) -> Iterator[tuple[str, CauseShares]]:
    """What stands above a column, and what in it: real objects first, easy ones last."""
    if causes.truth is not None:
        yield "real hard, true", causes.truth["hard"]
    if causes.real is not None:
        yield "real hard, found", causes.real["hard"]
    for view, found in causes.views.items():
        if found["hard"].objects:
            yield f"asked hard, {view}", found["hard"]
    if causes.real is not None:
        yield "real easy, found", causes.real["easy"]
    if "easy" in causes.views:
        yield "asked easy, easy", causes.views["easy"]["easy"]


def _weights(one: Evaluation) -> Iterator[Block]:
    rows = [
        (system.name, system.kind, f"{system.parameters / 1e6:.1f}M", system.sha256) for system in one.report.systems
    ]
    rows += [(detector.name, "detector", "", detector.sha256) for detector in one.report.detectors]
    if one.report.inception is not None:
        rows.append(("Inception", "FID", "", one.report.inception.sha256))
    rows.append(("layouts", "", "", one.report.layouts.fingerprint))
    yield Table("Weights and layouts, SHA-256", ("", "", "weights", "SHA-256"), tuple(rows), long=frozenset({3}))


# --- plots ---


def _plots(one: Evaluation) -> Iterator[Block]:
    for system in one.report.systems:
        pairs = _confidences(one, system.name)
        if pairs:
            yield from _pair_plots(one, system.name, pairs)
        yield from _attribute_guidance(one, system)


def _pair_plots(one: Evaluation, system: str, pairs: Sequence[Pair]) -> Iterator[Block]:
    shown = pairs[:: -(-len(pairs) // POINTS)]
    points = [(pair.easy, pair.hard) for pair in shown]
    what = f"{system}: confidence of {one.lead}, object by object"
    yield Plot(f"{system}-scatter", what, scatter(points, "asked to be easy", "asked to be hard"))
    by_class = sorted({pair.label for pair in pairs})
    rows = [_bar(label, [pair for pair in pairs if pair.label == label]) for label in by_class]
    rows.sort(key=lambda row: -row.mean)
    yield Plot(f"{system}-drop-by-class", f"{system}: by class", bars(rows, "confidence lost from easy to hard"))
    sized = [(name, [pair for pair in pairs if low <= pair.area < high]) for name, low, high in SIZES]
    rows = [_bar(name, found) for name, found in sized if found]
    yield Plot(f"{system}-drop-by-size", f"{system}: by size", bars(rows, "confidence lost from easy to hard"))


def _attribute_guidance(one: Evaluation, system: SystemReport) -> Iterator[Block]:
    """Recall and confidence as attribute guidance grows; 0 is origin."""
    views = {
        view.attribute_guidance: view for view in system.views if view.attribute_guidance or view.strategy == "origin"
    }
    if len(views) < 3:
        return
    lines = []
    for detector in one.detectors:
        scores = [(a, views[a].scores[detector]) for a in sorted(views)]
        found = tuple((a, _or_zero(one.recall50)) for a, one in scores)
        sure = tuple((a, _or_zero(one.mean_confidence)) for a, one in scores)
        lines += [Line(f"found, {detector}", found), Line(f"confidence, {detector}", sure, dashed=True)]
    yield Plot(
        f"{system.name}-attribute-guidance", f"{system.name}: attribute guidance", curves(lines, "attribute guidance")
    )


def _or_zero(value: float) -> float:
    return 0.0 if isnan(value) else value


def _bar(name: str, pairs: Sequence[Pair]) -> Bar:
    drops = [pair.drop for pair in pairs]
    low, high = bootstrap_ci(drops, [pair.image for pair in pairs])
    return Bar(name, float(np.mean(drops)), low, high)


def _confidences(one: Evaluation, system: str) -> list[Pair]:
    easy, hard = (one.objects.get((system, view), []) for view in ("easy", "hard"))
    pairs = [
        Pair(a.picture, a.label, a.area, a.confidence[one.lead], b.confidence[one.lead])
        for a, b in zip(easy, hard, strict=False)
    ]
    return [pair for pair in pairs if not isnan(pair.drop)]


# --- pictures ---


def _pairs(one: Evaluation) -> Iterator[Block]:
    """The layouts whose things lose most, about the middle, and least: by the numbers, not by hand."""
    for system in one.report.systems:
        drops: dict[int, list[float]] = {}
        for pair in _confidences(one, system.name):
            drops.setdefault(pair.image, []).append(pair.drop)
        order = sorted(drops, key=lambda picture: (-float(np.mean(drops[picture])), picture))
        if len(order) < 3 * PAIRS:
            continue
        middle = (len(order) - PAIRS) // 2
        chosen = {"largest": order[:PAIRS], "median": order[middle : middle + PAIRS], "smallest": order[-PAIRS:]}
        for name, pictures in chosen.items():
            sheet = _sheet(one, system, pictures)
            if sheet is not None:
                title = f"{system.name}: the {name} drops (real, {', '.join(_shown_views(system))})"
                yield ImageBlock(f"{system.name}-{name}", title, sheet)


def _sheet(one: Evaluation, system: SystemReport, pictures: Sequence[int]) -> Image.Image | None:
    shown = []
    columns: list[tuple[str | None, str]] = [(None, "real")]
    columns += [(system.name, view) for view in _shown_views(system)]
    for number in pictures:
        for owner, view in columns:
            image = one.picture(owner, view, number)
            if image is None:
                return None
            rows = [row for row in one.objects.get((owner, view), []) if row.picture == number]
            shown.append(_with_confidences(image, one.layouts[number], rows, one.lead))
    return grid(shown, len(columns))


def _shown_views(system: SystemReport) -> list[str]:
    return [view.name for view in system.views if view.name in ("origin", "easy", "hard")]


def _with_confidences(image: Image.Image, layout: Layout, rows: Sequence[ObjectRow], detector: str) -> Image.Image:
    """The things of a picture with the detector's confidence; green where it is half sure or more, red where not."""
    canvas = image.resize((SIDE, round(SIDE * image.height / image.width)), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(canvas)
    for row in rows:
        confidence = row.confidence[detector]
        if isnan(confidence):
            continue
        x1, y1, x2, y2 = layout.boxes[row.object].xyxy
        corners = (x1 * canvas.width, y1 * canvas.height, x2 * canvas.width - 1, y2 * canvas.height - 1)
        colour = ATTRIBUTE_COLOURS[Attribute.EASY if confidence >= 0.5 else Attribute.HARD]
        draw.rectangle(corners, outline=colour, width=2)
        text = f"{row.label} {confidence:.2f}"
        draw.rectangle((*corners[:2], corners[0] + 6 * len(text) + 3, corners[1] + 12), fill=colour)
        draw.text((corners[0] + 2, corners[1]), text, fill=(255, 255, 255))
    return canvas


def _masks(one: Evaluation) -> Iterator[Block]:
    for system in one.report.systems:
        masks = one.masks(system.name)
        if masks:
            title = f"{system.name}: what the perception head sees in generated images"
            yield ImageBlock(f"{system.name}-masks", title, grid([_scaled(mask) for mask in masks], 4))


def _scaled(image: Image.Image) -> Image.Image:
    return image.resize((SIDE, round(SIDE * image.height / image.width)), Image.Resampling.BICUBIC)


# --- cells ---


def _score_cells(scores: Scores) -> tuple[str, ...]:
    return (
        _estimate(scores.estimate("AP50")),
        _estimate(scores.estimate("mAP")),
        _number(scores.AP75),
        _estimate(scores.estimate("recall50")),
        _estimate(scores.estimate("mean_confidence")),
    )


def _estimate(found: Estimate) -> str:
    return _shown(found, lambda value: f"{value:.3f}")


def _percent(found: Estimate) -> str:
    return _shown(found, lambda value: f"{100 * value:.0f}")


def _points(found: Estimate) -> str:
    return _shown(found, lambda value: f"{100 * value:.1f}")


def _shown(found: Estimate, form: Callable[[float], str]) -> str:
    if isnan(found.mean):
        return "-"
    low, high = found.ci95
    return form(found.mean) + ("" if isnan(low) else f" [{form(low)}, {form(high)}]")


def _number(value: float, digits: int = 3) -> str:
    return "-" if isnan(value) else f"{value:.{digits}f}"


def _way(sampler: SamplerReport) -> str:
    kind = f" of {sampler.sampler}" if sampler.sampler else ""
    beta = sampler.gligen_scheduled_sampling_beta
    early = "" if beta is None else f", boxes seen in the first {beta:.0%} of the steps"
    return f"{sampler.steps} steps{kind}, guidance {sampler.guidance:g}{early}"


def _parts(system: SystemReport) -> str:
    return "on" if system.blueprint else "off"
