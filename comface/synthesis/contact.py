"""Contact sheets: one person a row, one label a column, so that a label's effect can be looked at."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

import numpy as np

from comface_bench.comface.synthesis.anny.labels import UNITS
from comface_bench.comface.synthesis.anny.person import State, draw_person, stream
from comface_bench.comface.synthesis.anny.scene import draw_view

if TYPE_CHECKING:
    from pathlib import Path

Kind = Literal["age", "units", "smile", "weight"]


def columns(kind: Kind) -> list[State]:
    """Return the states of a sheet's columns."""
    if kind == "age":
        return [State(years=years) for years in (0, 2, 5, 9, 13, 18, 27, 40, 52, 62, 69)]
    if kind == "units":
        return [State(years=28)] + [State(years=28, units={unit: 5}) for unit in UNITS]
    if kind == "smile":
        return [State(years=28, units={12: level, 6: level, 25: 0.7 * level}) for level in range(6)]
    return [State(years=50, fluid=kilograms) for kilograms in (0, 0.5, 1, 1.5, 2, 3, 4)]


def render_contact_sheet(
    out: Path, kind: Kind, *, seed: int = 1, rows: int = 4, size: int = 112, varied: bool = False
) -> None:
    """Render a sheet of faces to an image file.

    Args:
        out: File to write; its suffix gives the format.
        kind: `age` in years, `units` (neutral, then each of the 12 action units at 5), `smile`
            (AU 6, 12, 25 from 0 to 5), or `weight` (0 to 4 kg of fluid).
        seed: Seed of the people and their views.
        rows: Number of people.
        size: Height and width of each face in pixels.
        varied: Pose, light, camera and background change from face to face, as in the set; else each
            row has one view, so that nothing but the label changes.

    Raises:
        MissingExtraError: anny isn't installed.
    """
    from PIL import Image

    from comface_bench.comface.synthesis.anny.head_model import load_head
    from comface_bench.comface.synthesis.anny.renderer import render

    head, states = load_head(), columns(kind)
    sheet = []
    for row in range(rows):
        person = draw_person(seed, "sheet", row)
        faces = []
        for column, state in enumerate(states):
            view = draw_view(stream(seed, "sheet", kind, row, column if varied else 0))
            if not varied:
                view = dataclasses.replace(view, yaw=view.yaw / 2, noise=1.0, blur=0.5)
            faces.append(render(head, person, state, view, size))
        sheet.append(np.concatenate(faces, axis=1))
    Image.fromarray(np.concatenate(sheet, axis=0)).save(out, quality=88)
