"""Where strands are rooted: fixed places on the head model for scalp, brows, lashes and beard."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.synthesis.anny import body
from comface_bench.comface.synthesis.anny.atlas import face_atlas
from comface_bench.comface.synthesis.anny.hair import hair_cover

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats, Ints
    from comface_bench.comface.synthesis.anny.body import Head

_SCALP, _BROWS, _BEARD, _LASHES = 5600, 2000, 4000, 170


@dataclass(frozen=True)
class Roots:
    """Roots of one kind of strands.

    Attributes:
        corners, shares: Each root is a mean of three vertices (N, 3) with these shares (N, 3).
        canonical: Template places (N, 3), cm.
        chance: Uniform random numbers of each root (N, 6), the same for everybody.
    """

    corners: Ints
    shares: Floats
    canonical: Floats
    chance: Floats

    def mean(self, values: Floats) -> Floats:
        """Return values (N, C) at the roots from values at vertices (W, C)."""
        found: Floats = np.einsum("nk,nkc->nc", self.shares, values[self.corners])
        return found

    def __getitem__(self, chosen: Ints | slice) -> Roots:
        return Roots(self.corners[chosen], self.shares[chosen], self.canonical[chosen], self.chance[chosen])


@dataclass(frozen=True)
class Follicles:
    """All roots of a head; lashes are the upper lids' first, in `upper` of them."""

    scalp: Roots
    brows: Roots
    beard: Roots
    lashes: Roots
    upper: int


@functools.lru_cache(maxsize=1)
def follicles(head: Head) -> Follicles:
    """Draw the roots of a head, always the same."""
    random = np.random.default_rng(20260202)
    front = head.part[head.triangles[:, 0]] == body.SKIN
    faces = head.triangles[front]
    centre = head.canonical[faces].mean(axis=1)
    masks = head.masks[faces].mean(axis=1)
    cover = hair_cover(centre, masks[:, 2], -0.9, 0.0)
    scalp = (cover > -0.3) & (centre[:, 1] > 64.5) & (masks[:, 2] < 0.3)
    maps = face_atlas().look_up(centre)
    ahead = (centre[:, 2] > 8) & (masks[:, 0] < 0.5) & (masks[:, 3] < 0.3)
    brows = ahead & (maps["brow-distance"] < 0.75) & (centre[:, 1] > 73.6)
    beard = (centre[:, 2] > 1.5) & (masks[:, 3] < 0.3) & (np.maximum(maps["beard"], maps["moustache"]) > 0.05)
    eyes = [_lashes(head, eye, upper) for upper in (True, False) for eye in (body.EYE_LEFT, body.EYE_RIGHT)]
    lashes = [
        _along(head, line, random, count)
        for line, count in zip(eyes, (_LASHES, _LASHES, 50, 50), strict=True)
    ]
    return Follicles(
        _spread(head, faces[scalp], random, _SCALP),
        _spread(head, faces[brows], random, _BROWS),
        _spread(head, faces[beard & (masks[:, 0] < 0.3)], random, _BEARD),
        Roots(*(np.concatenate([getattr(r, name) for r in lashes]) for name in vars(lashes[0]))),
        2 * _LASHES,
    )


@functools.lru_cache(maxsize=1)
def lid_lines(head: Head) -> dict[tuple[int, bool], Ints]:
    """Return the vertices along each lid's edge from the inner to the outer corner, by (eye, upper)."""
    return {
        (eye, upper): _lashes(head, eye, upper)
        for eye in (body.EYE_LEFT, body.EYE_RIGHT)
        for upper in (True, False)
    }


def _spread(head: Head, faces: Ints, random: np.random.Generator, count: int) -> Roots:
    a, b, c = (head.canonical[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = random.choice(len(faces), count, p=area / area.sum())
    u, v = random.random((2, count))
    flip = u + v > 1
    u, v = np.where(flip, 1 - u, u), np.where(flip, 1 - v, v)
    shares = np.stack([1 - u - v, u, v], axis=1).astype(np.float32)
    corners = faces[chosen]
    canonical = np.einsum("nk,nkc->nc", shares, head.canonical[corners])
    return Roots(corners, shares, canonical.astype(np.float32), random.random((count, 6), np.float32))


def _lashes(head: Head, eye: int, upper: bool) -> Ints:
    """Return the vertices of a strip of lashes that lie on the lid, from the inner corner outwards."""
    own = np.flatnonzero(head.part == eye)
    places = head.canonical[own]
    centre = (places.min(axis=0) + places.max(axis=0)) / 2
    strip = head.canonical[:, 0] * centre[0] > 0
    strip = np.flatnonzero((head.part == body.LASHES) & strip)
    # The upper strip starts above the line through the corners, the lower one below.
    at = head.canonical[strip]
    line = 72.72 if upper else 72.70
    high = at[:, 1] > line
    strip, at = strip[high == upper], at[high == upper]
    away = np.linalg.norm(at - centre, axis=1)
    bins = np.clip(((np.abs(at[:, 0]) - 1.85) / (4.4 - 1.85) * 16).astype(int), 0, 15)
    edge = [strip[bins == k][np.argmin(away[bins == k])] for k in range(16) if (bins == k).any()]
    return np.array(edge)


def _along(head: Head, line: Ints, random: np.random.Generator, count: int) -> Roots:
    at = np.sort(random.random(count)) * (len(line) - 1.001)
    low = at.astype(int)
    share = (at - low).astype(np.float32)
    corners = np.stack([line[low], line[low + 1], line[low]], axis=1)
    shares = np.stack([1 - share, share, np.zeros_like(share)], axis=1)
    canonical = np.einsum("nk,nkc->nc", shares, head.canonical[corners])
    return Roots(corners, shares, canonical.astype(np.float32), random.random((count, 6), np.float32))
