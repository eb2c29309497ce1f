"""Render pipeline: projection, rasterisation, shadow map, shading and camera response of K images."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from comface_bench.comface.synthesis.anny.ambient_visibility import sample_directions, view_rotation
from comface_bench.comface.synthesis.anny.camera_response import apply_camera_response
from comface_bench.comface.synthesis.anny.raster import (
    Camera,
    StrandBatch,
    VisibilityBuffer,
    camera_structs,
    look_at_point,
    project,
)
from comface_bench.comface.synthesis.anny.shader_library import material_struct, noise_cube, shader_functions
from comface_bench.comface.synthesis.anny.shading import shade_kernel
from comface_bench.comface.synthesis.anny.uv_maps import SKIN_CHANNELS, face_uv_maps
from comface_bench.comface.synthesis.anny.warp_runtime import load_warp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comface_bench.comface.synthesis.anny.arrays import Floats, Ints, Pixels
    from comface_bench.comface.synthesis.anny.head_model import HeadModel
    from comface_bench.comface.synthesis.anny.raster import StrandGeometry
    from comface_bench.comface.synthesis.anny.scene import View
    from comface_bench.comface.synthesis.anny.warp_runtime import Device


SUPERSAMPLING = 2
_SHADOW_WIDTH, _SHADOW_HALF_HEIGHT = 168, 16.0


@dataclass(frozen=True)
class RenderInputs:
    """Geometry and materials of one image, in the head's frame.

    Attributes:
        points, normals: Vertices (W, 3), clothes over the skin, and their unit normals.
        attributes: Depth behind the hairline and below the neckline in cm, ambient visibility, density of the
            hair (W, 4).
        transfer: Radiance transfer at the base vertices (V, D).
        strands: Hair, brows, lashes, beard and frames of glasses.
        colours, depth: Of its points: linear colour (P, 3); depth from the skin 0 to the outer layer 1 (P,).
        kinds: Kind of each segment (S,).
        eye_centre, eye_distance: Point between the eyes (3,), and their distance, cm.
        eyelids: Edges of the eyelids as parabolas (4, 4), for the shadow on the eyes.
        material: The kernels' `Material`.
        wrinkle_map: Slope right and up, and darkness, of the wrinkles (H, W, 4).
        skin_level: Brightness of the skin at the base of the path, linear; the exposure is metered for it.
    """

    points: Floats
    normals: Floats
    attributes: Floats
    transfer: Floats
    strands: StrandGeometry
    colours: Floats
    depth: Floats
    kinds: Ints
    eye_centre: Floats
    eye_distance: float
    eyelids: Floats
    material: Any
    wrinkle_map: Floats
    skin_level: float


def render_images(
    head: HeadModel,
    inputs: Sequence[RenderInputs],
    backgrounds: Sequence[Floats],
    views: Sequence[View],
    size: int,
    device: Device,
) -> Pixels:
    """Render K images, each the same as when rendered alone.

    Args:
        head: The head model.
        inputs: Geometry and materials of each image.
        backgrounds: Linear light behind each head (B, B, 3).
        views: Camera, lights and sensor of each image.
        size: Height and width in pixels.
        device: Where the kernels run.

    Returns:
        RGB images (K, size, size, 3).
    """
    count, width = len(inputs), size * SUPERSAMPLING
    cameras = [_camera(one, view, width) for one, view in zip(inputs, views, strict=True)]
    fixed, structs = _static_arrays(head, device), camera_structs(cameras, device)
    strands = StrandBatch.of([one.strands for one in inputs], device)
    points = device.stack([one.points for one in inputs], "vec3")
    strand_points = device.stack([one.strands.points for one in inputs], "vec3")
    placed, strand_placed = (device.empty(each.shape, "vec3") for each in (points, strand_points))
    screen = project(points, structs, device, placed)
    strand_screen = project(strand_points, structs, device, strand_placed)
    buffer = VisibilityBuffer(count, width, device)
    buffer.draw_triangles(screen, fixed.triangles)
    scales = [width / (2 * camera.half_height) for camera in cameras]
    buffer.draw_strands(strand_screen, strands, len(head.front_triangles), scales)

    shadow_cameras = [_shadow_camera(view) for view in views]
    structs = camera_structs(shadow_cameras, device)
    shadow = VisibilityBuffer(count, _SHADOW_WIDTH, device)
    shadow.draw_triangles(project(placed[:, : len(head.template)], structs, device), fixed.base_triangles)
    density = [_SHADOW_WIDTH / (2 * _SHADOW_HALF_HEIGHT)] * count
    lit = project(strand_placed, structs, device)
    shadow.draw_strands(lit, strands, len(head.base_triangles), density, 1.5, 8)

    shown = list(zip(inputs, views, cameras, shadow_cameras, strict=True))
    harmonics = [_harmonics(view) for view in views]
    scenes = [_scene(*each) for each in shown]
    out = device.empty((count, width * width), "vec4")
    arguments = [
        buffer.samples, width, fixed.triangles, fixed.part,
        screen, placed, device.stack([one.normals for one in inputs], "vec3"),
        fixed.canonical, fixed.masks,
        device.stack([_ambient(head, *each[:3]) for each in shown], "vec3"),
        device.stack([one.attributes for one in inputs], "vec4"),
        strand_screen, strand_placed,
        device.stack([one.colours for one in inputs], "vec3"),
        device.stack([one.depth for one in inputs], "float32"),
        strands.segments, device.stack([one.kinds for one in inputs], "int32"), strands.strand,
        fixed.uv_map_a, fixed.uv_map_b, device.stack([one.wrinkle_map for one in inputs], "vec4"),
        fixed.cube, shadow.samples, fixed.taps,
        device.stack([diffuse for diffuse, _ in harmonics], "vec3"),
        device.stack([mirror for _, mirror in harmonics], "vec3"),
        device.structures(material_struct(), [one.material for one in inputs]),
        device.structures(shader_functions().Scene, scenes), out,
    ]  # fmt: skip
    device.launch(shade_kernel(), out.size // 4, arguments)
    levels = [
        _expected_light(one, view, diffuse)
        for one, view, (diffuse, _) in zip(inputs, views, harmonics, strict=True)
    ]
    return apply_camera_response(out, backgrounds, levels, views, size, SUPERSAMPLING, device)


def _camera(inputs: RenderInputs, view: View, width: int) -> Camera:
    half_height, target = (
        view.frame * inputs.eye_distance,
        look_at_point(inputs.eye_centre, inputs.eye_distance),
    )
    return Camera(_rotation(view), target, view.distance, half_height, view.shift, width)


def _shadow_camera(view: View) -> Camera:
    """Return the camera of the key light's shadow map."""
    key = np.array(view.key_light.direction, np.float32)
    return Camera(
        view_rotation(key), np.zeros(3, np.float32), 0.0, _SHADOW_HALF_HEIGHT, (0.0, 0.0), _SHADOW_WIDTH
    )


def _ambient(head: HeadModel, inputs: RenderInputs, view: View, camera: Camera) -> Floats:
    """Return the ambient irradiance over π at the vertices (W, 3)."""
    radiance = view.environment.radiance(sample_directions() @ camera.rotation.T.astype(np.float32))
    light: Floats = head.subdivision @ np.einsum("vd,dc->vc", inputs.transfer, radiance)
    return light


def _scene(inputs: RenderInputs, view: View, camera: Camera, shadow_camera: Camera) -> Any:
    """Return the kernel's `Scene`."""
    wp = load_warp()
    scene = shader_functions().Scene()
    scene.rotation = wp.mat33(*(float(v) for v in camera.rotation.ravel()))
    scene.eye = wp.vec3(0.0, 0.0, view.distance)
    scene.key = wp.vec3(*(float(v) for v in np.array(view.key_light.direction, np.float32)))
    scene.key_colour = wp.vec3(*view.key_light.colour)
    scene.spread = view.key_light.spread
    scene.shadow_rotation = wp.mat33(*(float(v) for v in shadow_camera.rotation.ravel()))
    scene.shadow_half_height, scene.shadow_width = shadow_camera.half_height, shadow_camera.size
    centre = camera.rotation @ np.array([0.0, 0.55 * inputs.eye_distance, -0.55 * inputs.eye_distance])
    scene.head = wp.vec3(*(float(v) for v in centre))
    scene.footprint = 2 * camera.half_height / camera.size
    scene.lids = wp.mat44(*(float(v) for v in inputs.eyelids.ravel()))
    return scene


def _expected_light(inputs: RenderInputs, view: View, diffuse: Floats) -> float:
    """Return the light expected from a face, which doesn't depend on the place in the path."""
    ahead = np.array([0.0, 0.2, 0.98], np.float32)
    x, y, z = ahead
    basis = np.array([1, y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y])
    around = float(basis @ diffuse[:, 1])
    direct = max(float(ahead @ np.array(view.key_light.direction)), 0.1) * view.key_light.colour[1]
    return inputs.skin_level * (0.8 * around + 0.8 * direct)


@functools.lru_cache(maxsize=1)
def _shadow_taps() -> Floats:
    """Return points (8, 2) spread over the unit disc."""
    index = np.arange(8)
    radius, turn = np.sqrt((index + 0.5) / 8), np.pi * (3 - 5**0.5) * index
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1).astype(np.float32)


@dataclass(frozen=True)
class _StaticArrays:
    """Arrays that the kernels read and that are the same for all images, copied to a device once."""

    triangles: Any
    base_triangles: Any
    part: Any
    canonical: Any
    masks: Any
    uv_map_a: Any
    uv_map_b: Any
    cube: Any
    taps: Any


@functools.lru_cache(maxsize=2)
def _static_arrays(head: HeadModel, device: Device) -> _StaticArrays:
    maps = face_uv_maps()
    channels = [maps.names.index(name) for name in SKIN_CHANNELS]
    return _StaticArrays(
        device.array(head.front_triangles, "int32"),
        device.array(head.base_triangles, "int32"),
        device.array(head.part, "int32"),
        device.array(head.canonical, "vec3"),
        device.array(head.masks, "vec4"),
        device.array(maps.raster[..., channels[:4]], "vec4"),
        device.array(maps.raster[..., channels[4:]], "vec4"),
        device.array(noise_cube(), "vec4"),
        device.array(_shadow_taps(), "vec2"),
    )


@functools.lru_cache(maxsize=1)
def _sphere_samples() -> tuple[Floats, Floats, Floats]:
    """Return directions (N, 3), basis functions there (9, N), and the means of their squares (9,)."""
    index = np.arange(200) + 0.5
    height = 1 - 2 * index / 200
    angle = np.pi * (1 + 5**0.5) * index
    ring = np.sqrt(1 - height**2)
    sphere = np.stack([ring * np.cos(angle), height, ring * np.sin(angle)], axis=1).astype(np.float32)
    x, y, z = sphere.T
    basis = np.stack([np.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y])
    norms = np.array([1, 1 / 3, 1 / 3, 1 / 3, 1 / 15, 1 / 15, 4 / 5, 1 / 15, 4 / 15])
    return sphere, basis, norms


def _harmonics(view: View) -> tuple[Floats, Floats]:
    """Return second-order harmonics (9, 3) of the irradiance over π and of the radiance around.

    Source:
        R. Ramamoorthi, P. Hanrahan, "An efficient representation for irradiance environment maps",
        SIGGRAPH 2001: the cosine lobe's bands weigh 1, 2/3 and 1/4.
    """
    sphere, basis, norms = _sphere_samples()
    mirror = (basis @ view.environment.radiance(sphere)) / 200 / norms[:, None]
    bands = np.array([1, 2 / 3, 2 / 3, 2 / 3, 1 / 4, 1 / 4, 1 / 4, 1 / 4, 1 / 4])
    return (mirror * bands[:, None]).astype(np.float32), mirror.astype(np.float32)


def _rotation(view: View) -> Floats:
    yaw, pitch, roll = np.deg2rad([view.yaw, view.pitch, view.roll])
    about_y = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
    about_x = [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    about_z = [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    return np.array(about_z) @ np.array(about_x) @ np.array(about_y)
