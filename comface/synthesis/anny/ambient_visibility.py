"""Ambient visibility: the share of each direction's light that reaches a vertex past head and hair.

The head is rendered from each direction into a small depth map; a vertex behind the map is in shadow.
Weighted by the cosine, these form a matrix from radiance to irradiance (precomputed radiance transfer), made
once for each shape.

No postponed annotations here: warp reads the kernels' annotations as they are.
"""

import functools
from typing import Any, no_type_check

import numpy as np

from comface_bench.comface.synthesis.anny.arrays import Floats, Ints
from comface_bench.comface.synthesis.anny.raster import (
    Camera,
    StrandBatch,
    StrandGeometry,
    VisibilityBuffer,
    camera_structs,
    project,
)
from comface_bench.comface.synthesis.anny.warp_runtime import Device, flatten_rows, image_index, load_warp

_ALL, _HALF_HEIGHT, _WIDTH = 28, 17.0, 80
SOLID_ANGLE = 4.0 / _ALL
"""Solid angle of each direction over π."""


@functools.lru_cache(maxsize=1)
def sample_directions() -> Floats:
    """Return the directions (D, 3) of ambient light in the head's frame; none far behind."""
    index = np.arange(_ALL) + 0.5
    height = 1 - 2 * index / _ALL
    turn = np.pi * (1 + 5**0.5) * index
    ring = np.sqrt(1 - height**2)
    sphere = np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], axis=1).astype(np.float32)
    return sphere[(sphere[:, 2] > -0.6) & (sphere[:, 1] > -0.9)]


def radiance_transfer(
    points: Floats,
    normals: Floats,
    triangles: Ints,
    strands: StrandGeometry | None,
    middle: Floats,
    device: Device,
) -> Floats:
    """Return the matrix (V, D) from radiance from `directions` to irradiance over π at vertices.

    Args:
        points: Vertices (V, 3).
        normals: Their unit normals.
        triangles: Triangles that cast shadows (T, 3).
        strands: Hair that casts shadows as well.
        middle: Middle of the head (3,).
        device: Where it is computed, for all directions at once.
    """
    count, turns = len(points), _turns()
    free = points + 0.30 * normals
    every = np.concatenate([points, free] if strands is None else [points, free, strands.points])
    cameras = [Camera(turn, middle, 0.0, _HALF_HEIGHT, (0.0, 0.0), _WIDTH) for turn in turns]
    screen = project(device.stack([every] * len(turns), "vec3"), camera_structs(cameras, device), device)
    buffer = VisibilityBuffer(len(turns), _WIDTH, device)
    buffer.draw_triangles(screen, device.array(triangles, "int32"))
    if strands is not None and len(strands.segments):
        thick = StrandBatch.of([strands] * len(turns), device)
        scales = [_WIDTH / (2 * _HALF_HEIGHT)] * len(turns)
        buffer.draw_strands(screen[:, 2 * count :], thick, len(triangles), scales, 2.0)
    seen = device.empty((count, len(turns)), "float32")
    inputs = [*flatten_rows(screen[:, count : 2 * count]), flatten_rows(buffer.samples)[0], _WIDTH, seen]
    device.launch(_kernels()["seen"], seen.size, inputs)
    cosines = np.clip(np.einsum("vc,dc->vd", normals, sample_directions()), 0, None)
    matrix: Floats = seen.numpy() * cosines * np.float32(SOLID_ANGLE)
    return matrix


@functools.lru_cache(maxsize=1)
def _turns() -> list[Floats]:
    return [view_rotation(towards) for towards in sample_directions()]


def view_rotation(towards: Floats) -> Floats:
    """Return the rotation (3, 3) of a camera in the direction `towards` that looks back."""
    helper = np.array([0.0, 1.0, 0.0]) if abs(towards[1]) < 0.9 else np.array([0.0, 0.0, 1.0])
    right = np.cross(helper, towards)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(towards, right), towards])


@functools.lru_cache(maxsize=1)
def _kernels() -> dict[str, Any]:
    wp, owner = load_warp(), image_index()

    @wp.kernel(module="unique")
    @no_type_check
    def seen_kernel(
        screen: wp.array(dtype=wp.vec3),
        apart: wp.int32,
        samples: wp.array(dtype=wp.uint64),
        width: wp.int32,
        seen: wp.array2d(dtype=wp.float32),
    ):
        item = wp.tid()
        index = owner(item, seen.shape[0])
        i = item - index * seen.shape[0]
        s = screen[index * apart + i]
        corner = index * width * width
        x = wp.clamp(s[0] - 0.5, 0.0, float(width) - 1.01)
        y = wp.clamp(s[1] - 0.5, 0.0, float(width) - 1.01)
        column = int(x)
        row = int(y)
        fx = x - float(column)
        fy = y - float(row)
        total = float(0.0)  # noqa: UP018 (so written, warp lets it change in the loop)
        for k in range(4):
            dx = k % 2
            dy = k // 2
            key = samples[corner + (row + dy) * width + column + dx]
            depth = float(wp.uint32(key >> wp.uint64(32))) / 4.0e9
            weight = (1.0 - fx + float(dx) * (2.0 * fx - 1.0)) * (1.0 - fy + float(dy) * (2.0 * fy - 1.0))
            if s[2] < depth + 0.0012:
                total += weight
        seen[i, index] = total

    return {"seen": seen_kernel}
