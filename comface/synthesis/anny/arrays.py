"""Names for the arrays of the renderer."""

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
