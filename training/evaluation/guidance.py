"""What guidance by a detector does to images, and whether it is honest: the objects are there for other detectors, and
the drop is not one of noise that a JPEG file takes away.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detdiffusion.detection import Detector
from detdiffusion.evaluation.bootstrap import Estimate, estimate_mean, estimate_ratio, resamples
from detdiffusion.evaluation.comparison import object_confidences
from detdiffusion.evaluation.effect import Block, confidence_drop, owners_of
from detdiffusion.evaluation.frequency import high_frequency_share
from detdiffusion.layout import Layout
from training.evaluation.report import GuidanceReport
from training.evaluation.store import SeenImages
from training.evaluation.variants import Variant

JPEG_QUALITY = 90
_AT_ONCE = 16  # images held


def plain_of(variant: Variant, drawn: Sequence[Variant]) -> Variant | None:
    """Which variant was drawn as this one but for the detector's guidance; origin for a model that knows no words; None
    where there is none."""
    same = [one for one in drawn if not one.detector_guidance and not one.attribute_guidance]
    return next((one for one in same if one.strategy == variant.strategy), same[0] if same else None)


def guidance_report(
    variant: Variant,
    images: Mapping[Variant, SeenImages],
    scores: Mapping[str, Mapping[str, Block]],
    layouts: Sequence[Layout],
    detectors: Mapping[str, Detector],
    cell: int,
) -> GuidanceReport | None:
    """Of the images of a variant that the first detector guided, against those of the same noise that none did; None
    where no detector guided, or there are no others.

    Args:
        images, scores: of all variants that are drawn; how every detector scores them by the variants' names.
        detectors: that look, the first one guides.
        cell: pixels a latent cell, on each side.
    """
    plain = plain_of(variant, list(images))
    if not variant.detector_guidance or plain is None:
        return None
    before, after = scores[plain.name], scores[variant.name]
    by, detector = next(iter(detectors.items()))
    first, then = (np.concatenate(_confidences(layouts, images[one], detector)) for one in (plain, variant))
    owners, drawn = owners_of(after[by].confidences), resamples(len(layouts))
    return GuidanceReport(
        strength=variant.detector_guidance,
        by=by,
        compared_with=plain.name,
        drop={name: confidence_drop(before[name], block) for name, block in after.items()},
        recall_kept={name: _recall_kept(before[name], after[name], one.min_score) for name, one in detectors.items()},
        drop_after_jpeg=estimate_mean(first - then, owners, drawn),
        high_frequency=_fineness(images[variant], images[plain], cell),
    )


def _recall_kept(plain: Block, guided: Block, limit: float) -> Estimate:
    """Objects found in guided images, as a share of those found in plain ones."""
    found = [np.array([np.sum(np.array(row) >= limit) for row in one.confidences]) for one in (guided, plain)]
    with np.errstate(invalid="ignore", divide="ignore"):  # of none found before there is no share
        return estimate_ratio(found[0].astype(float), found[1].astype(float), resamples(len(found[0])))


def _confidences(layouts: Sequence[Layout], images: SeenImages, detector: Detector) -> list[NDArray[np.float64]]:
    """The detector's, in the images as JPEG files: [N] of each."""
    confidences = []
    for first in range(0, images.count, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, images.count))
        found = detector.detect([as_jpeg(image) for image in images.load(numbers)])
        confidences += [
            object_confidences(layouts[number], one, known_labels=detector.labels)
            for number, one in zip(numbers, found, strict=True)
        ]
    return confidences


def as_jpeg(image: Image.Image) -> Image.Image:
    """What is left of an image in a JPEG file of quality 90."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=JPEG_QUALITY)
    return Image.open(file).convert("RGB")


def _fineness(images: SeenImages, before: SeenImages, cell: int) -> Estimate:
    shares = []
    for number in range(images.count):
        (image,), (plain,) = (one.load(range(number, number + 1)) for one in (images, before))
        shares.append(high_frequency_share(image, plain, cell))
    return estimate_mean(np.array(shares), np.arange(len(shares)), resamples(len(shares)))
