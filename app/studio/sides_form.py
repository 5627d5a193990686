"""What the two pictures of a comparison are asked for: the menu beside the Compare button."""

from typing import Any

import gradio as gr

from app.components.forms import as_shown
from app.components.messages import Updates
from app.engine.limits import MAX_ATTRIBUTE_GUIDANCE, MAX_GUIDANCE
from app.engine.studio import Studio
from app.studio.results.compare import STRATEGY_NAMES, Side, Sides
from app.studio.results.thresholds import OWN, Thresholds
from detdiffusion.attributes import Strategy
from detdiffusion.evaluation.comparison import MIN_IOU

NO_SECOND = "none"
PRESENT = ""  # the model that the studio works with


class SidesForm:
    """Two columns of widgets, and the second detector."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.values: list[Any] = []  # in the order that `read` takes
        self.models: list[Any] = []
        with gr.Row(elem_id="sides-row"):
            for name, strategy in (("A", Strategy.EASY), ("B", Strategy.HARD)):
                with gr.Column(elem_id=f"side-{name.lower()}"):
                    self._side(name, strategy)
        self.second = gr.Dropdown(
            [NO_SECOND, *studio.detectors.names()[1:]],
            value=NO_SECOND,
            label="Second detector",
            elem_id="second-detector",
        )
        self.values.append(self.second)
        with gr.Row(elem_id="thresholds"):
            confidence = gr.Slider(
                0,
                1,
                OWN,
                step=0.05,
                label="Least confidence",
                info="of a found object; 0: the detector's own",
                buttons=[],
                elem_id="min-confidence",
            )
            overlap = gr.Slider(
                0.1,
                0.95,
                MIN_IOU,
                step=0.05,
                label="Least overlap",
                info="IoU of a found object with its box",
                buttons=[],
                elem_id="min-iou",
            )
        self.thresholds: list[Any] = [confidence, overlap]  # in the order of `read_thresholds`
        self.of_model = [*self.models, self.second]

    def _side(self, name: str, strategy: Strategy) -> None:
        tags = gr.Radio(
            list(STRATEGY_NAMES.values()),
            value=STRATEGY_NAMES[strategy],
            label=f"{name}: tags of all things",
            elem_classes="choice",
            elem_id=f"tags-{name.lower()}",
        )
        model = gr.Dropdown(
            self._choices(),
            value=PRESENT,
            label="Model",
            elem_id=f"model-{name.lower()}",
        )
        guidance = gr.Slider(
            0,
            MAX_GUIDANCE,
            0,
            step=0.5,
            label="Guidance",
            info="0: as set under More",
            buttons=[],
            elem_id=f"guidance-{name.lower()}",
        )
        harder = gr.Slider(
            -2,
            MAX_ATTRIBUTE_GUIDANCE,
            0,
            step=0.25,
            label="Attribute guidance",
            info="0: as set under More",
            buttons=[],
            elem_id=f"attribute-guidance-{name.lower()}",
        )
        self.values += [tags, model, guidance, harder]
        self.models.append(model)

    def _choices(self) -> list[tuple[str, str]]:
        """The present model first: as a choice it stays what it is when another model becomes the present one."""
        present = self.studio.model.name
        shown = self.studio.models.choices()
        first = [(label, PRESENT) for label, name in shown if name == present]
        return [*first, *((label, name) for label, name in shown if name != present)]

    def read(self, *values: Any) -> Sides:
        """Of the widgets' values, in order."""
        *both, second = as_shown(self.values, values)
        a, b = (self._read_side(*both[first : first + 4]) for first in (0, 4))
        return Sides(a, b, None if second == NO_SECOND else second)

    def read_thresholds(self, *values: Any) -> Thresholds:
        """From which confidence and overlap on an object counts as found, in what is shown."""
        return Thresholds(*map(float, as_shown(self.thresholds, values)))

    def _read_side(self, tags: str, model: str, guidance: float, harder: float) -> Side:
        strategy = next(strategy for strategy, name in STRATEGY_NAMES.items() if name == tags)
        present = model in (PRESENT, self.studio.model.name)
        return Side(strategy, None if present else model, guidance or None, harder or None)

    def follow_model(self) -> Updates:
        """What there is to choose from beside the present model."""
        models = gr.update(choices=self._choices(), value=PRESENT)
        detectors = gr.update(choices=[NO_SECOND, *self.studio.detectors.names()[1:]], value=NO_SECOND)
        return {**dict.fromkeys(self.models, models), self.second: detectors}
