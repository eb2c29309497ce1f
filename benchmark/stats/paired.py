"""Differences between two methods on the same resamples: is one better, or are they tied?

People who are hard for one method are mostly hard for the other, so a difference varies much less than
either value does.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from comface_bench.stats.bootstrap import LEVEL, NOT_RESAMPLED, Interval, Scores, interval_of
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable

OTHER_PAIRS = "scored on other pairs"
_ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True)
class Difference:
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
        """Whether the interval holds 0; None without an interval."""
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


def difference(scores: Scores, method: str, reference: str, level: float = LEVEL) -> Difference:
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
        return Difference(None, Interval(None, None, None, reason), reason)
    value = ours.value - theirs.value
    if method not in scores.draws or reference not in scores.draws:
        return Difference(value, Interval(None, None, None, NOT_RESAMPLED))
    if len(scores.left_out[method]) < 2:
        return Difference(value, Interval(None, None, None, "one subject"))
    draws = scores.draws[method] - scores.draws[reference]
    why = scores.reasons.get(method) or scores.reasons.get(reference, "")
    return Difference(value, interval_of(draws, level, why))


def differences(scores: Scores, reference: str, level: float = LEVEL) -> dict[str, Difference]:
    """Compare all other methods with one of them; arguments as for `difference`."""
    return {name: difference(scores, name, reference, level) for name in scores.values if name != reference}
