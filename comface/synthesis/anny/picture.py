"""Pictures: subject, light and camera put together."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from comface_bench.comface.synthesis.anny.atlas import CHANNELS, face_atlas
from comface_bench.comface.synthesis.anny.develop import develop
from comface_bench.comface.synthesis.anny.noise import noise_cube
from comface_bench.comface.synthesis.anny.openness import directions, look_along
from comface_bench.comface.synthesis.anny.optics import optics
from comface_bench.comface.synthesis.anny.raster import Buffer, Bundle, Camera, lenses, project
from comface_bench.comface.synthesis.anny.shade import shade_kernel
from comface_bench.comface.synthesis.anny.warping import load_warp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comface_bench.comface.synthesis.anny.arrays import Floats, Ints, Pixels
    from comface_bench.comface.synthesis.anny.body import Head
    from comface_bench.comface.synthesis.anny.raster import Strands
    from comface_bench.comface.synthesis.anny.view import View
    from comface_bench.comface.synthesis.anny.warping import Device

OVERSAMPLING = 2
_SHADOW_WIDE, _SHADOW_HALF = 168, 16.0


@dataclass(frozen=True)
class Subject:
    """What the camera sees of a person, in the head's frame.

    Attributes:
        points, normals: Vertices (W, 3), clothes over the skin, and their unit normals.
        extra: Depth behind the hair line, cloth cover, openness, thickness of the hair (W, 4).
        transfer: Matrix from radiance to irradiance at the base vertices (V, D).
        strands: Hair and all, with their colours and depths (P, 3), (P,), and kinds of the segments (S,).
        middle: Between the eyes, and their distance.
        lids: Edges of the lids, for the shadow on the eyes (4, 4).
        look: Numbers that the surface is painted with.
        folds: Folds of the skin (H, W, 4).
        tone: Brightness of the skin at the base of the path, linear; the camera meters for it.
    """

    points: Floats
    normals: Floats
    extra: Floats
    transfer: Floats
    strands: Strands
    colours: Floats
    depth: Floats
    kinds: Ints
    middle: Floats
    between: float
    lids: Floats
    look: Any
    folds: Floats
    tone: float


def target(middle: Floats, between: float) -> Floats:
    """Return the place that the camera looks at and the head turns about."""
    aim: Floats = middle - np.array([0, 0.20 * between, 1.1 * between])
    return aim


def take(
    head: Head,
    subjects: Sequence[Subject],
    backdrops: Sequence[Floats],
    views: Sequence[View],
    size: int,
    device: Device,
) -> Pixels:
    """Return the pictures (K, size, size, 3) of K subjects, each as it is when taken alone."""
    count, wide = len(subjects), size * OVERSAMPLING
    cameras = [_camera(subject, view, wide) for subject, view in zip(subjects, views, strict=True)]
    fixed, through = _fixed(head, device), lenses(cameras, device)
    strands = Bundle.of([subject.strands for subject in subjects], device)
    points = device.stack([subject.points for subject in subjects], "vec3")
    strand_points = device.stack([subject.strands.points for subject in subjects], "vec3")
    placed, strand_placed = (device.empty(each.shape, "vec3") for each in (points, strand_points))
    screen = project(points, through, device, placed)
    strand_screen = project(strand_points, through, device, strand_placed)
    buffer = Buffer(count, wide, device)
    buffer.draw_triangles(screen, fixed.triangles)
    scales = [wide / (2 * camera.half) for camera in cameras]
    buffer.draw_strands(strand_screen, strands, len(head.front), scales)

    lamps = [_lamp(view) for view in views]
    through = lenses(lamps, device)
    shadow = Buffer(count, _SHADOW_WIDE, device)
    shadow.draw_triangles(project(placed[:, : len(head.template)], through, device), fixed.coarse)
    density = [_SHADOW_WIDE / (2 * _SHADOW_HALF)] * count
    lit = project(strand_placed, through, device)
    shadow.draw_strands(lit, strands, len(head.coarse), density, 1.5, 8)

    shown = list(zip(subjects, views, cameras, lamps, strict=True))
    harmonics = [_harmonics(view) for view in views]
    scenes = [_scene(*each) for each in shown]
    out = device.empty((count, wide * wide), "vec4")
    inputs = [
        buffer.samples, wide, fixed.triangles, fixed.part,
        screen, placed, device.stack([subject.normals for subject in subjects], "vec3"),
        fixed.canonical, fixed.masks,
        device.stack([_ambient(head, *each[:3]) for each in shown], "vec3"),
        device.stack([subject.extra for subject in subjects], "vec4"),
        strand_screen, strand_placed,
        device.stack([subject.colours for subject in subjects], "vec3"),
        device.stack([subject.depth for subject in subjects], "float32"),
        strands.segments, device.stack([subject.kinds for subject in subjects], "int32"), strands.strand,
        fixed.atlas_a, fixed.atlas_b, device.stack([subject.folds for subject in subjects], "vec4"),
        fixed.cube, shadow.samples, fixed.taps,
        device.stack([diffuse for diffuse, _ in harmonics], "vec3"),
        device.stack([mirror for _, mirror in harmonics], "vec3"),
        device.structures(optics().Look, [subject.look for subject in subjects]),
        device.structures(optics().Scene, scenes), out,
    ]  # fmt: skip
    device.launch(shade_kernel(), out.size // 4, inputs)
    levels = [
        _level(subject, view, diffuse)
        for subject, view, (diffuse, _) in zip(subjects, views, harmonics, strict=True)
    ]
    return develop(out, backdrops, levels, views, size, OVERSAMPLING, device)


def _camera(subject: Subject, view: View, wide: int) -> Camera:
    half, aim = view.frame * subject.between, target(subject.middle, subject.between)
    return Camera(_rotation(view), aim, view.distance, half, view.shift, wide)


def _lamp(view: View) -> Camera:
    """Return the key light, as a camera that sees what it lights."""
    key = np.array(view.key.towards, np.float32)
    return Camera(look_along(key), np.zeros(3, np.float32), 0.0, _SHADOW_HALF, (0.0, 0.0), _SHADOW_WIDE)


def _ambient(head: Head, subject: Subject, view: View, camera: Camera) -> Floats:
    """Return the ambient light at the vertices (W, 3): radiance as the head sees it, gathered."""
    radiance = view.around.radiance(directions() @ camera.turn.T.astype(np.float32))
    light: Floats = head.refine @ np.einsum("vd,dc->vc", subject.transfer, radiance)
    return light


def _scene(subject: Subject, view: View, camera: Camera, lamp: Camera) -> Any:
    """Return the kernel's `Scene`."""
    wp = load_warp()
    scene = optics().Scene()
    scene.turn = wp.mat33(*(float(v) for v in camera.turn.ravel()))
    scene.eye = wp.vec3(0.0, 0.0, view.distance)
    scene.key = wp.vec3(*(float(v) for v in np.array(view.key.towards, np.float32)))
    scene.key_colour = wp.vec3(*view.key.colour)
    scene.spread = view.key.spread
    scene.shadow_turn = wp.mat33(*(float(v) for v in lamp.turn.ravel()))
    scene.shadow_half, scene.shadow_wide = lamp.half, lamp.wide
    centre = camera.turn @ np.array([0.0, 0.55 * subject.between, -0.55 * subject.between])
    scene.head = wp.vec3(*(float(v) for v in centre))
    scene.footprint = 2 * camera.half / camera.wide
    scene.lids = wp.mat44(*(float(v) for v in subject.lids.ravel()))
    return scene


def _level(subject: Subject, view: View, diffuse: Floats) -> float:
    """Return the light that a face sends to the camera, whatever is done to it along the path."""
    ahead = np.array([0.0, 0.2, 0.98], np.float32)
    x, y, z = ahead
    basis = np.array([1, y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y])
    around = float(basis @ diffuse[:, 1])
    direct = max(float(ahead @ np.array(view.key.towards)), 0.1) * view.key.colour[1]
    return subject.tone * (0.8 * around + 0.8 * direct)


@functools.lru_cache(maxsize=1)
def _taps() -> Floats:
    """Return places (8, 2) spread over the unit disc."""
    index = np.arange(8)
    radius, turn = np.sqrt((index + 0.5) / 8), np.pi * (3 - 5**0.5) * index
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1).astype(np.float32)


@dataclass(frozen=True)
class _Fixed:
    """What the kernels read that is the same for everybody, brought to a device once."""

    triangles: Any
    coarse: Any
    part: Any
    canonical: Any
    masks: Any
    atlas_a: Any
    atlas_b: Any
    cube: Any
    taps: Any


@functools.lru_cache(maxsize=2)
def _fixed(head: Head, device: Device) -> _Fixed:
    atlas = face_atlas()
    channels = [atlas.names.index(name) for name in CHANNELS]
    return _Fixed(
        device.array(head.front, "int32"),
        device.array(head.coarse, "int32"),
        device.array(head.part, "int32"),
        device.array(head.canonical, "vec3"),
        device.array(head.masks, "vec4"),
        device.array(atlas.raster[..., channels[:4]], "vec4"),
        device.array(atlas.raster[..., channels[4:]], "vec4"),
        device.array(noise_cube(), "vec4"),
        device.array(_taps(), "vec2"),
    )


@functools.lru_cache(maxsize=1)
def _sphere() -> tuple[Floats, Floats, Floats]:
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
    sphere, basis, norms = _sphere()
    mirror = (basis @ view.around.radiance(sphere)) / 200 / norms[:, None]
    bands = np.array([1, 2 / 3, 2 / 3, 2 / 3, 1 / 4, 1 / 4, 1 / 4, 1 / 4, 1 / 4])
    return (mirror * bands[:, None]).astype(np.float32), mirror.astype(np.float32)


def _rotation(view: View) -> Floats:
    yaw, pitch, roll = np.deg2rad([view.yaw, view.pitch, view.roll])
    about_y = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
    about_x = [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    about_z = [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    return np.array(about_z) @ np.array(about_x) @ np.array(about_y)
