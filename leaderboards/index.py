"""The page in front: one table for each protocol, methods against tasks."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from comface_bench.leaderboards.board import (
    CONSTANT,
    IDLE_NOTE,
    INCOMPLETE,
    MARK,
    OVERLAP,
    column_styles,
    constant_entry,
    format_value,
    marks,
    metric_heading,
)
from comface_bench.leaderboards.markdown import DASH, escape, table
from comface_bench.leaderboards.table import groups_of, method_order, protocol_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comface_bench.leaderboards.table import Entry

# What the paper reports; a task without any of them shows its first metric.
HEADLINE = ("mae", "pearson", "acc")


def index_page(entries: Sequence[Entry], pages: Mapping[tuple[str, str], str]) -> str:
    """Write the index.

    Args:
        entries: All records, in board order.
        pages: Address of each board by (task, protocol), relative to the index.
    """
    lines = [MARK, "", "# Leaderboards", ""]
    if not entries:
        lines += ["No results yet. `comface-bench run --method METHOD --task TASK` makes the first.", ""]
    by_protocol = sorted(entries, key=lambda entry: protocol_order(entry.protocol))
    for protocol, group in groupby(by_protocol, key=lambda entry: entry.protocol):
        lines += [f"## {escape(protocol)}", "", *_protocol_table(list(group), pages), ""]
    if entries:
        lines += [
            "- Cells hold the metrics named in the column's heading; the best complete value is in bold, the "
            "second underlined. *no change* always answers 0.",
            f"-{INCOMPLETE} Folds are missing or failed; the value covers what is done and isn't ranked.",
            f"-{IDLE_NOTE}",
            f"-{OVERLAP} The method was pre-trained on people of the task's data set.",
        ]
    return "\n".join(lines).rstrip("\n") + "\n"


def headline_metrics(entry: Entry) -> list[str]:
    """Name the metrics that stand for a task on the index."""
    return [name for name in HEADLINE if name in entry.metrics] or list(entry.metrics)[:1]


def _protocol_table(entries: Sequence[Entry], pages: Mapping[tuple[str, str], str]) -> list[str]:
    boards = {task: list(group) for task, group in groupby(entries, key=lambda entry: entry.task)}
    cells: dict[tuple[str, str], str] = {}
    header, constant = ["Method"], [CONSTANT]
    for task, board in boards.items():
        names = headline_metrics(board[0])
        headings = " / ".join(metric_heading(name) for name in names)
        header.append(f"[{escape(task)}]({pages[task, board[0].protocol]})<br>{headings}")
        chosen = constant_entry(board)
        floor = " / ".join(format_value(name, chosen.constant[name].value) for name in names)
        constant.append(floor + ("" if chosen.complete else INCOMPLETE))
        columns = zip(*(column_styles(board, name) for name in names), strict=True)
        for entry, values in zip(board, columns, strict=True):
            cells[entry.method, task] = " / ".join(values) + marks(entry)
    rows = [constant]
    # A method whose records name different groups is listed once, in the first of them.
    methods = {entry.method: entry for entry in sorted(entries, key=method_order, reverse=True)}
    for group in groups_of(methods.values()):
        rows.append([f"*{escape(group)}*", *[""] * len(boards)])
        for method, entry in sorted(methods.items(), key=lambda item: method_order(item[1])):
            if entry.group == group:
                rows.append([escape(method), *(cells.get((method, task), DASH) for task in boards)])
    return table(header, rows)
