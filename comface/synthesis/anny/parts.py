"""Eyes, and strands of hair.

No postponed annotations here: warp reads the functions' annotations as they are.
"""

import functools
from types import SimpleNamespace
from typing import no_type_check

from comface_bench.comface.synthesis.anny.optics import optics
from comface_bench.comface.synthesis.anny.warping import load_warp


@functools.lru_cache(maxsize=1)
def part_functions() -> SimpleNamespace:
    """Return warp's functions `eyeball` and `strand_light`, the light that they send to the camera."""
    wp, shared = load_warp(), optics()
    step = shared.step
    noise = shared.noise
    harmonics = shared.harmonics
    lit = shared.lit
    fifth = shared.fifth
    lobe = shared.lobe
    blend = shared.blend

    @wp.func
    @no_type_check
    def eyeball(
        c: wp.vec3,
        p: wp.vec3,
        n: wp.vec3,
        irradiance: wp.vec3,
        openness: wp.float32,
        left: wp.int32,
        shadow: wp.array(dtype=wp.uint64),
        taps: wp.array(dtype=wp.vec2),
        mirror_light: wp.array(dtype=wp.vec3),
        cube: wp.array(dtype=wp.vec4),
        look: shared.Look,
        scene: shared.Scene,
    ):
        centre = look.eye_right
        upper = wp.vec3(scene.lids[1, 0], scene.lids[1, 1], scene.lids[1, 2])
        lower = wp.vec3(scene.lids[3, 0], scene.lids[3, 1], scene.lids[3, 2])
        if left == 1:
            centre = look.eye_left
            upper = wp.vec3(scene.lids[0, 0], scene.lids[0, 1], scene.lids[0, 2])
            lower = wp.vec3(scene.lids[2, 0], scene.lids[2, 1], scene.lids[2, 2])
        place = (c - wp.vec3(centre[0], centre[1], centre[2])) / centre[3]
        unit = wp.normalize(place)
        cosine = wp.dot(unit, look.gaze)
        angle = wp.acos(wp.clamp(cosine, -1.0, 1.0))
        off = unit - look.gaze * cosine
        turn = wp.atan2(off[1], off[0])
        # In the head's frame, height under the upper lid's edge and over the lower one's.
        q = wp.transpose(scene.turn) * p
        below = upper[0] + upper[1] * q[0] + upper[2] * q[0] * q[0] - q[1]
        above = q[1] - (lower[0] + lower[1] * q[0] + lower[2] * q[0] * q[0])
        spots = noise(cube, unit * 9.0)
        white = look.white
        corner = wp.clamp((angle - 0.55) * 1.1, 0.0, 1.0)
        vein = 0.10 * step((spots[0] + 0.4) * 1.2) * corner
        white = wp.vec3(
            white[0] * (1.0 - 0.18 * corner),
            white[1] * (1.0 - 0.32 * corner - vein),
            white[2] * (1.0 - 0.30 * corner - vein),
        )
        rays = 1.0 + 0.28 * wp.sin(19.0 * turn + 4.0 * wp.sin(7.0 * turn)) * step((angle - 0.12) / 0.2)
        collar = 1.0 + 0.5 * step((0.27 - angle) / 0.06)
        iris = look.iris * (rays * collar)
        # Light that enters the cornea gathers on the far side of the iris.
        caustic = wp.clamp(-wp.dot(wp.normalize(off + wp.vec3(0.0, 0.0, 1.0e-4)), scene.key), -0.4, 1.0)
        iris = iris * (1.0 + 0.35 * caustic)
        iris = iris * (1.0 - 0.72 * step((angle - 0.345) / 0.09))
        colour = blend(white, iris, step((0.445 - angle) / 0.06 + 0.5))
        pupil = step((0.155 - angle) / 0.045 + 0.5)
        colour = blend(colour, wp.vec3(0.004, 0.004, 0.004), pupil)
        lash_shadow = 0.42 + 0.58 * step((below - 0.02) / 0.36)
        rim = 0.55 + 0.45 * step((above + 0.02) / 0.14)
        shade = lit(shadow, taps, scene, p + n * 0.1, 0.12, scene.spread * 1.2)
        diffuse = wp.max((wp.dot(n, scene.key) + 0.25) / 1.56, 0.0) * shade
        light = irradiance * 0.6 + harmonics(mirror_light, n) * 0.34 + scene.key_colour * diffuse
        total = wp.cw_mul(colour, light) * (lash_shadow * rim)
        towards = wp.normalize(scene.eye - p)
        axis = scene.turn * look.gaze
        # The cornea bulges: highlights lie as on a smaller ball.
        bulge = step((0.50 - angle) / 0.1)
        cornea = wp.normalize(n + axis * (0.0 - 0.25 * bulge) + (n - axis) * (0.45 * bulge))
        half = wp.normalize(towards + scene.key)
        size = 420.0 / (1.0 + 5.0 * scene.spread)
        glint = wp.min(lobe(wp.dot(cornea, half), size) * 0.07, 2.5)
        total += scene.key_colour * glint * (0.25 + 0.75 * shade)
        mirrored = cornea * (2.0 * wp.dot(cornea, towards)) - towards
        edge = 0.012 + 0.5 * fifth(1.0 - wp.clamp(wp.dot(cornea, towards), 0.0, 1.0))
        total += harmonics(mirror_light, mirrored) * (edge * lash_shadow * openness)
        tear = wp.exp(0.0 - 0.5 * wp.pow((above - 0.03) / 0.035, 2.0))
        total += harmonics(mirror_light, wp.normalize(n + wp.vec3(0.0, 0.8, 0.2))) * (0.10 * tear)
        return total

    @wp.func
    @no_type_check
    def strand_light(
        p: wp.vec3,
        tangent: wp.vec3,
        colour: wp.vec3,
        depth: wp.float32,
        kind: wp.int32,
        sheen: wp.float32,
        shadow: wp.array(dtype=wp.uint64),
        taps: wp.array(dtype=wp.vec2),
        diffuse_light: wp.array(dtype=wp.vec3),
        scene: shared.Scene,
    ):
        out = wp.normalize(p - scene.head)
        towards = wp.normalize(scene.eye - p)
        if kind == 3:
            return wp.cw_mul(colour, harmonics(diffuse_light, out)) * 0.7
        if kind == 4:
            ball = wp.normalize(out + towards - tangent * wp.dot(out + towards, tangent))
            glint = lobe(wp.dot(ball, wp.normalize(towards + scene.key)), 60.0) * 0.05
            light = harmonics(diffuse_light, ball)
            return wp.cw_mul(colour, light) + scene.key_colour * glint + light * 0.03
        shade = lit(shadow, taps, scene, p + out * 0.15, 0.28, 0.45 + scene.spread)
        sine = wp.sqrt(wp.max(1.0 - wp.pow(wp.dot(tangent, scene.key), 2.0), 0.0))
        facing = wp.clamp(0.45 + 0.55 * wp.dot(out, scene.key), 0.0, 1.0)
        inner = 0.30 + 0.70 * depth
        light = harmonics(diffuse_light, out) * inner
        total = wp.cw_mul(
            colour, light * 0.85 + scene.key_colour * (sine * facing * shade * (0.4 + 0.5 * inner))
        )
        # Two highlights along the strand: a white one nearer the root, and one of the hair's colour.
        half = wp.normalize(towards + scene.key)
        first = wp.normalize(tangent + out * 0.14)
        second = wp.normalize(tangent - out * 0.10)
        s1 = wp.sqrt(wp.max(1.0 - wp.pow(wp.dot(first, half), 2.0), 0.0))
        s2 = wp.sqrt(wp.max(1.0 - wp.pow(wp.dot(second, half), 2.0), 0.0))
        gleam = shade * facing * inner * sheen
        if kind != 0:
            gleam = gleam * 0.3
        total += scene.key_colour * (0.05 * wp.pow(s1, 60.0) * gleam)
        total += wp.cw_mul(colour, scene.key_colour) * (0.75 * wp.pow(s2, 16.0) * gleam)
        above = wp.sqrt(
            wp.max(1.0 - wp.pow(wp.dot(first, wp.normalize(towards + wp.vec3(0.0, 0.8, 0.2))), 2.0), 0.0)
        )
        total += wp.cw_mul(wp.vec3(0.035, 0.035, 0.035) + colour * 0.6, light) * (
            wp.pow(above, 30.0) * inner * sheen
        )
        return total

    return SimpleNamespace(eyeball=eyeball, strand_light=strand_light)
