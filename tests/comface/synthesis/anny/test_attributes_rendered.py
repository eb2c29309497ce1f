"""Effect of each attribute on the rendered image: visible, in its region, monotonic, and smaller than that of
a change of person."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from comface_bench.comface.synthesis.anny.attributes import ATTRIBUTES, move
from comface_bench.comface.synthesis.anny.head_model import load_head
from comface_bench.comface.synthesis.anny.person import State, draw_person, stream
from comface_bench.comface.synthesis.anny.renderer import render, render_record
from comface_bench.comface.synthesis.anny.scene import draw_view

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.person import Person

pytest.importorskip("anny")

SIZE = 48
# The same noise in all images would cancel, but rounding of it would not.
VIEW = dataclasses.replace(
    draw_view(stream("view")), yaw=0.0, pitch=0.0, roll=0.0, shift=(0.0, 0.0), frame=2.2, noise=0.0
)
BASE = State(years=34.0)

# Rows of the image, from the top 0 to the bottom 1, that hold most of the change.
BANDS = {
    "everywhere": (0.0, 1.0),
    "hair": (0.0, 0.65),
    "forehead": (0.0, 0.42),
    "brows": (0.15, 0.48),
    "eyes": (0.34, 0.54),
    "middle": (0.30, 0.75),
    "nose": (0.42, 0.72),
    "cheeks": (0.42, 0.80),
    "mouth": (0.50, 0.85),
    "jaw": (0.45, 1.0),
    "chin": (0.62, 1.0),
}
# Bags move the eyes a little, by which the camera frames a face: where they lie is tested on the shape.
WHERE = {
    "everywhere": (
        "age", "face-width", "face-length", "eye-distance", "masculinity", "build", "skin-tone", "wrinkles",
        "jaw-width", "freckles", "gloss", "eye-bags",
    ),
    "hair": ("hair-lightness", "hair-volume", "grey-hair"),
    "forehead": ("forehead-height", "forehead-slope"),
    "brows": ("au1", "au2", "au4", "brow-height", "brow-slant", "brow-thickness"),
    "eyes": ("au5", "eye-closure", "eye-size", "eye-slant", "eye-folds", "eye-lightness", "eye-shadows",
             "makeup"),
    "middle": ("au9", "temples", "ear-size", "ear-angle"),
    "nose": ("nose-width", "nose-length", "nose-projection", "nose-hump", "nose-tip", "nostrils"),
    "cheeks": ("au6", "blush", "cheekbones", "cheek-fullness", "cheek-puff", "smile"),
    "mouth": ("au12", "au15", "au17", "au20", "au25", "pucker", "lip-press", "lip-fullness", "cupids-bow",
              "mouth-width", "mouth-height", "moustache"),
    "jaw": ("weight",),
    "chin": ("au26", "chin-length", "chin-prominence", "chin-cleft", "double-chin", "neck-width", "stubble",
             "beard"),
}  # fmt: skip
BAND = {name: band for band, names in WHERE.items() for name in names}


# Shapes are measured on the head, too (test_attributes.py); what is only painted can be seen here alone.
PAINTED = (*WHERE["hair"], "skin-tone", "wrinkles", "freckles", "gloss", "brow-thickness", "eye-lightness",
           "eye-shadows", "makeup", "blush", "moustache", "stubble", "beard")  # fmt: skip
EACH = [
    pytest.param(name, marks=() if name in (*PAINTED, "au12", "weight") else pytest.mark.slow)
    for name in ATTRIBUTES
]


def somebody() -> Person:
    """A person whose whole face can be seen, of light skin, on which all colours show."""
    person = dataclasses.replace(
        draw_person("seen", 1), glasses="", hairstyle="crop", fringe=0.0, baldness=0.0, curl=0.0, lashes=0.9
    )
    # Build shows evenly on a person of middling muscle.
    person = dataclasses.replace(person, muscle=0.5, freckles=0.0)
    return dataclasses.replace(
        person, skin=(0.85, 0.67, 0.57), hair=(0.29, 0.195, 0.13), beard=0.0, moustache=0.0
    )


def images(attribute: str) -> Any:
    """Images (3, SIZE, SIZE, 3) at α = −5, 0 and 5."""
    path = functools.partial(move, somebody(), BASE, attribute)
    return render_record(load_head(), path, [-5.0, 0.0, 5.0], [VIEW] * 3, SIZE).astype(float)


@functools.cache
def strangers() -> list[Any]:
    """Other people, as they are drawn, in the same view."""
    return [render(load_head(), draw_person("seen", n), BASE, VIEW, SIZE).astype(float) for n in range(2, 7)]


def test_every_attribute_has_a_place() -> None:
    assert set(BAND) == set(ATTRIBUTES)


@pytest.mark.parametrize("attribute", EACH)
def test_change_is_seen_where_it_is_named_and_leaves_the_person(attribute: str) -> None:
    low, middle, high = images(attribute)
    change = np.abs(high - low).mean(axis=2)
    assert change.max() > 4, "grey levels of 255 where it changes most"
    first, last = (round(SIZE * share) for share in BANDS[BAND[attribute]])
    rows = change.sum(axis=1)
    assert rows[first:last].sum() > 0.75 * rows.sum()
    # α = 0 lies on the way from one end to the other.
    way = high - low
    share = float(np.sum((middle - low) * way) / np.sum(way**2))
    assert 0.02 < share < 0.98
    # Images of one person differ less than those of two.
    own = max(np.abs(low - middle).mean(), np.abs(high - middle).mean())
    assert own < np.mean([np.abs(other - middle).mean() for other in strangers()])
