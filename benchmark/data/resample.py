"""Antialiased bilinear resampling of a batch, each image with its own crop and flip.

Along one axis, each line of the result is a weighted sum of few lines of the image; crop, flip and scale
only change which ones. That sum over a whole batch of different crops is one `embedding_bag`: the lines
are its table. Two of them, with a transposition between, resample both axes on any device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def resize(images: Tensor, size: int) -> Tensor:
    """Scale images to a square, without any augmentation.

    Args:
        images: uint8, or floating in [0, 1], (N, 3, H, W).
        size: Side of the result in pixels.

    Returns:
        float32 (N, 3, size, size) in [0, 1], on the images' device.
    """
    scaled = images.float().div_(255) if images.dtype == torch.uint8 else images.float()
    if images.shape[-2:] == (size, size):
        return scaled
    resized = F.interpolate(scaled, (size, size), mode="bilinear", antialias=True)
    return resized.clamp_(0, 1)


def resample(images: Tensor, boxes: NDArray[np.int64], flip: NDArray[np.bool_], size: int) -> Tensor:
    """Crop, scale and flip each image by its own box.

    Args:
        images: uint8, or floating in [0, 1], (N, C, H, W).
        boxes: Top, left, height, width of each crop in pixels, int64 (N, 4).
        flip: True where the result is flipped horizontally, bool (N,).
        size: Side of the result in pixels.

    Returns:
        float32 (N, C, size, size) in [0, 1], on the images' device; memory of its own.
    """
    rows, row_weights = resampling_taps(boxes[:, 0], boxes[:, 2], size)
    columns, column_weights = resampling_taps(boxes[:, 1], boxes[:, 3], size, flip)
    if images.dtype == torch.uint8:
        column_weights /= 255
    # Columns first: bytes are cheaper to transpose than floats.
    upright = images.transpose(2, 3).contiguous().float()
    narrowed = _combine_lines(upright, columns, column_weights)
    resampled = _combine_lines(narrowed.transpose(2, 3).contiguous(), rows, row_weights)
    return resampled.clamp_(0, 1)


def resampling_taps(
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    size: int,
    flip: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the filter taps of each output pixel along one axis: input positions and weights.

    The kernel is a triangle, widened to the step where the interval shrinks (antialiasing), cut off at
    the interval's ends and normalised: the rule of Pillow and of `torch.nn.functional.interpolate`.

    Args:
        starts: First pixel of each interval, int64 (N,).
        lengths: Pixels of each interval, int64 (N,), at least 1.
        size: Pixels of the result.
        flip: Intervals to be reversed, bool (N,).

    Returns:
        Positions, int64 (N, size, K), all inside their interval; weights, float64 (N, size, K), of sum 1
        over the last axis and 0 where fewer than K pixels count.
    """
    step = (lengths / size)[:, None]
    reach = np.maximum(step, 1.0)
    centre = step * (np.arange(size) + 0.5)
    first = np.floor(centre - reach + 0.5)
    # An open interval of this length holds no more whole numbers.
    taps = first[:, :, None] + np.arange(int(np.ceil(2 * reach.max(initial=1.0))))
    weights = np.maximum(0.0, 1 - np.abs(taps + 0.5 - centre[:, :, None]) / reach[:, :, None])
    last = lengths[:, None, None] - 1
    weights *= (taps >= 0) & (taps <= last)
    weights /= weights.sum(axis=2, keepdims=True)
    positions = (np.clip(taps, 0, last) + starts[:, None, None]).astype(np.int64)
    if flip is not None:
        mirror = flip[:, None, None]
        weights = np.where(mirror, weights[:, ::-1], weights)
        positions = np.where(mirror, positions[:, ::-1], positions)
    return positions, weights


def _combine_lines(images: Tensor, positions: NDArray[np.int64], weights: NDArray[np.float64]) -> Tensor:
    """Return weighted sums of lines of each image: float32 (N, C, L, D) to (N, C, size, D)."""
    count, channels, length, depth = images.shape
    _, size, taps = positions.shape
    planes = np.arange(count * channels).reshape(count, channels, 1, 1) * length
    index = torch.from_numpy((planes + positions[:, None]).reshape(-1, taps).astype(np.int32))
    spread = np.broadcast_to(weights[:, None], (count, channels, size, taps)).reshape(-1, taps)
    combined = F.embedding_bag(
        index.to(images.device),
        images.view(-1, depth),
        mode="sum",
        per_sample_weights=torch.from_numpy(spread.astype(np.float32)).to(images.device),
    )
    return combined.view(count, channels, size, depth)
