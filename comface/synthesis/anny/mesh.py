"""Quad meshes: Catmull–Clark subdivision as a sparse matrix, triangulation, vertex normals.

A subdivision step is linear in the vertices, so it is computed once for the template and then costs
one sparse product for each face that is rendered.

No postponed annotations here: warp reads the kernels' annotations as they are.
"""

import functools
from typing import TYPE_CHECKING, Any, no_type_check

import numpy as np

from comface_bench.comface.synthesis.anny.arrays import Floats, Ints
from comface_bench.comface.synthesis.anny.warp_runtime import CPU, load_warp

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def subdivide(quads: Ints, vertices: int) -> "tuple[csr_matrix, Ints, Ints]":
    """Return one Catmull–Clark step of a quad mesh.

    Args:
        quads: Vertex indices, shape (Q, 4); every vertex in [0, vertices) belongs to some quad.
        vertices: Number of vertices V.

    Returns:
        The matrix of shape (V + E + Q, V) that maps old to new vertices, the new quads (4Q, 4), and
        for each new quad the index of the quad that it came from (4Q,).

    Source:
        E. Catmull, J. Clark, "Recursively generated B-spline surfaces on arbitrary topological
        meshes", Computer-Aided Design 10 (1978); boundaries by the cubic B-spline rule.
    """
    from scipy.sparse import coo_matrix, diags, vstack

    count = len(quads)
    ends = np.sort(np.stack([quads, np.roll(quads, -1, axis=1)], axis=2).reshape(-1, 2), axis=1)
    edges, edge_of = np.unique(ends, axis=0, return_inverse=True)
    edge_of = edge_of.reshape(count, 4)
    uses = np.bincount(edge_of.ravel(), minlength=len(edges))
    inner = (uses == 2).astype(float)

    face_points = coo_matrix(
        (np.full(4 * count, 0.25), (np.repeat(np.arange(count), 4), quads.ravel())), shape=(count, vertices)
    ).tocsr()
    rows = np.repeat(np.arange(len(edges)), 2)
    middles = coo_matrix((np.full(2 * len(edges), 0.5), (rows, edges.ravel())), shape=(len(edges), vertices))
    beside = coo_matrix(
        (np.ones(4 * count), (edge_of.ravel(), np.repeat(np.arange(count), 4))), shape=(len(edges), count)
    ).tocsr()
    sides = diags(1.0 / np.maximum(uses, 1)) @ beside @ face_points
    edge_points = diags(1 - inner / 2) @ middles.tocsr() + diags(inner / 2) @ sides

    valence = np.bincount(edges.ravel(), minlength=vertices).astype(float)
    at_edge = coo_matrix(
        (np.ones(2 * len(edges)), (edges.ravel(), rows)), shape=(vertices, len(edges))
    ).tocsr()
    at_face = coo_matrix(
        (np.ones(4 * count), (quads.ravel(), np.repeat(np.arange(count), 4))), shape=(vertices, count)
    ).tocsr()
    faces_at = np.bincount(quads.ravel(), minlength=vertices).astype(float)
    border = np.asarray(at_edge @ (1 - inner)).ravel() > 0
    identity = diags(np.ones(vertices))
    smooth = (
        diags(1 / (valence * np.maximum(faces_at, 1))) @ at_face @ face_points
        + diags(2 / (valence * valence)) @ at_edge @ middles.tocsr()
        + diags((valence - 3) / valence) @ identity
    )
    border_edges = at_edge @ diags(1 - inner)
    ring = (
        diags(1 / np.maximum(np.asarray(border_edges.sum(axis=1)).ravel(), 1))
        @ border_edges
        @ middles.tocsr()
    )
    vertex_points = diags((~border).astype(float)) @ smooth + diags(border * 0.5) @ (identity + ring)

    matrix = vstack([vertex_points, edge_points, face_points]).tocsr().astype(np.float32)
    edge_ids = vertices + edge_of
    centre = (vertices + len(edges) + np.arange(count))[:, None]
    corners = [
        np.concatenate([quads[:, [k]], edge_ids[:, [k]], centre, edge_ids[:, [k - 1]]], axis=1)
        for k in range(4)
    ]
    return matrix, np.concatenate(corners).astype(np.int32), np.tile(np.arange(count), 4)


def triangulate(quads: Ints) -> Ints:
    """Split quads (Q, 4) along their first diagonal: triangles (2Q, 3), quad q giving q and Q + q."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


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
