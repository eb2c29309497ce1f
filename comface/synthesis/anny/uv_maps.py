"""UV maps of the face: brows, wrinkles and skin regions over the front of the template.

A map is a function of (|x|, y), the template's own coordinates in cm, so left and right mirror each
other and one raster, made once, serves every face.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.comface.synthesis.anny.arrays import smoothstep

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.arrays import Floats


TEXEL_CM = 0.05
"""Side of a cell of the maps, cm."""
_WIDTH, LOWEST_CM, _HIGH = 9.0, 58.0, 86.0

Polyline = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Wrinkle:
    """A crease of the skin.

    Attributes:
        lines: Polylines in (|x|, y), cm.
        width: Standard deviation of its profile, cm.
        age: Depth in [0, 1] that it reaches at 70 years.
        units: Action units that deepen it, with the depth at intensity 5.
    """

    lines: tuple[Polyline, ...]
    width: float
    age: float
    units: tuple[tuple[int, float], ...] = ()


WRINKLES: dict[str, Wrinkle] = {
    "nasolabial": Wrinkle(
        (((1.75, 69.9), (2.4, 68.7), (3.05, 67.2), (3.3, 65.9)),),
        0.17,
        0.9,
        ((12, 0.75), (9, 0.5), (6, 0.25)),
    ),
    "forehead-inner": Wrinkle(
        (((0, 76.9), (2.2, 77.1)), ((0, 77.9), (2.2, 78.1)), ((0, 78.9), (2.0, 79.0))), 0.12, 0.6, ((1, 0.9),)
    ),
    "forehead-outer": Wrinkle(
        (((2.2, 77.1), (5.0, 77.2)), ((2.2, 78.1), (4.8, 78.1)), ((2.0, 79.0), (4.2, 78.9))),
        0.12,
        0.55,
        ((2, 0.9),),
    ),
    "glabella": Wrinkle((((0.45, 74.0), (0.6, 76.2)),), 0.12, 0.45, ((4, 1.0),)),
    "crow": Wrinkle(
        (((4.95, 73.2), (6.1, 74.0)), ((5.0, 72.8), (6.3, 72.8)), ((4.9, 72.4), (6.1, 71.7))),
        0.11,
        0.8,
        ((6, 0.8), (12, 0.2)),
    ),
    "lower-lid": Wrinkle((((1.8, 71.9), (2.8, 71.2), (3.9, 71.25), (4.7, 71.9)),), 0.15, 0.7, ((6, 0.5),)),
    "nose-bridge": Wrinkle((((0, 73.5), (0.9, 73.1)), ((0, 72.9), (1.1, 72.3))), 0.11, 0.15, ((9, 0.9),)),
    "marionette": Wrinkle((((2.65, 65.8), (2.95, 64.8), (2.95, 63.6)),), 0.14, 0.7, ((15, 0.8),)),
    "chin": Wrinkle((((0, 64.3), (1.0, 64.15), (1.7, 63.7)),), 0.16, 0.3, ((17, 0.8),)),
    "cheek": Wrinkle((((3.5, 67.6), (4.0, 66.3), (3.9, 65.0)),), 0.15, 0.5, ((12, 0.3), (20, 0.6))),
    "lip-lines": Wrinkle(
        tuple(((x, 67.35), (x * 1.05, 67.95)) for x in (0.35, 0.8, 1.25, 1.7)), 0.06, 0.55, ((17, 0.2),)
    ),
    "neck": Wrinkle((((0, 58.9), (3.5, 59.4)), ((0, 60.2), (3.0, 60.6))), 0.15, 0.6),
}

_BROW: Polyline = ((1.25, 74.8), (2.4, 75.1), (3.8, 75.2), (5.1, 74.6))


@dataclass(frozen=True)
class UvMaps:
    """Maps over the front of the face.

    Attributes:
        names: Names of the channels of `raster`.
        raster: Maps (H, W, C) in [0, 1], but `brow-distance`, which is in cm.
        wrinkles: Slope right and up, darkness, and 0, of each of `WRINKLES` at full depth (F, H, W, 4).
        boxes: Rows and columns outside of which each wrinkle is 0.
    """

    names: tuple[str, ...]
    raster: Floats
    wrinkles: Floats
    boxes: tuple[tuple[slice, slice], ...]

    def sample(self, canonical: Floats) -> dict[str, Floats]:
        """Return each channel at template places (N, 3), zero-order interpolation."""
        column = np.clip(np.abs(canonical[:, 0]) / TEXEL_CM, 0, self.raster.shape[1] - 1).astype(np.int32)
        row = np.clip((canonical[:, 1] - LOWEST_CM) / TEXEL_CM, 0, self.raster.shape[0] - 1).astype(np.int32)
        values = self.raster[row, column]
        return {name: values[:, index] for index, name in enumerate(self.names)}

    def wrinkle_map(self, depths: Floats) -> Floats:
        """Return slopes and darkness (H, W, 4; the last is 0) of wrinkles at depths (F,)."""
        total = np.zeros(self.wrinkles.shape[1:], np.float32)
        for index in np.flatnonzero(depths > 0):
            box = self.boxes[index]
            total[box] += np.float32(depths[index]) * self.wrinkles[index][box]
        return total


SKIN_CHANNELS = ("blush", "beard", "moustache", "socket", "bag", "oil", "brow", "meeting")
"""Channels that the skin is painted with, in two groups of four."""


@functools.lru_cache(maxsize=1)
def face_uv_maps() -> UvMaps:
    """Draw the maps; about a second, once."""
    x, y = np.meshgrid(np.arange(0, _WIDTH, TEXEL_CM), np.arange(LOWEST_CM, _HIGH, TEXEL_CM))
    wrinkles = np.zeros((len(WRINKLES), *x.shape, 4), np.float32)
    for index, wrinkle in enumerate(WRINKLES.values()):
        height, dark = np.zeros_like(x), np.zeros_like(x)
        for line in wrinkle.lines:
            distance, along = _nearest(x, y, line)
            taper = np.clip(np.minimum(along, 1 - along) * 5, 0, 1)
            if line[0][0] == 0:
                taper = np.clip((1 - along) * 5, 0, 1)
            taper = taper * taper * (3 - 2 * taper)
            # A groove between two soft swellings.
            groove = np.exp(-0.5 * (distance / wrinkle.width) ** 2)
            swelling = np.exp(-0.5 * (distance / (2.6 * wrinkle.width)) ** 2)
            height = height + taper * (0.45 * swelling - groove) * wrinkle.width
            dark = np.maximum(dark, taper * groove)
        wrinkles[index, ..., 1], wrinkles[index, ..., 0] = np.gradient(height, TEXEL_CM)
        wrinkles[index, ..., 2] = dark
    maps: dict[str, Floats] = {}
    maps["blush"] = _blob(x, y, 4.3, 69.8, 1.8, 1.5) + 0.7 * _blob(x, y, 0, 69.4, 1.2, 0.9)
    # From the side hair down the jaw, under the cheek, to the corners of the mouth.
    edge = np.interp(x, (0.0, 1.2, 2.6, 3.6, 5.2, 6.0, 7.5), (64.9, 65.1, 66.6, 66.2, 67.2, 69.5, 72.0))
    maps["beard"] = _step(edge - y, 1.4) * _step(y - 59.5, 1.6)
    maps["moustache"] = (
        _step(y - 67.15 + 0.25 * x, 0.4) * _step(68.4 - 0.22 * x - y, 0.6) * _step(2.9 - x, 0.7)
    )
    maps["socket"] = _blob(x, y, 3.0, 72.9, 2.0, 1.2)
    maps["bag"] = _blob(x, y, 3.0, 71.75, 1.3, 0.42)
    maps["oil"] = np.clip(
        _blob(x, y, 0, 78.5, 3.5, 1.6)
        + _blob(x, y, 0, 71, 0.8, 2.2)
        + 0.6 * _blob(x, y, 4.0, 70.3, 1.3, 1.0)
        + 0.5 * _blob(x, y, 0, 63.6, 1.2, 0.8),
        0,
        1,
    )
    maps["brow-distance"], maps["brow-along"] = _nearest(x, y, _BROW)
    half = 0.30 * (1 - 0.6 * maps["brow-along"] ** 1.5) * np.clip(maps["brow-along"] * 9 + 0.45, 0, 1)
    maps["brow"] = _step(half - maps["brow-distance"], 0.3)
    # The line where the lips meet.
    maps["meeting"] = np.exp(-0.5 * ((y - 66.15) / 0.10) ** 2) * _step(2.6 - x, 0.5)
    return UvMaps(
        tuple(maps), np.stack(list(maps.values()), axis=2).astype(np.float32), wrinkles, _boxes(wrinkles)
    )


def _boxes(wrinkles: Floats) -> tuple[tuple[slice, slice], ...]:
    wrinkles[np.abs(wrinkles) < 1e-3] = 0
    boxes = []
    for wrinkle in wrinkles:
        rows, columns = np.flatnonzero(wrinkle.any(axis=(1, 2))), np.flatnonzero(wrinkle.any(axis=(0, 2)))
        boxes.append((slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)))
    return tuple(boxes)


def _nearest(x: Floats, y: Floats, line: Polyline) -> tuple[Floats, Floats]:
    """Return the distance to a polyline and the place of its nearest point as a share of its length."""
    lengths = [np.hypot(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(line)]
    total, before = sum(lengths), 0.0
    best, along = np.full(x.shape, np.inf), np.zeros(x.shape)
    for (a, b), length in zip(itertools.pairwise(line), lengths, strict=True):
        dx, dy = b[0] - a[0], b[1] - a[1]
        share = np.clip(((x - a[0]) * dx + (y - a[1]) * dy) / length**2, 0, 1)
        distance = np.hypot(x - a[0] - share * dx, y - a[1] - share * dy)
        nearer = distance < best
        best = np.where(nearer, distance, best)
        along = np.where(nearer, (before + share * length) / total, along)
        before += length
    return best, along


def _blob(x: Floats, y: Floats, cx: float, cy: float, sx: float, sy: float) -> Floats:
    value: Floats = np.exp(-0.5 * (((x - cx) / sx) ** 2 + ((y - cy) / sy) ** 2))
    return value


def _step(value: Floats, width: float) -> Floats:
    return smoothstep(value / width + 0.5)
