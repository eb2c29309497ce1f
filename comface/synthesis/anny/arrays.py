"""Array types of the renderer, and pointwise functions of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
"""Real numbers, float32 wherever speed counts."""
Ints = NDArray[np.integer[Any]]
"""Indices."""
Pixels = NDArray[np.uint8]
"""An image, (H, W, 3) or (H, W), values 0 to 255."""
Colour = tuple[float, float, float]
"""Red, green and blue."""


def smoothstep(value: Floats) -> Floats:
    """Return 0 below 0, 1 above 1 and a smooth step between."""
    ramp: Floats = np.clip(value, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def srgb_to_linear(colour: Floats | Colour) -> Floats:
    """Return linear light for sRGB values in [0, 1], by the power 2.2."""
    return np.asarray(colour, np.float32) ** np.float32(2.2)
