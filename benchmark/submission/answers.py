"""Predictions that no method makes: the truth itself, a constant, or another record's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from comface_bench.results.predictions import Prediction

Unit = tuple[int, int]
"""Fold and seed."""

_FEWEST = 5
"""Pairs below which two series may be alike by chance."""
_SAME = 1e-9
"""How far below 1 the correlation of a copy may lie."""


class Answers(NamedTuple):
    """The answers of one record.

    Attributes:
        label: Names the record in messages.
        task: The task's name.
        units: By fold and seed, the pairs, true and estimated changes, by pair; float64 (pairs,).
    """

    label: str
    task: str
    units: Mapping[Unit, tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float64]]]


def collect_answers(label: str, task: str, rows: Iterable[Prediction]) -> Answers:
    """Sort rows into units."""
    units: dict[Unit, list[Prediction]] = {}
    for row in rows:
        units.setdefault((row.fold, row.seed), []).append(row)
    found = {}
    for unit, listed in units.items():
        listed.sort(key=lambda row: row.pair_id)
        found[unit] = (
            tuple(row.pair_id for row in listed),
            np.array([row.y for row in listed], dtype=np.float64),
            np.array([row.yhat for row in listed], dtype=np.float64),
        )
    return Answers(label, task, found)


def check_answers(answers: Answers, others: Sequence[Answers]) -> Iterator[tuple[str, str]]:
    """Yield (fold and seed, what is suspicious).

    Args:
        answers: Those of the record in question.
        others: Those of other records; only ones of the same task count.
    """
    for (fold, seed), (pairs, y, yhat) in sorted(answers.units.items()):
        place = f"predictions, fold {fold}, seed {seed}"
        if np.ptp(yhat) == 0:
            yield place, f"suspicious: every answer is {float(yhat[0])!r}"
            continue
        if np.array_equal(y, yhat):
            yield place, "suspicious: every answer is the true change"
        elif _alike(y, yhat):
            yield place, "suspicious: the answers are the true changes, scaled or shifted"
        for source in others:
            if source.task != answers.task:
                continue
            for (other_fold, other_seed), (other_pairs, _, other) in sorted(source.units.items()):
                if other_pairs == pairs and _alike(yhat, other):
                    where = f"fold {other_fold}, seed {other_seed} of {source.label}"
                    yield place, f"suspicious: the answers of {where}, perhaps scaled or shifted"
                    break
        for (other_fold, other_seed), (other_pairs, _, other) in sorted(answers.units.items()):
            if (other_fold, other_seed) < (fold, seed) and other_pairs == pairs and _alike(yhat, other):
                yield place, f"suspicious: the answers of seed {other_seed} once more"
                break


def _alike(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Tell whether one series is the other, up to scale and shift."""
    if len(one) < _FEWEST or np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.array_equal(one, other)
    with np.errstate(all="ignore"):
        # Scaled first: squares of the largest numbers overflow.
        a, b = (series / np.abs(series).max() for series in (one, other))
        a, b = a - a.mean(), b - b.mean()
        r = float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))
    return bool(abs(r) >= 1 - _SAME)
