"""The ComFace paper's supplement: its published values, and the order of boards and methods.

Values are those of `paper.toml`, Tables H to N. Boards list methods in the groups and order of Tables F, J
and N; what the supplement doesn't name comes after, by name. Protocols stand in the order of their cards.
"""

from __future__ import annotations

import functools
import re
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from comface_bench.core.protocol import protocol_names, protocol_registry
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COMFACE = "comface"
"""The paper's own method; every board compares the others with it."""
# StableRep is Table M's.
GROUPS = {
    "Scratch": ["scratch"],
    "General Pre-training": ["imagenet", "vggface2"],
    "Visual Representation Learning": ["simclr", "mocov2", "swav", "barlowtwins", "stablerep"],
    "Facial Representation Learning": ["bulat", "farl", "pcl", COMFACE],
}
OTHER = "Other"


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
    return [metric for metric in paper_metrics() if metric in found]


@functools.cache
def paper_metrics() -> tuple[str, ...]:
    """Name the metrics that the supplement reports on any task."""
    found = {column["metric"] for table in tables().values() for column in table["columns"]}
    return tuple(metric for metric in METRICS if metric in found)


@functools.cache
def paper_protocols() -> tuple[str, ...]:
    """Name the protocols that the supplement reports on, in its order."""
    return tuple(dict.fromkeys(table["protocol"] for table in tables().values()))


def is_paper_board(task: str, protocol: str) -> bool:
    """Return True if the supplement reports on the protocol and on tasks of this one's family, as `disfa`."""
    return protocol in paper_protocols() and any(
        family_of(cell_task) == family_of(task) for cell_task, _, _ in _by_cell()
    )


@functools.cache
def tables() -> dict[str, Any]:
    """Return the supplement's tables by letter, values as printed."""
    return tomllib.loads(resources.files(__package__).joinpath("paper.toml").read_text(encoding="utf-8"))


def family_of(task: str) -> str:
    """Return a task's family: what its name begins with, such as `disfa`, `edema`, `synth`, `age`, `csv`."""
    return re.split(r"[-:+]", task, maxsplit=1)[0]


def group_order(group: str) -> tuple[Any, ...]:
    """Sort key of a group of methods: the supplement's order, then `Other`, then by name."""
    return (_index(list(GROUPS), group), group != OTHER, group)


def method_order(group: str, method: str) -> tuple[Any, ...]:
    """Sort key of a method of a group: the supplement's groups and order, then by name."""
    known = _index(GROUPS.get(group, []), method.partition("+")[0])
    return (group_order(group), known, natural_order(method))


def protocol_order(protocol: str) -> tuple[Any, ...]:
    """Sort key of a protocol: the built-in cards' order, then by name; overridden ones after their base."""
    return (_index(_built_in_protocols(), protocol.partition("+")[0]), natural_order(protocol))


@functools.cache
def _built_in_protocols() -> list[str]:
    return protocol_names(protocol_registry(plugins=False))


def natural_order(name: str) -> tuple[Any, ...]:
    """Sort key that puts `au2` before `au12`; names that differ never tie."""
    parts = re.split(r"([0-9]+)", name)
    return (tuple((int(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts)), name)


def _index(known: Sequence[str], name: str) -> int:
    return known.index(name) if name in known else len(known)


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
