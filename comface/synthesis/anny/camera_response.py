"""Camera response: from linear light at samples to pixels by lens blur, exposure, tone curve and noise.

K images at once. No postponed annotations here: warp reads the kernels' annotations as they are.
"""

# ruff: noqa: UP018 (written so, warp lets a number change in a loop)

import functools
from collections.abc import Sequence
from typing import Any, no_type_check

import numpy as np

from comface_bench.comface.synthesis.anny.arrays import Floats, Pixels
from comface_bench.comface.synthesis.anny.scene import View
from comface_bench.comface.synthesis.anny.warp_runtime import Device, flatten_rows, image_index, load_warp

_DENSITY = 600.0  # entries of the response's table per unit of the square root of light
_REACH = 3  # samples on each side of a pixel's own that its blur gathers


def apply_camera_response(
    light: Any,
    backgrounds: Sequence[Floats],
    levels: Sequence[float],
    views: Sequence[View],
    size: int,
    oversampling: int,
    device: Device,
) -> Pixels:
    """Return the images (K, size, size, 3).

    Args:
        light: Linear light and cover at samples (K, S * S), on the device.
        backgrounds: Linear light behind (B, B, 3).
        levels: Light expected from the face; the exposure makes up for most of it.
        views: Exposure, white balance, response, blur, vignette and noise.
        size: Height and width in pixels.
        oversampling: Samples along a pixel's side; S = size * oversampling.
        device: Where the kernels run.
    """
    count, width = len(views), size * oversampling
    weights = device.stack([_blur(view, oversampling) for view in views], "float32")
    rows = device.empty((count * size * width,), "vec3")
    behind = device.stack([background.reshape(-1, 3) for background in backgrounds], "vec3")
    inputs = [
        flatten_rows(light)[0], *flatten_rows(behind), len(backgrounds[0]), width, oversampling,
        *flatten_rows(weights), _REACH, rows,
    ]  # fmt: skip
    device.launch(_kernels()["rows"], rows.size, inputs)
    curves = device.stack([_response(view.contrast) for view in views], "float32")
    settings = device.array([(view.saturation, view.vignette, view.noise) for view in views], "vec3")
    grain = device.stack([_grain(view, size) for view in views], "vec3")
    gains = device.array([_gain(*each) for each in zip(levels, views, strict=True)], "vec3")
    image = device.empty((count * size * size,), "vec3")
    inputs = [
        rows, width, oversampling, *flatten_rows(weights), _REACH, gains, *flatten_rows(curves),
        curves.shape[1], settings, *flatten_rows(grain), image,
    ]  # fmt: skip
    device.launch(_kernels()["columns"], image.size, inputs)
    pixels: Pixels = np.clip(np.rint(image.numpy()), 0, 255).astype(np.uint8)
    return pixels.reshape(count, size, size, 3)


def _gain(level: float, view: View) -> tuple[float, float, float]:
    """Return the camera's gains of red, green and blue: exposure and white balance."""
    gain = 1.18 * (0.23 / max(level, 1e-3)) ** 0.55 * 2.0**view.exposure
    return gain * view.warmth, gain, gain / view.warmth


def _blur(view: View, oversampling: int) -> Floats:
    """Return weights of the samples around a pixel along one axis; their sum is 1."""
    taps = np.arange(-_REACH, _REACH + oversampling) - (oversampling - 1) / 2
    spread = max(view.blur, 0.3) * oversampling
    weights = np.exp(-0.5 * (taps / spread) ** 2)
    shares: Floats = weights / weights.sum()
    return shares


def _grain(view: View, size: int) -> Floats:
    return np.random.default_rng(view.seed).standard_normal((size * size, 3), np.float32)


def _response(contrast: float) -> Floats:
    """Return sRGB values in [0, 1] over the square root of light up to 9: toe, middle and shoulder."""
    light = (np.arange(3 * int(_DENSITY) + 2) / _DENSITY) ** 2
    bright = (light / 0.18) ** contrast * 0.18
    film = bright * (2.51 * bright + 0.018) / (bright * (2.43 * bright + 0.354) + 0.05)
    plain = bright / (1 + 0.35 * bright) * 1.15
    return np.clip(0.45 * film + 0.55 * plain, 0, 1) ** (1 / 2.2)


@functools.lru_cache(maxsize=1)
def _kernels() -> dict[str, Any]:
    wp, owner = load_warp(), image_index()

    @wp.kernel(module="unique")
    @no_type_check
    def rows_kernel(
        light: wp.array(dtype=wp.vec4),
        background: wp.array(dtype=wp.vec3),
        backgrounds_apart: wp.int32,
        side: wp.int32,
        width: wp.int32,
        oversampling: wp.int32,
        weights: wp.array(dtype=wp.float32),
        weights_apart: wp.int32,
        reach: wp.int32,
        out: wp.array(dtype=wp.vec3),
    ):
        item = wp.tid()
        size = width // oversampling
        image = owner(item, size * width)
        i = item - image * size * width
        own = image * width * width
        behind = image * backgrounds_apart
        weigh = image * weights_apart
        row = i // size
        first = (i % size) * oversampling - reach
        total = wp.vec3(0.0, 0.0, 0.0)
        cover = float(0.0)
        for k in range(2 * reach + oversampling):
            column = wp.clamp(first + k, 0, width - 1)
            sample = light[own + row * width + column]
            weight = weights[weigh + k]
            # Light beyond what the sensor holds would bleed too far.
            total += wp.vec3(wp.min(sample[0], 4.0), wp.min(sample[1], 4.0), wp.min(sample[2], 4.0)) * weight
            cover += sample[3] * weight
        scale = float(side) / float(width)
        x = wp.clamp(
            (float(first + reach) + 0.5 * float(oversampling)) * scale - 0.5, 0.0, float(side) - 1.01
        )
        y = wp.clamp((float(row) + 0.5) * scale - 0.5, 0.0, float(side) - 1.01)
        p = int(x)
        q = int(y)
        u = x - float(p)
        v = y - float(q)
        above = behind + q * side + p
        below = above + side
        upper = background[above] * (1.0 - u) + background[above + 1] * u
        lower = background[below] * (1.0 - u) + background[below + 1] * u
        out[item] = total + (upper * (1.0 - v) + lower * v) * (1.0 - cover)

    @wp.func
    @no_type_check
    def response(curve: wp.array(dtype=wp.float32), first: wp.int32, length: wp.int32, value: wp.float32):
        place = wp.min(wp.sqrt(wp.max(value, 0.0)) * _DENSITY, float(length) - 1.01)
        k = int(place)
        low = curve[first + k]
        return low + (curve[first + k + 1] - low) * (place - float(k))

    @wp.kernel(module="unique")
    @no_type_check
    def columns_kernel(
        rows: wp.array(dtype=wp.vec3),
        width: wp.int32,
        oversampling: wp.int32,
        weights: wp.array(dtype=wp.float32),
        weights_apart: wp.int32,
        reach: wp.int32,
        gains: wp.array(dtype=wp.vec3),
        curves: wp.array(dtype=wp.float32),
        curves_apart: wp.int32,
        length: wp.int32,
        settings: wp.array(dtype=wp.vec3),
        grain: wp.array(dtype=wp.vec3),
        grain_apart: wp.int32,
        out: wp.array(dtype=wp.vec3),
    ):
        item = wp.tid()
        size = width // oversampling
        image = owner(item, size * size)
        i = item - image * size * size
        own = image * size * width
        weigh = image * weights_apart
        curve = image * curves_apart
        gain = gains[image]
        saturation = settings[image][0]
        vignette = settings[image][1]
        noise = settings[image][2]
        column = i % size
        row = i // size
        first = row * oversampling - reach
        total = wp.vec3(0.0, 0.0, 0.0)
        for k in range(2 * reach + oversampling):
            total += rows[own + wp.clamp(first + k, 0, width - 1) * size + column] * weights[weigh + k]
        x = (float(column) + 0.5) / float(size) * 2.0 - 1.0
        y = (float(row) + 0.5) / float(size) * 2.0 - 1.0
        total = wp.cw_mul(total, gain) * (1.0 - vignette * 0.5 * (x * x + y * y))
        red = response(curves, curve, length, total[0])
        green = response(curves, curve, length, total[1])
        blue = response(curves, curve, length, total[2])
        grey = 0.30 * red + 0.59 * green + 0.11 * blue
        colour = wp.vec3(
            grey + (red - grey) * saturation,
            grey + (green - grey) * saturation,
            grey + (blue - grey) * saturation,
        )
        # Shadows are noisier than lights, and noise is mostly of brightness.
        g = grain[image * grain_apart + i]
        level = noise * (1.25 - 0.6 * grey)
        common = g[1] * 0.8
        out[item] = colour * 255.0 + wp.vec3(common + g[0] * 0.5, common, common + g[2] * 0.6) * level

    return {"rows": rows_kernel, "columns": columns_kernel}
