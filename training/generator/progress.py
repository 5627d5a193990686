"""What the steps of a training say of themselves: it stays on the device until somebody looks."""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch
from torch import Tensor

from detdiffusion.core.devices import memory_gb
from detdiffusion.errors import DataError
from training.core.schedule import OnStep, warmup_cosine
from training.core.status import MetricsLog
from training.generator.config import GeneratorConfig

MAX_BAD_STEPS = 20  # in a row, with a loss or a gradient that is not finite
LOSSES = ("total", "denoise", "mask", "dice")


class Progress:
    """Rows of metrics.jsonl, the progress bar, and when a run has to end.

    Args:
        done: steps that are done already.
        tells: whether this process writes and reports; every one of a run looks at the same steps.
    """

    def __init__(
        self, out: Path, done: int, config: GeneratorConfig, device: torch.device, on_step: OnStep, *, tells: bool
    ) -> None:
        self.config, self.device, self.on_step = config, device, on_step
        self._log = MetricsLog(out, done) if tells else None
        self._done, self._bad = done, 0
        self._rows: list[Tensor] = []  # one a step since the last look
        self._began = time.perf_counter()

    def add(self, sums: Tensor, norm: Tensor, asked: Tensor) -> None:
        """One more step, of the whole batch. Nothing waits for it.

        Args:
            sums: [4], the losses in the order of LOSSES.
            norm: of the gradient, a scalar.
            asked: [1], above 0 where a process was asked to stop.
        """
        self._rows.append(torch.cat([sums, norm[None], asked]))

    def look(self) -> bool:
        """Waits for the steps since the last look, and tells of them. Whether a process was asked to stop.

        Raises:
            DataError: too many steps in a row were not finite.
        """
        rows = torch.stack(self._rows).tolist()
        self._rows.clear()
        rate = len(rows) * self.config.batch / (time.perf_counter() - self._began)
        for *losses, norm, _ in rows:
            self._done += 1
            finite = math.isfinite(losses[0]) and math.isfinite(norm)
            self._bad = 0 if finite else self._bad + 1
            if self._log is not None:
                metrics = dict(zip(LOSSES, losses, strict=True)) | {"gradient_norm": norm, "pictures_per_second": rate}
                self._log.write({"step": self._done, **self._rates(), **metrics, "memory_gb": memory_gb(self.device)})
                self.on_step(self._done, self.config.steps, metrics)
            self._check_finite()
        self._began = time.perf_counter()
        return any(asked > 0 for *_, asked in rows)

    def close(self) -> None:
        """Nothing more is told."""
        if self._log is not None:
            self._log.close()

    def _rates(self) -> dict[str, float]:
        config = self.config
        rate = warmup_cosine(self._done - 1, config.steps, config.warmup_steps) * config.learning_rate
        return {"learning_rate": rate, "learning_rate_text": rate * config.text_learning_rate}

    def _check_finite(self) -> None:
        if self._bad == MAX_BAD_STEPS:
            raise DataError(
                f"step {self._done}: the loss was not finite {self._bad} times in a row; the last checkpoint stays. "
                "Lower learning_rate, or set precision=fp32"
            )
