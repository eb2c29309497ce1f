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
`embedding_bag`: the lines are its table. Two of them, with a transposition between, resample both axes on any
device.

Colours: the formulas are those of `torchvision.transforms.v2.functional` on floating images, in place on
float32 images in [0, 1], (N, 3, H, W).
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
    from collections.abc import Callable

    from torch import Tensor


__all__ = ["AugmentParameters", "apply", "draw_parameters", "image_key", "render", "resize"]

_CPU_BATCH = 64


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
    # A CPU's caches hold the intermediate results of a few images, not of hundreds.
    batch = _CPU_BATCH if images.device.type == "cpu" else max(len(images), 1)
    rendered = []
    for start in range(0, max(len(images), 1), batch):
        some = slice(start, start + batch)
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
    color_jitter_(rendered, parameters.factors, parameters.order, parameters.jitter)
    grayscale_(rendered, parameters.gray)
    return rendered


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


_NEUTRAL = (1.0, 1.0, 1.0, 0.0)


def color_jitter_(
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


def grayscale_(images: Tensor, wanted: NDArray[np.bool_]) -> None:
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
