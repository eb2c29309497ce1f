"""Rasterisation of triangles and strands into visibility buffers, K images at once.

A buffer holds, for each sample, the depth in the upper 32 bits and the number of the primitive in the lower
ones: triangle t is t, segment s of a strand is (number of triangles) + s. The smaller value wins, so neither
order nor threads matter.

No postponed annotations here: warp reads the kernels' annotations as they are.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Self, no_type_check

import numpy as np

from comface_bench.comface.synthesis.anny.arrays import Floats, Ints
from comface_bench.comface.synthesis.anny.warp_runtime import (
    Device,
    flatten_rows,
    image_index,
    load_warp,
    struct_dtype,
    warp_struct,
)

EMPTY = 2**64 - 1
"""Value of a sample that nothing covers."""
_CAMERA_FIELDS = {
    "mat33": ("rotation",),
    "vec3": ("target",),
    "float32": ("distance", "half_height", "right", "up", "size"),
}


@dataclass(frozen=True)
class Camera:
    """A camera or a light that looks along −z of its own frame.

    Attributes:
        rotation: Rotation (3, 3) from the head's frame to the camera's.
        target: Point in the head's frame that is looked at (3,), cm.
        distance: From there to the camera, cm; 0 for parallel rays.
        half_height: Half-height of the image at the target, cm.
        shift: Position of the target in the image, right and up, over the half-height.
        size: Samples along a side.
    """

    rotation: Floats
    target: Floats
    distance: float
    half_height: float
    shift: tuple[float, float]
    size: int


def look_at_point(eye_centre: Floats, eye_distance: float) -> Floats:
    """Return the point (3,) that the camera looks at and the head rotates about."""
    target: Floats = eye_centre - np.array([0, 0.20 * eye_distance, 1.1 * eye_distance])
    return target


def camera_structs(cameras: Sequence[Camera], device: Device) -> Any:
    """Return the cameras of K images as warp structures."""
    kind = _kernels().Camera
    rows = np.zeros(len(cameras), struct_dtype(kind))
    for row, camera in zip(rows, cameras, strict=True):
        row["rotation"], row["target"], row["distance"] = camera.rotation, camera.target, camera.distance
        (row["right"], row["up"]), row["half_height"], row["size"] = (
            camera.shift,
            camera.half_height,
            camera.size,
        )
    return device.array(rows, kind)


def project(points: Any, cameras: Any, device: Device, placed: Any = None) -> Any:
    """Return points projected to the screen (K, N): x, y in samples, depth in (0, 1).

    Args:
        points: Of each image (K, N).
        cameras: The images' `camera_structs`.
        device: Where the arrays lie.
        placed: If given, filled with the points in the camera's frame (K, N), cm.
    """
    screen = device.empty(points.shape, "vec3")
    inputs = [
        *flatten_rows(points),
        points.shape[1],
        cameras,
        device.empty((0,), "vec3") if placed is None else flatten_rows(placed)[0],
        flatten_rows(screen)[0],
    ]
    device.launch(_kernels().project, points.size, inputs)
    return screen


@dataclass(frozen=True)
class StrandGeometry:
    """Strands of one image: hair, brows, lashes, beards, frames of glasses.

    Attributes:
        points: Points of all strands, one after the other (P, 3).
        widths: Full width at each point (P,), cm.
        segments: First point of each segment (S,); the next one is its end.
        strand: Number of each segment's strand (S,); −1 for strands that are always drawn at
            their own width.
    """

    points: Floats
    widths: Floats
    segments: Ints
    strand: Ints


@dataclass(frozen=True)
class StrandBatch:
    """The strands of K images, on a device.

    Attributes:
        widths: Full width at each point (K, P), cm.
        segments, strand: As in `StrandGeometry` (K, S).
        counts: Number of segments of each image (K,).
    """

    widths: Any
    segments: Any
    strand: Any
    counts: Any

    @classmethod
    def of(cls, strands: Sequence[StrandGeometry], device: Device) -> Self:
        """Copy strands to a device."""
        return cls(
            device.stack([one.widths for one in strands], "float32"),
            device.stack([one.segments for one in strands], "int32"),
            device.stack([one.strand for one in strands], "int32"),
            device.array([len(one.segments) for one in strands], "int32"),
        )


class VisibilityBuffer:
    """The visibility buffers of K images.

    Args:
        count: K.
        width: Samples along a side.
        device: Where they lie.
    """

    def __init__(self, count: int, width: int, device: Device) -> None:
        self.width, self._device = width, device
        self.samples = device.empty((count, width * width), "uint64")
        self.samples.fill_(EMPTY)
        self._flat = flatten_rows(self.samples)[0]

    def draw_triangles(self, screen: Any, triangles: Any) -> None:
        """Draw the triangles (T, 3) that face the camera, over projected vertices (K, W)."""
        items = screen.shape[0] * triangles.shape[0]
        self._device.launch(
            _kernels().triangles, items, [*flatten_rows(screen), triangles, self.width, self._flat]
        )

    def draw_strands(
        self,
        screen: Any,
        strands: StrandBatch,
        first: int,
        scales: Sequence[float],
        least: float = 1.0,
        every: int = 1,
    ) -> None:
        """Draw strands.

        Args:
            screen: Projected points (K, P).
            strands: The strands.
            first: Number of the first segment in the buffer.
            scales: Samples per cm in each image.
            least: Width in samples below which strands are left out at random instead of drawn thinner.
            every: Only each `every`-th strand is drawn, `every` times as wide: for shadows.
        """
        inputs = [
            *flatten_rows(screen),
            *flatten_rows(strands.widths),
            *flatten_rows(strands.segments),
            strands.segments.shape[1],
            *flatten_rows(strands.strand),
            strands.counts,
            first,
            self._device.array(scales, "float32"),
            float(least),
            every,
            self.width,
            self._flat,
        ]
        self._device.launch(_kernels().strands, strands.segments.size, inputs)


@functools.lru_cache(maxsize=1)
def _kernels() -> SimpleNamespace:
    wp, owner = load_warp(), image_index()
    camera_type = warp_struct("Camera", __name__, _CAMERA_FIELDS)

    @wp.kernel(module="unique")
    @no_type_check
    def project_kernel(
        points: wp.array(dtype=wp.vec3),
        apart: wp.int32,
        each: wp.int32,
        cameras: wp.array(dtype=camera_type),
        placed: wp.array(dtype=wp.vec3),
        screen: wp.array(dtype=wp.vec3),
    ):
        item = wp.tid()
        image = owner(item, each)
        camera = cameras[image]
        p = camera.rotation * (points[image * apart + item - image * each] - camera.target)
        if placed.shape[0] > 0:
            placed[item] = p
        scale = float(1.0)  # noqa: UP018 (so written, warp lets it change)
        depth = 0.5 - p[2] / 120.0
        if camera.distance > 0.0:
            away = wp.max(camera.distance - p[2], 1.0)
            scale = camera.distance / away
            depth = 1.0 - wp.max(camera.distance - 40.0, 2.0) / away
        screen[item] = wp.vec3(
            (p[0] * scale / camera.half_height + camera.right + 1.0) * 0.5 * camera.size,
            (1.0 - p[1] * scale / camera.half_height - camera.up) * 0.5 * camera.size,
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
        apart: wp.int32,
        triangles: wp.array2d(dtype=wp.int32),
        width: wp.int32,
        samples: wp.array(dtype=wp.uint64),
    ):
        item = wp.tid()
        image = owner(item, triangles.shape[0])
        i = item - image * triangles.shape[0]
        at = image * apart
        a = screen[at + triangles[i, 0]]
        b = screen[at + triangles[i, 1]]
        c = screen[at + triangles[i, 2]]
        # Rows grow downwards, so a triangle that faces the camera has a negative area here.
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if area > -1.0e-9:
            return
        left = wp.max(int(wp.ceil(wp.min(a[0], wp.min(b[0], c[0])) - 0.5)), 0)
        right = wp.min(int(wp.floor(wp.max(a[0], wp.max(b[0], c[0])) - 0.5)), width - 1)
        top = wp.max(int(wp.ceil(wp.min(a[1], wp.min(b[1], c[1])) - 0.5)), 0)
        bottom = wp.min(int(wp.floor(wp.max(a[1], wp.max(b[1], c[1])) - 0.5)), width - 1)
        inverse = 1.0 / area
        corner = image * width * width
        for row in range(top, bottom + 1):
            y = float(row) + 0.5
            for column in range(left, right + 1):
                x = float(column) + 0.5
                u = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) * inverse
                v = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) * inverse
                w = 1.0 - u - v
                if u >= 0.0 and v >= 0.0 and w >= 0.0:
                    depth = u * a[2] + v * b[2] + w * c[2]
                    wp.atomic_min(samples, corner + row * width + column, key_of(depth, i))

    @wp.kernel(module="unique")
    @no_type_check
    def strands_kernel(
        screens: wp.array(dtype=wp.vec3),
        screens_apart: wp.int32,
        widths: wp.array(dtype=wp.float32),
        widths_apart: wp.int32,
        segments: wp.array(dtype=wp.int32),
        segments_apart: wp.int32,
        each: wp.int32,
        strands: wp.array(dtype=wp.int32),
        strands_apart: wp.int32,
        counts: wp.array(dtype=wp.int32),
        first: wp.int32,
        scales: wp.array(dtype=wp.float32),
        least: wp.float32,
        every: wp.int32,
        width: wp.int32,
        samples: wp.array(dtype=wp.uint64),
    ):
        item = wp.tid()
        image = owner(item, each)
        i = item - image * each
        if i >= counts[image]:
            return
        strand = strands[image * strands_apart + i]
        broaden = float(every)
        if strand < 0:
            broaden = 1.0
        elif strand % every != 0:
            return
        k = segments[image * segments_apart + i]
        at = image * screens_apart + k
        a = screens[at]
        b = screens[at + 1]
        scale = scales[image]
        edge = float(width)
        if wp.max(a[0], b[0]) < 0.0 or wp.max(a[1], b[1]) < 0.0:
            return
        if wp.min(a[0], b[0]) > edge or wp.min(a[1], b[1]) > edge:
            return
        at = image * widths_apart + k
        wa = widths[at] * scale * broaden
        wb = widths[at + 1] * scale * broaden
        thick = wp.max(wa, wb)
        if thick <= 0.0:
            return
        if thick < least and strand >= 0:
            # Thinner than a sample: shown as often as it would cover it.
            chance = wp.uint32(strand * 16 + 5) * wp.uint32(747796405)
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
        end = wp.min(int(wp.floor(wp.max(m0, m0 + dm) + reach - 0.5)), width - 1)
        corner = image * width * width
        for m in range(start, end + 1):
            middle = n0 + (float(m) + 0.5 - m0) * lean
            low = wp.max(int(wp.ceil(wp.max(lowest, middle - broad) - 0.5)), 0)
            high = wp.min(int(wp.floor(wp.min(highest, middle + broad) - 0.5)), width - 1)
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
                    wp.atomic_min(samples, corner + row * width + column, key_of(depth, first + i))

    return SimpleNamespace(
        Camera=camera_type, project=project_kernel, triangles=triangles_kernel, strands=strands_kernel
    )
