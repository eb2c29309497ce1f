"""Which surface each sample of the image sees: triangles and strands into a depth buffer.

A buffer holds, for each sample, depth in the upper 32 bits and a number in the lower ones: triangle t is t,
segment s of a strand is (number of triangles) + s. The smaller wins, so neither order nor threads matter.

No postponed annotations here: warp reads the kernels' annotations as they are.
"""

import functools
from dataclasses import dataclass
from typing import Any, no_type_check

import numpy as np

from comface_bench.comface.synthesis.anny.arrays import Floats, Ints
from comface_bench.comface.synthesis.anny.warping import load_warp, numbers, vectors

EMPTY = 2**64 - 1
"""What a sample holds that sees nothing."""


@dataclass(frozen=True)
class Camera:
    """A camera or a light that looks along −z of its own frame.

    Attributes:
        turn: Rotation (3, 3) from the head's frame to the camera's.
        middle: Place in the head's frame that is looked at (3,), cm.
        distance: From there to the camera, cm; 0 for parallel rays.
        half: Half-height of the image at the middle, cm.
        shift: Place of the middle in the image, right and up, over the half-height.
        wide: Samples along a side.
    """

    turn: Floats
    middle: Floats
    distance: float
    half: float
    shift: tuple[float, float]
    wide: int

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Return places in the camera's frame (N, 3), cm, and on the screen (N, 3): x, y, depth in (0, 1)."""
        wp = load_warp()
        placed, screen = np.empty((2, len(points), 3), np.float32)
        turn = wp.mat33(*(float(value) for value in self.turn.ravel()))
        middle = wp.vec3(*(float(value) for value in self.middle))
        options = [turn, middle, self.distance, self.half, *self.shift, float(self.wide)]
        inputs = [vectors(points), *options, vectors(placed), vectors(screen)]
        wp.launch(_kernels()["project"], dim=len(points), inputs=inputs, device="cpu")
        return placed, screen


@dataclass(frozen=True)
class Strands:
    """Thin things: hair, brows, lashes, beards, frames of glasses.

    Attributes:
        points: Points of all strands, one after the other (P, 3).
        widths: Full width at each point (P,), cm.
        segments: First point of each segment (S,); the next one is its end.
        strand: Number of each segment's strand (S,); −1 for what is always drawn, and as wide as it is.
    """

    points: Floats
    widths: Floats
    segments: Ints
    strand: Ints

    @functools.cached_property
    def arrays(self) -> tuple[Any, Any, Any]:
        """Widths, segments and strands as warp arrays."""
        return numbers(self.widths), numbers(self.segments, "int32"), numbers(self.strand, "int32")


class Buffer:
    """A depth buffer.

    Args:
        wide: Samples along a side.
    """

    def __init__(self, wide: int) -> None:
        self.wide = wide
        self.samples = np.full(wide * wide, EMPTY, np.uint64)
        self.array = numbers(self.samples, "uint64")

    def draw_triangles(self, screen: Floats, triangles: Ints) -> None:
        """Draw the triangles (T, 3) that face the camera, over projected vertices (W, 3)."""
        inputs = [vectors(screen), numbers(triangles, "int32"), self.wide, self.array]
        load_warp().launch(_kernels()["triangles"], dim=len(triangles), inputs=inputs, device="cpu")

    def draw_strands(
        self, screen: Floats, strands: Strands, first: int, scale: float, least: float = 1.0, every: int = 1
    ) -> None:
        """Draw strands.

        Args:
            screen: Projected points (P, 3).
            strands: What to draw.
            first: Number of the first segment in the buffer.
            scale: Samples per cm.
            least: Width in samples below which strands show by chance rather than get thinner.
            every: Only each so-maniest strand is drawn, so much wider: for shadows.
        """
        inputs = [
            vectors(screen),
            *strands.arrays,
            first,
            float(scale),
            float(least),
            every,
            self.wide,
            self.array,
        ]
        load_warp().launch(_kernels()["strands"], dim=len(strands.segments), inputs=inputs, device="cpu")


@functools.lru_cache(maxsize=1)
def _kernels() -> dict[str, Any]:
    wp = load_warp()

    @wp.kernel(module="unique")
    @no_type_check
    def project(
        points: wp.array(dtype=wp.vec3),
        turn: wp.mat33,
        middle: wp.vec3,
        distance: wp.float32,
        half: wp.float32,
        right: wp.float32,
        up: wp.float32,
        wide: wp.float32,
        placed: wp.array(dtype=wp.vec3),
        screen: wp.array(dtype=wp.vec3),
    ):
        i = wp.tid()
        p = turn * (points[i] - middle)
        placed[i] = p
        scale = float(1.0)  # noqa: UP018 (so written, warp lets it change)
        depth = 0.5 - p[2] / 120.0
        if distance > 0.0:
            away = wp.max(distance - p[2], 1.0)
            scale = distance / away
            depth = 1.0 - wp.max(distance - 40.0, 2.0) / away
        screen[i] = wp.vec3(
            (p[0] * scale / half + right + 1.0) * 0.5 * wide,
            (1.0 - p[1] * scale / half - up) * 0.5 * wide,
            wp.clamp(depth, 0.0, 0.999),
        )

    @wp.func
    @no_type_check
    def key_of(depth: wp.float32, number: wp.int32):
        return (wp.uint64(wp.uint32(wp.clamp(depth, 0.0, 0.999) * 4.0e9)) << wp.uint64(32)) | wp.uint64(
            number
        )

    @wp.kernel(module="unique")
    @no_type_check
    def triangles_kernel(
        screen: wp.array(dtype=wp.vec3),
        triangles: wp.array2d(dtype=wp.int32),
        wide: wp.int32,
        samples: wp.array(dtype=wp.uint64),
    ):
        i = wp.tid()
        a = screen[triangles[i, 0]]
        b = screen[triangles[i, 1]]
        c = screen[triangles[i, 2]]
        # Rows grow downwards, so a triangle that faces the camera has a negative area here.
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if area > -1.0e-9:
            return
        left = wp.max(int(wp.ceil(wp.min(a[0], wp.min(b[0], c[0])) - 0.5)), 0)
        right = wp.min(int(wp.floor(wp.max(a[0], wp.max(b[0], c[0])) - 0.5)), wide - 1)
        top = wp.max(int(wp.ceil(wp.min(a[1], wp.min(b[1], c[1])) - 0.5)), 0)
        bottom = wp.min(int(wp.floor(wp.max(a[1], wp.max(b[1], c[1])) - 0.5)), wide - 1)
        inverse = 1.0 / area
        for row in range(top, bottom + 1):
            y = float(row) + 0.5
            for column in range(left, right + 1):
                x = float(column) + 0.5
                u = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) * inverse
                v = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) * inverse
                w = 1.0 - u - v
                if u >= 0.0 and v >= 0.0 and w >= 0.0:
                    depth = u * a[2] + v * b[2] + w * c[2]
                    wp.atomic_min(samples, row * wide + column, key_of(depth, i))

    @wp.kernel(module="unique")
    @no_type_check
    def strands_kernel(
        screen: wp.array(dtype=wp.vec3),
        widths: wp.array(dtype=wp.float32),
        segments: wp.array(dtype=wp.int32),
        strand: wp.array(dtype=wp.int32),
        first: wp.int32,
        scale: wp.float32,
        least: wp.float32,
        every: wp.int32,
        wide: wp.int32,
        samples: wp.array(dtype=wp.uint64),
    ):
        i = wp.tid()
        broaden = float(every)
        if strand[i] < 0:
            broaden = 1.0
        elif strand[i] % every != 0:
            return
        k = segments[i]
        a = screen[k]
        b = screen[k + 1]
        edge = float(wide)
        if wp.max(a[0], b[0]) < 0.0 or wp.max(a[1], b[1]) < 0.0:
            return
        if wp.min(a[0], b[0]) > edge or wp.min(a[1], b[1]) > edge:
            return
        wa = widths[k] * scale * broaden
        wb = widths[k + 1] * scale * broaden
        thick = wp.max(wa, wb)
        if thick <= 0.0:
            return
        if thick < least and strand[i] >= 0:
            # Thinner than a sample: shown as often as it would cover it.
            chance = wp.uint32(strand[i] * 16 + 5) * wp.uint32(747796405)
            share = 0.5 * (wa + wb) / least
            # A few of the very thin would be specks.
            if share < 0.15 or float(chance >> wp.uint32(8)) / 16777216.0 > share:
                return
        wa = 0.5 * wp.max(wa, least)
        wb = 0.5 * wp.max(wb, least)
        reach = wp.max(wa, wb)
        dx = b[0] - a[0]
        dy = b[1] - a[1]
        squared = wp.max(dx * dx + dy * dy, 1.0e-6)
        inverse = 1.0 / squared
        # Along the longer of its two sides, only what is near the line.
        steep = wp.abs(dy) >= wp.abs(dx)
        m0 = a[0]
        n0 = a[1]
        dm = dx
        dn = dy
        if steep:
            m0 = a[1]
            n0 = a[0]
            dm = dy
            dn = dx
        lean = float(0.0)  # noqa: UP018 (so written, warp lets it change)
        if wp.abs(dm) > 1.0e-3:
            lean = dn / dm
        broad = reach * wp.sqrt(1.0 + lean * lean)
        lowest = wp.min(n0, n0 + dn) - reach
        highest = wp.max(n0, n0 + dn) + reach
        start = wp.max(int(wp.ceil(wp.min(m0, m0 + dm) - reach - 0.5)), 0)
        end = wp.min(int(wp.floor(wp.max(m0, m0 + dm) + reach - 0.5)), wide - 1)
        for m in range(start, end + 1):
            middle = n0 + (float(m) + 0.5 - m0) * lean
            low = wp.max(int(wp.ceil(wp.max(lowest, middle - broad) - 0.5)), 0)
            high = wp.min(int(wp.floor(wp.min(highest, middle + broad) - 0.5)), wide - 1)
            for n in range(low, high + 1):
                row = n
                column = m
                if steep:
                    row = m
                    column = n
                x = float(column) + 0.5
                y = float(row) + 0.5
                t = wp.clamp(((x - a[0]) * dx + (y - a[1]) * dy) * inverse, 0.0, 1.0)
                ex = x - a[0] - t * dx
                ey = y - a[1] - t * dy
                radius = wa + t * (wb - wa)
                if ex * ex + ey * ey <= radius * radius:
                    depth = a[2] + t * (b[2] - a[2])
                    wp.atomic_min(samples, row * wide + column, key_of(depth, first + i))

    return {"project": project, "triangles": triangles_kernel, "strands": strands_kernel}
