"""Skin, with all that is painted on it: lips, lids, shaven beard, scalp, and the clothes below.

No postponed annotations here: warp reads the functions' annotations as they are.
"""

import functools
from types import SimpleNamespace
from typing import no_type_check

from comface_bench.comface.synthesis.anny.optics import optics
from comface_bench.comface.synthesis.anny.warping import load_warp


@functools.lru_cache(maxsize=1)
def skin_function() -> SimpleNamespace:
    """Return warp's function `skin`, the light that skin at a place sends to the camera."""
    wp, shared = load_warp(), optics()
    step = shared.step
    noise = shared.noise
    spots = shared.spots
    look_up = shared.look_up
    harmonics = shared.harmonics
    lit = shared.lit
    fifth = shared.fifth
    lobe = shared.lobe
    blend = shared.blend

    @wp.func
    @no_type_check
    def skin(
        c: wp.vec3,
        m: wp.vec4,
        extra: wp.vec4,
        p: wp.vec3,
        n: wp.vec3,
        irradiance: wp.vec3,
        atlas_a: wp.array2d(dtype=wp.vec4),
        atlas_b: wp.array2d(dtype=wp.vec4),
        folds: wp.array2d(dtype=wp.vec4),
        cube: wp.array(dtype=wp.vec4),
        shadow: wp.array(dtype=wp.uint64),
        taps: wp.array(dtype=wp.vec2),
        diffuse_light: wp.array(dtype=wp.vec3),
        mirror_light: wp.array(dtype=wp.vec3),
        look: shared.Look,
        scene: shared.Scene,
    ):
        at = c + look.offset
        broad = noise(cube, at * 0.30)
        middle = noise(cube, at * 0.95)
        fine = noise(cube, at * 2.9)
        # Details smaller than a sample would only flicker.
        sharp = wp.clamp(0.22 / scene.footprint - 0.5, 0.0, 1.0)
        pores = wp.vec4(0.0, 0.0, 0.0, 0.0)
        if sharp > 0.0:
            pores = noise(cube, at * 6.5) * sharp
        x = wp.abs(c[0] + 0.16 * broad[2] + 0.10 * middle[2])
        # Folds of the forehead wander most: nobody's are ruled.
        wander = 1.0 + 2.0 * step((c[1] - 75.5) / 2.0)
        y = c[1] + (0.16 * broad[3] + 0.10 * middle[3]) * wander
        front = step((c[2] - 6.5) / 3.0)
        a = look_up(atlas_a, x, y)
        b = look_up(atlas_b, x, y)
        fold = look_up(folds, x, y) * front
        lip = step(m[0] * 1.3 - 0.2)
        cavity = step((m[3] - 0.45) * 3.0)

        # Melanin and blood, as optical depths.
        blood = (
            0.05
            + look.blush * (0.42 * a[0] * front + 0.25 * m[2])
            + look.mottle * (0.10 * broad[0] + 0.10 * middle[1])
        )
        blood += 0.10 * fine[1] * look.mottle + 0.06 * pores[0] - 0.06
        melanin = look.mottle * (0.12 * broad[1] + 0.07 * middle[0]) + 0.05 * fine[0]
        melanin += 0.18 * look.shadows * a[3] * front + 0.16 * m[1]
        # Freckles where the sun gets to, moles anywhere.
        sunny = look.freckles * step(1.2 * middle[2] + 1.0 - 0.15 * wp.abs(c[1] - 70.5))
        speck = 1.1 * spots(cube, at * 2.3, 0.7 * sunny) + 0.8 * spots(cube, at * 3.6, 0.8 * sunny)
        speck += 1.2 * spots(cube, at * 1.3 + wp.vec3(broad[0], 0.0, 0.0), 0.012 + 0.012 * look.freckles)
        melanin += 0.6 * speck * front
        melanin += 0.35 * look.spots * step((middle[3] + 0.5 * fine[0] - 0.45) * 2.2)
        blood += look.bag * b[0] * front * 0.35 + look.shadows * a[3] * front * 0.12
        depth = wp.vec3(
            0.42 * melanin + 0.10 * blood, 0.80 * melanin + 0.95 * blood, 1.15 * melanin + 0.75 * blood
        )
        albedo = wp.vec3(
            look.skin[0] * wp.exp(-depth[0]),
            look.skin[1] * wp.exp(-depth[1]),
            look.skin[2] * wp.exp(-depth[2]),
        )
        crease = wp.clamp(fold[2], 0.0, 1.2)
        albedo = wp.cw_mul(albedo, wp.vec3(1.0 - 0.12 * crease, 1.0 - 0.20 * crease, 1.0 - 0.20 * crease))
        if lip > 0.0:
            lined = 1.0 + 0.10 * fine[3] + 0.10 * noise(cube, wp.vec3(at[0] * 7.0, at[1] * 1.5, at[2]))[0]
            meeting = look_up(atlas_b, c[0], c[1])[3]
            albedo = blend(
                albedo, look.lips * (lined * (1.0 - 0.55 * meeting)), lip * (0.85 + 0.1 * middle[0])
            )
        # Made-up lids, brows' and beards' shade under the strands.
        lid = m[1] * look.makeup * 0.8
        albedo = wp.cw_mul(albedo, wp.vec3(1.0 - 0.55 * lid, 1.0 - 0.75 * lid, 1.0 - 0.70 * lid))
        grain = 0.8 + 0.35 * fine[0] + 0.35 * pores[2]
        albedo = blend(albedo, look.beard, wp.clamp(b[2] * front * look.brow * grain, 0.0, 0.85))
        shaven = (
            wp.max(a[1] * look.stubble, a[2] * wp.max(look.stubble, look.moustache))
            * front
            * (1.0 - lip)
            * wp.clamp(grain, 0.2, 1.3)
        )
        albedo = blend(albedo, look.beard * 0.8 + wp.vec3(0.012, 0.015, 0.02), wp.clamp(shaven, 0.0, 0.9))
        scalp = (
            step((extra[0] + 0.30 * middle[0] + 0.25 * fine[1]) / 1.2 + 0.5)
            * extra[3]
            * (0.45 + 0.55 * step(extra[0] / 3.0))
        )
        albedo = blend(albedo, look.hair * 0.55, wp.clamp(scalp, 0.0, 1.0))
        albedo = blend(albedo, wp.vec3(0.16, 0.035, 0.03), cavity)
        cloth = step((extra[1] + 0.03 * middle[0]) * 8.0 + 0.5)
        weave = 1.0 + 0.10 * fine[0] + 0.10 * pores[0] + 0.10 * broad[0]
        albedo = blend(albedo, look.cloth * weave, cloth)
        bare = (1.0 - cloth) * (1.0 - cavity)

        # Relief: folds, then fine wrinkles and pores.
        relief = 0.85 + 0.6 * look.sag
        side = wp.sign(c[0])
        slope = wp.vec3(fold[0] * side, fold[1], 0.0) * relief
        grainy = wp.vec3(fine[1], fine[2] * 1.6, fine[3]) * (0.07 + 0.14 * look.fine)
        grainy += wp.vec3(middle[1], middle[2] * 1.5, middle[0]) * (0.035 + 0.10 * look.fine)
        grainy += wp.vec3(pores[1], pores[2], pores[3]) * look.pores
        grainy = grainy * (1.0 - 0.5 * scalp) + wp.vec3(fine[2], 0.0, 0.0) * (0.25 * lip)
        bump = scene.turn * (slope + grainy)
        bumped = wp.normalize(n - (bump - n * wp.dot(bump, n)))

        key = scene.key
        towards = wp.normalize(scene.eye - p)
        shade = lit(shadow, taps, scene, p + n * 0.18, 0.10, scene.spread * 1.6)
        flat = wp.dot(n, key)
        rough = wp.dot(bumped, key)
        wrap = wp.vec3(0.34, 0.17, 0.11) * bare
        cr = (flat * 0.6 + rough * 0.4 + wrap[0]) / ((1.0 + wrap[0]) * (1.0 + wrap[0]))
        cg = (flat * 0.25 + rough * 0.75 + wrap[1]) / ((1.0 + wrap[1]) * (1.0 + wrap[1]))
        cb = (flat * 0.15 + rough * 0.85 + wrap[2]) / ((1.0 + wrap[2]) * (1.0 + wrap[2]))
        bleed = wp.vec3(wp.sqrt(shade) * 0.55 + shade * 0.45, shade, shade * (0.9 + 0.1 * shade))
        direct = wp.vec3(wp.max(cr, 0.0) * bleed[0], wp.max(cg, 0.0) * bleed[1], wp.max(cb, 0.0) * bleed[2])
        # The relief turns the ambient light as well.
        smooth_light = harmonics(diffuse_light, n)
        rough_light = harmonics(diffuse_light, bumped)
        ratio = wp.vec3(
            0.6 + 0.4 * rough_light[0] / smooth_light[0],
            0.3 + 0.7 * rough_light[1] / smooth_light[1],
            0.2 + 0.8 * rough_light[2] / smooth_light[2],
        )
        dim = 1.0 - 0.22 * crease
        openness = extra[2]
        ambient = wp.cw_mul(irradiance, ratio) * dim
        closed = 1.0 - openness
        ambient = wp.vec3(
            ambient[0] * (1.0 + 0.45 * bare * closed * closed), ambient[1], ambient[2] * (1.0 - 0.08 * closed)
        )
        total = wp.cw_mul(albedo, ambient + wp.cw_mul(direct, scene.key_colour))

        oil = look.oil * b[1] * front
        gloss = (0.6 + 1.0 * oil + 0.9 * lip + 1.2 * look.bag * b[0]) * (
            1.0 + 0.25 * fine[0] + 0.2 * middle[0]
        )
        gloss = wp.max(gloss, 0.1) * bare * (1.0 - 0.6 * scalp) * (1.0 - 0.5 * shaven)
        half = wp.normalize(towards + key)
        grazing = 1.0 - wp.max(wp.dot(half, towards), 0.0)
        fresnel = 0.028 + 0.972 * fifth(grazing)
        nh = wp.dot(bumped, half)
        shine = (0.65 * lobe(nh, 14.0) + 0.35 * lobe(nh, 55.0 + 60.0 * lip)) * fresnel * gloss
        total += scene.key_colour * (shine * shade * wp.max(rough, 0.0))
        facing = wp.clamp(0.5 * wp.dot(bumped, towards) + 0.5 * wp.dot(n, towards), 0.1, 1.0)
        mirrored = bumped * (2.0 * wp.dot(bumped, towards)) - towards
        # Rough skin mirrors less at grazing angles than glass does.
        edge = 0.028 + 0.06 * fifth(1.0 - facing)
        total += harmonics(mirror_light, mirrored) * (edge * gloss * openness * openness)
        return total

    return SimpleNamespace(skin=skin)
