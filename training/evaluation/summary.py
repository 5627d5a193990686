"""Drawn and detected pictures -> what the report says of them (docs/EVALUATION.md has the format)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from detdiffusion.attributes import Strategy
from detdiffusion.detection import Detector
from detdiffusion.evaluation.bootstrap import Estimate
from detdiffusion.evaluation.effect import Block, confidence_drop, numbers, score_drop, transfer
from detdiffusion.layout import Attribute, Layout
from training.evaluation.variants import ONE_HARD, View, tagged_object

if TYPE_CHECKING:
    from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
    from detdiffusion.text.vocabulary import Vocabulary

FORMAT = 2

Scores = Mapping[str, Block]  # of one set of pictures, by detector


def scores_json(scores: Scores) -> dict[str, Any]:
    return {name: block.to_json() for name, block in scores.items()}


def estimate_json(estimate: Estimate) -> dict[str, Any]:
    return numbers(estimate.to_json())


def drop_json(views: Mapping[str, Scores]) -> dict[str, Any] | None:
    """Easy minus hard, for every detector; None unless both were drawn."""
    if not {Strategy.EASY, Strategy.HARD} <= set(views):
        return None
    found = {}
    for name, easy in views[Strategy.EASY].items():
        hard = views[Strategy.HARD][name]
        drops = {"confidence": confidence_drop(easy, hard)}
        drops |= {score: score_drop(easy, hard, score) for score in ("AP50", "mAP")}
        found[name] = {key: estimate_json(drop) for key, drop in drops.items()}
    return found


def transfer_json(views: Mapping[str, Scores], layouts: Sequence[Layout]) -> dict[str, Any] | None:
    """What one object loses when it alone is asked to be hard, and what the others lose; None unless it was drawn."""
    if ONE_HARD not in views:
        return None
    tagged = [tagged_object(place, layout) for place, layout in enumerate(layouts)]
    return {
        name: transfer(views[Strategy.EASY][name], one_hard, tagged).to_json()
        for name, one_hard in views[ONE_HARD].items()
    }


def hard_found_json(views: Mapping[str, Scores], real: Scores | None) -> dict[str, Any] | None:
    """By every detector but the first: recall on objects asked to be hard, as a share of its recall on truly hard ones.
    Hard objects must fool the first detector and still be found by others: 0 would mean that they are not there."""
    if real is None or Strategy.HARD not in views or len(real) < 2:
        return None
    shares = {}
    for name, hard in list(views[Strategy.HARD].items())[1:]:
        expected = real[name].by_attribute[Attribute.HARD].recall50
        shares[name] = hard.recall50 / expected if expected > 0 else float("nan")
    return numbers(shares)


def kept_json(real: Block, restored: Block) -> dict[str, Any]:
    """`kept`: mean confidence on truly easy objects after the autoencoder, as a share of what it was before."""
    before, after = (block.by_attribute[Attribute.EASY].mean_confidence for block in (real, restored))
    return numbers({"kept": after / before if before > 0 else float("nan")})


def about_pipeline(pipe: DetDiffusionPipeline) -> dict[str, Any]:
    """Kind and parts of a model, and its number of weights (a safety checker apart)."""
    from torch import nn

    attributes = bool(pipe.vocabulary.attribute_words)
    if getattr(pipe, "controlnet", None) is not None:
        kind = "ControlNet"
    else:
        kind = "DetDiffusion" if attributes else "GeoDiffusion"
    parts = [part for name, part in pipe.components.items() if isinstance(part, nn.Module) and name != "safety_checker"]
    return {
        "kind": kind,
        "blueprint": pipe.blueprint is not None,
        "attributes": attributes,
        "perception_head": pipe.perception_head is not None,
        "parameters": sum(weights.numel() for part in parts for weights in part.parameters()),
    }


def about_detectors(
    detectors: Mapping[str, Detector], layouts: Sequence[Layout], vocabulary: Vocabulary
) -> list[dict[str, Any]]:
    """Who was asked; `unmapped` are the classes of the layouts' things that a detector does not know."""
    boxes = [box for layout in layouts for box in layout.boxes]
    wanted = {b.label for b in boxes if b.attribute is not Attribute.BACKGROUND or vocabulary.is_thing(b.label)}
    return [
        {
            "name": name,
            "sha256": detector.sha256,
            "min_score": round(float(detector.min_score), 6),
            "unmapped": sorted(wanted - set(detector.labels)),
        }
        for name, detector in detectors.items()
    ]


def object_rows(
    system: str | None, view: View | None, layouts: Sequence[Layout], scores: Scores, *, attributes: bool = True
) -> Iterator[str]:
    """A row of JSON for every object of a view (None: of the real pictures).

    attributes: whether the model could be asked for any.
    """
    about = {"system": system, "view": "real" if view is None else view.name}
    for picture, layout in enumerate(layouts):
        asked = view.asked(picture, layout) if view is not None and attributes else None
        for place, box in enumerate(layout.boxes):
            row: dict[str, Any] = {**about, "picture": picture, "object": place, "label": box.label}
            row["attribute"], row["asked"] = box.attribute, asked.boxes[place].attribute if asked else None
            row["area"] = round(box.area, 6)
            row["confidence"] = numbers({name: one.confidences[picture][place] for name, one in scores.items()})
            yield json.dumps(row) + "\n"


def summary(report: Mapping[str, Any]) -> list[str]:
    """The report as lines for people, by its first detector."""
    lead = report["detectors"][0]["name"]
    lines = [f"{'':34}{'AP50':>8}{'mAP':>8}{'recall':>8}{'confidence':>12}   by {lead}"]
    if report["real"] is not None:
        lines.append(_line("real", report["real"]["scores"][lead]))
    for system in report["systems"]:
        lines += [_line(f"{system['name']}: {view['name']}", view["scores"][lead]) for view in system["views"]]
        estimates = {
            "easy to hard, confidence lost": (system["drop"] or {}).get(lead, {}).get("confidence"),
            "one hard object, its own loss": (system["transfer"] or {}).get(lead, {}).get("own"),
            "one hard object, the others' loss": (system["transfer"] or {}).get(lead, {}).get("others"),
            "masks, mean IoU": system["mask_iou"],
        }
        lines += [f"  {what}: {_words(value)}" for what, value in estimates.items() if value is not None]
    return lines


def _line(what: str, block: Mapping[str, Any]) -> str:
    scores = (_number(block[name]) for name in ("AP50", "mAP", "recall50", "mean_confidence"))
    return "{:34}{:>8}{:>8}{:>8}{:>12}".format(what, *scores)


def _words(estimate: Mapping[str, Any]) -> str:
    low, high = map(_number, estimate["ci95"])
    return f"{_number(estimate['mean'])} (95 % interval {low} to {high})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
