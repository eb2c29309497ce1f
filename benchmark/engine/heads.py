"""Pair heads: from the features of two images to the change between them.

`difference`: ŷ(x, y) = w·(f(y) − f(x)), without a bias, so that ŷ(x, y) = −ŷ(y, x).
`concat`: ŷ(x, y) = w·[f(x), f(y)].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray


HeadKind = Literal["difference", "concat"]
LossKind = Literal["l1", "l2", "smooth-l1"]
MirrorKind = Literal["none", "mean", "beside"]


def join(kind: HeadKind, first: Tensor, second: Tensor) -> Tensor:
    """Combine the features of both images, (…, D) each, into the head's input, (…, D) or (…, 2D)."""
    if kind == "difference":
        return second - first
    return torch.cat([first, second], dim=-1)


def add_mirrored(kind: MirrorKind, own: Tensor, mirrored: Tensor | None) -> Tensor:
    """Combine an image's features and those of its mirror image, (n, D) each, into (n, D) or (n, 2D).

    `none` leaves the image's own, `mean` is the mean of both, and `beside` has them side by side.
    """
    if kind == "none" or mirrored is None:
        return own
    return (own + mirrored) / 2 if kind == "mean" else torch.cat([own, mirrored], dim=1)


def draw_head(kind: HeadKind, feature_dim: int, seed: int) -> Tensor:
    """Draw a head's weight as a fresh linear layer has it: uniform within ±1/√(its inputs)."""
    inputs = feature_dim if kind == "difference" else 2 * feature_dim
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(inputs, generator=generator) * 2 - 1) / math.sqrt(inputs)


def start_head(
    kind: HeadKind, start: Literal["scratch", "pretrained"], own: Tensor | None, feature_dim: int, seed: int
) -> Tensor:
    """Return the weight that training starts from, on the CPU: drawn, or the method's own.

    Args:
        kind: Of the head.
        start: Which of the two (settings a and c, or b and d, of the supplement).
        own: Weight of the method's pair head, if it brings one.
        feature_dim: D.
        seed: Of a drawn weight.
    """
    if start == "pretrained":
        assert own is not None
        return own.detach().float().cpu().clone()
    return draw_head(kind, feature_dim, seed)


def predict(kind: HeadKind, weight: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Predict the change in training: weight (…, inputs), features (…, D), answer (…)."""
    return (join(kind, first, second) * weight).sum(dim=-1)


def pair_loss(kind: LossKind, predicted: Tensor, target: Tensor) -> Tensor:
    """Return the loss of each pair, without averaging."""
    if kind == "l1":
        return (predicted - target).abs()
    if kind == "l2":
        return (predicted - target).square()
    return torch.nn.functional.smooth_l1_loss(predicted, target, reduction="none")


def loss_gradient(kind: LossKind, weights: Tensor, inputs: Tensor, target: Tensor) -> Tensor:
    """Return the gradient of each head's mean loss over pairs that it shares with the others.

    Written down instead of left to autograd: heads that share pairs need two matrix products a step, and
    little else costs as much as these.

    Args:
        kind: Of the loss.
        weights: Of the heads, (…, heads, inputs).
        inputs: What `join` gives for each pair, (…, pairs, inputs).
        target: True changes, (…, pairs, heads).

    Returns:
        (…, heads, inputs).
    """
    error = inputs @ weights.mT - target
    if kind == "l1":
        slope = error.sign_()
    elif kind == "l2":
        slope = error.mul_(2)
    else:
        slope = error.clamp_(-1, 1)
    return slope.div_(inputs.shape[-2]).mT @ inputs


_SCORE_BYTES = 1 << 24
"""Of the float64 features that scores are computed from at a time."""
_MULTIPLE = 64
"""Images come in multiples of this many, so that encoding them leaves no small batches."""


def score_pairs(
    kind: HeadKind,
    weights: Tensor,
    gather: Callable[[NDArray[np.int64]], Tensor],
    x: NDArray[np.int64],
    y: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Score pairs under several heads at once, in float64; each image is gathered once, a block at a time.

    A head is linear, so that a pair's score is the sum of what each of its images adds.

    Args:
        kind: Of the heads.
        weights: (heads, inputs).
        gather: From distinct rows, sorted, to their features (rows, D).
        x: Row of the first image of each pair, (n,).
        y: Likewise of the second.

    Returns:
        Predicted changes, (heads, n). With `difference`, exchanged images give exactly the opposite.
    """
    rows, places = np.unique(np.concatenate([x, y]), return_inverse=True)
    first, second = places[: len(x)], places[len(x) :]
    # Weights of what an image adds: one row a head, or two, as the first and as the second image.
    added = weights.double() if kind == "difference" else torch.cat(weights.double().chunk(2, dim=1))
    width = added.shape[1]
    size = max(1, _SCORE_BYTES // (8 * width * _MULTIPLE)) * _MULTIPLE
    shares, origin = np.empty((len(added), len(rows))), torch.zeros(width, dtype=torch.float64)
    for start in range(0, len(rows), size):
        block = slice(start, start + size)
        features = gather(rows[block]).double()
        if start == 0:
            # Sums within a matrix product have no fixed order. Counted from one of the images, features that
            # are all equal are zeros, and give all pairs exactly the same answer.
            origin = features[0].clone()
        shares[:, block] = (added @ features.sub_(origin).T).numpy()
    if kind == "difference":
        return np.asarray(shares[:, second] - shares[:, first])
    own, other = np.split(shares, 2)
    constant = (added @ origin).reshape(2, -1).sum(dim=0).numpy()
    return np.asarray(own[:, first] + other[:, second] + constant[:, None])


def mean_loss(kind: LossKind, predicted: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """Return the mean loss of scored pairs, in float64."""
    return float(pair_loss(kind, torch.from_numpy(predicted), torch.from_numpy(target)).mean())
