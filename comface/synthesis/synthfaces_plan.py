"""The images of synthfaces: subjects, states and labels of each.

Every draw has a stream of its own, named by (seed, set, subject, index), so a larger set holds the
smaller one and any image can be rendered alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from comface_bench.comface.synthesis.anny.labels import UNITS
from comface_bench.comface.synthesis.anny.person import NECKLINES, State, draw_person, stream
from comface_bench.comface.synthesis.anny.scene import draw_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comface_bench.comface.synthesis.anny.person import Person
    from comface_bench.comface.synthesis.anny.scene import View

_OFFICIAL = (*range(1, 14), 16, 17, 18, 21, *range(23, 33))
"""Numbers of DISFA's 27 subjects."""

_EXPRESSIONS: tuple[tuple[int, ...], ...] = (
    (6, 12),
    (6, 12, 25),
    (6, 12, 25, 26),
    (1, 2, 5),
    (1, 2, 5, 25, 26),
    (4, 17),
    (4, 5, 20),
    (1, 4, 15, 17),
    (1, 2, 4, 5, 20, 25),
    (9, 4),
    (9, 17, 15),
    (25, 26),
    (20, 25),
)
_LAB = 0.6  # DISFA is filmed in a laboratory: heads turn less than in family albums
_CLOTHES = (
    (0.10, 0.11, 0.14),
    (0.22, 0.25, 0.33),
    (0.45, 0.15, 0.15),
    (0.78, 0.78, 0.76),
    (0.17, 0.27, 0.21),
    (0.52, 0.46, 0.38),
    (0.40, 0.47, 0.58),
    (0.30, 0.30, 0.31),
)


@dataclass(frozen=True)
class ImageSpec:
    """One image.

    Attributes:
        path: File of the image, relative to the set's root, with slashes.
        person, state, view: Its contents.
        grey: Stored as a single channel.
        label: Intensity by action unit, kilograms, or years.
    """

    path: str
    person: Person
    state: State
    view: View
    grey: bool
    label: dict[int, int] | float


@dataclass(frozen=True)
class Visit:
    """Row of an edema image in its manifest."""

    patient: str
    day: int
    phase: str


def disfa_subjects(count: int) -> list[str]:
    """Return subject names: DISFA's own 27 first, then SN100, SN101, ..."""
    numbers = list(_OFFICIAL[:count]) + list(range(100, 100 + max(0, count - len(_OFFICIAL))))
    return [f"SN{number:03d}" for number in numbers]


def disfa_images(seed: int, subject: str, frames: int) -> Iterator[ImageSpec]:
    """Yield a subject's frames, 1 to `frames`; the label is the intensity 0–5 of each action unit."""
    person = draw_person(seed, "disfa", subject)
    years = float(stream(seed, "disfa", subject, "years").uniform(19, 50))
    for frame in range(1, frames + 1):
        random = stream(seed, "disfa", subject, frame)
        units = _expression(random)
        state = State(years=years, units=units, gaze=_gaze(random), **_clothes(random))
        yield ImageSpec(
            f"DISFA/frames/{subject}/{frame:05d}.jpg", person, state, draw_view(random, _LAB), False, units
        )


def edema_images(seed: int, patient: str, days: int) -> Iterator[tuple[Visit, ImageSpec]]:
    """Yield a patient's days before and after dialysis; the label is the weight in kg."""
    person = draw_person(seed, "edema", patient)
    history = stream(seed, "edema", patient, "history")
    years = float(history.uniform(32, 78))
    dry = float(np.clip(history.normal(56 + 14 * person.gender + 40 * (person.build - 0.5), 6), 38, 110))
    first, gain = dry, float(history.uniform(1.4, 3.0))
    for day in range(1, days + 1):
        random = stream(seed, "edema", patient, day)
        if day > 1:
            dry += float(random.normal(0, 0.35))
        removed = float(np.clip(random.normal(gain, 0.7), 0.5, 4.0))
        rest = float(random.uniform(0, 0.5))
        for phase, fluid in (("pre", rest + removed), ("post", rest)):
            kilograms = round(dry + fluid, 2)
            random = stream(seed, "edema", patient, day, phase)
            units = {12: float(random.choice([0, 0, 0, 1])), 25: float(random.choice([0, 0, 1]))}
            state = State(
                years=years,
                fluid=kilograms - dry,
                tissue=dry - first,
                units=units,
                gaze=_gaze(random),
                **_clothes(random),
            )
            path = f"Edema-A/images/{patient}/D{day}_{phase}.jpg"
            shot = ImageSpec(path, person, state, draw_view(random), False, kilograms)
            yield Visit(patient, day, phase), shot


def fgnet_images(seed: int, subject: str, ages: int) -> Iterator[ImageSpec]:
    """Yield a subject at distinct ages from 0 to 69 years, children more often; the label is the age."""
    person = draw_person(seed, "fgnet", subject)
    random = stream(seed, "fgnet", subject, "ages")
    years = np.arange(70)
    # FG-NET's ages: half are below 13, a tenth above 40.
    odds = np.exp(-years / 17.0) + 0.04
    order = np.argsort(-(np.log(odds) + random.gumbel(size=70)))
    for age in order[:ages]:
        random = stream(seed, "fgnet", subject, int(age))
        units: dict[int, float] = {}
        if random.random() < 0.5:
            # An infant's cheeks would crease.
            smile = float(random.uniform(0, 4)) * min(1.0, 0.4 + age / 10)
            units = {12: smile, 6: 0.7 * smile, 25: float(random.uniform(0, 3))}
        grey = bool(random.random() < 0.15)
        state = State(years=float(age), units=units, gaze=_gaze(random), **_clothes(random))
        path = f"FGNET/images/{subject}A{age:02d}.JPG"
        yield ImageSpec(path, person, state, draw_view(random), grey, float(age))


def _expression(random: np.random.Generator) -> dict[int, int]:
    """Draw intensities of the 12 units: neutral now and then, else an expression, single units, or both."""
    units = dict.fromkeys(UNITS, 0)
    kind = random.random()
    if kind < 0.10:
        return units
    if kind < 0.75:
        for unit in _EXPRESSIONS[int(random.integers(len(_EXPRESSIONS)))]:
            units[unit] = int(random.integers(1, 6))
    share = 0.24 if kind < 0.75 else 0.40
    for unit in UNITS:
        if random.random() < share:
            units[unit] = int(random.integers(1, 6))
    if units[12] and units[15]:
        units[int(random.choice([12, 15]))] = 0
    if units[26] and not units[25]:
        # The jaw drops with the lips apart.
        units[25] = int(random.integers(1, 4))
    return units


def _gaze(random: np.random.Generator) -> tuple[float, float]:
    right, up = np.clip(random.normal(0, (0.10, 0.06)), -0.25, 0.25)
    return float(right), float(up)


def _clothes(random: np.random.Generator) -> dict[str, Any]:
    base = np.array(_CLOTHES[int(random.integers(len(_CLOTHES)))])
    r, g, b = np.clip(base * random.uniform(0.7, 1.2) + random.normal(0, 0.03, 3), 0.03, 0.9)
    return {
        "cloth": (float(r), float(g), float(b)),
        "neckline": str(random.choice(NECKLINES, p=(0.4, 0.25, 0.1, 0.25))),
    }
