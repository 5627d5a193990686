"""What a page opens with: the layout that was on its canvas, or an example of the present model."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from app.components.images import ImageView
from app.engine.studio import Studio
from app.studio.results.compare import Pair, compare_pair
from app.studio.results.form import Form
from app.studio.results.generate import Single, generate
from detdiffusion.layout import EmptyLayout, Layout, parse_object
from detdiffusion.sampling_config import SamplingConfig
from detdiffusion.text.vocabulary import Vocabulary

View = TypeVar("View")

USER = "opening"  # who asks for it


class Opening:
    """The example that the page opens with: its pictures are made in the background, once for all visitors."""

    def __init__(self, studio: Studio, layout: Mapping[str, Any], recipe: SamplingConfig) -> None:
        self.layout, self.recipe, self.model = layout, recipe, studio.model
        form = Form(True, recipe.seed, recipe.steps, recipe.guidance_scale, recipe.attribute_guidance, recipe.sampler)
        worker = ThreadPoolExecutor(1, thread_name_prefix="opening")
        self.pair: Future[Pair] | None = None  # where tags change nothing there is nothing to compare
        if studio.model.tags_matter:
            self.pair = worker.submit(lambda: _last(compare_pair(studio, layout, form, USER, watched=False)))
        self.single: Future[Single] = worker.submit(lambda: _last(generate(studio, layout, form, USER, watched=False)))
        worker.shutdown(wait=False)

    @property
    def ready(self) -> bool:
        """Whether nobody has to wait for its pictures."""
        return self.single.done()  # it comes last

    @property
    def lost(self) -> bool:
        """Whether its pictures were there and have been deleted since (in the gallery, for one)."""
        views: list[ImageView] = []
        if self.single.done() and not self.single.exception():
            views.append(self.single.result().picture)
        if self.pair and self.pair.done() and not self.pair.exception():
            views += [self.pair.result().a, self.pair.result().b]
        return any(view.file is not None and not view.file.exists() for view in views)


def open_example(studio: Studio, recipe: SamplingConfig) -> Opening | None:
    """The first example of the present model, if it has any."""
    first = studio.model.examples.first
    return None if first is None else Opening(studio, first.to_json(), recipe)


def canvas_of(kept: str, world: str, vocabulary: Vocabulary) -> dict[str, Any] | None:
    """What was last drawn in a world, of what a tab of the browser has kept of all: JSON of layouts by world (as text,
    canvas/state.js). It may be empty; None: nothing was drawn there.

    Raises:
        LayoutError: it cannot be drawn.
    """
    text = parse_object(kept).get(world) if kept else None
    if text is None:
        return None
    value = parse_object(text)
    if value.get("objects") == []:
        return empty_canvas((value.get("height", 0), value.get("width", 0)))
    return vocabulary.resolve(Layout.from_json(value)).to_json()


def empty_canvas(size: tuple[int, int]) -> dict[str, Any]:
    """Of a height and a width. LayoutError: no canvas is of this size."""
    return EmptyLayout(size[1], size[0], ()).to_json()


def _last(views: Iterator[View]) -> View:
    *_, last = views
    return last
