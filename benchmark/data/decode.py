"""From an image file to a square of RGB bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageFile, ImageOps

from comface_bench.core.errors import DataFormatError, DataMissingError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Resize = Literal["squash", "crop"]

DECODE_EPOCH = 1
"""Raised by hand when the same file gives other pixels than before."""


def decode_image(root: Path, name: str, size: int, resize: Resize) -> NDArray[np.uint8]:
    """Decode an image, turn it upright as its EXIF orientation says, and make it a square in RGB.

    Transparency is dropped, grey is repeated, CMYK and palettes are converted by Pillow, and 16-bit grey
    keeps its upper 8 bits. The filter is Pillow's bilinear one, which antialiases.

    Args:
        root: Folder of the data set.
        name: Path of the image below it.
        size: Side of the square in pixels.
        resize: `squash` fits the whole image into the square; `crop` scales the shorter side and keeps
            the centre.

    Returns:
        uint8 (3, size, size).

    Raises:
        DataMissingError: There is no such file.
        DataFormatError: The file is truncated, or no image that can be decoded.
    """
    # A switch of the whole process that some libraries turn on: it would fill what is missing with grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(root / name) as opened:
            upright = _as_rgb(ImageOps.exif_transpose(opened))
    except FileNotFoundError as error:
        raise missing_image(root, name) from error
    except Exception as error:  # Decoders raise whatever comes: OSError, SyntaxError, struct.error, ...
        raise DataFormatError(
            f"{root / name} can't be decoded: {error}",
            "Get the file again, or remove it and whatever lists it.",
        ) from error
    return np.asarray(_fit(upright, size, resize)).transpose(2, 0, 1)


def missing_image(root: Path, name: str) -> DataMissingError:
    """Return the error for an image that isn't there."""
    return DataMissingError(
        f"there is no image {name} under {root}",
        "Give the folder that holds it with --data, or check the data set: comface-bench data check TASK",
    )


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow would clip 16 bits at 255 instead of scaling them.
        wide = np.asarray(image).astype(np.int64)
        image = Image.fromarray(np.clip(wide >> 8, 0, 255).astype(np.uint8))
    return image.convert("RGB")


def _fit(image: Image.Image, size: int, resize: Resize) -> Image.Image:
    if resize == "squash":
        return image.resize((size, size), Image.Resampling.BILINEAR)
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box)
