"""Structures and functions that all shaders share: noise, maps, spherical harmonics, shadows, specular lobes.

No postponed annotations here: warp reads the functions' annotations as they are.
"""

# ruff: noqa: UP018 (written so, warp lets a number change in a loop)

import functools
from types import SimpleNamespace
from typing import Any, Final, no_type_check

import numpy as np

from comface_bench.comface.synthesis.anny.arrays import Floats
from comface_bench.comface.synthesis.anny.uv_maps import LOWEST_CM, TEXEL_CM
from comface_bench.comface.synthesis.anny.warp_runtime import load_warp, warp_struct

_CELL = float(TEXEL_CM)
_LOW = float(LOWEST_CM)
NOISE_SIZE: Final = 32
"""Cells along one side of the noise cube, after which it repeats."""
_SIDE = int(NOISE_SIZE)


@functools.lru_cache(maxsize=1)
def noise_cube() -> Floats:
    """Return four independent noises in [-1, 1] on a cube's cells (NOISE_SIZE³, 4), x fastest."""
    return np.random.default_rng(20260101).uniform(-1, 1, (NOISE_SIZE**3, 4)).astype(np.float32)


MATERIAL_FIELDS: Final = {
    "vec3": ("skin", "lips", "hair", "beard", "iris", "white", "teeth", "cloth", "noise_offset", "gaze"),
    "vec4": ("eye_left", "eye_right"),
    "float32": (
        "blush",
        "freckles",
        "mottle",
        "oil",
        "eye_shadows",
        "makeup",
        "stubble",
        "moustache",
        "sheen",
        "brow",
        "bag",
        "sag",
        "spots",
        "fine",
        "pores",
    ),
}
"""Fields of the warp structure `Material` by the name of their type."""
SCENE_FIELDS: Final = {
    "mat33": ("rotation", "shadow_rotation"),
    "vec3": ("eye", "key", "key_colour", "head"),
    "float32": ("spread", "shadow_half_height", "footprint"),
    "int32": ("shadow_width",),
    "mat44": ("lids",),
}
"""Fields of the warp structure `Scene`, light and camera, likewise."""


@functools.lru_cache(maxsize=1)
def material_struct() -> Any:
    """Return the warp structure `Material`."""
    return warp_struct("Material", __name__, MATERIAL_FIELDS)


@functools.lru_cache(maxsize=1)
def shader_functions() -> SimpleNamespace:
    """Return warp's structure `Scene` (light, camera), and functions."""
    wp = load_warp()

    scene = warp_struct("Scene", __name__, SCENE_FIELDS)

    @wp.func
    @no_type_check
    def step(value: wp.float32):
        ramp = wp.clamp(value, 0.0, 1.0)
        return ramp * ramp * (3.0 - 2.0 * ramp)

    @wp.func
    @no_type_check
    def noise(cube: wp.array(dtype=wp.vec4), place: wp.vec3):
        fx = wp.floor(place[0])
        fy = wp.floor(place[1])
        fz = wp.floor(place[2])
        x0 = int(fx) & (_SIDE - 1)
        y0 = (int(fy) & (_SIDE - 1)) * _SIDE
        z0 = (int(fz) & (_SIDE - 1)) * _SIDE * _SIDE
        x1 = (x0 + 1) & (_SIDE - 1)
        y1 = ((int(fy) + 1) & (_SIDE - 1)) * _SIDE
        z1 = ((int(fz) + 1) & (_SIDE - 1)) * _SIDE * _SIDE
        u = place[0] - fx
        v = place[1] - fy
        w = place[2] - fz
        u = u * u * (3.0 - 2.0 * u)
        v = v * v * (3.0 - 2.0 * v)
        w = w * w * (3.0 - 2.0 * w)
        a = cube[z0 + y0 + x0] * (1.0 - u) + cube[z0 + y0 + x1] * u
        b = cube[z0 + y1 + x0] * (1.0 - u) + cube[z0 + y1 + x1] * u
        c = cube[z1 + y0 + x0] * (1.0 - u) + cube[z1 + y0 + x1] * u
        d = cube[z1 + y1 + x0] * (1.0 - u) + cube[z1 + y1 + x1] * u
        return (a * (1.0 - v) + b * v) * (1.0 - w) + (c * (1.0 - v) + d * v) * w

    @wp.func
    @no_type_check
    def spots(cube: wp.array(dtype=wp.vec4), place: wp.vec3, share: wp.float32):
        # Round spots, at most one in a cell, in this share of the cells.
        corner = wp.vec3(wp.floor(place[0]), wp.floor(place[1]), wp.floor(place[2]))
        x = int(corner[0]) & (_SIDE - 1)
        y = (int(corner[1]) & (_SIDE - 1)) * _SIDE
        z = (int(corner[2]) & (_SIDE - 1)) * _SIDE * _SIDE
        chance = cube[x + y + z]
        if 0.5 + 0.5 * chance[3] >= share:
            return 0.0
        middle = corner + wp.vec3(0.5 + 0.14 * chance[0], 0.5 + 0.14 * chance[1], 0.5 + 0.14 * chance[2])
        radius = 0.34 + 0.08 * chance[1]
        return step((radius - wp.length(place - middle)) / (0.7 * radius)) * (0.7 + 0.3 * chance[0])

    @wp.func
    @no_type_check
    def sample_map(uv_map: wp.array2d(dtype=wp.vec4), x: wp.float32, y: wp.float32):
        column = wp.clamp(wp.abs(x) / _CELL, 0.0, float(uv_map.shape[1]) - 1.01)
        row = wp.clamp((y - _LOW) / _CELL, 0.0, float(uv_map.shape[0]) - 1.01)
        i = int(row)
        j = int(column)
        u = column - float(j)
        v = row - float(i)
        low = uv_map[i, j] * (1.0 - u) + uv_map[i, j + 1] * u
        high = uv_map[i + 1, j] * (1.0 - u) + uv_map[i + 1, j + 1] * u
        return low * (1.0 - v) + high * v

    @wp.func
    @no_type_check
    def evaluate_harmonics(coefficients: wp.array(dtype=wp.vec3), n: wp.vec3):
        total = coefficients[0]
        total += coefficients[1] * n[1] + coefficients[2] * n[2] + coefficients[3] * n[0]
        total += coefficients[4] * (n[0] * n[1]) + coefficients[5] * (n[1] * n[2])
        total += coefficients[6] * (3.0 * n[2] * n[2] - 1.0) + coefficients[7] * (n[0] * n[2])
        total += coefficients[8] * (n[0] * n[0] - n[1] * n[1])
        return wp.vec3(wp.max(total[0], 0.005), wp.max(total[1], 0.005), wp.max(total[2], 0.005))

    @wp.func
    @no_type_check
    def shadow_visibility(
        samples: wp.array(dtype=wp.uint64),
        taps: wp.array(dtype=wp.vec2),
        scene: scene,
        place: wp.vec3,
        bias: wp.float32,
        blur: wp.float32,
    ):
        p = scene.shadow_rotation * place
        width = float(scene.shadow_width)
        scale = 0.5 * width / scene.shadow_half_height
        x = p[0] * scale + 0.5 * width
        y = 0.5 * width - p[1] * scale
        reach = (0.10 + blur) * scale
        if x < reach or y < reach or x >= width - reach or y >= width - reach:
            return 1.0
        depth = wp.uint64(wp.uint32((0.5 - (p[2] + bias) / 120.0) * 4.0e9)) << wp.uint64(32)
        free = float(0.0)
        for k in range(8):
            tap = taps[k]
            if depth <= samples[int(y + reach * tap[1]) * scene.shadow_width + int(x + reach * tap[0])]:
                free += 0.125
        return free

    @wp.func
    @no_type_check
    def fifth_power(value: wp.float32):
        square = value * value
        return square * square * value

    @wp.func
    @no_type_check
    def specular_lobe(cosine: wp.float32, sharpness: wp.float32):
        return wp.pow(wp.max(cosine, 0.0), sharpness) * (sharpness + 8.0) / 8.0

    @wp.func
    @no_type_check
    def blend(low: wp.vec3, high: wp.vec3, share: wp.float32):
        return low + (high - low) * share

    return SimpleNamespace(
        Scene=scene,
        step=step,
        noise=noise,
        spots=spots,
        sample_map=sample_map,
        evaluate_harmonics=evaluate_harmonics,
        shadow_visibility=shadow_visibility,
        fifth_power=fifth_power,
        specular_lobe=specular_lobe,
        blend=blend,
    )
