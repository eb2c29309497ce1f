"""What the kernel takes of a training step on a processor, before and after freed memory is kept.

Six convolutions over maps of 51 MB, forward and backward, as glibc is by default and as `pretrain` sets it.

Run: OMP_NUM_THREADS=1 python timings/allocator.py
"""

from __future__ import annotations

import resource

import torch
from torch import nn

from comface_bench.engine.precision import keep_freed_memory

STEPS = 5


def measure(network: nn.Module, images: torch.Tensor, what: str) -> None:
    network(images).mean().backward()
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(STEPS):
        network(images).mean().backward()
    after = resource.getrusage(resource.RUSAGE_SELF)
    own, kernel = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    print(
        f"{what}: {own + kernel:.1f} s of the processor, {100 * kernel / (own + kernel):.0f} % of it in the"
        f" kernel, {after.ru_minflt - before.ru_minflt:,} pages handed out,"
        f" peak {after.ru_maxrss / 1024:.0f} MB"
    )


def main() -> None:
    layers = [nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()) for _ in range(6)]
    network, images = nn.Sequential(*layers), torch.rand(64, 16, 112, 112)
    measure(network, images, "default")
    if keep_freed_memory():
        measure(network, images, "freed memory kept")


if __name__ == "__main__":
    main()
