"""Alignment: a photograph becomes the chip of the face in it, by five points.

A similarity (scale, turn, shift) takes the chip's points to those that were found, with the least sum of
squares in the photograph; that is dlib's own rule. Where more pixels of the photograph than of the chip lie
in a line, it is shrunk first, with antialiasing. What lies outside of the photograph is black, as in dlib's
chips.

Where the detector finds no face it looks again at twice the size and with a lower threshold: a photograph of
a task holds a face. Where it still finds none, the chip is the largest square in the middle of the
photograph. Of several faces it is the largest, and of equally large ones the surest. All of it is a function
of the photograph alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from comface_bench.core.card import CHIPS
from comface_bench.data.faces import PointFinder, open_finder

ALIGN_EPOCH = 1
"""Raised by hand when the same photograph gives another chip than before."""

LOOKS = ((0, 0.0), (1, -0.5))
"""Doublings and threshold of the first and the second look."""

HOW = ("found", "second pass", "fixed box")
"""How a face was come by, by number."""


@dataclass(frozen=True, eq=False)
class Aligner:
    """Cuts faces out.

    Attributes:
        chip: Of `CHIPS`.
        finder: Finds faces and their points.
    """

    chip: str
    finder: PointFinder

    def align(self, image: Image.Image, size: int) -> tuple[Image.Image, int]:
        """Return the chip of an image's face.

        Args:
            image: In mode RGB.
            size: Side of the chip in pixels.

        Returns:
            The chip, and how the face was come by: a number of `HOW`.
        """
        rgb = np.asarray(image)
        for number, (doublings, threshold) in enumerate(LOOKS):
            if faces := self.finder.look(rgb, doublings, threshold):
                face = max(faces, key=lambda box: (box.width * box.height, box.score))
                points = self.finder.points(rgb, face)
                return cut_chip(image, points, np.array(CHIPS[self.chip].points) * size, size), number
        return cut_middle(image, size), HOW.index("fixed box")

    def describe(self) -> dict[str, object]:
        """Return all that decides a chip but the photograph and the chip's size."""
        points, finder = CHIPS[self.chip].points, self.finder.describe()
        return {"epoch": ALIGN_EPOCH, "points": points, "looks": LOOKS, "finder": finder}


def open_aligner(chip: str) -> Aligner:
    """Return what aligns faces by dlib's five points.

    Args:
        chip: Of `CHIPS`.

    Raises:
        MissingExtraError: dlib isn't installed.
        WeightsMissingError, WeightsFormatError: The predictor's file isn't there, or is another.
    """
    return Aligner(chip, open_finder())


def cut_chip(
    image: Image.Image, found: NDArray[np.float64], wanted: NDArray[np.float64], size: int
) -> Image.Image:
    """Cut a square in which points lie where they are wanted, as near as a similarity brings them.

    Args:
        image: In mode RGB.
        found: Points of the image, (n, 2), x and y in pixels from its upper left corner.
        wanted: Those of the square, likewise.
        size: Side of the square in pixels.
    """
    turn, shift = fit_similarity(wanted, found)
    scale = max(1.0, abs(turn))
    small = (math.ceil(image.width / scale), math.ceil(image.height / scale))
    across, down = small[0] / image.width, small[1] / image.height
    if small != image.size:
        image = image.resize(small, Image.Resampling.BILINEAR)
    a, b = turn.real, turn.imag
    row = (across * a, -across * b, across * shift.real, down * b, down * a, down * shift.imag)
    return image.transform((size, size), Image.Transform.AFFINE, row, Image.Resampling.BICUBIC)


def fit_similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[complex, complex]:
    """Return the similarity that takes points to others with the least sum of squares.

    Args:
        source: Points (n, 2), not all equal.
        target: Where they are to go, (n, 2).

    Returns:
        a and b, so that a·z + b is where z goes, a point (x, y) being the complex number x + iy.
    """
    z, w = (points[:, 0] + 1j * points[:, 1] for points in (source, target))
    from_middle = z - z.mean()
    a = np.vdot(from_middle, w - w.mean()) / np.vdot(from_middle, from_middle)
    return complex(a), complex(w.mean() - a * z.mean())


def cut_middle(image: Image.Image, size: int) -> Image.Image:
    """Scale the largest square in the middle of an image to a side in pixels."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))


def count_faces(how: NDArray[np.uint8]) -> dict[str, int]:
    """Return how many faces were come by in each way: name of `HOW` → count."""
    counts = np.bincount(how.astype(np.int64), minlength=len(HOW))
    return {name: int(count) for name, count in zip(HOW, counts, strict=True)}


def tell_faces(counts: Mapping[str, int]) -> str:
    """Return `count_faces` as a text, such as `found 975, second pass 19, fixed box 8`."""
    return ", ".join(f"{name} {count}" for name, count in counts.items())
