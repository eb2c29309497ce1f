"""The head of a person in a state: vertices, clothes included, before any pose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.synthesis.anny import body
from comface_bench.comface.synthesis.anny.labels import actions_of, weight_changes

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats
    from comface_bench.comface.synthesis.anny.body import Head
    from comface_bench.comface.synthesis.anny.person import Person
    from comface_bench.comface.synthesis.anny.state import State


def weights(head: Head, person: Person, state: State) -> Floats:
    """Return the weights (K,) of the head's linear shapes."""
    actions = actions_of(state.units)
    for name, value in state.actions.items():
        actions[name] = actions.get(name, 0.0) + value
    for name in actions:
        if name.endswith("Left"):
            actions[name] *= 1 + person.asymmetry
    further = weight_changes(state.fluid, state.tissue)
    for name, value in state.changes.items():
        further[name] = further.get(name, 0.0) + value
    return head.weights(person.phenotype(state.years), person.shape_changes(state.years, further), actions)


def shape(head: Head, person: Person, state: State) -> Floats:
    """Return the bare head's vertices (W, 3) in cm, before any pose."""
    points: Floats = head.refine @ head.base(weights(head, person, state))
    return points


def cloth_cover(head: Head, neckline: str) -> Floats:
    """Return how far clothes cover the vertices (W,), in cm below the neckline; negative where they don't."""
    x, y, z = head.canonical.T
    away = np.hypot(x, z - 2.5)
    if neckline == "roll":
        cover = 60.2 - y + 0.25 * np.clip(z - 4, 0, 8) * 0.2
    elif neckline == "vee":
        cover = np.minimum(
            away - 7.2 - 0.4 * (y - 56), 57.5 - y - 0.9 * np.clip(4.0 - np.abs(x), 0, 4) * (z > 2)
        )
    elif neckline == "collar":
        cover = 58.8 - y - 1.5 * np.clip(1.5 - np.abs(x), 0, 1.5) * (z > 2)
    else:
        cover = np.minimum(away - 7.4, 58.2 - y)
    return np.asarray(np.where(head.part == body.SKIN, np.clip(cover, -3, 3), -3.0), np.float32)


def dress(points: Floats, normals: Floats, cover: Floats) -> Floats:
    """Return the vertices with clothes over the skin: a raised edge at the neckline, then loose cloth."""
    ramp = np.clip(cover / 0.3, 0, 1)
    height = ramp * (0.35 + 0.25 * np.exp(-((cover - 0.5) ** 2) / 0.3))
    dressed: Floats = points + height[:, None] * normals
    return dressed
