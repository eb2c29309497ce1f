"""Metrics under whole-number weights of subjects, for many weightings at once.

A subject of weight w counts as if its pairs occurred w times: 0 leaves it out, 2 takes it twice. All metrics
but the rank correlation need only a few sums for each subject. Second moments come from sums of squares,
which is fast; where that would lose digits, they are gathered again around the weighting's own mean, so that
values equal those of the repeated rows to rounding.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Self

import numpy as np

from comface_bench.core.errors import UnknownNameError
from comface_bench.stats.metrics import (
    METRICS,
    Moments,
    Resampled,
    Totals,
    binary_exponent,
    compute_metrics,
    metric_registry,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from comface_bench.stats.predictions import Part, PredictionSet

    Vector = NDArray[np.float64]
    Matrix = NDArray[np.float64]


_SUMS = (
    *("pairs", "y", "yhat", "errors", "squares", "hits", "changed"),
    *("within_yy", "within_hh", "within_yh", "between_yy", "between_hh", "between_yh"),
)
"""Sums that are kept of each subject, in the order of the columns of `SubjectSums.sums`."""
_NEEDS = {
    **{name: (name,) for name in ("pairs", "errors", "squares", "hits", "changed")},
    "moments": ("pairs", "y", "yhat", *_SUMS[7:]),
}
"""Sums by the name under which metrics declare that they need them."""
_BLOCK = 2**17  # weights handled at a time, so that intermediates stay in the cache
_SOUND = 1e-3  # share of the squares that must be left after subtraction: three of sixteen digits go
_ENDS = np.minimum, np.maximum


def weighted_metrics(predictions: PredictionSet, weights: Matrix, names: Iterable[str]) -> dict[str, Vector]:
    """Compute metrics for each weighting of the subjects, averaged over parts.

    Args:
        predictions: A method's predictions on S subjects.
        weights: Whole numbers from 0, shape (R, S).
        names: Metrics that have a resampled form.

    Returns:
        By name, shape (R,); NaN where the metric of the repeated rows has no value in one of the parts.

    Raises:
        UnknownNameError: A metric has none.
    """
    names = list(names)
    _forms(names)
    sums = {name: np.zeros(len(weights)) for name in names}
    for part in predictions.parts.values():
        for name, values in _part_metrics(part, weights, names).items():
            sums[name] += values
    return {name: total / len(predictions.parts) for name, total in sums.items()}


def is_resampled(name: str) -> bool:
    """Return whether a metric has weighted values, and so intervals and tests."""
    return name in METRICS and METRICS[name].resampled is not None


def _forms(names: Iterable[str]) -> dict[str, Resampled]:
    """Return the resampled forms of metrics.

    Raises:
        UnknownNameError: A metric has none.
    """
    forms = {}
    for name in names:
        form = METRICS[name].resampled if name in METRICS else None
        if form is None:
            # Of plugins none is loaded to be offered.
            cards = [entry.card for entry in metric_registry(plugins=False).declared()]
            known = ", ".join(card.name for card in cards if card.resampled is not None)
            raise UnknownNameError(f"{name!r} isn't resampled", f"One of {known}.")
        forms[name] = form
    return forms


def needed_sums(names: Iterable[str]) -> list[int]:
    """Return which columns of `SubjectSums.sums` metrics are made of, ascending."""
    needs = {need for form in _forms(names).values() for need in form.needs}
    return sorted({_SUMS.index(name) for need in needs for name in _NEEDS[need]})


def reason_of(predictions: PredictionSet, weights: Vector, name: str) -> str | None:
    """Return the reason why a metric has no value under one weighting, shape (S,); None if it has one."""
    for part in predictions.parts.values():
        times = weights[part.subject].astype(int)
        y, yhat = np.repeat(part.y, times), np.repeat(part.yhat, times)
        reason = compute_metrics(y, yhat, [name])[name].reason
        if reason is not None:
            return reason
    return None


def _part_metrics(part: Part, weights: Matrix, names: list[str]) -> dict[str, Vector]:
    sums = SubjectSums.of(part, names)
    step = max(1, _BLOCK // len(sums.columns))
    present = weights if len(sums.columns) == weights.shape[1] else weights[:, sums.columns]
    blocks = [sums.metrics(present[start : start + step], names) for start in range(0, len(present), step)]
    if len(blocks) == 1:
        return blocks[0]
    return {name: np.concatenate([block[name] for block in blocks]) for name in names}


@dataclasses.dataclass(frozen=True, eq=False)
class SubjectSums:
    """Sums over the pairs of each subject of a part, which all metrics but rank correlation follow from.

    y and ŷ are each divided by a power of two, which is exact, and taken from about their mean; errors are
    divided by 2**exponent.

    Attributes:
        columns: Index of each subject with pairs, shape (C,).
        sums: Sums over each subject's pairs that add up over subjects, shape (C, number of `_SUMS`).
        own: Metric → sums of its own terms, shape (C, K).
        means: Each subject's mean y and mean ŷ, shape (2, C).
        ranges: Smallest and largest y, smallest and largest ŷ of each subject, shape (4, C).
        exponent: Scale of the errors.
        ratios: What y and ŷ are multiplied by to be on one scale.
        bias: Difference of their means on that scale.
    """

    columns: NDArray[np.intp]
    sums: Matrix
    own: Mapping[str, Matrix]
    means: Matrix
    ranges: Matrix
    exponent: int
    ratios: tuple[float, float]
    bias: float

    @classmethod
    def of(cls, part: Part, names: Iterable[str]) -> Self:
        """Sum a part's pairs subject by subject, as metrics need it."""
        starts = np.flatnonzero(np.diff(part.subject, prepend=-1))
        sizes = np.diff(starts, append=part.subject.size)
        exponent = binary_exponent(part.y, part.yhat)
        error = np.ldexp(part.yhat, -exponent) - np.ldexp(part.y, -exponent)
        a, shift_a, exponent_a = _standard(part.y)
        b, shift_b, exponent_b = _standard(part.yhat)
        total_a, total_b = np.add.reduceat(a, starts), np.add.reduceat(b, starts)
        da, db = a - np.repeat(total_a / sizes, sizes), b - np.repeat(total_b / sizes, sizes)
        changed = part.y != 0
        hit = changed & (np.sign(part.y) == np.sign(part.yhat))
        terms = np.stack([np.abs(error), error * error, hit, changed, da * da, db * db, da * db])
        within = np.add.reduceat(terms, starts, axis=1)
        between = [total_a * total_a / sizes, total_b * total_b / sizes, total_a * total_b / sizes]
        largest = max(exponent_a, exponent_b)
        forms = _forms(names)
        own = {
            name: np.add.reduceat(np.asarray(form.terms(part.y, part.yhat), float), starts, axis=1).T
            for name, form in forms.items()
            if form.terms is not None
        }
        return cls(
            columns=part.subject[starts],
            sums=np.stack([sizes, total_a, total_b, *within, *between], axis=1),
            own=own,
            means=np.stack([total_a, total_b]) / sizes,
            ranges=np.stack([end.reduceat(v, starts) for v in (part.y, part.yhat) for end in _ENDS]),
            exponent=exponent,
            ratios=(float(np.ldexp(1.0, exponent_a - largest)), float(np.ldexp(1.0, exponent_b - largest))),
            bias=float(np.ldexp(shift_a, exponent_a - largest) - np.ldexp(shift_b, exponent_b - largest)),
        )

    def _spread(self, n: Vector, weights: Callable[[slice], Matrix]) -> NDArray[np.bool_]:
        """Return which weightings leave both y and ŷ more than one value, shape (R,)."""
        enough: NDArray[np.bool_] = n >= 2
        for low, high in (self.ranges[:2], self.ranges[2:]):
            if (low == high).any():
                taken = weights(slice(None)) > 0
                smallest = np.where(taken, low, np.inf).min(axis=1)
                enough = enough & (smallest < np.where(taken, high, -np.inf).max(axis=1))
        return enough

    def metrics(self, weights: Matrix, names: Iterable[str]) -> dict[str, Vector]:
        """Compute metrics for weights of shape (R, C); each of shape (R,)."""
        totals = np.ascontiguousarray(matmul(weights, self.sums).T)
        own = {name: matmul(weights, sums).T for name, sums in self.own.items()}
        return self.metrics_of(totals, own, names, lambda rows: weights[rows])

    def metrics_of(
        self,
        totals: Matrix,
        own: Mapping[str, Matrix],
        names: Iterable[str],
        weights: Callable[[slice | NDArray[np.bool_]], Matrix],
    ) -> dict[str, Vector]:
        """Compute metrics from weighted totals of `sums`, each of shape (R,).

        Args:
            totals: `sums` times weights, shape (number of `_SUMS`, R); those of `needed_sums` will do.
            own: Metric → its `own` sums times weights, shape (K, R).
            names: Metrics that have a resampled form.
            weights: Gives the weights, shape (·, C), of chosen rows; few are asked for.
        """
        n, _, _, errors, squares, hits, changed, *_ = totals
        moments = functools.cache(lambda: self._moments(totals, weights))
        none = np.empty((0, len(n)))
        found = {}
        with np.errstate(divide="ignore", invalid="ignore"):
            for name, form in _forms(names).items():
                mine = own.get(name, none)
                given = Totals(n, errors, squares, hits, changed, self.exponent, moments, mine)
                found[name] = np.asarray(form.value(given), dtype=np.float64)
        return found

    def _moments(self, totals: Matrix, weights: Callable[[slice | NDArray[np.bool_]], Matrix]) -> Moments:
        n, total_y, total_yhat, _, _, _, _, *squares = totals
        means = total_y / n, total_yhat / n
        within, between = squares[:3], squares[3:]
        shifts = means[0] * total_y, means[1] * total_yhat, means[0] * total_yhat
        yy, hh, yh = (w + (b - s) for w, b, s in zip(within, between, shifts, strict=True))
        unsound = ~((yy > _SOUND * (within[0] + between[0])) & (hh > _SOUND * (within[1] + between[1])))
        if unsound.any():
            exact = self._centred(weights(unsound), means[0][unsound], means[1][unsound])
            for whole, kept, again in zip((yy, hh, yh), within, exact, strict=True):
                whole[unsound] = kept[unsound] + again
        spread = self._spread(n, weights)
        return Moments(n, means, (yy, hh, yh), self.ratios, self.bias, spread)

    def _centred(self, weights: Matrix, mean_y: Vector, mean_yhat: Vector) -> tuple[Vector, Vector, Vector]:
        """Sum squares and products of subjects' means around each weighting's own means, shape (R,) each."""
        dy, dh = self.means[0] - mean_y[:, None], self.means[1] - mean_yhat[:, None]
        sized = weights * self.sums[:, 0]
        sized_y, sized_h = sized * dy, sized * dh
        pairs = ((sized_y, dy), (sized_h, dh), (sized_y, dh))
        yy, hh, yh = (np.einsum("rc,rc->r", *pair) for pair in pairs)
        return yy, hh, yh


def _standard(values: Vector) -> tuple[Vector, float, int]:
    """Return deviations from about the mean and that mean, both times 2**-exponent, and the exponent."""
    exponent = binary_exponent(values)
    scaled = np.ldexp(values, -exponent)
    # The first value is taken off before averaging: a tiny spread on a huge offset stays whole.
    shift = scaled[0] + np.mean(scaled - scaled[0])
    deviations = scaled - shift
    further = binary_exponent(deviations)
    return np.ldexp(deviations, -further), float(np.ldexp(shift, -further)), exponent + further


# OpenBLAS hands no product of fewer multiplications to its threads.
_LIMIT = 2**18
_FEWEST_ROWS = 8


def matmul(a: Matrix, b: Matrix) -> Matrix:
    """Multiply two matrices in pieces so small that BLAS uses one thread for each.

    Threads wait for one another in each of many short products; where other programs are at work on the same
    cores, that makes them ten times slower than one thread.

    Args:
        a: Shape (M, K).
        b: Shape (K, N).

    Returns:
        Shape (M, N).
    """
    (rows, inner), columns = a.shape, b.shape[1]
    width = max(1, min(columns, _LIMIT // (inner * _FEWEST_ROWS)))
    height = max(1, _LIMIT // (inner * width))
    result = np.empty((rows, columns))
    for left in range(0, columns, width):
        piece = np.ascontiguousarray(b[:, left : left + width])
        for top in range(0, rows, height):
            result[top : top + height, left : left + width] = a[top : top + height] @ piece
    return result
