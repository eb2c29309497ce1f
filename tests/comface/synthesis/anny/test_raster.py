from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("warp")

from comface_bench.comface.synthesis.anny.raster import EMPTY, Buffer, Camera, Strands

WIDE = 40


def numbers(buffer: Buffer) -> Any:
    return np.where(
        buffer.samples == np.uint64(EMPTY), -1, (buffer.samples & np.uint64(0xFFFFFFFF)).astype(np.int64)
    ).reshape(WIDE, WIDE)


def reference(screen: Any, triangles: Any) -> Any:
    """The nearest triangle at each sample's middle, in float64, one sample at a time."""
    out = np.full((WIDE, WIDE), -1)
    for row in range(WIDE):
        for column in range(WIDE):
            best = np.inf
            for index, corners in enumerate(triangles):
                (ax, ay, az), (bx, by, bz), (cx, cy, cz) = screen[corners].astype(float)
                matrix = np.array([[ax, bx, cx], [ay, by, cy], [1, 1, 1]])
                if np.linalg.det(matrix) >= 0:
                    continue
                shares = np.linalg.solve(matrix, [column + 0.5, row + 0.5, 1])
                depth = shares @ [az, bz, cz]
                if (shares >= 0).all() and depth < best:
                    best, out[row, column] = depth, index
    return out


def test_nearest_triangle_wins_at_every_sample() -> None:
    random = np.random.default_rng(3)
    screen = np.concatenate(
        [random.uniform(-5, WIDE + 5, (24, 2)), random.uniform(0.1, 0.9, (24, 1))], axis=1
    )
    screen = screen.astype(np.float32)
    triangles = random.permutation(24).reshape(8, 3).astype(np.int32)
    triangles = np.concatenate(
        [triangles, triangles[:, ::-1]]
    )  # both windings: one of the two faces the camera
    buffer = Buffer(WIDE)
    buffer.draw_triangles(screen, triangles)
    expected = reference(screen, triangles)
    assert (expected >= 0).mean() > 0.2
    assert (numbers(buffer) != expected).mean() < 0.002, "but for samples on an edge"
    again = Buffer(WIDE)
    order = random.permutation(len(triangles))
    again.draw_triangles(screen, triangles[order])
    np.testing.assert_array_equal(
        np.where(numbers(again) >= 0, order[numbers(again)], -1), numbers(buffer), "order doesn't matter"
    )


def test_strand_covers_what_is_near_its_line() -> None:
    screen = np.array([[8, 10, 0.5], [30, 25, 0.5]], np.float32)
    strands = Strands(screen, np.array([6, 6], np.float32), np.array([0], np.int32), np.array([0], np.int32))
    buffer = Buffer(WIDE)
    buffer.draw_strands(screen, strands, 5, 1.0)
    x, y = np.meshgrid(np.arange(WIDE) + 0.5, np.arange(WIDE) + 0.5)
    t = np.clip(((x - 8) * 22 + (y - 10) * 15) / (22**2 + 15**2), 0, 1)
    near = np.hypot(x - 8 - 22 * t, y - 10 - 15 * t) <= 3
    np.testing.assert_array_equal(numbers(buffer) == 5, near)


@pytest.mark.parametrize("distance", [0.0, 80.0])
def test_camera_puts_the_middle_in_the_middle_and_near_before_far(distance: float) -> None:
    camera = Camera(np.eye(3), np.array([1.0, 2.0, 3.0]), distance, 10.0, (0.0, 0.0), WIDE)
    points = np.array([[1, 2, 3], [6, 2, 3], [1, 7, 3], [1, 2, 8], [6, 2, 8]], np.float32)
    placed, screen = camera.project(points)
    np.testing.assert_allclose(placed, points - [1, 2, 3], atol=1e-5)
    np.testing.assert_allclose(screen[0, :2], WIDE / 2)
    np.testing.assert_allclose(screen[1, :2], [WIDE * 0.75, WIDE / 2], rtol=1e-5)
    np.testing.assert_allclose(screen[2, :2], [WIDE / 2, WIDE * 0.25], rtol=1e-5)
    assert screen[3, 2] < screen[0, 2]
    grown = (screen[4, 0] - WIDE / 2) / (screen[1, 0] - WIDE / 2)
    assert grown == pytest.approx(1.0 if distance == 0 else 80 / 75, rel=1e-5)
