"""The buttons that draw a pair: both sides as they are chosen; and of a student, its image beside its teacher's."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gradio as gr

from app.components.messages import Messages, Updates
from app.components.queues import run_on_click
from app.engine.studio import Studio
from app.studio.last_results import LastResults
from app.studio.recipe_form import RecipeForm, advise
from app.studio.results.compare import Pair, Sides, compare_pair
from app.studio.results.form import Form
from app.studio.results.full_model import fast_beside_full
from app.studio.results.thresholds import Thresholds
from app.studio.shown import user_of
from app.studio.sides_form import SidesForm

NOTHING_LOST = "The layout and the last result are unchanged."


class CompareButtons:
    """Two buttons of the bar; keys press them (canvas/keys.js).

    Args:
        read: of the widgets' values: thresholds, recipe, sides.
        shown: what the page gets of a pair.
        last: what each tab of a browser saw last.
    """

    def __init__(
        self,
        studio: Studio,
        recipe: RecipeForm,
        sides: SidesForm,
        read: Callable[[tuple[Any, ...]], tuple[Form, Sides, Thresholds]],
        shown: Callable[[Pair], Updates],
        last: LastResults,
    ) -> None:
        self.studio, self.recipe, self.sides = studio, recipe, sides
        self._read, self._shown, self._last = read, shown, last
        self.full = gr.Button(**self._full(), size="sm", elem_id="full-model")
        self.compare = gr.Button("Compare easy / hard", size="sm", elem_id="compare")

    @property
    def both(self) -> list[gr.Button]:
        """For whoever switches them off while something is drawn."""
        return [self.full, self.compare]

    def wire(
        self, canvas: Any, tab: gr.State, last_pair: gr.State, shown: list[Any], options: Mapping[str, Any]
    ) -> None:
        """`shown`: the components that a pair is seen in. options: of `run_on_click`."""
        self.last_pair = last_pair
        inputs = [canvas, last_pair, tab, *self.sides.thresholds, *self.recipe.values, *self.sides.values]
        outputs = [*shown, self.recipe.seed, last_pair]
        run_on_click(self.compare, self._on_compare, inputs, outputs, **options)
        run_on_click(self.full, self._on_full, inputs, outputs, **options)

    def follow_model(self) -> Updates:
        """Another model is there: it has a full one beside it, or none."""
        return {self.full: gr.update(**self._full())}

    def name(self, form: Form, sides: Sides) -> Updates:
        """What the button of the comparison says."""
        names = sides.names(self.studio.model.name, form.settings)
        words = f"Compare {names[0].lower()} / {names[1].lower()}"
        return {self.compare: words if len(words) < 30 else "Compare both sides"}

    def _full(self) -> dict[str, Any]:
        name = self.studio.models.teacher()
        words = "Full" if name is None else self.studio.models.recommended(name).named().capitalize()
        return {"value": words, "visible": name is not None}

    def _on_compare(
        self, value: Mapping[str, Any], last: Pair, tab: str, request: gr.Request, *values: Any
    ) -> Iterator[Updates]:
        yield from self._draw(value, last, tab, user_of(request), self._read(values))

    def _on_full(
        self, value: Mapping[str, Any], last: Pair, tab: str, request: gr.Request, *values: Any
    ) -> Iterator[Updates]:
        form, sides, thresholds = self._read(values)
        with Messages("Not generated", NOTHING_LOST):
            beside = fast_beside_full(self.studio, form, sides.second)
            yield from self._draw(value, last, tab, user_of(request), (*beside, thresholds))

    def _draw(
        self, value: Mapping[str, Any], last: Pair, tab: str, user: str, asked: tuple[Form, Sides, Thresholds]
    ) -> Iterator[Updates]:
        form, sides, thresholds = asked
        with Messages("Not generated", NOTHING_LOST):
            advise(self.studio.model, form.settings)
            for view in compare_pair(self.studio, value, form, user, sides):
                last = view if view.table else last
                yield {**self._shown(view.read(thresholds)), **self.recipe.show_seed(form, view.seed)}
            self._last.keep(tab, last)
        yield {**self._shown(last.read(thresholds)), self.last_pair: last}
