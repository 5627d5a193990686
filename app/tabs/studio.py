"""The studio view: canvas left, result right, one bar of actions below. Widgets and wiring only."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import gradio as gr

from app import handlers
from app.comparer import Comparer, Sheet
from app.editor import Picture
from app.handlers import NOISES_AT_ONCE, Figure, Form, Opening, Pair, Single
from app.layout_files import layout_of_link
from app.layout_store import LayoutStore
from app.messages import QUIET, Messages, Updates, say, warn
from app.services import MAX_GUIDANCE, MAX_SEED, MAX_STEPS, Recipe, Studio
from app.tabs.difficulty import DifficultyTab
from app.tabs.inside import InsideTab
from app.tabs.layout_card import LayoutCard
from app.tabs.shown import (
    ASIDE_QUEUE,
    FIXED,
    MODEL_QUEUE,
    RANDOM,
    aside_of,
    comparison_value,
    picture_value,
    sheet_value,
    user_of,
)
from app.tabs.sides_form import SidesForm
from app.views import NoiseTable, ObjectTable, PairTable, PictureView, SheetView
from detdiffusion.errors import DetDiffusionError

MAX_NOISES = 96
CLOSE_MENUS = "(...values) => { document.dispatchEvent(new CustomEvent('close-menus')); return values; }"
NOTHING_LOST = "The layout and the last result are as they were."
NO_SINGLE = Single(PictureView(), ObjectTable(), 0)
NO_PAIR = Pair(PictureView(), PictureView(), PairTable(), 0)
WAITING = PictureView(caption="The example is being generated", progress=0.0)


class StudioView:
    """The widgets of the tab, and what happens between them."""

    def __init__(
        self,
        studio: Studio,
        examples: Mapping[str, Mapping[str, Any]],
        store: LayoutStore,
        favourite: str,
        recipe: Recipe,
    ) -> None:
        """`examples` are layouts by name; the page opens with the favourite (or one that the model knows)."""
        self.studio, self.layouts, self.favourite, self.recipe = studio, examples, favourite, recipe
        self.opening = self._new_opening()
        with gr.Row(elem_id="stage"):
            with gr.Column(elem_id="layout-card", elem_classes="card"):
                self.card = LayoutCard(studio, examples, store)
            with gr.Column(elem_id="result-card", elem_classes="card"):
                self._result_card()
        with gr.Row(elem_id="actions", elem_classes="card"):
            self._actions()
        self.last_single = gr.State(NO_SINGLE)
        self.last_pair = gr.State(NO_PAIR)
        self.last_sheet = gr.State(SheetView("", (), 1))
        self.of_model = [*self.card.shown, *self.sides.of_model, self.tabs]  # what another model changes
        # What a picture brings back.
        self.restored = [*self.card.shown, self.noise, self.seed, self.steps, self.guidance]

    def _result_card(self) -> None:
        self.boxes = gr.Checkbox(True, label="Boxes", container=False, elem_id="show-boxes")
        with gr.Tabs(elem_id="results", selected="compare") as self.tabs:
            with gr.Tab("Picture", id="picture"), gr.Row(elem_id="single"):
                self.picture = Picture(elem_id="picture")
                self.table = gr.HTML(ObjectTable().html(), elem_id="objects", apply_default_css=False)
            with gr.Tab("Compare", id="compare"):
                self.pair = Comparer(comparison_value(NO_PAIR), elem_id="pair")
            with gr.Tab("Many noises", id="noises"):
                with gr.Row(elem_id="noises-bar", elem_classes="bar"):
                    self.count = gr.Slider(
                        NOISES_AT_ONCE,
                        MAX_NOISES,
                        16,
                        step=NOISES_AT_ONCE,
                        label="Noises, from the seed on",
                        buttons=[],
                        elem_id="noises-count",
                    )
                    self.stop_noises = gr.Button("Stop", size="sm", visible=False, elem_id="stop-noises")
                    self.run_noises = gr.Button("Run", size="sm", variant="primary", elem_id="run-noises")
                self.noises = gr.HTML(NoiseTable().html(), elem_id="noises", apply_default_css=False)
            with gr.Tab("Difficulty", id="difficulty"):
                self.difficulty = DifficultyTab(self.studio)
            with gr.Tab("Inside", id="inside") as self.inside_tab:
                self.inside = InsideTab(self.studio)
            with gr.Tab("Figure", id="figure"):
                self.sheet = Sheet(elem_id="sheet")

    def _actions(self) -> None:
        gr.HTML("<h3>Noise</h3>", elem_classes="title")
        self.noise = gr.Radio(
            [FIXED, RANDOM], value=FIXED, show_label=False, container=False, elem_id="noise", elem_classes="choice"
        )
        self.seed = gr.Number(
            self.recipe.seed,
            label="Seed",
            precision=0,
            minimum=0,
            maximum=MAX_SEED,
            container=False,
            elem_id="seed",
        )
        self.new_seed = gr.Button("New seed", size="sm", elem_id="new-seed")
        with gr.Accordion("More", open=False, elem_id="more", elem_classes="menu"):
            self.steps = gr.Slider(1, MAX_STEPS, self.recipe.steps, step=1, label="Steps", elem_id="steps", buttons=[])
            self.guidance = gr.Slider(
                1,
                MAX_GUIDANCE,
                self.recipe.guidance,
                step=0.1,
                label="Guidance",
                elem_id="guidance",
                buttons=[],
            )
        with gr.Accordion("Figures", open=False, elem_id="figures", elem_classes="menu"):
            self.figures = {
                which: gr.Button(f"{number}  {which}", size="sm", elem_id=f"figure-{number}")
                for number, which in enumerate(Figure, start=1)
            }
        with gr.Accordion("Sides", open=False, elem_id="sides", elem_classes="menu"):
            self.sides = SidesForm(self.studio)
        self.cancel = gr.Button("Cancel", size="sm", visible=False, elem_id="cancel")
        self.compare = gr.Button("Compare easy / hard", size="sm", elem_id="compare")
        self.generate = gr.Button("Generate", size="sm", variant="primary", elem_id="generate")

    # --- wiring ---

    def wire(self) -> None:
        """Keys press these buttons too (canvas/keys.js)."""
        self.card.wire()
        form = [self.card.editor, self.noise, self.seed, self.steps, self.guidance]
        buttons = [self.generate, self.compare, self.cancel]
        single = [self.picture, self.table]
        pair = [self.pair]
        common = [self.seed, self.tabs, *buttons]
        self.generate.click(
            self._on_generate,
            [*form, self.last_single],
            [*single, *common, self.last_single],
            **QUIET,
            **MODEL_QUEUE,
        )
        self.compare.click(
            self._on_compare,
            [*form, self.last_pair, *self.sides.values],
            [*pair, *common, self.last_pair],
            **QUIET,
            **MODEL_QUEUE,
        )
        self.run_noises.click(
            self._on_noises,
            [*form, self.count, *self.sides.values],
            [self.noises, self.seed, self.run_noises, self.stop_noises],
            **QUIET,
            **ASIDE_QUEUE,
        )
        for which, button in self.figures.items():
            button.click(
                self._on_figure,
                [gr.State(which), *form, self.last_sheet],
                [self.sheet, self.tabs, *buttons, self.last_sheet],
                js=CLOSE_MENUS,
                **QUIET,
                **MODEL_QUEUE,
            )
        self.stop_noises.click(self._on_stop_noises, queue=False, **QUIET)
        self.difficulty.wire(form)
        self.inside.wire(self.inside_tab, self.last_single)
        self.cancel.click(self._on_cancel, queue=False, **QUIET)
        self.card.open.upload(self._on_open, self.card.open, self.restored, **QUIET)
        self.noise.change(self._on_noise, self.noise, self.seed, queue=False, **QUIET)
        self.new_seed.click(self._on_new_seed, None, [self.seed, self.noise], queue=False, **QUIET)
        self.boxes.change(None, self.boxes, None, js=_toggle("result-card", "bare", "!on"), **QUIET)
        for value in self.sides.values:
            value.change(self._on_sides, [self.guidance, *self.sides.values], self.compare, queue=False, **QUIET)
        opening = [
            *self.card.shown,
            self.card.shelf,
            *single,
            *pair,
            *self.sides.of_model,
            self.tabs,
            self.last_single,
            self.last_pair,
        ]
        gr.on(None, self._on_load, None, opening, **QUIET)  # no trigger given: when the page loads

    def _on_open(self, paths: list[str]) -> Updates:
        with Messages("Not opened", NOTHING_LOST):
            opened = self.card.open_files(paths)
            say("Opened", opened.note)
            settings = self.show_recipe(opened.recipe) if opened.recipe else {}
            return {**self.card.show(opened.layout, opened.backdrop), **settings}
        return {self.card.editor: gr.skip()}

    def show_recipe(self, recipe: Recipe) -> Updates:
        return {
            self.noise: FIXED,
            self.seed: recipe.seed,
            self.steps: recipe.steps,
            self.guidance: recipe.guidance,
        }

    def _on_noise(self, noise: str) -> Updates:
        return {self.seed: gr.update(interactive=noise == FIXED)}

    def _on_new_seed(self) -> Updates:
        return {self.seed: handlers.new_seed(), self.noise: FIXED}

    def _on_figure(
        self,
        which: Figure,
        value: Mapping[str, Any],
        noise: str,
        seed: float | None,
        steps: float,
        guidance: float,
        last: SheetView,
        request: gr.Request,
    ) -> Iterator[Updates]:
        form = Form(noise == FIXED, seed, steps, guidance)
        yield {self.tabs: gr.Tabs(selected="figure"), **self._buttons(busy=True)}
        with Messages("Not generated", NOTHING_LOST):
            for view in handlers.figure(self.studio, value, form, which, user_of(request)):
                last = view if view.progress is None else last
                yield {self.sheet: sheet_value(view)}
        yield {self.sheet: sheet_value(last), **self._buttons(busy=False), self.last_sheet: last}

    def _on_noises(
        self,
        value: Mapping[str, Any],
        noise: str,
        seed: float | None,
        steps: float,
        guidance: float,
        count: float,
        request: gr.Request,
        *sides: Any,
    ) -> Iterator[Updates]:
        """What was reached stays there when it is stopped."""
        recipe, last = Form(noise == FIXED, seed, steps, guidance), NoiseTable()
        yield {self.run_noises: gr.update(interactive=False), self.stop_noises: gr.update(visible=True)}
        with Messages("Stopped", "What was finished before stands there."):
            asked = self.sides.read(*sides)
            for last in handlers.many_noises(
                self.studio, value, recipe, int(count), aside_of(request, "noises"), asked
            ):
                yield {self.noises: last.html()}
        reached = replace(last, progress=None, wanted=last.wanted if last.pairs else 0)
        yield {
            **({self.noises: reached.html()} if last.wanted else {}),
            self.run_noises: gr.update(interactive=True),
            self.stop_noises: gr.update(visible=False),
        }

    def _on_stop_noises(self, request: gr.Request) -> None:
        self.studio.cancel(aside_of(request, "noises"))

    def _on_sides(self, guidance: float, *sides: Any) -> Updates:
        names = self.sides.read(*sides).names(self.studio.model.name, guidance)
        words = f"Compare {names[0].lower()} / {names[1].lower()}"
        return {self.compare: words if len(words) < 30 else "Compare both sides"}

    def _on_cancel(self, request: gr.Request) -> None:
        self.studio.cancel(user_of(request))

    def _on_load(self, request: gr.Request) -> Iterator[Updates]:
        """The example on the canvas at once; its pictures as soon as they are there. Or the layout of a link."""
        if text := dict(request.query_params).get("layout"):
            with Messages("The link was not opened", "Here is an example."):
                linked = self.studio.vocabulary.resolve(layout_of_link(str(text))).to_json()
                canvas = {
                    **self.card.layouts_now(),
                    **self.card.show(linked),
                    self.card.editor: gr.update(value=linked, **self.card.words()),
                }
                yield {**self._follow_model(), **self._single(NO_SINGLE), **self._pair(NO_PAIR), **canvas}
                return
        if self.opening is None or self.opening.model is not self.studio.model or self.opening.lost:
            self.opening = self._new_opening()
        opening = self.opening
        if opening is None:  # no example is of this model's world
            yield {**self._follow_model(), **self.card.layouts_now()}
            return
        canvas = {
            **self.card.layouts_now(),
            **self.card.show(opening.layout),
            self.card.editor: gr.update(value=opening.layout, **self.card.words()),
        }
        waiting_pair = {self.pair: comparison_value(Pair(WAITING, WAITING, None, 0))} if opening.pair else {}
        yield {**self._follow_model(), **canvas, self.picture: picture_value(WAITING), **waiting_pair}
        try:
            pair = opening.pair.result() if opening.pair else NO_PAIR
            single = opening.single.result()
        except DetDiffusionError as error:
            warn("The example could not be generated", error)
            yield {**self._single(NO_SINGLE), **self._pair(NO_PAIR)}
            return
        yield {**self._single(single), **self._pair(pair), self.last_single: single, self.last_pair: pair}

    def _on_generate(
        self,
        value: Mapping[str, Any],
        noise: str,
        seed: float | None,
        steps: float,
        guidance: float,
        last: Single,
        request: gr.Request,
    ) -> Iterator[Updates]:
        yield {self.tabs: gr.Tabs(selected="picture"), **self._buttons(busy=True)}
        with Messages("Not generated", NOTHING_LOST):
            for view in handlers.generate(
                self.studio, value, Form(noise == FIXED, seed, steps, guidance), user_of(request)
            ):
                last = view if view.table else last
                yield {**self._single(view), **self._used(noise, view.seed)}
        yield {**self._single(last), **self._buttons(busy=False), self.last_single: last}

    def _on_compare(
        self,
        value: Mapping[str, Any],
        noise: str,
        seed: float | None,
        steps: float,
        guidance: float,
        last: Pair,
        request: gr.Request,
        *sides: Any,
    ) -> Iterator[Updates]:
        yield {self.tabs: gr.Tabs(selected="compare"), **self._buttons(busy=True)}
        with Messages("Not generated", NOTHING_LOST):
            form = Form(noise == FIXED, seed, steps, guidance)
            asked = self.sides.read(*sides)
            for view in handlers.compare_pair(self.studio, value, form, user_of(request), asked):
                last = view if view.table else last
                yield {**self._pair(view), **self._used(noise, view.seed)}
        yield {**self._pair(last), **self._buttons(busy=False), self.last_pair: last}

    def _new_opening(self) -> Opening | None:
        return handlers.open_example(self.studio, self.layouts, self.favourite, self.recipe)

    def on_model(self, value: Mapping[str, Any]) -> Updates:
        """Another model is there: what is on the canvas stays, and is read with the new model's words."""
        return {**self._follow_model(), self.card.prompt: handlers.show_prompt(self.studio, value)}

    # --- views -> updates ---

    def _follow_model(self) -> Updates:
        """What this model can be asked for."""
        tags_matter = self.studio.tags_matter
        tabs = {} if tags_matter else {self.tabs: gr.Tabs(selected="picture")}
        return {
            self.card.editor: gr.update(**self.card.words()),
            **self.sides.follow_model(),
            **tabs,
        }

    def _single(self, view: Single) -> Updates:
        table = {self.table: view.table.html()} if view.table else {}
        return {self.picture: picture_value(view.picture), **table}

    def _pair(self, view: Pair) -> Updates:
        return {self.pair: comparison_value(view)}

    def _buttons(self, *, busy: bool) -> Updates:
        generate = gr.update(interactive=not busy)
        compare = gr.update(interactive=not busy)
        return {self.generate: generate, self.compare: compare, self.cancel: gr.update(visible=busy)}

    def _used(self, noise: str, seed: int) -> Updates:
        """A random seed is shown once it is drawn; a fixed one is the user's, and is left alone."""
        return {self.seed: seed} if noise == RANDOM else {}


def _toggle(element: str, name: str, condition: str) -> str:
    return f"(on) => {{ document.getElementById('{element}').classList.toggle('{name}', {condition}); }}"
