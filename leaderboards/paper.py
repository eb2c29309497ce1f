"""The paper's published values, for the column beside the measured ones."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import Any, NamedTuple

from comface_bench.stats.metrics import METRICS


class PaperValue(NamedTuple):
    """A published value.

    Attributes:
        value: In the metric's own unit, as measured values are: `acc` is a fraction.
        table: Letter of the supplement's table.
    """

    value: float
    table: str


def paper_values(task: str, protocol: str, method: str) -> dict[str, PaperValue]:
    """Look up what the supplement publishes for a method on a task, by metric.

    Args:
        task: Name of the task.
        protocol: Name of the protocol; overridden and shortened ones have no published value.
        method: Name of the method; options after a `+` are not part of its published identity.
    """
    return _by_cell().get((task, protocol, method.partition("+")[0]), {})


def published_metrics(task: str, protocol: str) -> list[str]:
    """Name the metrics that the supplement publishes for a task under a protocol, for any method."""
    found = {
        metric
        for (cell_task, cell_protocol, _), values in _by_cell().items()
        if (cell_task, cell_protocol) == (task, protocol)
        for metric in values
    }
    return [metric for metric in METRICS if metric in found]


def is_paper_task(task: str) -> bool:
    """Whether the supplement has this task at all."""
    return any(cell_task == task for cell_task, _, _ in _by_cell())


@functools.cache
def tables() -> dict[str, Any]:
    """Return the supplement's tables by letter, values as printed."""
    return tomllib.loads(resources.files(__package__).joinpath("paper.toml").read_text(encoding="utf-8"))


@functools.cache
def _by_cell() -> dict[tuple[str, str, str], dict[str, PaperValue]]:
    cells: dict[tuple[str, str, str], dict[str, PaperValue]] = {}
    for letter, table in tables().items():
        for row in table["rows"]:
            if "method" not in row:
                continue
            for column, printed in zip(table["columns"], row["values"], strict=True):
                cell = cells.setdefault((column["task"], table["protocol"], row["method"]), {})
                value = printed / 100 if METRICS[column["metric"]].percent else printed
                cell.setdefault(column["metric"], PaperValue(value, letter))
    return cells
