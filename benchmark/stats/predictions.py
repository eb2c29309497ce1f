"""A method's test predictions, arranged as its metrics are computed: in parts whose values are averaged."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, Self

import numpy as np

from comface_bench.core.digest import digest
from comface_bench.stats.metrics import MetricValue, compute_metrics

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from numpy.typing import NDArray

    Vector = NDArray[np.float64]
    Place = tuple[int, int]


ALL_FOLDS = -1


class PredictionRow(Protocol):
    """Fields that are needed of a prediction; those of `results.predictions` have them."""

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


class Columns(NamedTuple):
    """The rows of one fold and seed, column by column.

    Attributes:
        pairs: Identifiers of the pairs.
        subjects: Numbers of the pairs' subjects.
        y: True changes.
        yhat: Estimated changes.
    """

    pairs: list[str]
    subjects: list[int]
    y: list[float]
    yhat: list[float]


def counted_folds(places: Collection[Place], seeds: Iterable[int]) -> list[int]:
    """Return the folds that every seed has, ascending: all numbers of a summary are of the same pairs.

    Args:
        places: (fold, seed) of each finished unit.
        seeds: Seeds that were tried.
    """
    tried, done = set(seeds), set(places)
    return sorted({fold for fold, _ in done if all((fold, seed) in done for seed in tried)})


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
class PredictionSet:
    """A method's predictions on one task, in parts.

    Attributes:
        subjects: Numbers of the test subjects, ascending; parts hold indices into it.
        parts: By (fold, seed), the fold being `ALL_FOLDS` where folds are pooled.
        pairs: Digest of the set of (fold, pair, subject, y); equal for equal sets, in every process.
    """

    subjects: tuple[int, ...]
    parts: Mapping[Place, Part]
    pairs: str

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
        columns: dict[Place, Columns] = {}
        for row in rows:
            column = columns.setdefault((row.fold, row.seed), Columns([], [], [], []))
            values: Any
            for values, value in zip(column, (row.pair_id, row.subject, row.y, row.yhat), strict=True):
                values.append(value)
        return cls.of_columns(columns, aggregate, seeds)

    @classmethod
    def of_columns(
        cls,
        columns: Mapping[Place, Columns],
        aggregate: Literal["pooled", "fold-mean"],
        seeds: Iterable[int] = (),
    ) -> Self:
        """As `of`, from the columns of each (fold, seed).

        Raises:
            ValueError: There is no row.
        """
        tried = {seed for _, seed in columns}.union(seeds)
        counted = counted_folds(columns, tried)
        columns = {place: columns[place] for place in sorted(columns) if place[0] in counted} or columns
        numbers = np.concatenate([column.subjects for column in columns.values()] or [[]])
        if not numbers.size:
            raise ValueError("no prediction")
        subjects = np.unique(numbers)
        gathered: dict[Place, list[Columns]] = {}
        for (fold, seed), column in sorted(columns.items()):
            place = (ALL_FOLDS if aggregate == "pooled" else fold, seed)
            gathered.setdefault(place, []).append(column)
        parts = {}
        for place, pieces in sorted(gathered.items()):
            index = np.searchsorted(subjects, np.concatenate([piece.subjects for piece in pieces]))
            y, yhat = (np.concatenate([piece[k] for piece in pieces]).astype(np.float64) for k in (2, 3))
            order = np.argsort(index, kind="stable")
            parts[place] = Part(index[order], y[order], yhat[order])
        return cls(tuple(int(number) for number in subjects), parts, _digest_pairs(columns))

    def metrics(self, names: Iterable[str]) -> dict[str, MetricValue]:
        """Compute metrics by name, averaged over parts; a part without a value leaves the mean without one.

        Raises:
            UnknownNameError: A name isn't a key of `METRICS`.
        """
        names = list(names)
        each = [compute_metrics(part.y, part.yhat, names) for part in self.parts.values()]
        return {name: _mean([metrics[name] for metrics in each]) for name in names}


def _digest_pairs(columns: Mapping[Place, Columns]) -> str:
    """Digest (fold, pair, subject, y); seeds that share pairs, and orders, make no difference.

    Not `hash`, whose value for a text differs between processes: boards are read by several.
    """
    pairs = {
        (fold, str(pair), int(subject), float(y))
        for (fold, _), column in columns.items()
        for pair, subject, y in zip(column.pairs, column.subjects, column.y, strict=True)
    }
    return digest(sorted(pairs))


def _mean(values: list[MetricValue]) -> MetricValue:
    numbers = [value.value for value in values if value.value is not None]
    if len(numbers) < len(values):
        return next(value for value in values if value.value is None)
    return MetricValue(math.fsum(numbers) / len(numbers))
