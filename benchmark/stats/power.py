"""How large a difference must be for a task to show it."""

from __future__ import annotations

from itertools import combinations
from statistics import NormalDist, median
from typing import TYPE_CHECKING

from comface_bench.stats.metrics import MetricValue
from comface_bench.stats.paired import difference

if TYPE_CHECKING:
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
    pairs = [difference(scores, a, b) for a, b in combinations(scores.values, 2)]
    errors = [pair.interval.error for pair in pairs if pair.interval.error is not None]
    if errors:
        return MetricValue(detectable(median(errors)))
    return MetricValue(None, pairs[0].interval.reason if pairs else "fewer than 2 methods")
