"""The processes of one training: one alone, or those that `torchrun` starts."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import distributed

from comface_bench.core.errors import UnitError, UsageError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those of the training.

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
        """True for the process that writes files and reports."""
        return self.rank == 0

    def device(self, wanted: str) -> str:
        """Return the device of this process for the command line's `--device`.

        Raises:
            UsageError: One GPU is named for several processes.
        """
        if self.size == 1 or wanted == "cpu":
            return wanted
        if ":" in wanted:
            raise UsageError(
                f"--device {wanted} is one GPU, for {self.size} processes",
                "Leave it out: each takes its own.",
            )
        return f"cuda:{self.local}" if torch.cuda.is_available() else "cpu"

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

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of all processes' scalars, the same in each."""
        return self.gather(value.reshape(1)).mean()

    def check_equal(self, values: list[int], what: str) -> None:
        """Make sure that all processes have the same numbers.

        Raises:
            UnitError: They differ.
        """
        if self.size > 1:
            device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
            found = self.gather(torch.tensor([values], device=device))
            if not bool((found == found[0]).all()):
                raise UnitError(
                    f"processes disagree on {what}: {found.tolist()}",
                    "Do all of them see the same folder? Start again with the same command.",
                )

    def agree(self, tensors: list[Tensor]) -> None:
        """Overwrite tensors by the first process's, in place."""
        if self.size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, 0)


def join_processes(device: str) -> ProcessGroup:
    """Join the processes that `torchrun` has started; without them, return a group of one.

    Args:
        device: As on the command line; NCCL connects GPUs, Gloo anything else.

    Raises:
        UsageError: The variables of `torchrun` are there in part.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return ProcessGroup()
    try:
        rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        if not os.environ["MASTER_ADDR"] or not 0 <= rank < size:
            raise ValueError
    except (KeyError, ValueError):
        raise UsageError(
            "WORLD_SIZE is set, but RANK, LOCAL_RANK or MASTER_ADDR isn't", "Start it with torchrun."
        ) from None
    # A process that waits for the others can't answer, and torchrun would wait for it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if not distributed.is_initialized():
        cuda = device != "cpu" and torch.cuda.is_available()
        distributed.init_process_group("nccl" if cuda else "gloo")
    return ProcessGroup(rank, size, local)


def leave_processes() -> None:
    """Leave the other processes, once all of them are done.

    Gloo aborts a process whose partner has exited before it.
    """
    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()
