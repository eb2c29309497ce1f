"""Spearman's correlation under whole-number weights of subjects, exactly, for many weightings at once.

The rank of a value among repeated rows is linear in the weights: rank − ½ = Σ_s w_s C[s, i] where C counts
the values of subject s below pair i's, equal ones half. The sum of products of two ranks is therefore a cubic
form in the weights, Σ w_s w_t w_u T[s, t, u], whose coefficients don't depend on the weighting; and the
spread of ranks needs only the sizes of groups of equal values. All of these are counts, exact in float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from comface_bench.stats.product import product

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from comface_bench.stats.answers import Part

    Indices = NDArray[np.intp]
    Vector = NDArray[np.float64]
    Matrix = NDArray[np.float64]

# Above this many subjects, S³ coefficients cost more than ranking each weighting anew.
MOST_SUBJECTS = 100
_BLOCK = 2**20  # products of weights and coefficients held at a time
_COLUMNS = 512


def weighted_spearman(part: Part, weights: Matrix, most_subjects: int = MOST_SUBJECTS) -> Vector:
    """Compute Spearman's correlation for each weighting.

    Args:
        part: N pairs, sorted by subject.
        weights: Whole numbers from 0, shape (R, S).
        most_subjects: Up to how many subjects the cubic form is used; the result doesn't depend on it.

    Returns:
        Shape (R,), in [-1, 1]; of no meaning where y or ŷ has fewer than two values.
    """
    subjects, subject = np.unique(part.subject, return_inverse=True)
    weights = weights[:, subjects]
    y, yhat = _groups(part.y), _groups(part.yhat)
    if len(subjects) <= most_subjects:
        products = _cubic(subject, y, yhat, weights)
        cubes_y, cubes_yhat = _cubes(subject, y, weights), _cubes(subject, yhat, weights)
    else:
        products, cubes_y, cubes_yhat = np.array([_one(row[subject], y, yhat) for row in weights]).T
    cube = np.einsum("rs,s->r", weights, np.bincount(subject)) ** 3
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(cube - cubes_y) * np.sqrt(cube - cubes_yhat) / 12
        correlation: Vector = np.clip((products - cube / 4) / spread, -1, 1)
    return correlation


def _groups(values: Vector) -> Indices:
    """Number the distinct values from 0, ascending, and return each pair's number."""
    return np.unique(values, return_inverse=True)[1]


def _one(weights: Vector, y: Indices, yhat: Indices) -> tuple[float, float, float]:
    """Return Σ w·(rank − ½)·(rank − ½) and both sums of cubed group sizes, for weights of pairs."""
    sizes_y, sizes_yhat = np.bincount(y, weights), np.bincount(yhat, weights)
    ranks_y = (np.cumsum(sizes_y) - sizes_y / 2)[y]
    ranks_yhat = (np.cumsum(sizes_yhat) - sizes_yhat / 2)[yhat]
    return (
        float(np.sum(weights * ranks_y * ranks_yhat)),
        float(np.sum(sizes_y**3)),
        float(np.sum(sizes_yhat**3)),
    )


def _cubic(subject: Indices, y: Indices, yhat: Indices, weights: Matrix) -> Vector:
    """Return Σ w·(rank − ½)·(rank − ½) for each weighting."""
    below_y, below_yhat = _below(subject, y), _below(subject, yhat)
    ends = np.cumsum(np.bincount(subject))[:-1]
    by_subject = zip(np.split(y, ends), np.split(yhat, ends), strict=True)
    form = np.stack([product(below_y[:, a], below_yhat[:, b].T) for a, b in by_subject])
    count = len(form)
    flat = form.reshape(count, count * count)
    products = np.empty(len(weights))
    step = max(1, _BLOCK // (count * count))
    for start in range(0, len(weights), step):
        block = weights[start : start + step]
        planes = product(block, flat).reshape(-1, count, count)
        lines = np.einsum("rtu,ru->rt", planes, block)
        products[start : start + step] = np.einsum("rt,rt->r", lines, block)
    return products


def _below(subject: Indices, group: Indices) -> Matrix:
    """Count each subject's values below those of each group, equal ones half, shape (S, groups)."""
    sizes = _sizes(subject, group)
    below: Matrix = np.cumsum(sizes, axis=1, dtype=np.float64)
    below -= 0.5 * sizes
    return below


def _sizes(subject: Indices, group: Indices) -> NDArray[np.intp]:
    """Count the pairs of each subject in each group, shape (S, groups)."""
    shape = int(subject.max()) + 1, int(group.max()) + 1
    return np.bincount(subject * shape[1] + group, minlength=shape[0] * shape[1]).reshape(shape)


def _cubes(subject: Indices, group: Indices, weights: Matrix) -> Vector:
    """Sum the cubed sizes of groups of equal values, for each weighting."""
    tied = np.bincount(group)[group] > 1
    # A value that only one pair has forms a group of its subject's weight.
    cubes = np.einsum("rs,s->r", weights**3, np.bincount(subject[~tied], minlength=weights.shape[1]))
    if tied.any():
        sizes = _sizes(subject[tied], np.unique(group[tied], return_inverse=True)[1])
        held = weights[:, : len(sizes)]
        for start in range(0, sizes.shape[1], _COLUMNS):
            cubes += (product(held, sizes[:, start : start + _COLUMNS].astype(float)) ** 3).sum(axis=1)
    return np.asarray(cubes)
