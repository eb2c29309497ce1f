"""Everything that the pages show, as plain facts: Markdown, HTML, CSV and JSON are all made from this."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comface_bench.leaderboards.paper import PaperValue
    from comface_bench.leaderboards.table import Entry
    from comface_bench.stats.bootstrap import Interval
    from comface_bench.stats.metrics import MetricValue
    from comface_bench.stats.ranks import Standing
    from comface_bench.stats.significance import PairedDifference

OVERALL = "overall"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A method against another on one metric of a board, on the same pairs and resamples.

    Attributes:
        reference: The other method.
        difference: This method's metric minus the reference's, with its interval.
        p: Of the sign-flip test by subject, corrected by Holm for all methods compared with this reference.
    """

    reference: str
    difference: PairedDifference
    p: MetricValue


@dataclasses.dataclass(frozen=True)
class Cell:
    """One metric of one method on a board.

    Attributes:
        value: The summary that counts for the task.
        interval: Of `value`, by resampling subjects.
        fold_mean: Mean of the folds' metrics.
        fold_interval: Of `fold_mean`.
        place: 1 for the best of the ranked rows, and so on; values that print the same share a place, and the
            next value has the next place. None for a row that isn't ranked or has no value.
        to_best: Against the best ranked method; None for that method itself, or where none is.
        to_comface: Against `comface`; None for itself, or where it has no ranked row.
    """

    value: MetricValue
    interval: Interval
    fold_mean: MetricValue
    fold_interval: Interval
    place: int | None
    to_best: Comparison | None
    to_comface: Comparison | None

    @property
    def tied(self) -> bool:
        """Whether the method is best, or its difference to the best has an interval that holds 0."""
        return self.place == 1 or (self.to_best is not None and self.to_best.difference.tied is True)


@dataclasses.dataclass(frozen=True)
class Row:
    """One method on a board: its record, its metrics by name, and what the paper publishes for it."""

    entry: Entry
    cells: Mapping[str, Cell]
    paper: Mapping[str, PaperValue]


@dataclasses.dataclass(frozen=True)
class Board:
    """All methods on one task under one protocol.

    Attributes:
        task, protocol: Names.
        metrics: Names of the task's metrics, the primary one first.
        rows: In board order.
        best: Best ranked method by metric; None where no row is ranked.
        detectable: Smallest difference between two methods that the task shows with 80 % power, by metric.
        comparable: Whether all rows are of one version of data and split; nothing is ranked otherwise.
    """

    task: str
    protocol: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    best: Mapping[str, str | None]
    detectable: Mapping[str, MetricValue]
    comparable: bool

    @property
    def family(self) -> str:
        """Which family of tasks it belongs to."""
        return family_of(self.task)


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Methods over several tasks under one protocol, by each task's primary metric.

    Attributes:
        scope: `overall`, or the family of the tasks.
        protocol: Name.
        tasks: The tasks, in board order, that the ranking is over.
        standings: By method: ranked ones by mean rank, then those with a task missing.
        friedman: p of Friedman's test, or why there is none.
        critical_difference: Nemenyi's, of mean ranks, or why there is none.
    """

    scope: str
    protocol: str
    tasks: tuple[str, ...]
    standings: Mapping[str, Standing]
    friedman: MetricValue
    critical_difference: MetricValue


@dataclasses.dataclass(frozen=True)
class Document:
    """All boards, in board order, and the rankings over them: each family's, then the overall ones."""

    boards: tuple[Board, ...]
    rankings: tuple[Ranking, ...]


def family_of(task: str) -> str:
    """Return a task's family: what its name begins with, such as `disfa`, `edema`, `synth`, `age`, `csv`."""
    return re.split(r"[-:+]", task, maxsplit=1)[0]
