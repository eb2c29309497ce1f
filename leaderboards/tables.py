"""The tables of a board's page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comface_bench.leaderboards.facts import (
    CONSTANT,
    INCOMPLETE,
    constant_entry,
    difference_text,
    grouped,
    heading,
    headline,
    interval_text,
    value_text,
)
from comface_bench.leaderboards.markdown import beneath, escape, table
from comface_bench.leaderboards.numbers import DASH, format_value
from comface_bench.leaderboards.paper import published_metrics
from comface_bench.leaderboards.statistics import COMFACE
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comface_bench.leaderboards.document import Board, Cell, Comparison, Row


def results(board: Board) -> list[str]:
    """Write the headline metrics with intervals, the paper's values beside them, and where a row is from."""
    names, published = headline(board), published_metrics(board.task, board.protocol)
    header = ["Method", *map(heading, names)]
    header += [*(f"{METRICS[name].title}, paper" for name in published), "From"]

    def cells(row: Row) -> list[str]:
        found = [(name, row.paper.get(name)) for name in published]
        paper = [format_value(name, value.value if value else None) for name, value in found]
        kind = row.entry.kind
        return [*_measured(row, names), *paper, kind if kind == "ours" else f"*{escape(kind)}*"]

    constant = [*_constant(board, names), *[""] * (len(published) + 1)]
    return table(header, [constant, *grouped(board.rows, len(header), cells)])


def further(board: Board) -> list[str]:
    """Write the other metrics with intervals; nothing where there are none."""
    names = [name for name in board.metrics if name not in headline(board)]
    if not names:
        return []
    header = ["Method", *map(heading, names)]
    rows = grouped(board.rows, len(header), lambda row: _measured(row, names))
    return table(header, [_constant(board, names), *rows])


def differences(board: Board) -> list[str]:
    """Write each method's difference to the best and to ComFace; a sentence where nothing is compared."""
    compared = [row for row in board.rows if any(map(_is_compared, row.cells.values()))]
    if not compared:
        return ["Fewer than two rows are ranked."]
    names = headline(board)
    to_comface = [name for name in names if any(_to_comface(row, name) for row in compared)]
    best = ", ".join(
        f"{METRICS[name].title} {escape(method)}"
        for name in names
        if (method := board.best.get(name)) is not None
    )
    header = ["Method", *(f"{METRICS[name].title} − best" for name in names)]
    header += [f"{METRICS[name].title} − {COMFACE}" for name in to_comface]

    def cells(row: Row) -> list[str]:
        found = [(name, row.cells.get(name)) for name in names]
        to_best = [difference_text(name, cell.to_best if cell else None) for name, cell in found]
        return [*to_best, *(difference_text(name, _to_comface(row, name)) for name in to_comface)]

    return [f"The best: {best}.", "", *table(header, grouped(compared, len(header), cells))]


def fold_means(board: Board) -> list[str]:
    """Write the mean of the folds' metrics; nothing where that is what the board shows already."""
    if board.rows[0].entry.aggregate == "fold-mean":
        return []
    names = board.metrics
    header = ["Method", *map(heading, names)]

    def cells(row: Row) -> list[str]:
        found = [(name, row.cells.get(name)) for name in names]
        return [DASH if cell is None else _fold_mean(name, cell) for name, cell in found]

    lines = table(header, grouped(board.rows, len(header), cells))
    why = {cell.fold_interval.reason for row in board.rows for cell in row.cells.values()}
    told = "; ".join(escape(reason) for reason in sorted(filter(None, why)))
    without = f" Without an interval: {told}." if told else ""
    return [f"Each fold's own metrics, averaged over folds and seeds.{without}", "", *lines]


def methods(board: Board) -> list[str]:
    """Write what stands behind each row: the backbone, and what it was trained on before."""
    header = ["Method", "Pre-training", "Images", "Licence of the weights", "Parameters"]

    def cells(row: Row) -> list[str]:
        entry = row.entry
        size = entry.parameters
        texts = [", ".join(entry.trained_on), entry.training_scale, entry.licence]
        printed = f"{size / 1e6:.1f} M" if size >= 50_000 else f"{size:,}"
        return [*(escape(text) or DASH for text in texts), printed]

    return table(header, grouped(board.rows, len(header), cells), text_columns=4)


def runs(board: Board) -> list[str]:
    """Write how much was run for each row, how fast, and the constant answer on its own pairs."""
    has_mae = "mae" in board.metrics
    header = ["Method", "Folds", "Seeds", "Pairs", "Subjects", "Failed", "Images/s"]
    header += ["MAE of *no change*"] if has_mae else []

    def cells(row: Row) -> list[str]:
        entry = row.entry
        speed, floor = entry.images_per_second, entry.constant.get("mae")
        return [
            f"{entry.folds_done}/{entry.folds}",
            ", ".join(map(str, entry.seeds)),
            *(f"{count:,}" for count in (entry.n_pairs, entry.n_subjects, entry.failures)),
            DASH if speed is None else f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}",
            *([format_value("mae", floor.value if floor else None)] if has_mae else []),
        ]

    return table(header, grouped(board.rows, len(header), cells))


def _measured(row: Row, names: Sequence[str]) -> list[str]:
    cells = [(name, row.cells.get(name)) for name in names]
    return [
        beneath(value_text(name, cell), interval_text(name, cell.interval) if cell else "")
        for name, cell in cells
    ]


def _constant(board: Board, names: Sequence[str]) -> list[str]:
    entry = constant_entry(board)
    values = [entry.constant.get(name) for name in names]
    printed = [
        format_value(name, value.value if value else None) for name, value in zip(names, values, strict=True)
    ]
    return [CONSTANT if entry.complete else f"{CONSTANT} {INCOMPLETE}", *printed]


def _fold_mean(name: str, cell: Cell) -> str:
    text = format_value(name, cell.fold_mean.value)
    return beneath(text, interval_text(name, cell.fold_interval))


def _to_comface(row: Row, name: str) -> Comparison | None:
    """Return the difference to ComFace, but not where ComFace is the best, which has a column already."""
    cell = row.cells.get(name)
    if cell is None or (cell.to_best is not None and cell.to_best.reference == COMFACE):
        return None
    return cell.to_comface


def _is_compared(cell: Cell) -> bool:
    return cell.to_best is not None or cell.to_comface is not None
