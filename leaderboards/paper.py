"""The paper's published values, for the column beside the measured ones."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from comface_bench.leaderboards.document import family_of
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping


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
        method: Name of the method. Options after a `+` are no part of its published identity, but for those
            that the supplement varies: ComFace's backbone.
    """
    base, *options = method.split("+")
    published = {
        name: values
        for (cell_task, cell_protocol, name), values in _by_base().get(base, {}).items()
        if (cell_task, cell_protocol) == (task, protocol) and set(name.split("+")[1:]) <= set(options)
    }
    # More options say more exactly which row it is; its values alone are then the published ones.
    return published[max(published, key=lambda name: name.count("+"))] if published else {}


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
    """Whether the supplement reports on tasks of this one's family, such as `disfa`."""
    return any(family_of(cell_task) == family_of(task) for cell_task, _, _ in _by_cell())


@functools.cache
def tables() -> dict[str, Any]:
    """Return the supplement's tables by letter, values as printed."""
    return tomllib.loads(resources.files(__package__).joinpath("paper.toml").read_text(encoding="utf-8"))


@functools.cache
def _by_base() -> Mapping[str, Mapping[tuple[str, str, str], dict[str, PaperValue]]]:
    bases: dict[str, dict[tuple[str, str, str], dict[str, PaperValue]]] = {}
    for cell, values in _by_cell().items():
        bases.setdefault(cell[2].partition("+")[0], {})[cell] = values
    return bases


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
