"""Attribution: which regions of an image a number comes from that a network gives for it.

Both ways answer one question, what a region adds to the answer: the answer less the answer with the region
hidden, that is replaced by the blurred image. `occlude` hides windows one by one (Zeiler and Fergus, 2014)
and needs nothing of the network. `integrate_gradients` takes gradients on the straight way from the blurred
image to the image (Sundararajan, Taly and Yan, 2017); summed over all pixels they are the answer less that
for the blurred image. Where a network is linear both say the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from comface_bench.core.errors import UnitError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

Answer = Callable[[Tensor], Tensor]
"""From images (n, 3, H, W) to a number each, (n,); an image's doesn't depend on the others.

For `occlude` it may be several each, (n, k): answers that share a backbone cost what one does.
"""

WINDOW = 0.2
"""Side of a window, as a share of the image's shorter side, by default."""
STRIDE = 0.05
"""From one window to the next, likewise."""
BATCH = 64
"""Images that are asked for at once; of gradients, which are kept meanwhile, a quarter."""
STEPS = 32
"""Points on the way at which gradients are taken."""
_INSTEAD = "Hide regions instead: --method occlusion"


def choose_shares(window: float | None, stride: float | None) -> tuple[float, float]:
    """Return a window and a stride, as shares of an image's shorter side, with defaults for None.

    Raises:
        UsageError: The window isn't above 0 and at most 1, or the stride isn't above 0 and at most a window.
    """
    window = WINDOW if window is None else window
    stride = min(STRIDE, window) if stride is None else stride
    if not 0 < window <= 1:
        raise UsageError(f"a window of {window:g} isn't a share of the photograph", "Such as 0.2.")
    if not 0 < stride <= window:
        raise UsageError(
            f"a stride of {stride:g} isn't above 0 and at most the window, {window:g}", "Such as 0.05."
        )
    return window, stride


@dataclass(frozen=True)
class Windows:
    """Squares on images of one size, side by side or overlapping: each pixel lies in at least one.

    Attributes:
        side: Of a window, in pixels.
        rows: First pixel row of each row of windows, from the top.
        columns: First pixel column of each column of windows, from the left.
        height, width: Of the images, in pixels.
    """

    side: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    height: int
    width: int

    @classmethod
    def over(cls, height: int, width: int, window: float = WINDOW, stride: float = STRIDE) -> Windows:
        """Lay windows over images.

        Args:
            height: Of the images, in pixels.
            width: Likewise.
            window: Side of a window, as a share of the shorter side: above 0, at most 1. It becomes a whole
                number of strides, so that pixels lie in equally many windows, but for those near the edges.
            stride: From one to the next, likewise, at most a window. The last ones end with the image.

        Raises:
            UsageError: A share is out of these.
        """
        choose_shares(window, stride)
        shorter = min(height, width)
        step = max(1, round(stride * shorter))
        side = min(step * max(1, round(window * shorter / step)), shorter)

        def starts(length: int) -> tuple[int, ...]:
            last = length - side
            return (*range(0, last, step), last)

        return cls(side, starts(height), starts(width), height, width)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of windows."""
        return len(self.rows), len(self.columns)

    def slices(self) -> list[tuple[slice, slice]]:
        """Return each window's rows and columns of pixels, row by row."""
        side = self.side
        return [
            (slice(top, top + side), slice(left, left + side)) for top in self.rows for left in self.columns
        ]

    def sum(self, values: Numbers) -> Numbers:
        """Sum what pixels have, (n, H, W), over each window, (n, rows, columns)."""
        sums = np.stack([values[:, down, across].sum(axis=(1, 2)) for down, across in self.slices()], axis=1)
        return sums.reshape(len(values), *self.shape)

    def spread(self, effects: Numbers) -> Numbers:
        """Give each pixel the mean of the windows that it lies in: (n, rows, columns) to (n, H, W)."""
        total = np.zeros((len(effects), self.height, self.width))
        count = np.zeros((self.height, self.width))
        flat = effects.reshape(len(effects), -1)
        for place, (down, across) in enumerate(self.slices()):
            total[:, down, across] += flat[:, place, None, None]
            count[down, across] += 1
        return total / count


def blur(images: Tensor, side: int) -> Tensor:
    """Return images in which nothing smaller than a window is left, which windows are filled from.

    Args:
        images: (N, 3, H, W).
        side: Of a window, in pixels. The blur is Gaussian; its standard deviation is half of this.
    """
    from scipy.ndimage import gaussian_filter

    sigma = (0, 0, side / 2, side / 2)
    blurred = gaussian_filter(images.detach().double().cpu().numpy(), sigma, mode="nearest")
    return torch.from_numpy(blurred).to(images)


def occlude(
    images: Tensor,
    answer: Answer,
    windows: Windows,
    fill: Tensor | None = None,
    tick: Callable[[int], None] | None = None,
) -> Numbers:
    """Measure what each window adds to the answer for an image: the answer less that with the window hidden.

    Args:
        images: (N, 3, H, W).
        answer: What the network says; called with up to `BATCH` images.
        windows: For images of H × W.
        fill: What is seen in a window's place, of the images' shape; by default they are blurred.
        tick: Called with the number of images of each call.

    Returns:
        float64 (N, rows, columns) in the answer's unit, of k answers (N, rows, columns, k); above 0 where the
        window raises the answer.
    """
    fill = blur(images, windows.side) if fill is None else fill
    places = windows.slices()
    asked = [(number, place) for number in range(len(images)) for place in places]
    with torch.no_grad():
        whole = _numbers(answer(images))
        hidden = []
        for start in range(0, len(asked), BATCH):
            some = asked[start : start + BATCH]
            shown = images[[number for number, _ in some]]
            for row, (number, (down, across)) in enumerate(some):
                shown[row, :, down, across] = fill[number, :, down, across]
            hidden.append(_numbers(answer(shown)))
            if tick is not None:
                tick(len(some))
    each = whole.shape[1:]
    effects: Numbers = whole[:, None] - np.concatenate(hidden).reshape(len(images), -1, *each)
    return effects.reshape(len(images), *windows.shape, *each)


def integrate_gradients(
    images: Tensor,
    answer: Answer,
    baseline: Tensor,
    steps: int = STEPS,
    tick: Callable[[int], None] | None = None,
) -> Numbers:
    """Measure what each pixel adds to the answer, by integrated gradients, summed over its channels.

    Args:
        images: (N, 3, H, W).
        answer: What the network says, differentiable; called with up to a quarter of `BATCH` images.
        baseline: Where the way to each image starts, of the images' shape.
        steps: Points on the way, in the middle of as many equal parts.
        tick: Called with the number of images of each call.

    Returns:
        float64 (N, H, W); summed over pixels the answer less that for the baseline, as nearly as the points
        on the way allow.

    Raises:
        UnitError: The answer has no gradient, none that is finite, or none that the device has room for.
    """
    way = images - baseline
    total = torch.zeros(images.shape, dtype=torch.float64, device=images.device)
    asked = [(number, (step + 0.5) / steps) for number in range(len(images)) for step in range(steps)]
    for start in range(0, len(asked), BATCH // 4):
        some = asked[start : start + BATCH // 4]
        rows = torch.tensor([number for number, _ in some], device=images.device)
        shares = torch.tensor([share for _, share in some]).to(images).view(-1, 1, 1, 1)
        try:
            gradient = _gradient(baseline[rows] + shares * way[rows], answer)
        except torch.OutOfMemoryError:
            raise UnitError(
                f"the device has no room for gradients of {len(some)} images",
                f"{_INSTEAD}, or on the processor: --device cpu",
            ) from None
        total.index_add_(0, rows, gradient.double())
        if tick is not None:
            tick(len(some))
    values = _numbers((total * way.double() / steps).sum(dim=1))
    if not np.isfinite(values).all():
        raise UnitError("the network's gradients aren't finite", _INSTEAD)
    return values


def _gradient(images: Tensor, answer: Answer) -> Tensor:
    with torch.enable_grad():
        images.requires_grad_()
        found = answer(images).sum()
        if not found.requires_grad:
            raise UnitError("the network has no gradients", _INSTEAD)
        (gradient,) = torch.autograd.grad(found, images)
    return gradient


def _numbers(values: Tensor) -> Numbers:
    found: Numbers = values.detach().double().cpu().numpy()
    return found
