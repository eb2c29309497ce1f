"""Disjoint pairs of a record's images (supplement, A.1): up to 50 of 100 or 101."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]


def disjoint_pairs(
    alphas: Floats, random: np.random.Generator, span: tuple[float, float] = (0.0, 10.0)
) -> NDArray[np.intp]:
    """Draw pairs of images such that no image is in two of them.

    Images are shuffled and paired from the front; where a curriculum restricts the change, each image takes
    the first free one that keeps to it, so fewer pairs may come out.

    Args:
        alphas: α of each image, shape (K,).
        random: Source of the draw.
        span: Smallest and largest |α_y − α_x| of a pair.

    Returns:
        Indices of x and y, shape (P, 2), P up to K // 2; which of the two is x is random too.
    """
    order = random.permutation(len(alphas))
    if span[0] <= 0 and span[1] >= 10:
        return order[: len(order) // 2 * 2].reshape(-1, 2)
    low, high = span[0] - 1e-6, span[1] + 1e-6
    free = np.ones(len(order), np.bool_)
    values, pairs = np.asarray(alphas)[order], []
    for index in range(len(order)):
        if not free[index]:
            continue
        free[index] = False
        change = np.abs(values - values[index])
        fitting = np.flatnonzero(free & (change >= low) & (change <= high))
        if fitting.size:
            free[fitting[0]] = False
            pairs.append((order[index], order[fitting[0]]))
    return np.array(pairs, np.intp).reshape(-1, 2)
