"""Normals of a mesh.

No postponed annotations here: warp reads the kernels' annotations as they are.
"""

import functools
from typing import Any, no_type_check

import numpy as np

from comface_bench.comface.synthesis.anny.arrays import Floats, Ints
from comface_bench.comface.synthesis.anny.warping import CPU, load_warp


def vertex_normals(points: Floats, triangles: Ints) -> Floats:
    """Return area-weighted unit normals (V, 3) of `points` (V, 3) for triangles (T, 3)."""
    normals = np.zeros((len(points), 3), np.float32)
    # Always there: on a GPU the order of the sums, and with it the last bits, would change each time.
    inputs = [CPU.array(points, "vec3"), CPU.array(triangles, "int32"), CPU.array(normals, "vec3")]
    CPU.launch(_kernels()["sum"], len(triangles), inputs)
    normals /= np.maximum(np.sqrt(np.einsum("vc,vc->v", normals, normals)), 1e-9)[:, None]
    return normals


@functools.lru_cache(maxsize=1)
def _kernels() -> dict[str, Any]:
    wp = load_warp()

    @wp.kernel(module="unique")
    @no_type_check
    def sum_kernel(
        points: wp.array(dtype=wp.vec3),
        triangles: wp.array2d(dtype=wp.int32),
        normals: wp.array(dtype=wp.vec3),
    ):
        i = wp.tid()
        a = triangles[i, 0]
        b = triangles[i, 1]
        c = triangles[i, 2]
        across = wp.cross(points[b] - points[a], points[c] - points[a])
        wp.atomic_add(normals, a, across)
        wp.atomic_add(normals, b, across)
        wp.atomic_add(normals, c, across)

    return {"sum": sum_kernel}
