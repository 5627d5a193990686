"""What every trainer is told and asks: a callback for each step, and the course of the learning rate."""

import math
from collections.abc import Callable

OnStep = Callable[[int, int, dict[str, float]], None]


def warmup_cosine(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then half a cosine to 0: the share of the peak learning rate."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
