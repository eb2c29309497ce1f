"""Preparation: from a picture to what an encoder is shown, by the steps of a run.

A run decodes a picture upright and in RGB, makes it a square that is a seventh larger than what is shown (or
cuts the face out), in 8 bits, and scales that to the protocol's size. Normalisation is inside the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from comface_bench.core.errors import DataMissingError, UsageError
from comface_bench.core.protocol import LARGEST_IMAGE
from comface_bench.data.alignment import Aligner, open_aligner
from comface_bench.data.image_file import (
    ONE_COLOUR,
    UnreadableImageError,
    is_one_colour,
    read_image,
    upright_rgb,
)
from comface_bench.data.image_store import Resize, fit_square, stored_size

if TYPE_CHECKING:
    import torch

IMAGE_SIZE = 224
"""Side in pixels at which `probe`, `linear` and `finetune` show images, unless told otherwise."""


@dataclass(frozen=True)
class Preparation:
    """Prepares pictures; called with one by Pillow, it gives a tensor (3, S, S), float32 in [0, 1].

    Attributes:
        image_size: S, in pixels; the option of that name of protocols, like the next two.
        resize: `squash` fits the whole picture into the square, `crop` its centre.
        align: `five-points` cuts the face out (extra: prepare), `none` doesn't.
        chip: Of `CHIPS`, how the encoder expects an aligned face.

    Raises:
        UsageError: A value isn't one of these.
    """

    image_size: int = IMAGE_SIZE
    resize: Resize = "squash"
    align: Literal["none", "five-points"] = "none"
    chip: str = "dlib"

    def __post_init__(self) -> None:
        if not 1 <= self.image_size <= LARGEST_IMAGE:
            raise UsageError(f"image_size={self.image_size} isn't from 1 to {LARGEST_IMAGE}")
        if self.resize not in ("squash", "crop"):
            raise UsageError(f"resize={self.resize} isn't squash or crop")
        if self.align not in ("none", "five-points"):
            raise UsageError(f"align={self.align} isn't none or five-points")

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Prepare a picture.

        Raises:
            UsageError: It is no picture of Pillow's.
            UnreadableImageError: It can't be decoded, or is of more than 8 bits a channel.
            MissingExtraError, WeightsMissingError: Faces can't be aligned here.
        """
        if not isinstance(image, Image.Image):
            raise UsageError(
                f"a picture must be one of Pillow's, not {type(image).__name__}",
                "Of a file: PIL.Image.open(path); of an array (H, W, 3) of uint8: PIL.Image.fromarray(array)",
            )
        return self._show(upright_rgb(image))

    def load(self, path: Path | str) -> torch.Tensor:
        """Read a picture's file and prepare it.

        Raises:
            DataMissingError: There is no such file.
            UnreadableImageError: It is no picture, is damaged, or shows a single colour.
            MissingExtraError, WeightsMissingError: Faces can't be aligned here.
        """
        try:
            image = read_image(Path(path))
        except FileNotFoundError:
            raise DataMissingError(f"there is no picture {path}") from None
        if is_one_colour(image.tobytes()):
            raise UnreadableImageError(path, *ONE_COLOUR)
        return self._show(image)

    def _show(self, image: Image.Image) -> torch.Tensor:
        import torch

        from comface_bench.data.augment import resize

        size = stored_size(self.image_size)
        if self._aligner is not None:
            square = self._aligner.align(image, size)[0]
        else:
            square = fit_square(image, size, self.resize)
        stored = torch.from_numpy(np.array(square).transpose(2, 0, 1).copy())
        return resize(stored[None], self.image_size)[0]

    @cached_property
    def _aligner(self) -> Aligner | None:
        return open_aligner(self.chip) if self.align != "none" else None
