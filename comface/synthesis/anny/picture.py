"""One picture: subject, light and camera put together."""

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
from comface_bench.comface.synthesis.anny.raster import Buffer, Camera, Strands
from comface_bench.comface.synthesis.anny.shade import shade_kernel
from comface_bench.comface.synthesis.anny.warping import load_warp, numbers, vectors

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats, Ints, Pixels
    from comface_bench.comface.synthesis.anny.body import Head
    from comface_bench.comface.synthesis.anny.view import View

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


def take(head: Head, subject: Subject, backdrop: Floats, view: View, size: int) -> Pixels:
    """Return the picture (size, size, 3)."""
    wp = load_warp()
    wide = size * OVERSAMPLING
    half = view.frame * subject.between
    turn = _rotation(view)
    aim = target(subject.middle, subject.between)
    camera = Camera(turn, aim, view.distance, half, view.shift, wide)
    placed, screen = camera.project(subject.points)
    strand_placed, strand_screen = camera.project(subject.strands.points)
    buffer = Buffer(wide)
    buffer.draw_triangles(screen, head.front)
    scale = wide / (2 * half)
    buffer.draw_strands(strand_screen, subject.strands, len(head.front), scale)

    key = np.array(view.key.towards, np.float32)
    lamp = Camera(look_along(key), np.zeros(3, np.float32), 0.0, _SHADOW_HALF, (0.0, 0.0), _SHADOW_WIDE)
    shadow = Buffer(_SHADOW_WIDE)
    shadow.draw_triangles(lamp.project(placed[: len(head.template)])[1], head.coarse)
    density = _SHADOW_WIDE / (2 * _SHADOW_HALF)
    shadow.draw_strands(lamp.project(strand_placed)[1], subject.strands, len(head.coarse), density, 1.5, 8)

    # Radiance as the head sees it.
    radiance = view.around.radiance(directions() @ turn.T.astype(np.float32))
    light = head.refine @ np.einsum("vd,dc->vc", subject.transfer, radiance)
    diffuse, mirror = _harmonics(view)
    fixed = _fixed(head)
    out = np.empty((wide * wide, 4), np.float32)
    scene = optics().Scene()
    scene.turn = wp.mat33(*(float(v) for v in turn.ravel()))
    scene.eye = wp.vec3(0.0, 0.0, view.distance)
    scene.key = wp.vec3(*(float(v) for v in key))
    scene.key_colour = wp.vec3(*view.key.colour)
    scene.spread = view.key.spread
    scene.shadow_turn = wp.mat33(*(float(v) for v in lamp.turn.ravel()))
    scene.shadow_half, scene.shadow_wide = _SHADOW_HALF, _SHADOW_WIDE
    centre = turn @ np.array([0.0, 0.55 * subject.between, -0.55 * subject.between])
    scene.head = wp.vec3(*(float(v) for v in centre))
    scene.footprint = 2 * half / wide
    scene.lids = wp.mat44(*(float(v) for v in subject.lids.ravel()))
    inputs = [
        buffer.array, wide, fixed.triangles, fixed.part,
        vectors(screen), vectors(placed), vectors(subject.normals),
        fixed.canonical, fixed.masks, vectors(light), vectors(subject.extra),
        vectors(strand_screen), vectors(strand_placed), vectors(subject.colours), numbers(subject.depth),
        subject.strands.arrays[1], numbers(subject.kinds, "int32"),
        subject.strands.arrays[2],
        fixed.atlas_a, fixed.atlas_b, vectors(subject.folds),
        fixed.cube, shadow.array, fixed.taps, vectors(diffuse), vectors(mirror),
        subject.look, scene, vectors(out),
    ]  # fmt: skip
    wp.launch(shade_kernel(), dim=wide * wide // 4, inputs=inputs, device="cpu")
    return develop(out, backdrop, _level(subject, view, diffuse), view, size, OVERSAMPLING)


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
    """What the kernel reads that is the same for everybody."""

    triangles: Any
    part: Any
    canonical: Any
    masks: Any
    atlas_a: Any
    atlas_b: Any
    cube: Any
    taps: Any


@functools.lru_cache(maxsize=1)
def _fixed(head: Head) -> _Fixed:
    atlas = face_atlas()
    channels = [atlas.names.index(name) for name in CHANNELS]
    return _Fixed(
        numbers(head.front, "int32"),
        numbers(head.part, "int32"),
        vectors(head.canonical),
        vectors(head.masks),
        vectors(atlas.raster[..., channels[:4]]),
        vectors(atlas.raster[..., channels[4:]]),
        vectors(noise_cube()),
        vectors(_taps()),
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
