"""How much light reaches the head from each of a few directions: soft shadows of all that is around.

The head is drawn from each direction into a small depth map; a vertex that lies behind the map is dark from
there. Cosine-weighted, these form a matrix from radiance to irradiance, made once for each shape.

No postponed annotations here: warp reads the kernels' annotations as they are.
"""

import functools
from typing import Any, no_type_check

import numpy as np

from comface_bench.comface.synthesis.anny.arrays import Floats, Ints
from comface_bench.comface.synthesis.anny.raster import Buffer, Bundle, Camera, Strands, lenses, project
from comface_bench.comface.synthesis.anny.warping import Device, flat, image_of, load_warp

_ALL, _HALF, _WIDE = 28, 17.0, 80
MEASURE = 4.0 / _ALL
"""Solid angle of each direction over π."""


@functools.lru_cache(maxsize=1)
def directions() -> Floats:
    """Return the directions (D, 3) in the head's frame that light is gathered from; none from far behind."""
    index = np.arange(_ALL) + 0.5
    height = 1 - 2 * index / _ALL
    turn = np.pi * (1 + 5**0.5) * index
    ring = np.sqrt(1 - height**2)
    sphere = np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], axis=1).astype(np.float32)
    return sphere[(sphere[:, 2] > -0.6) & (sphere[:, 1] > -0.9)]


def transfer(
    points: Floats, normals: Floats, triangles: Ints, strands: Strands | None, middle: Floats, device: Device
) -> Floats:
    """Return the matrix (V, D) from radiance from `directions` to irradiance over π at vertices.

    Args:
        points: Vertices (V, 3).
        normals: Their unit normals.
        triangles: What casts shadows (T, 3).
        strands: Hair that casts shadows as well.
        middle: Middle of the head (3,).
        device: Where it is found, for all directions at once.
    """
    count, turns = len(points), _turns()
    free = points + 0.30 * normals
    every = np.concatenate([points, free] if strands is None else [points, free, strands.points])
    cameras = [Camera(turn, middle, 0.0, _HALF, (0.0, 0.0), _WIDE) for turn in turns]
    screen = project(device.stack([every] * len(turns), "vec3"), lenses(cameras, device), device)
    buffer = Buffer(len(turns), _WIDE, device)
    buffer.draw_triangles(screen, device.array(triangles, "int32"))
    if strands is not None and len(strands.segments):
        thick = Bundle.of([strands] * len(turns), device)
        scales = [_WIDE / (2 * _HALF)] * len(turns)
        buffer.draw_strands(screen[:, 2 * count :], thick, len(triangles), scales, 2.0)
    seen = device.empty((count, len(turns)), "float32")
    inputs = [*flat(screen[:, count : 2 * count]), flat(buffer.samples)[0], _WIDE, seen]
    device.launch(_kernels()["seen"], seen.size, inputs)
    cosines = np.clip(np.einsum("vc,dc->vd", normals, directions()), 0, None)
    matrix: Floats = seen.numpy() * cosines * np.float32(MEASURE)
    return matrix


@functools.lru_cache(maxsize=1)
def _turns() -> list[Floats]:
    return [look_along(towards) for towards in directions()]


def look_along(towards: Floats) -> Floats:
    """Return the rotation (3, 3) of a camera that stands in the direction `towards` and looks back."""
    helper = np.array([0.0, 1.0, 0.0]) if abs(towards[1]) < 0.9 else np.array([0.0, 0.0, 1.0])
    right = np.cross(helper, towards)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(towards, right), towards])


@functools.lru_cache(maxsize=1)
def _kernels() -> dict[str, Any]:
    wp, owner = load_warp(), image_of()

    @wp.kernel(module="unique")
    @no_type_check
    def seen_kernel(
        screen: wp.array(dtype=wp.vec3),
        apart: wp.int32,
        samples: wp.array(dtype=wp.uint64),
        wide: wp.int32,
        seen: wp.array2d(dtype=wp.float32),
    ):
        item = wp.tid()
        index = owner(item, seen.shape[0])
        i = item - index * seen.shape[0]
        s = screen[index * apart + i]
        corner = index * wide * wide
        x = wp.clamp(s[0] - 0.5, 0.0, float(wide) - 1.01)
        y = wp.clamp(s[1] - 0.5, 0.0, float(wide) - 1.01)
        column = int(x)
        row = int(y)
        fx = x - float(column)
        fy = y - float(row)
        total = float(0.0)  # noqa: UP018 (so written, warp lets it change in the loop)
        for k in range(4):
            dx = k % 2
            dy = k // 2
            key = samples[corner + (row + dy) * wide + column + dx]
            depth = float(wp.uint32(key >> wp.uint64(32))) / 4.0e9
            weight = (1.0 - fx + float(dx) * (2.0 * fx - 1.0)) * (1.0 - fy + float(dy) * (2.0 * fy - 1.0))
            if s[2] < depth + 0.0012:
                total += weight
        seen[i, index] = total

    return {"seen": seen_kernel}
