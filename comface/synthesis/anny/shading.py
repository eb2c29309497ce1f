"""Shading of samples: one kernel for all that was rasterised, in K images at once.

No postponed annotations here: warp reads the functions' annotations as they are.
"""

import functools
from typing import Any, no_type_check

from comface_bench.comface.synthesis.anny.materials import eye_and_strand_shaders, skin_shader
from comface_bench.comface.synthesis.anny.shader_library import material_struct, shader_functions
from comface_bench.comface.synthesis.anny.warp_runtime import image_index, load_warp


@functools.lru_cache(maxsize=1)
def shade_kernel() -> Any:
    """Return the kernel that shades four samples, those of a pixel, in a thread."""
    wp, shared, material_type = load_warp(), shader_functions(), material_struct()
    owner = image_index()
    evaluate_harmonics = shared.evaluate_harmonics
    shadow_visibility = shared.shadow_visibility
    specular_lobe = shared.specular_lobe
    shade_skin = skin_shader().skin
    shade_eye, shade_strand = eye_and_strand_shaders().shade_eye, eye_and_strand_shaders().shade_strand

    @wp.kernel(module="unique")
    @no_type_check
    def shade(
        all_samples: wp.array2d(dtype=wp.uint64),
        width: wp.int32,
        triangles: wp.array2d(dtype=wp.int32),
        part: wp.array(dtype=wp.int32),
        all_screen: wp.array2d(dtype=wp.vec3),
        all_placed: wp.array2d(dtype=wp.vec3),
        all_normals: wp.array2d(dtype=wp.vec3),
        canonical: wp.array(dtype=wp.vec3),
        masks: wp.array(dtype=wp.vec4),
        all_irradiance: wp.array2d(dtype=wp.vec3),
        all_attributes: wp.array2d(dtype=wp.vec4),
        all_strand_screen: wp.array2d(dtype=wp.vec3),
        all_strand_placed: wp.array2d(dtype=wp.vec3),
        all_strand_colour: wp.array2d(dtype=wp.vec3),
        all_strand_depth: wp.array2d(dtype=wp.float32),
        all_segments: wp.array2d(dtype=wp.int32),
        all_kinds: wp.array2d(dtype=wp.int32),
        all_strand: wp.array2d(dtype=wp.int32),
        uv_map_a: wp.array2d(dtype=wp.vec4),
        uv_map_b: wp.array2d(dtype=wp.vec4),
        all_wrinkle_maps: wp.array3d(dtype=wp.vec4),
        cube: wp.array(dtype=wp.vec4),
        all_shadow: wp.array2d(dtype=wp.uint64),
        taps: wp.array(dtype=wp.vec2),
        all_diffuse_light: wp.array2d(dtype=wp.vec3),
        all_specular_light: wp.array2d(dtype=wp.vec3),
        all_materials: wp.array(dtype=material_type),
        scenes: wp.array(dtype=shared.Scene),
        all_out: wp.array2d(dtype=wp.vec4),
    ):
        item = wp.tid()
        image = owner(item, width * width // 4)
        block = item - image * (width * width // 4)
        samples = all_samples[image]
        out = all_out[image]
        blocks = width // 2
        corner = (block // blocks) * 2 * width + (block % blocks) * 2
        count = triangles.shape[0]
        # Skin all over: its detail is no finer than a pixel, so it's painted once for the four samples.
        whole = 1
        blank = 1
        for k in range(4):
            key = samples[corner + (k // 2) * width + k % 2]
            number = int(wp.uint32(key & wp.uint64(4294967295)))
            none = (key >> wp.uint64(32)) == wp.uint64(4294967295)
            if not none:
                blank = 0
            if none or number >= count or part[triangles[number, 0]] != 0:
                whole = 0
        if blank == 1:
            for k in range(4):
                out[corner + (k // 2) * width + k % 2] = wp.vec4(0.0, 0.0, 0.0, 0.0)
            return
        shown = 4
        if whole == 1:
            shown = 1
        # From here on, one image's.
        screen = all_screen[image]
        placed = all_placed[image]
        normals = all_normals[image]
        irradiance = all_irradiance[image]
        attributes = all_attributes[image]
        strand_screen = all_strand_screen[image]
        strand_placed = all_strand_placed[image]
        strand_colour = all_strand_colour[image]
        strand_depth = all_strand_depth[image]
        segments = all_segments[image]
        kinds = all_kinds[image]
        strand = all_strand[image]
        wrinkle_map = all_wrinkle_maps[image]
        shadow = all_shadow[image]
        diffuse_light = all_diffuse_light[image]
        specular_light = all_specular_light[image]
        material = all_materials[image]
        scene = scenes[image]
        for k in range(shown):
            i = corner + (k // 2) * width + k % 2
            key = samples[i]
            if (key >> wp.uint64(32)) == wp.uint64(4294967295):
                out[i] = wp.vec4(0.0, 0.0, 0.0, 0.0)
                continue
            number = int(wp.uint32(key & wp.uint64(4294967295)))
            x = float(i % width) + 0.5 + 0.5 * float(whole)
            y = float(i // width) + 0.5 + 0.5 * float(whole)
            colour = wp.vec3(0.0, 0.0, 0.0)
            if number < count:
                ia = triangles[number, 0]
                ib = triangles[number, 1]
                ic = triangles[number, 2]
                a = screen[ia]
                b = screen[ib]
                c = screen[ic]
                area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
                u = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) / area
                v = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) / area
                # The middle of a pixel may lie beside a thin triangle that only a sample of it hit.
                u = wp.clamp(u, 0.0, 1.0)
                v = wp.clamp(v, 0.0, 1.0 - u)
                w = 1.0 - u - v
                n = wp.normalize(scene.rotation * (normals[ia] * u + normals[ib] * v + normals[ic] * w))
                p = placed[ia] * u + placed[ib] * v + placed[ic] * w
                at = canonical[ia] * u + canonical[ib] * v + canonical[ic] * w
                light = irradiance[ia] * u + irradiance[ib] * v + irradiance[ic] * w
                more = attributes[ia] * u + attributes[ib] * v + attributes[ic] * w
                kind = part[ia]
                if kind == 0:
                    m = masks[ia] * u + masks[ib] * v + masks[ic] * w
                    colour = shade_skin(
                        at,
                        m,
                        more,
                        p,
                        n,
                        light,
                        uv_map_a,
                        uv_map_b,
                        wrinkle_map,
                        cube,
                        shadow,
                        taps,
                        diffuse_light,
                        specular_light,
                        material,
                        scene,
                    )
                elif kind == 1 or kind == 2:
                    colour = shade_eye(
                        at,
                        p,
                        n,
                        light,
                        more[2],
                        2 - kind,
                        shadow,
                        taps,
                        specular_light,
                        cube,
                        material,
                        scene,
                    )
                else:
                    albedo = material.teeth * wp.clamp((at[2] - 11.5) / 1.9, 0.08, 1.0)
                    gloss = 0.5
                    if kind == 4:
                        albedo = wp.vec3(0.42, 0.12, 0.11) * wp.clamp((at[2] - 9.5) / 4.5, 0.1, 1.0)
                    else:
                        across = wp.abs(at[0])
                        gap = across - 0.8 * wp.floor(across / 0.8 + 0.5)
                        albedo = albedo * (1.0 - 0.30 * wp.exp(0.0 - 0.5 * gap * gap / 0.0036))
                    shade = shadow_visibility(shadow, taps, scene, p + n * 0.1, 0.15, scene.spread)
                    open_light = light + evaluate_harmonics(diffuse_light, n) * 0.75
                    facing = wp.max(wp.dot(n, scene.key) * 0.8 + 0.2, 0.0) * wp.max(shade, 0.4)
                    colour = wp.cw_mul(albedo, open_light + scene.key_colour * facing)
                    half = wp.normalize(wp.normalize(scene.eye - p) + scene.key)
                    colour += scene.key_colour * (specular_lobe(wp.dot(n, half), 50.0) * 0.03 * gloss * shade)
            else:
                s = number - count
                first = segments[s]
                a = strand_screen[first]
                b = strand_screen[first + 1]
                dx = b[0] - a[0]
                dy = b[1] - a[1]
                t = wp.clamp(
                    ((x - a[0]) * dx + (y - a[1]) * dy) / wp.max(dx * dx + dy * dy, 1.0e-6), 0.0, 1.0
                )
                pa = strand_placed[first]
                pb = strand_placed[first + 1]
                p = pa + (pb - pa) * t
                tint = strand_colour[first] + (strand_colour[first + 1] - strand_colour[first]) * t
                depth = strand_depth[first] + (strand_depth[first + 1] - strand_depth[first]) * t
                tangent = wp.normalize(pb - pa + wp.vec3(1.0e-6, 0.0, 0.0))
                if kinds[s] == 0:
                    # A strand is a lock of finer ones, each of another brightness.
                    offset = ((x - a[0]) * dy - (y - a[1]) * dx) / wp.sqrt(wp.max(dx * dx + dy * dy, 1.0e-6))
                    hair = strand[s] * 64 + int(wp.floor(offset * scene.footprint * 22.0)) + 32
                    chance = float((wp.uint32(hair) * wp.uint32(747796405)) >> wp.uint32(8)) / 16777216.0
                    tint = tint * (0.80 + 0.40 * chance)
                colour = shade_strand(
                    p, tangent, tint, depth, kinds[s], material.sheen, shadow, taps, diffuse_light, scene
                )
            result = wp.vec4(colour[0], colour[1], colour[2], 1.0)
            out[i] = result
            if whole == 1:
                out[i + 1] = result
                out[i + width] = result
                out[i + width + 1] = result

    return shade
