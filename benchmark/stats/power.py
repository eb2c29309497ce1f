"""How large a difference must be for a task to show it."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.stats.bootstrap import NOT_RESAMPLED
from comface_bench.stats.metrics import MetricValue
from comface_bench.stats.paired import difference
from comface_bench.stats.product import product

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from comface_bench.stats.bootstrap import Scores

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
    products = product(centred, np.ascontiguousarray(centred.T))
    squares = np.diag(products)
    variances = (squares[:, None] + squares - 2 * products) / (centred.shape[1] - 1)
    errors: NDArray[np.float64] = np.sqrt(np.maximum(variances[np.triu_indices(len(draws), 1)], 0))
    return errors
