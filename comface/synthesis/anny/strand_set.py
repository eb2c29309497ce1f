"""All strands of a person: generated once, then moved along with the skin, coloured and thinned by age."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.synthesis.anny.arrays import srgb_to_linear
from comface_bench.comface.synthesis.anny.hair_generation import (
    BEARD,
    BROW,
    HAIR,
    LASH,
    generate_beard,
    generate_brows,
    generate_hair,
    generate_lashes,
)
from comface_bench.comface.synthesis.anny.hair_roots import depth_behind_hairline, hairline_recession
from comface_bench.comface.synthesis.anny.labels import greyness, sagging
from comface_bench.comface.synthesis.anny.uv_maps import face_uv_maps

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats, Ints
    from comface_bench.comface.synthesis.anny.hair_generation import StrandGroup
    from comface_bench.comface.synthesis.anny.hair_roots import HairRoots
    from comface_bench.comface.synthesis.anny.head_model import HeadModel
    from comface_bench.comface.synthesis.anny.person import Person


@dataclass(frozen=True)
class StrandSet:
    """Strands, N of them with P points in all.

    Attributes:
        corners, barycentric: Roots, as means of vertices (N, 3).
        canonical, random: Template positions (N, 3) and random numbers (N, 6) of the roots.
        kind, shade: Kind, and factor of the colour (N,).
        owner: Strand of each point (P,).
        offsets: Points less their roots (P, 3), cm.
        widths, depth, along: Full width in cm, depth from the skin 0 to the outer layer 1, and position from
            the root 0 to the tip 1 (P,).
        segments: First point of each segment (S,).
        key: The parameters that they were generated from.
    """

    corners: Ints
    barycentric: Floats
    canonical: Floats
    random: Floats
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
    def of(cls, groups: list[StrandGroup], key: object) -> StrandSet:
        """Join groups of strands."""
        sizes = [group.width.shape for group in groups]
        owners, segments, strand, point = [], [], 0, 0
        for count, steps in sizes:
            owners.append(np.repeat(np.arange(strand, strand + count), steps))
            segments.append((point + np.arange(count)[:, None] * steps + np.arange(steps - 1)).ravel())
            strand, point = strand + count, point + count * steps
        return cls(
            np.concatenate([t.roots.corners for t in groups]),
            np.concatenate([t.roots.barycentric for t in groups]),
            np.concatenate([t.roots.canonical for t in groups]),
            np.concatenate([t.roots.random for t in groups]),
            np.concatenate([np.full(n, t.kind) for t, (n, _) in zip(groups, sizes, strict=True)]),
            np.concatenate([t.shade for t in groups]),
            np.concatenate(owners),
            np.concatenate([t.offsets.reshape(-1, 3) for t in groups]),
            np.concatenate([t.width.ravel() for t in groups]),
            np.concatenate([t.depth.ravel() for t in groups]),
            np.concatenate([np.tile(np.linspace(0, 1, s, dtype=np.float32), n) for n, s in sizes]),
            np.concatenate(segments).astype(np.int32),
            key,
        )

    def positions(self, points: Floats, scale: float, hair: float) -> Floats:
        """Return the strands' points (P, 3) on a head.

        Args:
            points: Its vertices (W, 3).
            scale: Its size over that of the head they were generated on.
            hair: Factor of the length of the head's hair.
        """
        roots = np.einsum("nk,nkc->nc", self.barycentric, points[self.corners])
        factor = np.where(self.kind == HAIR, scale * hair, scale).astype(np.float32)
        placed: Floats = roots[self.owner] + self.offsets * factor[self.owner, None]
        return placed.astype(np.float32)

    def visible_segments(self, person: Person, years: float) -> Ints:
        """Return the segments (S',) of the strands that are visible at an age."""
        place, chance, kind = self.canonical, self.random, self.kind
        sag = sagging(years, person.ageing_rate)
        cover = depth_behind_hairline(
            place, np.zeros(len(place)), person.hairline, hairline_recession(person, years)
        )
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

    def widths_at(self, years: float) -> Floats:
        """Return the full widths (P,) at an age, cm: an infant's hair is fine."""
        fine = np.float32(0.4 + 0.6 * child_hair_length(years))
        if fine == 1:
            return self.widths
        widths: Floats = np.where(self.kind[self.owner] == HAIR, fine * self.widths, self.widths)
        return widths

    def colours(self, person: Person, years: float) -> Floats:
        """Return linear colours (P, 3)."""
        hair, grey = hair_colour(person, years), srgb_to_linear(GREY_HAIR)
        # Light comes through brows from the skin.
        brow = hair * 0.7 + 0.10 * srgb_to_linear(person.skin)
        base = np.empty((len(self.kind), 3), np.float32)
        for kind, colour, later, dull in (
            (HAIR, hair, 0.0, 1.0),
            (BROW, brow, 12.0, 0.6),
            (BEARD, 0.7 * hair + 0.05 * srgb_to_linear(person.skin), -3.0, 0.8),
        ):
            own = self.kind == kind
            # A strand stands for many hairs, a share of them grey.
            share = np.clip(1.6 * grey_hair_share(person, years, later) - 0.6 * self.random[own, 5], 0, 1)[
                :, None
            ]
            base[own] = colour + share * (dull * grey - colour)
        base[self.kind == LASH] = srgb_to_linear((0.055, 0.045, 0.04))
        base *= self.shade[:, None]
        # Tips are bleached a little, the more the lighter the hair is.
        tips = 1 + 0.35 * self.along[:, None] * np.clip(hair.mean() * 6, 0, 1)
        return np.ascontiguousarray(base[self.owner] * tips, np.float32)


def generate_strands(
    head: HeadModel, places: HairRoots, points: Floats, normals: Floats, person: Person
) -> StrandSet:
    """Generate all strands of a person on a head with these vertices and normals (W, 3)."""
    brows = face_uv_maps().sample(places.brows.canonical)
    beard = face_uv_maps().sample(places.beard.canonical)
    groups = [
        generate_hair(head, points, normals, person, places.scalp),
        generate_brows(normals, person, places.brows, brows["brow-along"], brows["brow-distance"]),
        generate_lashes(person, places.lashes, places.upper),
        generate_beard(normals, person, places.beard, beard["beard"], beard["moustache"]),
    ]
    key = tuple(getattr(person, name) for name in HAIR_PARAMETERS)
    return StrandSet.of([group for group in groups if group is not None], key)


HAIR_PARAMETERS = (
    "hairstyle",
    "length",
    "volume",
    "curl",
    "parting",
    "fringe",
    "brow",
    "lashes",
    "beard",
    "moustache",
    "hair_seed",
)
"""Attributes of a person that the strands depend on."""


def child_hair_length(years: float) -> float:
    """Return the share of the adult length that a child's hair has."""
    return float(np.clip(0.10 + years / 4.0, 0, 1))


def hair_colour(person: Person, years: float) -> Floats:
    """Return the linear colour (3,) of hair that isn't grey, lighter in childhood."""
    child = float(np.clip((12 - years) / 12, 0, 1))
    colour = np.asarray(person.hair)
    # Black hair stays black.
    return srgb_to_linear(colour + child * 0.35 * colour * (colour > 0.14))


GREY_HAIR = (0.66, 0.65, 0.63)
"""Grey hair, sRGB."""


def grey_hair_share(person: Person, years: float, later: float = 0.0) -> float:
    """Return the share of strands that are grey, when they turn `later` years after the head's."""
    return greyness(years, person.grey_onset + later)
