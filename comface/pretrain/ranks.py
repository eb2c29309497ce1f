"""The processes of one training: one alone, or those that `torchrun` starts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import distributed

from comface_bench.core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """Which process this is, of how many.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
        local: Number of this process on its machine, which is its GPU's.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def gather(self, values: Tensor) -> Tensor:
        """Return all processes' values (n, …), first to last, as (size·n, …); no gradient flows through.

        All give as many.
        """
        if self.size == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.size)]
        distributed.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    def share(self, values: Tensor) -> Tensor:
        """Return this process's part of values that all have, (size·n, …) → (n, …)."""
        return values.chunk(self.size)[self.rank] if self.size > 1 else values

    def agree(self, tensors: list[Tensor]) -> None:
        """Overwrite tensors by the first process's, in place."""
        if self.size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, 0)


def join_ranks(device: str) -> Ranks:
    """Join the processes that `torchrun` has started, or say that there is one.

    Args:
        device: As on the command line; NCCL connects GPUs, Gloo anything else.

    Raises:
        UsageError: The variables of `torchrun` are there in part.
    """
    if "WORLD_SIZE" not in os.environ:
        return Ranks()
    try:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local = int(os.environ.get("LOCAL_RANK", rank))
    except (KeyError, ValueError):
        raise UsageError("WORLD_SIZE is set, but RANK isn't", "Start it with torchrun.") from None
    if size == 1:
        return Ranks()
    if not distributed.is_initialized():
        cuda = device != "cpu" and torch.cuda.is_available()
        distributed.init_process_group("nccl" if cuda else "gloo")
    return Ranks(rank, size, local)


def leave_ranks() -> None:
    """Part from the other processes."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
