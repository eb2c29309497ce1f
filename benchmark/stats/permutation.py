"""Permutation tests by subject: could the difference of two methods be chance?

If two methods are equally good, exchanging their predictions for a person changes nothing that matters. A
test exchanges them for random sets of people and counts how often the metric's difference gets as large as it
is. For the mean error this is the sign-flip test on subjects' summed differences.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Self

import numpy as np

from comface_bench.stats.answers import Answers, Part
from comface_bench.stats.bootstrap import generator
from comface_bench.stats.metrics import MetricValue
from comface_bench.stats.paired import OTHER_PAIRS
from comface_bench.stats.weighted import weighted_metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

DRAWS = 9999
EXACT_UP_TO = 16
_ROUNDING = 1e-12


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


def swap_test(ours: Answers, theirs: Answers, name: str, swaps: Swaps) -> MetricValue:
    """Test whether two methods differ in a metric, two-sided.

    Only seeds that both have are compared. A swap that leaves the metric without a value counts as extreme,
    which can only raise p.

    Args:
        ours: A method's predictions.
        theirs: Another's, on the same pairs.
        name: Key of `METRICS`.
        swaps: Of the task's test subjects.

    Returns:
        p: exact over all swaps, or (b + 1)/(m + 1) where b of m drawn ones are as extreme. No value where a
        metric has none, or the pairs or subjects differ.

    Raises:
        UnknownNameError: The name isn't a key of `METRICS`.
    """
    common = sorted(set(ours.parts) & set(theirs.parts))
    if ours.pairs != theirs.pairs or ours.subjects != swaps.subjects:
        return MetricValue(None, OTHER_PAIRS)
    if not common:
        return MetricValue(None, "no seed in common")
    if len(ours.subjects) < 2:
        return MetricValue(None, "one subject")
    first, second = _only(ours, common), _only(theirs, common)
    values = first.metrics([name])[name], second.metrics([name])[name]
    if values[0].value is None or values[1].value is None:
        return values[0] if values[0].value is None else values[1]
    both = _side_by_side(first, second)
    kept, flipped = 1 - swaps.flips, swaps.flips
    a = weighted_metrics(both, np.concatenate([kept, flipped], axis=1), [name])[name]
    b = weighted_metrics(both, np.concatenate([flipped, kept], axis=1), [name])[name]
    rounding = _ROUNDING * max(abs(values[0].value), abs(values[1].value))
    less_extreme = np.abs(a - b) < abs(values[0].value - values[1].value) - rounding
    extreme = len(less_extreme) - int(np.count_nonzero(less_extreme))
    return MetricValue(extreme / len(a) if swaps.exact else (extreme + 1) / (len(a) + 1))


def swap_tests(
    answers: Mapping[str, Answers], name: str, reference: str, swaps: Swaps
) -> dict[str, MetricValue]:
    """Test all other methods against one of them; arguments as for `swap_test`, p uncorrected."""
    theirs = answers[reference]
    return {
        method: swap_test(ours, theirs, name, swaps)
        for method, ours in answers.items()
        if method != reference
    }


def holm(values: Mapping[str, MetricValue]) -> dict[str, MetricValue]:
    """Correct p values for their number (Holm 1979); those without a value don't count."""
    known = sorted((value.value, name) for name, value in values.items() if value.value is not None)
    corrected, largest = dict(values), 0.0
    for index, (p, name) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - index) * p))
        corrected[name] = MetricValue(largest)
    return corrected


def _only(answers: Answers, places: list[tuple[int, int]]) -> Answers:
    return dataclasses.replace(answers, parts={place: answers.parts[place] for place in places})


def _side_by_side(ours: Answers, theirs: Answers) -> Answers:
    """Put two methods' predictions into one, the subjects of the second numbered after those of the first."""
    count = len(ours.subjects)
    parts = {
        place: Part(
            np.concatenate([part.subject, theirs.parts[place].subject + count]),
            np.concatenate([part.y, theirs.parts[place].y]),
            np.concatenate([part.yhat, theirs.parts[place].yhat]),
        )
        for place, part in ours.parts.items()
    }
    return Answers(tuple(range(2 * count)), parts, ours.pairs)
