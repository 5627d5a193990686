"""Tables of many trainings -> sections: the ablation, and what detectors learn from generated pictures."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan

from training.report.blocks import Block, Heading, Plot, Table, Text
from training.report.plots import Bar, bars
from training.studies.tables import (
    ABLATION_COLUMNS,
    TRAINABILITY_SCORES,
    AblationTable,
    SeedEstimate,
    TrainabilityTable,
    percent,
)

# DetDiffusion, CVPR 2024: the supplement's Table 1, and the main paper's trainability on COCO (mAP).
PAPER_ABLATION = {
    "full": "31.2 / 40.2 / 35.6",
    "without sqrt(alpha_bar)": "29.6 / 38.6 / 34.3",
    "without dice": "29.6 / 39.4 / 34.5",
}
PAPER_COLUMN = "the paper's mAP / AP50 / AP75"
PAPER_TRAINABILITY = (
    ("real only", "34.5"),
    ("real + ControlNet", "34.4"),
    ("real + GeoDiffusion", "34.8"),
    ("real + DetDiffusion, origin", "35.3"),
    ("real + DetDiffusion, hard", "35.4"),
    ("real + DetDiffusion, easy", "35.2"),
)


def ablation_sections(one: AblationTable) -> Iterator[Block]:
    """The blocks of one ablation."""
    generator, layouts = one.learned.generator, one.learned.layouts
    height, width = generator.size
    yield Heading(f"Ablation, preset {one.preset}")
    yield Text(
        f"Trained alike but for the row's part: {generator.steps:,} steps of {generator.batch}, "
        f"{width}x{height} pixels; scores in per cent of images asked to be easy, on "
        f"{layouts} unseen layouts; confidence lost from easy to hard; the perception head's "
        "masks against the true ones; means over seeds with 95 % intervals (Student's t)."
    )
    rows = tuple(
        (
            row.name,
            *(_percent(getattr(row, name)) for name in ABLATION_COLUMNS),
            str(len(row.seeds)),
            PAPER_ABLATION.get(row.name, "-"),
        )
        for row in one.rows
    )
    yield Table("", ("", "mAP", "AP50", "AP75", "confidence lost", "mask IoU", "seeds", PAPER_COLUMN), rows)
    yield Text("The paper's rows are of Stable Diffusion v1.5 on COCO: compare the order, not the numbers.", note=True)


def trainability_sections(one: TrainabilityTable) -> Iterator[Block]:
    """The blocks of one trainability study."""
    settings, rows = one.learned, one.rows
    counts = settings.pictures
    updates = round(counts.epochs * -(-counts.an_epoch // settings.batch))
    yield Heading(f"What {settings.detector} learns: {settings.real}")
    yield Text(
        f"Trained on {counts.real:,} real images, and on generated ones beside them, with {updates:,} updates of "
        f"{settings.batch} in every row, {settings.image_size} pixels; scores in per cent on "
        f"{counts.validation:,} real images that no row has seen; means over seeds with 95 % intervals (Student's "
        "t). Gains are over the first row, seed by seed."
    )
    cells = tuple(
        (
            row.name,
            f"{row.pictures.synthetic:,}",
            *(_percent(getattr(row, name)) for name in TRAINABILITY_SCORES),
            _percent(row.gain.mAP),
            _percent(row.gain.AP50),
            str(len(row.seeds)),
        )
        for row in rows
    )
    yield Table("", ("", "generated", *TRAINABILITY_SCORES, "gain, mAP", "gain, AP50", "seeds"), cells)
    gains = [_bar(row.name, row.gain.mAP) for row in rows if row.gain.mAP is not None]
    if gains:
        yield Plot(f"{settings.real}-gain", "Gain over real only", bars(gains, "points of mAP"))
    labels = list(rows[0].by_class)
    by_class = tuple((row.name, *(_percent(row.by_class.get(label)) for label in labels)) for row in rows)
    yield Table("mAP by class", ("", *labels), by_class)
    if rows[0].recall50 is not None:
        found = tuple((row.name, *(_percent((row.recall50 or {}).get(k)) for k in ("easy", "hard"))) for row in rows)
        yield Table("Found, of the validation's objects", ("", "easy ones", "hard ones"), found)
    yield Table("The paper, on COCO (Faster R-CNN R50-FPN)", ("", "mAP"), PAPER_TRAINABILITY)
    yield Text(
        "The paper's rows are of Stable Diffusion v1.5 on COCO: they are in no ranking with those above.", note=True
    )


def _bar(name: str, gain: SeedEstimate) -> Bar:
    low, high = (gain.mean if isnan(end) else end for end in gain.ci95)
    return Bar(name, 100 * gain.mean, 100 * low, 100 * high)


def _percent(found: SeedEstimate | None) -> str:
    return percent(found, sign="\u00b1")
