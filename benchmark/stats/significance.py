"""Differences between two methods, and whether they could be chance.

A difference is taken on the same resamples of subjects for both methods: people who are hard for one are
mostly hard for the other, so it varies much less than either value does. A permutation test exchanges two
methods' predictions for random sets of people and counts how often the metric's difference gets as large as
it is; for the mean error this is the sign-flip test on subjects' summed differences. The smallest difference
that a task can show follows from the standard errors of differences.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import combinations
from statistics import NormalDist
from typing import TYPE_CHECKING, Self

import numpy as np

from comface_bench.stats.bootstrap import LEVEL, NOT_RESAMPLED, Interval, Scores, generator, interval_of
from comface_bench.stats.metrics import METRICS, MetricValue
from comface_bench.stats.predictions import Part, PredictionSet
from comface_bench.stats.weighted import SubjectSums, matmul, needed_sums

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Vector = NDArray[np.float64]
    Matrix = NDArray[np.float64]

    from comface_bench.stats.bootstrap import Scores


OTHER_PAIRS = "scored on other pairs"
_ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True)
class PairedDifference:
    """A method's metric minus the reference's.

    Attributes:
        value: In the metric's own unit; None where there is a reason.
        interval: Of the difference, on the same resamples for both.
        reason: Why there is no difference, one line; None where there is one.
    """

    value: float | None
    interval: Interval
    reason: str | None = None

    @property
    def tied(self) -> bool | None:
        """True if the interval holds 0; None without an interval."""
        low, high = self.interval.low, self.interval.high
        if low is None or high is None:
            return None
        # An end that is 0 but for rounding is 0 on every machine.
        slack = _ROUNDING * max(abs(low), abs(high))
        return low <= slack and high >= -slack


def best_method(scores: Scores, among: Iterable[str] | None = None) -> str | None:
    """Name the method of the best value, the first of equal ones; None if none has a value.

    Args:
        scores: One metric of a task.
        among: Methods that may be chosen, such as the complete ones; all by default.
    """
    sign = 1 if METRICS[scores.metric].higher_is_better else -1
    values = {name: scores.values[name].value for name in (scores.values if among is None else among)}
    ranked = {name: sign * value for name, value in values.items() if value is not None}
    return max(ranked, key=ranked.__getitem__) if ranked else None


def difference(scores: Scores, method: str, reference: str, level: float = LEVEL) -> PairedDifference:
    """Compare two methods of a task.

    Args:
        scores: One metric of the task.
        method: Key of `scores.values`.
        reference: The one that it is compared with.
        level: Confidence level of the interval, in (0, 1).
    """
    ours, theirs = scores.values[method], scores.values[reference]
    reason = ours.reason or theirs.reason
    if scores.pairs[method] != scores.pairs[reference]:
        reason = OTHER_PAIRS
    if reason or ours.value is None or theirs.value is None:
        return PairedDifference(None, Interval(None, None, None, reason), reason)
    value = ours.value - theirs.value
    if method not in scores.draws or reference not in scores.draws:
        return PairedDifference(value, Interval(None, None, None, NOT_RESAMPLED))
    if len(scores.left_out[method]) < 2:
        return PairedDifference(value, Interval(None, None, None, "one subject"))
    draws = scores.draws[method] - scores.draws[reference]
    why = scores.reasons.get(method) or scores.reasons.get(reference, "")
    return PairedDifference(value, interval_of(draws, level, why))


def differences(scores: Scores, reference: str, level: float = LEVEL) -> dict[str, PairedDifference]:
    """Compare all other methods with one of them; arguments as for `difference`."""
    return {name: difference(scores, name, reference, level) for name in scores.values if name != reference}


DRAWS = 9999
EXACT_UP_TO = 16


@dataclasses.dataclass(frozen=True, eq=False)
class Swaps:
    """For which subjects two methods' predictions are exchanged.

    Attributes:
        subjects: Numbers of the subjects, ascending.
        flips: 0 or 1, shape (swaps, subjects).
        exact: Whether these are all there are, those that exchange exactly the other subjects left out.
    """

    subjects: tuple[int, ...]
    flips: Matrix
    exact: bool

    @classmethod
    def draw(
        cls, subjects: Iterable[int], data: str, size: int = DRAWS, exact_up_to: int = EXACT_UP_TO
    ) -> Self:
        """List all swaps of few subjects, or draw some; the same for the same arguments, on every machine.

        Args:
            subjects: The test subjects.
            data: Name of the data set, which seeds the draw.
            size: How many are drawn.
            exact_up_to: Up to how many subjects all swaps are listed.

        Raises:
            ValueError: There is no subject.
        """
        numbers = tuple(sorted(set(subjects)))
        if not numbers:
            raise ValueError("no subject to exchange predictions of")
        count = len(numbers)
        if count <= exact_up_to:
            # Exchanging all but a set negates the difference of exchanging the set: half of them will do.
            bits = np.arange(2 ** (count - 1))[:, None] >> np.arange(count) & 1
            return cls(numbers, bits.astype(np.float64), exact=True)
        raw = generator("swaps", data).random_raw((size, count))
        return cls(numbers, (raw >> np.uint64(63)).astype(np.float64), exact=False)


def swap_test(
    ours: PredictionSet, theirs: PredictionSet, names: Sequence[str], swaps: Swaps
) -> dict[str, MetricValue]:
    """Test whether two methods differ in metrics, two-sided.

    Only seeds that both have are compared. A swap that leaves a metric without a value counts as extreme,
    which can only raise p.

    Args:
        ours: A method's predictions.
        theirs: Another's, on the same pairs.
        names: Metrics that have a resampled form.
        swaps: Of the task's test subjects.

    Returns:
        p by name: exact over all swaps, or (b + 1)/(m + 1) where b of m drawn ones are as extreme. No value
        where a metric has none, or the pairs or subjects differ.

    Raises:
        UnknownNameError: A metric has none.
    """
    common = sorted(set(ours.parts) & set(theirs.parts))
    reason = None
    if ours.pairs != theirs.pairs or ours.subjects != swaps.subjects:
        reason = OTHER_PAIRS
    elif not common:
        reason = "no seed in common"
    elif len(ours.subjects) < 2:
        reason = "one subject"
    if reason:
        return {name: MetricValue(None, reason) for name in names}
    first, second = _only(ours, common), _only(theirs, common)
    values = first.metrics(names), second.metrics(names)
    gaps = dict.fromkeys(names, np.zeros(len(swaps.flips)))
    for place, part in first.parts.items():
        for name, gap in _gaps(part, second.parts[place], swaps, names).items():
            gaps[name] = gaps[name] + gap / len(common)
    return {name: _p(gaps[name], values[0][name], values[1][name], exact=swaps.exact) for name in names}


def _gaps(ours: Part, theirs: Part, swaps: Swaps, names: Sequence[str]) -> dict[str, Vector]:
    """Return the difference of the two methods' metrics after each swap, by name, shape (swaps,)."""
    count = int(ours.subject.max()) + 1
    sums = SubjectSums.of(
        Part(
            np.concatenate([ours.subject, theirs.subject + count]),
            np.concatenate([ours.y, theirs.y]),
            np.concatenate([ours.yhat, theirs.yhat]),
        ),
        names,
    )
    half = len(sums.columns) // 2
    present = sums.columns[:half]
    flips = swaps.flips if half == swaps.flips.shape[1] else swaps.flips[:, present]
    kept, exchanged = _exchange(sums.sums, flips, needed_sums(names))
    own = {name: _exchange(terms, flips, list(range(terms.shape[1]))) for name, terms in sums.own.items()}
    mine, others = ({name: both[side] for name, both in own.items()} for side in (0, 1))
    there = sums.metrics_of(
        kept, mine, names, lambda rows: np.concatenate([1 - flips[rows], flips[rows]], axis=1)
    )
    back = sums.metrics_of(
        exchanged, others, names, lambda rows: np.concatenate([flips[rows], 1 - flips[rows]], axis=1)
    )
    return {name: there[name] - back[name] for name in names}


def _exchange(sums: Matrix, flips: Matrix, columns: list[int]) -> tuple[Matrix, Matrix]:
    """Return both methods' totals after each swap, shape (K, swaps) each.

    Args:
        sums: Each subject's sums, those of one method before those of the other, shape (2 · subjects, K).
        flips: 0 or 1, shape (swaps, subjects).
        columns: The ones that are needed; the others keep what they were.
    """
    half = len(sums) // 2
    mine, other = sums[:half], sums[half:]
    moved = np.zeros((sums.shape[1], len(flips)))
    moved[columns] = matmul(flips, (other - mine)[:, columns]).T
    return mine.sum(axis=0)[:, None] + moved, other.sum(axis=0)[:, None] - moved


def _p(differences: Vector, ours: MetricValue, theirs: MetricValue, *, exact: bool) -> MetricValue:
    if ours.value is None or theirs.value is None:
        return ours if ours.value is None else theirs
    rounding = _ROUNDING * max(abs(ours.value), abs(theirs.value))
    less_extreme = np.abs(differences) < abs(ours.value - theirs.value) - rounding
    extreme, count = len(less_extreme) - int(np.count_nonzero(less_extreme)), len(less_extreme)
    return MetricValue(extreme / count if exact else (extreme + 1) / (count + 1))


def swap_tests(
    predictions: Mapping[str, PredictionSet], names: Sequence[str], reference: str, swaps: Swaps
) -> dict[str, dict[str, MetricValue]]:
    """Test all other methods against one of them; arguments as for `swap_test`.

    Returns:
        p, uncorrected, by name and method.
    """
    theirs = predictions[reference]
    tested = {
        method: swap_test(ours, theirs, names, swaps)
        for method, ours in predictions.items()
        if method != reference
    }
    return {name: {method: found[name] for method, found in tested.items()} for name in names}


def holm(values: Mapping[str, MetricValue]) -> dict[str, MetricValue]:
    """Correct p values for their number (Holm 1979); those without a value don't count."""
    known = sorted((value.value, name) for name, value in values.items() if value.value is not None)
    corrected, largest = dict(values), 0.0
    for index, (p, name) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - index) * p))
        corrected[name] = MetricValue(largest)
    return corrected


def _only(predictions: PredictionSet, places: list[tuple[int, int]]) -> PredictionSet:
    return dataclasses.replace(predictions, parts={place: predictions.parts[place] for place in places})


SIGNIFICANCE = 0.05
POWER = 0.8


def detectable(error: float, significance: float = SIGNIFICANCE, power: float = POWER) -> float:
    """Return the difference that a two-sided test finds with the given probability: (z₁₋α⸝₂ + z_power)·error.

    Args:
        error: Standard error of the difference of two methods, 0 or more.
        significance: Probability of finding a difference where there is none, in (0, 1).
        power: Probability of finding this one, in (0, 1).
    """
    normal = NormalDist()
    return (normal.inv_cdf(1 - significance / 2) + normal.inv_cdf(power)) * error


def detectable_difference(scores: Scores) -> MetricValue:
    """Return a task's minimum detectable difference, 5 % two-sided with power 80 %, in the metric's own unit.

    The standard error is the median over all pairs of methods, each on common resamples.

    Args:
        scores: One metric of the task.
    """
    if len(scores.values) < 2:
        return MetricValue(None, "fewer than 2 methods")
    if not scores.draws:
        return MetricValue(None, NOT_RESAMPLED)
    usual = Counter(scores.pairs.values()).most_common(1)[0][0]
    plain = [
        name
        for name in scores.values
        if scores.pairs[name] == usual
        and scores.values[name].value is not None
        and not np.isnan(scores.draws[name]).any()
        and len(scores.left_out[name]) > 1
    ]
    rest = set(scores.values) - set(plain)
    others = [pair for pair in combinations(scores.values, 2) if not rest.isdisjoint(pair)] if rest else []
    found = [difference(scores, *pair).interval for pair in others]
    known = [interval.error for interval in found if interval.error is not None]
    errors = np.concatenate([_errors([scores.draws[name] for name in plain]), known])
    if errors.size:
        return MetricValue(detectable(float(np.median(errors))))
    return MetricValue(None, found[0].reason)


def _errors(draws: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the standard deviation of the difference of every two vectors, all without NaN."""
    if len(draws) < 2:
        return np.empty(0)
    centred = np.stack(draws)
    centred -= centred.mean(axis=1, keepdims=True)
    products = matmul(centred, np.ascontiguousarray(centred.T))
    squares = np.diag(products)
    variances = (squares[:, None] + squares - 2 * products) / (centred.shape[1] - 1)
    errors: NDArray[np.float64] = np.sqrt(np.maximum(variances[np.triu_indices(len(draws), 1)], 0))
    return errors
