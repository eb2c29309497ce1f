"""CSV: `leaderboard.csv`, one line for each record and metric, and a table of records.

A text that a spreadsheet would take for a formula gets an apostrophe in front of it; a character that can't
be seen appears as its escape; an empty cell is none.
"""

from __future__ import annotations

import csv
import functools
import io
import unicodedata
from typing import TYPE_CHECKING

from comface_bench.leaderboards.document import COLUMNS
from comface_bench.leaderboards.formatting import precise, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from comface_bench.leaderboards.document import (
        Board,
        BoardEntry,
        BoardRow,
        Comparison,
        Document,
        Fact,
        MetricCell,
    )
    from comface_bench.stats.bootstrap import Interval
    from comface_bench.stats.metrics import MetricValue

NAMES = ("task", "protocol", "method", "group", "kind")
VALUES = ("value", "low", "high", "fold_mean", "fold_low", "fold_high", "constant")
RANK = ("place", "tied")
DIFFERENCE = ("best", "best_difference", "best_low", "best_high", "best_p")
TO_COMFACE = ("comface_difference", "comface_low", "comface_high", "comface_p")
PAPER = ("paper", "paper_table")
COUNTS = ("complete", "folds_done", "folds", "seeds", "pairs", "subjects", "failures")
FACTS = ("idle", "overlap", "trained_on", "training_scale", "licence", "parameters", "images_per_second")
DATA = ("target", "unit", "data", "split", "manifest_digest", "split_digest")
HEADER = (*NAMES, "metric", *VALUES, *RANK, *DIFFERENCE, *TO_COMFACE, *PAPER, *COUNTS, *FACTS, *DATA)
RECORD = (*NAMES, "data", "target", "unit", "split", *COUNTS)
"""Columns of a table of records, before its metrics."""


def leaderboard_csv(document: Document) -> str:
    """Write `leaderboard.csv`; values are in the metric's own unit (`acc` as a fraction)."""
    lines: list[Sequence[str]] = [HEADER]
    for board in document.boards:
        for row in board.rows:
            names, facts = _facts(row.entry, NAMES), _facts(row.entry, (*COUNTS, *FACTS, *DATA))
            lines += [[*names, *_metric(board, row, name), *facts] for name in board.metrics]
    return _write(lines)


def records_csv(entries: Sequence[BoardEntry]) -> str:
    """Write one line for each record: names, counts, each metric and the no-change baseline's, all digits.

    Args:
        entries: In the order of the lines.
    """
    metrics = list(dict.fromkeys(name for entry in entries for name in entry.metrics))
    lines = [[*RECORD, *metrics, *(f"constant_{name}" for name in metrics)]]
    for entry in entries:
        found = [values.get(name) for values in (entry.metrics, entry.baseline) for name in metrics]
        lines.append([*_facts(entry, RECORD), *map(_all_digits, found)])
    return _write(lines)


@functools.lru_cache(maxsize=20_000)
def text_cell(text: str) -> str:
    """Write any text so that a spreadsheet shows it and runs nothing."""
    plain = visible(text)
    # Some spreadsheets take a full-width sign for the plain one.
    first = unicodedata.normalize("NFKC", plain).lstrip()[:1]
    return f"'{plain}" if first in ("=", "+", "-", "@", "\u2212") else plain


def number_cell(value: float | None) -> str:
    """Write a number; nothing where there is none."""
    return "" if value is None else precise(value)


def fact_cell(value: Fact) -> str:
    """Write a fact of a record, several values with commas between them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return text_cell(", ".join(map(str, value)))
    return text_cell(value) if isinstance(value, str) else number_cell(value)


def _facts(entry: BoardEntry, columns: Iterable[str]) -> list[str]:
    # Of the seeds, files for spreadsheets have the number only.
    return [
        str(len(entry.seeds)) if name == "seeds" else fact_cell(COLUMNS[name].value(entry))
        for name in columns
    ]


def _metric(board: Board, row: BoardRow, name: str) -> list[str]:
    cell, paper = row.cells.get(name), row.paper.get(name)
    ranked = cell is not None and cell.rank is not None
    return [
        text_cell(name),
        *map(number_cell, (*_values(cell), _number(row.entry.baseline.get(name)))),
        *((str(cell.rank), fact_cell(cell.tied)) if cell is not None and ranked else ("", "")),
        text_cell(board.best.get(name) or ""),
        *_difference(cell.to_best if cell else None),
        *_difference(cell.to_comface if cell else None),
        *(("", "") if paper is None else (number_cell(paper.value), text_cell(paper.table))),
    ]


def _values(cell: MetricCell | None) -> list[float | None]:
    if cell is None:
        return [None] * 6
    return [cell.value.value, *_ends(cell.interval), cell.fold_mean.value, *_ends(cell.fold_interval)]


def _difference(comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return [""] * 4
    found = comparison.difference
    return [number_cell(number) for number in (found.value, *_ends(found.interval), comparison.p.value)]


def _ends(interval: Interval) -> tuple[float | None, float | None]:
    return interval.low, interval.high


def _number(metric: MetricValue | None) -> float | None:
    return None if metric is None else metric.value


def _all_digits(metric: MetricValue | None) -> str:
    value = _number(metric)
    return "" if value is None else repr(value)


def _write(lines: Iterable[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue()
