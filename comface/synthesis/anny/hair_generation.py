"""Generation of strands from their roots: hairstyles, brows, lashes, beards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.synthesis.anny.arrays import smoothstep
from comface_bench.comface.synthesis.anny.head_model import EYE_LEFT, EYE_RIGHT, SKIN

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats, Ints
    from comface_bench.comface.synthesis.anny.hair_roots import StrandRoots
    from comface_bench.comface.synthesis.anny.head_model import HeadModel
    from comface_bench.comface.synthesis.anny.person import Person


HAIR, BROW, BEARD, LASH, FRAME = range(5)
"""Kinds of strands."""


@dataclass(frozen=True)
class StrandGroup:
    """Strands of one kind, relative to their roots.

    Attributes:
        kind: One of the kinds above.
        roots: Their roots, N of them.
        offsets: Points of each strand less its root (N, S, 3), cm; the first is 0.
        width: Full width at each point (N, S), cm.
        shade: Factor of the colour (N,), about 1.
        depth: 0 at the skin to 1 at the outer layer (N, S), which decides the ambient light.
    """

    kind: int
    roots: StrandRoots
    offsets: Floats
    width: Floats
    shade: Floats
    depth: Floats


@dataclass(frozen=True)
class Hairstyle:
    """Shape parameters of a hairstyle.

    Attributes:
        length, lift: Length of the strands and height of the layer over the scalp, cm.
        stand: Share of the root's direction that is away from the skin.
        comb: `whorl` from the crown, `side` across from the parting, `back`, `part` down from the parting.
        gravity: Strength of gravity.
        scalp_adhesion: Closeness of the strands to the head.
        curl: Least curl.
        points: Points of a strand.
    """

    length: float
    lift: float
    stand: float
    comb: str
    gravity: float
    scalp_adhesion: float
    curl: float = 0.0
    points: int = 7


HAIRSTYLE_PARAMS = {
    "buzz": Hairstyle(0.7, 0.3, 1.0, "whorl", 0.0, 0.0, points=3),
    "crop": Hairstyle(5.0, 1.3, 0.5, "whorl", 0.25, 0.6),
    "side": Hairstyle(7.0, 1.9, 0.55, "side", 0.2, 0.6),
    "back": Hairstyle(8.5, 1.7, 0.4, "back", 0.12, 0.7),
    "curly": Hairstyle(7.0, 2.6, 0.8, "whorl", 0.3, 0.4, curl=0.6, points=11),
    "afro": Hairstyle(6.5, 4.5, 1.5, "whorl", 0.05, 0.0, curl=0.9, points=12),
    "bob": Hairstyle(21.0, 2.1, 0.3, "part", 0.8, 0.8, points=10),
    "long": Hairstyle(42.0, 1.8, 0.25, "part", 0.9, 0.8, points=12),
    "wavy": Hairstyle(30.0, 2.2, 0.3, "part", 0.8, 0.8, curl=0.3, points=13),
    "tied": Hairstyle(15.0, 0.9, 0.12, "back", 0.05, 1.0),
}


def natural_curl(person: Person) -> float:
    """Return the curl of a person's hair in [0, 1]: their own, or the hairstyle's where that is more."""
    style = HAIRSTYLE_PARAMS.get(person.hairstyle)
    return max(person.curl, style.curl if style else 0.0)


def generate_hair(
    head: HeadModel, points: Floats, normals: Floats, person: Person, roots: StrandRoots
) -> StrandGroup | None:
    """Generate the hair of a person's head; None for a shaven one.

    Args:
        head: The head model.
        points: Vertices (W, 3) of the person's head.
        normals: Their unit normals.
        person: The person.
        roots: Roots on the scalp.
    """
    style = HAIRSTYLE_PARAMS.get(person.hairstyle)
    if style is None:
        return None
    # The back of the head is never seen; long hair needs fewer strands to cover it.
    back, share = (-3.5, 1.0) if style.length < 10 else (-5.0, 0.72)
    # What grows low on the nape would hang beside the neck.
    seen = (roots.canonical[:, 2] > back) & (roots.canonical[:, 1] > 67.0)
    roots = roots[np.flatnonzero(seen & (roots.random[:, 0] >= 1 - share))]
    skull = _SkullSurface(head, points)
    random = np.random.default_rng(person.hair_seed)
    count = len(roots.corners)
    origin, up = roots.mean(points), roots.mean(normals)
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    place = roots.canonical
    layer, one, two = roots.random[:, 0], roots.random[:, 1], roots.random[:, 2]
    clump, clumps = _clumps(place, random)
    curl = natural_curl(person) if style.comb != "back" or person.curl < 0.5 else 0.5 * person.curl
    comb = _comb_direction(style, person, place, skull.outward(origin))

    length = skull.scale * style.length * person.length * (0.72 + 0.2 * one + 0.22 * clumps[clump, 3])
    # Shorter towards the nape and round the ears.
    if style.length < 10 or style.comb == "back":
        length = length * np.clip(0.10 + (place[:, 1] - 66) / 12, 0.12, 1)
    fringe = smoothstep((place[:, 2] - 6.5) / 2.5) * smoothstep((6.3 - np.abs(place[:, 0])) / 1.5)
    fringe = fringe * smoothstep((place[:, 1] - 76) / 2) * float(person.fringe > 0.05 and style.length > 4)
    if style.comb == "back":
        fringe = fringe * 0
    fringe = np.where(fringe > 0.25 + 0.5 * one, 1.0, 0.0)
    down = np.array([0.0, -0.55, 0.75], np.float32) + np.array([0.35 * np.sign(person.parting or 1), 0, 0])
    comb = comb + fringe[:, None] * (down - comb)
    length = length + fringe * (skull.scale * (2.5 + 5.5 * person.fringe) * (0.85 + 0.3 * one) - length)

    height = (
        skull.scale
        * style.lift
        * person.volume
        * (0.12 + 0.88 * layer)
        * np.clip((place[:, 1] - 60) / 16, 0.3, 1)
    )
    if style.comb in ("part", "side"):
        # Hair lies flat at the parting and rises beside it.
        height = height * (0.25 + 0.75 * smoothstep(np.abs(place[:, 0] - 4.5 * person.parting) / 4.5))
    height = height * (1 - 0.55 * fringe)
    # Coils need more points than waves.
    steps = style.points + (8 if style.length > 10 and curl > 0.45 else 0)
    # Shorter steps near the root, where hair bends most.
    reached = np.linspace(0, 1, steps, dtype=np.float32) ** (1.5 if style.length > 10 else 1.0)
    heading = style.stand * up + comb + 0.06 * random.normal(0, 1, (count, 3)) + 0.12 * clumps[clump, :3]
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    at, path = origin.copy(), [origin]
    gravity = np.array([0, -1, 0], np.float32)
    wave = 2 * np.pi * (0.12 + 0.35 * curl) * length[:, None]
    phase = (2 * np.pi * (clumps[clump, 4] + 0.15 * (two - 0.5) * (1 + 2 * curl)))[:, None]
    face = 6.1 * skull.scale
    for index in range(1, steps):
        along = float(reached[index])
        step = length[:, None] * (along - reached[index - 1])
        out = skull.outward(at)
        rise = np.sum(heading * out, axis=1, keepdims=True)
        above = (np.linalg.norm(at - skull.centre, axis=1) - skull.radius(at) - height)[:, None]
        pull = style.gravity * gravity * (0.35 + along)
        tangent = comb - np.sum(comb * out, axis=1, keepdims=True) * out
        heading = (
            heading * (1 - 0.4 * style.gravity)
            + 0.35 * (1 - along) * tangent
            + 1.2 * pull
            - style.scalp_adhesion * np.clip(rise, 0, 1) * out * (above > -0.4)
        )
        heading = heading / np.linalg.norm(heading, axis=1, keepdims=True)
        sideways = np.cross(heading, out)
        ring = np.cos(wave * along + phase) * sideways + np.sin(wave * along + phase) * out
        coil = (
            heading
            + 1.5 * curl**1.5 * ring
            + (0.04 + (0.30 * curl**2 if style.length < 10 else 0.0)) * random.normal(0, 0.5, (count, 3))
        )
        at = at + step * coil / np.linalg.norm(coil, axis=1, keepdims=True) * (1 - 0.35 * curl)
        # Hair lies on the head in layers, and leaves the face free.
        floor = skull.radius(at) + 0.1 + height * min(1.0, 0.35 + 1.4 * along)
        short = np.clip(floor - np.linalg.norm(at - skull.centre, axis=1), 0, None)[:, None]
        if style.length < 10:
            short = np.minimum(short, 1.2 * step)
        at = at + short * skull.outward(at)
        if style.comb == "part":
            below = smoothstep((skull.brow + 5.5 * skull.scale - at[:, 1]) / 4.5) * smoothstep(
                (at[:, 2] - skull.centre[2] - 1.0) / 2.0
            )
            below = below * (1 - fringe)
            # The jaw is narrower than the temples; hair falls straight.
            gap = np.clip((face + 0.5 * height) * below - np.abs(at[:, 0] - skull.centre[0]), 0, None)
            at[:, 0] += np.sign(at[:, 0] - skull.centre[0] + 1e-6) * gap
        path.append(at)
    offsets = np.stack(path, axis=1) - origin[:, None]
    thin = {"buzz": 0.08}.get(person.hairstyle, 0.18)
    width = thin / share * (0.7 + 0.6 * two)[:, None] * (1 - 0.65 * reached**2)
    depth = np.clip(layer[:, None] * 0.75 + 0.35 * reached * np.ones((count, 1)), 0, 1)
    shade = np.exp(0.09 * random.normal(0, 1, count) + 0.11 * (clumps[clump, 5] - 0.5) * 2)
    return StrandGroup(HAIR, roots, _f32(offsets), _f32(width), _f32(shade), _f32(depth))


def generate_brows(
    normals: Floats, person: Person, roots: StrandRoots, along: Floats, away: Floats
) -> StrandGroup:
    """Generate brows, of hairs that lie outwards and a little up.

    Args:
        normals: Unit normals (W, 3) of the head's vertices.
        person: The person.
        roots: Roots on the brows, N of them.
        along: Position of each along the brow, from the inner end 0 to the outer end 1 (N,).
        away: Distance of each from the middle line, cm (N,).
    """
    chance = roots.random
    # A brow is thick at the inner end and tapers outwards; its edge is uneven.
    half = 0.30 * person.brow * (1.0 - 0.62 * along**1.5) * np.clip(along * 9 + 0.45, 0, 1)
    kept = np.flatnonzero(away < half * (0.55 + 0.6 * chance[:, 0]))
    roots, chance, along = roots[kept], chance[kept], along[kept]
    side = np.sign(roots.canonical[:, 0])
    lift = np.clip(0.95 - 1.5 * along, -0.25, 0.95)
    heading = np.stack([side, lift, np.zeros_like(lift)], axis=1) + 0.18 * (chance[:, 1:4] - 0.5)
    up = roots.mean(normals)
    heading = heading - np.sum(heading * up, axis=1, keepdims=True) * up + 0.28 * up
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    length = (0.38 + 0.35 * chance[:, 4])[:, None, None]
    share = np.linspace(0, 1, 3, dtype=np.float32)[None, :, None]
    offsets = heading[:, None] * length * share + up[:, None] * (0.03 - 0.10 * share**2)
    width = 0.030 * (0.8 + 0.4 * chance[:, 5])[:, None] * (1 - 0.7 * share[..., 0] ** 2)
    shade = 0.8 + 0.4 * chance[:, 2]
    return StrandGroup(
        BROW, roots, _f32(offsets), _f32(width), _f32(shade), np.full(width.shape, 0.8, np.float32)
    )


def generate_lashes(person: Person, roots: StrandRoots, upper: int) -> StrandGroup:
    """Generate lashes, curved up on the upper lids (the first `upper` roots) and down on the lower ones."""
    top = np.arange(len(roots.corners)) < upper
    side = np.sign(roots.canonical[:, 0])
    across = (np.abs(roots.canonical[:, 0]) - 1.9) / 2.5
    fan = (across - 0.45) * 1.1 + 0.3 * (roots.random[:, 0] - 0.5)
    heading = np.stack([side * fan, np.where(top, -0.12, -0.55), np.full(len(fan), 1.0)], axis=1)
    tip = np.stack([side * fan, np.where(top, 0.75, -0.75), np.full(len(fan), 0.25)], axis=1)
    length = np.where(top, 0.52, 0.20) * person.lashes * (0.65 + 0.4 * roots.random[:, 1])
    length = length * np.clip(0.55 + 0.6 * across, 0.4, 1)
    share = np.linspace(0, 1, 4, dtype=np.float32)[None, :, None]
    offsets = length[:, None, None] * (
        heading[:, None] * share * (1 - 0.5 * share) + tip[:, None] * share**2 * 0.8
    )
    width = np.where(top, 0.030, 0.010)[:, None] * (1 - 0.75 * share[..., 0])
    ones = np.ones(len(fan), np.float32)
    return StrandGroup(LASH, roots, _f32(offsets), _f32(width), ones, np.ones(width.shape, np.float32))


def generate_beard(
    normals: Floats, person: Person, roots: StrandRoots, share: Floats, upper: Floats
) -> StrandGroup | None:
    """Generate a beard and a moustache; `share` and `upper` (N,) are the roots' membership in either."""
    fullness = np.maximum(share * person.beard, upper * person.moustache)
    kept = np.flatnonzero(fullness > 0.2 + 0.5 * roots.random[:, 0])
    if len(kept) == 0:
        return None
    roots, fullness = roots[kept], fullness[kept]
    chance, place = roots.random, roots.canonical
    up = roots.mean(normals)
    side = np.sign(place[:, 0]) * np.clip(np.abs(place[:, 0]) / 2, 0, 1)
    above = place[:, 1] > 67.0
    heading = np.stack(
        [side * np.where(above, 1.2, 0.15), np.full(len(side), -1.0), np.full(len(side), 0.1)], axis=1
    )
    heading = heading + 0.5 * (chance[:, 1:4] - 0.5)
    heading = heading - 0.8 * np.sum(heading * up, axis=1, keepdims=True) * up + 0.45 * up
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    length = (0.13 + 1.15 * fullness**2) * (0.6 + 0.6 * chance[:, 4]) * np.where(above, 0.4, 1.0)
    steps = np.linspace(0, 1, 4, dtype=np.float32)[None, :, None]
    bend = np.array([0, -0.5, -0.1], np.float32)
    offsets = length[:, None, None] * (heading[:, None] * steps + bend * steps**2)
    offsets = offsets + 0.12 * steps * (chance[:, None, 1:4] - 0.5) + 0.10 * steps * up[:, None]
    width = (
        (0.032 + 0.022 * fullness)[:, None] * (0.7 + 0.6 * chance[:, 5])[:, None] * (1 - 0.6 * steps[..., 0])
    )
    depth = np.clip(0.35 + 0.65 * steps[..., 0] * np.ones_like(width), 0, 1)
    return StrandGroup(BEARD, roots, _f32(offsets), _f32(width), _f32(0.7 + 0.6 * chance[:, 0]), _f32(depth))


class _SkullSurface:
    """A head's surface as a radius over the direction from a point inside: the lower bound of the hair."""

    _ROWS, _COLUMNS = 30, 60

    def __init__(self, head: HeadModel, points: Floats) -> None:
        from scipy.ndimage import distance_transform_edt, gaussian_filter

        left, right = (points[head.part == eye].mean(axis=0) for eye in (EYE_LEFT, EYE_RIGHT))
        self.scale = float(np.linalg.norm(left - right)) / 6.15
        self.brow = float(left[1]) + 1.5 * self.scale
        self.centre = ((left + right) / 2 + self.scale * np.array([0, 2.6, -9.0])).astype(np.float32)
        # Without the shoulders: hair that falls there is hidden where they are.
        skin = points[
            (head.part == SKIN) & (head.canonical[:, 1] > 58.5) & (np.abs(head.canonical[:, 0]) < 9.5)
        ]
        radius = np.zeros((self._ROWS, self._COLUMNS), np.float32)
        row, column = self._cell(skin)
        np.maximum.at(radius, (row, column), np.linalg.norm(skin - self.centre, axis=1))
        # Cells without a vertex take the nearest one's; columns meet at the back of the head.
        around = np.concatenate([radius] * 3, axis=1)
        row, column = distance_transform_edt(around == 0, return_distances=False, return_indices=True)
        radius = around[row, column][:, self._COLUMNS : 2 * self._COLUMNS]
        self._radius = gaussian_filter(radius, 0.7, mode=("nearest", "wrap"))

    def _cell(self, points: Floats) -> tuple[Ints, Ints]:
        out = self.outward(points)
        height = np.clip((np.arcsin(np.clip(out[:, 1], -1, 1)) / np.pi + 0.5) * self._ROWS, 0, self._ROWS - 1)
        turn = (np.arctan2(out[:, 0], out[:, 2]) / (2 * np.pi) + 0.5) * self._COLUMNS
        return height.astype(int), turn.astype(int) % self._COLUMNS

    def outward(self, points: Floats) -> Floats:
        away = points - self.centre
        unit: Floats = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-3)
        return unit

    def radius(self, points: Floats) -> Floats:
        found: Floats = self._radius[self._cell(points)]
        return found


def _clumps(place: Floats, random: np.random.Generator, count: int = 190) -> tuple[Ints, Floats]:
    """Return each root's clump and the clumps' random numbers: three normal ones, three uniform ones."""
    from scipy.spatial import cKDTree

    centres = place[random.choice(len(place), count, replace=False)]
    _, clump = cKDTree(centres).query(place)
    return clump, np.concatenate([random.normal(0, 1, (count, 3)), random.random((count, 3))], axis=1)


def _comb_direction(style: Hairstyle, person: Person, place: Floats, out: Floats) -> Floats:
    """Return the direction (N, 3) that hair is combed to at its roots."""
    part = 4.5 * person.parting
    side = np.where(place[:, 0] > part, 1.0, -1.0)
    high = smoothstep((place[:, 1] - 76) / 4)
    zero = np.zeros_like(side)
    if style.comb == "back":
        comb = np.stack([0.12 * place[:, 0] / 6, 0.55 * high - 0.2, np.full_like(side, -1.0)], axis=1)
    elif style.comb == "side":
        across = -np.sign(person.parting or 1.0)
        away = np.where(side * across > 0, across, -across)
        top = np.stack([away, zero + 0.3, zero + 0.45], axis=1)
        low = np.stack([zero, zero - 1.0, zero - 0.35], axis=1)
        comb = high[:, None] * top + (1 - high[:, None]) * low
    elif style.comb == "part":
        comb = np.stack([side * (0.25 + 0.75 * high), zero - 0.75 + 0.35 * high, zero - 0.15], axis=1)
    else:
        whorl = np.array([0.6, 86.0, -4.0], np.float32)
        comb = place - whorl
        comb = comb / np.maximum(np.linalg.norm(comb, axis=1, keepdims=True), 1e-3)
    tangent = comb - np.sum(comb * out, axis=1, keepdims=True) * out
    unit: Floats = tangent / np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 0.3)
    return unit


def _f32(values: Floats) -> Floats:
    return np.ascontiguousarray(values, np.float32)
