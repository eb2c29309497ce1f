"""Ridge regression on pair differences, without listing pairs.

The estimate is ŷ(x, y) = w·(f(y) − f(x)), no bias. w minimises Σ (label(y) − label(x) − ŷ)² + λ|w|² over
all pairs of the training subjects. For all pairs of a subject's n images, Σ (f_j − f_i)(f_j − f_i)ᵀ over
i < j is n times the scatter about the subject's mean; for pairs of one group with another it is
n_b S_a + n_a S_b + n_a n_b (m_b − m_a)(m_b − m_a)ᵀ, with S the groups' scatters and m their means. Labels
enter likewise. So each subject is a D×D matrix and a D vector for each target, and a training part is the
sum of its subjects.

All numbers are float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.data.pairs import PairGroup

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

STRENGTHS: tuple[float, ...] = tuple(10.0 ** (-exponent / 2) for exponent in range(18, -1, -1))
"""λ as a fraction of the largest eigenvalue of the training pairs' moment matrix: 1e-9 to 1, half decades."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over pairs: of Δf Δfᵀ, (D, D), and of Δf Δlabel, (D, number of targets)."""

    features: Floats
    labels: Floats

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.features - other.features, self.labels - other.labels)


def pair_moments(features: Floats, labels: Floats, groups: Iterable[PairGroup]) -> Moments:
    """Sum over all pairs of some groups.

    Args:
        features: (number of images, D).
        labels: (number of images, targets), finite in the groups' rows.
        groups: Whose pairs.
    """
    width, targets = features.shape[1], labels.shape[1]
    total = np.zeros((width, width + targets))
    for group in groups:
        joined, weight = _weighted(features, labels, group)
        # One product gives both sums; the rows are deviations, so that nothing cancels.
        total += (joined[:, :width] * weight[:, None]).T @ joined
    return Moments(total[:, :width], total[:, width:])


def near_pair_moments(
    features: Floats, labels: Floats, groups: Iterable[PairGroup], largest: float
) -> Moments:
    """Sum over the pairs within some groups whose labels differ by no more than a limit.

    Args:
        features: (number of images, D).
        labels: Of the one target, (number of images,), finite in the groups' rows.
        groups: Each of images that are paired with each other.
        largest: The limit, in the target's unit.
    """
    width = features.shape[1]
    total = np.zeros((width, width + 1))
    for group in groups:
        assert group.second is None
        own = group.first
        near = (np.abs(labels[own, None] - labels[own]) <= largest).astype(np.float64)
        # A sum over the edges of a graph is its Laplacian's quadratic form.
        laplacian = np.diag(near.sum(axis=1)) - near
        joined = np.hstack([features[own], labels[own, None]])
        joined -= joined.mean(axis=0)
        total += joined[:, :width].T @ (laplacian @ joined)
    return Moments(total[:, :width], total[:, width:])


def _weighted(features: Floats, labels: Floats, group: PairGroup) -> tuple[Floats, Floats]:
    """Return deviations and their weights, whose weighted products sum to those of all differences."""
    first = np.hstack([features[group.first], labels[group.first]])
    mean = first.mean(axis=0) if len(first) else 0.0
    if group.second is None:
        return first - mean, np.full(len(first), float(len(first)))
    second = np.hstack([features[group.second], labels[group.second]])
    if not len(first) or not len(second):
        return first[:0], np.zeros(0)
    other = second.mean(axis=0)
    rows = np.concatenate([first - mean, second - other, (other - mean)[None]])
    counts = (len(first), len(second))
    weight = np.repeat([counts[1], counts[0], counts[0] * counts[1]], [*counts, 1])
    return rows, weight.astype(np.float64)


def solve_ridge(moments: Moments, strengths: Sequence[float] = STRENGTHS) -> Floats:
    """Solve (M + λ) w = b for all strengths and targets with one decomposition of M.

    Args:
        moments: Of the training pairs.
        strengths: λ as fractions of M's largest eigenvalue, each above 0.

    Returns:
        w of each strength and target, (strengths, D, targets).

    Raises:
        ValueError: All differences are 0, so that nothing can be learnt.
    """
    values, vectors = np.linalg.eigh(moments.features)
    largest = float(values[-1])
    if largest <= 0:
        raise ValueError("all training pairs have equal features")
    absolute = largest * np.asarray(strengths, dtype=np.float64)
    projected = vectors.T @ moments.labels
    # Directions in which no pair differs, but for rounding, hold noise that a small λ would blow up.
    projected[values <= largest * len(values) * np.finfo(np.float64).eps] = 0
    scaled = projected[None] / (values.clip(0)[None] + absolute[:, None])[:, :, None]
    return np.asarray(vectors @ scaled)


def mean_pair_errors(residuals: Floats, groups: Iterable[PairGroup]) -> Floats:
    """Return the mean absolute error over all pairs of some groups, from each image's residual.

    A pair's error is the difference of its images' residuals label − w·f, so that sorting gives the sum.

    Args:
        residuals: (number of images, ...).
        groups: Whose pairs.

    Raises:
        ValueError: The groups have no pair.
    """
    total, count = np.zeros(residuals.shape[1:]), 0
    for group in groups:
        if group.count:
            total += _absolute_differences(residuals, group)
            count += group.count
    if not count:
        raise ValueError("there is no pair")
    return np.asarray(total / count)


def _absolute_differences(residuals: Floats, group: PairGroup) -> Floats:
    """Return the sum of |r_j − r_i| over a group's pairs."""
    if group.second is None:
        return _spread(residuals[group.first])
    both = np.concatenate([residuals[group.first], residuals[group.second]])
    # Pairs across are all pairs less those within either group.
    inside = _spread(residuals[group.first]) + _spread(residuals[group.second])
    return _spread(both) - inside


def _spread(values: Floats) -> Floats:
    """Return Σ |v_j − v_i| over i < j along the first axis."""
    ordered = np.sort(values - values.mean(axis=0), axis=0)
    position = 2.0 * np.arange(len(ordered)) - (len(ordered) - 1)
    return np.asarray(np.tensordot(position, ordered, axes=1))


def compress(features: Floats) -> tuple[Floats, Floats | None]:
    """Express features in a basis of their own span where there are more features than images.

    The ridge solution lies in that span, so solving there is exact and costs by images, not by features.

    Args:
        features: Of all images, training and tested ones, (number of images, D).

    Returns:
        Coordinates (number of images, K) and the basis (D, K), orthonormal, K = number of images; the
        features themselves and None where D is no larger.
    """
    count, width = features.shape
    if width <= count:
        return features, None
    basis, triangle = np.linalg.qr(features.T)
    return np.ascontiguousarray(triangle.T), basis
