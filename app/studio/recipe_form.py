"""How pictures are made: noise, seed, and the menu "More". What all buttons that draw read."""

from dataclasses import replace
from typing import Any

import gradio as gr

from app.components.forms import as_shown
from app.components.messages import QUIET, Updates, say
from app.engine.limits import MAX_ATTRIBUTE_GUIDANCE, MAX_GUIDANCE, MAX_STEPS
from app.engine.models import Model
from app.engine.studio import Studio
from app.studio.results.form import Form, new_seed
from detdiffusion.models.grounding import EARLY_SHARE
from detdiffusion.sampling_config import MAX_DETECTOR_GUIDANCE, Recommended, SamplingConfig

FIXED, RANDOM = "Fixed", "Random"
SAMPLERS = {
    "The model's own": "",
    "DPM-Solver++": "dpm++",
    "SDE-DPM-Solver++ (noise at every step)": "sde-dpm++",
    "UniPC": "unipc",
    "DDIM": "ddim",
    "Euler": "euler",
    "DDPM (noise at every step)": "ddpm",
}

_GUIDED, _UNGUIDED = "1 takes half the time", "built into this model: leave it at 1"


class RecipeForm:
    """Widgets in the bar of actions. `values` are in the order that `read` takes."""

    def __init__(self, recipe: SamplingConfig, studio: Studio) -> None:
        self.studio = studio
        gr.HTML("<h3>Noise</h3>", elem_classes="title")
        self.noise = gr.Radio(
            [FIXED, RANDOM], value=FIXED, show_label=False, container=False, elem_id="noise", elem_classes="choice"
        )
        # Gradio would round a fraction in silence; `Form.recipe` refuses it, as it does what is too large.
        self.seed = gr.Number(recipe.seed, label="Seed", container=False, elem_id="seed")
        self.new_seed = gr.Button("New seed", size="sm", elem_id="new-seed")
        with gr.Accordion("More", open=False, elem_id="more", elem_classes="menu"):
            self._add_sampling(recipe)
            self._add_gligen(recipe)
            self._add_detector(recipe)
        self.of_model = [self.steps, self.guidance, self.gligen_beta]  # what another model changes
        self.values: list[Any] = [
            self.noise,
            self.seed,
            self.steps,
            self.guidance,
            self.attribute_guidance,
            self.sampler,
            self.detector_guidance,
            self.fix_boxes,
            self.gligen_beta,
        ]

    def _add_sampling(self, recipe: SamplingConfig) -> None:
        """What every model has."""
        recommended = self.studio.model.recommended
        self.steps = gr.Slider(
            1,
            MAX_STEPS,
            recipe.steps,
            step=1,
            label="Steps",
            info=_made_for(recommended),
            elem_id="steps",
            buttons=[],
        )
        self.guidance = gr.Slider(
            1,
            MAX_GUIDANCE,
            recipe.guidance_scale,
            step=0.1,
            label="Guidance",
            info=_GUIDED if recommended.guided else _UNGUIDED,
            elem_id="guidance",
            buttons=[],
        )
        self.attribute_guidance = gr.Slider(
            -2,
            MAX_ATTRIBUTE_GUIDANCE,
            recipe.attribute_guidance,
            step=0.25,
            label="Attribute guidance",
            info="above 0 makes objects harder to detect; any value but 0 takes twice the time",
            elem_id="attribute-guidance",
            buttons=[],
        )
        self.sampler = gr.Dropdown(
            list(SAMPLERS.items()),
            value=recipe.sampler,
            label="Sampler",
            info="same time per step; Euler and DDPM need more steps",
            elem_id="sampler",
        )

    def _add_gligen(self, recipe: SamplingConfig) -> None:
        """Hidden for models that are not GLIGEN's."""
        self.gligen_beta = gr.Slider(
            0,
            1,
            self._early_share(recipe.gligen_scheduled_sampling_beta),
            step=0.05,
            label="Steps that see the boxes",
            info="the first part of the steps: more keeps objects in their boxes, less draws them more freely",
            elem_id="gligen-beta",
            buttons=[],
            visible=self.studio.model.early_share is not None,
        )

    def _add_detector(self, recipe: SamplingConfig) -> None:
        """What the detector does while images are drawn."""
        self.detector_guidance = gr.Slider(
            0,
            MAX_DETECTOR_GUIDANCE,
            recipe.detector_guidance,
            step=0.25,
            label="Detector guidance",
            info="leads easy objects to be found by the detector, and hard ones to be missed, by its gradient; any "
            "value but 0 takes about twice the time, 1 is usual",
            elem_id="detector-guidance",
            buttons=[],
        )
        self.fix_boxes = gr.Checkbox(
            recipe.fix_boxes,
            label="Fix boxes",
            info="draws objects again that the detector does not find in their place: up to 2.7 times the time",
            elem_id="fix-boxes",
        )

    def wire(self) -> None:
        """Connects the widgets of the noise with each other."""
        self.noise.change(self._on_noise, self.noise, self.seed, queue=False, **QUIET)
        self.new_seed.click(self._on_new_seed, None, [self.seed, self.noise], queue=False, **QUIET)

    def read(self, *values: Any) -> Form:
        """Of the widgets' values. An empty seed stays empty: a person has deleted it."""
        noise, _, *settings, beta = as_shown(self.values, values)
        own = self.studio.model.early_share
        form = Form(noise == FIXED, values[1], *settings)
        return form if own is None or beta == own else replace(form, gligen_scheduled_sampling_beta=beta)

    def show(self, recipe: SamplingConfig) -> Updates:
        """As a picture was made."""
        return {
            self.noise: FIXED,
            self.seed: recipe.seed,
            self.steps: recipe.steps,
            self.guidance: recipe.guidance_scale,
            self.attribute_guidance: recipe.attribute_guidance,
            self.sampler: recipe.sampler,
            self.detector_guidance: recipe.detector_guidance,
            self.fix_boxes: recipe.fix_boxes,
            self.gligen_beta: self._early_share(recipe.gligen_scheduled_sampling_beta),
        }

    def _early_share(self, asked: float | None) -> float:
        """What the slider shows; of a model that is not GLIGEN's, whose slider is hidden, diffusers' default."""
        own = self.studio.model.early_share
        return EARLY_SHARE if own is None else own if asked is None else asked

    def follow_model(self) -> Updates:
        """Another model is there: it is drawn as it wants to be."""
        model = self.studio.model
        recommended = model.recommended
        guided = _GUIDED if recommended.guided else _UNGUIDED
        return {
            self.steps: gr.update(value=recommended.steps, info=_made_for(recommended)),
            self.guidance: gr.update(value=recommended.guidance_scale, info=guided),
            self.gligen_beta: gr.update(value=self._early_share(None), visible=model.early_share is not None),
        }

    def show_seed(self, form: Form, seed: int) -> Updates:
        """A random seed is shown once it is drawn; a fixed one is the user's, and is left alone."""
        return {} if form.fixed else {self.seed: seed}

    def _on_noise(self, noise: str) -> Updates:
        return {self.seed: gr.update(interactive=noise == FIXED)}

    def _on_new_seed(self) -> Updates:
        return {self.seed: new_seed(), self.noise: FIXED}


def advise(model: Model, asked: SamplingConfig) -> None:
    """Says what a model is not made for."""
    if advice := model.recommended.advice(asked):
        say("Not as recommended", f"{advice[0].upper()}{advice[1:]}.")


def _made_for(recommended: Recommended) -> str:
    fewest, most = recommended.fewest_steps, recommended.most_steps
    bounds = f"{fewest} or more" if most >= MAX_STEPS else f"{fewest} to {most}"
    return f"this model is made for {recommended.steps}, and works with {bounds}"
