"""An interval for one estimate, from the errors that test pairs had at estimates of its size.

Of a record's test pairs, those whose estimate is nearest count. The interval runs between two of their
errors, true change less estimate, taken by rank as in split conformal prediction (Lei et al., 2018,
"Distribution-free predictive inference for regression"): were a new pair exchangeable with them, its true
change would lie inside with the stated probability. Pairs of one person aren't independent, so that few
people say less than their many pairs seem to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

NEAREST = 200
"""Test pairs that an interval rests on; a tenth of all, where that is more."""


@dataclass(frozen=True)
class MeasuredError:
    """Errors near an estimate.

    Attributes:
        low, high: Errors to add to the estimate, in the target's unit.
        pairs, people: How many test pairs they are of, and of how many people.
    """

    low: float
    high: float
    pairs: int
    people: int


class MeasuredErrors:
    """Errors of test pairs by the size of their estimates.

    Args:
        y: True changes, (n,), n > 0.
        yhat: Estimated changes, (n,).
        subjects: Number of each pair's person, (n,).
        both_ways: Estimates of exchanged images are exactly the opposite, so that each pair counts in both
            directions.
    """

    def __init__(
        self, y: ArrayLike, yhat: ArrayLike, subjects: Sequence[int], both_ways: bool = False
    ) -> None:
        estimate = np.asarray(yhat, dtype=np.float64)
        error = np.asarray(y, dtype=np.float64) - estimate
        people, pair = np.asarray(subjects, dtype=np.int64), np.arange(len(estimate))
        count = max(NEAREST, len(estimate) // 10)
        if both_ways:
            estimate, error = np.concatenate([estimate, -estimate]), np.concatenate([error, -error])
            people, pair = np.concatenate([people, people]), np.concatenate([pair, pair])
        order = np.argsort(estimate, kind="stable")
        self._estimate, self._error, self._people = estimate[order], error[order], people[order]
        self._pair, self._count = pair[order], min(count, len(order))

    @property
    def largest(self) -> float:
        """The largest estimate of a test pair, without its sign."""
        return float(np.abs(self._estimate).max())

    def near(self, estimate: float, level: float) -> MeasuredError:
        """Return the errors near an estimate.

        Args:
            estimate: In the target's unit.
            level: Probability, between 0 and 1. Where the pairs are too few for it, all their errors count.
        """
        window = self._window(estimate)
        errors = np.sort(self._error[window])
        count = len(errors)
        # Ranks from 1, of both tails; 1 - 0.9 is less than 0.1 by rounding.
        outside = math.floor(round((count + 1) * (1 - level) / 2, 9))
        low, high = max(outside, 1) - 1, min(count + 1 - outside, count) - 1
        pairs, people = (len(np.unique(numbers[window])) for numbers in (self._pair, self._people))
        return MeasuredError(float(errors[low]), float(errors[high]), pairs, people)

    def _window(self, estimate: float) -> slice:
        """Return where the nearest estimates are."""
        values, count = self._estimate, self._count
        low, high = 0, len(values) - count
        # Moving on by one gains where the value that leaves is farther than the one that comes.
        while low < high:
            middle = (low + high) // 2
            if estimate - values[middle] > values[middle + count] - estimate:
                low = middle + 1
            else:
                high = middle
        return slice(low, low + count)
