"""Signs that a network knows the labels of pictures by heart: exact answers, against the years beside them.

Whoever estimates an age errs by a year nearly as often as by none, or by two: the share of answers falls off
smoothly around the truth. Whoever has learnt a picture's label gives that very year, and the year beside it
no more often than any other. So the share of exact answers is compared with what the shares beside it lead to
expect.

The null is generous: errors that fall off exponentially to both sides, more sharply than Gaussian ones, by
the shares one and two years off: s₁ · s₁ / s₂. The factor is at most `STEEPEST`, which allows for errors of
half a year on average; nobody comes near that on photographs.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.stats.bootstrap import Interval, Resamples, interval_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

REACH = 4
"""Years on both sides of the truth whose shares are given."""
THRESHOLDS = (0.0, 0.5, 0.9)
"""Probabilities that an answer must reach to count."""
BANDS = ((0, 9), (10, 19), (20, 29), (30, 39), (40, 200))
"""Ages of people that are looked at by themselves, first and last year: memory is the same in all of them."""
FEWEST = 20
"""Pictures in a band, for it to be flagged."""
MARGIN = 0.05
"""Share of pictures by which exact answers must exceed what is expected, beyond doubt, to be flagged."""
STEEPEST = 4.0
"""Factor by which the share of answers may rise towards the truth, with each year."""
_HALF = 0.5


@dataclasses.dataclass(frozen=True)
class ExactAnswers:
    """Answers of a network in one band of ages that reach one probability.

    Attributes:
        threshold: The probability that the most likely label must have, for its picture to count as answered.
        first, last: The band's labels.
        pictures: How many pictures it has.
        shares: Of its pictures, the share that was answered with the truth plus −`REACH` … `REACH`; None
            where no picture can be answered so.
        expected: Share of exact answers that those beside it lead to expect.
        excess: Exact answers beyond that.
        interval: Of the excess, by resampling people.
        flagged: Whether the interval lies above `MARGIN`, with at least `FEWEST` pictures.
    """

    threshold: float
    first: int
    last: int
    pictures: int
    shares: tuple[float | None, ...]
    expected: float
    excess: float
    interval: Interval
    flagged: bool

    @property
    def exact(self) -> float:
        """Share of pictures that were answered with the truth."""
        return self.shares[REACH] or 0.0


def find_exact_answers(
    probabilities: Floats,
    labels: Floats,
    subjects: Sequence[int],
    first: int,
    data: str,
    thresholds: Sequence[float] = THRESHOLDS,
    bands: Sequence[tuple[int, int]] = BANDS,
) -> list[ExactAnswers]:
    """Compare exact answers with those beside them, for each probability over all pictures and in each band.

    Args:
        probabilities: Of each label, shape (pictures, K); the k-th is of `first` + k.
        labels: The truth, whole numbers, shape (pictures,).
        subjects: Number of the person in each picture.
        first: Label of the first class.
        data: Name of the data set, which seeds the resamples.
        thresholds: Probabilities that the most likely label must reach.
        bands: First and last label of each band; empty ones are left out.

    Raises:
        ValueError: There is no picture, or a label is no whole number.
    """
    if not len(labels) or np.any(labels != np.round(labels)):
        raise ValueError("exact answers are of at least one picture, with labels in whole numbers")
    people = np.asarray(subjects)
    resamples = Resamples.draw(map(int, people), data)
    places = np.searchsorted(resamples.subjects, people)
    errors = probabilities.argmax(axis=1) + first - labels
    sure = probabilities.max(axis=1)
    last = first + probabilities.shape[1] - 1
    reachable = np.stack([(labels + k >= first) & (labels + k <= last) for k in range(-REACH, REACH + 1)], 1)
    everything = (int(labels.min()), int(labels.max()))
    found = []
    for threshold in thresholds:
        hits = np.stack([(errors == k) & (sure >= threshold) for k in range(-REACH, REACH + 1)], axis=1)
        for low, high in (everything, *bands):
            inside = (labels >= low) & (labels <= high)
            if inside.any():
                hit, possible = (
                    _sum_by_person(counted[inside], places[inside], len(resamples.subjects))
                    for counted in (hits & reachable, reachable)
                )
                count = int(inside.sum())
                band = (low, min(high, everything[1]))
                found.append(_compare(threshold, band, count, hit, possible, resamples.counts))
    return found


def _sum_by_person(counted: NDArray[np.bool_], places: NDArray[np.intp], people: int) -> Floats:
    """Return how many pictures of each person count, shape (people, 2 · REACH + 1)."""
    sums = np.zeros((people, counted.shape[1]))
    np.add.at(sums, places, counted)
    return sums


def _compare(
    threshold: float, band: tuple[int, int], pictures: int, hits: Floats, possible: Floats, counts: Floats
) -> ExactAnswers:
    """Compute one line.

    Args:
        threshold: As the line states it, and so are the next two.
        band: Its labels.
        pictures: How many it has.
        hits: Pictures of each person that were answered with each distance to the truth.
        possible: Those that could be.
        counts: Of each person in each resample, shape (R, people).
    """
    weights = np.vstack([np.ones(len(hits)), counts])
    answered, all_pictures = weights @ hits, weights @ possible
    expected = _expect(answered, all_pictures)
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = answered[:, REACH] / all_pictures[:, REACH] - expected
    # All resamples of one person are that person.
    interval = interval_of(excess[1:]) if len(hits) > 1 else Interval(None, None, None, "one subject")
    flagged = pictures >= FEWEST and interval.low is not None and interval.low > MARGIN
    shares = tuple(
        float(one / count) if count else None for one, count in zip(answered[0], all_pictures[0], strict=True)
    )
    return ExactAnswers(
        threshold, *band, pictures, shares, float(expected[0]), float(excess[0]), interval, flagged
    )


def _expect(answered: Floats, possible: Floats) -> Floats:
    """Return the share of exact answers that those one and two off lead to expect, at most 1, shape (n,)."""
    one, two = (
        (answered[:, [REACH - k, REACH + k]].sum(axis=1) + _HALF)
        / (possible[:, [REACH - k, REACH + k]].sum(axis=1) + 2 * _HALF)
        for k in (1, 2)
    )
    # Farther off is not likelier: where it happens to be, nothing is expected to rise towards the truth.
    expected: Floats = np.minimum(one * np.clip(one / two, 1.0, STEEPEST), 1.0)
    return expected
