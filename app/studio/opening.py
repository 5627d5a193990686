"""The example that the page opens with."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from app.components.images import ImageView
from app.engine.studio import Studio
from app.studio.results.compare import Pair, compare_pair
from app.studio.results.form import Form
from app.studio.results.generate import Single, generate
from detdiffusion.errors import LayoutError
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import SamplingConfig

View = TypeVar("View")

FAST = 0.5  # seconds of a pair, drawn and detected
FAR_TOO_SLOW = 5  # times as long, even when it is the first one


def examples(folder: Path) -> dict[str, dict[str, Any]]:
    """Name -> layout for every `*.json` of a folder, `beach-day.json` as "Beach day"."""
    files = sorted(folder.glob("*.json"))
    return {file.stem.replace("-", " ").capitalize(): Layout.from_json(file.read_bytes()).to_json() for file in files}


class Opening:
    """The example that the page opens with: its pictures are made in the background, once for all visitors."""

    def __init__(self, studio: Studio, name: str, layout: Mapping[str, Any], recipe: SamplingConfig) -> None:
        self.name, self.layout, self.recipe, self.model = name, layout, recipe, studio.model
        form = Form(True, recipe.seed, recipe.steps, recipe.guidance_scale, recipe.attribute_guidance, recipe.sampler)
        worker = ThreadPoolExecutor(1, thread_name_prefix="opening")
        self.pair: Future[Pair] | None = None  # where tags change nothing there is nothing to compare
        if studio.model.tags_matter:
            self.pair = worker.submit(lambda: _last(compare_pair(studio, layout, form, "opening")))
        self.single: Future[Single] = worker.submit(lambda: _last(generate(studio, layout, form, "opening")))
        self.fast: Future[bool] = worker.submit(self._is_fast, studio, form)
        worker.shutdown(wait=False)

    def _is_fast(self, studio: Studio, form: Form) -> bool:
        """Whether a pair comes at once on this machine: for live mode. The first one has warmed up."""
        if self.pair is None or self.pair.exception() or _seconds(self.pair.result()) > FAR_TOO_SLOW * FAST:
            return False
        return _seconds(_last(compare_pair(studio, self.layout, form, "opening", kept=False))) <= FAST

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


def open_example(
    studio: Studio, examples: Mapping[str, Mapping[str, Any]], name: str, recipe: SamplingConfig
) -> Opening | None:
    """The example of this name or, where the model does not know its classes, the first that it knows; else None."""
    for candidate in sorted(examples, key=lambda other: other != name):
        try:
            studio.model.vocabulary.resolve(Layout.from_json(examples[candidate]))
        except LayoutError:
            continue
        return Opening(studio, candidate, examples[candidate], recipe)
    return None


def _seconds(pair: Pair) -> float:
    return pair.results[0].seconds


def _last(views: Iterator[View]) -> View:
    *_, last = views
    return last
