"""What a leaderboard needs of each record, in the order in which boards list methods."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from comface_bench.leaderboards.cards import known_card
from comface_bench.results.store import ResultStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas

    from comface_bench.results.schema import Record
    from comface_bench.stats.metrics import MetricValue

# The supplement's groups and the order inside them (Tables F, J, N); StableRep is Table M's.
GROUPS = {
    "Scratch": ["scratch"],
    "General Pre-training": ["imagenet", "vggface2"],
    "Visual Representation Learning": ["simclr", "mocov2", "swav", "barlowtwins", "stablerep"],
    "Facial Representation Learning": ["bulat", "farl", "pcl", "comface"],
}
OTHER = "Other"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One record, as boards show it.

    Attributes:
        task, protocol, method, group, kind: Names; the kind is `ours`, `submitted` or `paper`.
        data, target, unit, split, aggregate: What the task estimates and how folds are taken together.
        version: Digest of data and split; rows of different versions aren't comparable.
        metrics: The task's metrics by name, its primary summary.
        fold_means: The mean of the folds' metrics.
        constant: The same of the "no change" answer.
        folds_done: Number of folds done.
        folds: Number of folds of the split.
        seeds: Seeds that occur.
        n_pairs, n_subjects: Distinct test pairs and subjects.
        failures: Number of failed units.
        complete: Whether the record may be ranked.
        idle: Whether its error is no smaller than that of the "no change" answer.
        overlap: Data sets of its pre-training that hold people of the task's data.
        trained_on: Data sets of its pre-training.
        training_scale, licence: As the package's own card of the method says; empty where it has none.
        parameters: Number of the backbone's parameters.
        images_per_second: Mean over units; None where it wasn't measured.
    """

    task: str
    protocol: str
    method: str
    group: str
    kind: str
    data: str
    target: str
    unit: str
    split: str
    aggregate: str
    version: tuple[str, str]
    metrics: dict[str, MetricValue]
    fold_means: dict[str, MetricValue]
    constant: dict[str, MetricValue]
    folds_done: int
    folds: int
    seeds: tuple[int, ...]
    n_pairs: int
    n_subjects: int
    failures: int
    complete: bool
    idle: bool
    overlap: tuple[str, ...]
    trained_on: tuple[str, ...] = ()
    training_scale: str = ""
    licence: str = ""
    parameters: int = 0
    images_per_second: float | None = None

    @property
    def ranked(self) -> bool:
        """Whether best and second are chosen among this: complete, and measured."""
        return self.complete and self.kind != "paper"


def entry_of(record: Record) -> Entry:
    """Take from a record what boards show."""
    task, summary = record.task, record.summary
    trained_on = tuple(map(str, record.method.card.get("trained_on", ())))
    card = known_card(record.method.name)
    return Entry(
        task=task.name,
        protocol=record.protocol.name,
        method=record.method.name,
        group=str(record.method.card.get("group", OTHER)),
        kind=record.provenance.kind,
        data=task.data,
        target=task.target,
        unit=task.unit,
        split=task.split,
        aggregate=task.aggregate,
        version=(task.manifest_digest, task.split_digest),
        metrics={name: record.primary[name] for name in task.metrics},
        fold_means={name: summary.fold_mean[name] for name in task.metrics},
        constant={name: summary.constant[name] for name in task.metrics},
        folds_done=len(summary.folds_done),
        folds=task.folds,
        seeds=tuple(summary.seeds),
        n_pairs=summary.n_pairs,
        n_subjects=summary.n_subjects,
        failures=len(record.failures),
        complete=summary.complete,
        idle=record.idle,
        overlap=tuple(name for name in trained_on if name in record.task.card.get("overlaps", [])),
        trained_on=trained_on,
        training_scale=card.training_scale if card else "",
        licence=card.licence if card else "",
        parameters=record.method.parameters,
        images_per_second=_speed(record),
    )


def read_entries(results: Path) -> list[Entry]:
    """Read all records of a results folder, in board order.

    Raises:
        ResultError: A file isn't a record.
    """
    entries = (entry_of(record) for record in ResultStore(results).records())
    return sorted(entries, key=lambda e: (natural(e.task), protocol_order(e.protocol), method_order(e)))


def load(results: Path | str) -> pandas.DataFrame:
    """Read all records into a table.

    Args:
        results: Folder of results.

    Returns:
        One row a record: `task, protocol, method, group, kind, complete, folds_done, folds, seeds, n_pairs,
        n_subjects, failures`, then each metric in its own unit (`acc` as a fraction) and its `constant_`
        counterpart; NaN where a metric has no value or the task doesn't have it.

    Raises:
        ResultError: A file isn't a record.
    """
    import pandas

    entries = read_entries(Path(results))
    plain = ["task", "protocol", "method", "group", "kind", "complete", "folds_done", "folds"]
    plain += ["n_pairs", "n_subjects", "failures"]
    names = list(dict.fromkeys(name for entry in entries for name in entry.metrics))
    columns: dict[str, list[Any]] = {name: [getattr(entry, name) for entry in entries] for name in plain}
    columns["seeds"] = [len(entry.seeds) for entry in entries]
    for name in names:
        columns[name] = [_number(entry.metrics.get(name)) for entry in entries]
    for name in names:
        columns[f"constant_{name}"] = [_number(entry.constant.get(name)) for entry in entries]
    return pandas.DataFrame(columns)


def groups_of(entries: Iterable[Entry]) -> list[str]:
    """Return the groups that occur, in board order."""
    found = {entry.group for entry in entries}
    return sorted(found, key=_group_order)


def method_order(entry: Entry) -> tuple[Any, ...]:
    """Sort key: the supplement's groups and order, then by name."""
    return method_rank(entry.group, entry.method)


def method_rank(group: str, method: str) -> tuple[Any, ...]:
    """Sort key of a method of a group: the supplement's groups and order, then by name."""
    known = GROUPS.get(group, [])
    base = method.partition("+")[0]
    place = known.index(base) if base in known else len(known)
    return (_group_order(group), place, natural(method))


def protocol_order(protocol: str) -> tuple[Any, ...]:
    """Sort key: linear, finetune, quick, then by name; overridden ones after their base."""
    base = protocol.partition("+")[0]
    known = ["linear", "finetune", "quick"]
    return (known.index(base) if base in known else len(known), natural(protocol))


def natural(name: str) -> tuple[Any, ...]:
    """Sort key that puts `au2` before `au12`; names that differ never tie."""
    parts = re.split(r"([0-9]+)", name)
    return (tuple((int(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts)), name)


def _speed(record: Record) -> float | None:
    """Return images per second, mean over the units that measured it."""
    told = [unit.details.get("images_per_second") for unit in record.units]
    speeds = [float(speed) for speed in told if isinstance(speed, int | float) and speed > 0]
    return fmean(speeds) if speeds else None


def _group_order(group: str) -> tuple[Any, ...]:
    known = list(GROUPS)
    return (known.index(group) if group in known else len(known), group != OTHER, group)


def _number(value: MetricValue | None) -> float:
    return math.nan if value is None or value.value is None else value.value
