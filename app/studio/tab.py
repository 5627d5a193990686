"""The studio view: canvas left, result right, one bar of actions below. Widgets and wiring only."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from app.components.comparer import Comparer, Sheet
from app.components.html import made_of
from app.components.images import ImageView
from app.components.messages import QUIET, Messages, Updates, say, warn
from app.components.picture import ImagePanel, image_value
from app.components.queues import ASIDE_QUEUE, MODEL_QUEUE, run_on_click
from app.engine.generation import PRESSED_EARLY
from app.engine.studio import Studio
from app.store.layout_store import LayoutStore
from app.studio.attribute_guidance_tab import AttributeGuidanceTab
from app.studio.compare_buttons import NOTHING_LOST, CompareButtons
from app.studio.inside_tab import InsideTab
from app.studio.last_results import LastResults
from app.studio.layout_card import LayoutCard
from app.studio.layout_files import Opened, layout_of_link
from app.studio.live.handlers import Live
from app.studio.noises_tab import NoisesTab
from app.studio.opening import Opening, canvas_of, empty_canvas, open_example
from app.studio.recipe_form import RecipeForm, advise
from app.studio.results.compare import Pair, Sides
from app.studio.results.figures import Figure, SheetView, figure
from app.studio.results.form import Form
from app.studio.results.generate import Single, generate
from app.studio.results.object_table import ObjectTable
from app.studio.results.pair_table import PairTable
from app.studio.results.thresholds import Thresholds
from app.studio.shown import comparison_value, sheet_value, user_of
from app.studio.sides_form import SidesForm
from detdiffusion.errors import DetDiffusionError
from detdiffusion.sampling_config import SamplingConfig, SamplingRequest

CLOSE_MENUS = "(...values) => { document.dispatchEvent(new CustomEvent('close-menus')); return values; }"
KEPT = Path(__file__).with_name("kept.js").read_text(encoding="utf-8")
NO_SINGLE = Single(ImageView(), ObjectTable(), 0)
NO_PAIR = Pair(ImageView(), ImageView(), PairTable(), 0)
WAITING = ImageView(caption="Generating the example", progress=0.0)


class StudioView:
    """The widgets of the tab, and what happens between them."""

    def __init__(self, studio: Studio, store: LayoutStore, seed: int) -> None:
        """seed: of the images of the example that the page opens with."""
        self.studio, self.opening_seed = studio, seed
        self.opening, self.last = open_example(studio, self._opening_recipe()), LastResults()
        with gr.Row(elem_id="stage"):
            with gr.Column(elem_id="layout-card", elem_classes="card"):
                self.card = LayoutCard(studio, store)
            with gr.Column(elem_id="result-card", elem_classes="card"):
                self._result_card()
        with gr.Row(elem_id="actions", elem_classes="card"):
            self._actions()
        self.kept, self.number = gr.Textbox(visible=False), gr.Textbox(visible=False)
        self.page_tab = gr.State("")  # the number of this tab of the browser, and the world of the model that it shows
        self.page_model = gr.State("")  # SHA-256 of that model
        self.last_single = gr.State(NO_SINGLE)
        self.last_pair = gr.State(NO_PAIR)
        self.last_sheet = gr.State(SheetView("", (), 1))
        # What a picture brings back.
        self.restored = [*self.card.shown, *self.recipe.values]

    def _result_card(self) -> None:
        self.boxes = gr.Checkbox(True, label="Boxes", container=False, elem_id="show-boxes")
        with gr.Tabs(elem_id="results", selected="compare", overflow_behavior="wrap") as self.tabs:
            with gr.Tab("Image", id="picture"), gr.Row(elem_id="single"):
                self.picture = ImagePanel(elem_id="picture")
                self.table = gr.HTML(ObjectTable().html(), elem_id="objects", apply_default_css=False)
            with gr.Tab("Compare", id="compare"):
                self.pair = Comparer(comparison_value(NO_PAIR), elem_id="pair")
            with gr.Tab("Many noises", id="noises"):
                self.noises = NoisesTab(self.studio)
            with gr.Tab("Attribute guidance", id="attribute-guidance"):
                self.attribute_guidance = AttributeGuidanceTab(self.studio)
            with gr.Tab("Inside", id="inside") as self.inside_tab:
                self.inside = InsideTab(self.studio)
            with gr.Tab("Figure", id="figure"):
                self.sheet = Sheet(elem_id="sheet")

    def _actions(self) -> None:
        with gr.Row(elem_id="recipe-bar"):
            self.recipe = RecipeForm(self._opening_recipe(), self.studio)
            with gr.Accordion("Figures", open=False, elem_id="figures", elem_classes="menu"):
                self.figures = {
                    which: gr.Button(f"{number}  {which}", size="sm", elem_id=f"figure-{number}")
                    for number, which in enumerate(Figure, start=1)
                }
            with gr.Accordion("Sides", open=False, elem_id="sides", elem_classes="menu"):
                self.sides = SidesForm(self.studio)
            self.spent = gr.HTML("", elem_id="spent", elem_classes="title")
        with gr.Row(elem_id="press-bar"):
            self.live = Live(self.studio, self._read_all, self._pair, self.last)
            self.cancel = gr.Button("Cancel", size="sm", visible=False, elem_id="cancel")
            self.pairs = CompareButtons(self.studio, self.recipe, self.sides, self._read_all, self._pair, self.last)
            self.generate = gr.Button("Generate", size="sm", variant="primary", elem_id="generate")

    # --- wiring ---

    def wire(self) -> None:
        """Keys press these buttons too (canvas/keys.js)."""
        self.card.wire()
        self.recipe.wire()
        canvas, recipe, seed = self.card.editor, self.recipe.values, self.recipe.seed
        single = [self.picture, self.table, self.spent]
        pair = [self.pair, self.spent]
        run_on_click(
            self.generate,
            self._on_generate,
            [canvas, self.last_single, self.page_tab, *self.sides.thresholds, *recipe],
            [*single, seed, self.last_single],
            **self._drawing("picture"),
        )
        self.pairs.wire(canvas, self.page_tab, self.last_pair, pair, self._drawing("compare"))
        self._wire_tabs()
        self.cancel.click(self._on_cancel, queue=False, **QUIET)
        self.card.open.upload(self._on_open, self.card.open, self.restored, **QUIET)
        self.boxes.change(None, self.boxes, None, js=_toggle("result-card", "bare", "!on"), **QUIET)
        # One event of all of them: of two that change together, the answer to the last is the one that stays.
        gr.on(
            [value.change for value in self.sides.values],
            self._on_sides,
            [*recipe, *self.sides.values],
            self.pairs.compare,
            queue=False,
            trigger_mode="always_last",
            **QUIET,
        )
        for value in self.sides.thresholds:
            value.change(
                self._on_thresholds,
                [*self.sides.thresholds, self.last_single, self.last_pair],
                [*single, *pair],
                trigger_mode="always_last",
                **QUIET,
            )
        self.opened = [
            *self.card.shown,
            self.card.shelf,
            *dict.fromkeys([*single, *pair]),
            *self.sides.of_model,
            *self.recipe.of_model,
            self.pairs.full,
            self.tabs,
            self.last_single,
            self.last_pair,
            self.page_tab,
            self.page_model,
        ]
        # No trigger given: when the page loads.
        loaded = gr.on(None, self._on_load, [self.kept, self.number], self.opened, js=KEPT, **QUIET)
        loaded.then(self.live.pace_is_known, None, self.live.switch, **QUIET)

    def follow(self, changed: Any) -> None:
        """After an event that may have exchanged the model, the canvas is the model's."""
        inputs = [self.kept, self.number, self.page_model]
        self.live.follow(changed.then(self._on_model, inputs, self.opened, js=KEPT, **QUIET, **ASIDE_QUEUE))

    def _wire_tabs(self) -> None:
        """The results beside the image and the comparison."""
        canvas, recipe = self.card.editor, self.recipe.values
        self.noises.wire(canvas, [*recipe, *self.sides.values], self._read)
        for which, button in self.figures.items():
            run_on_click(
                button,
                self._on_figure,
                [gr.State(which), canvas, self.last_sheet, *recipe],
                [self.sheet, self.last_sheet, self.spent],
                js=CLOSE_MENUS,
                **self._drawing("figure"),
            )
        self.attribute_guidance.wire(canvas, self.recipe)
        thresholds, pair = self.sides.thresholds, [self.pair, self.spent]
        self.live.wire([*thresholds, *recipe, *self.sides.values], pair, self.last_pair, self.page_tab)
        self.live.redraws([*recipe, *self.sides.values], [self.recipe.new_seed])
        self.inside.wire(self.inside_tab, self.last_single)

    def _drawing(self, tab: str) -> dict[str, Any]:
        """Options of `run_on_click`: one run at a time, shown in a tab of the result."""
        return {
            "queue": MODEL_QUEUE,
            "begin": lambda: {self.tabs: gr.Tabs(selected=tab), **self._buttons(busy=True)},
            "end": lambda: self._buttons(busy=False),
            "bracket": [self.tabs, self.generate, *self.pairs.both, self.cancel],
        }

    def _on_open(self, paths: list[str]) -> Updates:
        with Messages("Not opened", NOTHING_LOST):
            return self.show(self.card.open_files(paths), "Opened")
        return {self.card.editor: gr.skip()}

    def show(self, opened: Opened, title: str) -> Updates:
        """On the canvas and in the form; title: of the message that says what it is."""
        say(title, opened.note)
        settings = self.recipe.show(opened.recipe) if opened.recipe else {}
        return {**self.card.show(opened.layout, opened.backdrop), **settings}

    def _on_figure(
        self,
        which: Figure,
        value: Mapping[str, Any],
        last: SheetView,
        request: gr.Request,
        *recipe: Any,
    ) -> Iterator[Updates]:
        form = self.recipe.read(*recipe)
        with Messages("Not generated", NOTHING_LOST):
            for view in figure(self.studio, value, form, which, user_of(request)):
                last = view if view.progress is None else last
                yield {self.sheet: sheet_value(view)}
        yield {self.sheet: sheet_value(last), self.last_sheet: last, **self._took(last)}

    def _on_sides(self, *values: Any) -> Updates:
        return self.pairs.name(*self._read(values))

    def _on_thresholds(self, confidence: float, overlap: float, single: Single, pair: Pair) -> Updates:
        thresholds = self.sides.read_thresholds(confidence, overlap)
        return {**self._single(single.read(thresholds)), **self._pair(pair.read(thresholds))}

    def _on_cancel(self, request: gr.Request) -> None:
        self.studio.generation.cancel(user_of(request), PRESSED_EARLY)

    def _on_load(self, kept: str, number: str, request: gr.Request) -> Iterator[Updates]:
        """What this tab had before it was reloaded; or the layout of a link; or an example."""
        yield from self._open(kept, number, str(dict(request.query_params).get("layout", "")))

    def _on_model(self, kept: str, number: str, before: str) -> Iterator[Updates]:
        """What this tab had when a model of these classes was there; or an example of the model."""
        if before == self.studio.model.sha256:
            yield {self.page_model: before}
        else:
            yield from self._open(kept, number)

    def _open(self, kept: str, number: str, link: str = "") -> Iterator[Updates]:
        """The canvas at once, with the results that were last seen with it; those of an example as soon as they are
        there."""
        model = self.studio.model
        place = f"{number} {model.world}" if number else ""
        layout, example = self._last_layout(kept, link), model.examples.first
        seen = self.last.of(place)
        single, pair = seen.single or NO_SINGLE, seen.pair or NO_PAIR
        page = {**self._follow_model(), self.page_tab: place, self.page_model: model.sha256}
        opening = None
        if example is not None and layout in (None, example.to_json()):
            layout = example.to_json()
            opening = None if seen.single or seen.pair else self._opening_now()
        page |= self.card.open_with(layout or empty_canvas(model.pipeline.native_size))
        if opening is None:
            yield {**page, **self._results(single, pair)}
            return
        if not opening.ready:  # else all comes in one: see run_on_click
            waiting_pair = {self.pair: comparison_value(Pair(WAITING, WAITING, None, 0))} if opening.pair else {}
            yield {**page, self.picture: image_value(WAITING), **waiting_pair}
            page = {}
        try:
            pair = opening.pair.result() if opening.pair else NO_PAIR
            single = opening.single.result()
        except DetDiffusionError as error:
            if self.studio.model.sha256 == model.sha256:
                warn("The example could not be generated", error)
        if self.studio.model.sha256 == model.sha256:  # else the canvas is the next one's
            self.last.keep(place, single)
            self.last.keep(place, pair)
            yield {**page, **self._results(single, pair)}

    def _last_layout(self, kept: str, link: str) -> dict[str, Any] | None:
        """What was on the canvas, or is in a link."""
        words, world = self.studio.model.vocabulary, self.studio.model.world
        with Messages("The last layout of this tab was not opened", "Here is an example."):
            layout = canvas_of(kept, world, words)
            if layout is not None or not link:
                return layout
        if link:
            with Messages("The link was not opened", "Here is an example."):
                return words.resolve(layout_of_link(link)).to_json()
        return None

    def _opening_now(self) -> Opening | None:
        """The example of the present model, with its images or with those that are being made."""
        if self.opening is None or self.opening.model is not self.studio.model or self.opening.lost:
            self.opening = open_example(self.studio, self._opening_recipe())
        return self.opening

    def _results(self, single: Single, pair: Pair) -> Updates:
        return {**self._single(single), **self._pair(pair), self.last_single: single, self.last_pair: pair}

    def _on_generate(
        self,
        value: Mapping[str, Any],
        last: Single,
        tab: str,
        confidence: float,
        overlap: float,
        request: gr.Request,
        *recipe: Any,
    ) -> Iterator[Updates]:
        form, thresholds = self.recipe.read(*recipe), self.sides.read_thresholds(confidence, overlap)
        with Messages("Not generated", NOTHING_LOST):
            advise(self.studio.model, form.settings)
            for view in generate(self.studio, value, form, user_of(request)):
                last = view if view.table else last
                yield {**self._single(view.read(thresholds)), **self.recipe.show_seed(form, view.seed)}
            self.last.keep(tab, last)
        yield {**self._single(last.read(thresholds)), self.last_single: last}

    def _read(self, values: tuple[Any, ...]) -> tuple[Form, Sides]:
        """Of the widgets of the recipe and of the sides."""
        count = len(self.recipe.values)
        return self.recipe.read(*values[:count]), self.sides.read(*values[count:])

    def _read_all(self, values: tuple[Any, ...]) -> tuple[Form, Sides, Thresholds]:
        count = len(self.sides.thresholds)
        return *self._read(values[count:]), self.sides.read_thresholds(*values[:count])

    def _opening_recipe(self) -> SamplingConfig:
        """As the present model wants it."""
        return SamplingRequest().of(self.studio.model.recommended, self.opening_seed)

    # --- views -> updates ---

    def _follow_model(self) -> Updates:
        """What this model can be asked for."""
        tags_matter = self.studio.model.tags_matter
        tabs = {} if tags_matter else {self.tabs: gr.Tabs(selected="picture")}
        return {
            self.card.editor: gr.update(**self.card.words()),
            **self.sides.follow_model(),
            **self.recipe.follow_model(),
            **self.pairs.follow_model(),
            **tabs,
        }

    def _single(self, view: Single) -> Updates:
        table = {self.table: made_of(view.layout, view.table.html())} if view.table else {}
        return {self.picture: image_value(view.picture), **table, **self._took(view)}

    def _pair(self, view: Pair) -> Updates:
        return {self.pair: comparison_value(view), **self._took(view)}

    def _took(self, view: Single | Pair | SheetView) -> Updates:
        """Time and memory of the last run, while there is one."""
        return {self.spent: Markup("<p>{}</p>").format(view.spent)} if view.spent else {}

    def _buttons(self, *, busy: bool) -> Updates:
        draws = dict.fromkeys([self.generate, *self.pairs.both], gr.update(interactive=not busy))
        return {**draws, self.cancel: gr.update(visible=busy)}


def _toggle(element: str, name: str, condition: str) -> str:
    return f"(on) => {{ document.getElementById('{element}').classList.toggle('{name}', {condition}); }}"
