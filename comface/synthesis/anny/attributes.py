"""Attributes of anny's faces, and what each value of α does to them.

Each is a fixed map from α in [−5, 5] to a person and a state. α = 0 is the middle of the attribute's range:
the identity as drawn where the range is two-sided, half of it where it has a natural zero (an action unit
goes from 0 to 5, a beard from none to full).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from comface_bench.comface.synthesis.anny.labels import UNITS

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Colour
    from comface_bench.comface.synthesis.anny.person import Person, State

Move = Callable[["Person", "State", float], tuple["Person", "State"]]

YEARS_PER_ALPHA = 6.5
"""Age moves linearly, so that a change of α is the same number of years at every age."""
MIDDLE_YEARS = 35.5
"""Age at α = 0 of the attribute `age`, so that it goes from 3 to 68 years, about as in FG-NET."""
KILOGRAMS_PER_ALPHA = 0.6
"""Fluid moves by ±3 kg, as between visits of dialysis patients…"""
TISSUE_PER_ALPHA = 1.0
"""…and tissue with it, in kilograms: body weight is both."""

_BOTH = "both-"

SHAPES: Final[Mapping[str, Mapping[str, float]]] = {
    "face-width": {"head-scale-horiz-incr": 0.16},
    "face-length": {"head-scale-vert-incr": 0.16},
    "jaw-width": {"chin-width-incr": 0.16, "chin-bones-incr": 0.12, "head-angle-out": 0.08},
    "chin-length": {"chin-height-incr": 0.20},
    "chin-prominence": {"chin-prominent-incr": 0.20, "chin-prognathism-incr": 0.08},
    "chin-cleft": {"chin-cleft-incr": 0.20},
    "cheekbones": {"both-cheek-bones-incr": 0.22},
    "cheek-fullness": {"both-cheek-volume-incr": 0.20, "both-cheek-inner-incr": 0.12},
    "double-chin": {"neck-double-incr": 0.20},
    "forehead-height": {"forehead-scale-vert-incr": 0.20},
    "forehead-slope": {"forehead-nubian-incr": 0.20},
    "temples": {"forehead-temple-incr": 0.20},
    "nose-width": {"nose-scale-horiz-incr": 0.16, "nose-width2-incr": 0.10},
    "nose-length": {"nose-scale-vert-incr": 0.18},
    "nose-projection": {"nose-scale-depth-incr": 0.18},
    "nose-hump": {"nose-hump-incr": 0.20, "nose-curve-convex": 0.14},
    "nose-tip": {"nose-point-up": 0.20},
    "nostrils": {"nose-flaring-incr": 0.20, "nose-nostrils-width-incr": 0.10},
    "lip-fullness": {"mouth-upperlip-volume-incr": 0.20, "mouth-lowerlip-volume-incr": 0.20},
    "cupids-bow": {"mouth-cupidsbow-incr": 0.20},
    "mouth-width": {"mouth-scale-horiz-incr": 0.18},
    "mouth-height": {"mouth-trans-up": 0.16},
    "eye-size": {"both-eye-scale-incr": 0.16},
    "eye-distance": {"both-eye-trans-out": 0.16},
    "eye-slant": {"both-eye-corner2-up": 0.20, "both-eye-corner1-up": -0.08},
    "eye-folds": {"both-eye-eyefold-up": 0.20},
    "eye-bags": {"both-eye-bag-incr": 0.24},
    "brow-height": {"eyebrows-trans-up": 0.18},
    "brow-slant": {"eyebrows-angle-up": 0.20},
    "ear-size": {"both-ear-scale-incr": 0.20},
    "ear-angle": {"both-ear-wing-incr": 0.20},
    "neck-width": {"neck-scale-horiz-incr": 0.18},
}
"""Local shape changes of each shape attribute for α = 1; `both-` stands for the left and the right one."""


ACTIONS: Final[Mapping[str, Mapping[str, float]]] = {
    "pucker": {"mouthPucker": 1.0},
    "cheek-puff": {"cheekPuff": 1.0},
    "eye-closure": {"eyeBlinkLeft": 0.9, "eyeBlinkRight": 0.9},
    "lip-press": {"mouthPressLeft": 1.0, "mouthPressRight": 1.0},
}
"""Facial actions of each attribute that goes from none at α = −5 to these at α = 5."""

_SMILE: Final = {6: 1.0, 12: 1.0, 25: 0.7}
"""A smile: cheeks, corners of the mouth and parted lips, as shares of one intensity."""

_TONES: Final[tuple[Colour, ...]] = (
    (0.30, 0.19, 0.14),
    (0.45, 0.29, 0.21),
    (0.62, 0.43, 0.33),
    (0.80, 0.60, 0.48),
    (0.93, 0.77, 0.68),
)
_HAIRS: Final[tuple[Colour, ...]] = ((0.06, 0.05, 0.045), (0.28, 0.18, 0.11), (0.76, 0.62, 0.42))
_IRISES: Final[tuple[Colour, ...]] = ((0.16, 0.09, 0.05), (0.33, 0.27, 0.15), (0.42, 0.56, 0.68))


def share(alpha: float) -> float:
    """Return α as a share of its range, 0 at −5 and 1 at 5."""
    return (alpha + 5) / 10


def _age(person: Person, state: State, alpha: float) -> tuple[Person, State]:
    return person, dataclasses.replace(state, years=MIDDLE_YEARS + YEARS_PER_ALPHA * alpha)


def _weight(person: Person, state: State, alpha: float) -> tuple[Person, State]:
    fluid, tissue = KILOGRAMS_PER_ALPHA * alpha, TISSUE_PER_ALPHA * alpha
    return person, dataclasses.replace(state, fluid=state.fluid + fluid, tissue=state.tissue + tissue)


def _units(person: Person, state: State, alpha: float, full: Mapping[int, float]) -> tuple[Person, State]:
    units = {**state.units, **{unit: 5 * share(alpha) * part for unit, part in full.items()}}
    return person, dataclasses.replace(state, units=units)


def _actions(person: Person, state: State, alpha: float, full: Mapping[str, float]) -> tuple[Person, State]:
    actions = {**state.actions, **{name: share(alpha) * value for name, value in full.items()}}
    return person, dataclasses.replace(state, actions=actions)


def _shape(person: Person, state: State, alpha: float, each: Mapping[str, float]) -> tuple[Person, State]:
    changes = dict(state.changes)
    for name, value in each.items():
        side = name.removeprefix(_BOTH)
        for local in (f"l-{side}", f"r-{side}") if name.startswith(_BOTH) else (name,):
            changes[local] = changes.get(local, 0.0) + alpha * value
    return person, dataclasses.replace(state, changes=changes)


def _strength(
    person: Person, state: State, alpha: float, field: str, low: float, high: float
) -> tuple[Person, State]:
    changed: dict[str, Any] = {field: low + (high - low) * share(alpha)}
    return dataclasses.replace(person, **changed), state


def _facial_hair(person: Person, state: State, alpha: float, field: str) -> tuple[Person, State]:
    bare: dict[str, Any] = {"stubble": 0.1, "beard": 0.0, "moustache": 0.0, field: share(alpha)}
    return dataclasses.replace(person, **bare, makeup=0.0), state


def _skin_tone(person: Person, state: State, alpha: float) -> tuple[Person, State]:
    skin = _blend(_TONES, share(alpha))
    # Lips keep their relation to the skin around them.
    r, g, b = (
        min(1.0, new * lip / max(old, 1e-3))
        for new, lip, old in zip(skin, person.lips, person.skin, strict=True)
    )
    return dataclasses.replace(person, skin=skin, lips=(r, g, b)), state


def _colour(
    person: Person, state: State, alpha: float, field: str, scale: tuple[Colour, ...]
) -> tuple[Person, State]:
    changed: dict[str, Any] = {field: _blend(scale, share(alpha))}
    return dataclasses.replace(person, **changed), state


def _grey(person: Person, state: State, alpha: float) -> tuple[Person, State]:
    # Hair greys over 30 years from the onset on: the onset is put where the share is what it should be.
    return dataclasses.replace(person, grey_onset=state.years - 30 * share(alpha)), state


def _wrinkles(person: Person, state: State, alpha: float) -> tuple[Person, State]:
    return dataclasses.replace(person, ageing_rate=0.2 + 1.6 * share(alpha)), dataclasses.replace(
        state, years=60.0
    )


def _blend(colours: tuple[Colour, ...], place: float) -> Colour:
    at = place * (len(colours) - 1)
    low = min(int(at), len(colours) - 2)
    part = at - low
    r, g, b = (
        (1 - part) * first + part * second
        for first, second in zip(colours[low], colours[low + 1], strict=True)
    )
    return r, g, b


ATTRIBUTES: Final[Mapping[str, Move]] = {
    "age": _age,
    "weight": _weight,
    "smile": partial(_units, full=_SMILE),
    **{f"au{unit}": partial(_units, full={unit: 1.0}) for unit in UNITS},
    **{name: partial(_actions, full=full) for name, full in ACTIONS.items()},
    **{name: partial(_shape, each=each) for name, each in SHAPES.items()},
    "masculinity": partial(_strength, field="gender", low=0.0, high=1.0),
    "build": partial(_strength, field="build", low=0.15, high=0.95),
    "skin-tone": _skin_tone,
    "hair-lightness": partial(_colour, field="hair", scale=_HAIRS),
    "eye-lightness": partial(_colour, field="eyes", scale=_IRISES),
    "blush": partial(_strength, field="blush", low=0.0, high=1.0),
    "freckles": partial(_strength, field="freckles", low=0.0, high=1.0),
    "gloss": partial(_strength, field="oil", low=0.0, high=1.0),
    "eye-shadows": partial(_strength, field="eye_shadows", low=0.0, high=1.0),
    "makeup": partial(_strength, field="makeup", low=0.0, high=1.0),
    "stubble": partial(_facial_hair, field="stubble"),
    "beard": partial(_facial_hair, field="beard"),
    "moustache": partial(_facial_hair, field="moustache"),
    "brow-thickness": partial(_strength, field="brow", low=0.5, high=1.5),
    "hair-volume": partial(_strength, field="volume", low=0.5, high=1.5),
    "grey-hair": _grey,
    "wrinkles": _wrinkles,
}
"""Name → function from a person, a state and α to the changed person and state."""


def move(person: Person, state: State, attribute: str, alpha: float) -> tuple[Person, State]:
    """Return a person and a state with one attribute at α.

    Args:
        person: An identity.
        state: Its base state.
        attribute: Key of `ATTRIBUTES`.
        alpha: In [−5, 5].
    """
    return ATTRIBUTES[attribute](person, state, float(np.clip(alpha, -5, 5)))
