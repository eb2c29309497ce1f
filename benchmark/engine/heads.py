"""Pair heads: from the features of two images to the change between them.

`difference`: ŷ(x, y) = w·(f(y) − f(x)), without a bias, so that ŷ(x, y) = −ŷ(y, x).
`concat`: ŷ(x, y) = w·[f(x), f(y)].
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray


HeadKind = Literal["difference", "concat"]


def join(kind: HeadKind, first: Tensor, second: Tensor) -> Tensor:
    """Combine the features of both images, (…, D) each, into the head's input, (…, D) or (…, 2D)."""
    if kind == "difference":
        return second - first
    return torch.cat([first, second], dim=-1)


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


def score(kind: HeadKind, weight: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Predict the change in evaluation, in float64: weight (inputs,), features (n, D), answer (n,)."""
    return predict(kind, weight.double(), first.double(), second.double())


def pair_loss(kind: Literal["l1", "l2", "smooth-l1"], predicted: Tensor, target: Tensor) -> Tensor:
    """Return the loss of each pair, without averaging."""
    if kind == "l1":
        return (predicted - target).abs()
    if kind == "l2":
        return (predicted - target).square()
    return torch.nn.functional.smooth_l1_loss(predicted, target, reduction="none")


_SCORE_CHUNK = 4096


def score_pairs(
    kind: HeadKind, weight: Tensor, features: Tensor, x: NDArray[np.int64], y: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Score pairs by the features of their images.

    Args:
        kind: Of the head.
        weight: Of the head, (inputs,).
        features: (number of images, D).
        x: Rows of `features` for the first image of each pair, (n,).
        y: Likewise for the second image.

    Returns:
        Predicted changes, float64 (n,).
    """
    parts = [np.empty(0)]
    for start in range(0, len(x), _SCORE_CHUNK):
        chunk = slice(start, start + _SCORE_CHUNK)
        first, second = features[torch.from_numpy(x[chunk])], features[torch.from_numpy(y[chunk])]
        parts.append(score(kind, weight, first, second).numpy())
    return np.concatenate(parts)


def mean_loss(
    kind: Literal["l1", "l2", "smooth-l1"], predicted: NDArray[np.float64], target: NDArray[np.float64]
) -> float:
    """Return the mean loss of scored pairs, in float64."""
    return float(pair_loss(kind, torch.from_numpy(predicted), torch.from_numpy(target)).mean())
