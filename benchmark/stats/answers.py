"""A method's test predictions, arranged as its metrics are computed: in parts whose values are averaged."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Literal, Protocol, Self

import numpy as np

from comface_bench.stats.metrics import MetricValue, compute_metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    Vector = NDArray[np.float64]
    Place = tuple[int, int]

ALL_FOLDS = -1


class PredictionRow(Protocol):
    """What is needed of a prediction row; the rows of `results.predictions` are such."""

    @property
    def pair_id(self) -> str:
        """Identifies the pair within the task."""

    @property
    def subject(self) -> int:
        """The subject's number."""

    @property
    def fold(self) -> int:
        """Index of the fold."""

    @property
    def seed(self) -> int:
        """The user's seed."""

    @property
    def y(self) -> float:
        """True change."""

    @property
    def yhat(self) -> float:
        """Estimated change."""


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """Pairs whose metrics are computed together, sorted by subject.

    Attributes:
        subject: Index of each pair's subject, shape (N,), ascending.
        y: True changes, shape (N,).
        yhat: Estimated changes, shape (N,).
    """

    subject: NDArray[np.intp]
    y: Vector
    yhat: Vector


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """A method's predictions on one task.

    Attributes:
        subjects: Numbers of the test subjects, ascending; parts hold indices into it.
        parts: By (fold, seed), the fold being `ALL_FOLDS` where folds are pooled.
        pairs: Stands for the set of (fold, pair, subject, y); equal within a process for equal sets.
    """

    subjects: tuple[int, ...]
    parts: Mapping[Place, Part]
    pairs: int

    @classmethod
    def of(
        cls,
        rows: Iterable[PredictionRow],
        aggregate: Literal["pooled", "fold-mean"],
        seeds: Iterable[int] = (),
    ) -> Self:
        """Arrange rows as a record's summary does.

        Only folds that every seed has are counted, so that all parts are of the same pairs; if there is none
        in common, all rows are.

        Args:
            rows: All rows of one record.
            aggregate: `pooled` makes one part for each seed, `fold-mean` one for each fold and seed.
            seeds: Seeds that were tried, those without any row included (`Summary.seeds`).

        Raises:
            ValueError: There is no row.
        """
        columns = [(row.pair_id, row.subject, row.fold, row.seed, row.y, row.yhat) for row in rows]
        if not columns:
            raise ValueError("no row to take answers from")
        places = {(fold, seed) for _, _, fold, seed, _, _ in columns}
        tried = {seed for _, seed in places}.union(seeds)
        common = {fold for fold, _ in places if all((fold, seed) in places for seed in tried)}
        if common:
            columns = [row for row in columns if row[2] in common]
        pairs, numbers, folds, repetitions, y, yhat = zip(*columns, strict=True)
        subjects, index = np.unique(numbers, return_inverse=True)
        fold = np.full(len(folds), ALL_FOLDS) if aggregate == "pooled" else np.array(folds)
        place = np.stack([fold, np.array(repetitions)], axis=1)
        truth, estimate = np.array(y, dtype=np.float64), np.array(yhat, dtype=np.float64)
        parts = {}
        for key in sorted({(int(a), int(b)) for a, b in np.unique(place, axis=0)}):
            rows_of = np.flatnonzero((place == key).all(axis=1))
            rows_of = rows_of[np.argsort(index[rows_of], kind="stable")]
            parts[key] = Part(index[rows_of], truth[rows_of], estimate[rows_of])
        same = hash(frozenset(zip(folds, pairs, numbers, y, strict=True)))
        return cls(tuple(int(number) for number in subjects), parts, same)

    def metrics(self, names: Iterable[str]) -> dict[str, MetricValue]:
        """Compute metrics by name, averaged over parts; a part without a value leaves the mean without one.

        Raises:
            UnknownNameError: A name isn't a key of `METRICS`.
        """
        names = list(names)
        each = [compute_metrics(part.y, part.yhat, names) for part in self.parts.values()]
        return {name: _mean([metrics[name] for metrics in each]) for name in names}


def _mean(values: list[MetricValue]) -> MetricValue:
    numbers = [value.value for value in values if value.value is not None]
    if len(numbers) < len(values):
        return next(value for value in values if value.value is None)
    return MetricValue(math.fsum(numbers) / len(numbers))
