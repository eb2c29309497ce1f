"""What changes within a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comface_bench.comface.synthesis.anny.person import Colour

NECKLINES = ("crew", "vee", "roll", "collar")
"""Forms of the clothes at the neck."""


@dataclass(frozen=True)
class State:
    """A moment of a person.

    Attributes:
        years: Age.
        fluid: Kilograms of fluid above the dry weight.
        tissue: Kilograms of the dry weight above its reference.
        units: Intensity 0 to 5 by action unit.
        actions: Further facial actions by anny's name, values in about [0, 1], added to those of the units.
        changes: Further local shape changes by anny's name, values in about [-1, 1], added to the person's.
        gaze: Where the eyes turn, right and up, radians.
        cloth: Colour of the clothes, sRGB.
        neckline: One of `NECKLINES`.
    """

    years: float = 30.0
    fluid: float = 0.0
    tissue: float = 0.0
    units: Mapping[int, float] = field(default_factory=dict)
    actions: Mapping[str, float] = field(default_factory=dict)
    changes: Mapping[str, float] = field(default_factory=dict)
    gaze: tuple[float, float] = (0.0, 0.0)
    cloth: Colour = (0.3, 0.3, 0.35)
    neckline: str = "crew"
