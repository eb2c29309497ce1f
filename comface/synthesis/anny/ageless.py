"""What looks like age in renderings and isn't tied to it in photographs: drawn for each image instead.

In a rendering the age shows in much beside shape and skin: hair turns grey and recedes, children have no
beards. People dye their hair and shave, and photographs of one person are years apart in light, clothes and
film. A network that learns ageing from renderings takes whatever is easiest. Each name of `AGELESS` unties
one of these from the age: it changes from image to image, whatever the age.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from comface_bench.comface.synthesis.anny.person import NECKLINES, draw_person, stream

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.person import Person, State

    Untie = Callable[[Person, State, Person, np.random.Generator], tuple[Person, State]]


def _hair_colour(
    person: Person, state: State, other: Person, random: np.random.Generator
) -> tuple[Person, State]:
    """Draw the share of grey hair, none for half of the images, and how light the other hair is."""
    del other
    grey = max(0.0, float(random.uniform(-1, 1)))
    # Hair greys over 30 years from the onset on.
    onset = state.years - 30 * grey if grey else 200.0
    r, g, b = (min(1.0, colour * float(random.uniform(0.7, 1.4))) for colour in person.hair)
    return dataclasses.replace(person, grey_onset=onset, hair=(r, g, b)), state


def _hair_loss(
    person: Person, state: State, other: Person, random: np.random.Generator
) -> tuple[Person, State]:
    """Draw the hairline, which no longer recedes."""
    del other
    line = float(np.clip(random.normal(0.8, 1.1), -2.0, 2.6))
    return dataclasses.replace(person, baldness=0.0, hairline=line), state


def _hairstyle(
    person: Person, state: State, other: Person, random: np.random.Generator
) -> tuple[Person, State]:
    """Take parting and fringe, in half of the images the style, of somebody else; draw length and volume."""
    style = person.hairstyle if random.random() < 0.5 else other.hairstyle
    length, volume = random.uniform(0.6, 1.4, 2)
    changed = dataclasses.replace(
        person,
        hairstyle=style,
        length=float(length),
        volume=float(volume),
        fringe=other.fringe,
        parting=other.parting,
    )
    return changed, state


def _beard(person: Person, state: State, other: Person, random: np.random.Generator) -> tuple[Person, State]:
    """Shave everybody: children can't have beards, so nobody has."""
    del other, random
    return dataclasses.replace(person, beard=0.0, moustache=0.0, stubble=0.0), state


def _skin(person: Person, state: State, other: Person, random: np.random.Generator) -> tuple[Person, State]:
    """Take what the skin is like, beside its colour and folds, of somebody else; nobody is made up."""
    changed = dataclasses.replace(
        person,
        noise_offset=other.noise_offset,
        mottle=other.mottle,
        oil=other.oil,
        blush=other.blush,
        eye_shadows=other.eye_shadows,
        freckles=person.freckles * float(random.random()),
        makeup=0.0,
    )
    return changed, state


def _glasses(
    person: Person, state: State, other: Person, random: np.random.Generator
) -> tuple[Person, State]:
    """Take glasses off: small children have none."""
    del other, random
    return dataclasses.replace(person, glasses=""), state


def _clothes(
    person: Person, state: State, other: Person, random: np.random.Generator
) -> tuple[Person, State]:
    """Draw clothes anew; they stay the same within a record otherwise."""
    del other
    r, g, b = np.clip(random.uniform(0.08, 0.75) + random.normal(0, 0.1, 3), 0.03, 0.9)
    cloth = (float(r), float(g), float(b))
    return person, dataclasses.replace(state, cloth=cloth, neckline=str(random.choice(NECKLINES)))


AGELESS: Final[Mapping[str, Untie]] = {
    "hair-colour": _hair_colour,
    "hair-loss": _hair_loss,
    "hairstyle": _hairstyle,
    "beard": _beard,
    "skin": _skin,
    "glasses": _glasses,
    "clothes": _clothes,
}
"""Name → function from a person, a state at an age, somebody else and random numbers to person and state."""


def untie(person: Person, state: State, names: tuple[str, ...], *key: object) -> tuple[Person, State]:
    """Draw some of what looks like age anew.

    Args:
        person: An identity.
        state: Its state, with the age.
        names: Of `AGELESS`.
        key: Of the image; each name has random numbers of its own, so that others change none of it.
    """
    for name in names:
        key_of_name = ("ageless", *key, name)
        person, state = AGELESS[name](
            person, state, draw_person(*key_of_name), stream("untied", *key_of_name)
        )
    return person, state
