"""Roots of hair, brows, lashes and beard on the head model, and the hairline."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.synthesis.anny.head_model import EYE_LEFT, EYE_RIGHT, LASHES, SKIN
from comface_bench.comface.synthesis.anny.labels import sagging
from comface_bench.comface.synthesis.anny.uv_maps import face_uv_maps

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats, Ints
    from comface_bench.comface.synthesis.anny.head_model import HeadModel
    from comface_bench.comface.synthesis.anny.person import Person


# Height on the template in cm, and the depth in front of which no hair grows there.
_HEIGHT = (55, 61, 63, 66, 68, 69.5, 72, 75, 77, 79, 80.3, 81.3, 84, 90)
_DEPTH = (-30, -6, -2.5, 0, 2.2, 6.2, 7.1, 8.4, 9.9, 11.5, 12.8, 14.3, 18.5, 28)


def depth_behind_hairline(canonical: Floats, ears: Floats, hairline: float, receded: float) -> Floats:
    """Return the depth of template points behind the hairline.

    Args:
        canonical: Template positions (N, 3), cm.
        ears: Mask of the ears (N,), where no hair grows.
        hairline: Distance by which the hairline comes down the forehead, cm.
        receded: Distance by which it has receded, cm.

    Returns:
        Depth behind the hairline in cm (N,), negative in front of it.
    """
    # The line goes back first above the temples.
    temples = 0.6 + 0.5 * np.clip(np.abs(canonical[:, 0]) / 4, 0, 1)
    front = np.clip((canonical[:, 1] - 75) / 3, 0, 1)
    height = canonical[:, 1] + (hairline - receded * temples) * front
    return np.asarray(np.interp(height, _HEIGHT, _DEPTH) - canonical[:, 2] - 6 * ears, np.float32)


def hairline_recession(person: Person, years: float) -> float:
    """Return the distance by which the hairline has receded, cm; a child's comes further down."""
    return person.baldness * sagging(years, person.ageing_rate) - 0.9 * float(np.clip(1 - years / 15, 0, 1))


_SCALP, _BROWS, _BEARD, _LASHES = 5600, 2000, 4000, 170


@dataclass(frozen=True)
class StrandRoots:
    """Roots of one kind of strands.

    Attributes:
        corners, barycentric: Each root is a mean of three vertices (N, 3) with these shares (N, 3).
        canonical: Template positions (N, 3), cm.
        random: Uniform random numbers of each root (N, 6), the same for all people.
    """

    corners: Ints
    barycentric: Floats
    canonical: Floats
    random: Floats

    def mean(self, values: Floats) -> Floats:
        """Return values (N, C) at the roots from values at vertices (W, C)."""
        found: Floats = np.einsum("nk,nkc->nc", self.barycentric, values[self.corners])
        return found

    def __getitem__(self, chosen: Ints | slice) -> StrandRoots:
        return StrandRoots(
            self.corners[chosen], self.barycentric[chosen], self.canonical[chosen], self.random[chosen]
        )


@dataclass(frozen=True)
class HairRoots:
    """All roots of a head; the first `upper` lashes are those of the upper eyelids."""

    scalp: StrandRoots
    brows: StrandRoots
    beard: StrandRoots
    lashes: StrandRoots
    upper: int


@functools.lru_cache(maxsize=1)
def hair_roots(head: HeadModel) -> HairRoots:
    """Draw the roots of a head, always the same."""
    random = np.random.default_rng(20260202)
    front = head.part[head.triangles[:, 0]] == SKIN
    faces = head.triangles[front]
    centre = head.canonical[faces].mean(axis=1)
    masks = head.masks[faces].mean(axis=1)
    cover = depth_behind_hairline(centre, masks[:, 2], -0.9, 0.0)
    scalp = (cover > -0.3) & (centre[:, 1] > 64.5) & (masks[:, 2] < 0.3)
    maps = face_uv_maps().sample(centre)
    ahead = (centre[:, 2] > 8) & (masks[:, 0] < 0.5) & (masks[:, 3] < 0.3)
    brows = ahead & (maps["brow-distance"] < 0.75) & (centre[:, 1] > 73.6)
    beard = (centre[:, 2] > 1.5) & (masks[:, 3] < 0.3) & (np.maximum(maps["beard"], maps["moustache"]) > 0.05)
    eyes = [_lashes(head, eye, upper) for upper in (True, False) for eye in (EYE_LEFT, EYE_RIGHT)]
    lashes = [
        _along(head, line, random, count)
        for line, count in zip(eyes, (_LASHES, _LASHES, 50, 50), strict=True)
    ]
    return HairRoots(
        _spread(head, faces[scalp], random, _SCALP),
        _spread(head, faces[brows], random, _BROWS),
        _spread(head, faces[beard & (masks[:, 0] < 0.3)], random, _BEARD),
        StrandRoots(*(np.concatenate([getattr(r, name) for r in lashes]) for name in vars(lashes[0]))),
        2 * _LASHES,
    )


@functools.lru_cache(maxsize=1)
def eyelid_edges(head: HeadModel) -> dict[tuple[int, bool], Ints]:
    """Return the vertices along each lid's edge from the inner to the outer corner, by (eye, upper)."""
    return {
        (eye, upper): _lashes(head, eye, upper) for eye in (EYE_LEFT, EYE_RIGHT) for upper in (True, False)
    }


def _spread(head: HeadModel, faces: Ints, random: np.random.Generator, count: int) -> StrandRoots:
    a, b, c = (head.canonical[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = random.choice(len(faces), count, p=area / area.sum())
    u, v = random.random((2, count))
    flip = u + v > 1
    u, v = np.where(flip, 1 - u, u), np.where(flip, 1 - v, v)
    shares = np.stack([1 - u - v, u, v], axis=1).astype(np.float32)
    corners = faces[chosen]
    canonical = np.einsum("nk,nkc->nc", shares, head.canonical[corners])
    return StrandRoots(corners, shares, canonical.astype(np.float32), random.random((count, 6), np.float32))


def _lashes(head: HeadModel, eye: int, upper: bool) -> Ints:
    """Return the vertices of a strip of lashes that lie on the lid, from the inner corner outwards."""
    own = np.flatnonzero(head.part == eye)
    places = head.canonical[own]
    centre = (places.min(axis=0) + places.max(axis=0)) / 2
    strip = head.canonical[:, 0] * centre[0] > 0
    strip = np.flatnonzero((head.part == LASHES) & strip)
    # The upper strip starts above the line through the corners, the lower one below.
    at = head.canonical[strip]
    line = 72.72 if upper else 72.70
    high = at[:, 1] > line
    strip, at = strip[high == upper], at[high == upper]
    away = np.linalg.norm(at - centre, axis=1)
    bins = np.clip(((np.abs(at[:, 0]) - 1.85) / (4.4 - 1.85) * 16).astype(int), 0, 15)
    edge = [strip[bins == k][np.argmin(away[bins == k])] for k in range(16) if (bins == k).any()]
    return np.array(edge)


def _along(head: HeadModel, line: Ints, random: np.random.Generator, count: int) -> StrandRoots:
    at = np.sort(random.random(count)) * (len(line) - 1.001)
    low = at.astype(int)
    share = (at - low).astype(np.float32)
    corners = np.stack([line[low], line[low + 1], line[low]], axis=1)
    shares = np.stack([1 - share, share, np.zeros_like(share)], axis=1)
    canonical = np.einsum("nk,nkc->nc", shares, head.canonical[corners])
    return StrandRoots(corners, shares, canonical.astype(np.float32), random.random((count, 6), np.float32))
