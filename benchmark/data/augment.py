"""Augmentation: views, which are augmented renderings of images, batched, on the images' device.

A view is a pure function of (seed, image, view number): counter-based random numbers give its parameters,
and the parameters its pixels. Its stages run in this order: crop, resize and flip in one resampling; colour
jitter; grayscale. All of it is in RGB [0, 1], before a method's own normalisation. The supplement lists the
crop last; only the contrast change depends on the order, as it moves towards the mean of the pixels inside
the crop.

Random numbers: a counter-based generator has no state to advance, so the numbers of one view never depend on
the batch, the order or the worker it is drawn in. The mixer is the finaliser of SplitMix64 (Steele, Lea and
Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), chained over the address.

Resampling: antialiased bilinear. Along one axis, each line of the result is a weighted sum of few lines of
the image; crop, flip and scale only change which ones. That sum over a whole batch of different crops is one
`embedding_bag`: the lines are its table. Two of them resample both axes on any device: rows are summed, the
sums transposed, columns summed (one line holds those of all channels), and the result transposed back.

Colours: the formulas are those of `torchvision.transforms.v2.functional` on floating images, in place on
float32 images in [0, 1], (N, 3, H, W). What mixes channels, saturation and hue, is a product
with a 3 × 3 matrix of each image, one pass over the pixels. Such products must be float32's, neither
autocast's nor TensorFloat's.

Speed: on a CPU all stages of a piece of a batch, a few images that its caches hold, come before the next
piece's. How many they are changes no bit of a view.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from comface_bench.core.card import Augmentation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor


__all__ = ["AugmentParameters", "apply", "draw_parameters", "image_key", "render", "resize"]

_PIECE_BYTES = 1 << 19
"""Of float32 images, for each thread of a CPU: what its second cache holds."""


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
    return apply(images, draw_parameters(augmentation, seed, image_keys, views, aspect=aspect), size)


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
    rendered = torch.empty(len(images), 3, size, size, device=images.device)
    if len(images) == 0:
        return rendered
    piece = images_at_once(images, size)
    resampling = Resampling(images, parameters, size, piece)
    changes = ColorChanges(parameters, images.device)
    # Under autocast the matrices of the colours would have eight bits.
    with torch.autocast(images.device.type, enabled=False):
        for start in range(0, len(images), piece):
            rows = range(start, min(start + piece, len(images)))
            resampling.render(rows, out=rendered)
            changes.make_(rendered, rows)
            change_rows_(rendered, [row for row in rows if parameters.gray[row]], _gray)
    return rendered


def images_at_once(images: Tensor, size: int) -> int:
    """Return how many images are rendered at once, at least 1.

    Args:
        images: (N, 3, H, W).
        size: Side of the rendered images in pixels.

    Returns:
        On a CPU as many as its caches hold as float32, before or after their rendering; elsewhere all.
    """
    count, channels, height, width = images.shape
    if images.device.type != "cpu":
        return max(1, count)
    image_bytes = 4 * channels * max(height * width, size * size)
    return max(1, int(_PIECE_BYTES * torch.get_num_threads() // image_bytes))


_ORDERS = np.array(list(permutations(range(4))), dtype=np.int64)
_CROP_TRIES = 10

# Slots of a view's random numbers. Each purpose has its own, so that switching one change off leaves
# the others as they are.
_FLIP, _JITTER, _ORDER, _GRAY, _TOP, _LEFT = range(6)
_FACTORS = slice(6, 10)
_AREAS = slice(10, 10 + _CROP_TRIES)
_RATIOS = slice(_AREAS.stop, _AREAS.stop + _CROP_TRIES)
_SLOTS = _RATIOS.stop


@dataclass(frozen=True, eq=False)
class AugmentParameters:
    """Parameters of N views.

    The crop is kept in fractions: one view shows the same part of an image at any resolution.

    Attributes:
        flip: True where the view is flipped horizontally, bool (N,).
        crop_height: Crop's height over the image's, float64 (N,) in (0, 1].
        crop_width: Crop's width over the image's, float64 (N,) in (0, 1].
        crop_top: Share of the spare height that lies above the crop, float64 (N,) in [0, 1).
        crop_left: Share of the spare width that lies left of the crop, float64 (N,) in [0, 1).
        jitter: True where the colours are jittered, bool (N,).
        factors: Brightness, contrast and saturation factors and hue shift, float64 (N, 4).
        order: Columns of `factors` in the order in which they are applied, int64 (N, 4).
        gray: True where the view is grayscale, bool (N,).
    """

    flip: NDArray[np.bool_]
    crop_height: NDArray[np.float64]
    crop_width: NDArray[np.float64]
    crop_top: NDArray[np.float64]
    crop_left: NDArray[np.float64]
    jitter: NDArray[np.bool_]
    factors: NDArray[np.float64]
    order: NDArray[np.int64]
    gray: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.flip)

    def boxes(self, height: int, width: int) -> NDArray[np.int64]:
        """Return the crops in whole pixels of an image of this height and width.

        Returns:
            Top, left, height, width, int64 (N, 4); every box lies within the image.
        """
        tall = np.clip(np.rint(self.crop_height * height), 1, height).astype(np.int64)
        wide = np.clip(np.rint(self.crop_width * width), 1, width).astype(np.int64)
        top = np.floor(self.crop_top * (height - tall + 1)).astype(np.int64)
        left = np.floor(self.crop_left * (width - wide + 1)).astype(np.int64)
        return np.stack([top, left, tall, wide], axis=1)


def draw_parameters(
    augmentation: Augmentation,
    seed: int,
    image_keys: NDArray[np.uint64],
    views: NDArray[np.int64],
    *,
    aspect: float = 1.0,
) -> AugmentParameters:
    """Draw the parameters of views, each a pure function of (augmentation, seed, image, view).

    The distributions are those of torchvision's RandomHorizontalFlip, RandomApply over ColorJitter,
    RandomGrayscale and RandomResizedCrop.

    Args:
        augmentation: Probabilities and ranges.
        seed: Of all views.
        image_keys: `image_key` of each image, uint64 (N,).
        views: Number of each view, int64 (N,).
        aspect: Width over height of the images, in pixels.

    Returns:
        Parameters of N views.
    """
    drawn = uniforms(seed, image_keys, views, _SLOTS)
    height, width, top, left = _draw_crops(augmentation, drawn, aspect)
    half_widths = [augmentation.brightness, augmentation.contrast, augmentation.saturation, augmentation.hue]
    low = np.array([*(max(0.0, 1 - spread) for spread in half_widths[:3]), -augmentation.hue])
    high = np.array([*(1 + spread for spread in half_widths[:3]), augmentation.hue])
    return AugmentParameters(
        flip=drawn[:, _FLIP] < augmentation.flip,
        crop_height=height,
        crop_width=width,
        crop_top=top,
        crop_left=left,
        jitter=drawn[:, _JITTER] < augmentation.jitter_prob,
        factors=low + (high - low) * drawn[:, _FACTORS],
        order=_ORDERS[(drawn[:, _ORDER] * len(_ORDERS)).astype(np.int64)],
        gray=drawn[:, _GRAY] < augmentation.grayscale_prob,
    )


def _draw_crops(
    augmentation: Augmentation, drawn: NDArray[np.float64], aspect: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return crop height, width, top and left in fractions, float64 (N,) each.

    Area is uniform and ratio log-uniform; the first of ten tries that fits the image counts. If none
    does, the crop is central, the largest whose ratio is allowed.
    """
    count = len(drawn)
    if augmentation.crop_scale is None:
        return np.ones(count), np.ones(count), np.zeros(count), np.zeros(count)
    smallest, largest = augmentation.crop_scale
    area = smallest + (largest - smallest) * drawn[:, _AREAS]
    log_low, log_high = np.log(augmentation.crop_ratio)
    ratio = np.exp(log_low + (log_high - log_low) * drawn[:, _RATIOS]) / aspect
    heights, widths = np.sqrt(area / ratio), np.sqrt(area * ratio)
    fits = (heights <= 1) & (widths <= 1)
    rows, first, found = np.arange(count), fits.argmax(axis=1), fits.any(axis=1)
    allowed = np.clip(aspect, *augmentation.crop_ratio) / aspect
    return (
        np.where(found, heights[rows, first], min(1.0, 1 / allowed)),
        np.where(found, widths[rows, first], min(1.0, allowed)),
        np.where(found, drawn[:, _TOP], 0.5),
        np.where(found, drawn[:, _LEFT], 0.5),
    )


_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 0xFFFFFFFFFFFFFFFF


def image_key(name: str) -> int:
    """Return the 64-bit key of an image: BLAKE2b of its name relative to the data root.

    Args:
        name: As in the manifest.

    Returns:
        An integer in [0, 2**64), the same on every machine.
    """
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def uniforms(
    seed: int, image_keys: NDArray[np.uint64], views: NDArray[np.int64], slots: int
) -> NDArray[np.float64]:
    """Draw uniform numbers for views of images.

    Args:
        seed: Any integer; its lowest 64 bits count.
        image_keys: Key of each image, uint64 (N,).
        views: Number of each view, int64 (N,).
        slots: Numbers a view. Slot j has the same value however many are drawn.

    Returns:
        float64 (N, slots) in [0, 1), multiples of 2**-53.
    """
    start = _mix(np.array([(int(seed) + _GOLDEN) & _MASK], dtype=np.uint64))
    stream = _mix(_mix(start ^ image_keys.astype(np.uint64)) ^ views.astype(np.uint64))
    steps = np.arange(1, slots + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    bits = _mix(stream[:, None] + steps)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit words one to one, so that any changed bit changes half of the result's."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


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


class Resampling:
    """Crop, scale and flip of N images, each by its own box.

    Args:
        images: uint8, or floating in [0, 1], (N, C, H, W).
        parameters: Of their views.
        size: Side of the result in pixels.
        piece: Images that are resampled at once.
    """

    def __init__(self, images: Tensor, parameters: AugmentParameters, size: int, piece: int) -> None:
        count, channels, height, width = images.shape
        top, left, tall, wide = parameters.boxes(height, width).T
        # Lines outside the crops of a piece are neither copied nor read.
        firsts = np.arange(0, count, piece)
        edges = np.stack([top, left, -top - tall, -left - wide])
        windows = np.minimum.reduceat(edges, firsts, axis=1) * np.array([[1], [1], [-1], [-1]])
        place, of_piece = np.arange(count) % piece, windows[:, np.arange(count) // piece]
        planes = place[:, None] * channels + np.arange(channels)
        unit = 255 if images.dtype == torch.uint8 else 1
        rows, row_weights = resampling_taps(top - of_piece[0], tall, size)
        columns, column_weights = resampling_taps(left - of_piece[1], wide, size, parameters.flip)
        tables = (
            planes * (of_piece[2] - of_piece[0])[:, None],
            place[:, None] * (of_piece[3] - of_piece[1])[:, None],
        )
        self._images, self._size, self._piece = images, size, piece
        self._windows: list[list[int]] = windows.T.tolist()
        self._rows = _LineSums(rows, row_weights, tables[0], piece, images.device)
        self._columns = _LineSums(columns, column_weights / np.float32(unit), tables[1], piece, images.device)

    def render(self, rows: range, out: Tensor) -> None:
        """Resample a piece.

        Args:
            rows: Its images.
            out: Results, float32 (N, C, size, size) in [0, 1]; those of the piece are overwritten.
        """
        some = slice(rows.start, rows.stop)
        top, left, bottom, right = self._windows[rows.start // self._piece]
        count, channels, width = len(rows), out.shape[1], right - left
        # One name, so that each step's memory, which the caches hold, is there for the step after the next.
        lines = self._images[some, :, top:bottom, left:right].float().contiguous()
        lines = self._rows.of(lines.view(-1, width), rows)
        lines = _transposed(lines.view(count, channels * self._size, width))
        lines = self._columns.of(lines.view(count * width, -1), rows)
        lines = _transposed(lines.view(count, self._size, -1))
        torch.clamp(lines.view_as(out[some]), 0, 1, out=out[some])


def _transposed(matrices: Tensor) -> Tensor:
    """Return transposed matrices, (n, R, C) to (n, C, R), contiguous.

    On a CPU as a shuffle of channels, which is the same, and several times as fast as torch's copy of a
    transposed view: it moves whole vectors.
    """
    if matrices.device.type != "cpu":
        return matrices.transpose(1, 2).contiguous()
    count, rows, columns = matrices.shape
    area = rows * columns
    channels_last = matrices.as_strided((count, area, 1, 1), (area, 1, area, area))
    return F.channel_shuffle(channels_last, rows).view(count, columns, rows)


class _LineSums:
    """Weighted sums of lines of images.

    Args:
        positions: Lines of each sum, int64 (K, N, size).
        weights: float32 (K, N, size).
        tables: Where the lines of each image begin among those of its piece, int64 (N, C): C sums alike.
        piece: Images at once.
        device: Of the images.
    """

    def __init__(
        self,
        positions: NDArray[np.int64],
        weights: NDArray[np.float32],
        tables: NDArray[np.int64],
        piece: int,
        device: torch.device,
    ) -> None:
        taps, count, size = positions.shape
        shape = (count, tables.shape[1], size, taps)
        index, spread = np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.float32)
        for tap in range(taps):
            index[..., tap] = tables[:, :, None] + positions[tap, :, None]
            spread[..., tap] = weights[tap, :, None]
        self._sums = tables.shape[1] * size
        self._index = torch.from_numpy(index.reshape(count, -1)).to(device)
        self._weights = torch.from_numpy(spread.reshape(count, -1)).to(device)
        bags = min(piece, count) * self._sums
        self._offsets = torch.arange(0, bags * taps, taps, dtype=torch.int32, device=device)

    def of(self, lines: Tensor, rows: range) -> Tensor:
        """Return sums of a piece's lines: float32 (n · L, D) to (n · C · size, D)."""
        return F.embedding_bag(
            self._index[rows.start : rows.stop].view(-1),
            lines,
            self._offsets[: len(rows) * self._sums],
            mode="sum",
            per_sample_weights=self._weights[rows.start : rows.stop].view(-1),
        )


def resampling_taps(
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    size: int,
    flip: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the filter taps of each output pixel along one axis: input positions and weights.

    The kernel is a triangle, widened to the step where the interval shrinks (antialiasing), cut off at
    the interval's ends and normalised: the rule of Pillow and of `torch.nn.functional.interpolate`.

    Args:
        starts: First pixel of each interval, int64 (N,).
        lengths: Pixels of each interval, int64 (N,), at least 1.
        size: Pixels of the result.
        flip: Intervals to be reversed, bool (N,).

    Returns:
        Positions, int64 (K, N, size), all inside their interval; weights, float32 (K, N, size), of sum 1
        over the first axis and 0 where fewer than K pixels count.
    """
    step = (lengths / size)[:, None]
    reach = np.maximum(step, 1.0)
    pixels = np.arange(size) + 0.5
    centre = step * (pixels if flip is None else np.where(flip[:, None], pixels[::-1], pixels))
    first = np.floor(centre - reach + 0.5)
    # An open interval of this length holds no more whole numbers. They are the first axis, as loops over a
    # last axis of three or four are slow.
    steps = np.arange(int(np.ceil(2 * reach.max(initial=1.0))))[:, None, None]
    taps = first.astype(np.int64) + steps
    distances = np.abs((first + 0.5 - centre).astype(np.float32) + steps.astype(np.float32))
    weights = np.maximum(0, 1 - distances / reach.astype(np.float32))
    inside = np.clip(taps, 0, lengths[:, None] - 1)
    weights *= inside == taps
    weights /= weights.sum(axis=0)
    return inside + starts[:, None], weights


class ColorChanges:
    """The changes of brightness, contrast, saturation and hue of N views, in each view's own order.

    Args:
        parameters: Of the views.
        device: Of their images.
    """

    def __init__(self, parameters: AugmentParameters, device: torch.device) -> None:
        due = parameters.jitter[:, None] & (parameters.factors != (1.0, 1.0, 1.0, 0.0))
        in_order = np.where(np.take_along_axis(due, parameters.order, axis=1), parameters.order, -1)
        self._columns: list[list[int]] = in_order.tolist()
        self._weights = [
            [torch.from_numpy(each.astype(np.float32)).to(device) for each in weigh(values)]
            for (weigh, _), values in zip(_CHANGES, parameters.factors.T, strict=True)
        ]

    def make_(self, images: Tensor, rows: range) -> None:
        """Change some of the images in place.

        Args:
            images: float32 (N, 3, H, W) in [0, 1]; those of `rows` are changed.
            rows: Which.
        """
        for place in range(4):
            due: dict[int, list[int]] = {}
            for row in rows:
                due.setdefault(self._columns[row][place], []).append(row)
            due.pop(-1, None)
            for column, some in due.items():
                change_rows_(images, some, _CHANGES[column][1], *self._weights[column])


def grayscale_(images: Tensor, wanted: NDArray[np.bool_]) -> None:
    """Replace images by their luma in three equal channels, in place.

    Args:
        images: float32 (N, 3, H, W) in [0, 1]; changed.
        wanted: Images to change, bool (N,).
    """
    change_rows_(images, np.flatnonzero(wanted).tolist(), _gray)


def change_rows_(
    images: Tensor, rows: Sequence[int], change: Callable[..., Tensor], *of_each: Tensor
) -> None:
    """Apply a change to some images of a batch; the rest cost nothing.

    Args:
        images: (N, 3, H, W); changed.
        rows: Images to change, in rising order.
        change: From images (n, 3, H, W), and what belongs to them, to as many images. It may change the
            images that it is given, and return them.
        of_each: What else the change takes of each image, (N, ...).
    """
    if len(rows) == 0:
        return
    if rows[-1] - rows[0] + 1 == len(rows):  # Neighbours need not be gathered.
        part, *of_part = (given[rows[0] : rows[-1] + 1] for given in (images, *of_each))
        changed = change(part, *of_part)
        if changed is not part:
            part.copy_(changed)
    else:
        index = torch.tensor(rows, device=images.device)
        part, *of_part = (given.index_select(0, index) for given in (images, *of_each))
        images.index_copy_(0, index, change(part, *of_part))


_LUMA = (0.2989, 0.587, 0.114)
_TO_GRAY = np.tile(_LUMA, (3, 1))


def _gray(images: Tensor) -> Tensor:
    red, green, blue = images.unbind(dim=1)
    luma = (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])
    return luma.unsqueeze(1).expand_as(images)


def _numbers(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a number for all pixels of an image: (N,) to (N, 1, 1, 1)."""
    return values[:, None, None, None]


def _mixed(images: Tensor, matrices: Tensor) -> Tensor:
    """Return new images whose channels are weighted sums of the channels: (n, 3, H, W) by (n, 3, 3)."""
    return torch.bmm(matrices, images.flatten(2)).view_as(images)


def _brightness_weights(factors: NDArray[np.float64]) -> tuple[NDArray[np.float64]]:
    return (_numbers(factors),)


def _brighten(images: Tensor, factors: Tensor) -> Tensor:
    return images.mul_(factors).clamp_(0, 1)


def _contrast_weights(factors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weight of an image's own pixels, and the matrices that make of its mean what is added."""
    return _numbers(factors), _numbers(1 - factors)[..., 0] * _TO_GRAY


def _contrast(images: Tensor, factors: Tensor, matrices: Tensor) -> Tensor:
    # Three sums of an image, not the one of its luma: a single large sum would be split among threads and
    # round differently than the same image's in a batch.
    added = torch.bmm(matrices, images.mean(dim=(2, 3)).unsqueeze(2))
    return images.mul_(factors).add_(added.unsqueeze(3)).clamp_(0, 1)


def _saturation_weights(factors: NDArray[np.float64]) -> tuple[NDArray[np.float64]]:
    own = _numbers(factors)[..., 0]
    return (own * np.eye(3) + (1 - own) * _TO_GRAY,)


def _saturate(images: Tensor, matrices: Tensor) -> Tensor:
    return torch.clamp(_mixed(images, matrices), 0, 1, out=images)


def _hue_weights(turns: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what `_shift_hue` takes: matrices of the channels, and weights of the ends."""
    sixths = 6 * turns
    thirds = np.rint(sixths / 2).astype(np.int64)
    rest = sixths - 2 * thirds
    part, forwards = 2 * np.abs(rest) - 1, rest >= 0
    # Of a channel, and of the two after it.
    weights = np.stack(
        [np.ones_like(rest), np.where(forwards, -1, part), np.where(forwards, part, -1)], axis=1
    )
    after = (np.arange(3) - np.arange(3)[:, None] + thirds[:, None, None]) % 3
    return weights[np.arange(len(turns))[:, None, None], after], _numbers(1 - np.abs(rest))


def _shift_hue(images: Tensor, matrices: Tensor, ends: Tensor) -> Tensor:
    """Turn the hue in HSV space.

    In the hexcone a channel is a piecewise linear function of the hue, between the lowest channel u and the
    highest v. Two sixths of a turn permute the channels. By e more, 0 ≤ e ≤ 1 sixth, red becomes

        r − g + (2e − 1) b + (1 − e) (u + v), held within [u, v],

    and so on round the circle red, green, blue; backwards, with green and blue exchanged. This equals
    torchvision's case distinction of six sectors, without its hue, its masks and its division.
    """
    lowest, highest = images.amin(dim=1, keepdim=True), images.amax(dim=1, keepdim=True)
    turned = _mixed(images, matrices).addcmul_(lowest + highest, ends)
    return torch.clamp(turned, lowest, highest, out=images)


_CHANGES: tuple[
    tuple[Callable[[NDArray[np.float64]], Sequence[NDArray[np.float64]]], Callable[..., Tensor]], ...
] = (
    (_brightness_weights, _brighten),
    (_contrast_weights, _contrast),
    (_saturation_weights, _saturate),
    (_hue_weights, _shift_hue),
)
