"""Everything about an image that isn't the person: camera, pose, light, background, sensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.synthesis.anny.light import draw_light

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.light import Environment, Light


@dataclass(frozen=True)
class View:
    """Everything about an image that isn't the person.

    Attributes:
        yaw, pitch, roll: Pose of the head in degrees; yaw turns it to the image's right, pitch down.
        distance: From the camera to the face, cm; short distances bulge the nose.
        frame: Half-height of the image at the face over the distance between the eyes.
        shift: Place of the face's middle in the image, right and up, over the half-height.
        key: The light that casts a shadow.
        around: All other light.
        backdrop: Seed of what is out of focus behind.
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
    key: Light
    around: Environment
    backdrop: int
    exposure: float
    warmth: float
    contrast: float
    saturation: float
    vignette: float
    blur: float
    noise: float
    seed: int


def draw_view(random: np.random.Generator, turning: float = 1.0) -> View:
    """Draw a camera, pose, light and background; `turning` scales how far the head turns."""
    around, key = draw_light(random)
    return View(
        yaw=turning * float(np.clip(random.normal(0, 10), -24, 24)),
        pitch=turning * float(np.clip(random.normal(-1, 5), -13, 11)),
        roll=turning * float(np.clip(random.normal(0, 3.5), -9, 9)),
        distance=float(random.uniform(65, 200)),
        frame=float(random.uniform(2.0, 2.4)),
        shift=(float(random.normal(0, 0.03)), float(random.normal(0, 0.03))),
        key=key,
        around=around,
        backdrop=int(random.integers(1 << 30)),
        exposure=float(random.normal(0, 0.2)),
        warmth=float(np.exp(random.normal(0, 0.04))),
        contrast=float(np.exp(random.normal(0.08, 0.08))),
        saturation=float(np.exp(random.normal(0.0, 0.10))),
        vignette=float(random.uniform(0, 0.25)),
        blur=float(random.uniform(0.35, 0.7)),
        noise=float(random.uniform(0.6, 3.0)),
        seed=int(random.integers(1 << 30)),
    )
