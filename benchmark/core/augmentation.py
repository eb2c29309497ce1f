"""Augmentations as declared facts: what may happen to an image, and how often.

Supplement, Tables B to E. How a view is drawn and rendered is `comface_bench.data.augment`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Augmentation:
    """Random changes of one image; the default changes nothing.

    Attributes:
        flip: Probability of a horizontal flip.
        jitter_prob: Probability that the four colour changes below are made, in random order.
        brightness: Half width of the factor's range around 1; never below 0.
        contrast: Likewise.
        saturation: Likewise.
        hue: Half width of the hue shift's range around 0, in turns of the colour circle, at most 0.5.
        grayscale_prob: Probability that the image loses its colour.
        crop_scale: Range of the crop's share of the image area, within (0, 1]; None crops nothing.
        crop_ratio: Range of the crop's width over its height, in pixels.

    Raises:
        ValueError: A value is outside its range.
    """

    flip: float = 0.0
    jitter_prob: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale_prob: float = 0.0
    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        limits = {
            "flip": 1.0,
            "jitter_prob": 1.0,
            "grayscale_prob": 1.0,
            "brightness": math.inf,
            "contrast": math.inf,
            "saturation": math.inf,
            "hue": 0.5,
        }
        for name, limit in limits.items():
            value = getattr(self, name)
            if not (0 <= value <= limit and math.isfinite(value)):
                raise ValueError(f"{name} is {value}; it must be from 0 to {limit}")
        if self.crop_scale is not None and not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale is {self.crop_scale}; it must rise within (0, 1]")
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1] < math.inf:
            raise ValueError(f"crop_ratio is {self.crop_ratio}; it must rise and be above 0")


def _published(crop_scale: tuple[float, float] | None) -> Augmentation:
    """Return what Tables B to E have in common, with the crop that tells them apart."""
    return Augmentation(
        flip=0.5,
        jitter_prob=0.8,
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.1,
        grayscale_prob=0.2,
        crop_scale=crop_scale,
    )


NO_AUGMENTATION = Augmentation()
TABLE_B = _published((0.2, 1.0))
"""Pre-training."""
TABLE_C = _published((0.5, 1.0))
"""Facial expression change."""
TABLE_D = _published(None)
"""Weight change."""
TABLE_E = _published((0.5, 1.0))
"""Age change."""

AUGMENTATIONS: Mapping[str, Augmentation] = {
    "none": NO_AUGMENTATION,
    "table-b": TABLE_B,
    "table-c": TABLE_C,
    "table-d": TABLE_D,
    "table-e": TABLE_E,
}
