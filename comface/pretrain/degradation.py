"""Degradation of rendered images towards old photographs: a second, photographic augmentation.

Renderings are upright, sharp, evenly lit and free of noise; family photographs aren't. Each view is rotated,
turned gray, lit from one side, changed in gamma, blurred, tinted and covered with grain, by amounts that are
a pure function of (seed, image, view). None of this is published: the ranges are ours, and
docs/pretraining.md has their effect.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch.nn import functional as F

from comface_bench.data.augment import change_rows_, grayscale_, uniforms

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    Amounts = NDArray[np.float64]

SHARE: Final = 0.5
"""Share of the images that each change is applied to."""
GRAY: Final = 0.4
"""Share of the images that lose their colour, beside those that the augmentation takes it from."""
TURN: Final = 20.0
"""Largest rotation in degrees, either way."""
LIGHT: Final = 0.8
"""Largest light from one side, ln 2 of which halves the brightness over half the image."""
GAMMA: Final = 2.0
"""Largest exponent that fades or deepens the tones; the smallest is its reciprocal."""
BLUR: Final = 0.015
"""Largest standard deviation of the blur, over the side of the image."""
TINT: Final = 0.2
"""Largest change of each colour channel's gain."""
GRAIN: Final = 0.04
"""Largest standard deviation of the grain."""

_STREAM = 0x70686F746F  # keeps these numbers apart from those of the augmentation's views
_SLOTS = 18
_FIELD = 512  # side of the field of grain that each image has a part of


def degrade(images: Tensor, seed: int, keys: NDArray[np.uint64], views: NDArray[np.int64]) -> Tensor:
    """Degrade images, each change in a share of them.

    Args:
        images: RGB, float32 (N, 3, S, S) in [0, 1]; overwritten.
        seed: Of all views.
        keys: Number of each image, uint64 (N,).
        views: Number of each view, int64 (N,).

    Returns:
        Likewise; each image depends on its own image, key and view only, up to float32 rounding.
    """
    drawn = uniforms(seed ^ _STREAM, keys, views, _SLOTS)

    def some(slot: int, amounts: Amounts, neutral: float) -> Amounts:
        return np.where(drawn[:, slot] < SHARE, amounts.T, neutral).T

    def change(apply: Callable[[Tensor, Amounts], Tensor], amounts: Amounts) -> None:
        rows = np.flatnonzero(amounts).tolist()
        change_rows_(images, rows, lambda part: apply(part, amounts[rows]))

    change(rotate, some(0, TURN * (2 * drawn[:, 1] - 1), 0.0))
    grayscale_(images, drawn[:, 2] < GRAY)
    light_from_one_side(images, some(3, LIGHT * drawn[:, 4], 0.0), 2 * math.pi * drawn[:, 5])
    adjust_gamma(images, some(6, GAMMA ** (2 * drawn[:, 7] - 1), 1.0))
    change(blur, some(8, BLUR * drawn[:, 9], 0.0))
    tint(images, some(10, 1 + TINT * (2 * drawn[:, 11:14] - 1), 1.0))
    return add_grain(images, some(14, GRAIN * drawn[:, 15], 0.0), drawn[:, 16:18])


def rotate(images: Tensor, degrees: Amounts) -> Tensor:
    """Rotate each image about its middle, clockwise; what comes in is its own mirror image."""
    angle = np.deg2rad(degrees)
    cosine, sine, none = np.cos(angle), np.sin(angle), np.zeros(len(angle))
    transform = np.stack([cosine, sine, none, -sine, cosine, none], axis=1).reshape(-1, 2, 3)
    grid = F.affine_grid(_as_tensor(images, transform), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def light_from_one_side(images: Tensor, slope: Amounts, direction: Amounts) -> Tensor:
    """Darken each image away from a light; the middle keeps the brightness e to minus half the slope.

    Args:
        images: RGB (N, 3, S, S); overwritten.
        slope: Decrease of the logarithm of the brightness from the middle to the far edge, (N,).
        direction: Of the light, in radians from the right towards the bottom, (N,).
    """
    across = torch.linspace(-1, 1, images.shape[-1], device=images.device)
    right, down, all_over = (
        _as_tensor(images, amounts).view(-1, 1, 1, 1)
        for amounts in (slope * np.cos(direction), slope * np.sin(direction), slope)
    )
    ramp = right * across.view(1, 1, 1, -1) + down * across.view(1, 1, -1, 1) - 0.5 * all_over
    return images.mul_(ramp.exp_()).clamp_(0, 1)


def adjust_gamma(images: Tensor, exponent: Amounts) -> Tensor:
    """Raise each image to its exponent, in place."""
    return images.pow_(_as_tensor(images, exponent).view(-1, 1, 1, 1))


def blur(images: Tensor, deviation: Amounts) -> Tensor:
    """Weigh each image's rows and columns by a Gaussian, cut off at the edges and normalised.

    Args:
        images: RGB (N, 3, S, S).
        deviation: Of the Gaussian, over S, (N,).
    """
    place = np.arange(images.shape[-1])
    pixels = np.maximum(deviation * len(place), 1e-3)[:, None]
    by_distance = np.exp(-0.5 * (place / pixels) ** 2)
    kernel = by_distance[:, np.abs(place[:, None] - place)]
    kernel /= kernel.sum(axis=2, keepdims=True)
    weights = _as_tensor(images, kernel).unsqueeze(1)
    return weights @ images @ weights.mT


def tint(images: Tensor, gains: Amounts) -> Tensor:
    """Multiply each image's channels by its gains (N, 3), in place."""
    return images.mul_(_as_tensor(images, gains).view(-1, 3, 1, 1)).clamp_(0, 1)


def add_grain(images: Tensor, deviation: Amounts, corners: Amounts) -> Tensor:
    """Add to each image its own part of one field of noise, alike in the three channels, in place.

    Args:
        images: RGB (N, 3, S, S).
        deviation: Of the noise, (N,).
        corners: Corner of each image's part in the field, which wraps around, (N, 2) in [0, 1).
    """
    field, along = _noise_field(), np.arange(images.shape[-1])
    parts = [
        field[np.ix_((top + along) % _FIELD, (left + along) % _FIELD)]
        for top, left in (corners * _FIELD).astype(np.int64).tolist()
    ]
    noise = torch.from_numpy(np.stack(parts)).to(images.device).unsqueeze(1)
    return images.add_(noise * _as_tensor(images, deviation).view(-1, 1, 1, 1)).clamp_(0, 1)


@functools.cache
def _noise_field() -> NDArray[np.float32]:
    noise = np.random.default_rng(_STREAM).standard_normal((_FIELD, _FIELD), np.float32)
    noise.setflags(write=False)
    return noise


def _as_tensor(images: Tensor, values: Amounts) -> Tensor:
    return torch.from_numpy(values).to(device=images.device, dtype=images.dtype)
