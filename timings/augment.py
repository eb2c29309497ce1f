"""Processor time of batched views against torchvision v2, one sample at a time, as a ratio.

Both do Table C's changes on float images on one core: the reference composes torchvision's own
transforms, which draw for themselves. They take turns, and the least time of each counts. Run:
python timings/augment.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torchvision.transforms import v2

from comface_bench.core.card import TABLE_C, Augmentation
from comface_bench.data.augment import render

BATCH = 32
ROUNDS = 12


def compose_reference(augmentation: Augmentation, size: int) -> v2.Compose:
    jitter = v2.ColorJitter(
        augmentation.brightness, augmentation.contrast, augmentation.saturation, augmentation.hue
    )
    return v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.RandomResizedCrop(size, augmentation.crop_scale or (1.0, 1.0), antialias=True),
            v2.RandomHorizontalFlip(augmentation.flip),
            v2.RandomApply([jitter], augmentation.jitter_prob),
            v2.RandomGrayscale(augmentation.grayscale_prob),
        ]
    )


def seconds(*works: Callable[[int], object]) -> list[float]:
    """Return the least processor time of each work, in turns."""
    least = [float("inf")] * len(works)
    for turn in range(ROUNDS):
        for number, work in enumerate(works):
            start = time.process_time()
            work(turn)
            least[number] = min(least[number], time.process_time() - start)
    return least


def compare(stored: int, size: int) -> None:
    images = torch.randint(0, 256, (BATCH, 3, stored, stored), dtype=torch.uint8)
    images = v2.functional.gaussian_blur(images, [9, 9])
    keys = np.arange(BATCH, dtype=np.uint64)
    reference = compose_reference(TABLE_C, size)

    def batched(turn: int) -> object:
        return render(images, TABLE_C, 0, keys, np.full(BATCH, turn), size)

    def looped(_: int) -> object:
        return torch.stack([reference(image) for image in images])

    batched(0), looped(0)
    ours, theirs = seconds(batched, looped)
    print(
        f"{stored} -> {size}, batch {BATCH}: {BATCH / ours:7.0f} images/s, "
        f"torchvision loop {BATCH / theirs:7.0f} images/s, ratio {theirs / ours:.2f}"
    )


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for stored, size in ((256, 224), (128, 112)):
        compare(stored, size)
