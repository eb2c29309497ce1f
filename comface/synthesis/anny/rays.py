"""Ray casting with warp: what each ray meets, how much sky and how much of a light a point sees.

No postponed annotations here: warp reads the kernels' annotations as they are.
"""

import functools
import importlib
from dataclasses import dataclass
from typing import Any, no_type_check

import numpy as np

from comface_bench.comface.synthesis.anny.arrays import Floats, Ints


@dataclass(frozen=True)
class Hits:
    """What rays met: triangle (N,), −1 for none, and barycentric weights (N, 3)."""

    triangle: Ints
    weights: Floats


class Tracer:
    """Rays against one triangle mesh.

    Args:
        points: Vertices (W, 3).
        triangles: Vertex indices (T, 3).
        opacity: Chance in [0, 1] that a triangle stops a ray (T,); lashes and strands let some pass.
        seed: Seed of those chances and of the jitter of shadow rays.
    """

    def __init__(self, points: Floats, triangles: Ints, opacity: Floats, seed: int) -> None:
        self._wp = wp = load_warp()
        self._mesh = wp.Mesh(
            points=wp.array(np.ascontiguousarray(points, np.float32), dtype=wp.vec3, device="cpu"),
            indices=wp.array(triangles.ravel(), dtype=wp.int32, device="cpu"),
        )
        self._opacity = wp.array(opacity.astype(np.float32), dtype=wp.float32, device="cpu")
        self._seed = seed

    def cast(self, origin: Floats, directions: Floats) -> Hits:
        """Follow rays from one origin (3,) along unit directions (N, 3)."""
        wp, count = self._wp, len(directions)
        found = wp.empty(count, dtype=wp.int32, device="cpu")
        places = wp.empty(count, dtype=wp.vec2, device="cpu")
        rays = wp.array(directions.astype(np.float32), dtype=wp.vec3, device="cpu")
        start = wp.vec3(*(float(value) for value in origin))
        inputs = [self._mesh.id, self._opacity, start, rays, self._seed, found, places]
        wp.launch(_kernels()["cast"], dim=count, inputs=inputs, device="cpu")
        uv = places.numpy()
        return Hits(found.numpy(), np.concatenate([uv, 1 - uv.sum(axis=1, keepdims=True)], axis=1))

    def openness(self, points: Floats, normals: Floats, rays: int, reach: float) -> Floats:
        """Return the cosine-weighted share (N,) of directions free for `reach` cm around each normal."""
        wp = self._wp
        return self._gather("openness", points, normals, [rays, float(reach)], wp.float32)

    def lit(self, points: Floats, normals: Floats, towards: Floats, spread: float, rays: int) -> Floats:
        """Return the share (N,) of jittered rays free towards a light of half-width `spread`."""
        wp = self._wp
        light = wp.vec3(*(float(value) for value in towards))
        return self._gather("lit", points, normals, [light, float(spread), rays], wp.float32)

    def _gather(self, kernel: str, points: Floats, normals: Floats, options: list[Any], dtype: Any) -> Floats:
        wp = self._wp
        out = wp.empty(len(points), dtype=dtype, device="cpu")
        at = wp.array(points.astype(np.float32), dtype=wp.vec3, device="cpu")
        up = wp.array(normals.astype(np.float32), dtype=wp.vec3, device="cpu")
        inputs = [self._mesh.id, at, up, *options, self._seed, out]
        wp.launch(_kernels()[kernel], dim=len(points), inputs=inputs, device="cpu")
        result: Floats = out.numpy()
        return result


def load_warp() -> Any:
    """Import warp, whose types are too dynamic to check; no banner and no word on missing GPUs."""
    warp: Any = importlib.import_module("warp")
    warp.config.log_level = getattr(warp, "LOG_ERROR", 40)
    warp.config.quiet = True  # what versions before `log_level` go by
    return warp


@functools.lru_cache(maxsize=1)
def _kernels() -> dict[str, Any]:
    wp = load_warp()

    @wp.kernel
    @no_type_check
    def cast(
        mesh: wp.uint64,
        opacity: wp.array(dtype=wp.float32),
        origin: wp.vec3,
        rays: wp.array(dtype=wp.vec3),
        seed: wp.int32,
        found: wp.array(dtype=wp.int32),
        places: wp.array(dtype=wp.vec2),
    ):
        i = wp.tid()
        state = wp.rand_init(seed, i)
        start = origin
        found[i] = -1
        places[i] = wp.vec2(0.0, 0.0)
        for _ in range(6):
            query = wp.mesh_query_ray(mesh, start, rays[i], 1.0e6)
            if not query.result:
                break
            if wp.randf(state) < opacity[query.face]:
                found[i] = query.face
                places[i] = wp.vec2(query.u, query.v)
                break
            start = start + (query.t + 1.0e-3) * rays[i]

    @wp.kernel
    @no_type_check
    def openness(
        mesh: wp.uint64,
        points: wp.array(dtype=wp.vec3),
        normals: wp.array(dtype=wp.vec3),
        rays: wp.int32,
        reach: wp.float32,
        seed: wp.int32,
        out: wp.array(dtype=wp.float32),
    ):
        i = wp.tid()
        state = wp.rand_init(seed, i)
        start = points[i] + 0.05 * normals[i]
        free = float(0.0)  # noqa: UP018 (so written, warp lets it change in the loop)
        for _ in range(rays):
            # A unit vector added to the normal is cosine-distributed about it.
            towards = wp.normalize(normals[i] + wp.sample_unit_sphere_surface(state))
            query = wp.mesh_query_ray(mesh, start, towards, reach)
            if not query.result:
                free = free + 1.0
        out[i] = free / float(rays)

    @wp.kernel
    @no_type_check
    def lit(
        mesh: wp.uint64,
        points: wp.array(dtype=wp.vec3),
        normals: wp.array(dtype=wp.vec3),
        light: wp.vec3,
        spread: wp.float32,
        rays: wp.int32,
        seed: wp.int32,
        out: wp.array(dtype=wp.float32),
    ):
        i = wp.tid()
        state = wp.rand_init(seed + 7919, i)
        free = float(0.0)  # noqa: UP018 (so written, warp lets it change in the loop)
        for _ in range(rays):
            towards = wp.normalize(light + spread * wp.sample_unit_sphere_surface(state))
            if wp.dot(towards, normals[i]) > -0.1:
                query = wp.mesh_query_ray(mesh, points[i] + 0.08 * normals[i], towards, 60.0)
                if not query.result:
                    free = free + 1.0
        out[i] = free / float(rays)

    return {"cast": cast, "openness": openness, "lit": lit}
