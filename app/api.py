"""What programs may call, over HTTP and, with `--mcp`, as tools of the Model Context Protocol."""

import logging
from typing import Any

import gradio as gr

from app.components.queues import MODEL_QUEUE, client_stays
from app.engine.studio import Studio
from app.studio.records import classes_record, compare_record, generate_record
from detdiffusion.errors import DetDiffusionError, sentence
from detdiffusion.sampling_config import SamplingConfig, SamplingRequest

log = logging.getLogger(__name__)


def add_endpoints(studio: Studio) -> None:
    """The page's own events are private; these are public, and their docstrings are what a caller reads."""
    public = Endpoints(studio)
    gr.api(public.generate, api_name="generate", **MODEL_QUEUE)
    gr.api(public.compare, api_name="compare", **MODEL_QUEUE)
    gr.api(public.classes, api_name="classes", queue=False)


class Endpoints:
    """What a caller may ask of a studio; errors reach it as gr.Error, with kind and text."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    # Gradio reads a line an argument, so each stands on one.
    def generate(
        self,
        layout: dict[str, Any],
        seed: int = 7,
        strategy: str = "origin",
        steps: int | None = None,
        guidance: float | None = None,
        attribute_guidance: float = 0.0,
        sampler: str = "",
        image: bool = True,
        picture: bool | None = None,
        difficulty: float | None = None,
    ) -> dict[str, Any]:
        """
        Generates an image of a layout, and returns the detector's confidence in each object. A layout is {"width": 256,
        "height": 256, "objects": [{"label": "car", "box": [x1, y1, x2, y2], "attribute": "easy"}]}: boxes are fractions
        of the sides, 0 to 1; attributes are "easy", "hard" or "background".

        Args:
            layout: in the form above; `classes` lists the labels.
            seed: of the noise; the same seed gives the same image.
            strategy: "origin" takes the tags as they are, "easy" and "hard" give them to all things.
            steps: of the sampler, 1 to 100; null for the model's own.
            guidance: how closely the layout is followed, 1 to 15; null for the model's own.
            attribute_guidance: -4 to 4; above 0 objects become harder to detect, below 0 easier.
            sampler: "dpm++", "sde-dpm++", "unipc", "ddim", "euler" or "ddpm"; empty for the model's own.
            image: whether the answer holds the image, as "png_base64".
            picture: what version 0.1 called `image`.
            difficulty: what version 0.1 called `attribute_guidance`.

        Returns:
            "objects" with "confidence" (null where the detector does not know the class), "found" and "causes" (what
            makes a hard object hard, in words, where the model can tell), "seed", "model", "detector", "png_base64".
        """
        with _Errors():
            strength = attribute_guidance if difficulty is None else difficulty
            recipe = self._recipe(seed, SamplingRequest(steps, guidance, strength, sampler))
            wish = image if picture is None else picture
            return generate_record(self.studio, layout, strategy, recipe, image=wish, wanted=client_stays())

    def compare(
        self,
        layout: dict[str, Any],
        seed: int = 7,
        steps: int | None = None,
        guidance: float | None = None,
        image: bool = True,
        picture: bool | None = None,
    ) -> dict[str, Any]:
        """
        Generates a layout twice from the same noise, once with all things easy and once with all things hard.

        Args:
            layout: as in `generate`.
            seed: of the noise of both images.
            steps: of the sampler, 1 to 100; null for the model's own.
            guidance: how closely the layout is followed, 1 to 15; null for the model's own.
            image: whether the answer holds the images, as "png_base64".
            picture: what version 0.1 called `image`.

        Returns:
            "easy" and "hard", each as `generate` returns it.
        """
        with _Errors():
            recipe = self._recipe(seed, SamplingRequest(steps, guidance))
            wish = image if picture is None else picture
            return compare_record(self.studio, layout, recipe, image=wish, wanted=client_stays())

    def _recipe(self, seed: int, asked: SamplingRequest) -> SamplingConfig:
        return asked.of(self.studio.model.recommended, seed)

    def classes(self) -> dict[str, Any]:
        """
        Lists the classes that the current model can generate, and those that the detector knows.

        Returns:
            "things" and "stuff" (labels for layouts), "detected" (labels that the detector knows), "model", "detector".
        """
        with _Errors():
            return classes_record(self.studio)


class _Errors:
    """Errors reach a calling program as their kind and text: ours, those of the disk, and what nobody expected."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DetDiffusionError):
            raise gr.Error(f"{type(error).__name__}: {error}", print_exception=False) from error
        if isinstance(error, Exception):
            known = isinstance(error, OSError)
            if not known:
                log.error("an endpoint failed", exc_info=error)
            said = sentence(error) if known else f"{type(error).__name__}; the studio's log says more"
            raise gr.Error(f"{'DataError' if known else 'Failure'}: {said}", print_exception=False) from error
