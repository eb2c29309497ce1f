"""Everything about an image that isn't the person: camera, pose, light, background, sensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.person import Colour


@dataclass(frozen=True)
class Light:
    """A light far away: direction towards it in the camera's frame, linear colour, half-width."""

    towards: tuple[float, float, float]
    colour: Colour
    spread: float


@dataclass(frozen=True)
class View:
    """Everything about an image that isn't the person.

    Attributes:
        yaw, pitch, roll: Pose of the head in degrees; yaw turns it to the image's right, pitch down.
        distance: From the camera to the face, cm; short distances bulge the nose.
        frame: Half-height of the image at the face over the distance between the eyes.
        shift: Place of the face's middle in the image, right and up, over the half-height.
        key, rim: Lights; the key casts shadows.
        sky, ground: Ambient light from above and below, linear.
        exposure: Gain in stops.
        warmth: Gain of red over blue, about 1.
        background: Four corner colours, sRGB.
        blobs: Out-of-focus spots behind: x, y, radius in [0, 1], sRGB.
        blur: Standard deviation, pixels of the final image.
        noise: Standard deviation of sensor noise, grey levels.
        seed: Of the noise and of jittered rays.
    """

    yaw: float
    pitch: float
    roll: float
    distance: float
    frame: float
    shift: tuple[float, float]
    key: Light
    rim: Light
    sky: Colour
    ground: Colour
    exposure: float
    warmth: float
    background: tuple[Colour, Colour, Colour, Colour]
    blobs: tuple[tuple[float, float, float, Colour], ...]
    blur: float
    noise: float
    seed: int


def draw_view(random: np.random.Generator, turning: float = 1.0) -> View:
    """Draw a camera, pose, light and background; `turning` scales how far the head turns."""

    def colour(low: float, high: float, spread: float) -> Colour:
        level = random.uniform(low, high)
        r, g, b = np.clip(level + random.normal(0, spread, 3), 0.02, 0.98)
        return float(r), float(g), float(b)

    def near(other: Colour) -> Colour:
        r, g, b = np.clip(np.array(other) + random.normal(0, 0.06, 3), 0, 1)
        return float(r), float(g), float(b)

    def towards(azimuth: float, height: float) -> tuple[float, float, float]:
        a, h = np.deg2rad(azimuth), np.deg2rad(height)
        return float(np.sin(a) * np.cos(h)), float(np.sin(h)), float(np.cos(a) * np.cos(h))

    def tinted(strength: float, warmth: float) -> Colour:
        return strength * (1 + warmth), strength, strength * (1 - warmth)

    side = float(random.choice([-1.0, 1.0]))
    azimuth = side * random.uniform(5, 65)
    balance = random.uniform(0.25, 1.0)
    warm = random.normal(0, 0.07)
    ambient = 0.75 * (1 - 0.45 * balance)
    top = (colour(0.1, 0.85, 0.06), colour(0.1, 0.85, 0.06))
    bottom = (near(top[0]), near(top[1]))
    blobs = tuple(
        (
            float(random.uniform(-0.1, 1.1)),
            float(random.uniform(-0.1, 1.1)),
            float(random.uniform(0.05, 0.35)),
            colour(0.05, 0.95, 0.10),
        )
        for _ in range(int(random.integers(0, 7)))
    )
    return View(
        yaw=turning * float(np.clip(random.normal(0, 10), -24, 24)),
        pitch=turning * float(np.clip(random.normal(-2, 5.5), -13, 11)),
        roll=turning * float(np.clip(random.normal(0, 4), -9, 9)),
        distance=float(random.uniform(55, 180)),
        frame=float(random.uniform(1.88, 2.12)),
        shift=(float(random.normal(0, 0.03)), float(random.normal(0, 0.03))),
        key=Light(
            towards(azimuth, random.uniform(0, 55)), tinted(1.5 * balance, warm), random.uniform(0.06, 0.3)
        ),
        rim=Light(
            towards(-azimuth * 1.3 + random.normal(0, 15), random.uniform(0, 30)),
            tinted(random.uniform(0.05, 0.6), random.normal(0, 0.1)),
            0.2,
        ),
        sky=tinted(ambient, random.normal(0, 0.06)),
        ground=tinted(ambient * random.uniform(0.3, 0.8), random.normal(0.05, 0.06)),
        exposure=float(random.normal(0, 0.22)),
        warmth=float(np.exp(random.normal(0, 0.06))),
        background=(*top, *bottom),
        blobs=blobs,
        blur=float(random.uniform(0.25, 0.75)),
        noise=float(random.uniform(0.8, 3.5)),
        seed=int(random.integers(1 << 30)),
    )
