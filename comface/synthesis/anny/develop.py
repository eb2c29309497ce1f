"""From light at samples to pixels, as a camera does: lens, exposure, response, noise.

No postponed annotations here: warp reads the kernels' annotations as they are.
"""

# ruff: noqa: UP018 (written so, warp lets a number change in a loop)

import functools
from typing import Any, no_type_check

import numpy as np

from comface_bench.comface.synthesis.anny.arrays import Floats, Pixels
from comface_bench.comface.synthesis.anny.view import View
from comface_bench.comface.synthesis.anny.warping import load_warp, numbers, vectors

_DENSITY = 600.0  # entries of the response's table per unit of the square root of light
_REACH = 3  # samples on each side of a pixel's own that its blur gathers


def develop(
    light: Floats, backdrop: Floats, level: float, view: View, size: int, oversampling: int
) -> Pixels:
    """Return the image (size, size, 3).

    Args:
        light: Linear light and cover at samples (S * S, 4).
        backdrop: Linear light behind (B, B, 3).
        level: Light that the camera expects from a face here; it makes up for most of it.
        view: Exposure, white balance, response, blur, vignette and noise.
        size: Height and width in pixels.
        oversampling: Samples along a pixel's side; S = size * oversampling.
    """
    wp = load_warp()
    wide = size * oversampling
    gain = 1.18 * (0.23 / max(level, 1e-3)) ** 0.55 * 2.0**view.exposure
    colours = (gain * view.warmth, gain, gain / view.warmth)
    taps = np.arange(-_REACH, _REACH + oversampling) - (oversampling - 1) / 2
    spread = max(view.blur, 0.3) * oversampling
    weights = np.exp(-0.5 * (taps / spread) ** 2)
    rows = np.empty((size * wide, 3), np.float32)
    inputs = [
        vectors(light), vectors(backdrop.reshape(-1, 3)), len(backdrop), wide, oversampling,
        numbers(weights / weights.sum()), _REACH, vectors(rows),
    ]  # fmt: skip
    wp.launch(_kernels()["rows"], dim=len(rows), inputs=inputs, device="cpu")
    grain = np.random.default_rng(view.seed).standard_normal((size * size, 3), np.float32)
    image = np.empty((size * size, 3), np.float32)
    inputs = [
        vectors(rows), wide, oversampling, numbers(weights / weights.sum()), _REACH, wp.vec3(*colours),
        numbers(_response(view.contrast)), view.saturation, view.vignette, view.noise, vectors(grain),
        vectors(image),
    ]  # fmt: skip
    wp.launch(_kernels()["columns"], dim=len(image), inputs=inputs, device="cpu")
    return np.clip(np.rint(image), 0, 255).astype(np.uint8).reshape(size, size, 3)


def _response(contrast: float) -> Floats:
    """Return sRGB values in [0, 1] over the square root of light up to 9: toe, middle and shoulder."""
    light = (np.arange(3 * int(_DENSITY) + 2) / _DENSITY) ** 2
    bright = (light / 0.18) ** contrast * 0.18
    film = bright * (2.51 * bright + 0.018) / (bright * (2.43 * bright + 0.354) + 0.05)
    plain = bright / (1 + 0.35 * bright) * 1.15
    return np.clip(0.45 * film + 0.55 * plain, 0, 1) ** (1 / 2.2)


@functools.lru_cache(maxsize=1)
def _kernels() -> dict[str, Any]:
    wp = load_warp()

    @wp.kernel(module="unique")
    @no_type_check
    def rows_kernel(
        light: wp.array(dtype=wp.vec4),
        backdrop: wp.array(dtype=wp.vec3),
        side: wp.int32,
        wide: wp.int32,
        oversampling: wp.int32,
        weights: wp.array(dtype=wp.float32),
        reach: wp.int32,
        out: wp.array(dtype=wp.vec3),
    ):
        i = wp.tid()
        size = wide // oversampling
        row = i // size
        first = (i % size) * oversampling - reach
        total = wp.vec3(0.0, 0.0, 0.0)
        cover = float(0.0)
        for k in range(2 * reach + oversampling):
            column = wp.clamp(first + k, 0, wide - 1)
            sample = light[row * wide + column]
            # Light beyond what the sensor holds would bleed too far.
            total += (
                wp.vec3(wp.min(sample[0], 4.0), wp.min(sample[1], 4.0), wp.min(sample[2], 4.0)) * weights[k]
            )
            cover += sample[3] * weights[k]
        scale = float(side) / float(wide)
        x = wp.clamp(
            (float(first + reach) + 0.5 * float(oversampling)) * scale - 0.5, 0.0, float(side) - 1.01
        )
        y = wp.clamp((float(row) + 0.5) * scale - 0.5, 0.0, float(side) - 1.01)
        p = int(x)
        q = int(y)
        u = x - float(p)
        v = y - float(q)
        upper = backdrop[q * side + p] * (1.0 - u) + backdrop[q * side + p + 1] * u
        lower = backdrop[(q + 1) * side + p] * (1.0 - u) + backdrop[(q + 1) * side + p + 1] * u
        out[i] = total + (upper * (1.0 - v) + lower * v) * (1.0 - cover)

    @wp.func
    @no_type_check
    def response(curve: wp.array(dtype=wp.float32), value: wp.float32):
        place = wp.min(wp.sqrt(wp.max(value, 0.0)) * _DENSITY, float(curve.shape[0]) - 1.01)
        k = int(place)
        return curve[k] + (curve[k + 1] - curve[k]) * (place - float(k))

    @wp.kernel(module="unique")
    @no_type_check
    def columns_kernel(
        rows: wp.array(dtype=wp.vec3),
        wide: wp.int32,
        oversampling: wp.int32,
        weights: wp.array(dtype=wp.float32),
        reach: wp.int32,
        gain: wp.vec3,
        curve: wp.array(dtype=wp.float32),
        saturation: wp.float32,
        vignette: wp.float32,
        noise: wp.float32,
        grain: wp.array(dtype=wp.vec3),
        out: wp.array(dtype=wp.vec3),
    ):
        i = wp.tid()
        size = wide // oversampling
        column = i % size
        row = i // size
        first = row * oversampling - reach
        total = wp.vec3(0.0, 0.0, 0.0)
        for k in range(2 * reach + oversampling):
            total += rows[wp.clamp(first + k, 0, wide - 1) * size + column] * weights[k]
        x = (float(column) + 0.5) / float(size) * 2.0 - 1.0
        y = (float(row) + 0.5) / float(size) * 2.0 - 1.0
        total = wp.cw_mul(total, gain) * (1.0 - vignette * 0.5 * (x * x + y * y))
        red = response(curve, total[0])
        green = response(curve, total[1])
        blue = response(curve, total[2])
        grey = 0.30 * red + 0.59 * green + 0.11 * blue
        colour = wp.vec3(
            grey + (red - grey) * saturation,
            grey + (green - grey) * saturation,
            grey + (blue - grey) * saturation,
        )
        # Shadows are noisier than lights, and noise is mostly of brightness.
        g = grain[i]
        level = noise * (1.25 - 0.6 * grey)
        common = g[1] * 0.8
        out[i] = colour * 255.0 + wp.vec3(common + g[0] * 0.5, common, common + g[2] * 0.6) * level

    return {"rows": rows_kernel, "columns": columns_kernel}
