"""StyleGAN3's low-pass filters, and the filtered leaky ReLU.

The filtered leaky ReLU runs in tiles that fit the cache, without the zeros of its definition. Up-sampling is
a transposed convolution along each axis: only the taps that meet a sample are multiplied. Down-sampling
computes only the samples that are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
import torch.nn.functional as F
from scipy import signal, special

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from comface_bench.comface.synthesis.stylegan3.schedule import LayerSpec


def design_lowpass(taps: int, cutoff: float, half_width: float, rate: float) -> NDArray[np.float64]:
    """Design a filter for one axis: a sinc under a Kaiser window.

    Args:
        taps: Length, even.
        cutoff: Middle of the transition, in the units of `rate`.
        half_width: Half of the transition.
        rate: Samples per unit of length.

    Returns:
        Shape (taps,), symmetric, of sum 1.
    """
    return np.asarray(signal.firwin(taps, cutoff, width=2 * half_width, fs=rate))


def design_radial(taps: int, cutoff: float, half_width: float, rate: float) -> NDArray[np.float64]:
    """Design a filter whose pass band is a disc: a jinc under a Kaiser window along each axis.

    Args:
        taps: Length along each axis, even.
        cutoff: Middle of the transition, in the units of `rate`.
        half_width: Half of the transition.
        rate: Samples per unit of length.

    Returns:
        Shape (taps, taps), of sum 1.
    """
    places = (np.arange(taps) - (taps - 1) / 2) / rate
    radius = np.hypot(places[:, None], places[None, :])
    # Never 0: with an even number of taps none lies in the middle.
    jinc = special.j1(2 * np.pi * cutoff * radius) / (np.pi * radius)
    window = np.kaiser(taps, signal.kaiser_beta(signal.kaiser_atten(taps, 4 * half_width / rate)))
    found = jinc * np.outer(window, window)
    return np.asarray(found / found.sum())


def layer_filters(plan: LayerSpec) -> tuple[Tensor, Tensor]:
    """Design a layer's filters.

    Returns:
        The up filter, (up_taps,), and the down filter, (down_taps,) or (down_taps, down_taps); float32.
    """
    before, after = plan.before, plan.after
    down = design_radial if plan.radial else design_lowpass
    return (
        torch.tensor(design_lowpass(plan.up_taps, before.cutoff, before.half_width, plan.rate)).float(),
        torch.tensor(down(plan.down_taps, after.cutoff, after.half_width, plan.rate)).float(),
    )


SLOPE: Final = 0.2
GAIN: Final = math.sqrt(2)
"""Of the leaky ReLU."""
CLAMP: Final = 256.0
"""Features are kept within ± this."""
_SIDES: Final = {"cpu": 64}
"""Device → side of a tile in samples after the layer."""
_LARGE_SIDE: Final = 512
"""The same for processors that want much work at once."""
_GROUP: Final = 64
"""Channels of a tile, a multiple of what a CPU's register holds."""


@dataclass(frozen=True)
class Tile:
    """A part of one axis.

    Attributes:
        target: Samples after the layer.
        source: Samples before it that they depend on.
        low, high: Number of superfluous up-sampled samples of `source` at either end.
    """

    target: slice
    source: slice
    low: int
    high: int


def tile_axis(plan: LayerSpec, side: int) -> list[Tile]:
    """Cut a layer's axis into parts of at most `side` samples.

    No schedule pads by more than the up filter reaches, so there are always samples for either end.
    """
    up, taps = plan.up, plan.up_taps
    # Place, in the full convolution of all samples, of the first one that the down filter meets.
    shift = taps - 1 - plan.pads[0]
    spans = []
    for start in range(0, plan.after.size, side):
        stop = min(start + side, plan.after.size)
        first, end = shift + start * plan.down, shift + (stop - 1) * plan.down + plan.down_taps
        source = slice(max(0, -((taps - 1 - first) // up)), min(plan.inner_size, (end - 1) // up + 1))
        low, high = first - source.start * up, (source.stop - 1) * up + taps - end
        spans.append(Tile(slice(start, stop), source, low, high))
    return spans


def filtered_leaky_relu(
    x: Tensor, plan: LayerSpec, up_filter: Tensor, down_filter: Tensor, out: Tensor | None = None
) -> Tensor:
    """Sample up, apply the leaky ReLU, sample down.

    Args:
        x: Features (N, C, inner_size, inner_size), bias added; fastest with channels last.
        plan: The layer.
        up_filter: (up_taps,).
        down_filter: (down_taps,) or (down_taps, down_taps).
        out: Memory for the result, instead of new memory.

    Returns:
        (N, C, size, size) of the features after the layer.
    """
    size, channels = plan.after.size, x.shape[1]
    if out is None:
        shape = (len(x), channels, size, size)
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    spans = tile_axis(plan, _SIDES.get(x.device.type, _LARGE_SIDE))
    # A positive factor passes through the leaky ReLU.
    up_kernel = up_filter.to(x) * (plan.up * math.sqrt(GAIN))
    down_kernel = down_filter.flip(tuple(range(down_filter.dim()))).to(x)
    for start in range(0, channels, _GROUP):
        some = slice(start, min(start + _GROUP, channels))
        for rows, columns in product(spans, spans):
            tile = x[:, some, rows.source, columns.source].contiguous(memory_format=torch.channels_last)
            tile = _upsample(
                _upsample(tile, rows, up_kernel[:, None], plan.up), columns, up_kernel[None], plan.up
            )
            tile = F.leaky_relu_(tile, SLOPE).clamp_(-CLAMP, CLAMP)
            out[:, some, rows.target, columns.target] = _downsample(tile, down_kernel, plan.down)
    return out


def _upsample(x: Tensor, span: Tile, kernel: Tensor, up: int) -> Tensor:
    """Sample up along the axis that a kernel (taps, 1) or (1, taps) has."""
    axis = 2 if kernel.shape[1] == 1 else 3
    both = min(span.low, span.high)
    stride, padding = ((up, 1), (both, 0)) if axis == 2 else ((1, up), (0, both))
    channels = x.shape[1]
    x = F.conv_transpose2d(
        x, kernel.expand(channels, 1, -1, -1), stride=stride, padding=padding, groups=channels
    )
    return x.narrow(axis, span.low - both, x.shape[axis] - span.low - span.high + 2 * both)


def _downsample(x: Tensor, kernel: Tensor, down: int) -> Tensor:
    """Sample down by a kernel, turned around, of one axis for both or of two axes."""
    channels = x.shape[1]
    if kernel.dim() == 2:
        return F.conv2d(x, kernel.expand(channels, 1, -1, -1), stride=down, groups=channels)
    x = F.conv2d(x, kernel[:, None].expand(channels, 1, -1, -1), stride=(down, 1), groups=channels)
    return F.conv2d(x, kernel[None].expand(channels, 1, -1, -1), stride=(1, down), groups=channels)
