"""The page: its theme, its tabs, and what one tab does to another."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from app.api import add_endpoints
from app.components.clock import run_while_selected
from app.components.messages import EACH_CHOICE, QUIET, Messages, Updates, say
from app.components.path_dialog import PathDialog
from app.components.places import Places
from app.components.queues import MODEL_QUEUE
from app.datasets.form import Need
from app.datasets.tab import DatasetView
from app.diagnosis import handlers as diagnosis_handlers
from app.diagnosis.tab import DiagnosisView
from app.engine.models import Model
from app.engine.studio import Studio
from app.evaluation.tab import EvaluationView
from app.gallery.handlers import record_of
from app.gallery.tab import GalleryView
from app.runs.jobs import Runs
from app.settings.tab import SettingsView
from app.store.layout_store import LayoutStore
from app.studio.layout_files import annotated, restored
from app.studio.tab import StudioView
from app.training import handlers as training_handlers
from app.training.handlers import Chosen
from app.training.tab import USE, TrainingView

STYLES = [
    Path(__file__).parent / name
    for name in (
        "studio/studio.css",
        "components/editor.css",
        "components/comparer.css",
        "components/path_dialog.css",
        "runs/runs.css",
        "datasets/datasets.css",
        "diagnosis/diagnosis.css",
        "gallery/gallery.css",
        "settings/settings.css",
        "screens.css",
    )
]
SCRIPTS = [
    Path(__file__).parent / name
    for name in ("page.js", "address.js", "tour.js", "components/messages.js", "components/marks.js", "studio/stale.js")
]
SYSTEM_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Cantarell", "Noto Sans", "sans-serif"]
MONO_FONTS = ["ui-monospace", "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", "monospace"]
OPENING_SEED = 3  # of the first 24: every hard object is missed, and plain to a person
_HEADER = Markup(
    '<h1>DetDiffusion <span>Studio</span></h1><p title="{0}">{0}</p>'
    '<button type="button" class="tour">Tour</button>'
    '<button type="button" class="theme" aria-label="Light or dark" title="Light or dark">◐</button>'
)


@dataclass(frozen=True, slots=True)
class Workspace:
    """The runs of each kind."""

    trainings: Runs
    evaluations: Runs
    datasets: Runs
    diagnoses: Runs

    @classmethod
    def of(cls, folder: Path, places: Places) -> "Workspace":
        """Those in a folder of the disk. places: what their commands may read and write."""
        names = ("runs", "evaluations", "datasets", "diagnoses")
        return cls(*(Runs(folder / name, places=places) for name in names))


def theme() -> gr.themes.Base:
    """Paper and ink with one accent; system fonts, so that nothing is fetched."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.stone,
        font=SYSTEM_FONTS,
        font_mono=MONO_FONTS,
        radius_size=gr.themes.sizes.radius_md,
        text_size=gr.themes.sizes.text_sm,
        spacing_size=gr.themes.sizes.spacing_sm,
    )


def header_html(model: Model) -> Markup:
    """The page's title, and which model (of a fast one its steps) and detector it works with."""
    wanted = model.recommended
    name = model.name if wanted.guided else f"{model.name}, {wanted.named()}"
    kinds = {"things": model.vocabulary.things, "stuff": model.vocabulary.stuff}
    classes = ", ".join(f"{len(names)} {kind}" for kind, names in kinds.items() if names)
    return _HEADER.format(" · ".join((name, classes, model.detector.name)))


def build(studio: Studio, runs: Workspace) -> gr.Blocks:
    """The page of a studio."""
    with gr.Blocks(
        title="DetDiffusion Studio", analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400)
    ) as page:
        _Page(studio, runs).wire()
        add_endpoints(studio)
    return page


class _Page:
    """The header and the tabs."""

    def __init__(self, studio: Studio, runs: Workspace) -> None:
        self.studio, self.runs = studio, runs.trainings
        self.header = gr.HTML(
            header_html(studio.model),
            js_on_load="\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS),
            elem_id="header",
        )
        self.paths = paths = PathDialog(studio.places)
        with gr.Tabs(elem_id="views", selected="studio", overflow_behavior="wrap") as self.views:
            with gr.Tab("Studio", id="studio", elem_id="studio-view") as self.studio_tab:
                layouts = LayoutStore(studio.workspace / "layouts")
                self.drawing = StudioView(studio, layouts, OPENING_SEED)
            with gr.Tab("Gallery", id="gallery", elem_id="gallery-view") as self.gallery_tab:
                self.gallery = GalleryView(studio)
            with gr.Tab("Data sets", id="dataset", elem_id="dataset-view") as self.dataset_tab:
                self.dataset = DatasetView(studio, runs.trainings, runs.datasets, paths)
            with gr.Tab("Training", id="training", elem_id="training-view") as self.training_tab:
                self.training = TrainingView(studio, runs.trainings, paths)
            with gr.Tab("Evaluation", id="evaluation", elem_id="evaluation-view") as self.evaluation_tab:
                self.evaluation = EvaluationView(studio, runs.trainings, runs.evaluations, paths)
            with gr.Tab("Diagnose", id="diagnosis", elem_id="diagnosis-view") as self.diagnosis_tab:
                self.diagnosis = DiagnosisView(studio, runs.trainings, runs.diagnoses, paths)
            with gr.Tab("Settings", id="settings", elem_id="settings-view") as self.settings_tab:
                self.settings = SettingsView(studio)

    def wire(self) -> None:
        tabs = [self.studio_tab, self.gallery_tab, self.dataset_tab, self.training_tab, self.evaluation_tab]
        tabs += [self.diagnosis_tab, self.settings_tab]
        views: list[DatasetView | TrainingView | EvaluationView | DiagnosisView]
        views = [self.dataset, self.training, self.evaluation, self.diagnosis]
        clocks = [self.gallery.clock, *(view.panel.clock for view in views)]
        run_while_selected(dict(zip(tabs[1:-1], clocks, strict=True)), tabs)
        self.drawing.wire()
        self.gallery.wire(opened=self.gallery_tab)
        for tab, view in zip(tabs[2:-1], views, strict=True):
            view.wire(opened=tab)
        self._wire_layouts()
        self._wire_gallery()
        self._wire_diagnosis()
        self.paths.wire()
        gr.on(None, self._on_load, None, self.header, queue=False, **QUIET)  # no trigger given: when the page loads
        self._wire_models()

    def _wire_models(self) -> None:
        """What may exchange the model, and what follows."""
        training, settings = self.training, self.settings
        settings.wire()
        self.settings_tab.select(settings.now, None, settings.values, queue=False, **QUIET)
        shown = [self.header, self.views, training.use, training.back]
        applied = [self.header, training.back, settings.apply, *settings.values]
        for changed in (
            training.use.click(self._on_use, training.panel.chosen, shown, **QUIET, **MODEL_QUEUE),
            training.back.click(self._on_back, None, shown, **QUIET, **MODEL_QUEUE),
            settings.apply.click(self._on_settings, settings.values, applied, **QUIET, **MODEL_QUEUE),
        ):
            self.drawing.follow(changed)

    def _wire_layouts(self) -> None:
        """A click on a layout opens it in the studio, one on a class filters."""
        dataset, drawing = self.dataset, self.drawing
        changed = [self.views, *drawing.card.shown, *dataset.shown, dataset.label, dataset.large, dataset.large_row]
        dataset.page.choose(self._on_tile, dataset.values, changed, **EACH_CHOICE)

    def _on_tile(self, event: gr.EventData, *values: Any) -> Updates:
        name = str(event.name)
        with Messages("Not opened", "The layout in the studio is unchanged."):
            if name.startswith("image "):
                return self.dataset.enlarge(name, *values)
            layout = self.dataset.layout_at(name, *values)
            if layout is not None:
                return {self.views: gr.Tabs(selected="studio"), **self.drawing.card.show(layout.to_json())}
            return self.dataset.on_class(name, *values)
        return {self.views: gr.skip()}

    def _wire_gallery(self) -> None:
        gallery, drawing = self.gallery, self.drawing
        gallery.restore.click(self._on_restore, gallery.selected, [self.views, *drawing.restored], **QUIET)

    def _on_restore(self, selected: tuple[int, ...]) -> Updates:
        with Messages("Not restored", "The layout in the studio is unchanged."):
            record = record_of(self.studio.history, self.gallery.chosen(selected))
            shown = self.drawing.show(restored(self.studio, record), "Restored")
            return {self.views: gr.Tabs(selected="studio"), **shown}
        return {self.views: gr.skip()}

    def _wire_diagnosis(self) -> None:
        """A click on an image opens it on the canvas; a data set is made of a slice."""
        diagnosis, dataset, drawing = self.diagnosis, self.dataset, self.drawing
        diagnosis.images.choose(self._on_case, diagnosis.place, [self.views, *drawing.restored], **EACH_CHOICE)
        changed = [self.views, *dataset.shown, dataset.panel.chosen, dataset.view]
        diagnosis.more.click(self._on_more, [*diagnosis.order_of_more, *diagnosis.place], changed, **QUIET)

    def _on_case(self, event: gr.EventData, *place: Any) -> Updates:
        with Messages("Not opened", "The layout in the studio is unchanged."):
            number = int(str(event.name).removeprefix("image "))
            found = diagnosis_handlers.image_of(self.diagnosis.runs, self.diagnosis.read_place(place), number)
            shown = self.drawing.show(annotated(self.studio, *found), "Opened")
            return {self.views: gr.Tabs(selected="studio"), **shown}
        return {self.views: gr.skip()}

    def _on_more(self, *values: Any) -> Updates:
        count = len(self.diagnosis.order_of_more)
        with Messages("Not started", "Nothing was written."):
            place = self.diagnosis.read_place(values[count:])
            need = Need(*diagnosis_handlers.slice_of(self.diagnosis.runs, place))
            started = self.dataset.begin_more(*self.diagnosis.read_more(values[:count]), need)
            say("Started", f"Images like those of {need.slice}: they appear in Data sets.")
            return {self.views: gr.Tabs(selected="dataset"), **started}
        return {self.views: gr.skip()}

    def _on_load(self) -> str:
        return header_html(self.studio.model)

    def _on_use(self, chosen: Chosen) -> Iterator[Updates]:
        yield {self.training.use: gr.update(interactive=False, value="Loading…")}
        changed: Updates = {}
        with Messages("Not loaded", "The studio keeps its current model."):
            say("Loaded", training_handlers.use_model(self.studio, self.runs, chosen))
            changed = self._changed()
        yield {**changed, self.training.use: gr.update(interactive=True, value=USE)}  # in one: see run_on_click

    def _on_back(self) -> Updates:
        with Messages("Not loaded", "The studio keeps its current model."):
            self.studio.models.go_home()
            return self._changed()
        return {self.header: gr.skip()}

    def _on_settings(self, *values: Any) -> Iterator[Updates]:
        yield {self.settings.apply: gr.update(interactive=False)}
        with Messages("Not applied", "The previous choice is kept."):
            self.settings.use(*values)
        shown = {self.header: header_html(self.studio.model), **self.training.on_model(), **self.settings.now()}
        yield {**shown, self.settings.apply: gr.update(interactive=True)}

    def _changed(self) -> Updates:
        shown = {self.header: header_html(self.studio.model), self.views: gr.Tabs(selected="studio")}
        return {**shown, **self.training.on_model()}
