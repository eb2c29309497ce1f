"""Colour of eyes and teeth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.synthesis.anny.labels import sagging
from comface_bench.comface.synthesis.anny.noise import linear, smooth, triple

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats
    from comface_bench.comface.synthesis.anny.person import Person
    from comface_bench.comface.synthesis.anny.state import State

_IRIS, _PUPIL = 0.455, 0.17  # radii as angles from the eye's axis


def eye_colour(places: Floats, person: Person, state: State) -> Floats:
    """Return linear colours (N, 3) of sclera, iris and pupil.

    Args:
        places: Places relative to the eye's centre over its radius (N, 3).
        person: Whose iris.
        state: Where the eyes look, and the age, which yellows the sclera.
    """
    right, up = state.gaze
    axis = np.array([np.sin(right), np.sin(up), 1.0])
    axis = axis / np.linalg.norm(axis)
    unit = places / np.maximum(np.linalg.norm(places, axis=1, keepdims=True), 1e-6)
    angle = np.arccos(np.clip(unit @ axis, -1, 1))
    turn = np.arctan2(unit[:, 1], unit[:, 0])
    sag = sagging(state.years)
    white = linear((0.80, 0.77 - 0.04 * sag, 0.75 - 0.07 * sag)) * np.ones((len(places), 1), np.float32)
    # The sclera reddens and darkens towards its rim.
    white = white * (1 - np.clip((angle - 0.55) * 0.7, 0, 0.5)[:, None] * triple(0.6, 1, 1))
    rays = 1 + 0.25 * np.sin(17 * turn + 3 * np.sin(5 * turn)) * np.clip(angle / 0.4, 0, 1)
    iris = linear(person.eyes) * rays[:, None] * 1.5
    iris = iris * (1 - 0.75 * smooth((angle - 0.36) / 0.08))[:, None]
    colour = white + smooth((_IRIS - angle) / 0.05 + 0.5)[:, None] * (iris - white)
    pupil = smooth((_PUPIL - angle) / 0.05 + 0.5)[:, None]
    result: Floats = colour + pupil * (0.004 - colour)
    return result


def teeth_colour(places: Floats, years: float) -> Floats:
    """Return linear colours (N, 3) of teeth: dark deep in the mouth and where two meet, yellow with age."""
    yellow = 0.06 * sagging(years)
    deep = np.clip((places[:, 2] - 12.4) / 2.0, 0.04, 1)
    across = np.abs(places[:, 0])
    gap = np.exp(-0.5 * ((across - 0.8 * np.rint(across / 0.8)) / 0.06) ** 2)
    colour: Floats = linear((0.88, 0.85 - yellow, 0.78 - 2 * yellow)) * (deep * (1 - 0.35 * gap))[:, None]
    return colour


def tongue_colour(places: Floats) -> Floats:
    """Return linear colours (N, 3) of the tongue, dark towards the throat."""
    colour: Floats = linear((0.66, 0.32, 0.31)) * np.clip((places[:, 2:] - 9.5) / 4.0, 0.12, 1)
    return colour
