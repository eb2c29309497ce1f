"""The board's summary in the README: a table between two marks, and a plot beside it.

python -m comface_bench.leaderboards.readme leaderboards/results README.md docs/images/board.svg
"""

from __future__ import annotations

import html
import sys
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from comface_bench.core.errors import UsageError
from comface_bench.core.files import replace_file
from comface_bench.leaderboards.document import APART, MARKS, Settings, common_marks, marks_text
from comface_bench.leaderboards.formatting import DASH, format_value
from comface_bench.leaderboards.markdown import (
    AGREEMENT,
    AGREEMENT_NOTES,
    NO_CHANGE,
    SETTINGS_NOTES,
    agreement_table,
    beneath,
    escape,
    mark_notes,
    mean_rank_text,
    settings_table,
    table,
    value_text,
)
from comface_bench.leaderboards.pages import read_document
from comface_bench.leaderboards.paper import default_head_start, natural_order, published_cells

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comface_bench.leaderboards.document import Board, BoardEntry, BoardRow, Document, Section

BEGIN, END = "<!-- board -->", "<!-- end of board -->"
COLUMNS = {
    ("synth-age", "mae"): "Age, MAE (years) ↓",
    ("synth-age", "pearson"): "Age, r ↑",
    ("synth-weight", "mae"): "Weight, MAE (kg) ↓",
    ("synth-weight", "pearson"): "Weight, r ↑",
    ("synth-weight", "acc"): "Weight, Acc. (%) ↑",
}
"""Headings by task and metric."""
PHOTOGRAPHS, RENDERED = "age", "synth"
"""The task on photographs that stands first, and the family of tasks on rendered faces."""
ACTION_UNITS = "synth-au"
CORRELATION = "pearson"
"""Metric of the action units' column and of the plot."""

_LEFT, _TOP, _WIDE, _HIGH, _STEP = 46, 46, 58, 240, 9
_MOST = 6
"""Methods that the plot has room and colours for."""
_COLOURS = ("#0b6bcb", "#c4501b", "#2d8a4e", "#8e4ec6", "#a16207", "#be185d")
_DARK = ("#6cb2ff", "#ff9d6b", "#67d391", "#c79bff", "#f2c14e", "#ff8fc0")
_TICKS = (-0.25, 0.0, 0.25, 0.5, 0.75, 1.0)


def write(results: Path, readme: Path, plot: Path) -> None:
    """Bring the README's section and the plot up to date.

    Args:
        results: Folder of the committed records.
        readme: File with the marks.
        plot: SVG file to write.

    Raises:
        ResultError: A file isn't a record.
        UsageError: The marks aren't there.
    """
    document = read_document(results)
    text = replace_section(readme.read_text(encoding="utf-8"), board_section(document))
    replace_file(readme, text.encode())
    replace_file(plot, draw_plot(document).encode())


def replace_section(readme: str, section: str) -> str:
    """Put a section between the marks of a README.

    Raises:
        UsageError: The marks aren't there, or stand twice.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in after or END in after:
        raise UsageError(f"the file doesn't hold {BEGIN} and {END} once, in this order")
    return f"{before}{BEGIN}\n{section}{END}{after}"


def board_section(document: Document) -> str:
    """Write FG-NET's table of each protocol, with all of its settings; then those of rendered faces.

    A table of rendered faces has age, weight, mean correlation of action units, mean rank. The signs of all
    records stand in it: beside the method those that all of its records carry, others beside the first value
    of their task; under the tables, what they mean.

    Args:
        document: The committed board; tasks other than `age` and the synthetic ones have no part in this.
    """
    lines = []
    photographs = _photographs(document)
    for one in photographs:
        lines += ["", f"FG-NET, change of age in years, `{one.protocol}`", ""]
        lines += settings_table(one, {"Learnt from": _learnt_from})
        lines += ["", published] if (published := _published(one)) else []
    lines += ["", SETTINGS_NOTES] if photographs else []
    for section in document.sections(RENDERED):
        lines += ["", f"Rendered faces, `{section.protocol}`" if photographs else f"`{section.protocol}`"]
        lines += ["", *_table(section)]
    boards = [board for board in document.boards if board.task == PHOTOGRAPHS or board.family == RENDERED]
    lines += ["", *(f"- {note}" for note in mark_notes([row.entry for one in boards for row in one.rows]))]
    if document.agreements:
        lines += ["", AGREEMENT, "", *agreement_table(document.agreements), "", AGREEMENT_NOTES]
    return "\n".join(lines).strip() + "\n"


def _photographs(document: Document) -> list[Settings]:
    """Return FG-NET's boards by protocol, each with all of its settings."""
    boards = [board for board in document.boards if board.task == PHOTOGRAPHS]
    several = {(one.task, one.protocol): one for one in document.settings}
    names = dict.fromkeys(board.protocol.partition("+")[0] for board in boards)
    of = {name: [board for board in boards if board.protocol.partition("+")[0] == name] for name in names}
    return [
        several.get((PHOTOGRAPHS, name)) or Settings(PHOTOGRAPHS, name, tuple(own), {})
        for name, own in of.items()
    ]


def _learnt_from(entry: BoardEntry) -> str:
    taught = f"taught: {', '.join(entry.supervision)}" if entry.supervision else ""
    return beneath(escape(", ".join(entry.trained_on)) or DASH, escape(taught))


def _published(one: Settings) -> str:
    """List what the supplement has for the protocol, whether or not that method was run here."""
    found = published_cells(one.task, one.protocol)
    names = one.boards[0].headline
    texts = [
        f"{escape(cell.method)} ({escape(cell.backbone)}"
        + (f", head start {cell.head_start}) " if cell.head_start != usual else ") ")
        + " / ".join(format_value(name, values[name].value if name in values else None) for name in names)
        for cell, values in found
        if (usual := default_head_start(one.protocol, cell.method))
    ]
    tables = sorted({value.table for _, values in found for value in values.values()})
    where = f"Table{'s' if len(tables) > 1 else ''} {', '.join(tables)}"
    return f"Published in the supplement, {where}, for folds of its own: {'; '.join(texts)}." if texts else ""


def _table(section: Section) -> list[str]:
    boards = {board.task: board for board in section.boards}
    units = [task for task in boards if task.startswith(ACTION_UNITS)]
    expression = [f"{len(units)} action units, mean r ↑"] if units else []
    header = ["Method", "Backbone", *COLUMNS.values(), *expression, "Mean rank ↓"]
    constant = (_baseline(boards.get(task), name) for task, name in COLUMNS)
    rows = [[NO_CHANGE, "", *constant, *(DASH for _ in expression), ""]]
    for group, methods in section.groups:
        if group.endswith(APART):
            rows.append([f"*{escape(group)}*", *[""] * (len(header) - 1)])
        for method, own in methods:
            entries = [row.entry for row in own.values()]
            common = common_marks(entries)
            marks = marks_text(entries, set(MARKS) - set(common))
            named = [f"{escape(method)}{marks}", escape(entries[0].backbone_text)]
            means = [_units(own, units, common)] if units else []
            rows.append([*named, *_values(own, common), *means, _mean_rank(method, section)])
    return table(header, rows, 2)


def _baseline(board: Board | None, name: str) -> str:
    return DASH if board is None else format_value(name, board.baseline(name))


def _values(own: Mapping[str, BoardRow], common: Sequence[str]) -> list[str]:
    """Print a method's values, the first of each task with its marks but those of the whole row."""
    cells, marked = [], set()
    for task, name in COLUMNS:
        if task not in own:
            cells.append(DASH)
            continue
        marks = "" if task in marked else marks_text([own[task].entry], common)
        cells.append(value_text(name, own[task].cells.get(name)) + marks)
        marked.add(task)
    return cells


def _units(own: Mapping[str, BoardRow], units: Sequence[str], common: Sequence[str]) -> str:
    """Print the action units' mean correlation, with the marks of their records."""
    entries = [own[task].entry for task in units if task in own]
    return _mean_correlation(own, units) + marks_text(entries, common)


def _mean_correlation(own: Mapping[str, BoardRow], units: Sequence[str]) -> str:
    """Print the mean correlation over all action units; a dash if one is missing."""
    found = [own[task].number(CORRELATION) for task in units if task in own]
    values = [value for value in found if value is not None]
    return format_value(CORRELATION, fmean(values)) if units and len(values) == len(units) else DASH


def _mean_rank(method: str, section: Section) -> str:
    standing = section.ranking.standings.get(method) if section.ranking else None
    return DASH if standing is None else mean_rank_text(standing)


def draw_plot(document: Document) -> str:
    """Draw r of every rendered task, one colour a method, with 95 % intervals; the same bytes each time.

    Args:
        document: The committed board. Of rendered faces the protocol with the most tasks is drawn; of many
            methods the first by mean rank.

    Returns:
        An SVG file that follows the reader's light or dark theme.
    """
    sections = sorted(document.sections(RENDERED), key=lambda section: -len(section.boards))[:1]
    boards = [board for section in sections for board in section.boards]
    boards.sort(key=lambda board: natural_order(board.task))
    entries = {row.entry.method: row.entry for board in boards for row in board.rows}
    methods = sorted(entries, key=lambda method: entries[method].order)
    if len(methods) > _MOST and sections[0].ranking is not None:
        first = list(sections[0].ranking.standings)[:_MOST]
        methods = [method for method in methods if method in first]
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
    cells = {row.entry.method: row.cells.get(CORRELATION) for row in board.rows}
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


if __name__ == "__main__":
    write(*map(Path, sys.argv[1:]))
