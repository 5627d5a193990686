"""Who asks a tensor for its value, or for something whose shape depends on it: on an accelerator, he would wait."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class Asked(TorchDispatchMode):
    """Remembers them as long as it is on, in the thread that it is on in. `tolist` of a CPU's tensor is not seen."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_numbers = function is torch.ops.aten.index.Tensor and all(
            index is None or index.dtype != torch.bool for index in args[1]
        )
        if WAITS & set(function.tags) and not by_numbers:
            self.values.append(str(function))
        return function(*args, **(kwargs or {}))
