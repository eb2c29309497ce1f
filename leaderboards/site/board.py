"""What the page of a board shows beside the document itself."""

from __future__ import annotations

import dataclasses
from itertools import groupby
from typing import TYPE_CHECKING

from comface_bench.leaderboards.facts import constant_entry, interval_text
from comface_bench.leaderboards.numbers import format_value
from comface_bench.leaderboards.site.numbers import unit_of
from comface_bench.leaderboards.site.strips import Strip, Strips
from comface_bench.leaderboards.site.svg import domain
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from markupsafe import Markup

    from comface_bench.leaderboards.document import Board, Cell, Row
    from comface_bench.stats.metrics import MetricValue

FAR = 2.0
"""Errors of more than so many times the constant answer's stand at the edge of the forest plot."""


@dataclasses.dataclass(frozen=True)
class Forest:
    """The primary metric of all rows, as strips on one scale.

    Attributes:
        axis: The scale.
        strips: By method.
        far: Whether a value lies beyond the scale.
        floor: Whether the constant answer's line is on it.
    """

    axis: Markup
    strips: dict[str, Markup]
    far: bool
    floor: bool


def forest(board: Board) -> Forest:
    """Draw the primary metric of all rows of a board, with intervals and the paper's values."""
    name = board.metrics[0]
    floor = constant(board, name)
    low, high = domain(_numbers(board, name), margin=0.03)
    far = False
    if METRICS[name].has_unit and floor and low < FAR * floor < high:
        high, far = FAR * floor, True
    # Much farther away it would squeeze all intervals into dots.
    if floor is not None and low - (high - low) < floor < high + (high - low):
        low, high = domain([low, high, floor])
    unit = board.rows[0].entry.unit
    strips = Strips(low, high, line=floor)
    printed = unit_of(name, unit)
    title = f"{METRICS[name].title} in {printed}" if printed else METRICS[name].title
    return Forest(
        strips.axis(f"Scale: {title}"),
        {row.entry.method: strips.row(_strip(row, name)) for row in board.rows if name in row.cells},
        far,
        floor is not None and low <= floor <= high,
    )


def constant(board: Board, name: str) -> float | None:
    """Return a metric of the constant answer; None where it has no value."""
    found: MetricValue | None = constant_entry(board).constant.get(name)
    return None if found is None else found.value


def groups(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    """Return rows by the supplement's groups, both in board order."""
    return [(group, list(found)) for group, found in groupby(rows, key=lambda row: row.entry.group)]


def published(rows: Sequence[Row]) -> list[str]:
    """Name the metrics that the paper has for any row."""
    return [name for name in METRICS if any(name in row.paper for row in rows)]


def mark(cell: Cell) -> str:
    """Return a cell's class: best, tied with it, or neither."""
    if cell.place == 1:
        return "best"
    return "tied" if cell.tied else ""


def _numbers(board: Board, name: str) -> list[float]:
    found: list[float] = []
    for row in board.rows:
        if name in row.cells:
            cell = row.cells[name]
            found += [v for v in (cell.value.value, cell.interval.low, cell.interval.high) if v is not None]
        if name in row.paper:
            found.append(row.paper[name].value)
    return found


def _strip(row: Row, name: str) -> Strip:
    cell, paper = row.cells[name], row.paper.get(name)
    told = f"{row.entry.method}: {format_value(name, cell.value.value)}"
    ends = interval_text(name, cell.interval)
    told += f", 95 % interval {ends}" if ends else ""
    told += {"best": ", best", "tied": ", tied with the best"}.get(mark(cell), "")
    told += f"; paper: {format_value(name, paper.value)}" if paper else ""
    return Strip(
        cell.value.value,
        cell.interval.low,
        cell.interval.high,
        mark(cell),
        paper.value if paper else None,
        told,
    )
