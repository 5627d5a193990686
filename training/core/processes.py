"""One process or many: who works on which pictures of a step, and how their gradients become one.

`torchrun` and `accelerate launch` set the same environment, and both start `python -m training train` as it is. Our
choice: gradients are summed by one all-reduce a step instead of DDP's wrappers, since a step runs through several
modules, and every picture has to weigh the same whoever computed it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from detdiffusion.core.devices import device_of
from detdiffusion.errors import ConfigError

PATIENCE = timedelta(hours=2)  # the first process may encode a whole data set while the others wait


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among all of the run; `Processes()` is a run of one."""

    rank: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the first process, which writes and reports."""
        return self.rank == 0

    def positions(self, batch: int, micro_batch: int) -> list[range]:
        """The places of a step's batch that are this process's, in pieces of at most `micro_batch`.

        Raises:
            ConfigError: the batch cannot be dealt out evenly.
        """
        if batch % self.count:
            raise ConfigError(f"batch is {batch}, and {self.count} processes cannot share it evenly")
        share = batch // self.count
        first, last = self.rank * share, (self.rank + 1) * share
        return [range(start, min(start + micro_batch, last)) for start in range(first, last, micro_batch)]

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Adds up tensors of all processes in place, in one message for each dtype."""
        if self.count == 1:
            return
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):  # in the same order everywhere, unlike a set
            group = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            dist.all_reduce(flat)
            for tensor, part in zip(group, flat.split([tensor.numel() for tensor in group]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def any(self, value: bool, device: torch.device) -> bool:
        """Whether it is so in any process."""
        flag = torch.tensor(float(value), device=device)
        self.sum([flag])
        return bool(flag > 0)

    def wait(self) -> None:
        """Returns when all processes are here."""
        if self.count > 1:
            dist.barrier()


def join_processes(asked: str | None = None) -> tuple[Processes, torch.device]:
    """Joins the other processes of this run, as `torchrun` or `accelerate launch` announces them, and takes a device.

    asked: the name of a device, for all of them ("cpu") or for a process that is alone; None: the GPU, else the CPU.

    Raises:
        ConfigError: there are more processes than devices on this machine, or there is no such device.
    """
    wanted = None if asked is None else device_of(asked)
    count, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    if wanted is not None and wanted.index is not None and count > 1:
        raise ConfigError(
            f"--device {asked}: each of the {count} processes takes a device of its own; use cuda, or cpu"
        )
    cuda = torch.cuda.is_available() if wanted is None else wanted.type == "cuda"
    if count == 1 and wanted is not None:
        local = wanted.index or 0
    if cuda and local >= torch.cuda.device_count():
        raise ConfigError(
            f"process {local} of this machine has no GPU of its own; there are {torch.cuda.device_count()}"
        )
    device = torch.device("cuda", local) if cuda else wanted or torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if count == 1:
        return Processes(), device
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    return Processes(dist.get_rank(), dist.get_world_size()), device


def leave_processes() -> None:
    """Ends the group of processes, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()
