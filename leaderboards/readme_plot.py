"""A plot of the whole board that stands alone: correlation by task and method, with intervals."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from comface_bench.leaderboards.table import method_order, natural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comface_bench.leaderboards.document import Board, Document

PROTOCOL, METRIC = "quick", "pearson"
_LEFT, _TOP, _WIDE, _HIGH, _STEP = 46, 46, 58, 240, 9
_COLOURS = ("#0b6bcb", "#c4501b", "#2d8a4e", "#8e4ec6", "#a16207", "#be185d")
_DARK = ("#6cb2ff", "#ff9d6b", "#67d391", "#c79bff", "#f2c14e", "#ff8fc0")
_TICKS = (-0.25, 0.0, 0.25, 0.5, 0.75, 1.0)


def draw_plot(document: Document) -> str:
    """Draw r of every task under `quick`, one colour a method, with 95 % intervals; the same bytes each time.

    Args:
        document: The committed board.

    Returns:
        An SVG file that follows the reader's light or dark theme.
    """
    boards = [board for board in document.boards if board.protocol == PROTOCOL]
    boards.sort(key=lambda board: natural(board.task))
    entries = {row.entry.method: row.entry for board in boards for row in board.rows}
    methods = sorted(entries, key=lambda method: method_order(entries[method]))
    width, height = _LEFT + _WIDE * len(boards) + 12, _TOP + _HIGH + 54
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="11">',
        "<title>Correlation of estimated and true change, by task and method</title>",
        f"<style>{_style(len(methods))}</style>",
        *_legend(methods),
        *_grid(width),
    ]
    for index, board in enumerate(boards):
        parts += _task(board, methods, _LEFT + _WIDE * (index + 0.5))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _style(count: int) -> str:
    def rules(colours: Sequence[str], text: str, line: str) -> str:
        marks = [
            f".m{i}{{fill:{colours[i % len(colours)]};stroke:{colours[i % len(colours)]}}}"
            for i in range(count)
        ]
        return f"text{{fill:{text}}}.grid{{stroke:{line}}}" + "".join(marks)

    dark = f"@media(prefers-color-scheme:dark){{{rules(_DARK, '#d6d9de', '#3a3f47')}}}"
    return rules(_COLOURS, "#333a44", "#dde1e6") + dark


def _legend(methods: Sequence[str]) -> list[str]:
    parts, x = [], _LEFT
    for index, method in enumerate(methods):
        parts.append(f'<circle class="m{index}" cx="{x + 5}" cy="14" r="4"/>')
        parts.append(f'<text x="{x + 13}" y="18">{html.escape(method)}</text>')
        x += 30 + 7 * len(method)
    return parts


def _grid(width: int) -> list[str]:
    parts = [f'<text x="{_LEFT - 34}" y="{_TOP - 10}">r</text>']
    for tick in _TICKS:
        y = _y(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{width - 12}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    return parts


def _task(board: Board, methods: Sequence[str], middle: float) -> list[str]:
    name = html.escape(board.task.removeprefix("synth-"))
    parts = [f'<text x="{middle:.1f}" y="{_TOP + _HIGH + 22}" text-anchor="middle">{name}</text>']
    cells = {row.entry.method: row.cells.get(METRIC) for row in board.rows}
    for index, method in enumerate(methods):
        cell = cells.get(method)
        if cell is None or cell.value.value is None:
            continue
        x = middle + _STEP * (index - (len(methods) - 1) / 2)
        low, high = cell.interval.low, cell.interval.high
        if low is not None and high is not None:
            ends = f'y1="{_y(low):.1f}" y2="{_y(high):.1f}"'
            parts.append(f'<line class="m{index}" x1="{x:.1f}" x2="{x:.1f}" {ends} stroke-width="1.5"/>')
        parts.append(f'<circle class="m{index}" cx="{x:.1f}" cy="{_y(cell.value.value):.1f}" r="3"/>')
    return parts


def _y(value: float) -> float:
    low, high = _TICKS[0], _TICKS[-1]
    return _TOP + _HIGH * (high - min(high, max(low, value))) / (high - low)
