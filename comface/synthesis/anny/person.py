"""A person: everything that stays while expression, weight, age, light and camera change."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.synthesis.anny.labels import SAG, age_phenotype, sagging

if TYPE_CHECKING:
    from collections.abc import Mapping

Colour = tuple[float, float, float]

_SPREAD: dict[str, float] = {
    "head-scale-horiz-incr": 0.25,
    "head-scale-vert-incr": 0.25,
    "head-angle-out": 0.2,
    "forehead-scale-vert-incr": 0.35,
    "forehead-nubian-incr": 0.3,
    "forehead-temple-incr": 0.4,
    "chin-width-incr": 0.4,
    "chin-height-incr": 0.35,
    "chin-prominent-incr": 0.35,
    "chin-jaw-drop-incr": 0.3,
    "nose-scale-horiz-incr": 0.3,
    "nose-scale-vert-incr": 0.3,
    "nose-scale-depth-incr": 0.35,
    "nose-hump-incr": 0.4,
    "nose-point-up": 0.4,
    "nose-point-width-incr": 0.4,
    "nose-width2-incr": 0.35,
    "nose-flaring-incr": 0.35,
    "mouth-scale-horiz-incr": 0.35,
    "mouth-upperlip-volume-incr": 0.35,
    "mouth-lowerlip-volume-incr": 0.35,
    "mouth-cupidsbow-incr": 0.4,
    "mouth-trans-up": 0.25,
    "eyebrows-trans-up": 0.3,
    "eyebrows-angle-up": 0.4,
    "neck-scale-horiz-incr": 0.2,
}
_SPREAD_BOTH: dict[str, float] = {
    "cheek-bones-incr": 0.4,
    "cheek-volume-incr": 0.3,
    "eye-scale-incr": 0.25,
    "eye-trans-out": 0.25,
    "eye-trans-up": 0.2,
    "eye-corner1-up": 0.3,
    "eye-corner2-up": 0.35,
    "eye-eyefold-up": 0.3,
    "ear-scale-incr": 0.3,
    "ear-wing-incr": 0.3,
}

_TONES: tuple[Colour, ...] = (
    (0.95, 0.80, 0.72),
    (0.89, 0.71, 0.60),
    (0.78, 0.57, 0.44),
    (0.62, 0.42, 0.31),
    (0.45, 0.29, 0.21),
    (0.32, 0.20, 0.15),
)
_HAIR: dict[str, Colour] = {
    "black": (0.07, 0.06, 0.055),
    "dark brown": (0.16, 0.10, 0.07),
    "brown": (0.29, 0.18, 0.11),
    "fair": (0.58, 0.44, 0.27),
    "red": (0.45, 0.20, 0.09),
}
_EYES: tuple[Colour, ...] = ((0.22, 0.12, 0.06), (0.33, 0.22, 0.10), (0.30, 0.38, 0.22), (0.32, 0.45, 0.60))


def stream(*key: object) -> np.random.Generator:
    """Return the random numbers that belong to a key, the same on every machine."""
    text = "\x1f".join(str(part) for part in ("synthfaces", *key))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


@dataclass(frozen=True)
class Person:
    """An identity.

    Attributes:
        gender: 0 female to 1 male, anny's scale turned so that 1 is male in every use here.
        ancestry: Shares of anny's african, asian, caucasian.
        build: anny's weight phenotype, [0, 1].
        changes: Local shape changes.
        asymmetry: Share by which the left facial actions exceed the right ones.
        skin, hair, eyes, lips: Colours, sRGB in [0, 1].
        blush, freckles, mottle: Strengths in [0, 1].
        thickness: Height of the hair over the scalp in cm.
        long: Hair falls to the shoulders.
        fringe: How far the hair line comes down the forehead, cm.
        baldness: How far it goes back by the age of 70, cm.
        brow: Half-width of the brows, cm.
        stubble, moustache: Beard as an adult, [0, 1].
        pace: Pace of ageing, about 1.
        grey_onset: Age at which grey hair starts.
        offset: Place of this skin in the noise, 3 numbers.
    """

    gender: float
    ancestry: tuple[float, float, float]
    build: float
    changes: Mapping[str, float] = field(repr=False)
    asymmetry: float
    skin: Colour
    hair: Colour
    eyes: Colour
    lips: Colour
    blush: float
    freckles: float
    mottle: float
    thickness: float
    long: bool
    fringe: float
    baldness: float
    brow: float
    stubble: float
    moustache: float
    pace: float
    grey_onset: float
    offset: tuple[float, float, float]

    def phenotype(self, years: float) -> dict[str, float]:
        """Return anny's phenotype at an age in years."""
        african, asian, caucasian = self.ancestry
        return {
            "gender": 1 - self.gender,
            "age": age_phenotype(years),
            "weight": self.build,
            "muscle": 0.5,
            "height": 0.5,
            "proportions": 0.5,
            "african": african,
            "asian": asian,
            "caucasian": caucasian,
        }

    def shape_changes(self, years: float, further: Mapping[str, float]) -> dict[str, float]:
        """Return local changes at an age: the person's own, sagging, and `further` ones added."""
        # Adult differences of bone fade towards infancy.
        grown = float(np.clip(0.35 + years / 25, 0.35, 1))
        total = {name: value * grown for name, value in self.changes.items()}
        sag = sagging(years, self.pace)
        for name, value in SAG.items():
            total[name] = total.get(name, 0.0) + sag * value
        for name, value in further.items():
            total[name] = total.get(name, 0.0) + value
        return {name: float(np.clip(value, -2.2, 2.2)) for name, value in total.items()}


def draw_person(*key: object) -> Person:
    """Draw the identity that belongs to a key (seed, set, subject)."""
    random = stream("person", *key)
    main = random.choice(3, p=(0.27, 0.28, 0.45))
    shares = random.dirichlet((0.35, 0.35, 0.35)) * 0.25
    shares[main] += 0.75
    african, asian, caucasian = (float(share) for share in shares)
    male = float(random.random() < 0.5)
    gender = float(np.clip(abs(male - random.beta(1.2, 8)), 0, 1))

    changes = {name: float(_within(random, spread)) for name, spread in _SPREAD.items()}
    for name, spread in _SPREAD_BOTH.items():
        value = _within(random, spread)
        for side in "lr":
            changes[f"{side}-{name}"] = float(value + _within(random, 0.05))

    darkness = np.clip(0.82 * african + 0.30 * asian + 0.12 * caucasian + random.normal(0, 0.09), 0, 1)
    skin = _palette(_TONES, float(darkness))
    skin = _tint(skin, (1.0, 1.0 + random.normal(0, 0.015), 1.0 - 0.05 * asian + random.normal(0, 0.02)))
    fair = caucasian > 0.7
    hair_name = random.choice(
        list(_HAIR), p=(0.10, 0.30, 0.32, 0.20, 0.08) if fair else (0.7, 0.28, 0.02, 0, 0)
    )
    eye_index = int(random.choice(4, p=(0.2, 0.25, 0.2, 0.35))) if fair else int(random.random() < 0.25)
    lip_red = random.uniform(0.0, 1.0) * (1 - male)
    lips = (
        skin[0] * (0.82 + 0.05 * lip_red),
        skin[1] * (0.64 - 0.10 * lip_red),
        skin[2] * (0.66 - 0.08 * lip_red),
    )
    long = bool(random.random() < (0.65 if male < 0.5 else 0.06))
    return Person(
        gender=gender,
        ancestry=(african, asian, caucasian),
        build=float(np.clip(random.normal(0.5, 0.12), 0.2, 0.85)),
        changes=changes,
        asymmetry=float(random.normal(0, 0.05)),
        skin=skin,
        hair=_tint(_HAIR[str(hair_name)], tuple(1 + random.normal(0, 0.08, 3))),
        eyes=_tint(_EYES[eye_index], tuple(1 + random.normal(0, 0.08, 3))),
        lips=lips,
        blush=float(random.uniform(0.2, 1)),
        freckles=float(random.random() ** 3 * (1.0 if darkness < 0.3 else 0.4)),
        mottle=float(random.uniform(0.4, 1)),
        thickness=float(
            random.uniform(0.9, 2.0) if long or male < 0.5 else random.choice([0.35, 0.8, 1.3, 1.7])
        ),
        long=long,
        fringe=float(random.choice([0.0, 0.0, 0.3, 1.6, 2.6])),
        baldness=float(random.uniform(0.5, 6.0) if male > 0.5 else random.uniform(0, 0.6)),
        brow=float(random.uniform(0.24, 0.36) + 0.07 * male),
        stubble=float(male * random.choice([0.0, 0.15, 0.4, 0.95], p=(0.35, 0.3, 0.2, 0.15))),
        moustache=float(male * random.choice([0.0, 0.9], p=(0.85, 0.15))),
        pace=float(np.clip(random.normal(1, 0.1), 0.8, 1.2)),
        grey_onset=float(np.clip(random.normal(40, 6), 28, 55)),
        offset=(float(random.uniform(0, 60)), float(random.uniform(0, 60)), float(random.uniform(0, 60))),
    )


def _within(random: np.random.Generator, spread: float) -> float:
    """Draw a normal number cut at two standard deviations."""
    return float(np.clip(random.normal(0, spread), -2 * spread, 2 * spread))


def _palette(colours: tuple[Colour, ...], place: float) -> Colour:
    at = place * (len(colours) - 1)
    low = min(int(at), len(colours) - 2)
    a, b = np.array(colours[low]), np.array(colours[low + 1])
    r, g, blue = a + (b - a) * (at - low)
    return float(r), float(g), float(blue)


def _tint(colour: Colour, factors: tuple[float, ...]) -> Colour:
    r, g, b = np.clip(np.array(colour) * np.array(factors), 0, 1)
    return float(r), float(g), float(b)
