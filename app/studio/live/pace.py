"""Whether live mode is on where nobody has chosen: where the present model draws a pair at once on this machine."""

import time
from threading import Lock

from app.engine.compute import Engine, computing
from app.engine.models import Model
from app.engine.studio import Studio
from detdiffusion.errors import DetDiffusionError
from detdiffusion.layout import Layout

FAST = 0.5  # seconds of a pair, drawn and detected
FAR_TOO_SLOW = 5  # times as long, even when it is the first one


class Pace:
    """Measured once for each model, device and precision, between what people draw."""

    def __init__(self, studio: Studio) -> None:
        self._studio, self._known, self._lock = studio, dict[tuple[str, Engine], bool](), Lock()

    def is_fast(self) -> bool:
        """Of the present model; False where it has nothing to compare, or cannot draw. Whoever asks meanwhile waits."""
        models = self._studio.models
        with self._lock:
            key = (self._studio.model.sha256, models.engine)
            if key not in self._known:
                try:
                    with models.lend(None) as model:
                        key = (model.sha256, models.engine)
                        self._known[key] = computing(_is_fast, model, models.engine)
                except DetDiffusionError:
                    return False
            return self._known[key]

    def hint(self) -> str:
        """What is quicker, where the present model is not fast and a student of it is here; else nothing."""
        students = [] if self.is_fast() else self._studio.models.students()
        if not students:
            return ""
        return f"{self._studio.model.name} takes a while here. {students[0]} draws while you drag: Settings, Model."


def _is_fast(model: Model, engine: Engine) -> bool:
    example = model.examples.first
    if example is None or not model.tags_matter:
        return False
    layout = model.vocabulary.resolve(example)
    if 2 * _seconds(model, engine, layout) > FAR_TOO_SLOW * FAST:
        return False
    return 2 * _seconds(model, engine, layout) <= FAST  # the first one has warmed up


def _seconds(model: Model, engine: Engine, layout: Layout) -> float:
    """Of one image, drawn as the model recommends, and detected."""
    began = time.perf_counter()
    model.detector.detect(model.pipeline(layout, seeds=[0], dtype=engine.dtype).images)
    return time.perf_counter() - began
