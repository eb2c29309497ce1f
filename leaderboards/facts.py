"""What pages tell of a board and its rows, in Markdown's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comface_bench.leaderboards.markdown import beneath, bold, escape, underline
from comface_bench.leaderboards.numbers import DASH, format_value
from comface_bench.leaderboards.table import groups_of
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from comface_bench.leaderboards.document import Board, Cell, Comparison, Row
    from comface_bench.leaderboards.table import Entry
    from comface_bench.stats.bootstrap import Interval
    from comface_bench.stats.metrics import MetricValue

HEADLINE = ("mae", "pearson", "acc")
"""What the paper reports; a board shows its primary metric and these first."""
CONSTANT = "*no change*"
INCOMPLETE, IDLE, OVERLAP, TIED = "†", "‡", "§", "≈"


def headline(board: Board) -> list[str]:
    """Name the metrics that stand for a board: the primary one, then the paper's."""
    return [board.metrics[0], *(name for name in HEADLINE if name in board.metrics[1:])]


def constant_entry(board: Board) -> Entry:
    """Choose the row whose "no change" answer covers most: a complete one if there is one."""
    return max((row.entry for row in board.rows), key=lambda entry: (entry.complete, entry.n_pairs))


def heading(name: str) -> str:
    """Return a metric's title with the arrow of its better direction."""
    return f"{METRICS[name].title} {'↑' if METRICS[name].higher_is_better else '↓'}"


def marks(entry: Entry) -> str:
    """Return the marks of a record: incomplete, no better than "no change", or pre-trained on its people."""
    told = ((not entry.complete, INCOMPLETE), (entry.idle, IDLE), (bool(entry.overlap), OVERLAP))
    return "".join(f" {mark}" for holds, mark in told if holds)


def value_text(name: str, cell: Cell | None) -> str:
    """Print a metric: the best in bold, the second underlined, ties with the best marked."""
    if cell is None:
        return DASH
    text = format_value(name, cell.value.value)
    if cell.place == 1:
        return bold(text)
    if cell.place == 2:
        text = underline(text)
    return f"{text} {TIED}" if cell.tied else text


def interval_text(name: str, interval: Interval, *, signed: bool = False) -> str:
    """Print the ends of a metric's interval; empty where there is none."""
    if interval.low is None or interval.high is None:
        return ""
    form = signed_text if signed else format_value
    return f"[{form(name, interval.low)}, {form(name, interval.high)}]"


def signed_text(name: str, value: float | None) -> str:
    """Print a difference of metrics with its sign; 0 has none."""
    text = format_value(name, value)
    return f"+{text}" if value is not None and value > 0 and text.strip("0.") else text


def p_text(p: MetricValue) -> str:
    """Print a p-value, with its name."""
    if p.value is None:
        return ""
    return f"p {escape('<')} 0.001" if p.value < 0.001 else f"p {p.value:.3f}"


def difference_text(name: str, comparison: Comparison | None) -> str:
    """Print a difference, and beneath it the interval and p."""
    if comparison is None:
        return DASH
    difference = comparison.difference
    small = (interval_text(name, difference.interval, signed=True), p_text(comparison.p))
    return beneath(signed_text(name, difference.value), ", ".join(filter(None, small)))


def grouped(rows: Sequence[Row], width: int, cells: Callable[[Row], list[str]]) -> list[list[str]]:
    """Make a table's lines of all rows, each with its method in front and each group under its heading.

    Args:
        rows: In board order.
        width: Number of columns, the method's included.
        cells: Makes the other cells of a row.
    """
    lines = []
    for group in groups_of(row.entry for row in rows):
        lines.append([f"*{escape(group)}*", *[""] * (width - 1)])
        mine = (row for row in rows if row.entry.group == group)
        lines += [[escape(row.entry.method) + marks(row.entry), *cells(row)] for row in mine]
    return lines


def reasons(reasoned: Iterable[tuple[str, str]]) -> list[str]:
    """Say why things have no value, each reason once with the names of what it holds for.

    Args:
        reasoned: Names, which are Markdown, and plain reasons.
    """
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasoned:
        by_reason.setdefault(reason, []).append(name)
    return [f"No {', '.join(names)}: {escape(reason)}." for reason, names in by_reason.items()]
