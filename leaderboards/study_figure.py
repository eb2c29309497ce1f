"""The figure of a study, drawn by matplotlib: a panel for each column of its table.

Where the study has an axis, lines over it, one for each method; else a point for each row. Bars are 95 %
intervals; a diamond is a value of the supplement beside which a measured one stands.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from comface_bench.core.plotting import STYLE, load_matplotlib, plain_text, svg_bytes
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comface_bench.leaderboards.study import StudyCell, StudyColumn, StudyRow, StudyTable

_ACROSS = 4
"""Panels side by side."""
_STYLE = STYLE | {"font.size": 8}


require_matplotlib = partial(load_matplotlib, "the figure needs matplotlib", ", or leave it out: --no-figure")
"""Import matplotlib, so that a figure can be drawn, or raise `MissingExtraError`."""


def draw_study(made: StudyTable) -> bytes:
    """Draw a study's table as SVG; the same bytes for the same table and release of matplotlib.

    Raises:
        MissingExtraError: matplotlib isn't installed.
    """
    with require_matplotlib(module="matplotlib").rc_context(_STYLE):
        across = min(_ACROSS, len(made.columns))
        down = -(-len(made.columns) // across)
        labels = max(len(row.label) for row in made.rows)
        height = 2.4 if made.axis else 0.9 + 0.22 * len(made.rows)
        beside = 0.6 if made.axis else 0.06 * min(labels, 40)
        size = (across * 2.2 + beside, down * height + (0.6 if made.axis else 0.0))
        figure = require_matplotlib().Figure(figsize=size, layout="constrained")
        panels = figure.subplots(down, across, squeeze=False, sharey=not made.axis).flat
        for place, column in enumerate(made.columns):
            draw = _draw_lines if made.axis else _draw_rows
            draw(next(panels), made, column, [row.cells[place] for row in made.rows])
        for panel in panels:
            panel.set_axis_off()
        if made.axis:
            lines: dict[str, Any] = {}
            for axes in figure.axes:
                handles, names = axes.get_legend_handles_labels()
                lines |= dict(zip(names, handles, strict=True))
            if lines:
                shown = (lines.values(), lines.keys())
                figure.legend(*shown, loc="outside lower center", ncols=across, frameon=False)
        return svg_bytes(figure)


def _draw_rows(axes: Any, made: StudyTable, column: StudyColumn, cells: Sequence[StudyCell]) -> None:
    """Draw a point for each row, the first on top."""
    for place, cell in enumerate(cells):
        if cell.value is not None:
            value, low, high = _scaled(column, cell)
            axes.errorbar(
                value, place, xerr=[[value - low], [high - value]], fmt="o", color="C0", markersize=4
            )
        if cell.paper is not None:
            shown = cell.paper.value * _factor(column)
            axes.plot(shown, place, "D", color="C1", markersize=4, fillstyle="none")
    axes.set_yticks(range(len(made.rows)), [_label(row) for row in made.rows])
    axes.set_ylim(len(made.rows) - 0.5, -0.5)
    axes.set_title(_title(column))
    axes.grid(axis="x", linewidth=0.4)


def _draw_lines(axes: Any, made: StudyTable, column: StudyColumn, cells: Sequence[StudyCell]) -> None:
    """Draw a line for each method over the study's axis."""
    places = {x: number for number, x in enumerate(_ordered({row.x for row in made.rows}))}
    for number, line in enumerate(dict.fromkeys(row.line for row in made.rows)):
        own = [
            (places[row.x], *_scaled(column, cell))
            for row, cell in zip(made.rows, cells, strict=True)
            if row.line == line and cell.value is not None
        ]
        if not own:
            continue
        x, value, low, high = zip(*sorted(own), strict=True)
        errors = [
            [middle - end for middle, end in zip(value, low, strict=True)],
            [end - middle for middle, end in zip(value, high, strict=True)],
        ]
        axes.errorbar(
            x, value, yerr=errors, fmt="o-", color=f"C{number}", markersize=3, label=plain_text(line)
        )
    axes.set_xticks(range(len(places)), list(places))
    axes.set_xlabel(made.axis)
    axes.set_title(_title(column))
    axes.grid(axis="y", linewidth=0.4)


def _ordered(values: set[str]) -> list[str]:
    """Order values of an option: numbers by size, then words."""

    def order(value: str) -> tuple[bool, float, str]:
        try:
            return (False, float(value), value)
        except ValueError:
            return (True, 0.0, value)

    return sorted(values, key=order)


def _scaled(column: StudyColumn, cell: StudyCell) -> tuple[float, float, float]:
    """Return a cell's value and its interval's ends as they are printed; without one, the value thrice."""
    assert cell.value is not None
    factor = _factor(column)
    low = cell.value if cell.low is None else min(cell.low, cell.value)
    high = cell.value if cell.high is None else max(cell.high, cell.value)
    return cell.value * factor, low * factor, high * factor


def _factor(column: StudyColumn) -> int:
    return 100 if METRICS[column.metric].percent else 1


def _title(column: StudyColumn) -> str:
    return plain_text(column.title)


def _label(row: StudyRow) -> str:
    return plain_text(row.label)
