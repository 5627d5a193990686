"""DetDiffusionPipeline: layouts -> pictures, as a diffusers pipeline."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from detdiffusion.core.devices import OPENVINO, device_of
from detdiffusion.detection import Detector
from detdiffusion.diffusion.checkpoint import check_architecture, load_shared, no_progress_bars, only_variant
from detdiffusion.diffusion.decoding import in_form
from detdiffusion.diffusion.denoising import Denoiser
from detdiffusion.diffusion.drawing import Drawing
from detdiffusion.diffusion.habits.callbacks import TENSOR_INPUTS, StepEnd, Watching, checked_names
from detdiffusion.diffusion.habits.hub import HubOptions, model_folder
from detdiffusion.diffusion.habits.mixin import DiffusersHabits
from detdiffusion.diffusion.habits.noise import Generators, NoiseSource
from detdiffusion.diffusion.manifest import model_hash, read_vocabulary, verify
from detdiffusion.diffusion.openvino import OpenVino
from detdiffusion.diffusion.output import DetDiffusionOutput, StepInfo
from detdiffusion.diffusion.request import LayoutLike, as_folder, as_layouts, check_output, one_of, sampling_of
from detdiffusion.diffusion.sampling import check_scheduler, make_scheduler
from detdiffusion.diffusion.steering.rectification import check_fixing
from detdiffusion.errors import ConfigError, LayoutError
from detdiffusion.layout import Layout
from detdiffusion.models.blueprint import Blueprint
from detdiffusion.models.control import read_channels_last
from detdiffusion.models.grounding import EARLY_SHARE, is_grounded
from detdiffusion.models.perception_head import PerceptionHead
from detdiffusion.models.precision import arithmetic_dtype, name_of, usable_dtype
from detdiffusion.sampling_config import WHOLE_SCHEDULE, Recommended, TagGuidance, check_interval, check_share
from detdiffusion.text.vocabulary import VOCABULARY_FILE, Vocabulary

STEERING = ("text_encoder", "unet", "blueprint", "controlnet")  # the parts that see every step


class DetDiffusionPipeline(DiffusersHabits, Denoiser, DiffusionPipeline):  # type: ignore[misc]
    """Generates pictures of layouts: words, and where the model has one, a blueprint, steer a latent diffusion U-Net.

    Args:
        vae: `SmallAutoencoder`, or diffusers' `AutoencoderKL`.
        text_encoder, tokenizer: CLIP's, with a token for every word of the vocabulary.
        unet: reads latents, and behind them the blueprint's channels.
        scheduler: makes the samplers; a fresh one of its config is used by every call.
        blueprint: None for the paper's text-only model.
        perception_head: trains the model (Eq. 3); generation does not need it.
        controlnet: reads the layout as an image and steers the U-Net (a baseline; never with a blueprint).
        safety_checker, feature_extractor: where a Stable Diffusion folder brought them, no picture passes unchecked.
        vocabulary: required; stored beside the model as vocabulary.json.
        guidance_interval: part of the noise schedule in which classifier-free guidance is on (see `in_interval`).
        tag_guidance: how guidance leads away from other tags at the noisiest timesteps, as `TagGuidance` has it in
            JSON; None: it leads away from the empty prompt everywhere.
        sampling: how the model wants to be sampled, as `Recommended` has it in JSON.
        teacher: of a student: the model that it learned from, as `Teacher` has it in JSON.
        gligen_scheduled_sampling_beta: the first part of the steps, in which a GLIGEN U-Net sees the boxes; None for
            another U-Net, else 0.3 by default.

    Raises:
        ConfigError: parts, guidance or a recommendation that make no sense.
    """

    model_cpu_offload_seq = "text_encoder->unet->vae"  # what alternates with the U-Net in every step stays beside it
    _exclude_from_cpu_offload = ["safety_checker"]  # noqa: RUF012 - as in diffusers
    _callback_tensor_inputs = list(TENSOR_INPUTS)  # noqa: RUF012
    _optional_components = [  # noqa: RUF012 - as in diffusers
        "blueprint",
        "perception_head",
        "controlnet",
        "safety_checker",
        "feature_extractor",
    ]

    def __init__(
        self,
        vae: nn.Module,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: Any,
        blueprint: Blueprint | None = None,
        perception_head: PerceptionHead | None = None,
        controlnet: ControlNetModel | None = None,
        safety_checker: StableDiffusionSafetyChecker | None = None,
        feature_extractor: Any = None,  # CLIPImageProcessor: its import brings torchvision, for models that have one
        vocabulary: Vocabulary | None = None,
        guidance_interval: list[float] | None = None,  # all of it
        tag_guidance: dict[str, float] | None = None,
        sampling: dict[str, Any] | None = None,
        teacher: dict[str, str] | None = None,
        gligen_scheduled_sampling_beta: float | None = None,
    ) -> None:
        super().__init__()
        self.register_to_config(
            guidance_interval=check_interval(guidance_interval or WHOLE_SCHEDULE),
            sampling=Recommended.from_json(sampling).to_json(),
        )
        if teacher is not None:
            self.register_to_config(teacher=teacher)
        if vocabulary is None:
            raise ConfigError(f"a DetDiffusionPipeline needs its vocabulary ({VOCABULARY_FILE} of the model's folder)")
        if TagGuidance.from_json(tag_guidance) is not None:
            if not vocabulary.attribute_words:
                raise ConfigError("this model knows no easy and hard objects: it can have no tag_guidance")
            self.register_to_config(tag_guidance=tag_guidance)
        if safety_checker is not None and feature_extractor is None:
            raise ConfigError("a safety checker needs the feature_extractor that prepares its images")
        grounded = is_grounded(unet)
        if (blueprint is not None) + (controlnet is not None) + grounded > 1:
            raise ConfigError(
                "a model reads its layouts through a blueprint, a controlnet or GLIGEN's U-Net: one of them"
            )
        if grounded:
            share = EARLY_SHARE if gligen_scheduled_sampling_beta is None else gligen_scheduled_sampling_beta
            self.register_to_config(gligen_scheduled_sampling_beta=check_share(share))
        if controlnet is not None:
            read_channels_last(controlnet)
        self.vocabulary = vocabulary
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            blueprint=blueprint,
            perception_head=perception_head,
            controlnet=controlnet,
            safety_checker=safety_checker,
            feature_extractor=feature_extractor,
        )
        self.compiled: OpenVino | None = None
        self.set_progress_bar_config(disable=None)  # a bar in a terminal, and none in a file

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **kwargs: Any) -> DetDiffusionPipeline:
        """As diffusers', of a folder with a vocabulary.json or a hub id; `load_pipeline` also verifies what it loads.

        Args:
            folder: the hub is asked only for text `owner/name` where no folder `owner` is.
            kwargs: as diffusers'. `dtype` is that of the weights, float32 by default, whatever they are stored as.

        Raises:
            CheckpointError: this is no folder of a DetDiffusion model, or the hub did not give it.
            ConfigError: a device map for a model that shares parts with another.
        """
        path = model_folder(folder, HubOptions.taken_from(kwargs))
        kwargs.setdefault("vocabulary", read_vocabulary(path))
        kwargs.setdefault("use_safetensors", True)
        dtype = kwargs.pop("dtype", None) or kwargs.pop("torch_dtype", None) or torch.float32
        kwargs.setdefault("variant", only_variant(path))
        shared = load_shared(path, dtype)
        if shared and kwargs.get("device_map") is not None:
            raise ConfigError(f"{path} shares its {', '.join(shared)} with another model: load it without a device_map")
        with no_progress_bars():
            loaded: DetDiffusionPipeline = super().from_pretrained(
                str(path), local_files_only=True, dtype=dtype, **{**shared, **kwargs}
            )
        return loaded

    def draw_on(self, device: str, sha256: str) -> None:
        """Moves to a device of torch, or to OpenVINO on the CPU, for which `sha256` names the model.

        Raises:
            ConfigError: there is no such device.
        """
        self.to(device_of(device, "device", draws=True), silence_dtype_warnings=True)
        self.compiled = OpenVino(self, self.vae, sha256) if device == OPENVINO else None

    @property
    def recommended(self) -> Recommended:
        """How the model wants to be sampled."""
        return Recommended.from_json(self.config.sampling)

    @property
    def downsample(self) -> int:
        """Picture pixels a latent cell, on each side."""
        levels = len(self.vae.config.block_out_channels)
        return int(getattr(self.vae, "downsample", 2 ** (levels - 1)))

    @property
    def native_size(self) -> tuple[int, int]:
        """(height, width) in pixels of the pictures that the model was trained for."""
        sides = self.unet.config.sample_size
        height, width = (sides, sides) if isinstance(sides, int) else sides
        return height * self.downsample, width * self.downsample

    @property
    def size_multiple(self) -> int:
        """Sides of pictures in pixels are multiples of this: so often the U-Net halves them."""
        return int(self.downsample * 2 ** (len(self.unet.config.block_out_channels) - 1))

    def image_size(self, layout: Layout) -> tuple[int, int]:
        """(height, width) in pixels of the layout's picture.

        A layout of the model's own shape (a square, for most) gets the model's own size, whatever its number of pixels:
        the size that the model was trained for. Others are taken as they are if the U-Net can halve them often enough.

        Raises:
            LayoutError: the sides are no such multiple (of 64 for Stable Diffusion).
        """
        height, width = self.native_size
        if layout.width * height == layout.height * width:
            return height, width
        multiple = self.size_multiple
        if layout.width % multiple or layout.height % multiple:
            near = [max(1, round(side / multiple)) * multiple for side in (layout.width, layout.height)]
            own = "square" if width == height else f"{width}x{height}"
            raise LayoutError(
                f"{layout.width}x{layout.height} pixels: this model draws {own} images, and others whose sides are "
                f"multiples of {multiple}, such as {near[0]}x{near[1]}"
            )
        return layout.height, layout.width

    @torch.no_grad()
    def __call__(
        self,
        layouts: LayoutLike | Iterable[LayoutLike],
        *,
        seeds: Iterable[int] | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        attribute_guidance: float = 0.0,
        detector: Detector | None = None,
        detector_guidance: float = 0.0,
        fix_boxes: bool = False,
        sampler: str | None = None,
        on_step: Callable[[StepInfo], None] | None = None,
        output_type: str = "pil",
        dtype: torch.dtype | None = None,
        num_inference_steps: int | None = None,
        num_images_per_prompt: int = 1,
        generator: Generators = None,
        latents: Tensor | None = None,
        callback_on_step_end: StepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        gligen_scheduled_sampling_beta: float | None = None,
        return_dict: bool = True,
    ) -> DetDiffusionOutput:
        """Draws one image for each layout and its seed: in one batch on an accelerator, each by itself on a CPU.

        On a CPU a batch is no quicker, and its sums round otherwise: by itself, an image is always the same to the bit.

        Args:
            layouts: of any numbers of objects, all of one picture size; a single one is drawn once for each seed. Each
                is a `Layout`, its JSON form as a dict, or the path of a file that holds one.
            seeds: from 0 to `MAX_SEED`; the same seed starts from the same noise, whatever the batch and the device.
                None: the noise comes from `latents`, from `generator`, or from torch's own randomness.
            steps: of the sampler, 1 to `MAX_STEPS`; None: as recommended. Others may give a warning.
            guidance_scale: of classifier-free guidance; 1 or less switches it off, in half the time. None: as
                recommended.
            attribute_guidance: how far to go on from easy towards hard beyond what the layouts' words say (see
                `guided`); below 0 towards easy; 0 costs nothing, others twice the time.
            detector: that guides (one of ultralytics or torchvision) or says which boxes to fix; else not needed.
            detector_guidance: how strongly its gradient leads easy objects to be found and hard ones to be missed (see
                `DetectorGuidance`), whatever words the model knows; 1 is usual, 0 is free, others twice the time.
            fix_boxes: objects that it does not find are drawn again (see `rectify`), in up to 2.7 times the time.
            sampler: of `sampling.SAMPLERS`; None: the kind that the model came with.
            on_step: called after every step; `Cancelled` raised inside stops the generation.
            output_type: "pil": a list of PIL images; "np": an array [B, H, W, 3], "pt": a tensor [B, 3, H, W], both
                float32 from 0 to 1, as in diffusers; "latent": a tensor [B, C, h, w].
            dtype: of the arithmetic; `preferred_dtype` by default. float32, with a warning, where it is half precision
                in which this CPU does not compute.
            num_inference_steps, num_images_per_prompt, generator, latents, callback_on_step_end,
                callback_on_step_end_tensor_inputs, return_dict: as in diffusers' `StableDiffusionPipeline`;
                num_inference_steps is another name of `steps`.
            gligen_scheduled_sampling_beta: as in diffusers' `StableDiffusionGLIGENPipeline`: the part of the steps that
                see the boxes; None: as the model folder says.

        Returns:
            As a tuple of images and `flagged`, without return_dict.

        Raises:
            LayoutError: no layout, an unknown class, or sizes that the model cannot draw together.
            ConfigError: another argument of a wrong type or out of range, attribute guidance for a model that knows no
                attributes, a share of steps that see boxes for a model that is not GLIGEN's, a scheduler that fails
                with these steps, or weights in whose format nothing here computes.
            DetectorError: the detector gives no gradient.
        """
        noise = NoiseSource.of(seeds, generator, latents)
        drawn = as_layouts(layouts, noise.counted, num_images_per_prompt)
        asked = one_of(steps=steps, num_inference_steps=num_inference_steps)
        led = (detector_guidance, fix_boxes)
        how = sampling_of(
            self.recommended, noise.first_seeds(), asked, guidance_scale, attribute_guidance, sampler, *led
        )
        check_output(on_step, output_type)
        names = checked_names(callback_on_step_end, callback_on_step_end_tensor_inputs)
        if advice := self.recommended.advice(how):
            warnings.warn(advice, stacklevel=3)  # above torch's `no_grad`
        if attribute_guidance and not self.vocabulary.attribute_words:
            raise ConfigError("this model knows no easy and hard objects: attribute_guidance needs to be 0")
        arithmetic = self.arithmetic(dtype)
        scheduler = make_scheduler(self.scheduler, sampler)
        check_scheduler(scheduler, how.steps)
        drawn = [self.vocabulary.resolve(layout) for layout in drawn]
        size = self._latent_size(drawn)

        if how.fix_boxes:
            check_fixing(detector)
        share = self._early_share(gligen_scheduled_sampling_beta)
        drawing = Drawing(self, drawn, size, how, noise, arithmetic, detector, share)
        result = drawing.draw(scheduler, Watching(on_step, callback_on_step_end, names))
        images: Any = result
        flagged: list[bool] | None = None
        if output_type != "latent":
            decoded, flagged = drawing.images(result)
            images = in_form(decoded, output_type)
        self.maybe_free_model_hooks()
        finished = DetDiffusionOutput(images, drawn, flagged)
        return finished if return_dict else (images, flagged)  # type: ignore[return-value]  # as its docs say

    def _early_share(self, asked: float | None) -> float:
        """The part of the steps that see the boxes."""
        if asked is None:
            return float(self.config.get("gligen_scheduled_sampling_beta", 1.0))
        if not is_grounded(self.unet):
            raise ConfigError("gligen_scheduled_sampling_beta is for GLIGEN's models, and this is none")
        return check_share(asked)

    def _latent_size(self, layouts: Sequence[Layout]) -> tuple[int, int]:
        (height, width), *others = sorted({self.image_size(layout) for layout in layouts})
        if others:
            raise LayoutError(f"one batch draws images of one size, not of {(height, width)} and {others}")
        return height // self.downsample, width // self.downsample

    def arithmetic(self, dtype: torch.dtype | None = None) -> torch.dtype:
        """What a call with this `dtype` computes in.

        Raises:
            ConfigError: `dtype` or the weights are of a format in which nothing here computes.
        """
        parts = {name: part for name in STEERING if (part := getattr(self, name)) is not None}
        return arithmetic_dtype(self.drawing_device, {name: part.dtype for name, part in parts.items()}, dtype)

    def computed_in(self, dtype: torch.dtype | None = None) -> tuple[str, str]:
        """Precision and kind of device of a call with this `dtype`, as an image file names them."""
        return name_of(self.arithmetic(dtype)), OPENVINO if self.compiled else self.drawing_device.type


def load_pipeline(
    folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> DetDiffusionPipeline:
    """A verified model folder as a pipeline.

    Args:
        dtype: of the weights; float32 by default (the arithmetic follows `preferred_dtype`). float32, with a warning,
            where it is half precision in which this CPU does not compute.

    Raises:
        CheckpointError: the folder is missing, damaged, unsafe, or of another architecture; before memory is taken.
        ConfigError: there is no such device or number format.
    """
    path, place = as_folder(folder), device_of(str(device), "device", draws=True)
    dtype = usable_dtype(place, dtype or torch.float32)
    compiled = str(device) == OPENVINO
    if compiled and dtype != torch.float32:
        raise ConfigError(f"device {OPENVINO} needs float32 weights, not {name_of(dtype)}: leave dtype away")
    verify(path)
    check_architecture(path)
    pipe = DetDiffusionPipeline.from_pretrained(path, dtype=dtype)
    if compiled:  # to hash a folder without a manifest takes long
        pipe.draw_on(OPENVINO, model_hash(path))
    else:
        pipe.to(place, silence_dtype_warnings=True)  # usable_dtype has warned
    return pipe
