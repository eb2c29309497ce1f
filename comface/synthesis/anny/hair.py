"""Hair: where it grows and what colour it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.synthesis.anny.labels import greyness, sagging
from comface_bench.comface.synthesis.anny.noise import linear

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats
    from comface_bench.comface.synthesis.anny.person import Person

# Height on the template in cm, and the depth in front of which no hair grows there.
_HEIGHT = (55, 61, 63, 66, 68, 69.5, 72, 75, 77, 79, 80.3, 81.3, 84, 90)
_DEPTH = (-30, -6, -2.5, 0, 2.2, 6.2, 7.1, 8.4, 9.9, 11.5, 12.8, 14.3, 18.5, 28)


def hair_cover(canonical: Floats, ears: Floats, hairline: float, receded: float) -> Floats:
    """Return how far hair covers places of the template.

    Args:
        canonical: Places (N, 3), cm.
        ears: Mask of the ears (N,), where no hair grows.
        hairline: How far the hair line comes down the forehead, cm.
        receded: How far it has gone back, cm.

    Returns:
        Depth behind the hair line in cm (N,), negative in front of it.
    """
    # The line goes back first above the temples.
    temples = 0.6 + 0.5 * np.clip(np.abs(canonical[:, 0]) / 4, 0, 1)
    front = np.clip((canonical[:, 1] - 75) / 3, 0, 1)
    height = canonical[:, 1] + (hairline - receded * temples) * front
    return np.asarray(np.interp(height, _HEIGHT, _DEPTH) - canonical[:, 2] - 6 * ears, np.float32)


def receded(person: Person, years: float) -> float:
    """Return how far the hair line has gone back, cm; a child's comes further down."""
    return person.baldness * sagging(years, person.pace) - 0.9 * float(np.clip(1 - years / 15, 0, 1))


def grown(years: float) -> float:
    """Return the share of the adult length that a child's hair has."""
    return float(np.clip(0.10 + years / 4.0, 0, 1))


def hair_colour(person: Person, years: float) -> Floats:
    """Return the linear colour (3,) of hair that isn't grey, lighter in childhood."""
    child = float(np.clip((12 - years) / 12, 0, 1))
    colour = np.asarray(person.hair)
    # Black hair stays black.
    return linear(colour + child * 0.35 * colour * (colour > 0.14))


GREY = (0.66, 0.65, 0.63)
"""Grey hair, sRGB."""


def grey_share(person: Person, years: float, later: float = 0.0) -> float:
    """Return the share of strands that are grey, when they turn `later` years after the head's."""
    return greyness(years, person.grey_onset + later)
