"""Solid noise and the small curves that colours are mixed with."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats
    from comface_bench.comface.synthesis.anny.person import Colour

_SIDE = 48  # cells along one side of the noise cube


def noise(places: Floats) -> Floats:
    """Return smooth noise (N,) in [-1, 1] with cells of size 1 at places (N, 3); repeats every 48 cells."""
    from scipy.ndimage import map_coordinates

    low = np.floor(places)
    part = places - low
    eased = low + part * part * (3 - 2 * part)
    value: Floats = map_coordinates(_cube(), eased.T % _SIDE, order=1, mode="grid-wrap", prefilter=False)
    return value


@functools.lru_cache(maxsize=1)
def _cube() -> Floats:
    return np.random.default_rng(20260101).uniform(-1, 1, (_SIDE, _SIDE, _SIDE)).astype(np.float32)


def smooth(value: Floats) -> Floats:
    """Return 0 below 0, 1 above 1 and a smooth step between."""
    ramp: Floats = np.clip(value, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def triple(first: float, second: float, third: float) -> Floats:
    """Return three numbers, of red, green and blue or of x, y and z, in single precision."""
    return np.array([first, second, third], np.float32)


def linear(colour: Floats | Colour) -> Floats:
    """Return linear light for sRGB values in [0, 1], by the power 2.2."""
    return np.asarray(colour, np.float32) ** np.float32(2.2)
