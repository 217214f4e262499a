"""The processes that train together, as ``torchrun`` starts them; or one alone, through the same code."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

_PATIENCE = timedelta(hours=12)  # the others wait while the first one reads pictures, or measures


@dataclass(frozen=True)
class Processes:
    """``rank`` of ``size``; the first one is the only one that writes and speaks."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0

    def autocast(self, precision: str) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16")

    def sum(self, tensor: Tensor) -> Tensor:
        """Over all processes, in place."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def any(self, here: bool) -> bool:
        """True where it is true in some process."""
        return here if self.size == 1 else bool(self.sum(torch.tensor(float(here), device=self.device)).item())

    def part(self, count: int) -> slice:
        """This process's share of ``count`` rows."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def together(self, part: Tensor) -> Tensor:
        """The rows of all processes, [n_r, D] each, in the order of their shares."""
        if self.size == 1:
            return part
        parts: list[Any] = [None] * self.size
        distributed.all_gather_object(parts, part.cpu())
        return torch.cat(parts)

    def agreed(self, value: Any) -> Any:
        """The first process's ``value``, in all of them."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]


def alone() -> Processes:
    return Processes(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))


@contextmanager
def joined() -> Iterator[Processes]:
    """All processes that ``torchrun`` started, over nccl between GPUs, else gloo; without it, this one alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield alone()
        return
    cuda = torch.cuda.is_available()
    device = torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if cuda else "cpu")
    if cuda:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE)
    try:
        yield Processes(distributed.get_rank(), size, device)
    finally:
        distributed.destroy_process_group()
