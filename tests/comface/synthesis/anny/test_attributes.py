"""Each attribute moves what it names, the same way all along its range, and leaves the person a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from comface_bench.comface.synthesis.anny.attributes import ACTIONS, ATTRIBUTES, SHAPES, move
from comface_bench.comface.synthesis.anny.head_model import SKIN, blendshape_weights, head_vertices
from comface_bench.comface.synthesis.anny.labels import UNITS
from comface_bench.comface.synthesis.anny.person import State, draw_person

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats
    from comface_bench.comface.synthesis.anny.head_model import HeadModel

ALPHAS = (-5.0, -2.5, 0.0, 2.5, 5.0)
GEOMETRY = ("age", "weight", "smile", *(f"au{unit}" for unit in UNITS), *ACTIONS, *SHAPES)
COLOURS = tuple(name for name in ATTRIBUTES if name not in GEOMETRY)
BASE = State(years=34.0)

# Where on the template's face (cm: |x|, height) most of an attribute's movement must lie.
REGIONS = {
    "nose": ((0.0, 2.8), (66.5, 75.0)),
    "mouth": ((0.0, 4.0), (62.5, 69.5)),
    "chin": ((0.0, 6.5), (58.5, 66.5)),
    "eyes": ((0.3, 6.5), (69.0, 77.0)),
    "brows": ((0.0, 6.5), (72.5, 80.5)),
    "ears": ((5.5, 11.0), (66.0, 77.0)),
    "neck": ((0.0, 9.0), (50.0, 64.0)),
}
MOVES = {
    "nose-width": "nose",
    "nose-length": "nose",
    "nose-projection": "nose",
    "nose-hump": "nose",
    "nose-tip": "nose",
    "nostrils": "nose",
    "lip-fullness": "mouth",
    "cupids-bow": "mouth",
    "mouth-width": "mouth",
    "mouth-height": "mouth",
    "pucker": "mouth",
    "au12": "mouth",
    "au15": "mouth",
    "au20": "mouth",
    "au25": "mouth",
    "au17": "mouth",
    "chin-length": "chin",
    "chin-prominence": "chin",
    "eye-bags": "eyes",
    "eye-folds": "eyes",
    "eye-closure": "eyes",
    "au5": "eyes",
    "au1": "brows",
    "au2": "brows",
    "au4": "brows",
    "brow-height": "brows",
    "brow-slant": "brows",
    "ear-size": "ears",
    "ear-angle": "ears",
    "double-chin": "neck",
    "neck-width": "neck",
}


_SHAPES: dict[bytes, Floats] = {}
"""Faces by their blendshape weights: many attributes have one and the same face at α = 0."""


def points(head: HeadModel, attribute: str, alpha: float, number: int = 1) -> Floats:
    """Vertices of the face without hair, lashes and shoulders."""
    person, state = move(draw_person("attributes", number), BASE, attribute, alpha)
    key = blendshape_weights(head, person, state).tobytes()
    if key not in _SHAPES:
        kept = (head.part == SKIN) & (head.canonical[:, 1] > 50) & (head.canonical[:, 2] > 0)
        _SHAPES[key] = head_vertices(head, person, state)[kept]
    return _SHAPES[key]


def places(head: HeadModel) -> Floats:
    kept = (head.part == SKIN) & (head.canonical[:, 1] > 50) & (head.canonical[:, 2] > 0)
    return head.canonical[kept]


def test_there_are_at_least_as_many_as_the_papers() -> None:
    assert len(ATTRIBUTES) >= 40
    assert {"age", "weight", "smile", *(f"au{unit}" for unit in UNITS)} <= set(ATTRIBUTES)


@pytest.mark.parametrize("attribute", [name for name in GEOMETRY if name != "age"])
def test_shape_moves_one_way_all_along(head: HeadModel, attribute: str) -> None:
    made = [points(head, attribute, alpha) for alpha in ALPHAS]
    way = made[-1] - made[0]
    assert np.sqrt((way**2).sum(axis=1)).max() > 0.15, "something moves by more than 1.5 mm"
    along = [float(np.sum((shape - made[0]) * way)) for shape in made]
    steps = np.diff(along) / along[-1]
    # anny's shapes are stronger on one side of neutral than on the other.
    assert (steps > 0.03).all(), steps


@pytest.mark.parametrize("attribute", MOVES)
def test_what_moves_is_what_is_named(head: HeadModel, attribute: str) -> None:
    (left, right), (low, high) = REGIONS[MOVES[attribute]]
    x, y, _ = places(head).T
    inside = (np.abs(x) >= left) & (np.abs(x) <= right) & (y >= low) & (y <= high)
    change = points(head, attribute, 5) - points(head, attribute, -5)
    moved = (change**2).sum(axis=1)
    assert moved[inside].sum() > 0.6 * moved.sum()


def test_a_smile_lifts_and_widens_the_corners_of_the_mouth(head: HeadModel) -> None:
    x, y, _ = places(head).T
    corner = (np.abs(np.abs(x) - 2.5) < 0.35) & (np.abs(y - 66.1) < 0.4)
    middle = (np.abs(x) < 0.3) & (np.abs(y - 66.1) < 0.4)
    for attribute in ("au12", "smile"):
        low, high = points(head, attribute, -5), points(head, attribute, 5)
        lifted = high[:, 1] - low[:, 1]
        assert lifted[corner].mean() - lifted[middle].mean() > 0.1
        assert (np.abs(high[corner, 0]) - np.abs(low[corner, 0])).mean() > 0.1
    frown = points(head, "au15", 5)[:, 1] - points(head, "au15", -5)[:, 1]
    assert frown[corner].mean() < -0.1


def test_weight_widens_jaw_and_cheeks_and_leaves_the_nose(head: HeadModel) -> None:
    x, y, _ = places(head).T
    jaw = (np.abs(x) > 4) & (y > 62) & (y < 68)
    nose = (np.abs(x) < 1.0) & (y > 69) & (y < 73)
    widths = []
    for alpha in ALPHAS:
        shape = points(head, "weight", alpha)
        widths.append(np.abs(shape[jaw, 0]).mean())
    assert (np.diff(widths) > 0.02).all()
    low, high = points(head, "weight", -5), points(head, "weight", 5)
    moved = np.abs(high - low).max(axis=1)
    assert moved[nose].mean() < 0.35 * moved[jaw].mean()


def test_age_is_linear_in_years() -> None:
    person = draw_person("attributes", 1)
    years = [move(person, BASE, "age", alpha)[1].years for alpha in ALPHAS]
    assert np.allclose(np.diff(years), np.diff(years)[0])
    assert years[0] == 3.0 and years[-1] == 68.0


def test_units_go_from_nothing_to_full() -> None:
    person = draw_person("attributes", 1)
    for unit in UNITS:
        found = [move(person, BASE, f"au{unit}", alpha)[1].units[unit] for alpha in ALPHAS]
        assert found == [0.0, 1.25, 2.5, 3.75, 5.0]


@pytest.mark.parametrize("attribute", [name for name in GEOMETRY if name not in ("age", "masculinity")])
def test_a_person_stays_nearer_to_themselves_than_to_others(head: HeadModel, attribute: str) -> None:
    """Mean movement over half the range is less than the mean distance between two people."""
    own = np.sqrt(((points(head, attribute, 5) - points(head, attribute, 0)) ** 2).sum(axis=1)).mean()
    others = [
        np.sqrt(((points(head, attribute, 0, 1) - points(head, attribute, 0, n)) ** 2).sum(axis=1)).mean()
        for n in (2, 3)
    ]
    assert own < np.mean(others)


@pytest.mark.parametrize("attribute", COLOURS)
def test_colours_move_one_field_step_by_step(attribute: str) -> None:
    import dataclasses

    made = [move(draw_person("attributes", 5), BASE, attribute, alpha) for alpha in ALPHAS]
    facts = [{**dataclasses.asdict(person), "years": state.years} for person, state in made]
    changing = {name for name in facts[0] if len({repr(one[name]) for one in facts}) > 1}
    assert 1 <= len(changing) <= 2, changing
    for name in changing - {"lips"}:
        values = np.array([np.atleast_1d(one[name]) for one in facts], dtype=float)
        steps = np.diff(values, axis=0)
        assert (steps > 0).all() or (steps < 0).all(), name


def test_a_head_grows_up_and_then_ages_one_way(head: HeadModel) -> None:
    made = [points(head, "age", alpha) for alpha in (-5.0, -4.0, -3.0, 0.0, 2.5, 5.0)]
    heights = [np.ptp(shape[:, 1]) for shape in made[:3]]
    assert (np.diff(heights) > 0.3).all(), "a child's head grows"
    way = made[5] - made[3]
    along = [float(np.sum((shape - made[3]) * way)) for shape in made[3:]]
    steps = np.diff(along) / along[-1]
    assert (steps > 0.2).all(), "an adult's sags"
