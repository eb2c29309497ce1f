"""The ComFace paper's supplement: its published values, and the order of boards and methods.

Values are those of `paper.toml`, Tables H to N, each beside records of the same method, backbone, protocol
and head start only. Boards list methods in the groups and order of Tables F, J and N; what the supplement
doesn't name comes after, by name. Protocols stand in the order of their cards.
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
BACKBONES = {"farl": "ViT-B/16", "pcl": "16-layer CNN", "stablerep": "ViT-B/16"}
"""Of Tables F and M, where they name another than `USUAL_BACKBONE`."""
USUAL_BACKBONE = "ResNet-50"
HEAD_STARTS = {
    ("linear", "scratch"): "(a)",
    ("linear", "pretrained"): "(b)",
    ("finetune", "scratch"): "(c)",
    ("finetune", "pretrained"): "(d)",
}
"""Letters of the supplement's settings, Tables K and L, by protocol and head start."""
LINEAR_EPOCHS = 20
"""Epochs of linear evaluation in Table C."""
SETTINGS = {"expression": "C", "weight": "D", "age": "E"}
"""Letters of the supplement's tables of settings, by quantity."""
_HEAD_START = "head_start="


class PaperValue(NamedTuple):
    """A published value.

    Attributes:
        value: In the metric's own unit, as measured values are: `acc` is a fraction.
        table: Letter of the supplement's table.
    """

    value: float
    table: str


class PaperCell(NamedTuple):
    """What a published value is of; a record with other facts is another thing.

    Attributes:
        task, protocol: Names, the protocol's without options.
        head_start: `scratch`, settings (a) and (c) of the supplement, or `pretrained`, (b) and (d).
        method: Name without options.
        backbone: Topology.
    """

    task: str
    protocol: str
    head_start: str
    method: str
    backbone: str


def paper_values(
    task: str, protocol: str, method: str, backbone: str, head_start: str = ""
) -> dict[str, PaperValue]:
    """Look up what the supplement publishes for the same thing as a record's, by metric.

    Args:
        task: Name of the task.
        protocol: Name of the protocol. One with options has no published value, but for `head_start`.
        method: Name of the method; options after a `+` aren't looked at.
        backbone: Its topology, as `ResNet-50`; none of the supplement's where it isn't known.
        head_start: As the record's protocol says; by default `default_head_start`.
    """
    base, method = protocol_base(protocol), method.partition("+")[0]
    start = head_start or default_head_start(protocol, method)
    return dict(_by_cell().get(PaperCell(task, base, start, method, backbone), {}))


def published_cells(task: str, protocol: str) -> list[tuple[PaperCell, dict[str, PaperValue]]]:
    """Return all that the supplement publishes on a task under a protocol, in the order of its tables."""
    return [
        (cell, values)
        for cell, values in _by_cell().items()
        if (cell.task, cell.protocol) == (task, protocol_base(protocol))
    ]


def paper_row_values(letter: str, label: str, cell: PaperCell) -> dict[str, PaperValue]:
    """Look up what one row of a table publishes for the same thing, by metric.

    A row that names no method is of the paper's own, under a condition that its label says (Table H).

    Args:
        letter: Of the table.
        label: Name of the row, as printed.
        cell: What is measured; without values where the row is of other facts.
    """
    table = tables()[letter]
    found = {}
    for row in table["rows"]:
        if row["row"] == label:
            for column, printed in zip(table["columns"], row["values"], strict=True):
                if _cell_of(column["task"], table["protocol"], {"method": COMFACE, **row}) == cell:
                    found[column["metric"]] = _value(column["metric"], printed, letter)
    return found


def _value(metric: str, printed: float, letter: str) -> PaperValue:
    return PaperValue(printed / 100 if METRICS[metric].percent else printed, letter)


def published_settings(quantity: str) -> dict[str, Any]:
    """Return the settings of one of Tables C to E, named as records of `finetune` hold them.

    What the supplement leaves open isn't among them: betas of Adam, the ratio of crops, and so on. The number
    of epochs is that of fine-tuning; Table C alone has another, `LINEAR_EPOCHS`, for linear evaluation.

    Args:
        quantity: What the task is about, as its card's family says; nothing is published for `custom`.
    """
    if quantity not in SETTINGS:
        return {}
    rates = {"expression": 1.0e-5, "weight": 1.0e-4, "age": 4.6e-4}
    colour = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
    # No crop in Table D.
    crop = {"crop_scale": None if quantity == "weight" else [0.5, 1.0]}
    return {
        "epochs": 10,
        "batch_size": 16,
        "optimizer": {"name": "adam"},
        "learning_rate": rates[quantity],
        "schedule": "none",
        "image_size": 224,
        "augmentation": {"flip": 0.5, "jitter_prob": 0.8, **colour, "grayscale_prob": 0.2, **crop},
    }


def default_head_start(protocol: str, method: str) -> str:
    """Return the head start that a protocol's name means for a method, where no record says it."""
    return _named_head_start(protocol) or _usual_head_start(protocol_base(protocol), method.partition("+")[0])


def published_metrics(task: str, protocol: str) -> list[str]:
    """Name the metrics that the supplement publishes for a task under a protocol, for any method."""
    base, start = protocol_base(protocol), _named_head_start(protocol)
    found = {
        metric
        for cell, values in _by_cell().items()
        if (cell.task, cell.protocol) == (task, base)
        and cell.head_start == (start or _usual_head_start(base, cell.method))
        for metric in values
    }
    return [metric for metric in paper_metrics() if metric in found]


def protocol_base(protocol: str) -> str:
    """Return the name of a protocol without its head start, which the supplement varies."""
    name, *options = protocol.split("+")
    return "+".join([name, *(option for option in options if not option.startswith(_HEAD_START))])


def _named_head_start(protocol: str) -> str:
    options = protocol.split("+")[1:]
    return next((one.removeprefix(_HEAD_START) for one in options if one.startswith(_HEAD_START)), "")


def _usual_head_start(protocol: str, method: str) -> str:
    """Return the head start of the paper's final settings: (a) in linear evaluation, (d) in fine-tuning."""
    return "pretrained" if (protocol, method) == ("finetune", COMFACE) else "scratch"


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
    return protocol_base(protocol) in paper_protocols() and any(
        family_of(cell.task) == family_of(task) for cell in _by_cell()
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
def _by_cell() -> Mapping[PaperCell, dict[str, PaperValue]]:
    cells: dict[PaperCell, dict[str, PaperValue]] = {}
    for letter, table in tables().items():
        for row in table["rows"]:
            if "method" not in row:
                continue
            for column, printed in zip(table["columns"], row["values"], strict=True):
                cell = cells.setdefault(_cell_of(column["task"], table["protocol"], row), {})
                cell.setdefault(column["metric"], _value(column["metric"], printed, letter))
    return cells


def _cell_of(task: str, protocol: str, row: Mapping[str, Any]) -> PaperCell:
    method = row["method"]
    start = row.get("head_start", _usual_head_start(protocol, method))
    backbone = row.get("backbone", BACKBONES.get(method, USUAL_BACKBONE))
    return PaperCell(task, protocol, start, method, backbone)
