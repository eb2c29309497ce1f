"""A person: the identity, constant over all images, and the state, which varies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.synthesis.anny.labels import SAG, age_phenotype, sagging

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comface_bench.comface.synthesis.anny.arrays import Colour


NECKLINES = ("crew", "vee", "roll", "collar")
"""Forms of the clothes at the neck."""


@dataclass(frozen=True)
class State:
    """The state of a person in one image.

    Attributes:
        years: Age.
        fluid: Kilograms of fluid above the dry weight.
        tissue: Kilograms of the dry weight above its reference.
        units: Intensity 0 to 5 by action unit.
        actions: Further facial actions by anny's name, values in about [0, 1], added to those of the units.
        changes: Further local shape changes by anny's name, values in about [-1, 1], added to the person's.
        gaze: Direction of the eyes, right and up, radians.
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


_SPREAD: dict[str, float] = {
    "head-scale-horiz-incr": 0.2,
    "head-scale-vert-incr": 0.2,
    "head-angle-out": 0.12,
    "forehead-scale-vert-incr": 0.2,
    "forehead-nubian-incr": 0.22,
    "forehead-temple-incr": 0.3,
    "chin-width-incr": 0.3,
    "chin-height-incr": 0.32,
    "chin-prominent-incr": 0.26,
    "chin-jaw-drop-incr": 0.22,
    "nose-scale-horiz-incr": 0.22,
    "nose-scale-vert-incr": 0.3,
    "nose-scale-depth-incr": 0.26,
    "nose-hump-incr": 0.3,
    "nose-point-up": 0.3,
    "nose-point-width-incr": 0.3,
    "nose-width2-incr": 0.26,
    "nose-flaring-incr": 0.26,
    "mouth-scale-horiz-incr": 0.32,
    "mouth-upperlip-volume-incr": 0.26,
    "mouth-lowerlip-volume-incr": 0.26,
    "mouth-cupidsbow-incr": 0.3,
    "mouth-trans-up": 0.27,
    "eyebrows-trans-up": 0.3,
    "eyebrows-angle-up": 0.3,
    "neck-scale-horiz-incr": 0.15,
    "head-scale-depth-incr": 0.15,
    "nose-greek-incr": 0.25,
    "nose-curve-convex": 0.2,
    "mouth-lowerlip-height-incr": 0.2,
    "mouth-philtrum-volume-incr": 0.2,
    "chin-bones-incr": 0.25,
    "chin-prognathism-incr": 0.12,
    "chin-cleft-incr": 0.2,
    "forehead-trans-forward": 0.15,
    "eyebrows-trans-forward": 0.25,
    "head-fat-incr": 0.12,
    "nose-volume-incr": 0.18,
    "nose-width1-incr": 0.2,
    "nose-width3-incr": 0.2,
    "nose-trans-up": 0.15,
    "nose-base-up": 0.2,
    "nose-nostrils-angle-up": 0.2,
    "nose-septumangle-incr": 0.2,
    "mouth-scale-vert-incr": 0.15,
    "mouth-upperlip-height-incr": 0.2,
    "mouth-upperlip-width-incr": 0.2,
    "mouth-lowerlip-width-incr": 0.2,
    "mouth-cupidsbow-width-incr": 0.2,
}
_SPREAD_BOTH: dict[str, float] = {
    "cheek-bones-incr": 0.3,
    "cheek-volume-incr": 0.22,
    "eye-scale-incr": 0.3,
    "eye-trans-out": 0.3,
    "eye-trans-up": 0.24,
    "eye-corner1-up": 0.22,
    "eye-corner2-up": 0.26,
    "eye-eyefold-up": 0.22,
    "ear-scale-incr": 0.22,
    "ear-wing-incr": 0.22,
    "ear-lobe-incr": 0.25,
    "ear-trans-up": 0.15,
    "ear-shape-round": 0.25,
    "cheek-inner-incr": 0.18,
    "cheek-trans-up": 0.18,
    "eye-height1-incr": 0.2,
    "eye-height2-incr": 0.25,
    "eye-height3-incr": 0.2,
    "eye-push1-out": 0.15,
    "eye-push2-out": 0.15,
    "eye-epicanthus-out": 0.25,
    "eye-eyefold-angle-up": 0.22,
}

_SHAPE_VARIETY = 2.7
"""Largest shape change over the spread in the tables."""

_TONES: tuple[Colour, ...] = (
    (0.885, 0.725, 0.635),
    (0.850, 0.665, 0.560),
    (0.780, 0.580, 0.455),
    (0.670, 0.465, 0.340),
    (0.515, 0.340, 0.240),
    (0.370, 0.238, 0.170),
    (0.215, 0.135, 0.100),
)
_HAIR: dict[str, Colour] = {
    "black": (0.085, 0.075, 0.07),
    "dark brown": (0.17, 0.115, 0.085),
    "brown": (0.29, 0.195, 0.13),
    "light brown": (0.42, 0.31, 0.21),
    "fair": (0.60, 0.48, 0.33),
    "red": (0.45, 0.22, 0.11),
}
_EYES: tuple[Colour, ...] = (
    (0.17, 0.10, 0.06),
    (0.27, 0.17, 0.09),
    (0.34, 0.30, 0.18),
    (0.33, 0.38, 0.36),
    (0.29, 0.35, 0.40),
)
_FRAMES: tuple[Colour, ...] = ((0.05, 0.05, 0.05), (0.20, 0.11, 0.06), (0.30, 0.26, 0.22), (0.08, 0.10, 0.20))
HAIRSTYLES = ("shaved", "buzz", "crop", "side", "back", "curly", "afro", "bob", "long", "wavy", "tied")
"""Hairstyles: stubble, a few millimetres, forward from the crown, parted, swept back, short curls, round
coils, to the jaw, straight below the shoulders, wavy to the shoulders, and drawn back into a knot."""
GLASSES = ("", "round", "square", "rimless")
"""No glasses, or the form of their frames."""


def stream(*key: object) -> np.random.Generator:
    """Return the random generator of a key, the same on every machine.

    Keys of people begin with their purpose: synthfaces' with its seed, a number, those of corpora for
    pre-training with a word. So no person is in both, whatever the seeds.
    """
    text = "\x1f".join(str(part) for part in ("synthfaces", *key))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


@dataclass(frozen=True)
class Person:
    """An identity.

    Attributes:
        gender: 0 female to 1 male, in anny's scale turned so that 1 is male.
        ancestry: Shares of anny's african, asian, caucasian; their sum is 1, single ones may be below 0.
        build: anny's weight phenotype, [0, 1].
        muscle: anny's muscle phenotype, [0, 1].
        changes: Local shape changes.
        asymmetry: Share by which the left facial actions exceed the right ones.
        skin, hair, eyes, lips: Colours, sRGB in [0, 1].
        blush: Redness of cheeks, nose and ears, [0, 1].
        freckles: Freckles and small moles, [0, 1].
        mottle: Unevenness of the skin's tone, [0, 1].
        oil: Gloss of forehead, nose and cheeks, [0, 1].
        eye_shadows: Darkness under the eyes, [0, 1].
        makeup: Lids, lashes and lips made up, [0, 1].
        hairstyle: One of `HAIRSTYLES`.
        length: Length of the hair over the usual one of its hairstyle, about 1.
        volume: Height of the hair over the scalp, over the usual one of its hairstyle, about 1.
        curl: From straight, 0, to coils, 1.
        parting: Position of the parting, −1 far right of the person to 1 far left.
        fringe: Length of the hair over the forehead, 0 none to 1 down to the brows.
        hairline: Distance by which the hairline comes down the forehead, cm.
        baldness: Distance by which it recedes by the age of 70, cm.
        brow: Thickness of the brows, about 1.
        lashes: Length of the lashes, about 1.
        stubble: Darkness of the shaven beard as an adult, [0, 1].
        beard, moustache: Fullness of the beard and the moustache as an adult, [0, 1].
        glasses: One of `GLASSES`.
        frames: Colour of their frames, sRGB.
        ageing_rate: Rate of ageing, about 1.
        grey_onset: Age at which grey hair starts.
        noise_offset: Position of this skin in the noise, 3 numbers.
        hair_seed: Seed of the strands.
    """

    gender: float
    ancestry: tuple[float, float, float]
    build: float
    muscle: float
    changes: Mapping[str, float] = field(repr=False)
    asymmetry: float
    skin: Colour
    hair: Colour
    eyes: Colour
    lips: Colour
    blush: float
    freckles: float
    mottle: float
    oil: float
    eye_shadows: float
    makeup: float
    hairstyle: str
    length: float
    volume: float
    curl: float
    parting: float
    fringe: float
    hairline: float
    baldness: float
    brow: float
    lashes: float
    stubble: float
    beard: float
    moustache: float
    glasses: str
    frames: Colour
    ageing_rate: float
    grey_onset: float
    noise_offset: tuple[float, float, float]
    hair_seed: int

    def phenotype(self, years: float) -> dict[str, float]:
        """Return anny's phenotype at an age in years."""
        african, asian, caucasian = self.ancestry
        return {
            "gender": 1 - self.gender,
            "age": age_phenotype(years),
            "weight": self.build,
            "muscle": self.muscle,
            "height": 0.5,
            "proportions": 0.5,
            "african": african,
            "asian": asian,
            "caucasian": caucasian,
        }

    def shape_changes(self, years: float, further: Mapping[str, float]) -> dict[str, float]:
        """Return local changes at an age: the person's own, sagging, and `further` ones added."""
        # Adult differences of bone fade towards infancy.
        grown = float(np.clip(0.8 + years / 80, 0.8, 1))
        total = {name: value * grown for name, value in self.changes.items()}
        sag = sagging(years, self.ageing_rate)
        for name, value in SAG.items():
            total[name] = total.get(name, 0.0) + sag * value
        for name, value in further.items():
            total[name] = total.get(name, 0.0) + value
        return {name: min(max(float(value), -2.2), 2.2) for name, value in total.items()}


def draw_person(*key: object) -> Person:
    """Draw the identity that belongs to a key (seed, set, subject)."""
    random = stream("person", *key)
    main = random.choice(3, p=(0.33, 0.30, 0.37))
    shares = random.dirichlet((0.35, 0.35, 0.35)) * 0.4
    shares[main] += 0.6
    african, asian, caucasian = (float(share) for share in shares)
    # anny's ancestries are means of many people, who differ from all people's mean by more than these do.
    beyond = random.uniform(2.0, 3.2)
    ancestry = (
        1 / 3 + beyond * (african - 1 / 3),
        1 / 3 + beyond * (asian - 1 / 3),
        1 / 3 + beyond * (caucasian - 1 / 3),
    )
    male = float(random.random() < 0.5)
    gender = float(np.clip(abs(male - random.beta(1.2, 8)), 0, 1))

    changes = {name: float(_within(random, spread)) for name, spread in _SPREAD.items()}
    # anny's mouth at rest looks sullen.
    changes["mouth-angles-up"] = float(0.22 + _within(random, 0.15))
    for name, spread in _SPREAD_BOTH.items():
        value = _within(random, spread)
        for side in "lr":
            changes[f"{side}-{name}"] = float(value + _within(random, 0.05))

    darkness = np.clip(
        0.75 * ancestry[0] + 0.33 * ancestry[1] + 0.14 * ancestry[2] + random.uniform(-0.28, 0.28), 0, 1
    )
    skin = _palette(_TONES, float(darkness))
    skin = _tint(skin, (1.0, 1.0 + random.normal(0, 0.02), 1.0 - 0.05 * asian + random.normal(0, 0.045)))
    fair = caucasian > 0.6
    hair_name = random.choice(
        list(_HAIR), p=(0.08, 0.22, 0.22, 0.19, 0.20, 0.09) if fair else (0.62, 0.28, 0.10, 0, 0, 0)
    )
    eye_index = int(random.choice(5, p=(0.15, 0.25, 0.2, 0.15, 0.25))) if fair else int(random.random() < 0.3)
    makeup = float((1 - male) * np.clip(random.uniform(-0.8, 1.2), 0, 1))
    red = float(random.normal(0, 0.05))
    lips = (
        skin[0] * (0.84 + 0.02 * makeup),
        skin[1] * (0.62 - 0.14 * makeup - red),
        skin[2] * (0.65 - 0.12 * makeup - red),
    )
    odds = _hairstyle_odds(male > 0.5, african > 0.6)
    bearded = float(male * (random.random() < 0.48))
    return Person(
        gender=gender,
        ancestry=ancestry,
        build=float(np.clip(random.normal(0.5, 0.18), 0.2, 0.95)),
        muscle=float(np.clip(random.normal(0.5, 0.18), 0.1, 0.9)),
        changes=changes,
        asymmetry=float(random.normal(0, 0.05)),
        skin=skin,
        hair=_tint(_HAIR[str(hair_name)], tuple(random.uniform(0.8, 1.3) + random.normal(0, 0.03, 3))),
        eyes=_tint(_EYES[eye_index], tuple(1 + random.normal(0, 0.08, 3))),
        lips=lips,
        blush=float(random.uniform(0.15, 1)),
        freckles=float(
            random.random() ** (1 if hair_name == "red" else 4) * (1.0 if darkness < 0.3 else 0.4)
        ),
        mottle=float(random.uniform(0.4, 1)),
        oil=float(random.uniform(0.1, 1)),
        eye_shadows=float(random.uniform(0, 1)),
        makeup=makeup,
        hairstyle=str(random.choice(list(odds), p=list(odds.values()))),
        length=float(random.uniform(0.75, 1.25)),
        volume=float(random.uniform(0.7, 1.3)),
        curl=float(np.clip(random.beta(0.9, 4.0) * (1 - 0.7 * asian) + 0.55 * african, 0, 1)),
        parting=float(
            np.clip(random.choice([-0.45, 0.45, 0.0], p=(0.4, 0.35, 0.25)) + random.normal(0, 0.12), -1, 1)
        ),
        fringe=float(random.choice([0.0, 0.35, 0.7, 1.0], p=(0.55, 0.2, 0.15, 0.1))),
        hairline=float(np.clip(random.normal(1.1, 0.7), -0.4, 2.6)),
        baldness=float(random.uniform(0.5, 6.0) if male > 0.5 else random.uniform(0, 0.6)),
        brow=float(random.uniform(0.35, 1.25) + 0.25 * male),
        lashes=float(random.uniform(0.55, 1.2) + 0.25 * (1 - male)),
        stubble=float(male * random.choice([0.05, 0.25, 0.5, 0.9], p=(0.25, 0.35, 0.25, 0.15))),
        beard=float(bearded * (random.random() < 0.75) * random.uniform(0.15, 1)),
        moustache=float(bearded * random.uniform(0.55, 1)),
        glasses=str(random.choice(GLASSES, p=(0.78, 0.07, 0.09, 0.06))),
        frames=_palette(_FRAMES, float(random.random())),
        ageing_rate=float(np.clip(random.normal(1, 0.1), 0.8, 1.2)),
        grey_onset=float(np.clip(random.normal(40, 6), 28, 55)),
        noise_offset=(
            float(random.uniform(0, 60)),
            float(random.uniform(0, 60)),
            float(random.uniform(0, 60)),
        ),
        hair_seed=int(random.integers(1 << 30)),
    )


def _hairstyle_odds(male: bool, coiled: bool) -> dict[str, float]:
    """Return the probability of each hairstyle."""
    if male and coiled:
        return {"shaved": 0.2, "buzz": 0.45, "curly": 0.2, "afro": 0.15}
    if male:
        return {
            "shaved": 0.06,
            "buzz": 0.14,
            "crop": 0.25,
            "side": 0.28,
            "back": 0.12,
            "curly": 0.1,
            "wavy": 0.05,
        }
    if coiled:
        return {"buzz": 0.06, "curly": 0.2, "afro": 0.26, "tied": 0.3, "wavy": 0.1, "long": 0.08}
    return {"crop": 0.03, "side": 0.05, "curly": 0.05, "bob": 0.2, "long": 0.26, "wavy": 0.24, "tied": 0.17}


def _within(random: np.random.Generator, spread: float) -> float:
    """Draw a number of ±`_SHAPE_VARIETY` spreads, oftener near the ends than in the middle.

    Beyond them parts no longer fit each other; with most of them near the middle, as normal numbers would be,
    a face recogniser takes different people for one.
    """
    return spread * _SHAPE_VARIETY * float(np.sin(random.uniform(-np.pi / 2, np.pi / 2)))


def _palette(colours: tuple[Colour, ...], place: float) -> Colour:
    at = place * (len(colours) - 1)
    low = min(int(at), len(colours) - 2)
    a, b = np.array(colours[low]), np.array(colours[low + 1])
    r, g, blue = a + (b - a) * (at - low)
    return float(r), float(g), float(blue)


def _tint(colour: Colour, factors: tuple[float, ...]) -> Colour:
    r, g, b = np.clip(np.array(colour) * np.array(factors), 0, 1)
    return float(r), float(g), float(b)
