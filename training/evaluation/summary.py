"""Drawn and detected images -> what the report says of them (`training.evaluation.report`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from detdiffusion.attributes import Strategy
from detdiffusion.detection import Detector
from detdiffusion.evaluation.bootstrap import Estimate
from detdiffusion.evaluation.effect import Block, Transfer, confidence_drop, score_drop, transfer
from detdiffusion.layout import Attribute, Layout
from training.core.typed_json import from_json
from training.data.layout_sources import LayoutSource
from training.evaluation.report import (
    COMMON,
    DetectorReport,
    Drop,
    EvaluationReport,
    GuidanceReport,
    Kept,
    Labeller,
    ObjectRow,
    Scores,
)
from training.evaluation.variants import ONE_HARD, Variant, tagged_object

if TYPE_CHECKING:
    from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
    from detdiffusion.text.vocabulary import Vocabulary

Blocks = Mapping[str, Block]  # of one set of images, by detector


def scores_of(blocks: Blocks) -> dict[str, Scores]:
    """Scores by the names of the detectors."""
    return {name: Scores.of(block) for name, block in blocks.items()}


def drop_of(variants: Mapping[str, Blocks]) -> dict[str, Drop] | None:
    """Easy minus hard, for every detector; None unless both were drawn."""
    if not {Strategy.EASY, Strategy.HARD} <= set(variants):
        return None
    pairs = {name: (easy, variants[Strategy.HARD][name]) for name, easy in variants[Strategy.EASY].items()}
    return {
        name: Drop(confidence_drop(easy, hard), score_drop(easy, hard, "AP50"), score_drop(easy, hard, "mAP"))
        for name, (easy, hard) in pairs.items()
    }


def transfer_of(variants: Mapping[str, Blocks], layouts: Sequence[Layout]) -> dict[str, Transfer] | None:
    """What one object loses when it alone is asked to be hard, and what the others lose; None unless it was drawn."""
    if ONE_HARD not in variants:
        return None
    tagged = [tagged_object(place, layout) for place, layout in enumerate(layouts)]
    easy = variants[Strategy.EASY]
    return {name: transfer(easy[name], one_hard, tagged) for name, one_hard in variants[ONE_HARD].items()}


def hard_found_of(variants: Mapping[str, Blocks], real: Blocks | None) -> dict[str, float] | None:
    """By every detector but the first: recall on objects asked to be hard, as a share of its recall on truly hard ones;
    NaN where it finds none of those. Hard objects must fool the first detector and still be found by others: 0 would
    mean that they are not there."""
    if real is None or Strategy.HARD not in variants or len(real) < 2:
        return None
    shares = {}
    for name, hard in list(variants[Strategy.HARD].items())[1:]:
        expected = real[name].by_attribute[Attribute.HARD].recall50
        shares[name] = hard.recall50 / expected if expected > 0 else math.nan
    return shares


def kept_of(real: Block, restored: Block) -> Kept:
    """Mean confidence on truly easy objects after the autoencoder, as a share of what it was before."""
    before, after = (block.by_attribute[Attribute.EASY].mean_confidence for block in (real, restored))
    return Kept(after / before if before > 0 else math.nan)


def kind_of(pipe: DetDiffusionPipeline) -> str:
    """The method that a pipeline follows, told by its parts."""
    if getattr(pipe, "controlnet", None) is not None:
        return "ControlNet"
    return "DetDiffusion" if pipe.vocabulary.attribute_words else "GeoDiffusion"


def count_weights(pipe: DetDiffusionPipeline) -> int:
    """Of all parts of a model but a safety checker."""
    from torch import nn

    parts = [part for name, part in pipe.components.items() if isinstance(part, nn.Module) and name != "safety_checker"]
    return sum(weights.numel() for part in parts for weights in part.parameters())


def detectors_of(
    detectors: Mapping[str, Detector], layouts: Sequence[Layout], vocabulary: Vocabulary
) -> tuple[DetectorReport, ...]:
    """Who was asked."""
    boxes = [box for layout in layouts for box in layout.boxes]
    wanted = {b.label for b in boxes if b.attribute is not Attribute.BACKGROUND or vocabulary.is_thing(b.label)}
    return tuple(
        DetectorReport(name, detector.sha256, float(detector.min_score), tuple(sorted(wanted - set(detector.labels))))
        for name, detector in detectors.items()
    )


def labellers_of(source: LayoutSource) -> Labeller | tuple[Labeller, ...] | None:
    """Who gave the layouts the attributes that they came with."""
    by = source.attributes_by
    if by is None:
        return None
    what = "the header of the attributes"
    return (
        tuple(from_json(Labeller, one, what) for one in by) if isinstance(by, list) else from_json(Labeller, by, what)
    )


def object_rows(
    system: str | None, variant: Variant | None, layouts: Sequence[Layout], blocks: Blocks, *, attributes: bool = True
) -> Iterator[ObjectRow]:
    """A row for every object of a variant (None: of the real images).

    attributes: whether the model could be asked for any; where a detector guides, it could.
    """
    shown = "real" if variant is None else variant.name
    for image, layout in enumerate(layouts):
        led = variant is not None and (attributes or bool(variant.detector_guidance))
        asked = variant.asked(image, layout) if variant is not None and led else None
        for place, box in enumerate(layout.boxes):
            wanted = asked.boxes[place].attribute if asked else None
            sure = {name: block.confidences[image][place] for name, block in blocks.items()}
            yield ObjectRow(system, shown, image, place, box.label, box.attribute, wanted, box.area, sure)


def summary(report: EvaluationReport) -> list[str]:
    """The report as lines for people, by its first detector."""
    lead = report.lead
    lines = [f"{'':34}{'AP50':>8}{'mAP':>8}{'recall':>8}{'confidence':>12}   by {lead}"]
    if report.real is not None:
        lines.append(_line("real", report.real.scores[lead]))
    for system in report.systems:
        for variant in system.views:
            lines += [_line(f"{system.name}: {variant.name}", variant.scores[lead]), *_guided(variant.guided)]
        drop, moved = (system.drop or {}).get(lead), (system.transfer or {}).get(lead)
        estimates = {
            "easy to hard, confidence lost": None if drop is None else drop.confidence,
            "one hard object, its own loss": None if moved is None else moved.own,
            "one hard object, the others' loss": None if moved is None else moved.others,
            "masks, mean IoU": system.mask_iou,
        }
        lines += [f"  {what}: {_words(value)}" for what, value in estimates.items() if value is not None]
        hard = None if system.causes is None else system.causes.views.get(Strategy.HARD, {}).get(Attribute.HARD)
        if hard is not None:
            lines.append(f"  causes of at least {COMMON:.0%} of the hard objects: {len(hard.common)}")
    return lines


def _guided(guided: GuidanceReport | None) -> list[str]:
    """What a detector's guidance did, against the same noise without it."""
    if guided is None:
        return []
    lines = [
        f"  against {guided.compared_with}, confidence lost by {one}: {_words(guided.drop[one])}" for one in guided.drop
    ]
    lines += [f"  objects found by {one}, of those before: {_words(kept)}" for one, kept in guided.recall_kept.items()]
    lines.append(f"  confidence lost by {guided.by} as JPEG files: {_words(guided.drop_after_jpeg)}")
    return [*lines, f"  finer than the autoencoder's cells, of what changed: {_words(guided.high_frequency)}"]


def _line(what: str, scores: Scores) -> str:
    shown = map(_number, (scores.AP50, scores.mAP, scores.recall50, scores.mean_confidence))
    return "{:34}{:>8}{:>8}{:>8}{:>12}".format(what, *shown)


def _words(estimate: Estimate) -> str:
    low, high = map(_number, estimate.ci95)
    return f"{_number(estimate.mean)} (95 % interval {low} to {high})"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
