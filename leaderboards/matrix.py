"""Methods against tasks under one protocol, as a Markdown table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comface_bench.leaderboards.facts import (
    CONSTANT,
    IDLE,
    INCOMPLETE,
    OVERLAP,
    TIED,
    constant_entry,
    heading,
    headline,
    marks,
    value_text,
)
from comface_bench.leaderboards.markdown import escape, table
from comface_bench.leaderboards.numbers import DASH, format_value
from comface_bench.leaderboards.table import groups_of, method_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comface_bench.leaderboards.document import Board
    from comface_bench.leaderboards.table import Entry

NOTES = (
    "Cells hold the metrics that their column's heading names; the best complete value is in bold, the "
    "second underlined. *no change* always answers 0.",
    f"{TIED} Tied with the best. {INCOMPLETE} Folds are missing or failed; the value covers what is done and "
    f"isn't ranked. {IDLE} The error is no smaller than that of always answering 0. {OVERLAP} The method was "
    "pre-trained on people of the task's data set.",
)


def matrix(boards: Sequence[Board], pages: Mapping[tuple[str, str], str]) -> list[str]:
    """Write the table.

    Args:
        boards: Of one protocol, in board order.
        pages: Address of each board's page by (task, protocol).
    """
    cells: dict[tuple[str, str], str] = {}
    methods: dict[str, Entry] = {}
    header, constant = ["Method"], [CONSTANT]
    for board in boards:
        names = headline(board)
        headings = " / ".join(map(heading, names))
        header.append(f"[{escape(board.task)}]({pages[board.task, board.protocol]})<br>{headings}")
        constant.append(_constant(board, names))
        for row in board.rows:
            values = " / ".join(value_text(name, row.cells.get(name)) for name in names)
            cells[row.entry.method, board.task] = values + marks(row.entry)
            # A method whose records name different groups is listed once, in the first of them.
            before = methods.setdefault(row.entry.method, row.entry)
            methods[row.entry.method] = min(before, row.entry, key=method_order)
    rows = [constant]
    ordered = sorted(methods.values(), key=method_order)
    for group in groups_of(ordered):
        rows.append([f"*{escape(group)}*", *[""] * len(boards)])
        for entry in ordered:
            if entry.group == group:
                found = (cells.get((entry.method, board.task), DASH) for board in boards)
                rows.append([escape(entry.method), *found])
    return table(header, rows)


def _constant(board: Board, names: Sequence[str]) -> str:
    entry = constant_entry(board)
    values = [entry.constant.get(name) for name in names]
    floor = " / ".join(
        format_value(name, value.value if value else None) for name, value in zip(names, values, strict=True)
    )
    return floor if entry.complete else f"{floor} {INCOMPLETE}"
