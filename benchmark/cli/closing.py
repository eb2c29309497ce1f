"""The closing table of a run: each record with the constant answer beside it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from comface_bench.cli.tables import print_table

if TYPE_CHECKING:
    from comface_bench.results.schema import Record
    from comface_bench.stats.metrics import MetricValue

_SHOWN = 2
"""Metrics of a task that are shown: its primary one and the next."""
_TITLES = {"mae": "MAE", "pearson": "r", "rmse": "RMSE", "acc": "Acc."}
_IN_UNIT = ("mae", "rmse")


def print_closing(records: Iterable[Record]) -> None:
    """Print a row for each record: metrics, the "no change" answer, folds done, seconds.

    A metric that the constant answer doesn't have, such as a correlation, has no such column.
    """
    records = list(records)
    metrics = sorted({name for record in records for name in record.task.metrics[:_SHOWN]})
    compared = {
        name
        for record in records
        for name in metrics
        if (value := record.summary.constant.get(name)) is not None and value.value is not None
    }
    headings = ["method", "task"]
    for name in metrics:
        title = _TITLES.get(name, name)
        headings += [title, f"no change: {title}"] if name in compared else [title]
    headings += ["folds", "seconds"]
    rows = [_row(record, metrics, compared) for record in records]
    print_table(headings, rows, numbers=headings[2:])
    for record in records:
        if record.no_better_than_baseline:
            typer.echo(f"{record.method.name} on {record.task.name} is no better than always answering 0")


def _row(record: Record, metrics: Iterable[str], compared: set[str]) -> list[str]:
    task, summary = record.task, record.summary
    cells = [record.method.name, task.name]
    for name in metrics:
        unit = f" {task.unit}" if name in _IN_UNIT else ""
        cells.append(_number(record.primary.get(name), unit))
        if name in compared:
            cells.append(_number(summary.constant.get(name), unit))
    failed = f" ({len(record.failures)} failed)" if record.failures else ""
    cells.append(f"{len(summary.folds_done)}/{task.folds}{failed}")
    cells.append(f"{sum(unit.seconds for unit in record.units):.1f}")
    return cells


def _number(value: MetricValue | None, unit: str) -> str:
    return "—" if value is None or value.value is None else f"{value.value:.3f}{unit}"
