"""Views: augmented renderings of images, batched, on the images' device.

A view is a pure function of (seed, image, view number). Its stages run in this order: crop, resize and
flip in one resampling; colour jitter; grayscale. All of it is in RGB [0, 1], before a method's own
normalisation. The supplement lists the crop last; only the contrast change depends on the
order, as it moves towards the mean of the pixels inside the crop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from comface_bench.data.augment_parameters import AugmentParameters, draw_parameters
from comface_bench.data.color import jitter_, decolour_
from comface_bench.data.resample import resample, resize
from comface_bench.data.uniforms import image_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from comface_bench.core.augmentation import Augmentation

__all__ = ["AugmentParameters", "apply", "draw_parameters", "image_key", "render", "resize"]

_PIECE = 64


def render(
    images: Tensor,
    augmentation: Augmentation,
    seed: int,
    image_keys: NDArray[np.uint64],
    views: NDArray[np.int64],
    size: int,
) -> Tensor:
    """Draw and render one view of each image.

    Args:
        images: uint8, or floating in [0, 1], RGB (N, 3, H, W).
        augmentation: Probabilities and ranges.
        seed: Of all views.
        image_keys: `image_key` of each image, uint64 (N,).
        views: Number of each view, int64 (N,).
        size: Side of the result in pixels.

    Returns:
        float32 (N, 3, size, size) in [0, 1], on the images' device.
    """
    aspect = images.shape[-1] / images.shape[-2]
    # A processor's caches hold what is done to a few pictures, not to hundreds.
    piece = _PIECE if images.device.type == "cpu" else max(len(images), 1)
    rendered = []
    for start in range(0, max(len(images), 1), piece):
        some = slice(start, start + piece)
        parameters = draw_parameters(augmentation, seed, image_keys[some], views[some], aspect=aspect)
        rendered.append(apply(images[some], parameters, size))
    return rendered[0] if len(rendered) == 1 else torch.cat(rendered)


def apply(images: Tensor, parameters: AugmentParameters, size: int) -> Tensor:
    """Render views of given parameters.

    Args:
        images: uint8, or floating in [0, 1], RGB (N, 3, H, W); left as they are.
        parameters: Of N views.
        size: Side of the result in pixels.

    Returns:
        float32 (N, 3, size, size) in [0, 1], on the images' device. An image's view is the same in
        every batch: bit for bit on a CPU, up to float32 rounding elsewhere.

    Raises:
        ValueError: The images aren't RGB, or aren't as many as the parameters.
    """
    if images.ndim != 4 or images.shape[1] != 3 or len(images) != len(parameters):
        raise ValueError(f"{len(parameters)} RGB images wanted, not an array of {tuple(images.shape)}")
    rendered: Tensor = resample(images, parameters.boxes(*images.shape[-2:]), parameters.flip, size)
    jitter_(rendered, parameters.factors, parameters.order, parameters.jitter)
    decolour_(rendered, parameters.gray)
    return rendered
