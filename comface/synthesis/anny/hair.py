"""Hair: where it grows and what colour it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.synthesis.anny.labels import greyness, sagging
from comface_bench.comface.synthesis.anny.noise import linear, noise, triple

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats
    from comface_bench.comface.synthesis.anny.person import Person

# Height on the template in cm, and the depth in front of which no hair grows there.
_HEIGHT = (55, 61, 63, 66, 68, 69.5, 72, 75, 77, 79, 80.3, 81.3, 84, 90)
_DEPTH = (-30, -6, -2.5, 0, 2.2, 6.2, 7.1, 8.4, 9.9, 11.5, 12.8, 14.3, 18.5, 28)


def hair_cover(canonical: Floats, ears: Floats, person: Person, years: float) -> Floats:
    """Return how far hair covers places of the template.

    Args:
        canonical: Places (N, 3), cm.
        ears: Mask of the ears (N,), where no hair grows.
        person: Whose hair line.
        years: Age; the line goes back with it.

    Returns:
        Depth behind the hair line in cm (N,), negative in front of it.
    """
    # The line goes back first above the temples; a fringe brings it down.
    temples = 0.6 + 0.5 * np.clip(np.abs(canonical[:, 0]) / 4, 0, 1)
    back = person.baldness * sagging(years, person.pace) * temples
    front = np.clip((canonical[:, 1] - 75) / 3, 0, 1)
    height = canonical[:, 1] + (person.fringe - back) * front
    infant = 0.8 * float(np.clip(1 - years / 2, 0, 1))
    return np.asarray(np.interp(height, _HEIGHT, _DEPTH) - canonical[:, 2] - 6 * ears - infant, np.float32)


def hair_lift(cover: Floats, canonical: Floats, person: Person, years: float) -> Floats:
    """Return the height of the hair over the skin in cm (N,) for `hair_cover` at places (N, 3)."""
    grown = float(np.clip(0.25 + years / 3, 0, 1))
    ramp = np.clip((cover - 0.1) / 3.0, 0, 1)
    lift = person.thickness * grown * ramp * ramp * (3 - 2 * ramp)
    # Thinner towards the nape.
    height: Floats = lift * np.clip((canonical[:, 1] - 62) / 12, 0.15, 1)
    return height


def hair_colour(places: Floats, person: Person, years: float) -> Floats:
    """Return linear colours (N, 3), streaked along the height, lighter in childhood, greying with age."""
    at = places + triple(*person.offset)
    streaks = noise(at * triple(3.5, 0.35, 3.5)) + 0.6 * noise(at * triple(8.0, 0.8, 8.0))
    child = float(np.clip((12 - years) / 12, 0, 1))
    colour = np.asarray(person.hair)
    # Black hair stays black.
    colour = colour + child * 0.35 * colour * (colour > 0.12)
    grey = greyness(years, person.grey_onset)
    mixed = linear(colour) * (1 - grey) + grey * linear((0.70, 0.70, 0.70))
    shade: Floats = mixed * np.clip(1 + 0.45 * streaks, 0.25, 2)[:, None]
    return shade
