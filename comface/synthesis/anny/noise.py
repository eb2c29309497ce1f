"""Solid noise and the small curves that colours are mixed with."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats
    from comface_bench.comface.synthesis.anny.person import Colour

SIDE = 32
"""Cells along one side of the noise cube, after which it repeats."""


@functools.lru_cache(maxsize=1)
def noise_cube() -> Floats:
    """Return four independent noises in [-1, 1] on a cube's cells (SIDE³, 4), x fastest."""
    return np.random.default_rng(20260101).uniform(-1, 1, (SIDE**3, 4)).astype(np.float32)


def smooth(value: Floats) -> Floats:
    """Return 0 below 0, 1 above 1 and a smooth step between."""
    ramp: Floats = np.clip(value, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def linear(colour: Floats | Colour) -> Floats:
    """Return linear light for sRGB values in [0, 1], by the power 2.2."""
    return np.asarray(colour, np.float32) ** np.float32(2.2)
