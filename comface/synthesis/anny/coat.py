"""All strands of a person: grown once, then carried along with the skin, coloured and thinned by age."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.synthesis.anny.atlas import face_atlas
from comface_bench.comface.synthesis.anny.growth import (
    BEARD,
    BROW,
    HAIR,
    LASH,
    grow_beard,
    grow_brows,
    grow_hair,
    grow_lashes,
)
from comface_bench.comface.synthesis.anny.hair import (
    GREY,
    grey_share,
    hair_colour,
    hair_cover,
    receded,
)
from comface_bench.comface.synthesis.anny.labels import sagging
from comface_bench.comface.synthesis.anny.noise import linear

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats, Ints
    from comface_bench.comface.synthesis.anny.body import Head
    from comface_bench.comface.synthesis.anny.follicles import Follicles
    from comface_bench.comface.synthesis.anny.growth import Tuft
    from comface_bench.comface.synthesis.anny.person import Person


@dataclass(frozen=True)
class Coat:
    """Strands, N of them with P points in all.

    Attributes:
        corners, shares: Roots, as means of vertices (N, 3).
        canonical, chance: Template places (N, 3) and random numbers (N, 6) of the roots.
        kind, shade: Kind and factor of the colour (N,).
        owner: Strand of each point (P,).
        offsets: Points less their roots (P, 3), cm.
        widths, depth, along: Full width, openness to light, and place from root 0 to tip 1 (P,).
        segments: First point of each segment (S,).
        key: What they were grown from.
    """

    corners: Ints
    shares: Floats
    canonical: Floats
    chance: Floats
    kind: Ints
    shade: Floats
    owner: Ints
    offsets: Floats
    widths: Floats
    depth: Floats
    along: Floats
    segments: Ints
    key: object

    @classmethod
    def of(cls, tufts: list[Tuft], key: object) -> Coat:
        """Join tufts."""
        sizes = [tuft.width.shape for tuft in tufts]
        owners, segments, strand, point = [], [], 0, 0
        for count, steps in sizes:
            owners.append(np.repeat(np.arange(strand, strand + count), steps))
            segments.append((point + np.arange(count)[:, None] * steps + np.arange(steps - 1)).ravel())
            strand, point = strand + count, point + count * steps
        return cls(
            np.concatenate([t.roots.corners for t in tufts]),
            np.concatenate([t.roots.shares for t in tufts]),
            np.concatenate([t.roots.canonical for t in tufts]),
            np.concatenate([t.roots.chance for t in tufts]),
            np.concatenate([np.full(n, t.kind) for t, (n, _) in zip(tufts, sizes, strict=True)]),
            np.concatenate([t.shade for t in tufts]),
            np.concatenate(owners),
            np.concatenate([t.offsets.reshape(-1, 3) for t in tufts]),
            np.concatenate([t.width.ravel() for t in tufts]),
            np.concatenate([t.depth.ravel() for t in tufts]),
            np.concatenate([np.tile(np.linspace(0, 1, s, dtype=np.float32), n) for n, s in sizes]),
            np.concatenate(segments).astype(np.int32),
            key,
        )

    def place(self, points: Floats, scale: float, hair: float) -> Floats:
        """Return the strands' points (P, 3) on a head.

        Args:
            points: Its vertices (W, 3).
            scale: Its size over that of the head they grew on.
            hair: Factor of the length of the head's hair.
        """
        roots = np.einsum("nk,nkc->nc", self.shares, points[self.corners])
        factor = np.where(self.kind == HAIR, scale * hair, scale).astype(np.float32)
        placed: Floats = roots[self.owner] + self.offsets * factor[self.owner, None]
        return placed.astype(np.float32)

    def standing(self, person: Person, years: float) -> Ints:
        """Return the segments (S',) of the strands that are there at an age."""
        place, chance, kind = self.canonical, self.chance, self.kind
        sag = sagging(years, person.pace)
        cover = hair_cover(place, np.zeros(len(place)), person.hairline, receded(person, years))
        # Hair gets thinner before it goes, first on the crown.
        crown = np.exp(-0.5 * (((place[:, 1] - 84) / 3.5) ** 2 + ((place[:, 2] + 1) / 5) ** 2))
        thin = 1 - 0.75 * np.clip(sag * person.baldness / 6, 0, 1) * (0.35 + 0.65 * crown)
        infant = 0.35 + 0.65 * np.clip(years / 3, 0, 1)
        hair = (cover > 0.9 * chance[:, 4] - 0.2) & (chance[:, 3] < thin * infant)
        brow = chance[:, 3] < 0.3 + 0.7 * np.clip(years / 12, 0, 1) - 0.25 * sag
        beard = chance[:, 3] < np.clip((years - 14) / 6, 0, 1)
        lash = chance[:, 3] < 0.5 + 0.5 * np.clip(years / 10, 0, 1)
        there = np.select([kind == HAIR, kind == BROW, kind == BEARD], [hair, brow, beard], lash)
        kept: Ints = self.segments[there[self.owner[self.segments]]]
        return kept

    def colours(self, person: Person, years: float) -> Floats:
        """Return linear colours (P, 3)."""
        hair, grey = hair_colour(person, years), linear(GREY)
        # Light comes through brows from the skin.
        brow = hair * 0.7 + 0.10 * linear(person.skin)
        base = np.empty((len(self.kind), 3), np.float32)
        for kind, colour, later, dull in (
            (HAIR, hair, 0.0, 1.0),
            (BROW, brow, 12.0, 0.6),
            (BEARD, 0.7 * hair + 0.05 * linear(person.skin), -3.0, 0.8),
        ):
            own = self.kind == kind
            # A strand stands for many hairs, a share of them grey.
            share = np.clip(1.6 * grey_share(person, years, later) - 0.6 * self.chance[own, 5], 0, 1)[:, None]
            base[own] = colour + share * (dull * grey - colour)
        base[self.kind == LASH] = linear((0.055, 0.045, 0.04))
        base *= self.shade[:, None]
        # Tips are bleached a little, the more the lighter the hair is.
        tips = 1 + 0.35 * self.along[:, None] * np.clip(hair.mean() * 6, 0, 1)
        return np.ascontiguousarray(base[self.owner] * tips, np.float32)


def grow(head: Head, places: Follicles, points: Floats, normals: Floats, person: Person) -> Coat:
    """Grow all strands of a person on a head with these vertices and normals (W, 3)."""
    brows = face_atlas().look_up(places.brows.canonical)
    beard = face_atlas().look_up(places.beard.canonical)
    tufts = [
        grow_hair(head, points, normals, person, places.scalp),
        grow_brows(normals, person, places.brows, brows["brow-along"], brows["brow-distance"]),
        grow_lashes(person, places.lashes, places.upper),
        grow_beard(normals, person, places.beard, beard["beard"], beard["moustache"]),
    ]
    key = tuple(getattr(person, name) for name in GROWTH)
    return Coat.of([tuft for tuft in tufts if tuft is not None], key)


GROWTH = (
    "cut",
    "length",
    "volume",
    "curl",
    "parting",
    "fringe",
    "brow",
    "lashes",
    "beard",
    "moustache",
    "growth",
)
"""Attributes of a person that the strands depend on."""
