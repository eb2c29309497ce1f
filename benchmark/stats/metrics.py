"""Metrics of an estimated change ŷ against the true change y, in float64.

A metric that has no value says why: a constant prediction has no correlation, and neither 0, 1 nor NaN
would be an honest stand-in.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from comface_bench.core.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import ArrayLike, NDArray

    Vector = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class MetricValue:
    """A metric's value, or the reason why it has none; exactly one of the two is set.

    Attributes:
        value: A finite number in the metric's own unit (fractions for `acc`), or None.
        reason: Why there is no value, one line; None where there is one.

    Raises:
        ValueError: Both are set, neither is, or the value isn't finite.
    """

    # Read by pydantic where result records embed this class.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    value: float | None
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ValueError("a metric has either a value or a reason")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"a metric's value is finite or None, not {self.value}")


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric: its names, which direction is better, and its function.

    Attributes:
        name: Key in records, such as `mae`.
        title: Heading in tables, such as `MAE`.
        higher_is_better: Direction.
        has_unit: True if the value is in the target's unit, False if it is a pure number.
        percent: True if tables print the value times 100.
        compute: Maps (y, ŷ), two float64 vectors of one length, finite, to a value.
    """

    name: str
    title: str
    higher_is_better: bool
    has_unit: bool
    percent: bool
    compute: Callable[[Vector, Vector], MetricValue]


def compute_metrics(y: ArrayLike, yhat: ArrayLike, names: Iterable[str]) -> dict[str, MetricValue]:
    """Compute metrics by name.

    Args:
        y: True changes, shape (N,).
        yhat: Estimated changes, shape (N,).
        names: Keys of `METRICS`; the result keeps their order.

    Raises:
        UnknownNameError: A name isn't a key of `METRICS`.
        ValueError: The shapes differ or aren't (N,), or a number isn't finite.
    """
    truth, estimate = _vector(y, "y"), _vector(yhat, "yhat")
    if truth.shape != estimate.shape:
        raise ValueError(f"y has {truth.size} values and yhat {estimate.size}")
    return {name: _metric(name).compute(truth, estimate) for name in names}


def no_change_baseline(y: ArrayLike, names: Iterable[str]) -> dict[str, MetricValue]:
    """Compute the metrics of the no-change baseline, ŷ = 0 for every pair."""
    truth = _vector(y, "y")
    return compute_metrics(truth, np.zeros_like(truth), names)


def mae(y: Vector, yhat: Vector) -> MetricValue:
    """Mean absolute error, in the target's unit."""
    return _mean_error(y, yhat, power=1)


def rmse(y: Vector, yhat: Vector) -> MetricValue:
    """Root of the mean squared error, in the target's unit."""
    return _mean_error(y, yhat, power=2)


def pearson(y: Vector, yhat: Vector) -> MetricValue:
    """Pearson's correlation r, in [-1, 1]."""
    return _no_spread(y, yhat) or _cosine(_deviations(y)[0], _deviations(yhat)[0])


def spearman(y: Vector, yhat: Vector) -> MetricValue:
    """Spearman's rank correlation, in [-1, 1]; tied values share their average rank."""
    return _no_spread(y, yhat) or pearson(_ranks(y), _ranks(yhat))


def ccc(y: Vector, yhat: Vector) -> MetricValue:
    """Lin's concordance correlation coefficient (Biometrics 45, 1989), moments over n, in [-1, 1]."""
    return _no_spread(y, yhat) or _agreement(y, yhat, absolute=True)


def icc31(y: Vector, yhat: Vector) -> MetricValue:
    """ICC(3,1) of Shrout and Fleiss (1979): consistency of y and ŷ as two fixed raters, in [-1, 1]."""
    return _no_spread(y, yhat) or _agreement(y, yhat, absolute=False)


def acc(y: Vector, yhat: Vector) -> MetricValue:
    """Fraction of pairs whose sign is right, in [0, 1].

    Pairs without a true change are left out; a predicted zero is wrong.
    """
    signed = y != 0
    if not signed.any():
        return MetricValue(None, "no pair with a change")
    return MetricValue(float(np.mean(np.sign(y[signed]) == np.sign(yhat[signed]))))


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("mae", "MAE", higher_is_better=False, has_unit=True, percent=False, compute=mae),
        Metric("rmse", "RMSE", higher_is_better=False, has_unit=True, percent=False, compute=rmse),
        Metric("pearson", "Corr.", higher_is_better=True, has_unit=False, percent=False, compute=pearson),
        Metric(
            "spearman", "Spearman", higher_is_better=True, has_unit=False, percent=False, compute=spearman
        ),
        Metric("ccc", "CCC", higher_is_better=True, has_unit=False, percent=False, compute=ccc),
        Metric("icc31", "ICC(3,1)", higher_is_better=True, has_unit=False, percent=False, compute=icc31),
        Metric("acc", "Acc. (%)", higher_is_better=True, has_unit=False, percent=True, compute=acc),
    )
}


def _metric(name: str) -> Metric:
    if name not in METRICS:
        raise UnknownNameError(f"no metric is called {name!r}", f"Metrics: {', '.join(METRICS)}")
    return METRICS[name]


def _vector(values: ArrayLike, name: str) -> Vector:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        raise ValueError(f"{name} has shape {vector.shape}, not (N,)")
    if not np.isfinite(vector).all():
        raise ValueError(f"{name} holds a value that isn't finite")
    return vector


def _defined(value: float) -> MetricValue:
    return MetricValue(value) if math.isfinite(value) else MetricValue(None, "beyond the range of float64")


def _no_spread(y: Vector, yhat: Vector) -> MetricValue | None:
    """Return the reason why no correlation exists, or None if one does."""
    if y.size < 2:
        return MetricValue(None, "fewer than 2 pairs")
    if (yhat == yhat[0]).all():
        return MetricValue(None, "constant prediction")
    if (y == y[0]).all():
        return MetricValue(None, "constant target")
    return None


def _mean_error(y: Vector, yhat: Vector, *, power: int) -> MetricValue:
    """Power mean of the absolute errors, scaled so that no intermediate over- or underflows."""
    if not y.size:
        return MetricValue(None, "no pair")
    with np.errstate(over="ignore"):
        errors = np.abs(y - yhat)
    largest = float(errors.max())
    if largest == 0 or not math.isfinite(largest):
        return _defined(largest)
    return _defined(largest * math.pow(float(np.mean((errors / largest) ** power)), 1 / power))


def _deviations(values: Vector, exponent: int | None = None) -> tuple[Vector, float]:
    """Return deviations from the mean, and the mean relative to the first value, both times 2**-exponent.

    Subtracting the first value before averaging keeps a tiny spread on a huge offset; the scale is a power
    of two and therefore exact.
    """
    shift = _exponent(values) if exponent is None else exponent
    relative = np.ldexp(values, -shift)
    relative = relative - relative[0]
    mean = float(relative.mean())
    return relative - mean, mean


def _exponent(*vectors: Vector) -> int:
    return int(np.frexp(max(float(np.abs(vector).max()) for vector in vectors))[1])


def _unit(deviations: Vector) -> Vector:
    scaled: Vector = deviations / np.abs(deviations).max()
    return scaled / math.sqrt(float(scaled @ scaled))


def _cosine(a: Vector, b: Vector) -> MetricValue:
    return MetricValue(min(1.0, max(-1.0, float(_unit(a) @ _unit(b)))))


def _agreement(y: Vector, yhat: Vector, *, absolute: bool) -> MetricValue:
    """Twice the covariance over the sum of variances, plus the squared bias if `absolute`.

    For two raters, (MSR − MSE) / (MSR + MSE) of the two-way analysis of variance is the same quotient
    without the bias.
    """
    shift = _exponent(y, yhat)
    a, mean_a = _deviations(y, shift)
    b, mean_b = _deviations(yhat, shift)
    first = np.ldexp(np.array([y[0], yhat[0]]), -shift)
    bias = float(first[0] - first[1]) + mean_a - mean_b if absolute else 0.0
    largest = max(float(np.abs(a).max()), float(np.abs(b).max()), abs(bias))
    a, b, bias = a / largest, b / largest, bias / largest
    return _defined(float(2 * (a @ b) / (a @ a + b @ b + y.size * bias**2)))


def _ranks(values: Vector) -> Vector:
    """Rank from 1; ties share the mean of the ranks they take up."""
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: Vector = (last - (count - 1) / 2)[group]
    return ranks
