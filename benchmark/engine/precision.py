"""Device and floating-point precision of a run, the memory that it keeps and needs, and its throughput."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import resource
import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from comface_bench.core.errors import UsageError
from comface_bench.core.names import check_device

if TYPE_CHECKING:
    from collections.abc import Iterator


PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class Machine:
    """The device and the precision that a run computes with.

    Attributes:
        device: `cpu`, `cuda` or `cuda:N`.
        precision: `float32`, or `bfloat16` for autocast; losses, heads and scores are always float32
            or wider.
    """

    device: torch.device
    precision: str

    def autocast(self) -> torch.autocast:
        """Return the context that runs a backbone in this precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


def choose_machine(device: str = "auto", precision: str = "auto", trains: bool = True) -> Machine:
    """Choose device and precision.

    Args:
        device: `auto` takes CUDA where it is.
        precision: `auto` takes bfloat16 for a backbone that is trained, where the processor computes in
            it, and float32 for a frozen one, whose rounding no training would even out.
        trains: Whether the backbone is trained.

    Raises:
        UsageError: The device isn't there, or the precision is unknown.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} isn't one of {', '.join(PRECISIONS)}")
    check_device(device)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = torch.device(device)
    if chosen.type == "cuda" and not (
        torch.cuda.is_available() and (chosen.index or 0) < torch.cuda.device_count()
    ):
        raise UsageError(f"device {device!r} isn't there", "See what is: comface-bench doctor")
    if precision == "auto":
        precision = "bfloat16" if trains and _computes_bfloat16(chosen.type) else "float32"
    if chosen.type == "cuda":
        if ":" not in device:
            chosen = torch.device("cuda", torch.cuda.current_device())
        torch.cuda.set_device(chosen)
        # Else float32 would mean ten bits of mantissa: in convolutions where the backbone runs in float32,
        # in similarities, heads and losses always.
        torch.backends.cudnn.allow_tf32 = precision != "float32"
        torch.backends.cuda.matmul.allow_tf32 = False
    return Machine(chosen, precision)


def keep_freed_memory() -> bool:
    """Have this process keep the memory that it frees, for the next step to use.

    glibc gives blocks above 32 MB back to the kernel at once, and so the maps of every training step, which
    the kernel then has to clear and to hand out anew, page by page. Peak memory rises by what lies unused
    between blocks that are used. A user who has set the allocator is left alone.

    Returns:
        Whether it does now; False where the C library is another than glibc.
    """
    tuned = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") or any(
        name.startswith("MALLOC_") and name.endswith("_") for name in os.environ
    )
    if platform.libc_ver()[0] != "glibc" or tuned:
        return False
    allocator = getattr(ctypes.CDLL(None), "mallopt", None)
    return allocator is not None and all(
        allocator(*setting) for setting in ((_M_MMAP_THRESHOLD, 2**31 - 1), (_M_TRIM_THRESHOLD, -1))
    )


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Numbers of `mallopt`'s parameters, from glibc's malloc.h."""


@lru_cache
def _computes_bfloat16(device_type: str) -> bool:
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Elsewhere bfloat16 is emulated and slower than float32.
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


@dataclass
class Throughput:
    """Images that the backbone worked through and the seconds that took, over all parts of a run."""

    images: int = 0
    seconds: float = 0.0

    @contextlib.contextmanager
    def measure(self, images: int) -> Iterator[None]:
        """Count the images as done in the time that the block takes, which ends in step with the device."""
        started = time.perf_counter()
        yield
        self.images += images
        self.seconds += time.perf_counter() - started

    @property
    def per_second(self) -> float | None:
        """Images per second to three significant digits; None if there were none."""
        return float(f"{self.images / self.seconds:.3g}") if self.images and self.seconds > 0 else None


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread meanwhile: what is too small to share only waits for the others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def reset_peak_memory(machine: Machine) -> None:
    """Begin to measure peak memory anew, which only CUDA can; a process on a CPU keeps its maximum."""
    if machine.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(machine.device)


def peak_memory_mb(machine: Machine) -> float:
    """Return the largest memory in use so far, in MB (10⁶ bytes)."""
    if machine.device.type == "cuda":
        return torch.cuda.max_memory_allocated(machine.device) / 1e6
    # Linux counts kilobytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def release_memory(machine: Machine) -> None:
    """Give back the memory of what isn't in use any more, cycles of objects included."""
    gc.collect()
    if machine.device.type == "cuda":
        torch.cuda.empty_cache()
