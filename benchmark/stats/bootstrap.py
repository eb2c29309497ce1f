"""Bootstrap by subject: how much a metric would vary with other people.

Pairs of one person depend on each other, so whole subjects are drawn with replacement. All methods of a
task, and all tasks of a data set, are scored on the same draws. Models aren't trained again: an interval
says how much depends on who is tested, not on who was trained on.
"""

from __future__ import annotations

import dataclasses
from statistics import NormalDist
from typing import TYPE_CHECKING, Self

import numpy as np

from comface_bench.core.digest import digest
from comface_bench.stats.weighted import is_resampled, reason_of, weighted_metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from comface_bench.stats.metrics import MetricValue
    from comface_bench.stats.predictions import PredictionSet

    Vector = NDArray[np.float64]
    Matrix = NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.95
MOST_WITHOUT = 0.05
NOT_RESAMPLED = "not resampled"


@dataclasses.dataclass(frozen=True, eq=False)
class Resamples:
    """Counts of each subject in each resample.

    Attributes:
        subjects: Numbers of the subjects, ascending.
        counts: Whole numbers, shape (resamples, subjects); each row sums to the number of subjects.
    """

    subjects: tuple[int, ...]
    counts: Matrix

    @classmethod
    def draw(cls, subjects: Iterable[int], data: str, size: int = RESAMPLES) -> Self:
        """Draw subjects with replacement; the same for the same arguments, on every machine.

        Args:
            subjects: All test subjects of the task.
            data: Name of the data set, which seeds the draw: its tasks share people, other data sets don't.
            size: Number of resamples.

        Raises:
            ValueError: There is no subject.
        """
        numbers = tuple(sorted(set(subjects)))
        if not numbers:
            raise ValueError("no subject to draw from")
        count = len(numbers)
        # A bit generator's raw stream is fixed for good; the methods of numpy's Generator are not.
        raw = generator("bootstrap", data).random_raw((size, count))
        chosen = np.minimum(((raw >> np.uint64(11)) * (count * 2.0**-53)).astype(np.intp), count - 1)
        flat = chosen + np.arange(size)[:, None] * count
        counts = np.bincount(flat.ravel(), minlength=size * count).reshape(size, count)
        return cls(numbers, counts.astype(np.float64))

    def weights(self, predictions: PredictionSet) -> Matrix:
        """Return the columns of the predictions' own subjects, shape (resamples, their number).

        Raises:
            ValueError: A subject of the predictions isn't among those drawn from.
        """
        unknown = set(predictions.subjects) - set(self.subjects)
        if unknown:
            raise ValueError(f"subject {min(unknown)} isn't among those that were drawn from")
        return self.counts[:, np.searchsorted(self.subjects, predictions.subjects)]


@dataclasses.dataclass(frozen=True)
class Interval:
    """A confidence interval, or the reason why there is none.

    Attributes:
        low, high: Its ends, in the metric's own unit; None where there is a reason.
        error: Standard error: the resamples' standard deviation; None where there is a reason.
        reason: Why there is no interval, one line; None where there is one.
        without: Number of resamples in which the metric has no value; they are left out.
    """

    low: float | None
    high: float | None
    error: float | None
    reason: str | None = None
    without: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """One metric of all methods of a task, on the same resamples.

    Attributes:
        metric: Key of `METRICS`.
        values: The metric of each method.
        draws: The metric on each resample by method, shape (R,); NaN where it has no value. Empty where the
            metric has no resampled form.
        left_out: The metric without one subject at a time by method, shape (subjects,); empty as `draws`.
        pairs: Stands for the pairs that each method was scored on; equal for equal pairs.
        reasons: Why the first resample without a value has none, by method; only where so many are without
            that an interval or a difference may not stand.
    """

    metric: str
    values: Mapping[str, MetricValue]
    draws: Mapping[str, Vector]
    left_out: Mapping[str, Vector]
    pairs: Mapping[str, str]
    reasons: Mapping[str, str]

    def interval(self, method: str, level: float = LEVEL, *, bca: bool = False) -> Interval:
        """Return a method's interval.

        Args:
            method: Key of `values`.
            level: Confidence level, in (0, 1).
            bca: Correct for bias and acceleration (Efron 1987); plain percentiles where that can't be done.
        """
        value = self.values[method]
        if value.value is None:
            return Interval(None, None, None, value.reason)
        if method not in self.draws:
            return Interval(None, None, None, NOT_RESAMPLED)
        if len(self.left_out[method]) < 2:
            return Interval(None, None, None, "one subject")
        ends = bca_ends(value.value, self.draws[method], self.left_out[method], level) if bca else None
        return interval_of(self.draws[method], level, self.reasons.get(method, ""), ends)


def score(
    predictions: Mapping[str, PredictionSet],
    names: Iterable[str],
    resamples: Resamples,
    values: Mapping[str, Mapping[str, MetricValue]] | None = None,
) -> dict[str, Scores]:
    """Score all methods of a task on the same resamples.

    Args:
        predictions: By method.
        names: Keys of `METRICS`.
        resamples: Drawn from all of the task's test subjects.
        values: The metrics of each method by name, where they are known already.

    Returns:
        By metric, in the order of `names`.

    Raises:
        UnknownNameError: A name isn't a key of `METRICS`.
        ValueError: A subject isn't among those that were drawn from.
    """
    names = list(names)
    resampled = [name for name in names if is_resampled(name)]
    if values is None:
        values = {method: given.metrics(names) for method, given in predictions.items()}
    draws: dict[str, dict[str, Vector]] = {}
    left_out: dict[str, dict[str, Vector]] = {}
    reasons: dict[str, dict[str, str]] = {name: {} for name in names}
    shared: dict[tuple[int, ...], Matrix] = {}
    for method, given in predictions.items():
        if given.subjects not in shared:
            without_one = 1 - np.eye(len(given.subjects))
            shared[given.subjects] = np.concatenate([resamples.weights(given), without_one])
        weights, count = shared[given.subjects], len(resamples.counts)
        scored = weighted_metrics(given, weights, resampled)
        draws[method] = {name: found[:count] for name, found in scored.items()}
        left_out[method] = {name: found[count:] for name, found in scored.items()}
        for name, found in draws[method].items():
            missing = np.flatnonzero(np.isnan(found))
            # Two methods' resamples without a value may add up in their difference, hence the half.
            many = missing.size > MOST_WITHOUT * count / 2
            reason = reason_of(given, weights[missing[0]], name) if many else None
            if reason:
                reasons[name][method] = reason
    return {
        name: Scores(
            metric=name,
            values={method: values[method][name] for method in predictions},
            draws={method: draws[method][name] for method in predictions if name in resampled},
            left_out={method: left_out[method][name] for method in predictions if name in resampled},
            pairs={method: given.pairs for method, given in predictions.items()},
            reasons=reasons[name],
        )
        for name in names
    }


def interval_of(
    draws: Vector, level: float = LEVEL, why: str = "", ends: tuple[float, float] | None = None
) -> Interval:
    """Take the interval from resampled values, shape (R,).

    Resamples without a value (NaN) are left out; were they more than 5 %, the rest would no longer stand for
    all, and there is no interval.

    Args:
        draws: The resampled values.
        level: Confidence level, in (0, 1).
        why: Why resamples have no value, for the reason.
        ends: Quantiles to take, each in [0, 1]; by default those that leave (1 − level)/2 on each side.
    """
    ordered = np.sort(draws)  # NaN last
    without = int(np.count_nonzero(np.isnan(draws)))
    valid = ordered[: len(draws) - without]
    if len(valid) < 2 or without > MOST_WITHOUT * len(draws):
        reason = f"no value in {without} of {len(draws)} resamples" + (f": {why}" if why else "")
        return Interval(None, None, None, reason, without)
    low, high = (_quantile(valid, end) for end in ends or ((1 - level) / 2, (1 + level) / 2))
    return Interval(low, high, float(np.std(valid, ddof=1)), None, without)


def _quantile(ordered: Vector, end: float) -> float:
    """Return what numpy.quantile does by default, which takes several times as long on few numbers."""
    place = end * (len(ordered) - 1)
    below = min(int(place), len(ordered) - 2)
    low, high, beyond = float(ordered[below]), float(ordered[below + 1]), place - below
    # From the nearer end, as numpy does, so that neither end is missed by rounding.
    return low + (high - low) * beyond if beyond < 0.5 else high - (high - low) * (1 - beyond)


def bca_ends(value: float, draws: Vector, left_out: Vector, level: float) -> tuple[float, float] | None:
    """Return the quantiles that BCa takes; None where the correction has no value.

    Args:
        value: The metric of all subjects.
        draws: Resampled values, shape (R,).
        left_out: Values without one subject at a time, shape (S,).
        level: Confidence level, in (0, 1).
    """
    valid = draws[~np.isnan(draws)]
    deviations = np.mean(left_out) - left_out
    spread = float(np.sum(deviations**2))
    if not valid.size or not np.isfinite(spread) or spread == 0:
        return None
    below = float(np.mean((valid < value) + 0.5 * (valid == value)))
    if not 0 < below < 1:
        return None
    normal = NormalDist()
    bias, acceleration = normal.inv_cdf(below), float(np.sum(deviations**3)) / (6 * spread**1.5)
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        moved = bias + normal.inv_cdf(tail)
        # Beyond this the correction isn't monotonic any more.
        if acceleration * moved >= 1:
            return None
        ends.append(normal.cdf(bias + moved / (1 - acceleration * moved)))
    return ends[0], ends[1]


def generator(purpose: str, data: str) -> np.random.PCG64:
    """Return the bit generator of one purpose on one data set.

    Not of `core.seeds`: those are bound to runs, and what pages show must not move when they do.
    """
    return np.random.PCG64(int(digest([purpose, data])[:32], 16))
