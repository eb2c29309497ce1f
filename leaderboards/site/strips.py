"""Intervals as rows of a table: each row is a strip of its own, all on one scale.

A board has a forest plot of its primary metric, a ranking one of the mean ranks. Positions are percentages
and heights pixels, so that strips fit any width without shrinking their marks.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from markupsafe import Markup

from comface_bench.leaderboards.formatting import format_value, interval_text, unit_of
from comface_bench.leaderboards.site.charts import Scale, domain, number, shown, tick_texts, ticks
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from comface_bench.leaderboards.document import Board, BoardRow, MetricCell, Ranking

HEIGHT = 34
AXIS_HEIGHT = 30
FAR = 2.0
"""Errors of more than so many times the no-change baseline's stand at the edge of the forest plot."""


@dataclasses.dataclass(frozen=True)
class Strip:
    """Marks of one row.

    Attributes:
        value: The dot; None for none.
        low, high: Ends of its interval; None for none.
        mark: Class of dot and interval: `best`, `tied` or empty.
        hollow: A hollow dot beside it, such as the paper's value; None for none.
        words: The same in words.
    """

    value: float | None
    low: float | None
    high: float | None
    mark: str
    hollow: float | None
    words: str


class Strips:
    """Strips on one scale.

    Args:
        low, high: Ends of the scale.
        about: How many ticks it has, about.
        line: A value with a line across all strips, such as the no-change baseline's; None for none.
        whole: Whether values between whole numbers have no tick.
    """

    def __init__(
        self, low: float, high: float, about: int = 4, line: float | None = None, *, whole: bool = False
    ) -> None:
        self._scale = Scale(low, high, 3, 97)
        self._ticks = ticks(low, high, about, 1.0 if whole else 0.0)
        self._behind = "".join(self._vertical(value, "grid", HEIGHT) for value in self._ticks)
        if line is not None and self._scale.holds(line):
            self._behind += self._vertical(line, "floor", HEIGHT)

    def row(self, strip: Strip) -> Markup:
        """Write one row's strip."""
        middle, drawn = HEIGHT // 2, [self._behind]
        suffix = f" {strip.mark}" if strip.mark else ""
        if strip.low is not None and strip.high is not None:
            ends = f'x1="{self._at(strip.low)}" x2="{self._at(strip.high)}"'
            drawn.append(f'<line class="interval{suffix}" {ends} y1="{middle}" y2="{middle}"/>')
        if strip.hollow is not None:
            drawn.append(f'<circle class="paper" cx="{self._at(strip.hollow)}" cy="{middle}" r="5"/>')
        if strip.value is not None:
            drawn.append(f'<circle class="dot{suffix}" cx="{self._at(strip.value)}" cy="{middle}" r="5"/>')
        head = f'<svg class="strip" height="{HEIGHT}" role="img"><title>{shown(strip.words)}</title>'
        # Everything inside is numbers, or escaped by `shown`.
        return Markup("".join([head, *drawn, "</svg>"]))  # noqa: S704

    def axis(self, title: str, span: float | None = None, span_text: str = "") -> Markup:
        """Write the scale that stands above or below the rows.

        Args:
            title: What the scale is of.
            span: Length of a bar to compare distances with, in the scale's unit; None for none.
            span_text: A short name of the bar, and its length.
        """
        drawn = [f'<svg class="strip scale" height="{AXIS_HEIGHT}" role="img"><title>{shown(title)}</title>']
        for place, (value, words) in enumerate(zip(self._ticks, tick_texts(self._ticks), strict=True)):
            drawn.append(self._vertical(value, "axis", 6))
            # Every other label goes where the page is narrow, so that none runs into the next.
            mark = "tick middle odd" if place % 2 else "tick middle"
            drawn.append(f'<text class="{mark}" x="{self._at(value)}" y="21">{words}</text>')
        drawn.append("</svg>")
        if span is not None:
            ends = f'x1="{self._at(self._scale.low)}" x2="{self._at(self._scale.low + span)}"'
            drawn += [
                f'<svg class="strip scale" height="26" role="img"><title>{shown(span_text)}</title>',
                f'<line class="span" {ends} y1="7" y2="7"/>',
                f'<text class="tick" x="{self._at(self._scale.low)}" y="23">{shown(span_text)}</text></svg>',
            ]
        return Markup("".join(drawn))  # noqa: S704

    def _at(self, value: float) -> str:
        return f"{number(min(98.5, max(1.5, self._scale(value))))}%"

    def _vertical(self, value: float, mark: str, height: int) -> str:
        at = self._at(value)
        return f'<line class="{mark}" x1="{at}" x2="{at}" y1="0" y2="{height}"/>'


@dataclasses.dataclass(frozen=True)
class Forest:
    """The primary metric of all rows, as strips on one scale.

    Attributes:
        axis: The scale.
        strips: By method.
        far: Whether a value lies beyond the scale.
        floor: Whether the no-change baseline's line is on it.
    """

    axis: Markup
    strips: dict[str, Markup]
    far: bool
    floor: bool


def forest(board: Board) -> Forest:
    """Draw the primary metric of all rows of a board, with intervals and the paper's values."""
    name = board.metrics[0]
    floor = board.baseline(name)
    low, high = domain(_numbers(board, name), margin=0.03)
    far = False
    if METRICS[name].has_unit and floor and low < FAR * floor < high:
        high, far = FAR * floor, True
    # Much farther away it would squeeze all intervals into dots.
    if floor is not None and low - (high - low) < floor < high + (high - low):
        low, high = domain([low, high, floor])
    unit = board.entry.unit
    strips = Strips(low, high, line=floor)
    printed = unit_of(name, unit)
    title = f"{METRICS[name].title} in {printed}" if printed else METRICS[name].title
    return Forest(
        strips.axis(f"Scale: {title}"),
        {row.entry.method: strips.row(_strip(row, name)) for row in board.rows if name in row.cells},
        far,
        floor is not None and low <= floor <= high,
    )


def mark(cell: MetricCell) -> str:
    """Return a cell's class: best, tied with it, or neither."""
    if cell.rank == 1:
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


def _strip(row: BoardRow, name: str) -> Strip:
    cell, paper = row.cells[name], row.paper.get(name)
    words = f"{row.entry.method}: {format_value(name, cell.value.value)}"
    ends = interval_text(name, cell.interval)
    words += f", 95 % interval {ends}" if ends else ""
    words += {"best": ", best", "tied": ", tied with the best"}.get(mark(cell), "")
    words += f"; paper: {format_value(name, paper.value)}" if paper else ""
    return Strip(
        cell.value.value,
        cell.interval.low,
        cell.interval.high,
        mark(cell),
        paper.value if paper else None,
        words,
    )


@dataclasses.dataclass(frozen=True)
class RankPlot:
    """Mean ranks as strips on one scale: the scale, and strips by method."""

    axis: Markup
    strips: dict[str, Markup]


def rank_plot(ranking: Ranking) -> RankPlot | None:
    """Draw the mean ranks with their intervals, and Nemenyi's critical difference where there is one."""
    ranked = {name: one for name, one in ranking.standings.items() if one.mean_rank is not None}
    if not ranked:
        return None
    critical = ranking.critical_difference.value
    strips = Strips(1, max(2, len(ranked), 1 + (critical or 0)), about=6, whole=True)
    drawn = {}
    for name, one in ranked.items():
        ends = one.mean_rank_interval
        words = f"{name}: mean rank {one.mean_rank:.2f}"
        if ends.low is not None and ends.high is not None:
            words += f", 95 % interval {ends.low:.2f} to {ends.high:.2f}"
        best = "best" if one.rank == 1 else ""
        drawn[name] = strips.row(Strip(one.mean_rank, ends.low, ends.high, best, None, words))
    words = "" if critical is None else f"CD {critical:.2f}"
    return RankPlot(strips.axis("Scale: mean rank, 1 the best", critical, words), drawn)
