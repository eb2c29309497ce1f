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
from comface_bench.stats.product import product
from comface_bench.stats.weighted import SUMS, SubjectSums, needed_sums

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Vector = NDArray[np.float64]
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


def swap_test(ours: Answers, theirs: Answers, names: Sequence[str], swaps: Swaps) -> dict[str, MetricValue]:
    """Test whether two methods differ in metrics, two-sided.

    Only seeds that both have are compared. A swap that leaves a metric without a value counts as extreme,
    which can only raise p.

    Args:
        ours: A method's predictions.
        theirs: Another's, on the same pairs.
        names: Members of `RESAMPLED`.
        swaps: Of the task's test subjects.

    Returns:
        p by name: exact over all swaps, or (b + 1)/(m + 1) where b of m drawn ones are as extreme. No value
        where a metric has none, or the pairs or subjects differ.

    Raises:
        UnknownNameError: A name isn't one of `RESAMPLED`.
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
        )
    )
    half = len(sums.columns) // 2
    present = sums.columns[:half]
    flips = swaps.flips if half == swaps.flips.shape[1] else swaps.flips[:, present]
    mine, other = sums.sums[:half], sums.sums[half:]
    needed = needed_sums(names)
    moved = np.zeros((SUMS, len(flips)))
    moved[needed] = product(flips, (other - mine)[:, needed]).T
    kept, exchanged = mine.sum(axis=0)[:, None] + moved, other.sum(axis=0)[:, None] - moved
    there = sums.metrics_of(kept, names, lambda rows: np.concatenate([1 - flips[rows], flips[rows]], axis=1))
    back = sums.metrics_of(
        exchanged, names, lambda rows: np.concatenate([flips[rows], 1 - flips[rows]], axis=1)
    )
    return {name: there[name] - back[name] for name in names}


def _p(differences: Vector, ours: MetricValue, theirs: MetricValue, *, exact: bool) -> MetricValue:
    if ours.value is None or theirs.value is None:
        return ours if ours.value is None else theirs
    rounding = _ROUNDING * max(abs(ours.value), abs(theirs.value))
    less_extreme = np.abs(differences) < abs(ours.value - theirs.value) - rounding
    extreme, count = len(less_extreme) - int(np.count_nonzero(less_extreme)), len(less_extreme)
    return MetricValue(extreme / count if exact else (extreme + 1) / (count + 1))


def swap_tests(
    answers: Mapping[str, Answers], names: Sequence[str], reference: str, swaps: Swaps
) -> dict[str, dict[str, MetricValue]]:
    """Test all other methods against one of them; arguments as for `swap_test`.

    Returns:
        p, uncorrected, by name and method.
    """
    theirs = answers[reference]
    tested = {
        method: swap_test(ours, theirs, names, swaps)
        for method, ours in answers.items()
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


def _only(answers: Answers, places: list[tuple[int, int]]) -> Answers:
    return dataclasses.replace(answers, parts={place: answers.parts[place] for place in places})
