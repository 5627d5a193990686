"""One process or many: who works on which pictures of a step, and how their gradients become one.

`torchrun` and `accelerate launch` set the same environment, and both start `python -m training train` as it is. Our
choice: gradients are summed in buckets at the end of a step instead of by DDP's wrappers, since a step runs through
several modules, and every picture has to weigh the same whoever computed it.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from detdiffusion.core.devices import device_of
from detdiffusion.errors import ConfigError

PATIENCE = timedelta(hours=2)  # the first process may encode a whole data set while the others wait
BUCKET = 2**25  # bytes that are sent at once, unless one tensor has more
IN_FLIGHT = 2  # buckets


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
        """Adds up tensors of all processes in place: bucket by bucket, the next one being filled while one is on its
        way, so that two copies of a bucket are held and never one of everything."""
        if self.count == 1:
            return
        on_the_way: deque[tuple[list[Tensor], Tensor, Any]] = deque()
        for bucket in buckets(tensors):
            alone = len(bucket) == 1 and bucket[0].is_contiguous()  # it is sent from where it lies
            flat = bucket[0].view(-1) if alone else torch.cat([tensor.reshape(-1) for tensor in bucket])
            on_the_way.append((bucket, flat, dist.all_reduce(flat, async_op=True)))
            if len(on_the_way) == IN_FLIGHT:
                _arrived(*on_the_way.popleft())
        for sent in on_the_way:
            _arrived(*sent)

    def any(self, value: bool, device: torch.device) -> bool:
        """Whether it is so in any process."""
        flag = torch.tensor(float(value), device=device)
        self.sum([flag])
        return bool(flag > 0)

    def wait(self) -> None:
        """Returns when all processes are here."""
        if self.count > 1:
            dist.barrier()


def buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """All tensors, those of one dtype together, in lists of at most BUCKET bytes (or one tensor); the same lists in
    every process that has tensors of the same shapes."""
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):  # in the same order everywhere, unlike a set
        bucket: list[Tensor] = []
        size = 0
        for tensor in (one for one in tensors if one.dtype == dtype):
            if bucket and size + tensor.nbytes > BUCKET:
                yield bucket
                bucket, size = [], 0
            bucket.append(tensor)
            size += tensor.nbytes
        yield bucket


def _arrived(bucket: list[Tensor], flat: Tensor, work: Any) -> None:
    """Waits for the sum of a bucket, and puts it where its tensors are."""
    work.wait()
    for tensor, part in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
        if part.data_ptr() != tensor.data_ptr():
            tensor.copy_(part.view_as(tensor))


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
