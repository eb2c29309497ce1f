"""Errors of one record's predictions, by size of the true change and by subject."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from comface_bench.stats.predictions import Columns

    Vector = NDArray[np.float64]

MOST_POINTS = 600
ONE_BIN_EACH = 8
SIZE_DECIMALS = 9
BINS = 6


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """A record's test predictions of all folds and seeds, by seed, fold and subject.

    Attributes:
        subject: Numbers of the subjects, shape (N,).
        y: True changes, shape (N,), in the target's unit.
        yhat: Estimated changes, shape (N,), in the target's unit.
    """

    subject: NDArray[np.int64]
    y: Vector
    yhat: Vector


@dataclasses.dataclass(frozen=True)
class SizeBin:
    """Pairs whose true change has about the same size.

    Attributes:
        low, high: The sizes |y|, in the target's unit, from `low` up to but without `high`; equal where
            the bin holds one size only.
        pairs: Number of predictions.
        error: Their mean absolute error.
        baseline: The error of always answering 0.
    """

    low: float
    high: float
    pairs: int
    error: float
    baseline: float


@dataclasses.dataclass(frozen=True)
class SubjectError:
    """A subject's number, predictions, mean absolute error, and the error of always answering 0."""

    subject: int
    pairs: int
    error: float
    baseline: float


def gather(columns: Iterable[Columns]) -> Predictions:
    """Take the predictions of all folds and seeds together, in the order given.

    Raises:
        ValueError: There is none.
    """
    parts = list(columns)
    if not any(part.y for part in parts):
        raise ValueError("no predictions")
    return Predictions(
        np.array([number for part in parts for number in part.subjects], dtype=np.int64),
        np.array([value for part in parts for value in part.y], dtype=np.float64),
        np.array([value for part in parts for value in part.yhat], dtype=np.float64),
    )


def draw_points(predictions: Predictions, most: int = MOST_POINTS) -> Predictions:
    """Choose the predictions that are drawn: all, or `most` at even steps of the file's order.

    As the file goes by seed, fold and subject, every subject with enough pairs is among them.
    """
    count = len(predictions.y)
    if count <= most:
        return predictions
    chosen = np.arange(most) * count // most
    return Predictions(predictions.subject[chosen], predictions.y[chosen], predictions.yhat[chosen])


def error_by_size(predictions: Predictions) -> list[SizeBin]:
    """Average errors over pairs of about the same change, smallest first; bins without a pair are left out.

    Up to `ONE_BIN_EACH` different sizes have one bin each; others are cut at round numbers. Differences of
    decimal labels are off by rounding: 60.1 - 60.0 and 60.2 - 60.1 are one size.
    """
    size = np.abs(predictions.y)
    with np.errstate(over="ignore"):
        rounded = np.round(size, SIZE_DECIMALS)
    size = np.where(np.isfinite(rounded), rounded, size)
    sizes = np.unique(size)
    if len(sizes) <= ONE_BIN_EACH:
        index, lows, highs = np.searchsorted(sizes, size), sizes, sizes
    else:
        step = round_step(float(sizes[-1]), BINS)
        index = np.minimum(np.floor(np.round(size / step, SIZE_DECIMALS)), 10 * BINS).astype(np.intp)
        lows = np.arange(int(index.max()) + 1) * step
        with np.errstate(over="ignore"):
            highs = lows + step
    return [
        SizeBin(float(lows[i]), float(highs[i]), *means)
        for i, means in enumerate(_means(index, predictions))
        if means[0]
    ]


def error_by_subject(predictions: Predictions) -> list[SubjectError]:
    """Average errors over each subject's pairs, the smallest error first."""
    subjects, index = np.unique(predictions.subject, return_inverse=True)
    found = [
        SubjectError(int(subject), *means)
        for subject, means in zip(subjects, _means(index, predictions), strict=True)
    ]
    return sorted(found, key=lambda one: (one.error, one.subject))


def round_step(span: float, parts: int) -> float:
    """Return 1, 2 or 5 times a power of ten so that `span` has about so many parts; 1 for no span."""
    rough = span / parts
    if not (rough > 0 and math.isfinite(rough)):
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    if power == 0:
        return rough
    return next((factor * power for factor in (1, 2, 5) if factor * power >= rough * 0.999), 10 * power)


def _means(index: NDArray[np.intp], predictions: Predictions) -> list[tuple[int, float, float]]:
    """Return number of pairs, mean error and the no-change baseline's mean error by index."""
    pairs = np.bincount(index)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        error = np.bincount(index, np.abs(predictions.y - predictions.yhat)) / pairs
        baseline = np.bincount(index, np.abs(predictions.y)) / pairs
    return list(zip(pairs.tolist(), error.tolist(), baseline.tolist(), strict=True))
