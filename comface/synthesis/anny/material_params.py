"""Material parameters of skin, eyes, hair and clothes for a person in a state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from comface_bench.comface.synthesis.anny.arrays import srgb_to_linear
from comface_bench.comface.synthesis.anny.hair_generation import natural_curl
from comface_bench.comface.synthesis.anny.head_model import EYE_LEFT, EYE_RIGHT
from comface_bench.comface.synthesis.anny.labels import MAX_INTENSITY, sagging
from comface_bench.comface.synthesis.anny.person import stream
from comface_bench.comface.synthesis.anny.shader_library import material_struct
from comface_bench.comface.synthesis.anny.strand_set import GREY_HAIR, grey_hair_share, hair_colour
from comface_bench.comface.synthesis.anny.uv_maps import WRINKLES
from comface_bench.comface.synthesis.anny.warp_runtime import load_warp

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats
    from comface_bench.comface.synthesis.anny.head_model import HeadModel
    from comface_bench.comface.synthesis.anny.person import Person, State


def material_params(head: HeadModel, person: Person, state: State) -> Any:
    """Return the `Material` of a person in a state."""
    wp = load_warp()
    years, sag = state.years, sagging(state.years, person.ageing_rate)
    adult = float(np.clip((years - 12) / 7, 0, 1))
    grey = grey_hair_share(person, years)
    hair = hair_colour(person, years) * (1 - grey) + grey * srgb_to_linear(GREY_HAIR)
    beard_grey = grey_hair_share(person, years, -3.0)
    beard = (0.7 * hair_colour(person, years)) * (1 - beard_grey) + beard_grey * srgb_to_linear(GREY_HAIR)
    skin = srgb_to_linear(person.skin) * (1 - 0.04 * sag)
    # Lips take their colour from the skin's and fade with age.
    lips = srgb_to_linear(person.lips) * (1 - 0.12 * sag)
    gaze = np.array([np.sin(state.gaze[0]), np.sin(state.gaze[1]), 1.0])
    infant = float(np.clip(1 - years / 8, 0, 1))
    material = material_struct()()
    colours = {
        "skin": skin,
        "lips": lips,
        "hair": hair,
        "beard": beard * 0.8,
        "iris": srgb_to_linear(person.eyes),
        "white": srgb_to_linear((0.86 - 0.04 * sag, 0.82 - 0.06 * sag, 0.80 - 0.11 * sag)),
        "teeth": srgb_to_linear((0.80, 0.755 - 0.05 * sag, 0.68 - 0.10 * sag)),
        "cloth": srgb_to_linear(state.cloth),
        "noise_offset": person.noise_offset,
        "gaze": gaze / np.linalg.norm(gaze),
    }
    for name, value in colours.items():
        setattr(material, name, wp.vec3(*(float(v) for v in value)))
    for name, eye in (("eye_left", EYE_LEFT), ("eye_right", EYE_RIGHT)):
        own = head.canonical[head.part == eye]
        centre = (own.min(axis=0) + own.max(axis=0)) / 2
        setattr(material, name, wp.vec4(*(float(v) for v in centre), float(np.ptp(own[:, 1]) / 2)))
    scalars = {
        "blush": person.blush + 0.25 * infant,
        "freckles": person.freckles * float(np.clip(years / 6, 0, 1)),
        "mottle": person.mottle * (0.6 + 0.4 * adult) + 0.25 * sag,
        "oil": person.oil * (0.4 + 0.6 * adult) * (1 - 0.4 * sag),
        "eye_shadows": 0.1 + 0.15 * adult + 0.75 * person.eye_shadows * adult + 0.5 * sag,
        "makeup": person.makeup * adult,
        "stubble": max(0.55 * person.stubble, 0.8 * person.beard) * float(np.clip((years - 15) / 6, 0, 1)),
        "moustache": 0.8 * person.moustache * float(np.clip((years - 15) / 6, 0, 1)),
        "sheen": 1 - 0.85 * float(np.clip(natural_curl(person) / 0.7, 0, 1)),
        "brow": min(1.0, 0.75 * person.brow * (0.3 + 0.7 * float(np.clip(years / 14, 0, 1)))),
        "bag": float(np.clip(0.16 * state.fluid + 0.35 * sag, 0, 1.2)),
        "sag": sag,
        "spots": float(np.clip(sag - 0.3, 0, 1)),
        "fine": 0.9 * sag,
        "pores": 0.03 + 0.05 * adult * (0.5 + 0.5 * person.oil) + 0.03 * sag,
    }
    for name, number in scalars.items():
        setattr(material, name, float(number))
    return material


def wrinkle_depths(person: Person, state: State) -> Floats:
    """Return the depth (F,) of each of `WRINKLES`, by age and action units."""
    sag = sagging(state.years, person.ageing_rate)
    # A child's skin is too plump to crease.
    firm = 0.4 + 0.6 * float(np.clip(state.years / 20, 0, 1))
    depths = []
    for wrinkle, own in zip(
        WRINKLES.values(), stream("folds", person.hair_seed).uniform(0.55, 1.3, len(WRINKLES)), strict=True
    ):
        acted = sum(full * state.units.get(unit, 0) / MAX_INTENSITY for unit, full in wrinkle.units)
        depths.append(min(own * wrinkle.age * sag + firm * acted, 1.4))
    return np.array(depths, np.float32)
