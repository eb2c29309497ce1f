"""Colour jitter and grayscale of a batch, each image by its own amounts in its own order.

The formulas are those of `torchvision.transforms.v2.functional` on floating images. Everything works
in place on float32 images in [0, 1], (N, 3, H, W).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

_NEUTRAL = (1.0, 1.0, 1.0, 0.0)


def jitter_(
    images: Tensor, factors: NDArray[np.float64], order: NDArray[np.int64], wanted: NDArray[np.bool_]
) -> None:
    """Change brightness, contrast, saturation and hue in place, in each image's own order.

    Args:
        images: float32 (N, 3, H, W) in [0, 1]; changed.
        factors: Brightness, contrast and saturation factors and hue shift in turns, float64 (N, 4).
        order: Columns of `factors` as they are applied, int64 (N, 4).
        wanted: Images to change, bool (N,).
    """
    for place in range(4):
        for column, change_ in enumerate((_brighten_, _contrast_, _saturate_, _shift_hue_)):
            due = wanted & (order[:, place] == column) & (factors[:, column] != _NEUTRAL[column])
            rows = np.flatnonzero(due)
            if len(rows) == 0:
                continue
            amounts = torch.from_numpy(factors[rows, column].astype(np.float32)).to(images.device)
            amounts = amounts.view(-1, 1, 1, 1)
            run = _as_run(rows)
            if run is not None:
                change_(images[run], amounts)
                continue
            index = torch.from_numpy(rows).to(images.device)
            part = images.index_select(0, index)
            change_(part, amounts)
            images.index_copy_(0, index, part)


def decolour_(images: Tensor, wanted: NDArray[np.bool_]) -> None:
    """Replace images by their luma in three equal channels, in place.

    Args:
        images: float32 (N, 3, H, W) in [0, 1]; changed.
        wanted: Images to change, bool (N,).
    """
    change_rows_(images, np.flatnonzero(wanted), lambda part: _luma(part).expand_as(part))


def change_rows_(images: Tensor, rows: NDArray[np.int64], change: Callable[[Tensor], Tensor]) -> None:
    """Apply a change to some images of a batch; the rest cost nothing.

    Args:
        images: (N, 3, H, W); changed.
        rows: Images to change, int64 (n,).
        change: From images (n, 3, H, W) to as many of that shape.
    """
    if len(rows) > 0:
        index = torch.from_numpy(rows).to(images.device)
        images.index_copy_(0, index, change(images.index_select(0, index)))


def _as_run(rows: NDArray[np.int64]) -> slice | None:
    """Return consecutive rows as a slice, which needs no copy of the images."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows) else None


def _luma(images: Tensor) -> Tensor:
    red, green, blue = images.unbind(dim=1)
    return (red * 0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).unsqueeze(1)


def _brighten_(images: Tensor, factor: Tensor) -> None:
    images.mul_(factor).clamp_(0, 1)


def _contrast_(images: Tensor, factor: Tensor) -> None:
    # Line by line: one sum over a single large image would be split among threads and round differently
    # than the same image's sum in a batch.
    mean = _luma(images).mean(dim=3, keepdim=True).mean(dim=2, keepdim=True)
    images.mul_(factor).add_(mean.mul_(1 - factor)).clamp_(0, 1)


def _saturate_(images: Tensor, factor: Tensor) -> None:
    luma = _luma(images).mul_(1 - factor)
    images.mul_(factor).add_(luma).clamp_(0, 1)


def _shift_hue_(images: Tensor, turn: Tensor) -> None:
    """Turn the hue in HSV space, by the hexcone in closed form.

    With the largest channel v, the smallest u, their span c and the hue h in sixths of a turn: |h| is
    1 + (g + b − r − u) / c, with the sign of g − b; after the turn the channels are u + c·t(3),
    v − c·t(2) and v − c·t(4), where t(k) is |h − k| − 1 held within [0, 1]. This equals torchvision's
    case distinction of six sectors, without its masks and its gather.
    """
    red, green, blue = images.unbind(dim=1)
    highest = torch.maximum(torch.maximum(red, green), blue)
    lowest = torch.minimum(torch.minimum(red, green), blue)
    span = highest - lowest
    side = green - blue
    hue = (green + blue).sub_(red).sub_(lowest)
    # A grey pixel has no hue: 0 / tiny is 0, and its span of 0 keeps it grey.
    hue.div_(span.clamp_min(torch.finfo(torch.float32).tiny)).add_(1).copysign_(side)
    hue.add_(turn.squeeze(1), alpha=6).remainder_(6)
    for channel, opposite, base, sign in (
        (red, 3, lowest, 1),
        (green, 2, highest, -1),
        (blue, 4, highest, -1),
    ):
        torch.sub(hue, opposite, out=channel).abs_().sub_(1).clamp_(0, 1)
        torch.addcmul(base, span, channel, value=sign, out=channel)
