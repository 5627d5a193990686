"""Who takes part in an evaluation: models and detectors, found, named and checked before anything is drawn."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from detdiffusion.attributes import Strategy
from detdiffusion.core.devices import device_of
from detdiffusion.detection import Detector, scores_boxes
from detdiffusion.detectors import BUNDLED, detector_path, load_detector, own_detectors
from detdiffusion.detectors.names import check_knows, remap_labels
from detdiffusion.errors import CheckpointError, ConfigError, LayoutError
from detdiffusion.sampling_config import AS_RECOMMENDED, Recommended, SamplingConfig, SamplingRequest
from training.data.layout_sources import LayoutSource, PapercutLayouts, Size
from training.evaluation.report import SamplerReport
from training.evaluation.scoring import RESULTS_SUFFIX
from training.evaluation.variants import Variant, variants_of

if TYPE_CHECKING:
    import torch

    from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
    from detdiffusion.evaluation.fid import Inception
    from detdiffusion.text.vocabulary import Vocabulary

BATCH = 16  # pictures a chunk
REAL = "real"  # folder beside those of the systems


@dataclass(frozen=True, slots=True)
class Plan:
    """What an evaluation is asked for.

    detectors: names in the model's folder, or paths, results files of other detectors among them. Without one that
        looks, the model's own: bundled and held-out. The first one leads.
    sampling: of all images, but for the seed, which comes with each layout, and the variant's attribute guidance. Each
        model as it recommends, where nothing is asked for.
    """

    model: Path
    source: LayoutSource
    strategies: Sequence[Strategy] = tuple(Strategy)
    detectors: Sequence[str] = ()
    baselines: Sequence[Path] = ()
    attribute_guidances: Sequence[float] = ()  # each a variant of the layouts of origin
    detector_guidance: float = 0.0  # also every strategy, guided by the first detector that looks; 0: not
    one_hard: bool = False
    inception: Path | None = None
    scene_fid: bool = False
    sampling: SamplingRequest = AS_RECOMMENDED
    batch: int = BATCH
    device: str | None = None  # as `load_pipeline` takes it, openvino too; None: cuda where there is one

    @property
    def systems(self) -> list[Path]:
        """The model folders, `model` first."""
        return [self.model, *self.baselines]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Who takes part, checked before anything is drawn."""

    systems: Mapping[str, Path]  # model folders by the names of the report, --model first
    vocabularies: Mapping[str, Vocabulary]
    recommended: Mapping[str, Recommended]
    detectors: Mapping[str, Detector]  # that look at pictures; the first one leads
    results: Mapping[str, Path]  # results files of others, by the names of the report; they may be still to come
    labeller: Detector | None  # gives the attributes; None: they come with the layouts
    device: torch.device
    place: str  # of the pipelines: the device, or openvino
    inception: Inception | None

    @property
    def computed_on(self) -> str:
        """The kind of what draws: cpu, cuda, openvino."""
        return self.place.partition(":")[0]

    @classmethod
    def of(cls, plan: Plan) -> Inputs:
        """What `evaluate` raises of its parts is raised here."""
        check_plan(plan)
        from detdiffusion.diffusion.manifest import read_recommended, read_vocabulary, verify

        device = device_of(plan.device, draws=True)
        systems = unique_names(plan.systems)
        for folder in systems.values():
            verify(folder)
        vocabularies = {name: read_vocabulary(folder) for name, folder in systems.items()}
        recommended = {name: read_recommended(folder) for name, folder in systems.items()}
        labels = next(iter(vocabularies.values())).labels
        detectors, results = load_detectors(plan, labels)
        if plan.detector_guidance:
            scores_boxes(_leader(detectors))
        elif plan.sampling.fix_boxes:
            _leader(detectors)
        labeller = None if plan.source.labelled else _labeller(plan, detectors, labels)
        place = plan.device or str(device)
        return cls(
            systems, vocabularies, recommended, detectors, results, labeller, device, place, _inception(plan, device)
        )


def sampling_of(plan: Plan, inputs: Inputs, name: str) -> SamplingConfig:
    """How the images of one system are sampled, but for seed and variant; GLIGEN's beta is for its models alone."""
    from detdiffusion.diffusion.manifest import is_gligen

    asked = plan.sampling
    if not is_gligen(inputs.systems[name]):
        asked = replace(asked, gligen_scheduled_sampling_beta=None)
    return asked.of(inputs.recommended[name])


def sampler_report(plan: Plan, inputs: Inputs, size: Size, name: str | None = None) -> SamplerReport:
    """How the images of a system are made; None: of the first."""
    how = sampling_of(plan, inputs, name or next(iter(inputs.systems)))
    beta = how.gligen_scheduled_sampling_beta
    return SamplerReport(how.steps, how.guidance_scale, plan.batch, size, how.sampler, how.fix_boxes or None, beta)


def check_models(folders: Sequence[Path], detectors: Sequence[str], inception: Path | None) -> None:
    """That models, detectors and Inception's weights are there: said before layouts are read and libraries are loaded.

    Raises:
        CheckpointError, DetectorError: one is not. Results files may be still to come.
    """
    if inception is not None and not inception.is_file():
        raise CheckpointError(f"{inception}: no such file; FID needs Inception's weights, as docs/EVALUATION.md says")
    from detdiffusion.diffusion.manifest import check_model

    for folder in folders:
        check_model(folder)
    for name in detectors:
        if not name.endswith(RESULTS_SUFFIX):
            detector_path(name, folders[0])


def check_plan(plan: Plan) -> None:
    """What can be seen to be wrong before a detector is loaded or anything drawn.

    Raises:
        CheckpointError: a model has no vocabulary.
        ConfigError: it has no detector and none was given, or a variant or a file is missing that another option needs.
        LayoutError: it does not know a class of the layouts.
    """
    from detdiffusion.diffusion.manifest import is_gligen, read_vocabulary

    vocabularies = {name: read_vocabulary(folder) for name, folder in unique_names(plan.systems).items()}
    variants_for(plan, next(iter(vocabularies.values())))
    if plan.scene_fid and plan.inception is None:
        raise ConfigError("--scene-fid needs Inception's weights: give them with --inception FILE")
    if plan.sampling.gligen_scheduled_sampling_beta is not None and not any(map(is_gligen, plan.systems)):
        raise ConfigError("none of the models is GLIGEN's: --gligen-beta is for its models")
    if not plan.detectors and not own_detectors(plan.model):
        raise ConfigError(f"{plan.model} has no detector of its own: give one or more with --detector")
    if isinstance(plan.source, PapercutLayouts):
        return  # any scene has a few of the world's classes only
    for name, words in vocabularies.items():
        check_classes(name, plan.source.labels(), words)


def check_classes(name: str, labels: Collection[str], words: Vocabulary) -> None:
    """LayoutError where the model of that name does not know a class."""
    unknown = sorted(set(labels) - set(words.labels))
    if unknown:
        raise LayoutError(f"{name} does not know these classes of the layouts: {', '.join(unknown)}")


def load_detectors(plan: Plan, labels: Sequence[str]) -> tuple[dict[str, Detector], dict[str, Path]]:
    """Those that look, with their classes under the names of `labels` where those mean the same, and results files;
    both by unique names, in order.

    Raises:
        DetectorError: one is missing or damaged.
    """
    results = [Path(name) for name in plan.detectors if name.endswith(RESULTS_SUFFIX)]
    asked = [name for name in plan.detectors if not name.endswith(RESULTS_SUFFIX)] or own_detectors(plan.model)
    found = [_known(name, plan, labels) for name in asked]
    names = distinct([*(one.name for one in found), *(path.stem for path in results)])
    return dict(zip(names, found, strict=False)), dict(zip(names[len(found) :], results, strict=True))


def _known(name: str, plan: Plan, labels: Sequence[str]) -> Detector:
    """A detector under the model's class names; DetectorError if it knows none of them."""
    detector = remap_labels(load_detector(name, plan.model, device=device_of(plan.device, draws=True)), labels)[0]
    check_knows(detector, labels, "the model")
    return detector


def _leader(detectors: Mapping[str, Detector]) -> Detector:
    """The first detector that looks."""
    if not detectors:
        raise ConfigError("--detector-guidance and --fix-boxes need a detector that looks at images: no results file")
    return next(iter(detectors.values()))


def _labeller(plan: Plan, detectors: Mapping[str, Detector], labels: Sequence[str]) -> Detector:
    """The model's own detector, else the first one that looks."""
    if BUNDLED in own_detectors(plan.model):
        return _known(BUNDLED, plan, labels)
    if not detectors:
        raise ConfigError(
            "a results file gives no attributes here: make them from that detector's results on the data set itself "
            "(python -m training annotate), and give them with --attributes"
        )
    return next(iter(detectors.values()))


def unique_names(folders: Sequence[Path]) -> dict[str, Path]:
    """Model folders by names for a report: the folder's, or that of the run above it where it is called "model"."""
    paths = [folder.resolve() for folder in folders]
    names = [path.parent.name if path.name == "model" else path.name for path in paths]
    return dict(zip(distinct(names, taken=(REAL,)), folders, strict=True))


def distinct(names: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    """The names, with -2, -3, ... behind those that stood before: a, a, b -> a, a-2, b."""
    found: list[str] = []
    for name in names:
        number, candidate = 1, name
        while candidate in (*found, *taken):
            number += 1
            candidate = f"{name}-{number}"
        found.append(candidate)
    return found


def image_size(pipe: DetDiffusionPipeline) -> Size:
    """Height and width of the pictures that the model was trained on."""
    sides = pipe.unet.config.sample_size
    rows, columns = (sides, sides) if isinstance(sides, int) else sides
    return int(rows) * pipe.downsample, int(columns) * pipe.downsample


def variants_for(plan: Plan, vocabulary: Vocabulary) -> list[Variant]:
    """The variants of every layout that a model with this vocabulary can draw."""
    attributes = bool(vocabulary.attribute_words)
    return variants_of(
        plan.strategies,
        plan.attribute_guidances,
        one_hard=plan.one_hard,
        attributes=attributes,
        detector_guidance=plan.detector_guidance,
    )


def _inception(plan: Plan, device: torch.device) -> Inception | None:
    if plan.inception is None:
        return None
    from detdiffusion.evaluation.fid import load_inception

    return load_inception(plan.inception, device=device)
