"""Quad meshes: one Catmull–Clark step and vertex normals, both as sparse matrices.

A subdivision step is linear in the vertices, so it is computed once for the template and then costs
one sparse product for each face that is rendered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from comface_bench.comface.synthesis.anny.arrays import Ints


def subdivide(quads: Ints, vertices: int) -> tuple[csr_matrix, Ints, Ints]:
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
