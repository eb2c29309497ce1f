"""Scene of an image without the person: lighting, camera, pose, background, sensor.

Directions of lights are in the camera's frame: x to the image's right, y up, z towards the camera. Colours
are linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.synthesis.anny.arrays import srgb_to_linear

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Colour, Floats


Direction = tuple[float, float, float]


@dataclass(frozen=True)
class SphericalGaussian:
    """A soft light: radiance colour · exp(sharpness · (cos − 1)) at an angle from its direction."""

    direction: Direction
    colour: Colour
    sharpness: float


@dataclass(frozen=True)
class KeyLight:
    """A distant light that casts a shadow: direction, colour, half-width of its disc (radians)."""

    direction: Direction
    colour: Colour
    spread: float


@dataclass(frozen=True)
class Environment:
    """All light but the key light: a sky, a horizon, a ground, and soft lights.

    Attributes:
        kind: One of `LIGHTING_KINDS`.
        sky, horizon, ground: Radiance upwards, level and downwards.
        lights: Windows, lamps, softboxes.
    """

    kind: str
    sky: Colour
    horizon: Colour
    ground: Colour
    lights: tuple[SphericalGaussian, ...]

    def radiance(self, directions: Floats) -> Floats:
        """Return the radiance (N, 3) from unit directions (N, 3)."""
        up = directions[:, 1:2]
        sky, horizon, ground = (np.array(c, np.float32) for c in (self.sky, self.horizon, self.ground))
        total = horizon + np.clip(up, 0, 1) * (sky - horizon) + np.clip(-up, 0, 1) * (ground - horizon)
        for light in self.lights:
            cosine = directions @ np.array(light.direction, np.float32)
            shape = np.exp(light.sharpness * (cosine - 1))[:, None]
            total = total + shape * np.array(light.colour, np.float32)
        result: Floats = total.astype(np.float32)
        return result


LIGHTING_KINDS = ("window", "overcast", "room", "flash", "sunset", "studio", "shade")


def direction_of(azimuth: float, height: float) -> Direction:
    """Return a direction from degrees: azimuth to the right of the camera, height above it."""
    a, h = np.deg2rad(azimuth), np.deg2rad(height)
    return float(np.sin(a) * np.cos(h)), float(np.sin(h)), float(np.cos(a) * np.cos(h))


def draw_lighting(random: np.random.Generator) -> tuple[Environment, KeyLight]:
    """Draw an environment and its key light; the face receives about the same amount from each kind."""
    kind = str(random.choice(LIGHTING_KINDS, p=(0.2, 0.14, 0.18, 0.1, 0.08, 0.16, 0.14)))
    side = float(random.choice([-1.0, 1.0]))
    warm = float(random.normal(0, 0.03))

    def tint(strength: float, warmth: float) -> Colour:
        t = warmth + warm
        return strength * (1 + t), strength, strength * (1 - t)

    def within(low: float, high: float) -> float:
        return float(random.uniform(low, high))

    if kind == "window":
        at = direction_of(side * within(25, 70), within(0, 25))
        dim = within(0.16, 0.34)
        around = tint(dim, 0.05), tint(dim * 0.9, 0.06), tint(dim * 0.6, 0.12)
        return (
            Environment(kind, *around, (SphericalGaussian(at, tint(within(1.0, 1.7), -0.03), within(3, 6)),)),
            KeyLight(at, tint(within(0.35, 0.8), -0.03), within(0.25, 0.4)),
        )
    if kind == "overcast":
        at = direction_of(side * within(0, 40), within(40, 65))
        return (
            Environment(
                kind, tint(within(0.85, 1.15), -0.03), tint(0.5, -0.02), tint(within(0.15, 0.3), 0.04), ()
            ),
            KeyLight(at, tint(within(0.1, 0.35), -0.02), 0.45),
        )
    if kind == "room":
        lamps = tuple(
            SphericalGaussian(
                direction_of(within(-70, 70), within(20, 70)),
                tint(within(0.5, 1.1), within(0.03, 0.13)),
                within(4, 14),
            )
            for _ in range(int(random.integers(1, 4)))
        )
        at = direction_of(side * within(5, 50), within(25, 55))
        return (
            Environment(kind, tint(0.42, 0.07), tint(0.30, 0.08), tint(0.2, 0.12), lamps),
            KeyLight(at, tint(within(0.25, 0.7), 0.07), within(0.15, 0.3)),
        )
    if kind == "flash":
        at = direction_of(within(-8, 8), within(3, 12))
        dim = within(0.1, 0.3)
        return (
            Environment(kind, tint(dim, 0.07), tint(dim * 0.8, 0.07), tint(dim * 0.6, 0.10), ()),
            KeyLight(at, tint(within(1.0, 1.3), 0.0), within(0.04, 0.1)),
        )
    if kind == "sunset":
        at = direction_of(side * within(25, 75), within(3, 18))
        return (
            Environment(kind, tint(within(0.3, 0.5), -0.08), tint(0.38, 0.06), tint(0.2, 0.12), ()),
            KeyLight(at, tint(within(0.6, 1.1), within(0.12, 0.24)), 0.06),
        )
    if kind == "studio":
        fill = within(0.5, 0.95)
        boxes = (
            SphericalGaussian(
                direction_of(side * within(25, 50), within(15, 40)), tint(1.0, 0.0), within(4, 8)
            ),
            SphericalGaussian(
                direction_of(-side * within(25, 60), within(0, 30)), tint(fill, 0.0), within(3, 7)
            ),
        )
        return (
            Environment(kind, tint(0.3, 0.0), tint(0.3, 0.0), tint(0.3, 0.01), boxes),
            KeyLight(boxes[0].direction, tint(within(0.2, 0.5), 0.0), within(0.2, 0.35)),
        )
    at = direction_of(side * within(10, 60), within(20, 60))
    behind = SphericalGaussian(
        direction_of(side * within(110, 150), within(10, 40)), tint(within(0.5, 2.5), 0.04), within(8, 20)
    )
    return (
        Environment(kind, tint(within(0.55, 0.9), -0.04), tint(0.45, 0.0), tint(0.28, 0.06), (behind,)),
        KeyLight(at, tint(within(0.1, 0.4), 0.0), 0.4),
    )


@dataclass(frozen=True)
class View:
    """Camera, pose, light, background and sensor of an image.

    Attributes:
        yaw, pitch, roll: Pose of the head in degrees; yaw turns it to the image's right, pitch down.
        distance: From the camera to the face, cm; short distances enlarge the nose.
        frame: Half-height of the image at the face over the distance between the eyes.
        shift: Position of the face's middle in the image, right and up, over the half-height.
        key_light: The light that casts a shadow.
        environment: All other light.
        background: Seed of the blurred background.
        exposure: Gain in stops.
        warmth: Gain of red over blue, about 1.
        contrast: Of the camera's response, about 1.
        saturation: Of its colours, about 1.
        vignette: Share of light that the corners lose.
        blur: Standard deviation, pixels of the final image.
        noise: Standard deviation of sensor noise, grey levels.
        seed: Of the noise.
    """

    yaw: float
    pitch: float
    roll: float
    distance: float
    frame: float
    shift: tuple[float, float]
    key_light: KeyLight
    environment: Environment
    background: int
    exposure: float
    warmth: float
    contrast: float
    saturation: float
    vignette: float
    blur: float
    noise: float
    seed: int


def draw_view(random: np.random.Generator, turning: float = 1.0) -> View:
    """Draw a camera, pose, light and background; `turning` scales the head's rotation."""
    environment, key_light = draw_lighting(random)
    return View(
        yaw=turning * float(np.clip(random.normal(0, 10), -24, 24)),
        pitch=turning * float(np.clip(random.normal(-1, 5), -13, 11)),
        roll=turning * float(np.clip(random.normal(0, 3.5), -9, 9)),
        distance=float(random.uniform(65, 200)),
        frame=float(random.uniform(2.0, 2.4)),
        shift=(float(random.normal(0, 0.03)), float(random.normal(0, 0.03))),
        key_light=key_light,
        environment=environment,
        background=int(random.integers(1 << 30)),
        exposure=float(random.normal(0, 0.2)),
        warmth=float(np.exp(random.normal(0, 0.04))),
        contrast=float(np.exp(random.normal(0.08, 0.08))),
        saturation=float(np.exp(random.normal(0.0, 0.10))),
        vignette=float(random.uniform(0, 0.25)),
        blur=float(random.uniform(0.35, 0.7)),
        noise=float(random.uniform(0.6, 3.0)),
        seed=int(random.integers(1 << 30)),
    )


BACKGROUND_SIZE = 48
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


def draw_background(view: View) -> Floats:
    """Return the linear light behind a person (BACKGROUND_SIZE, BACKGROUND_SIZE, 3).

    It is a function of `view.background` and of the kind of the environment.
    """
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(view.background)
    kinds = _SCENES[view.environment.kind]
    kind = kinds[int(random.integers(len(kinds)))]
    steps = (np.arange(BACKGROUND_SIZE, dtype=np.float32) + 0.5) / BACKGROUND_SIZE
    x, y = np.meshgrid(steps, steps)
    canvas = np.zeros((BACKGROUND_SIZE, BACKGROUND_SIZE, 3), np.float32)

    def fill(colour: tuple[float, float, float], where: Floats | float = 1.0, share: float = 1.0) -> None:
        weight = np.broadcast_to(np.asarray(where, np.float32) * share, (BACKGROUND_SIZE, BACKGROUND_SIZE))[
            ..., None
        ]
        canvas[:] = canvas + weight * (srgb_to_linear(colour) - canvas)

    def grey(low: float, high: float, spread: float = 0.03, warm: float = 0.0) -> tuple[float, float, float]:
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
                grey(low, high, 0.06, warm),
                np.clip((radius - np.hypot(x - cx, y - cy)) * BACKGROUND_SIZE / 2 + 0.5, 0, 1),
                float(random.uniform(0.3, 0.8)),
            )

    def blotches(colours: tuple[tuple[float, float, float], ...], size: float) -> None:
        for colour in colours:
            field = gaussian_filter(
                random.normal(0, 1, (BACKGROUND_SIZE, BACKGROUND_SIZE)), size, mode="wrap"
            )
            fill(colour, np.clip(field / field.std() * 0.8 + 0.2, 0, 1))

    soft = float(random.uniform(0.8, 2.6))
    if kind == "paper":
        fill(grey(0.45, 0.95, 0.015))
        away = np.hypot(x - random.uniform(0.3, 0.7), y - random.uniform(0.2, 0.6))
        canvas *= (1.08 - random.uniform(0, 0.5) * away**2)[..., None]
    elif kind == "wall":
        fill(grey(0.35, 0.88, 0.03, 0.02))
        slope = random.normal(0, 0.5, 2)
        canvas *= np.clip(1 + slope[0] * (x - 0.5) + slope[1] * (y - 0.5), 0.3, 1.6)[..., None]
        if random.random() < 0.4:
            box(grey(0.1, 0.9, 0.06), random.uniform(-0.2, 0.9), random.uniform(-0.2, 0.3), 0.3, 0.45)
    elif kind in ("room", "lamps"):
        fill(grey(0.08, 0.3, 0.02, 0.03) if kind == "lamps" else grey(0.25, 0.65, 0.03, 0.04))
        for _ in range(int(random.integers(4, 10))):
            left, top = random.uniform(-0.2, 1.0), random.uniform(-0.2, 0.9)
            tone = grey(0.04, 0.6, 0.05, 0.04)
            box(tone, left, top, random.uniform(0.05, 0.4), random.uniform(0.1, 0.7))
        if random.random() < 0.45:
            box((0.97, 0.98, 1.0), random.uniform(-0.1, 0.85), random.uniform(-0.1, 0.2), 0.25, 0.5)
        if kind == "lamps":
            discs(int(random.integers(5, 16)), 0.02, 0.09, 0.6, 1.0, 0.14)
    elif kind == "sky":
        low, high = grey(0.70, 0.9, 0.03, 0.03), grey(0.45, 0.75, 0.03, -0.14)
        fill(low)
        fill(high, 1 - y)
        fill(grey(0.1, 0.35, 0.04), np.clip((y - random.uniform(0.55, 1.0)) * 8, 0, 1))
    elif kind == "street":
        fill(grey(0.4, 0.8, 0.03))
        for _ in range(int(random.integers(5, 12))):
            width = random.uniform(0.05, 0.3)
            box(grey(0.1, 0.75, 0.05, 0.03), random.uniform(-0.2, 1.0), random.uniform(-0.1, 0.6), width, 0.9)
        fill(grey(0.25, 0.5, 0.02), np.clip((y - 0.75) * 6, 0, 1))
    else:
        fill(grey(0.2, 0.45, 0.03))
        green = tuple(_leaf(random) for _ in range(5))
        blotches(green, float(random.uniform(1.5, 4)))
        discs(int(random.integers(3, 18)), 0.02, 0.08, 0.55, 0.98, 0.03)
    blurred: Floats = gaussian_filter(canvas, (soft, soft, 0), mode="nearest")
    level = {"sunset": 0.8, "flash": 0.5, "overcast": 1.0, "shade": 0.9}.get(view.environment.kind, 0.9)
    return blurred * np.float32(level)
