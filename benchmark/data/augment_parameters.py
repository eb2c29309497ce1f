"""Random parameters of each view: crop, flip, colour factors; no pixels here."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from comface_bench.core.augmentation import Augmentation
from comface_bench.data.uniforms import uniforms

_ORDERS = np.array(list(permutations(range(4))), dtype=np.int64)
_CROP_TRIES = 10

# Slots of a view's random numbers. Each purpose has its own, so that switching one change off leaves
# the others as they are.
_FLIP, _JITTER, _ORDER, _GRAY, _TOP, _LEFT = range(6)
_FACTORS = slice(6, 10)
_AREAS = slice(10, 10 + _CROP_TRIES)
_RATIOS = slice(_AREAS.stop, _AREAS.stop + _CROP_TRIES)
_SLOTS = _RATIOS.stop


@dataclass(frozen=True, eq=False)
class AugmentParameters:
    """Parameters of N views.

    The crop is kept in fractions: one view shows the same part of an image at any resolution.

    Attributes:
        flip: True where the view is flipped horizontally, bool (N,).
        crop_height: Crop's height over the image's, float64 (N,) in (0, 1].
        crop_width: Crop's width over the image's, float64 (N,) in (0, 1].
        crop_top: Share of the spare height that lies above the crop, float64 (N,) in [0, 1).
        crop_left: Share of the spare width that lies left of the crop, float64 (N,) in [0, 1).
        jitter: True where the colours are jittered, bool (N,).
        factors: Brightness, contrast and saturation factors and hue shift, float64 (N, 4).
        order: Columns of `factors` in the order in which they are applied, int64 (N, 4).
        gray: True where the view is grayscale, bool (N,).
    """

    flip: NDArray[np.bool_]
    crop_height: NDArray[np.float64]
    crop_width: NDArray[np.float64]
    crop_top: NDArray[np.float64]
    crop_left: NDArray[np.float64]
    jitter: NDArray[np.bool_]
    factors: NDArray[np.float64]
    order: NDArray[np.int64]
    gray: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.flip)

    def boxes(self, height: int, width: int) -> NDArray[np.int64]:
        """Return the crops in whole pixels of an image of this height and width.

        Returns:
            Top, left, height, width, int64 (N, 4); every box lies within the image.
        """
        tall = np.clip(np.rint(self.crop_height * height), 1, height).astype(np.int64)
        wide = np.clip(np.rint(self.crop_width * width), 1, width).astype(np.int64)
        top = np.floor(self.crop_top * (height - tall + 1)).astype(np.int64)
        left = np.floor(self.crop_left * (width - wide + 1)).astype(np.int64)
        return np.stack([top, left, tall, wide], axis=1)


def draw_parameters(
    augmentation: Augmentation,
    seed: int,
    image_keys: NDArray[np.uint64],
    views: NDArray[np.int64],
    *,
    aspect: float = 1.0,
) -> AugmentParameters:
    """Draw the parameters of views, each a pure function of (augmentation, seed, image, view).

    The distributions are those of torchvision's RandomHorizontalFlip, RandomApply over ColorJitter,
    RandomGrayscale and RandomResizedCrop.

    Args:
        augmentation: Probabilities and ranges.
        seed: Of all views.
        image_keys: `image_key` of each image, uint64 (N,).
        views: Number of each view, int64 (N,).
        aspect: Width over height of the images, in pixels.

    Returns:
        Parameters of N views.
    """
    drawn = uniforms(seed, image_keys, views, _SLOTS)
    height, width, top, left = _draw_crops(augmentation, drawn, aspect)
    half_widths = [augmentation.brightness, augmentation.contrast, augmentation.saturation, augmentation.hue]
    low = np.array([*(max(0.0, 1 - spread) for spread in half_widths[:3]), -augmentation.hue])
    high = np.array([*(1 + spread for spread in half_widths[:3]), augmentation.hue])
    return AugmentParameters(
        flip=drawn[:, _FLIP] < augmentation.flip,
        crop_height=height,
        crop_width=width,
        crop_top=top,
        crop_left=left,
        jitter=drawn[:, _JITTER] < augmentation.jitter_prob,
        factors=low + (high - low) * drawn[:, _FACTORS],
        order=_ORDERS[(drawn[:, _ORDER] * len(_ORDERS)).astype(np.int64)],
        gray=drawn[:, _GRAY] < augmentation.grayscale_prob,
    )


def _draw_crops(
    augmentation: Augmentation, drawn: NDArray[np.float64], aspect: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return crop height, width, top and left in fractions, float64 (N,) each.

    Area is uniform and ratio log-uniform; the first of ten tries that fits the image counts. If none
    does, the crop is central, the largest whose ratio is allowed.
    """
    count = len(drawn)
    if augmentation.crop_scale is None:
        return np.ones(count), np.ones(count), np.zeros(count), np.zeros(count)
    smallest, largest = augmentation.crop_scale
    area = smallest + (largest - smallest) * drawn[:, _AREAS]
    log_low, log_high = np.log(augmentation.crop_ratio)
    ratio = np.exp(log_low + (log_high - log_low) * drawn[:, _RATIOS]) / aspect
    heights, widths = np.sqrt(area / ratio), np.sqrt(area * ratio)
    fits = (heights <= 1) & (widths <= 1)
    rows, first, found = np.arange(count), fits.argmax(axis=1), fits.any(axis=1)
    allowed = np.clip(aspect, *augmentation.crop_ratio) / aspect
    return (
        np.where(found, heights[rows, first], min(1.0, 1 / allowed)),
        np.where(found, widths[rows, first], min(1.0, allowed)),
        np.where(found, drawn[:, _TOP], 0.5),
        np.where(found, drawn[:, _LEFT], 0.5),
    )
