"""Colour and gloss of the face's surface: skin, lips, brows, beard, scalp, cloth, and all other parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.synthesis.anny import body
from comface_bench.comface.synthesis.anny.atlas import FOLDS, face_atlas
from comface_bench.comface.synthesis.anny.features import eye_colour, teeth_colour, tongue_colour
from comface_bench.comface.synthesis.anny.hair import hair_colour, hair_cover
from comface_bench.comface.synthesis.anny.labels import MAX_INTENSITY, greyness, sagging
from comface_bench.comface.synthesis.anny.noise import linear, noise, smooth, triple

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats, Ints
    from comface_bench.comface.synthesis.anny.person import Person
    from comface_bench.comface.synthesis.anny.state import State


@dataclass(frozen=True)
class Surface:
    """Material at points: linear albedo (N, 3), gloss (N,), its sharpness (N,), softness of skin (N,)."""

    albedo: Floats
    gloss: Floats
    sharpness: Floats
    softness: Floats


def paint(
    part: Ints, canonical: Floats, masks: Floats, eye_places: Floats, person: Person, state: State
) -> Surface:
    """Return the material at points of the surface.

    Args:
        part: Part of the mesh at each point (N,).
        canonical: Template place of each point (N, 3), cm.
        masks: Lips, eyelids, ears, mouth cavity (N, 4).
        eye_places: For points of the eyes, the place relative to the eye's centre over its radius (N, 3).
        person: Whose face.
        state: At what age, in what expression.
    """
    count = len(part)
    albedo = np.zeros((count, 3), np.float32)
    gloss = np.full(count, 0.03, np.float32)
    sharpness = np.full(count, 12.0, np.float32)
    softness = np.zeros(count, np.float32)

    on = part == body.SKIN
    albedo[on], gloss[on], softness[on] = _Skin(canonical[on], masks[on], person, state).paint()
    on = (part == body.EYE_LEFT) | (part == body.EYE_RIGHT)
    albedo[on], gloss[on], sharpness[on] = eye_colour(eye_places[on], person, state), 0.16, 220.0
    on = part == body.TEETH
    albedo[on], gloss[on], sharpness[on] = teeth_colour(canonical[on], state.years), 0.12, 40.0
    on = part == body.TONGUE
    albedo[on], gloss[on] = tongue_colour(canonical[on]), 0.08
    albedo[part == body.LASHES] = linear((0.06, 0.05, 0.05))
    on = part == body.HAIR
    albedo[on] = hair_colour(canonical[on], person, state.years)
    return Surface(albedo, gloss, sharpness, softness)


class _Skin:
    """The skin of one person in one state at points of the template: layers over layers of colour."""

    def __init__(self, places: Floats, masks: Floats, person: Person, state: State) -> None:
        self.places, self.person, self.state = places, person, state
        self.lip_mask, self.lids, self.ears, self.inside = masks.T
        self.maps = face_atlas().look_up(places)
        self.front = smooth((places[:, 2] - 7.0) / 2.5)
        self.sag = sagging(state.years, person.pace)
        self.at = places + triple(*person.offset)
        self.broad, self.middle = noise(self.at / 3.5), noise(self.at / 1.1)
        self.fine, self.pores = noise(self.at / 0.38), noise(self.at / 0.16)
        self.lips = np.clip(self.lip_mask * 1.25 - 0.1, 0, 1)

    def paint(self) -> tuple[Floats, Floats, Floats]:
        """Return albedo (N, 3), gloss (N,) and how much of it is bare skin (N,)."""
        bag = np.clip(0.16 * self.state.fluid + 0.35 * self.sag, 0, 1) * self.maps["bag"] * self.front
        colour = self._complexion()
        colour = colour * (1 - 0.50 * self._creases())[:, None] ** triple(0.85, 1.0, 1.05)
        colour = colour * (1 + bag[:, None] * triple(0.02, -0.10, -0.05))
        colour = _over(colour, self._lip_colour(), self.lips)
        hair = hair_colour(self.places, self.person, self.state.years)
        colour = _over(colour, hair, self._beard())
        colour = _over(colour, self._brow_colour(hair), self._brows())
        colour = colour * (1 - 0.30 * self.lids[:, None] * triple(0.7, 1, 1))
        cavity = smooth((self.inside - 0.5) * 3)
        colour = _over(colour, linear((0.42, 0.16, 0.15)), cavity)
        scalp = self._scalp()
        colour = _over(colour, hair, scalp)
        cloth, woven = self._cloth()
        colour = _over(colour, woven, cloth)

        shine = 0.035 + 0.03 * np.clip(self.fine, 0, 1) + 0.16 * self.lips
        shine = shine + 0.03 * self.maps["blush"] * self.front
        shine = shine * (1 - 0.5 * scalp) * (1 - cloth) + 0.25 * bag
        bare = 1 - np.maximum(np.maximum(scalp, cloth), cavity)
        return np.clip(colour, 0.002, 1), np.clip(shine, 0, 1), bare

    def _complexion(self) -> Floats:
        """Return the tone with its mottle, blush, dark eye sockets, freckles and liver spots."""
        person, maps, front = self.person, self.maps, self.front
        tone = person.mottle * (0.10 * self.broad + 0.06 * self.middle + 0.05 * self.fine)
        tone = (1 + tone + 0.05 * self.pores) * (1 - 0.05 * self.sag)
        colour = linear(person.skin) * tone[:, None]
        infant = 0.35 if self.state.years < 6 else 0.0
        red = maps["blush"] * front * (person.blush * (0.30 + 0.1 * self.middle) + infant) + 0.25 * self.ears
        colour = colour * (1 - red[:, None] * triple(0.04, 0.30, 0.26))
        socket = (0.22 + 0.10 * self.sag) * maps["socket"] * front
        colour = colour * (1 - socket[:, None] * triple(0.5, 0.85, 0.8))
        freckles = smooth((noise(self.at / 0.22 + 11.0) - 0.35) * 4) * person.freckles * front
        freckles = freckles * smooth((75 - self.places[:, 1]) / 4)
        liver = smooth((noise(self.at / 0.9 + 23.0) - 0.5) * 6) * np.clip(self.sag - 0.35, 0, 1)
        spots = np.clip(0.4 * freckles + 0.35 * liver, 0, 0.6)
        spotted: Floats = colour * (1 - spots[:, None] * triple(0.6, 0.85, 1.0))
        return spotted

    def _creases(self) -> Floats:
        """Return the depth of folds and fine lines, 0 to 1.3, by age and action units."""
        depth = np.zeros(len(self.places), np.float32)
        units = self.state.units
        for name, fold in FOLDS.items():
            acted = sum(full * units.get(unit, 0) / MAX_INTENSITY for unit, full in fold.units)
            depth = depth + min(fold.age * self.sag + acted, 1.3) * self.maps[name]
        # Fine lines of old skin lie across the face.
        lines = np.clip(noise(self.at * triple(0.5, 3.2, 0.5) + 5.0), 0, 1)
        depth = depth + np.clip(self.sag - 0.15, 0, 1) * 0.30 * lines * self.front
        creases: Floats = np.clip(depth, 0, 1.3) * self.front
        return creases

    def _lip_colour(self) -> Floats:
        grain = 1 + 0.10 * self.fine + 0.08 * noise(self.at * triple(6, 1, 1))
        # The line where the lips meet is dark.
        meeting = np.exp(-0.5 * ((self.places[:, 1] - 66.15) / 0.10) ** 2)
        colour: Floats = linear(self.person.lips) * (grain * (1 - 0.45 * meeting))[:, None]
        return colour * (1 - 0.15 * self.sag)

    def _beard(self) -> Floats:
        person = self.person
        adult = float(np.clip((self.state.years - 13) / 6, 0, 1))
        upper = self.maps["moustache"] * max(person.moustache, person.stubble)
        beard = np.maximum(self.maps["beard"] * person.stubble, upper) * self.front * adult
        beard = beard * (1 - self.lips) * (0.85 + 0.2 * self.fine + 0.2 * self.pores)
        cover: Floats = np.clip(0.85 * beard, 0, 0.92)
        return cover

    def _brows(self) -> Floats:
        along, away = self.maps["brow-along"], self.maps["brow-distance"]
        width = self.person.brow * (1.05 - 0.75 * along**1.6) * np.clip(along * 12 + 0.55, 0, 1)
        strands = 0.75 + 0.35 * noise(self.at * triple(4.0, 9.0, 3.0))
        grown = 0.35 + 0.5 * float(np.clip(self.state.years / 14, 0, 1))
        cover: Floats = np.clip(smooth((width - away) / 0.16 + 0.5) * strands * self.front * grown, 0, 0.92)
        return cover

    def _brow_colour(self, hair: Floats) -> Floats:
        # Brows are darker than the hair and grey a dozen years later.
        dark = linear((0.10, 0.07, 0.05)) * (1 + 2 * greyness(self.state.years, self.person.grey_onset + 12))
        return 0.5 * hair + 0.5 * dark

    def _scalp(self) -> Floats:
        cover = hair_cover(self.places, self.ears, self.person, self.state.years)
        hair = smooth((cover + 0.30 * self.middle + 0.25 * self.fine) / 1.2 + 0.5)
        thin = np.clip(self.sag * self.person.baldness / 9, 0, 0.75)
        scalp: Floats = hair * (1 - thin * smooth((self.places[:, 1] - 80) / 3))
        return scalp

    def _cloth(self) -> tuple[Floats, Floats]:
        """Return where clothes cover the shoulders, outside a round neck, and their colour."""
        radius = np.hypot(self.places[:, 0], self.places[:, 2] - 2.5)
        cover = smooth((radius - 7.6 - 0.08 * self.middle) * 3) * smooth((58.5 - self.places[:, 1]) * 2)
        weave = 1 + 0.12 * noise(self.at / 0.12) + 0.10 * self.broad
        return cover, linear(self.state.cloth) * weave[:, None]


def _over(below: Floats, above: Floats, share: Floats) -> Floats:
    return below + share[:, None] * (above - below)
