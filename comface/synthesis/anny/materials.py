"""Shaders of the materials: skin with all that is painted on it and the clothes, eyes, strands of hair.

No postponed annotations here: warp reads the functions' annotations as they are.
"""

import functools
from types import SimpleNamespace
from typing import no_type_check

from comface_bench.comface.synthesis.anny.shader_library import material_struct, shader_functions
from comface_bench.comface.synthesis.anny.warp_runtime import load_warp


@functools.lru_cache(maxsize=1)
def skin_shader() -> SimpleNamespace:
    """Return warp's function `skin`, the light that skin at a place sends to the camera."""
    wp, shared, material_type = load_warp(), shader_functions(), material_struct()
    step = shared.step
    noise = shared.noise
    spots = shared.spots
    sample_map = shared.sample_map
    evaluate_harmonics = shared.evaluate_harmonics
    shadow_visibility = shared.shadow_visibility
    fifth_power = shared.fifth_power
    specular_lobe = shared.specular_lobe
    blend = shared.blend

    @wp.func
    @no_type_check
    def shade_skin(
        c: wp.vec3,
        m: wp.vec4,
        attributes: wp.vec4,
        p: wp.vec3,
        n: wp.vec3,
        irradiance: wp.vec3,
        uv_map_a: wp.array2d(dtype=wp.vec4),
        uv_map_b: wp.array2d(dtype=wp.vec4),
        wrinkle_map: wp.array2d(dtype=wp.vec4),
        cube: wp.array(dtype=wp.vec4),
        shadow: wp.array(dtype=wp.uint64),
        taps: wp.array(dtype=wp.vec2),
        diffuse_light: wp.array(dtype=wp.vec3),
        specular_light: wp.array(dtype=wp.vec3),
        material: material_type,
        scene: shared.Scene,
    ):
        at = c + material.noise_offset
        broad = noise(cube, at * 0.30)
        middle = noise(cube, at * 0.95)
        fine = noise(cube, at * 2.9)
        # Details smaller than a sample would only flicker.
        sharp = wp.clamp(0.22 / scene.footprint - 0.5, 0.0, 1.0)
        pores = wp.vec4(0.0, 0.0, 0.0, 0.0)
        if sharp > 0.0:
            pores = noise(cube, at * 6.5) * sharp
        x = wp.abs(c[0] + 0.16 * broad[2] + 0.10 * middle[2])
        # Wrinkles of the forehead wander most: they aren't straight lines.
        wander = 1.0 + 2.0 * step((c[1] - 75.5) / 2.0)
        y = c[1] + (0.16 * broad[3] + 0.10 * middle[3]) * wander
        front = step((c[2] - 6.5) / 3.0)
        a = sample_map(uv_map_a, x, y)
        b = sample_map(uv_map_b, x, y)
        wrinkle = sample_map(wrinkle_map, x, y) * front
        lip = step(m[0] * 1.3 - 0.2)
        cavity = step((m[3] - 0.45) * 3.0)

        # Melanin and blood, as optical depths.
        blood = (
            0.05
            + material.blush * (0.42 * a[0] * front + 0.25 * m[2])
            + material.mottle * (0.10 * broad[0] + 0.10 * middle[1])
        )
        blood += 0.10 * fine[1] * material.mottle + 0.06 * pores[0] - 0.06
        melanin = material.mottle * (0.12 * broad[1] + 0.07 * middle[0]) + 0.05 * fine[0]
        melanin += 0.18 * material.eye_shadows * a[3] * front + 0.16 * m[1]
        # Freckles where the sun gets to, moles anywhere.
        sunny = material.freckles * step(1.2 * middle[2] + 1.0 - 0.15 * wp.abs(c[1] - 70.5))
        speck = 1.1 * spots(cube, at * 2.3, 0.7 * sunny) + 0.8 * spots(cube, at * 3.6, 0.8 * sunny)
        speck += 1.2 * spots(cube, at * 1.3 + wp.vec3(broad[0], 0.0, 0.0), 0.012 + 0.012 * material.freckles)
        melanin += 0.6 * speck * front
        melanin += 0.35 * material.spots * step((middle[3] + 0.5 * fine[0] - 0.45) * 2.2)
        blood += material.bag * b[0] * front * 0.35 + material.eye_shadows * a[3] * front * 0.12
        depth = wp.vec3(
            0.42 * melanin + 0.10 * blood, 0.80 * melanin + 0.95 * blood, 1.15 * melanin + 0.75 * blood
        )
        albedo = wp.vec3(
            material.skin[0] * wp.exp(-depth[0]),
            material.skin[1] * wp.exp(-depth[1]),
            material.skin[2] * wp.exp(-depth[2]),
        )
        crease = wp.clamp(wrinkle[2], 0.0, 1.2)
        albedo = wp.cw_mul(albedo, wp.vec3(1.0 - 0.12 * crease, 1.0 - 0.20 * crease, 1.0 - 0.20 * crease))
        if lip > 0.0:
            lined = 1.0 + 0.10 * fine[3] + 0.10 * noise(cube, wp.vec3(at[0] * 7.0, at[1] * 1.5, at[2]))[0]
            meeting = sample_map(uv_map_b, c[0], c[1])[3]
            albedo = blend(
                albedo, material.lips * (lined * (1.0 - 0.55 * meeting)), lip * (0.85 + 0.1 * middle[0])
            )
        # Made-up lids, brows' and beards' shade under the strands.
        lid = m[1] * material.makeup * 0.8
        albedo = wp.cw_mul(albedo, wp.vec3(1.0 - 0.55 * lid, 1.0 - 0.75 * lid, 1.0 - 0.70 * lid))
        grain = 0.8 + 0.35 * fine[0] + 0.35 * pores[2]
        albedo = blend(albedo, material.beard, wp.clamp(b[2] * front * material.brow * grain, 0.0, 0.85))
        shaven = (
            wp.max(a[1] * material.stubble, a[2] * wp.max(material.stubble, material.moustache))
            * front
            * (1.0 - lip)
            * wp.clamp(grain, 0.2, 1.3)
        )
        albedo = blend(albedo, material.beard * 0.8 + wp.vec3(0.012, 0.015, 0.02), wp.clamp(shaven, 0.0, 0.9))
        scalp = (
            step((attributes[0] + 0.30 * middle[0] + 0.25 * fine[1]) / 1.2 + 0.5)
            * attributes[3]
            * (0.45 + 0.55 * step(attributes[0] / 3.0))
        )
        albedo = blend(albedo, material.hair * 0.55, wp.clamp(scalp, 0.0, 1.0))
        albedo = blend(albedo, wp.vec3(0.16, 0.035, 0.03), cavity)
        cloth = step((attributes[1] + 0.03 * middle[0]) * 8.0 + 0.5)
        weave = 1.0 + 0.10 * fine[0] + 0.10 * pores[0] + 0.10 * broad[0]
        albedo = blend(albedo, material.cloth * weave, cloth)
        bare = (1.0 - cloth) * (1.0 - cavity)

        # Relief: deep wrinkles, then fine wrinkles and pores.
        relief = 0.85 + 0.6 * material.sag
        side = wp.sign(c[0])
        slope = wp.vec3(wrinkle[0] * side, wrinkle[1], 0.0) * relief
        grainy = wp.vec3(fine[1], fine[2] * 1.6, fine[3]) * (0.07 + 0.14 * material.fine)
        grainy += wp.vec3(middle[1], middle[2] * 1.5, middle[0]) * (0.035 + 0.10 * material.fine)
        grainy += wp.vec3(pores[1], pores[2], pores[3]) * material.pores
        grainy = grainy * (1.0 - 0.5 * scalp) + wp.vec3(fine[2], 0.0, 0.0) * (0.25 * lip)
        bump = scene.rotation * (slope + grainy)
        bumped = wp.normalize(n - (bump - n * wp.dot(bump, n)))

        key = scene.key
        towards = wp.normalize(scene.eye - p)
        shade = shadow_visibility(shadow, taps, scene, p + n * 0.18, 0.10, scene.spread * 1.6)
        flat = wp.dot(n, key)
        rough = wp.dot(bumped, key)
        wrap = wp.vec3(0.34, 0.17, 0.11) * bare
        cr = (flat * 0.6 + rough * 0.4 + wrap[0]) / ((1.0 + wrap[0]) * (1.0 + wrap[0]))
        cg = (flat * 0.25 + rough * 0.75 + wrap[1]) / ((1.0 + wrap[1]) * (1.0 + wrap[1]))
        cb = (flat * 0.15 + rough * 0.85 + wrap[2]) / ((1.0 + wrap[2]) * (1.0 + wrap[2]))
        bleed = wp.vec3(wp.sqrt(shade) * 0.55 + shade * 0.45, shade, shade * (0.9 + 0.1 * shade))
        direct = wp.vec3(wp.max(cr, 0.0) * bleed[0], wp.max(cg, 0.0) * bleed[1], wp.max(cb, 0.0) * bleed[2])
        # The relief turns the ambient light as well.
        smooth_light = evaluate_harmonics(diffuse_light, n)
        rough_light = evaluate_harmonics(diffuse_light, bumped)
        ratio = wp.vec3(
            0.6 + 0.4 * rough_light[0] / smooth_light[0],
            0.3 + 0.7 * rough_light[1] / smooth_light[1],
            0.2 + 0.8 * rough_light[2] / smooth_light[2],
        )
        dim = 1.0 - 0.22 * crease
        visibility = attributes[2]
        ambient = wp.cw_mul(irradiance, ratio) * dim
        closed = 1.0 - visibility
        ambient = wp.vec3(
            ambient[0] * (1.0 + 0.45 * bare * closed * closed), ambient[1], ambient[2] * (1.0 - 0.08 * closed)
        )
        total = wp.cw_mul(albedo, ambient + wp.cw_mul(direct, scene.key_colour))

        oil = material.oil * b[1] * front
        gloss = (0.6 + 1.0 * oil + 0.9 * lip + 1.2 * material.bag * b[0]) * (
            1.0 + 0.25 * fine[0] + 0.2 * middle[0]
        )
        gloss = wp.max(gloss, 0.1) * bare * (1.0 - 0.6 * scalp) * (1.0 - 0.5 * shaven)
        half = wp.normalize(towards + key)
        grazing = 1.0 - wp.max(wp.dot(half, towards), 0.0)
        fresnel = 0.028 + 0.972 * fifth_power(grazing)
        nh = wp.dot(bumped, half)
        shine = (
            (0.65 * specular_lobe(nh, 14.0) + 0.35 * specular_lobe(nh, 55.0 + 60.0 * lip)) * fresnel * gloss
        )
        total += scene.key_colour * (shine * shade * wp.max(rough, 0.0))
        facing = wp.clamp(0.5 * wp.dot(bumped, towards) + 0.5 * wp.dot(n, towards), 0.1, 1.0)
        mirrored = bumped * (2.0 * wp.dot(bumped, towards)) - towards
        # Rough skin mirrors less at grazing angles than glass does.
        edge = 0.028 + 0.06 * fifth_power(1.0 - facing)
        total += evaluate_harmonics(specular_light, mirrored) * (edge * gloss * visibility * visibility)
        return total

    return SimpleNamespace(skin=shade_skin)


@functools.lru_cache(maxsize=1)
def eye_and_strand_shaders() -> SimpleNamespace:
    """Return warp's functions `shade_eye` and `shade_strand`, the light that they send to the camera."""
    wp, shared, material_type = load_warp(), shader_functions(), material_struct()
    step = shared.step
    noise = shared.noise
    evaluate_harmonics = shared.evaluate_harmonics
    shadow_visibility = shared.shadow_visibility
    fifth_power = shared.fifth_power
    specular_lobe = shared.specular_lobe
    blend = shared.blend

    @wp.func
    @no_type_check
    def shade_eye(
        c: wp.vec3,
        p: wp.vec3,
        n: wp.vec3,
        irradiance: wp.vec3,
        visibility: wp.float32,
        left: wp.int32,
        shadow: wp.array(dtype=wp.uint64),
        taps: wp.array(dtype=wp.vec2),
        specular_light: wp.array(dtype=wp.vec3),
        cube: wp.array(dtype=wp.vec4),
        material: material_type,
        scene: shared.Scene,
    ):
        centre = material.eye_right
        upper = wp.vec3(scene.lids[1, 0], scene.lids[1, 1], scene.lids[1, 2])
        lower = wp.vec3(scene.lids[3, 0], scene.lids[3, 1], scene.lids[3, 2])
        if left == 1:
            centre = material.eye_left
            upper = wp.vec3(scene.lids[0, 0], scene.lids[0, 1], scene.lids[0, 2])
            lower = wp.vec3(scene.lids[2, 0], scene.lids[2, 1], scene.lids[2, 2])
        place = (c - wp.vec3(centre[0], centre[1], centre[2])) / centre[3]
        unit = wp.normalize(place)
        cosine = wp.dot(unit, material.gaze)
        angle = wp.acos(wp.clamp(cosine, -1.0, 1.0))
        off = unit - material.gaze * cosine
        turn = wp.atan2(off[1], off[0])
        # In the head's frame, height under the upper lid's edge and over the lower one's.
        q = wp.transpose(scene.rotation) * p
        below = upper[0] + upper[1] * q[0] + upper[2] * q[0] * q[0] - q[1]
        above = q[1] - (lower[0] + lower[1] * q[0] + lower[2] * q[0] * q[0])
        spots = noise(cube, unit * 9.0)
        white = material.white
        corner = wp.clamp((angle - 0.55) * 1.1, 0.0, 1.0)
        vein = 0.10 * step((spots[0] + 0.4) * 1.2) * corner
        white = wp.vec3(
            white[0] * (1.0 - 0.18 * corner),
            white[1] * (1.0 - 0.32 * corner - vein),
            white[2] * (1.0 - 0.30 * corner - vein),
        )
        rays = 1.0 + 0.28 * wp.sin(19.0 * turn + 4.0 * wp.sin(7.0 * turn)) * step((angle - 0.12) / 0.2)
        collar = 1.0 + 0.5 * step((0.27 - angle) / 0.06)
        iris = material.iris * (rays * collar)
        # Light that enters the cornea gathers on the far side of the iris.
        caustic = wp.clamp(-wp.dot(wp.normalize(off + wp.vec3(0.0, 0.0, 1.0e-4)), scene.key), -0.4, 1.0)
        iris = iris * (1.0 + 0.35 * caustic)
        iris = iris * (1.0 - 0.72 * step((angle - 0.345) / 0.09))
        colour = blend(white, iris, step((0.445 - angle) / 0.06 + 0.5))
        pupil = step((0.155 - angle) / 0.045 + 0.5)
        colour = blend(colour, wp.vec3(0.004, 0.004, 0.004), pupil)
        lash_shadow = 0.42 + 0.58 * step((below - 0.02) / 0.36)
        rim = 0.55 + 0.45 * step((above + 0.02) / 0.14)
        shade = shadow_visibility(shadow, taps, scene, p + n * 0.1, 0.12, scene.spread * 1.2)
        diffuse = wp.max((wp.dot(n, scene.key) + 0.25) / 1.56, 0.0) * shade
        light = irradiance * 0.6 + evaluate_harmonics(specular_light, n) * 0.34 + scene.key_colour * diffuse
        total = wp.cw_mul(colour, light) * (lash_shadow * rim)
        towards = wp.normalize(scene.eye - p)
        axis = scene.rotation * material.gaze
        # The cornea bulges: highlights lie as on a smaller ball.
        bulge = step((0.50 - angle) / 0.1)
        cornea = wp.normalize(n + axis * (0.0 - 0.25 * bulge) + (n - axis) * (0.45 * bulge))
        half = wp.normalize(towards + scene.key)
        size = 420.0 / (1.0 + 5.0 * scene.spread)
        glint = wp.min(specular_lobe(wp.dot(cornea, half), size) * 0.07, 2.5)
        total += scene.key_colour * glint * (0.25 + 0.75 * shade)
        mirrored = cornea * (2.0 * wp.dot(cornea, towards)) - towards
        edge = 0.012 + 0.5 * fifth_power(1.0 - wp.clamp(wp.dot(cornea, towards), 0.0, 1.0))
        total += evaluate_harmonics(specular_light, mirrored) * (edge * lash_shadow * visibility)
        tear = wp.exp(0.0 - 0.5 * wp.pow((above - 0.03) / 0.035, 2.0))
        total += evaluate_harmonics(specular_light, wp.normalize(n + wp.vec3(0.0, 0.8, 0.2))) * (0.10 * tear)
        return total

    @wp.func
    @no_type_check
    def shade_strand(
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
            return wp.cw_mul(colour, evaluate_harmonics(diffuse_light, out)) * 0.7
        if kind == 4:
            ball = wp.normalize(out + towards - tangent * wp.dot(out + towards, tangent))
            glint = specular_lobe(wp.dot(ball, wp.normalize(towards + scene.key)), 60.0) * 0.05
            light = evaluate_harmonics(diffuse_light, ball)
            return wp.cw_mul(colour, light) + scene.key_colour * glint + light * 0.03
        shade = shadow_visibility(shadow, taps, scene, p + out * 0.15, 0.28, 0.45 + scene.spread)
        sine = wp.sqrt(wp.max(1.0 - wp.pow(wp.dot(tangent, scene.key), 2.0), 0.0))
        facing = wp.clamp(0.45 + 0.55 * wp.dot(out, scene.key), 0.0, 1.0)
        inner = 0.30 + 0.70 * depth
        light = evaluate_harmonics(diffuse_light, out) * inner
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

    return SimpleNamespace(shade_eye=shade_eye, shade_strand=shade_strand)
