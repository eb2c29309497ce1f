"""Figures of a report, drawn by matplotlib: values with their intervals.

They are for paper: marks are told apart by shape, never by colour.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from comface_bench.core.plotting import STYLE, load_matplotlib, plain_text, svg_bytes
from comface_bench.leaderboards.formatting import heading, unit_of, visible
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comface_bench.leaderboards.document import Board, BoardRow
    from comface_bench.stats.ranks import Standing

FAR = 2.0
"""Errors of more than so many times the no-change baseline's stand at the edge, as arrows."""
_STYLE = STYLE | {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],
    "font.size": 7.5,
}
_WIDTH, _LONGEST_LABEL = 6.6, 44
_SHAPES = {
    "best": {"fmt": "o", "color": "black"},
    "tied": {"fmt": "D", "color": "0.35"},
    "other": {"fmt": "o", "color": "0.35", "markerfacecolor": "white"},
    "unranked": {"fmt": "x", "color": "0.35"},
}
"""Filled circle, diamond, hollow circle, cross: what stands under a figure says so."""


class Point(NamedTuple):
    """A row of a figure: its name, its value with the ends of its interval, and its shape."""

    label: str
    value: float
    low: float | None
    high: float | None
    shape: str


require_matplotlib = partial(
    load_matplotlib, "the figures of a report need matplotlib", ", or leave them out: --no-figures"
)
"""Import matplotlib, so that figures can be drawn, or raise `MissingExtraError`."""


def draw_board(board: Board, rows: Sequence[BoardRow]) -> bytes | None:
    """Draw the primary metric of some rows of a board as SVG; None where none has a value.

    Raises:
        MissingExtraError: matplotlib isn't installed.
    """
    name = board.metrics[0]
    points = [point for row in rows if (point := _point(row, name)) is not None]
    if not points:
        return None
    factor = 100 if METRICS[name].percent else 1
    floor = board.baseline(name)
    unit = unit_of(name, board.entry.unit)
    title, arrow = heading(name).rsplit(" ", 1)
    axis = f"{title}, {unit} {arrow}" if unit and "(" not in title else f"{title} {arrow}"
    edge = FAR * floor * factor if METRICS[name].has_unit and floor else None
    return _draw(points, axis, None if floor is None else floor * factor, edge)


def draw_ranking(standings: Mapping[str, Standing]) -> bytes | None:
    """Draw mean ranks by method as SVG, 1 the best; None where no method has one."""
    first = min((one.rank for one in standings.values() if one.rank is not None), default=None)
    points = [
        Point(
            name,
            one.mean_rank,
            one.mean_rank_interval.low,
            one.mean_rank_interval.high,
            "best" if one.rank == first else "other",
        )
        for name, one in standings.items()
        if one.mean_rank is not None
    ]
    return _draw(points, "mean rank ↓", None, None) if points else None


def _point(row: BoardRow, name: str) -> Point | None:
    cell = row.cells.get(name)
    if cell is None or cell.value.value is None:
        return None
    factor = 100 if METRICS[name].percent else 1
    shape = (
        "unranked" if cell.rank is None else "best" if cell.rank == 1 else "tied" if cell.tied else "other"
    )
    ends = (None if end is None else factor * end for end in (cell.interval.low, cell.interval.high))
    low, high = ends
    return Point(row.entry.method, factor * cell.value.value, low, high, shape)


def _draw(points: Sequence[Point], axis: str, floor: float | None, edge: float | None) -> bytes:
    with require_matplotlib(module="matplotlib").rc_context(_STYLE):
        figure = require_matplotlib().Figure(
            figsize=(_WIDTH, 0.55 + 0.19 * len(points)), layout="constrained"
        )
        axes = figure.subplots()
        for place, point in enumerate(points):
            _draw_point(axes, place, point, edge)
        if floor is not None and (edge is None or min(point.value for point in points) < edge):
            low, high = axes.get_xlim()
            # Much farther away it would squeeze all intervals into dots.
            if low - (high - low) < floor < high + (high - low):
                axes.axvline(floor, color="0.35", linestyle="--", linewidth=0.8)
        axes.set_yticks(range(len(points)), [_label(point.label) for point in points])
        axes.set_ylim(len(points) - 0.5, -0.5)
        axes.set_xlabel(plain_text(axis))
        axes.grid(axis="both", linewidth=0.4, color="0.85")
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(axis="y", length=0)
        return svg_bytes(figure)


def _draw_point(axes: Any, place: int, point: Point, edge: float | None) -> None:
    if edge is not None and point.value > edge:
        axes.plot(edge, place, ">", color="black", markersize=4.5)
        return
    low = point.value if point.low is None else min(point.low, point.value)
    high = point.value if point.high is None else max(point.high, point.value)
    if edge is not None:
        high = min(high, max(edge, point.value))
    axes.errorbar(
        point.value,
        place,
        xerr=[[point.value - low], [high - point.value]],
        markersize=4.5,
        elinewidth=1,
        **_SHAPES[point.shape],
    )


def _label(text: str) -> str:
    plain = visible(text)
    return plain_text(plain if len(plain) <= _LONGEST_LABEL else f"{plain[: _LONGEST_LABEL - 1]}…")
