"""A head at the base of a path, with all that grows on it: made once for an identity.

Other moments of the same person differ from it by a few linear shapes; strands move along with their roots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.synthesis.anny import body
from comface_bench.comface.synthesis.anny.body import weigh
from comface_bench.comface.synthesis.anny.coat import GROWTH, Coat, grow
from comface_bench.comface.synthesis.anny.follicles import follicles, lid_lines
from comface_bench.comface.synthesis.anny.geometry import weights
from comface_bench.comface.synthesis.anny.glasses import frames
from comface_bench.comface.synthesis.anny.growth import FRAME, HAIR
from comface_bench.comface.synthesis.anny.hair import grown
from comface_bench.comface.synthesis.anny.noise import linear
from comface_bench.comface.synthesis.anny.openness import MEASURE, directions, transfer
from comface_bench.comface.synthesis.anny.picture import target
from comface_bench.comface.synthesis.anny.raster import Strands

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats, Ints
    from comface_bench.comface.synthesis.anny.body import Head
    from comface_bench.comface.synthesis.anny.person import Person
    from comface_bench.comface.synthesis.anny.state import State
    from comface_bench.comface.synthesis.anny.warping import Device

_EVERY = 20  # strands that one stands for when ambient light is found


class Bust:
    """The base of a path.

    Args:
        head: The head model.
        person, state: The base.
        device: Where ambient light is found.
    """

    def __init__(self, head: Head, person: Person, state: State, device: Device) -> None:
        self.head, self.person, self.state, self.device = head, person, state, device
        self._weights = weights(head, person, state)
        self._base = head.base(self._weights)
        self.points: Floats = head.refine @ self._base
        self.normals = head.normals(self.points)
        self._eyes = [np.flatnonzero(head.part == eye) for eye in (body.EYE_LEFT, body.EYE_RIGHT)]
        self._between = self.eyes(self.points)[1]
        self._coats: dict[tuple[object, ...], Coat] = {}
        self._light: tuple[Floats, Floats] | None = None

    def shape(self, person: Person, state: State) -> Floats:
        """Return the bare vertices (W, 3) of another moment: only what differs from the base is added."""
        change = weights(self.head, person, state) - self._weights
        if not change.any():
            return self.points
        first, basis = self.head.first, self.head.basis
        sums = weigh(change[first:], basis[first:])
        if change[:first].any():
            sums = sums + weigh(change[:first], basis[:first])
        base: Floats = self._base + sums.reshape(-1, 3)
        points: Floats = self.head.refine @ base
        return points

    def eyes(self, points: Floats) -> tuple[Floats, float]:
        """Return the place between the eyes (3,) and the distance between them."""
        left, right = (points[eye].mean(axis=0) for eye in self._eyes)
        return (left + right) / 2, float(np.linalg.norm(left - right))

    def coat(self, person: Person) -> Coat:
        """Return the strands of a person, grown on the base."""
        key = tuple(getattr(person, name) for name in GROWTH)
        if key not in self._coats:
            while len(self._coats) > 1:
                # The base's stays, and the latest.
                self._coats.pop(next(reversed(self._coats)))
            self._coats[key] = grow(self.head, follicles(self.head), self.points, self.normals, person)
        return self._coats[key]

    def strands(
        self, coat: Coat, segments: Ints, colours: Floats, points: Floats, person: Person, years: float
    ) -> tuple[Strands, Floats, Floats, Ints]:
        """Return what stands of a coloured coat on a head, and glasses.

        Returns:
            The strands, their colours (P, 3) and depths (P,), and the kinds of the segments (S,).
        """
        placed = self._place(coat, points, years)
        owner, kinds = coat.owner[segments], coat.kind[coat.owner[segments]]
        depth = coat.depth
        # An infant's hair is fine.
        fine = np.float32(0.4 + 0.6 * grown(years))
        widths = (
            coat.widths
            if fine == 1
            else np.where(coat.kind[coat.owner] == HAIR, fine * coat.widths, coat.widths)
        )
        if person.glasses and years > 5:
            left, right = (points[eye].mean(axis=0) for eye in self._eyes)
            wire, thick = frames(person.glasses, left, right, self.eyes(points)[1] / 6.15)
            count, steps = thick.shape
            first = (len(placed) + np.arange(count)[:, None] * steps + np.arange(steps - 1)).ravel()
            segments = np.concatenate([segments, first])
            owner = np.concatenate([owner, np.full(len(first), -1)])
            kinds = np.concatenate([kinds, np.full(len(first), FRAME)])
            placed = np.concatenate([placed, wire.reshape(-1, 3)])
            widths = np.concatenate([widths, thick.ravel()])
            depth = np.concatenate([depth, np.ones(thick.size, np.float32)])
            colours = np.concatenate([colours, np.tile(linear(person.frames), (thick.size, 1))])
        strands = Strands(placed, widths, segments.astype(np.int32), owner.astype(np.int32))
        return strands, colours, depth, kinds.astype(np.int32)

    def light(self, person: Person, state: State) -> tuple[Floats, Floats]:
        """Return the transfer of ambient light (V, D) and the openness (V,) of another moment."""
        points, coat = self.shape(person, state), self.coat(person)
        base = points is self.points and coat is self.coat(self.person) and state.years == self.state.years
        if base and self._light is not None:
            return self._light
        found = self._find_light(points, coat, coat.standing(person, state.years), state.years)
        if base:
            self._light = found
        return found

    def _find_light(self, points: Floats, coat: Coat, segments: Ints, years: float) -> tuple[Floats, Floats]:
        few = len(self.head.template)
        owner = coat.owner[segments]
        segments = segments[(owner % _EVERY == 0) & (coat.kind[owner] == HAIR)]
        placed = self._place(coat, points, years)
        ends = np.stack([segments, segments + 1], axis=1).ravel()
        first = np.arange(0, len(ends), 2, dtype=np.int32)
        thick = Strands(
            placed[ends], 0.45 * _EVERY * coat.widths[ends], first, np.zeros(len(first), np.int32)
        )
        middle, between = self.eyes(points)
        normals = self.normals if points is self.points else self.head.normals(points)
        aim = target(middle, between)
        matrix = transfer(points[:few], normals[:few], self.head.coarse, thick, aim, self.device)
        # Against a head that nothing shades.
        free = np.clip(np.einsum("vc,dc->vd", normals[:few], directions()), 0, None).sum(axis=1)
        share = matrix.sum(axis=1) / np.maximum(free, 0.3) * np.float32(1 / MEASURE)
        return matrix, np.clip(share, 0.03, 1).astype(np.float32)

    def _place(self, coat: Coat, points: Floats, years: float) -> Floats:
        return coat.place(points, self.eyes(points)[1] / self._between, grown(years))

    def lids(self, points: Floats) -> Floats:
        """Return the lids' edges as parabolas y(x) about the picture's middle (4, 4).

        Rows are the upper left, upper right, lower left and lower right lid; columns the powers of x.
        """
        rows = np.zeros((4, 4), np.float32)
        aim = target(*self.eyes(points))
        lines = lid_lines(self.head)
        for index, (upper, eye) in enumerate(
            (u, e) for u in (True, False) for e in (body.EYE_LEFT, body.EYE_RIGHT)
        ):
            edge = points[lines[eye, upper]] - aim
            x = edge[:, 0].astype(np.float64)
            rows[index, :3] = np.linalg.lstsq(
                np.stack([x * 0 + 1, x, x * x], axis=1), edge[:, 1], rcond=None
            )[0]
        return rows
