"""How a checked call draws: words and noise, steps, what steers them, whole images, and boxes that are fixed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from detdiffusion.detection import Detector
from detdiffusion.diffusion.decoding import check_safety, decode, to_pil
from detdiffusion.diffusion.habits.callbacks import Conditions, Watching
from detdiffusion.diffusion.habits.noise import NoiseSource
from detdiffusion.diffusion.output import StepInfo
from detdiffusion.diffusion.sampling import Begin, Predict, Steer, among_first, make_scheduler, sample
from detdiffusion.diffusion.steering.detector_guidance import guidance_of
from detdiffusion.diffusion.steering.difficulty import worded_predictor
from detdiffusion.diffusion.steering.rectification import rectify, round_guidance
from detdiffusion.diffusion.steering.tag_guidance import away_from_opposites, opposite
from detdiffusion.layout import Layout
from detdiffusion.models.grounding import is_grounded
from detdiffusion.models.precision import autocast
from detdiffusion.sampling_config import SamplingConfig, TagGuidance


@dataclass(frozen=True)
class Drawing:
    """One call of a pipeline, whose arguments are checked.

    Args:
        pipe: the pipeline; its parts are read, and its `_guidance_scale` and `_interrupt` are set.
        size: (h, w) of the latents.
        detector: that guides, or fixes boxes; None: `how` asks for neither.
        early_share: of the steps, in which GLIGEN sees the boxes.
    """

    pipe: Any
    layouts: Sequence[Layout]
    size: tuple[int, int]
    how: SamplingConfig
    noise: NoiseSource
    arithmetic: torch.dtype
    detector: Detector | None = None
    early_share: float = 1.0

    def draw(self, scheduler: Any, watching: Watching) -> Tensor:
        """Latents [B, C, h, w], after whatever was asked for."""
        steer = guidance_of(self.detector, self.pipe.vae, self.layouts, self.how.detector_guidance)
        latents = self._sample(self.layouts, self.noise, scheduler, watching, steer)
        if not self.how.fix_boxes:
            return latents
        assert self.detector is not None  # `check_fixing` has seen it
        seeds = self.noise.numbers(len(self.layouts))
        return rectify(latents, self.layouts, seeds, self.detector, self._look, self._redraw)

    def images(self, latents: Tensor) -> tuple[Tensor, list[bool] | None]:
        """Latents [B, C, h, w] -> images as `decode` gives them, and which of them the safety checker made black."""
        with autocast(self.pipe.drawing_device, self.arithmetic):
            images = decode(self.pipe.vae, latents, self.pipe.compiled)
        if self.pipe.safety_checker is None:
            return images, None
        return check_safety(self.pipe.safety_checker, self.pipe.feature_extractor, images)

    def _look(self, latents: Tensor) -> list[Any]:
        return to_pil(self.images(latents)[0])

    def _redraw(self, layouts: Sequence[Layout], seeds: Sequence[int], steer: Steer, begin: Begin) -> Tensor:
        scheduler = make_scheduler(self.pipe.scheduler, self.how.sampler)
        noise = NoiseSource(list(seeds), None, None)
        surer = replace(self.how, guidance_scale=round_guidance(self.how.guidance_scale))
        return replace(self, how=surer)._sample(layouts, noise, scheduler, Watching(), steer, begin)

    def _sample(
        self,
        layouts: Sequence[Layout],
        noise: NoiseSource,
        scheduler: Any,
        watching: Watching,
        steer: Steer | None,
        begin: Begin | None = None,
    ) -> Tensor:
        """Latents [B, C, h, w]."""
        pipe, how = self.pipe, self.how
        device, scale = pipe.drawing_device, max(how.guidance_scale, 1.0)
        pipe._guidance_scale, pipe._interrupt = how.guidance_scale, False
        guided = scale != 1 or watching.callback is not None  # which may switch guidance on
        with autocast(device, self.arithmetic), pipe.progress_bar(total=how.steps) as bar:

            def report(step: int, total: int, finished: Callable[[], Tensor]) -> None:
                if step == total or step % scheduler.order == 0:
                    bar.update()
                if watching.on_step is not None:
                    watching.on_step(StepInfo(step, total, lambda: self._look(finished())))

            early = among_first(scheduler, self.early_share, begin)
            predict, conditions = self._worded(early, layouts, guided, scheduler.config.num_train_timesteps)
            return sample(
                predict,
                scheduler,
                noise.start(len(layouts), (pipe.unet.config.out_channels, *self.size), device),
                seeds=noise.seeds,
                steps=how.steps,
                guidance_scale=scale,
                attribute_guidance=how.attribute_guidance,
                guidance_interval=pipe.config.guidance_interval,
                steer=steer,
                begin=begin,
                on_step=report,
                generator=noise.generator,
                after_step=watching.after_step(pipe, conditions, lambda: scheduler.timesteps),
            )

    def _worded(
        self, early: Callable[[Tensor], bool], layouts: Sequence[Layout], guided: bool, timesteps: int
    ) -> tuple[Predict, Conditions]:
        """`_predictor` with what words for easy and hard can say: difficulties, guidance away from other tags."""
        words = bool(self.pipe.vocabulary.attribute_words)
        prepare = partial(worded_predictor, partial(self._predictor, early), size=self.size, words=words)
        predict, conditions = prepare(layouts, guided=guided, contrast=self.how.attribute_guidance != 0)
        tags = TagGuidance.from_json(self.pipe.config.get("tag_guidance"))
        if guided and tags is not None:
            others, _ = prepare([opposite(layout) for layout in layouts], guided=False, contrast=False)
            predict = away_from_opposites(predict, others, layouts, tags, timesteps)
        return predict, conditions

    def _predictor(
        self, early: Callable[[Tensor], bool], layouts: Sequence[Layout], guided: bool, contrast: bool
    ) -> tuple[Predict, Conditions]:
        """`denoise` for the rows of `sampling.guided`, [parts * B, C, h, w], and what it reads, which may change
        between steps: of all images together, on a CPU of image after image. early: whether GLIGEN sees the boxes."""
        pipe = self.pipe
        groups = [[layout] for layout in layouts] if pipe.drawing_device.type == "cpu" else [layouts]
        conditions = [pipe.conditions(group, self.size, guided=guided, contrast=contrast) for group in groups]
        denoise = pipe.denoise if pipe.compiled is None else pipe.compiled.denoise
        grounded = is_grounded(pipe.unet)

        def predict(latents: Tensor, t: Tensor) -> Tensor:
            rows = latents.unflatten(0, (-1, len(conditions)))  # -> [rows of a group, groups, C, h, w]
            last = slice(-len(rows), None)  # without those that are left out
            unseen = grounded and not early(t)
            drawn = [
                denoise(rows[:, place], t, condition.rows(last), None if raw is None or unseen else raw[last])
                for place, (condition, raw) in enumerate(conditions)
            ]
            return torch.stack(drawn, dim=1).flatten(0, 1)

        return predict, conditions
