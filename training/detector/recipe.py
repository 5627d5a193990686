"""Trains a detector of torchvision on a data set: the recipe. Resumable to the epoch, bit-equal on a CPU."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detdiffusion.detection import Detections, Detector
from detdiffusion.detectors.folder import MIN_SCORE, TORCHVISION, Description, save_detector
from detdiffusion.detectors.torchvision import (
    TorchvisionDetector,
    build_model,
    squared,
    start_from,
    to_tensor,
)
from detdiffusion.errors import DataError
from detdiffusion.evaluation.coco_ap import AveragePrecision, coco_ap
from detdiffusion.layout import Layout
from detdiffusion.models.precision import autocast, preferred_dtype
from training.core.checkpoints import (
    epoch_order,
    latest_checkpoint,
    pack_modules,
    pack_optimizer,
    sample_generator,
    save_checkpoint,
    unpack_modules,
    unpack_optimizer,
)
from training.core.reading import read_ahead
from training.core.schedule import OnStep, warmup_cosine
from training.core.status import MetricsLog
from training.data.datasets import Sample
from training.detector.config import DetectorTraining
from training.detector.images import SplitImages

MAX_BAD_STEPS = 20  # in a row, with a loss or a gradient that is not finite
MEASURE_BATCH = 16  # images
# Pixels. At 64, RetinaNet's pyramid ends in maps of a single cell, and there a CPU sometimes leaves the gradients of
# convolutions in bfloat16 unwritten (torch 2.15: other values or NaN, every few runs); never seen from 96 on.
_HALF_FROM = 128
_BACKGROUND = 1  # rows of the classifier before the classes


@dataclass(frozen=True, slots=True)
class Example:
    """An image [3, S, S] in 0..1, its boxes [N, 4] in pixels and their classes [N]: 1 is the first label."""

    image: Tensor
    boxes: Tensor
    classes: Tensor


def train_torchvision(
    images: SplitImages,
    config: DetectorTraining,
    out: Path,
    run: Path,
    device: torch.device,
    on_step: OnStep,
    *,
    start: Path | None = None,
) -> Path:
    """Writes the detector folder `out`; checkpoints and metrics lie in `run`. The same call goes on where it stopped.

    Args:
        on_step: gets finished steps, all steps, the loss, and AP50 on the held-out images after the last epoch.
        start: weights to start from, where they fit (`start_from`).

    Raises:
        ConfigError: a batch is of one image, and the detector cannot learn from it.
        DetectorError: `start` cannot be used, or the folder cannot be written.
        DataError: an image cannot be read, the loss is not finite, or a checkpoint could not be written.
    """
    config.check_batches(len(images.learned))
    labels = images.dataset.things
    model = new_model(config, len(labels), device, start)
    optimizer = new_optimizer(model, config)
    first = _restore(run / "checkpoints", model, optimizer)
    about = Description(out.resolve().name, config.architecture, labels, config.image_size, MIN_SCORE, "", TORCHVISION)
    detector = TorchvisionDetector(model, about, ("background", *labels), square=True, device=device)
    log = MetricsLog(run, first)
    an_epoch = math.ceil(len(images.learned) / config.batch)
    steps, found = config.steps(an_epoch), dict[str, float]()
    for epoch in range(first, math.ceil(steps / an_epoch)):
        model.train()
        losses: list[float] = []
        shown = islice(batches(images, config, epoch), steps - epoch * an_epoch)
        for step, batch in enumerate(shown, start=epoch * an_epoch):
            share = warmup_cosine(step, steps, config.warmup_steps)
            losses.append(learn(model, optimizer, batch, config, step, share, device))
            _check_finite(losses, epoch)
            on_step(step + 1, steps, {"loss": losses[-1], **found})
        model.eval()
        if images.held_out:
            scores = measure(detector, images)
            found = {"AP50": scores.AP50, "mAP": scores.mAP}
        good = [loss for loss in losses if math.isfinite(loss)]
        log.write({"step": epoch + 1, "loss": sum(good) / max(1, len(good)), **found})
        save_checkpoint(run / "checkpoints", epoch + 1, pack_modules({"model": model}) | pack_optimizer(optimizer))
    log.close()
    save_detector(model, out, about)
    return out


def new_model(config: DetectorTraining, classes: int, device: torch.device, start: Path | None) -> nn.Module:
    """Random weights of the seed, or those of `start` where they fit; all norms learn. Convolutions compute in bfloat16
    where the device does, boxes and losses in single precision."""
    few: dict[str, Any] = {}
    if config.architecture.startswith("fasterrcnn"):
        few = {f"rpn_{which}_nms_top_n_train": 4 * config.proposals for which in ("pre", "post")}
        few["box_batch_size_per_image"] = config.proposals
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model: Any = build_model(config.architecture, classes + _BACKGROUND, config.image_size, **few)
    if start is not None:
        start_from(model, start)
    model.to(device)
    dtype = preferred_dtype(device)
    if dtype != torch.float32 and config.image_size >= _HALF_FROM:
        heavy = (model.rpn.head, model.roi_heads.box_head) if hasattr(model, "rpn") else (model.head,)
        for module in (model.backbone, *heavy):
            _learn_in(module, dtype, device)
    return model  # type: ignore[no-any-return]


def new_optimizer(model: nn.Module, config: DetectorTraining) -> torch.optim.Optimizer:
    """SGD with weight decay on weights, none on biases and norms."""
    weights = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0)


def learn(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[Example],
    config: DetectorTraining,
    step: int,
    share: float,
    device: torch.device,
) -> float:
    """One update; returns the loss, NaN if there was no update because it or a gradient was not finite."""
    images = [example.image.to(device) for example in batch]
    targets = [{"boxes": one.boxes.to(device), "labels": one.classes.to(device)} for one in batch]
    with torch.random.fork_rng():
        torch.manual_seed(sample_generator(config.seed, step, 0).initial_seed())  # it draws which boxes to learn from
        losses: dict[str, Tensor] = model(images, targets)
    loss = torch.stack(list(losses.values())).sum()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    finite = bool(torch.isfinite(loss) and torch.isfinite(norm))
    if finite:
        for group in optimizer.param_groups:
            group["lr"] = share * config.learning_rate
        optimizer.step()
    optimizer.zero_grad()
    return loss.item() if finite else math.nan


def batches(images: SplitImages, config: DetectorTraining, epoch: int) -> Iterator[list[Example]]:
    """The images of an epoch in its own order, half of them mirrored; the next ones are read meanwhile."""
    labels = images.dataset.things
    order = epoch_order(config.seed, epoch, len(images.learned))
    flips = torch.rand(len(order), generator=sample_generator(config.seed, -2, epoch)).lt(0.5).tolist()

    def load(item: tuple[Sample, bool]) -> Example:
        sample, flip = item
        return make_example(*squared(sample.load_image(), config.image_size), sample.layout, labels, flip=flip)

    items = ((images.dataset[images.learned[i]], flip) for i, flip in zip(order, flips, strict=True))
    read = read_ahead(items, load, ahead=2 * config.batch)
    examples = (example for _, example in read)
    if config.augment:
        examples = (
            augmented(example, sample_generator(config.seed, epoch, place).initial_seed())
            for place, example in enumerate(examples)
        )
    while batch := list(islice(examples, config.batch)):
        yield batch


def augmented(example: Example, seed: int) -> Example:
    """Other colours, zoomed out, a part of it: torchvision's transforms, always the same for the same seed. Boxes that
    lose their object go."""
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    side = example.image.shape[-1]
    steps = (v2.RandomPhotometricDistort(), v2.RandomZoomOut(side_range=(1.0, 2.0)), v2.RandomIoUCrop())
    change = v2.Compose([*steps, v2.Resize((side, side), antialias=True), v2.SanitizeBoundingBoxes()])
    boxes = tv_tensors.BoundingBoxes(example.boxes, format="XYXY", canvas_size=(side, side))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = change({"image": tv_tensors.Image(example.image), "boxes": boxes, "labels": example.classes})
    image, corners = made["image"].as_subclass(Tensor), made["boxes"].as_subclass(Tensor)
    return Example(image, corners.reshape(-1, 4), made["labels"])


def make_example(pixels: Any, size: tuple[int, int], layout: Layout, labels: Sequence[str], *, flip: bool) -> Example:
    """An image as `squared` gives it, with the objects of its layout whose class is among the labels; those thinner
    than a pixel are left out."""
    width, height = size
    if flip:
        pixels[:height, :width] = pixels[:height, :width][:, ::-1].copy()
    boxes, classes = [], []
    for box in layout.boxes:
        x1, y1, x2, y2 = (side * share for side, share in zip((width, height) * 2, box.xyxy, strict=True))
        if box.label in labels and x2 - x1 >= 1 and y2 - y1 >= 1:
            boxes.append((width - x2, y1, width - x1, y2) if flip else (x1, y1, x2, y2))
            classes.append(labels.index(box.label) + _BACKGROUND)
    return Example(to_tensor(pixels), torch.tensor(boxes).reshape(-1, 4), torch.tensor(classes, dtype=torch.long))


def measure(detector: Detector, images: SplitImages) -> AveragePrecision:
    """AP of things on the held-out images."""
    layouts: list[Layout] = []
    found: list[Detections] = []
    read = read_ahead((images.dataset[place] for place in images.held_out), Sample.load_image, MEASURE_BATCH)
    while pairs := list(islice(read, MEASURE_BATCH)):
        layouts += [sample.layout for sample, _ in pairs]
        found += detector.detect([image for _, image in pairs])
    return coco_ap(layouts, found, images.dataset.things)


def _learn_in(module: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """The module computes in `dtype` while it learns; what it returns is in single precision: anchors and box distances
    do not survive half of it."""
    forward = module.forward

    def in_part(*inputs: Any) -> Any:
        if not module.training:
            return forward(*inputs)
        with autocast(device, dtype):
            outputs = forward(*inputs)
        return _single(outputs)

    module.forward = in_part


def _single(values: Any) -> Any:
    """Tensors in single precision, in whatever torchvision's modules hand them on: lists and (ordered) dictionaries."""
    if isinstance(values, Tensor):
        return values.float()
    if isinstance(values, dict):
        return type(values)((key, _single(value)) for key, value in values.items())
    return type(values)(_single(value) for value in values)


def _check_finite(losses: Sequence[float], epoch: int) -> None:
    last = losses[-MAX_BAD_STEPS:]
    if len(last) == MAX_BAD_STEPS and not any(map(math.isfinite, last)):
        raise DataError(
            f"epoch {epoch + 1}: the loss was not finite {MAX_BAD_STEPS} times in a row; the last checkpoint stays. "
            "Lower learning_rate in a new --out"
        )


def _restore(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """The epochs that are done."""
    saved = latest_checkpoint(folder)
    if saved is None:
        return 0
    epoch, tensors = saved
    unpack_modules({"model": model}, tensors)
    unpack_optimizer(optimizer, tensors)
    return epoch
