from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("warp")

from comface_bench.comface.synthesis.anny.raster import (
    EMPTY,
    Camera,
    StrandBatch,
    StrandGeometry,
    VisibilityBuffer,
    camera_structs,
    project,
)
from comface_bench.comface.synthesis.anny.warp_runtime import CPU

WIDE = 40


def numbers(buffer: VisibilityBuffer) -> Any:
    samples = buffer.samples.numpy()
    shown = (samples & np.uint64(0xFFFFFFFF)).astype(np.int64)
    return np.where(samples == np.uint64(EMPTY), -1, shown).reshape(-1, WIDE, WIDE).squeeze()


def drawn(screens: Any, triangles: Any) -> VisibilityBuffer:
    """Triangles over projected vertices (K, W, 3) of K images."""
    buffer = VisibilityBuffer(len(screens), WIDE, CPU)
    buffer.draw_triangles(CPU.array(screens, "vec3"), CPU.array(triangles, "int32"))
    return buffer


def draw_strands(screens: Any, strands: list[StrandGeometry], scales: list[float]) -> VisibilityBuffer:
    """Strands over projected points (K, P, 3) of K images."""
    buffer = VisibilityBuffer(len(strands), WIDE, CPU)
    buffer.draw_strands(CPU.stack(screens, "vec3"), StrandBatch.of(strands, CPU), 5, scales)
    return buffer


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
    buffer = drawn(screen[None], triangles)
    expected = reference(screen, triangles)
    assert (expected >= 0).mean() > 0.2
    assert (numbers(buffer) != expected).mean() < 0.002, "but for samples on an edge"
    order = random.permutation(len(triangles))
    again = drawn(screen[None], triangles[order])
    np.testing.assert_array_equal(
        np.where(numbers(again) >= 0, order[numbers(again)], -1), numbers(buffer), "order doesn't matter"
    )


def test_strand_covers_what_is_near_its_line() -> None:
    screen = np.array([[8, 10, 0.5], [30, 25, 0.5]], np.float32)
    strands = StrandGeometry(
        screen, np.array([6, 6], np.float32), np.array([0], np.int32), np.array([0], np.int32)
    )
    buffer = draw_strands([screen], [strands], [1.0])
    x, y = np.meshgrid(np.arange(WIDE) + 0.5, np.arange(WIDE) + 0.5)
    t = np.clip(((x - 8) * 22 + (y - 10) * 15) / (22**2 + 15**2), 0, 1)
    near = np.hypot(x - 8 - 22 * t, y - 10 - 15 * t) <= 3
    np.testing.assert_array_equal(numbers(buffer) == 5, near)


def test_images_are_drawn_beside_each_other() -> None:
    random = np.random.default_rng(4)
    screens = random.uniform(0, WIDE, (3, 24, 3)) * [1, 1, 0.9 / WIDE]
    triangles = random.permutation(24).reshape(8, 3)
    together = numbers(drawn(screens, triangles))
    for screen, image in zip(screens, together, strict=True):
        np.testing.assert_array_equal(numbers(drawn(screen[None], triangles)), image)

    strands = []
    for count in (4, 9, 1):  # of different lengths, the shorter ones with no more segments than they have
        points = (random.uniform(0, WIDE, (count + 1, 3)) * [1, 1, 0.9 / WIDE]).astype(np.float32)
        widths = np.linspace(3, 0.2, count + 1, dtype=np.float32)
        strands.append(StrandGeometry(points, widths, np.arange(count), np.arange(count) % 3))
    scales = [1.0, 0.7, 1.6]
    together = numbers(draw_strands([one.points for one in strands], strands, scales))
    for one, scale, image in zip(strands, scales, together, strict=True):
        np.testing.assert_array_equal(numbers(draw_strands([one.points], [one], [scale])), image)
        assert (image >= 0).any()


@pytest.mark.parametrize("distance", [0.0, 80.0])
def test_camera_puts_the_middle_in_the_middle_and_near_before_far(distance: float) -> None:
    camera = Camera(np.eye(3), np.array([1.0, 2.0, 3.0]), distance, 10.0, (0.0, 0.0), WIDE)
    points = np.array([[1, 2, 3], [6, 2, 3], [1, 7, 3], [1, 2, 8], [6, 2, 8]], np.float32)
    placed = CPU.empty((1, len(points)), "vec3")
    (screen,) = project(CPU.array(points[None], "vec3"), camera_structs([camera], CPU), CPU, placed).numpy()
    np.testing.assert_allclose(placed.numpy()[0], points - [1, 2, 3], atol=1e-5)
    np.testing.assert_allclose(screen[0, :2], WIDE / 2)
    np.testing.assert_allclose(screen[1, :2], [WIDE * 0.75, WIDE / 2], rtol=1e-5)
    np.testing.assert_allclose(screen[2, :2], [WIDE / 2, WIDE * 0.25], rtol=1e-5)
    assert screen[3, 2] < screen[0, 2]
    grown = (screen[4, 0] - WIDE / 2) / (screen[1, 0] - WIDE / 2)
    assert grown == pytest.approx(1.0 if distance == 0 else 80 / 75, rel=1e-5)
