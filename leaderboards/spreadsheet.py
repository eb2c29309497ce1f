"""`leaderboard.csv`: one line for each record and metric."""

from __future__ import annotations

import csv
import functools
import io
import unicodedata
from typing import TYPE_CHECKING

from comface_bench.leaderboards.markdown import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comface_bench.leaderboards.document import Board, Cell, Comparison, Document, Row
    from comface_bench.stats.bootstrap import Interval
    from comface_bench.stats.metrics import MetricValue

PLACE = ("task", "protocol", "method", "group", "kind", "metric")
VALUES = ("value", "low", "high", "fold_mean", "fold_low", "fold_high", "constant")
RANK = ("place", "tied")
DIFFERENCE = ("best", "best_difference", "best_low", "best_high", "best_p")
COMFACE = ("comface_difference", "comface_low", "comface_high", "comface_p")
PAPER = ("paper", "paper_table")
COUNTS = ("complete", "folds_done", "folds", "seeds", "pairs", "subjects", "failures")
FACTS = ("idle", "overlap", "trained_on", "training_scale", "licence", "parameters", "images_per_second")
DATA = ("target", "unit", "data", "split", "manifest_digest", "split_digest")
HEADER = (*PLACE, *VALUES, *RANK, *DIFFERENCE, *COMFACE, *PAPER, *COUNTS, *FACTS, *DATA)

DIGITS = 10
"""Of computed numbers, which may differ in their last digits between processors."""


def leaderboard_csv(document: Document) -> str:
    """Write the file; values are in the metric's own unit (`acc` as a fraction), an empty cell is none.

    A text that a spreadsheet would take for a formula gets an apostrophe in front of it; a character that
    can't be seen appears as its escape.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(HEADER)
    for board in document.boards:
        for row in board.rows:
            facts = _facts(row)
            writer.writerows(_line(board, row, name, facts) for name in board.metrics)
    return buffer.getvalue()


@functools.lru_cache(maxsize=20_000)
def text_cell(text: str) -> str:
    """Write any text so that a spreadsheet shows it and runs nothing."""
    plain = "".join(map(visible, text))
    # Some spreadsheets take a full-width sign for the plain one.
    first = unicodedata.normalize("NFKC", plain).lstrip()[:1]
    return f"'{plain}" if first in ("=", "+", "-", "@", "\u2212") else plain


def number_cell(value: float | None) -> str:
    """Write a number; nothing where there is none."""
    return "" if value is None else f"{value + 0.0:.{DIGITS}g}"


def _line(board: Board, row: Row, name: str, facts: list[str]) -> list[str]:
    entry, cell = row.entry, row.cells.get(name)
    place = [entry.task, entry.protocol, entry.method, entry.group, entry.kind, name]
    paper = row.paper.get(name)
    return [
        *map(text_cell, place),
        *_values(cell, entry.constant, name),
        "" if cell is None or cell.place is None else str(cell.place),
        "" if cell is None or cell.place is None else _flag(cell.tied),
        text_cell(board.best.get(name) or ""),
        *_difference(cell.to_best if cell else None),
        *_difference(cell.to_comface if cell else None),
        *(("", "") if paper is None else (number_cell(paper.value), text_cell(paper.table))),
        *facts,
    ]


def _values(cell: Cell | None, constant: Mapping[str, MetricValue], name: str) -> list[str]:
    floor = constant.get(name)
    numbers: list[float | None] = [None] * 6
    if cell is not None:
        numbers = [cell.value.value, *_ends(cell.interval), cell.fold_mean.value, *_ends(cell.fold_interval)]
    return [number_cell(number) for number in (*numbers, floor.value if floor else None)]


def _difference(comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return [""] * 4
    found = comparison.difference
    return [number_cell(number) for number in (found.value, *_ends(found.interval), comparison.p.value)]


def _facts(row: Row) -> list[str]:
    entry = row.entry
    numbers = (entry.folds_done, entry.folds, len(entry.seeds), entry.n_pairs, entry.n_subjects)
    texts = (", ".join(entry.overlap), ", ".join(entry.trained_on), entry.training_scale, entry.licence)
    data = (entry.target, entry.unit, entry.data, entry.split, *entry.version)
    return [
        *(_flag(entry.complete), *map(str, numbers), str(entry.failures), _flag(entry.idle)),
        *map(text_cell, texts),
        *(str(entry.parameters), number_cell(entry.images_per_second)),
        *map(text_cell, data),
    ]


def _ends(interval: Interval) -> tuple[float | None, float | None]:
    return interval.low, interval.high


def _flag(value: bool) -> str:
    return "true" if value else "false"
