"""Geometry, strands and ambient visibility of an identity at the base of a path, computed once.

Other states of the same person differ from it by a few blendshapes; strands move along with their roots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.synthesis.anny.ambient_visibility import (
    SOLID_ANGLE,
    radiance_transfer,
    sample_directions,
)
from comface_bench.comface.synthesis.anny.arrays import srgb_to_linear
from comface_bench.comface.synthesis.anny.glasses import glasses_strands
from comface_bench.comface.synthesis.anny.hair_generation import FRAME, HAIR
from comface_bench.comface.synthesis.anny.hair_roots import eyelid_edges, hair_roots
from comface_bench.comface.synthesis.anny.head_model import EYE_LEFT, EYE_RIGHT, blend, blendshape_weights
from comface_bench.comface.synthesis.anny.raster import StrandGeometry, look_at_point
from comface_bench.comface.synthesis.anny.strand_set import (
    HAIR_PARAMETERS,
    StrandSet,
    child_hair_length,
    generate_strands,
)

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats, Ints
    from comface_bench.comface.synthesis.anny.head_model import HeadModel
    from comface_bench.comface.synthesis.anny.person import Person, State
    from comface_bench.comface.synthesis.anny.warp_runtime import Device


_EVERY = 20  # strands that one represents where ambient visibility is computed


class IdentityCache:
    """An identity at the base of a path.

    Args:
        head: The head model.
        person, state: The base.
        device: Where ambient visibility is computed.
    """

    def __init__(self, head: HeadModel, person: Person, state: State, device: Device) -> None:
        self.head, self.person, self.state, self.device = head, person, state, device
        self._weights = blendshape_weights(head, person, state)
        self._base = head.base_vertices(self._weights)
        self.points: Floats = head.subdivision @ self._base
        self.normals = head.normals(self.points)
        self._eyes = [np.flatnonzero(head.part == eye) for eye in (EYE_LEFT, EYE_RIGHT)]
        self._eye_distance = self.eyes(self.points)[1]
        self._strand_sets: dict[tuple[object, ...], StrandSet] = {}
        self._ambient_light: tuple[Floats, Floats] | None = None

    def vertices(self, person: Person, state: State) -> Floats:
        """Return the bare vertices (W, 3) of another state: only what differs from the base is added."""
        change = blendshape_weights(self.head, person, state) - self._weights
        if not change.any():
            return self.points
        first, basis = self.head.phenotype_rows, self.head.blendshapes
        sums = blend(change[first:], basis[first:])
        if change[:first].any():
            sums = sums + blend(change[:first], basis[:first])
        base: Floats = self._base + sums.reshape(-1, 3)
        points: Floats = self.head.subdivision @ base
        return points

    def eyes(self, points: Floats) -> tuple[Floats, float]:
        """Return the point between the eyes (3,) and the distance between them."""
        left, right = (points[eye].mean(axis=0) for eye in self._eyes)
        return (left + right) / 2, float(np.linalg.norm(left - right))

    def strand_set(self, person: Person) -> StrandSet:
        """Return the strands of a person, generated on the base."""
        key = tuple(getattr(person, name) for name in HAIR_PARAMETERS)
        if key not in self._strand_sets:
            while len(self._strand_sets) > 1:
                # The base's and the latest are kept.
                self._strand_sets.pop(next(reversed(self._strand_sets)))
            self._strand_sets[key] = generate_strands(
                self.head, hair_roots(self.head), self.points, self.normals, person
            )
        return self._strand_sets[key]

    def strand_geometry(
        self,
        strands: StrandSet,
        segments: Ints,
        widths: Floats,
        colours: Floats,
        points: Floats,
        person: Person,
        years: float,
    ) -> tuple[StrandGeometry, Floats, Floats, Ints]:
        """Return the visible strands on a head, coloured, and glasses.

        Returns:
            The strands, their colours (P, 3) and depths (P,), and the kinds of the segments (S,).
        """
        placed = self._positions(strands, points, years)
        owner, kinds = strands.owner[segments], strands.kind[strands.owner[segments]]
        depth = strands.depth
        if person.glasses and years > 5:
            left, right = (points[eye].mean(axis=0) for eye in self._eyes)
            wire, thick = glasses_strands(person.glasses, left, right, self.eyes(points)[1] / 6.15)
            count, steps = thick.shape
            first = (len(placed) + np.arange(count)[:, None] * steps + np.arange(steps - 1)).ravel()
            segments = np.concatenate([segments, first])
            owner = np.concatenate([owner, np.full(len(first), -1)])
            kinds = np.concatenate([kinds, np.full(len(first), FRAME)])
            placed = np.concatenate([placed, wire.reshape(-1, 3)])
            widths = np.concatenate([widths, thick.ravel()])
            depth = np.concatenate([depth, np.ones(thick.size, np.float32)])
            colours = np.concatenate([colours, np.tile(srgb_to_linear(person.frames), (thick.size, 1))])
        geometry = StrandGeometry(placed, widths, segments.astype(np.int32), owner.astype(np.int32))
        return geometry, colours, depth, kinds.astype(np.int32)

    def ambient_light(self, person: Person, state: State) -> tuple[Floats, Floats]:
        """Return the radiance transfer (V, D) and the ambient visibility (V,) of another state."""
        points, strands = self.vertices(person, state), self.strand_set(person)
        base = (
            points is self.points
            and strands is self.strand_set(self.person)
            and state.years == self.state.years
        )
        if base and self._ambient_light is not None:
            return self._ambient_light
        found = self._find_ambient_light(
            points, strands, strands.visible_segments(person, state.years), state.years
        )
        if base:
            self._ambient_light = found
        return found

    def _find_ambient_light(
        self, points: Floats, strands: StrandSet, segments: Ints, years: float
    ) -> tuple[Floats, Floats]:
        count = len(self.head.template)
        owner = strands.owner[segments]
        segments = segments[(owner % _EVERY == 0) & (strands.kind[owner] == HAIR)]
        placed = self._positions(strands, points, years)
        ends = np.stack([segments, segments + 1], axis=1).ravel()
        first = np.arange(0, len(ends), 2, dtype=np.int32)
        thick = StrandGeometry(
            placed[ends], 0.45 * _EVERY * strands.widths[ends], first, np.zeros(len(first), np.int32)
        )
        centre, distance = self.eyes(points)
        normals = self.normals if points is self.points else self.head.normals(points)
        aim = look_at_point(centre, distance)
        matrix = radiance_transfer(
            points[:count], normals[:count], self.head.base_triangles, thick, aim, self.device
        )
        # Against a head that nothing shades.
        free = np.clip(np.einsum("vc,dc->vd", normals[:count], sample_directions()), 0, None).sum(axis=1)
        share = matrix.sum(axis=1) / np.maximum(free, 0.3) * np.float32(1 / SOLID_ANGLE)
        return matrix, np.clip(share, 0.03, 1).astype(np.float32)

    def _positions(self, strands: StrandSet, points: Floats, years: float) -> Floats:
        return strands.positions(points, self.eyes(points)[1] / self._eye_distance, child_hair_length(years))

    def eyelid_parabolas(self, points: Floats) -> Floats:
        """Return the eyelids' edges as parabolas y(x) about the point that the camera looks at (4, 4).

        Rows are the upper left, upper right, lower left and lower right eyelid; columns the powers of x.
        """
        rows = np.zeros((4, 4), np.float32)
        aim = look_at_point(*self.eyes(points))
        lines = eyelid_edges(self.head)
        for index, (upper, eye) in enumerate((u, e) for u in (True, False) for e in (EYE_LEFT, EYE_RIGHT)):
            edge = points[lines[eye, upper]] - aim
            x = edge[:, 0].astype(np.float64)
            rows[index, :3] = np.linalg.lstsq(
                np.stack([x * 0 + 1, x, x * x], axis=1), edge[:, 1], rcond=None
            )[0]
        return rows
