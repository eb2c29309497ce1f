"""Photographs of anybody, beside those of a data set: are they like the ones that a model learnt from?

What pictures of a data set are like is measured on a few of them: how large they are, and whether grey ones
are among them. A picture is refused that is far smaller, that is grey where none of them is, or in which a
face detector finds no face, or only a small one, as in a photograph that nobody cut out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from comface_bench.data.image_file import read_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE = 64
"""Images of a data set that are looked at."""
FAR_SMALLER = 0.5
"""A picture is, if its shorter side is less than this share of the smallest of the data set's."""
GREY = 8
"""A picture is grey if in 95 % of its pixels red, green and blue differ by no more, of 255."""
SMALL_FACE = 0.2
"""A face is, if its box is narrower than this share of the picture's shorter side."""
_SEEN_AT = 64
"""Pixels of the square at which colours are looked at."""


class FaceFinder(Protocol):
    """Finds faces."""

    def detect(self, rgb: NDArray[np.uint8]) -> Sequence[FaceBox]:
        """Return the faces of an image of shape (height, width, 3), the surest first."""
        ...


class FaceBox(Protocol):
    """Where a face is."""

    @property
    def width(self) -> float:
        """Pixels."""


@dataclass(frozen=True)
class PhotoFacts:
    """What the pictures of a data set are like, by a few of them.

    Attributes:
        images: How many were looked at.
        shorter_side: Pixels of the shorter side of the smallest.
        grey: Share of grey ones, from 0 to 1.
    """

    images: int
    shorter_side: int
    grey: float


def describe_photos(root: Path, names: Sequence[str]) -> PhotoFacts:
    """Look at up to `SAMPLE` pictures, evenly spread over their names.

    Args:
        root: Folder of the data set.
        names: Paths of its images below it, at least one.

    Raises:
        FileNotFoundError, UnreadableImageError: As `read_image`.
    """
    places = np.unique(np.linspace(0, len(names) - 1, min(SAMPLE, len(names))).round().astype(int))
    looks = [np.asarray(read_image(root / names[place])) for place in places]
    return PhotoFacts(
        len(looks),
        min(min(pixels.shape[:2]) for pixels in looks),
        round(sum(map(_is_grey, looks)) / len(looks), 4),
    )


def find_unlike(
    pixels: NDArray[np.uint8], facts: PhotoFacts, finder: FaceFinder | None, aligned: bool = False
) -> str:
    """Say why a picture isn't like those of a data set; nothing if it is.

    Args:
        pixels: The picture, upright, (height, width, 3).
        facts: Of the data set.
        finder: Looks for faces; None doesn't.
        aligned: Faces are cut out before a network sees them, so that they may be small in the picture.
    """
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    if shorter < FAR_SMALLER * facts.shorter_side:
        return f"has {width} × {height} pixels; those of the task have {facts.shorter_side} or more"
    if facts.grey == 0 and _is_grey(pixels):
        return "is grey; those of the task are in colour"
    if finder is None:
        return ""
    faces = finder.detect(pixels)
    if not faces:
        return "shows no face that the detector finds"
    if not aligned and faces[0].width < SMALL_FACE * shorter:
        return (
            f"shows a face of {faces[0].width:.0f} pixels in {width} × {height};"
            " those of the task are cut out: cut it out first"
        )
    return ""


def _is_grey(pixels: NDArray[np.uint8]) -> bool:
    tall, wide = (max(1, side // _SEEN_AT) for side in pixels.shape[:2])
    some = pixels[::tall, ::wide].astype(np.int16)
    return bool(np.percentile(some.max(axis=2) - some.min(axis=2), 95) <= GREY)
