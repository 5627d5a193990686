"""The report of an evaluation: frozen values, as `report.json` has them (docs/EVALUATION.md has the format).

It is made by `training.evaluation.summary` and read by `training.report`; neither knows the other. Numbers that cannot
be told are NaN here and null in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from detdiffusion.evaluation.bootstrap import Estimate, interval
from detdiffusion.evaluation.effect import Block, Group, Transfer
from training.core import typed_json
from training.core.typed_json import MEASURED, Number
from training.data.filters import LayoutFilter

FORMAT = 2
COMMON = 0.05  # share of the objects from which on a cause is one of theirs

Measured = Annotated[Estimate, *MEASURED]
Groups = Mapping[str, Annotated[Group, *MEASURED]]
Interval = Annotated[tuple[float, float], *MEASURED]  # 95 %


@dataclass(frozen=True, slots=True)
class Scores:
    """Of one set of images by one detector, things only, as fractions."""

    mAP: Number
    AP50: Number
    AP75: Number
    APs: Number
    APm: Number
    APl: Number
    recall50: Number
    mean_confidence: Number
    objects: int
    AP50_ci95: Interval
    mAP_ci95: Interval
    recall50_ci95: Interval
    mean_confidence_ci95: Interval
    by_attribute: Groups
    by_class: Groups
    by_size: Groups

    @classmethod
    def of(cls, block: Block) -> Scores:
        """What the report keeps of a measurement."""
        return cls(
            **asdict(block.precision),
            recall50=block.recall50,
            mean_confidence=block.mean_confidence,
            objects=block.objects,
            AP50_ci95=interval(block.samples["AP50"]),
            mAP_ci95=interval(block.samples["mAP"]),
            recall50_ci95=interval(block.samples["recall50"]),
            mean_confidence_ci95=interval(block.samples["mean_confidence"]),
            by_attribute=block.by_attribute,
            by_class=block.by_class,
            by_size=block.by_size,
        )

    def estimate(self, name: str) -> Estimate:
        """A score with its interval. name: mAP, AP50, recall50 or mean_confidence."""
        return Estimate(getattr(self, name), getattr(self, f"{name}_ci95"))

    def to_json(self) -> dict[str, Any]:
        """As `report.json` has it."""
        return typed_json.to_json(self)


@dataclass(frozen=True, slots=True)
class Distance:
    """How far a variant's images are from the real ones."""

    fid: Number
    fid_note: str | None  # why there is no FID
    detector_feature_distance: Number
    scene_fid: Number


@dataclass(frozen=True, slots=True)
class GuidanceReport:
    """What guidance by a detector did, against images of the same noise without it.

    Attributes:
        by: the detector that guided. compared_with: the variant of the images without it.
        drop: confidence that each detector loses.
        recall_kept: objects that each one finds, as a share of those that it found before.
        drop_after_jpeg: what the detector that guided loses where both sets of images were JPEG files of quality 90.
        high_frequency: of the energy of the change, the share that is finer than the autoencoder's cells.
    """

    strength: float
    by: str
    compared_with: str
    drop: Mapping[str, Measured]
    recall_kept: Mapping[str, Measured]
    drop_after_jpeg: Measured
    high_frequency: Measured


@dataclass(frozen=True, slots=True)
class VariantReport:
    """What became of the layouts, asked for in one way."""

    name: str
    strategy: str
    attribute_guidance: Annotated[Number, typed_json.formerly("difficulty", "attribute_guidance")]
    scores: Mapping[str, Scores]  # by detector
    fid: Number
    fid_note: str | None
    detector_feature_distance: Number
    scene_fid: Number
    guided: Annotated[GuidanceReport | None, typed_json.left_out] = None  # None: no detector guided

    @property
    def detector_guidance(self) -> float:
        """Its strength."""
        return 0.0 if self.guided is None else self.guided.strength


@dataclass(frozen=True, slots=True)
class Drop:
    """Easy minus hard."""

    confidence: Measured
    AP50: Measured
    mAP: Measured


@dataclass(frozen=True, slots=True)
class Kept:
    """`kept`: share of the confidence in truly easy objects that is left after the autoencoder."""

    kept: Number


@dataclass(frozen=True, slots=True)
class CauseShares:
    """Of some objects: the share with each cause of difficulty, "none" among them. An object may have several, so
    shares do not add up to 1."""

    objects: int
    shares: Mapping[str, Measured]

    @property
    def common(self) -> list[str]:
        """Causes that at least `COMMON` of the objects have."""
        return [name for name, share in self.shares.items() if name != "none" and share.mean >= COMMON]


@dataclass(frozen=True, slots=True)
class CausesReport:
    """What makes objects difficult, by the classifier of the model's folder. "hard" and "easy" are what real objects
    truly are, and what drawn ones were asked to be."""

    sha256: str  # of the classifier
    words: Mapping[str, str]  # of each cause, for people
    truth: Mapping[str, CauseShares] | None  # of the real images, by their maker; None: nobody knows
    real: Mapping[str, CauseShares] | None  # of the real images, as the classifier sees them; None: there are none
    views: Mapping[str, Mapping[str, CauseShares]]  # of drawn images, as it sees them


@dataclass(frozen=True, slots=True)
class SamplerReport:
    """How images were made. size: height, width in pixels. sampler: empty for each model's own. fix_boxes: None where
    wrong boxes were not drawn again. gligen_scheduled_sampling_beta: None where it was not asked for."""

    steps: int
    guidance: float
    batch: int
    size: tuple[int, int]
    sampler: str = ""
    fix_boxes: Annotated[bool | None, typed_json.left_out] = None
    gligen_scheduled_sampling_beta: Annotated[float | None, typed_json.left_out] = None

    def kept(self) -> dict[str, Any]:
        """As settings that stay with a work folder: what was not asked for is left out."""
        kept = {**asdict(self), "size": list(self.size)}
        return {name: value for name, value in kept.items() if value not in ("", None)}


@dataclass(frozen=True, slots=True)
class SystemReport:
    """One model. None: the variants or images that it takes were not asked for."""

    name: str
    kind: str
    blueprint: bool
    attributes: bool
    perception_head: bool
    parameters: int
    sha256: str
    autoencoder: Kept | None
    views: tuple[VariantReport, ...]
    drop: Mapping[str, Drop] | None
    transfer: Mapping[str, Annotated[Transfer, *MEASURED]] | None
    hard_found: Mapping[str, Number] | None
    mask_iou: Measured | None
    causes: Annotated[CausesReport | None, typed_json.left_out] = None  # None: no classifier, as in older files
    sampler: Annotated[SamplerReport | None, typed_json.left_out] = None  # None: that of the report


@dataclass(frozen=True, slots=True)
class LayoutsReport:
    """Which layouts; `fingerprint` is the SHA-256 of layouts.jsonl."""

    spec: str
    source: str
    filter: LayoutFilter | None
    count: int
    objects: int
    things: int
    hard_share: Number
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Labeller:
    """A detector that gave attributes."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class DetectorReport:
    """Who was asked; `unmapped` are the classes of the layouts' things that it does not know."""

    name: str
    sha256: str
    min_score: Number
    unmapped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InceptionReport:
    """The Inception network whose features FID compares."""

    sha256: str


@dataclass(frozen=True, slots=True)
class RealReport:
    """The real images of the layouts, by detector."""

    scores: Mapping[str, Scores]


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """A whole evaluation. No path, no time: two runs write the same bytes."""

    format: int
    layouts: LayoutsReport
    sampler: SamplerReport
    attributes_by: Labeller | tuple[Labeller, ...] | None  # None: they came with the layouts
    detectors: tuple[DetectorReport, ...]  # the first one leads
    inception: InceptionReport | None
    real: RealReport | None  # None: the layouts have no images
    systems: tuple[SystemReport, ...]

    @property
    def lead(self) -> str:
        """The detector that comes first."""
        return self.detectors[0].name

    @property
    def labellers(self) -> tuple[Labeller, ...]:
        """By whom the attributes were given: one, many, or nobody."""
        by = self.attributes_by
        return by if isinstance(by, tuple) else () if by is None else (by,)

    def to_json(self) -> dict[str, Any]:
        """As `report.json` has it."""
        return typed_json.to_json(self)

    @classmethod
    def from_json(cls, values: Any, what: str = "a report of evaluate") -> EvaluationReport:
        """Raises DataError, which names the field that is missing or holds something else; what: for its message."""
        return typed_json.from_json(cls, values, what)


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """A row of `objects.jsonl`: one object of one image."""

    system: str | None  # None: of the real images
    view: str
    picture: int  # place of the image among the layouts
    object: int  # place in the layout
    label: str
    attribute: str | None  # what it truly is
    asked: str | None  # what the model was asked for; None where nothing could be asked
    area: Number
    confidence: Mapping[str, Number]  # by detector; NaN: does not count

    def to_json(self) -> dict[str, Any]:
        """A row of `objects.jsonl`."""
        return typed_json.to_json(self)

    @classmethod
    def from_json(cls, values: Any) -> ObjectRow:
        """Raises DataError, which names the field that is missing or holds something else."""
        return typed_json.from_json(cls, values, "a row of an object")
