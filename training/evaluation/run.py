"""One evaluation: real pictures and true attributes, then every system's variants, drawn, detected and scored.

Attributes are given by Eq. 2 on the real pictures, by the detector that the model learned from; every detector that is
asked looks at the same pictures. The same call goes on where it was stopped, and gives the same report.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from detdiffusion.attributes import AttributeRule, Strategy, label_attributes
from detdiffusion.core.files import claim, sealed, text_hash, write_text, written_aside
from detdiffusion.core.settings import check_settings, keep_settings
from detdiffusion.detection import Detector
from detdiffusion.errors import ConfigError, DetectorError
from detdiffusion.evaluation.bootstrap import Estimate
from detdiffusion.evaluation.effect import hard_share
from detdiffusion.image_record import ImageRecord, save_image
from detdiffusion.layout import Attribute, Layout
from training.core.chunks import Chunks
from training.core.cli import progress
from training.core.status import STATUS, RunState, StatusWriter, telling
from training.data.layout_sources import LayoutSource, PapercutLayouts, Size
from training.evaluation import summary as said
from training.evaluation.guidance import guidance_report
from training.evaluation.image_distances import Distances
from training.evaluation.inputs import (
    REAL,
    Inputs,
    Plan,
    check_classes,
    image_size,
    sampler_report,
    sampling_of,
    variants_for,
)
from training.evaluation.mask_quality import mask_iou, save_masks
from training.evaluation.report import (
    FORMAT,
    CausesReport,
    EvaluationReport,
    InceptionReport,
    Kept,
    Labeller,
    LayoutsReport,
    ObjectRow,
    RealReport,
    SamplerReport,
    SystemReport,
    VariantReport,
)
from training.evaluation.scoring import INDEX, Scorer, read_results, write_index
from training.evaluation.store import Detected, Save, SeenImages, stable_name
from training.evaluation.variants import Variant, draw

if TYPE_CHECKING:
    from PIL import Image

    from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
    from detdiffusion.text.vocabulary import Vocabulary

AUTOENCODER, MASKS = "autoencoder", "masks"  # folders beside those of the variants
MASKED = 8  # generated pictures whose masks are kept


@dataclass(frozen=True, slots=True)
class Truth:
    """The real side: layouts with true attributes, of the size at which the first model draws, and their pictures."""

    size: Size
    layouts: Sequence[Layout]
    pictures: SeenImages | None
    fingerprint: str  # SHA-256 of layouts.jsonl, with the files' names that do not depend on the batch


def check_evaluation(plan: Plan, work: Path) -> None:
    """What `evaluate` raises before it draws; nothing is written."""
    check_settings(work / "config.json", _config(plan, Inputs.of(plan)))


def evaluate(plan: Plan, work: Path) -> EvaluationReport:
    """The report. Pictures, detections and a row for every object stay under `work`.

    Raises:
        CheckpointError, DataError: something is missing, damaged or not whole.
        DetectorError: so is a detector; or a results file is still to come: by then everything is drawn.
        ConfigError: `work` holds another evaluation (the fields that differ are named), or is in use.
        LayoutError: a model does not know a class of the layouts.
    """
    from detdiffusion.diffusion.pipeline import load_pipeline

    inputs = Inputs.of(plan)
    first = next(iter(inputs.systems))
    loaded = {first: load_pipeline(plan.model, device=inputs.place)}
    size = image_size(loaded[first])
    with ExitStack() as stack:
        stack.enter_context(_alone(work))
        _keep_configs(plan, inputs, size, work)
        meter = stack.enter_context(telling(work / STATUS))
        meter.say(RunState.PREPARING, done=0, total=_images(plan, inputs), unit="image")
        truth = _truth(plan, inputs, size, work, meter)
        scorer = _scorer(plan, inputs, truth, work)
        with written_aside(work / "objects.jsonl") as aside, aside.open("w", encoding="utf-8") as rows:
            real = None if truth.pictures is None else scorer.score(truth.pictures)
            if real is not None:
                _write_rows(rows, said.object_rows(None, None, truth.layouts, real))
            stage = Stage(plan, work, inputs, truth, scorer, real, rows, meter)
            systems = []
            for name, folder in inputs.systems.items():
                pipe = loaded.pop(name, None) or load_pipeline(folder, device=inputs.place)
                pipe.set_progress_bar_config(disable=True)  # the command has its own
                systems.append(stage.perform(name, pipe))
        missing = [str(path) for name, path in inputs.results.items() if name not in scorer.detectors]
        if missing:
            raise DetectorError(
                f"{', '.join(missing)}: no such file. The images are drawn: let your detector look at those that "
                f"{work / INDEX} lists (COCO annotations, file names relative to it), write its results there, and run "
                "the same command again"
            )
    return _report(plan, inputs, truth, scorer, real, systems)


class Stage:
    """One system after the other draws the same layouts from the same noises."""

    def __init__(
        self,
        plan: Plan,
        work: Path,
        inputs: Inputs,
        truth: Truth,
        scorer: Scorer,
        real: said.Blocks | None,
        rows: IO[str],
        meter: StatusWriter,
    ) -> None:
        self.plan, self.work, self.inputs, self.truth, self.scorer, self.real = plan, work, inputs, truth, scorer, real
        self.rows, self.meter = rows, meter
        first = next(iter(inputs.detectors.values()), None)
        self.distances = Distances(truth.pictures, truth.layouts, first, inputs.inception, plan.scene_fid)

    def perform(self, name: str, pipe: DetDiffusionPipeline) -> SystemReport:
        """What the report says of one system; a row of every object of its pictures goes to `rows`."""
        from detdiffusion.diffusion.manifest import model_hash

        variants: list[VariantReport] = []
        blocks: dict[str, said.Blocks] = {}
        images: dict[Variant, SeenImages] = {}
        attributes = bool(pipe.vocabulary.attribute_words)
        for variant in variants_for(self.plan, pipe.vocabulary):
            images[variant] = drawn = self._draw(name, pipe, variant)
            blocks[variant.name] = seen = self.scorer.score(drawn)
            _write_rows(self.rows, said.object_rows(name, variant, self.truth.layouts, seen, attributes=attributes))
            distance = self.distances.of(drawn, f"{name}: {variant.name}, distances")
            scores = said.scores_of(seen)
            asked = (variant.name, variant.strategy, variant.attribute_guidance)
            led = guidance_report(variant, images, blocks, self.truth.layouts, self.inputs.detectors, pipe.downsample)
            variants.append(VariantReport(*asked, scores=scores, guided=led, **asdict(distance)))
        return SystemReport(
            name=name,
            kind=said.kind_of(pipe),
            blueprint=pipe.blueprint is not None,
            attributes=attributes,
            perception_head=pipe.perception_head is not None,
            parameters=said.count_weights(pipe),
            sha256=model_hash(self.inputs.systems[name]),
            autoencoder=self._autoencoder(name, pipe),
            views=tuple(variants),
            drop=said.drop_of(blocks),
            transfer=said.transfer_of(blocks, self.truth.layouts),
            hard_found=said.hard_found_of(blocks, self.real),
            mask_iou=self._masks(name, pipe),
            causes=self._causes(name, images) if attributes else None,
            sampler=self._sampler(name),
        )

    def _sampler(self, name: str) -> SamplerReport | None:
        """None: as the first system."""
        first, own = (sampler_report(self.plan, self.inputs, self.truth.size, one) for one in (None, name))
        return None if own == first else own

    def _chunks(self, name: str, part: str) -> SeenImages:
        return SeenImages(Chunks(self.work, f"{name}/{part}", len(self.truth.layouts), self.plan.batch))

    def _draw(self, name: str, pipe: DetDiffusionPipeline, variant: Variant) -> SeenImages:
        from detdiffusion.diffusion.manifest import model_hash

        layouts, source = self.truth.layouts, self.plan.source
        asked_for = Strategy(variant.strategy) if variant.strategy in tuple(Strategy) else Strategy.ORIGIN
        sampling = sampling_of(self.plan, self.inputs, name)
        leads = variant.detector_guidance or sampling.fix_boxes
        leader = next(iter(self.inputs.detectors.values())) if leads else None
        made_by = (name, model_hash(self.inputs.systems[name]), leader.name if leader else "", *pipe.computed_in())

        def look(chunk: range) -> Detected:
            asked = [variant.asked(place, layouts[place]) for place in chunk]
            images = draw(pipe, variant, asked, [source.seed(place) for place in chunk], sampling, leader)
            return Detected(images, {key: one.detect(images) for key, one in self.inputs.detectors.items()})

        def save(path: Path, image: Image.Image, number: int) -> None:
            how = replace(variant.sampling(sampling), seed=source.seed(number))
            first = self.plan.batch * (number // self.plan.batch)  # number of the first image of its batch
            batch = min(self.plan.batch, len(layouts) - first)
            layout = variant.asked(number, layouts[number])
            save_image(path, image, ImageRecord(layout, how, asked_for, *made_by, batch=batch), durable=False)

        chunks = self._chunks(name, variant.slug)
        _fill(chunks, look, save, f"{name}: {variant.name}", self.meter)
        return chunks

    def _autoencoder(self, name: str, pipe: DetDiffusionPipeline) -> Kept | None:
        """What the first detector keeps of real pictures that go through the autoencoder and nothing else."""
        pictures, layouts = self.truth.pictures, self.truth.layouts
        if pictures is None or self.real is None or not self.inputs.detectors:
            return None
        from training.autoencoder.recipe import reconstruct

        lead, detector = next(iter(self.inputs.detectors.items()))

        def look(chunk: range) -> Detected:
            return Detected(None, {lead: detector.detect(reconstruct(pipe.vae, pictures.load(chunk)))})

        chunks = self._chunks(name, AUTOENCODER)
        _fill(chunks, look, _save_plain, f"{name}: {AUTOENCODER}", self.meter)
        return said.kept_of(self.real[lead], Scorer(self.work, layouts, {lead: detector}).score(chunks)[lead])

    def _causes(self, name: str, drawn: Mapping[Variant, SeenImages]) -> CausesReport | None:
        """What makes objects difficult, by the classifier in the system's folder; None where it has none."""
        from training.evaluation.causes import CauseCounter

        counter = CauseCounter.of(self.inputs.systems[name], self.truth.layouts)
        if counter is None:
            return None
        return counter.report(self.plan.source, self.truth.size, self.truth.pictures, drawn)

    def _masks(self, name: str, pipe: DetDiffusionPipeline) -> Estimate | None:
        """The perception head against true masks; a look at what it sees in the first generated pictures stays too."""
        if pipe.perception_head is None:
            return None
        variants, first = variants_for(self.plan, pipe.vocabulary), range(min(MASKED, len(self.truth.layouts)))
        variant = next((variant for variant in variants if variant.name == Strategy.EASY), variants[0])
        asked = [variant.asked(place, self.truth.layouts[place]) for place in first]
        save_masks(pipe, self._chunks(name, variant.slug).load(first), asked, self.work / name / MASKS)
        source, pictures = self.plan.source, self.truth.pictures
        if not isinstance(source, PapercutLayouts) or pictures is None:
            return None
        return mask_iou(pipe, source, pictures, self.truth.layouts)


def _keep_configs(plan: Plan, inputs: Inputs, size: Size, work: Path) -> None:
    """Settings that every picture depends on stay with the work; ConfigError if it was begun with others."""
    from detdiffusion.diffusion.manifest import model_hash

    sampler = sampler_report(plan, inputs, size).kept()
    keep_settings(work / "config.json", {**_config(plan, inputs), "sampler": sampler})
    for name, folder in inputs.systems.items():
        beta = sampling_of(plan, inputs, name).gligen_scheduled_sampling_beta
        early = {} if beta is None else {"gligen_scheduled_sampling_beta": beta}
        keep_settings(work / name / "config.json", {"model": model_hash(folder), **early})


def _config(plan: Plan, inputs: Inputs) -> dict[str, Any]:
    """What is known of the settings before the model is loaded."""
    source, labeller = plan.source, inputs.labeller
    return {
        "layouts": {"source": source.kind, "spec": source.spec, "fingerprint": source.fingerprint},
        "attributes_by": None if labeller is None else labeller.sha256,
        "detectors": [{"name": name, "sha256": one.sha256} for name, one in inputs.detectors.items()],
        "device": inputs.computed_on,
    }


def _images(plan: Plan, inputs: Inputs) -> int:
    """How many are drawn or looked at in all."""
    drawn = sum(len(variants_for(plan, words)) for words in inputs.vocabularies.values())
    restored = len(inputs.systems) if plan.source.pictured and inputs.detectors else 0
    return len(plan.source) * (plan.source.pictured + drawn + restored)


def _truth(plan: Plan, inputs: Inputs, size: Size, work: Path, meter: StatusWriter) -> Truth:
    """Looks at the real pictures, or takes the layouts as they are, and writes layouts.jsonl."""
    vocabulary = next(iter(inputs.vocabularies.values()))
    pictures = None
    if not plan.source.pictured:
        layouts = [vocabulary.resolve(plan.source.sample(place, size)[1]) for place in range(len(plan.source))]
    else:
        pictures = SeenImages(Chunks(work, REAL, len(plan.source), plan.batch))
        _look_at_real(plan.source, size, pictures, inputs, vocabulary, meter)
        layouts = pictures.layouts()
    for name, words in inputs.vocabularies.items():
        check_classes(name, {box.label for layout in layouts for box in layout.boxes}, words)

    def listed(name: Callable[[int], str]) -> str:
        rows = (
            {"index": place, "seed": plan.source.seed(place), "image": pictures and name(place)}
            for place in range(len(layouts))
        )
        pairs = zip(rows, layouts, strict=True)
        return "".join(json.dumps({**row, "layout": layout.to_json()}) + "\n" for row, layout in pairs)

    write_text(work / "layouts.jsonl", listed(Chunks(work, REAL, len(layouts), plan.batch).file))
    return Truth(size, layouts, pictures, text_hash(listed(partial(stable_name, REAL))))


def _look_at_real(
    source: LayoutSource, size: Size, pictures: SeenImages, inputs: Inputs, vocabulary: Vocabulary, meter: StatusWriter
) -> None:
    """Real pictures with what every detector sees; Eq. 2 by the labeller gives layouts without attributes theirs."""

    def look(chunk: range) -> Detected:
        samples = [source.sample(place, size) for place in chunk]
        images, layouts = [image for image, _ in samples if image is not None], [layout for _, layout in samples]
        if inputs.labeller is not None:
            layouts = _labelled(layouts, images, inputs.labeller, vocabulary)
        return Detected(images, {name: one.detect(images) for name, one in inputs.detectors.items()}, layouts)

    _fill(pictures, look, _save_plain, "real images", meter)


def _labelled(
    layouts: Sequence[Layout], images: Sequence[Image.Image], labeller: Detector, vocabulary: Vocabulary
) -> list[Layout]:
    rule, known = AttributeRule(min_score=labeller.min_score), set(labeller.labels) - set(vocabulary.stuff)
    found = zip(layouts, labeller.detect(images), strict=True)
    return [label_attributes(bare, seen, known, rule) for bare, seen in found]


def _scorer(plan: Plan, inputs: Inputs, truth: Truth, work: Path) -> Scorer:
    """Writes the index of all pictures, and reads what other frameworks' detectors have said of them."""
    labels = next(iter(inputs.vocabularies.values())).labels
    names = [] if truth.pictures is None else [REAL]
    for name, words in inputs.vocabularies.items():
        names += [f"{name}/{variant.slug}" for variant in variants_for(plan, words)]
    folders = [Chunks(work, name, len(truth.layouts), plan.batch) for name in names]
    write_index(work / INDEX, folders, truth.layouts, labels)
    results = read_results(inputs.results, work / INDEX, labels)
    return Scorer(work, truth.layouts, {**inputs.detectors, **results})


def _fill(images: SeenImages, look: Callable[[range], Detected], save: Save, name: str, meter: StatusWriter) -> None:
    with progress(name, tell=False) as report:

        def told(numbers: range, made: bool) -> None:
            report(numbers.stop, images.count, {})
            meter.add(len(numbers), name, made=made)

        images.fill(look, save, told)


def _save_plain(path: Path, image: Image.Image, number: int) -> None:
    image.save(path, format="PNG")


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Keeps a second evaluation out of the folder; a process that is killed lets go of it."""
    with claim(work / "lock") as mine:
        if not mine:
            raise ConfigError(f"another evaluation is writing to {work}: wait for it, or give another --out")
        yield


def _write_rows(file: IO[str], rows: Iterable[ObjectRow]) -> None:
    file.writelines(json.dumps(sealed(row.to_json())) + "\n" for row in rows)


def _report(
    plan: Plan, inputs: Inputs, truth: Truth, scorer: Scorer, real: said.Blocks | None, systems: Sequence[SystemReport]
) -> EvaluationReport:
    """No path, no time: two runs write the same bytes."""
    source, inception, labeller = plan.source, inputs.inception, inputs.labeller
    boxes = [box for layout in truth.layouts for box in layout.boxes]
    layouts = LayoutsReport(
        spec=source.spec,
        source=source.kind,
        filter=source.bounds,
        count=len(truth.layouts),
        objects=len(boxes),
        things=sum(box.attribute is not Attribute.BACKGROUND for box in boxes),
        hard_share=hard_share(truth.layouts),
        fingerprint=truth.fingerprint,
    )
    vocabulary = next(iter(inputs.vocabularies.values()))
    return EvaluationReport(
        format=FORMAT,
        layouts=layouts,
        sampler=sampler_report(plan, inputs, truth.size),
        attributes_by=said.labellers_of(source) if labeller is None else Labeller(labeller.name, labeller.sha256),
        detectors=said.detectors_of(scorer.detectors, truth.layouts, vocabulary),
        inception=None if inception is None else InceptionReport(inception.sha256),
        real=None if real is None else RealReport(said.scores_of(real)),
        systems=tuple(systems),
    )
