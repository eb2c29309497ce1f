"""From a person in a state, seen by a camera under lights, to an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.synthesis.anny import body
from comface_bench.comface.synthesis.anny.hair import hair_cover, hair_lift
from comface_bench.comface.synthesis.anny.labels import actions_of, weight_changes
from comface_bench.comface.synthesis.anny.noise import linear
from comface_bench.comface.synthesis.anny.rays import Tracer
from comface_bench.comface.synthesis.anny.skin import paint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from comface_bench.comface.synthesis.anny.arrays import Floats, Ints, Pixels
    from comface_bench.comface.synthesis.anny.body import Head
    from comface_bench.comface.synthesis.anny.person import Person
    from comface_bench.comface.synthesis.anny.skin import Surface
    from comface_bench.comface.synthesis.anny.state import State
    from comface_bench.comface.synthesis.anny.view import View

_OVERSAMPLING = 2
_WRAP = np.array([0.38, 0.20, 0.13], np.float32)  # light bleeds round the terminator, red furthest
_DEEP = np.array([0.8, 1.0, 1.05], np.float32)  # creases in skin stay red


def shape(head: Head, person: Person, state: State) -> Floats:
    """Return the head's vertices (W, 3) in cm, hair included, before any pose."""
    actions = actions_of(state.units)
    for name in actions:
        if name.endswith("Left"):
            actions[name] *= 1 + person.asymmetry
    changes = person.shape_changes(state.years, weight_changes(state.fluid, state.tissue))
    points = head.shape(person.phenotype(state.years), changes, actions)
    skin = head.part == body.SKIN
    cover = hair_cover(head.canonical[skin], head.masks[skin, 2], person, state.years)
    lift = hair_lift(cover, head.canonical[skin], person, state.years)
    points[skin] += lift[:, None] * head.normals(points)[skin]
    return points


def render(head: Head, person: Person, state: State, view: View, size: int) -> Pixels:
    """Render one face.

    Args:
        head: The head model.
        person: Whose face.
        state: At what age and weight, in what expression.
        view: Camera, light, background and sensor.
        size: Height and width in pixels.

    Returns:
        RGB image (size, size, 3), a function of the arguments alone.
    """
    points = shape(head, person, state)
    left, right = (points[head.part == eye].mean(axis=0) for eye in (body.EYE_LEFT, body.EYE_RIGHT))
    between = float(np.linalg.norm(left - right))
    middle = (left + right) / 2 - np.array([0, 0.20 * between, 1.1 * between])
    turn = _rotation(view)
    points = (points - middle) @ turn.T
    normals = head.normals(points)

    triangles, opacity = _visible(head, person, state)
    tracer = Tracer(points, triangles, opacity, view.seed)
    wide = size * _OVERSAMPLING
    half = view.frame * between
    rays = _rays(view, wide, half)
    origin = np.array([0, 0, view.distance])
    hits = tracer.cast(origin, rays)
    met = np.flatnonzero(hits.triangle >= 0)
    corners = triangles[hits.triangle[met]]
    weights = hits.weights[met].astype(np.float32)

    def blend(values: Floats) -> Floats:
        blended: Floats = np.einsum("nk,nkc->nc", weights, values[corners])
        return blended

    used = np.zeros(len(points), np.bool_)
    used[corners] = True
    free, shadow = _reached(head, tracer, points, normals, used, view)
    packed = np.concatenate(
        [normals, head.canonical, head.masks, free[:, None], shadow[:, None]], axis=1, dtype=np.float32
    )
    normal, canonical, masks, free, shadow = np.split(blend(packed), [3, 6, 10, 11], axis=1)
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    part = head.part[corners[:, 0]]
    surface = paint(part, canonical, masks, _eye_places(head, part, canonical), person, state)

    towards_eye = -rays[met]
    # Teeth and tongue lie too deep for rays from a coarse mesh; let light in.
    inside = (part == body.TEETH) | (part == body.TONGUE)
    free, shadow = (np.where(inside, 0.4 + 0.6 * v[:, 0], v[:, 0]) for v in (free, shadow))
    radiance = _shade(surface, normal, towards_eye, free, shadow, view)
    image = _backdrop(view, wide).reshape(-1, 3)
    image[met] = radiance
    return _develop(image.reshape(wide, wide, 3), met, view, size)


def _reached(
    head: Head, tracer: Tracer, points: Floats, normals: Floats, used: NDArray[np.bool_], view: View
) -> tuple[Floats, Floats]:
    """Return the ambient openness and the key light's share (W,) at the vertices that are `used`.

    Both are smooth enough to be found at vertices: openness at the base mesh's, the softer of the two.
    """
    coarse = head.refine.shape[1]
    need = (used.astype(np.float32) @ head.refine) != 0
    open_base = np.ones(coarse, np.float32)
    open_base[need] = tracer.openness(points[:coarse][need], normals[:coarse][need], 12, 4.0)
    lit = np.zeros(len(points), np.float32)
    lit[used] = tracer.lit(points[used], normals[used], np.array(view.key.towards), view.key.spread, 4)
    near = head.even @ np.stack([lit, used.astype(np.float32)], axis=1)
    return head.refine @ open_base, near[:, 0] / np.maximum(near[:, 1], 1e-6)


def _rotation(view: View) -> Floats:
    yaw, pitch, roll = np.deg2rad([view.yaw, view.pitch, view.roll])
    about_y = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
    about_x = [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    about_z = [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    return np.array(about_z) @ np.array(about_x) @ np.array(about_y)


def _rays(view: View, wide: int, half: float) -> Floats:
    steps = (np.arange(wide) + 0.5) / wide * 2 - 1
    x, y = np.meshgrid(steps - view.shift[0], -steps - view.shift[1])
    rays = np.stack([x * half, y * half, np.full_like(x, -view.distance)], axis=2).reshape(-1, 3)
    directions: Floats = (rays / np.linalg.norm(rays, axis=1, keepdims=True)).astype(np.float32)
    return directions


def _visible(head: Head, person: Person, state: State) -> tuple[Ints, Floats]:
    """Return the triangles that are there and the chance that each stops a ray."""
    first = head.triangles[:, 0]
    part, place = head.part[first], head.canonical[first]
    opacity = np.ones(len(first), np.float32)
    lashes = part == body.LASHES
    opacity[lashes] = np.where(place[lashes, 1] > 72.8, 0.55, 0.0)
    hair = part == body.HAIR
    falls = person.long and state.years > 3
    there = ~hair | (falls & (place[:, 2] < 3.5) & (place[:, 1] < 80))
    return head.triangles[there], opacity[there]


def _eye_places(head: Head, part: Ints, canonical: Floats) -> Floats:
    places = np.zeros_like(canonical)
    for eye in (body.EYE_LEFT, body.EYE_RIGHT):
        own = head.canonical[head.part == eye]
        centre = (own.min(axis=0) + own.max(axis=0)) / 2
        places[part == eye] = (canonical[part == eye] - centre) / (np.ptp(own[:, 1]) / 2)
    return places


def _shade(
    surface: Surface, normal: Floats, towards_eye: Floats, free: Floats, shadow: Floats, view: View
) -> Floats:
    """Return radiance (N, 3) towards the camera from a key, a rim and the surroundings."""
    wrap = _WRAP * surface.softness[:, None]
    total = np.zeros_like(surface.albedo)
    gleam = np.zeros_like(surface.albedo)
    for light, lit in ((view.key, shadow), (view.rim, np.ones_like(shadow))):
        direction = np.array(light.towards, np.float32)
        cosine = (normal @ direction)[:, None]
        diffuse = np.clip((cosine + wrap) / (1 + wrap), 0, 1)
        # Shadows on skin are tinted: red light travels under the surface.
        visible = lit[:, None] * (1 - wrap * 0.3) + wrap * 0.3
        colour = np.array(light.colour, np.float32)
        total += diffuse * visible * colour
        middle = towards_eye + direction
        middle = middle / np.linalg.norm(middle, axis=1, keepdims=True)
        shine = np.clip(np.sum(middle * normal, axis=1), 0, 1) ** surface.sharpness * surface.gloss
        gleam += (shine * lit * (surface.sharpness + 8) / 16)[:, None] * colour
    up = (normal[:, 1:2] + 1) / 2
    ambient = np.array(view.sky, np.float32) * up + np.array(view.ground, np.float32) * (1 - up)
    closed = free[:, None] ** np.where(surface.softness[:, None] > 0.5, _DEEP, np.float32(1))
    edge = (1 - np.clip(np.sum(normal * towards_eye, axis=1), 0, 1)) ** 5
    gleam += (0.25 * edge * surface.gloss * 4 * free)[:, None] * np.array(view.sky, np.float32)
    return surface.albedo * (total + ambient * closed) + gleam


def _backdrop(view: View, wide: int) -> Floats:
    steps = (np.arange(wide) + 0.5) / wide
    x, y = np.meshgrid(steps, steps)
    a, b, c, d = (linear(corner) for corner in view.background)
    x3, y3 = x[..., None], y[..., None]
    image = (a * (1 - x3) + b * x3) * (1 - y3) + (c * (1 - x3) + d * x3) * y3
    for cx, cy, radius, colour in view.blobs:
        inside = np.clip((radius - np.hypot(x - cx, y - cy)) / 0.08 + 0.5, 0, 1)[..., None]
        image = image + 0.6 * inside * (linear(colour) - image)
    return image.astype(np.float32)


def _develop(image: Floats, met: Ints, view: View, size: int) -> Pixels:
    """Turn linear light into pixels as a camera does: exposure, response, blur, noise."""
    from scipy.ndimage import gaussian_filter

    level = float(image.reshape(-1, 3)[met].mean()) if len(met) else 0.2
    # The camera meters for the face, halfway.
    gain = (0.24 / max(level, 1e-3)) ** 0.6 * 2**view.exposure
    image = image * gain * np.array([view.warmth, 1, 1 / view.warmth], np.float32)
    image = gaussian_filter(image, (view.blur * _OVERSAMPLING, view.blur * _OVERSAMPLING, 0))
    image = image.reshape(size, _OVERSAMPLING, size, _OVERSAMPLING, 3).mean(axis=(1, 3))
    # A shoulder keeps highlights from clipping.
    image = np.where(image > 0.6, 0.6 + 0.4 * np.tanh((image - 0.6) / 0.4), image)
    grey = 255 * np.clip(image, 0, 1) ** (1 / 2.2)
    grain = np.random.default_rng(view.seed).normal(0, view.noise, grey.shape)
    return np.clip(np.rint(grey + grain), 0, 255).astype(np.uint8)
