"""What is out of focus behind a person: walls, rooms, streets, trees, skies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.synthesis.anny.noise import linear

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats
    from comface_bench.comface.synthesis.anny.view import View

SIDE = 48
_SCENES = {
    "window": ("wall", "room"),
    "overcast": ("trees", "street", "sky"),
    "room": ("room", "wall", "lamps"),
    "flash": ("wall", "room", "lamps"),
    "sunset": ("trees", "sky", "street"),
    "studio": ("paper",),
    "shade": ("trees", "street", "wall"),
}


def _leaf(random: np.random.Generator) -> tuple[float, float, float]:
    green = random.uniform(0.15, 0.55)
    return float(green * random.uniform(0.65, 1.05)), float(green), float(green * random.uniform(0.35, 0.75))


def draw_backdrop(view: View) -> Floats:
    """Return linear light (SIDE, SIDE, 3) behind a person, a function of `view.backdrop` and its light."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(view.backdrop)
    kinds = _SCENES[view.around.kind]
    kind = kinds[int(random.integers(len(kinds)))]
    steps = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    x, y = np.meshgrid(steps, steps)
    canvas = np.zeros((SIDE, SIDE, 3), np.float32)

    def fill(colour: tuple[float, float, float], where: Floats | float = 1.0, share: float = 1.0) -> None:
        weight = np.broadcast_to(np.asarray(where, np.float32) * share, (SIDE, SIDE))[..., None]
        canvas[:] = canvas + weight * (linear(colour) - canvas)

    def shade(low: float, high: float, spread: float = 0.03, warm: float = 0.0) -> tuple[float, float, float]:
        level = random.uniform(low, high)
        r, g, b = np.clip(level + random.normal(0, spread, 3) + np.array([warm, 0, -warm]), 0.01, 1)
        return float(r), float(g), float(b)

    def box(colour: tuple[float, float, float], left: float, top: float, width: float, height: float) -> None:
        fill(colour, ((x > left) & (x < left + width) & (y > top) & (y < top + height)).astype(np.float32))

    def discs(count: int, small: float, large: float, low: float, high: float, warm: float) -> None:
        for _ in range(count):
            cx, cy, radius = (
                random.uniform(-0.1, 1.1),
                random.uniform(-0.1, 0.9),
                random.uniform(small, large),
            )
            fill(
                shade(low, high, 0.06, warm),
                np.clip((radius - np.hypot(x - cx, y - cy)) * SIDE / 2 + 0.5, 0, 1),
                float(random.uniform(0.3, 0.8)),
            )

    def blotches(colours: tuple[tuple[float, float, float], ...], size: float) -> None:
        for colour in colours:
            field = gaussian_filter(random.normal(0, 1, (SIDE, SIDE)), size, mode="wrap")
            fill(colour, np.clip(field / field.std() * 0.8 + 0.2, 0, 1))

    soft = float(random.uniform(0.8, 2.6))
    if kind == "paper":
        fill(shade(0.45, 0.95, 0.015))
        away = np.hypot(x - random.uniform(0.3, 0.7), y - random.uniform(0.2, 0.6))
        canvas *= (1.08 - random.uniform(0, 0.5) * away**2)[..., None]
    elif kind == "wall":
        fill(shade(0.35, 0.88, 0.03, 0.02))
        slope = random.normal(0, 0.5, 2)
        canvas *= np.clip(1 + slope[0] * (x - 0.5) + slope[1] * (y - 0.5), 0.3, 1.6)[..., None]
        if random.random() < 0.4:
            box(shade(0.1, 0.9, 0.06), random.uniform(-0.2, 0.9), random.uniform(-0.2, 0.3), 0.3, 0.45)
    elif kind in ("room", "lamps"):
        fill(shade(0.08, 0.3, 0.02, 0.03) if kind == "lamps" else shade(0.25, 0.65, 0.03, 0.04))
        for _ in range(int(random.integers(4, 10))):
            left, top = random.uniform(-0.2, 1.0), random.uniform(-0.2, 0.9)
            tone = shade(0.04, 0.6, 0.05, 0.04)
            box(tone, left, top, random.uniform(0.05, 0.4), random.uniform(0.1, 0.7))
        if random.random() < 0.45:
            box((0.97, 0.98, 1.0), random.uniform(-0.1, 0.85), random.uniform(-0.1, 0.2), 0.25, 0.5)
        if kind == "lamps":
            discs(int(random.integers(5, 16)), 0.02, 0.09, 0.6, 1.0, 0.14)
    elif kind == "sky":
        low, high = shade(0.70, 0.9, 0.03, 0.03), shade(0.45, 0.75, 0.03, -0.14)
        fill(low)
        fill(high, 1 - y)
        fill(shade(0.1, 0.35, 0.04), np.clip((y - random.uniform(0.55, 1.0)) * 8, 0, 1))
    elif kind == "street":
        fill(shade(0.4, 0.8, 0.03))
        for _ in range(int(random.integers(5, 12))):
            width = random.uniform(0.05, 0.3)
            box(
                shade(0.1, 0.75, 0.05, 0.03), random.uniform(-0.2, 1.0), random.uniform(-0.1, 0.6), width, 0.9
            )
        fill(shade(0.25, 0.5, 0.02), np.clip((y - 0.75) * 6, 0, 1))
    else:
        fill(shade(0.2, 0.45, 0.03))
        green = tuple(_leaf(random) for _ in range(5))
        blotches(green, float(random.uniform(1.5, 4)))
        discs(int(random.integers(3, 18)), 0.02, 0.08, 0.55, 0.98, 0.03)
    blurred: Floats = gaussian_filter(canvas, (soft, soft, 0), mode="nearest")
    level = {"sunset": 0.8, "flash": 0.5, "overcast": 1.0, "shade": 0.9}.get(view.around.kind, 0.9)
    return blurred * np.float32(level)
