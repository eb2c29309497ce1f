"""Frames of glasses, as strands in front of the eyes."""

from __future__ import annotations

import numpy as np

from comface_bench.comface.synthesis.anny.arrays import Floats


def glasses_strands(form: str, left: Floats, right: Floats, scale: float) -> tuple[Floats, Floats]:
    """Return the frames of glasses.

    Args:
        form: One of `GLASSES` but the empty one.
        left: Centre of the left eye (3,).
        right: Centre of the right eye (3,).
        scale: Size of the head over the template's.

    Returns:
        Points of strands (N, S, 3) and their widths (N, S), cm.
    """
    middle = (left + right) / 2
    across = (left - right) / np.linalg.norm(left - right)
    ahead = np.array([0.0, 0.0, 1.0])
    ahead = ahead - across * (ahead @ across)
    up = np.cross(ahead, across)
    thick = {"round": 0.20, "square": 0.30, "rimless": 0.09}[form] * scale
    wide, high, power = {
        "round": (2.35, 2.15, 2.0),
        "square": (2.65, 1.75, 4.5),
        "rimless": (2.45, 1.65, 3.0),
    }[form]
    turn = np.linspace(0, 2 * np.pi, 25)
    c, s = np.cos(turn), np.sin(turn)
    x = np.sign(c) * np.abs(c) ** (2 / power) * wide * scale
    y = np.sign(s) * np.abs(s) ** (2 / power) * high * scale
    lines = []

    def at(x: Floats, y: Floats, z: Floats) -> Floats:
        places: Floats = middle + x[:, None] * across + y[:, None] * up + z[:, None] * ahead
        return places

    half = float(np.linalg.norm(left - right)) / 2 + 0.05 * scale
    front = 3.05 * scale
    for side in (-1.0, 1.0):
        # Lenses wrap round the face a little.
        lines.append(at(side * half + x, y - 0.25 * scale, front - 0.10 * np.abs(side * half + x) ** 1.3))
        back = np.linspace(0, 1, 25)
        edge = side * (half + wide * scale)
        depth = front - 0.10 * abs(edge) ** 1.3
        ear = side * 7.6 * scale
        lines.append(
            at(
                edge + (ear - edge) * np.clip(back * 4, 0, 1) ** 0.7,
                np.full(25, 0.55 * scale) - 0.3 * back,
                depth - back * (depth + 10.5 * scale),
            )
        )
    inner = half - wide * scale
    bridge = np.linspace(-inner, inner, 25)
    lines.append(
        at(bridge, 0.15 * scale + 0.35 * scale * np.cos(bridge / max(inner, 0.1) * 1.4), np.full(25, front))
    )
    points = np.stack(lines)
    return points.astype(np.float32), np.full(points.shape[:2], thick, np.float32)
