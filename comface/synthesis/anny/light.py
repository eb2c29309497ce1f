"""Light: a few environments as one finds them around people, each drawn with variations.

Directions are in the camera's frame: x to the image's right, y up, z towards the camera. Colours are linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats
    from comface_bench.comface.synthesis.anny.person import Colour

Direction = tuple[float, float, float]


@dataclass(frozen=True)
class Lobe:
    """A soft light: radiance colour · exp(sharpness · (cos − 1)) at an angle from its direction."""

    towards: Direction
    colour: Colour
    sharpness: float


@dataclass(frozen=True)
class Light:
    """A light far away that casts a shadow: direction, colour, half-width of its disc (radians)."""

    towards: Direction
    colour: Colour
    spread: float


@dataclass(frozen=True)
class Environment:
    """All light but the key: a sky, a horizon, a ground, and soft lights.

    Attributes:
        kind: One of `KINDS`.
        sky, horizon, ground: Radiance upwards, level and downwards.
        lobes: Windows, lamps, softboxes.
    """

    kind: str
    sky: Colour
    horizon: Colour
    ground: Colour
    lobes: tuple[Lobe, ...]

    def radiance(self, directions: Floats) -> Floats:
        """Return the radiance (N, 3) from unit directions (N, 3)."""
        up = directions[:, 1:2]
        sky, horizon, ground = (np.array(c, np.float32) for c in (self.sky, self.horizon, self.ground))
        total = horizon + np.clip(up, 0, 1) * (sky - horizon) + np.clip(-up, 0, 1) * (ground - horizon)
        for lobe in self.lobes:
            cosine = directions @ np.array(lobe.towards, np.float32)
            shape = np.exp(lobe.sharpness * (cosine - 1))[:, None]
            total = total + shape * np.array(lobe.colour, np.float32)
        result: Floats = total.astype(np.float32)
        return result


KINDS = ("window", "overcast", "room", "flash", "sunset", "studio", "shade")


def towards(azimuth: float, height: float) -> Direction:
    """Return a direction from degrees: azimuth to the right of the camera, height above it."""
    a, h = np.deg2rad(azimuth), np.deg2rad(height)
    return float(np.sin(a) * np.cos(h)), float(np.sin(h)), float(np.cos(a) * np.cos(h))


def draw_light(random: np.random.Generator) -> tuple[Environment, Light]:
    """Draw an environment and its key light; the face receives about the same amount from each kind."""
    kind = str(random.choice(KINDS, p=(0.2, 0.14, 0.18, 0.1, 0.08, 0.16, 0.14)))
    side = float(random.choice([-1.0, 1.0]))
    warm = float(random.normal(0, 0.03))

    def tint(strength: float, warmth: float) -> Colour:
        t = warmth + warm
        return strength * (1 + t), strength, strength * (1 - t)

    def within(low: float, high: float) -> float:
        return float(random.uniform(low, high))

    if kind == "window":
        at = towards(side * within(25, 70), within(0, 25))
        dim = within(0.16, 0.34)
        around = tint(dim, 0.05), tint(dim * 0.9, 0.06), tint(dim * 0.6, 0.12)
        return (
            Environment(kind, *around, (Lobe(at, tint(within(1.0, 1.7), -0.03), within(3, 6)),)),
            Light(at, tint(within(0.35, 0.8), -0.03), within(0.25, 0.4)),
        )
    if kind == "overcast":
        at = towards(side * within(0, 40), within(40, 65))
        return (
            Environment(
                kind, tint(within(0.85, 1.15), -0.03), tint(0.5, -0.02), tint(within(0.15, 0.3), 0.04), ()
            ),
            Light(at, tint(within(0.1, 0.35), -0.02), 0.45),
        )
    if kind == "room":
        lamps = tuple(
            Lobe(
                towards(within(-70, 70), within(20, 70)),
                tint(within(0.5, 1.1), within(0.03, 0.13)),
                within(4, 14),
            )
            for _ in range(int(random.integers(1, 4)))
        )
        at = towards(side * within(5, 50), within(25, 55))
        return (
            Environment(kind, tint(0.42, 0.07), tint(0.30, 0.08), tint(0.2, 0.12), lamps),
            Light(at, tint(within(0.25, 0.7), 0.07), within(0.15, 0.3)),
        )
    if kind == "flash":
        at = towards(within(-8, 8), within(3, 12))
        dim = within(0.1, 0.3)
        return (
            Environment(kind, tint(dim, 0.07), tint(dim * 0.8, 0.07), tint(dim * 0.6, 0.10), ()),
            Light(at, tint(within(1.0, 1.3), 0.0), within(0.04, 0.1)),
        )
    if kind == "sunset":
        at = towards(side * within(25, 75), within(3, 18))
        return (
            Environment(kind, tint(within(0.3, 0.5), -0.08), tint(0.38, 0.06), tint(0.2, 0.12), ()),
            Light(at, tint(within(0.6, 1.1), within(0.12, 0.24)), 0.06),
        )
    if kind == "studio":
        fill = within(0.5, 0.95)
        boxes = (
            Lobe(towards(side * within(25, 50), within(15, 40)), tint(1.0, 0.0), within(4, 8)),
            Lobe(towards(-side * within(25, 60), within(0, 30)), tint(fill, 0.0), within(3, 7)),
        )
        return (
            Environment(kind, tint(0.3, 0.0), tint(0.3, 0.0), tint(0.3, 0.01), boxes),
            Light(boxes[0].towards, tint(within(0.2, 0.5), 0.0), within(0.2, 0.35)),
        )
    at = towards(side * within(10, 60), within(20, 60))
    behind = Lobe(
        towards(side * within(110, 150), within(10, 40)), tint(within(0.5, 2.5), 0.04), within(8, 20)
    )
    return (
        Environment(kind, tint(within(0.55, 0.9), -0.04), tint(0.45, 0.0), tint(0.28, 0.06), (behind,)),
        Light(at, tint(within(0.1, 0.4), 0.0), 0.4),
    )
