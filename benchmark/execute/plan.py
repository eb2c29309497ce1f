"""Plans: which units a request means, which of them are finished, and why any are left out.

Planning reads cards, manifests, folds and records; it needs neither torch nor pandas, but where
open_clip has to be asked which repository a tag is in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from comface_bench.core.card import MethodCard, TaskCard
from comface_bench.core.errors import BenchError, DataMissingError, UsageError, WeightsMissingError
from comface_bench.core.names import (
    METHOD_OPTIONS,
    TASK_OPTIONS,
    differing,
    divide_options,
    format_name,
    method_options,
    parse_name,
    split_list,
    unknown_name,
)
from comface_bench.core.protocol import (
    Protocol,
    ProtocolCard,
    override_keys,
    protocol_registry,
    resolve_protocol,
)
from comface_bench.core.registry import Entry, Registry, method_registry, task_registry
from comface_bench.core.unit import Unit
from comface_bench.core.weights import find_weights, weights_digest
from comface_bench.data.manifest import Manifest
from comface_bench.data.task import Task, open_task
from comface_bench.results.store import ResultStore
from comface_bench.stats.metrics import metric_registry

DEFAULT_PROTOCOL = "linear"
DEFAULT_RESULTS = Path("results")


@dataclass(frozen=True)
class Request:
    """A request of the user, as typed.

    Attributes:
        methods, tasks: Names, comma lists or patterns.
        protocol: Name, overrides allowed.
        options: `-o key=value`, divided among protocol, methods and tasks.
        data: Data root, or None for the default.
        results: Folder of records.
        folds: Folds to run, or None for all.
        seeds: Repetitions to run.
        units: Keys, or leading digits of keys, of the only units to run; empty for all.
        device: As `engine.precision.choose_machine` takes it.
        plugin_files: Files that declare further methods or tasks.
        use_plugins: Whether installed plugins are looked up.
    """

    methods: Sequence[str]
    tasks: Sequence[str]
    protocol: str = DEFAULT_PROTOCOL
    options: Mapping[str, str] = field(default_factory=dict)
    data: Path | None = None
    results: Path = DEFAULT_RESULTS
    folds: Sequence[int] | None = None
    seeds: Sequence[int] = (0,)
    units: Sequence[str] = ()
    device: str = "auto"
    plugin_files: Sequence[Path] = ()
    use_plugins: bool = True


@dataclass(frozen=True, eq=False)
class PlannedRecord:
    """One record's worth of work: a method on a task under a protocol.

    Attributes:
        method: Registry entry of the method.
        options: All of the method's options.
        named_options: Those that differ from its defaults, as its name shows them.
        weights: Its weights file.
        checkpoint_digest: SHA-256 of that file.
        task: The task with its data.
        protocol: Resolved for this task and method.
        protocol_entry: Registry entry of the protocol.
        units: All units asked for.
        missing: Those that aren't finished.
    """

    method: Entry[MethodCard]
    options: Mapping[str, str]
    named_options: Mapping[str, str]
    weights: Path | None
    checkpoint_digest: str | None
    task: Task
    protocol: Protocol
    protocol_entry: Entry[ProtocolCard]
    units: tuple[Unit, ...]
    missing: tuple[Unit, ...]

    @property
    def method_name(self) -> str:
        """The method's name with its options."""
        return format_name(self.method.card.name, self.named_options)

    @property
    def label(self) -> str:
        """One line that names the cell for people."""
        return f"{self.method_name} · {self.task.name} · {self.protocol.name}"


@dataclass(frozen=True)
class Skip:
    """A combination that a pattern matched but that can't run, with the reason and what to do."""

    label: str
    reason: str
    hint: str


@dataclass(frozen=True)
class Plan:
    """All cells of a request, and what was skipped."""

    cells: tuple[PlannedRecord, ...]
    skips: tuple[Skip, ...]


def make_plan(request: Request) -> Plan:
    """Work a request out.

    A name that the user wrote out must be able to run; a name that only a pattern matched is skipped
    with its reason if its data or weights are missing.

    Raises:
        BenchError: A name, option, fold or key is wrong, or data or weights are missing.
    """
    method_names = method_registry(request.plugin_files, request.use_plugins)
    task_names = task_registry(request.plugin_files, request.use_plugins)
    wanted_methods, wanted_tasks = split_list(request.methods), split_list(request.tasks)
    for kind, names in (("method", wanted_methods), ("task", wanted_tasks)):
        if not names:
            raise UsageError(f"no {kind} is named", f"See which there are: comface-bench list {kind}s")
    methods = [
        _Named(method_names, name, name in wanted_methods) for name in method_names.expand(wanted_methods)
    ]
    tasks = [_Named(task_names, name, name in wanted_tasks) for name in task_names.expand(wanted_tasks)]
    protocols = protocol_registry(request.plugin_files, request.use_plugins)
    protocol_name, protocol_options = parse_name(request.protocol)
    protocol_entry = protocols.get(protocol_name)
    shared, for_methods, for_tasks = divide_options(
        request.options,
        override_keys(protocol_entry.card.settings),
        [item.entry.card for item in methods],
        [item.entry.card for item in tasks],
    )
    overrides = {**protocol_options, **shared}
    skips: list[Skip] = []
    ready_methods = []
    for method in methods:
        try:
            ready_methods.append(_ReadyMethod.find(method, for_methods))
        except WeightsMissingError as error:
            _skip_or_raise(method.explicit, method.name, error, skips)
    metrics = metric_registry(request.plugin_files, request.use_plugins).names()
    for named in tasks:
        for metric in named.entry.card.metrics:
            if metric not in metrics:
                raise unknown_name(metric, metrics, "metric")
    manifests: dict[tuple[str, Path], Manifest] = {}
    cells = []
    store = ResultStore(request.results)
    for named in tasks:
        try:
            taken = {
                key: text
                for key, text in for_tasks.items()
                if key in TASK_OPTIONS or key in named.entry.card.options
            }
            task = open_task(named.entry, {**taken, **named.options}, request.data, manifests)
        except DataMissingError as error:
            _skip_or_raise(named.explicit, named.name, error, skips)
            continue
        for ready in ready_methods:
            if (refusal := _find_leak(ready.entry.card, task.card)) is not None:
                explicit = named.explicit and ready.explicit
                _skip_or_raise(explicit, f"{ready.entry.card.name} · {named.name}", refusal, skips)
                continue
            own_head = ready.entry.card.pretrained_head
            protocol = resolve_protocol(protocol_name, task.card.family, overrides, own_head, protocols)
            cells.append(_make_cell(ready, task, protocol, protocol_entry, request, store))
    if not cells and skips:
        raise BenchError("nothing can run: " + "; ".join(skip.reason for skip in skips), skips[0].hint)
    return Plan(_only_units(cells, request.units), tuple(skips))


CardT = TypeVar("CardT", bound=MethodCard | TaskCard)


class _Named(Generic[CardT]):
    """A name with its entry, and whether the user wrote it out."""

    def __init__(self, registry: Registry[CardT], name: str, explicit: bool) -> None:
        base, self.options = parse_name(name)
        self.name = name
        self.entry = registry.get(base)
        self.explicit = explicit


@dataclass(frozen=True, eq=False)
class _ReadyMethod:
    """A method with its options and weights."""

    entry: Entry[MethodCard]
    options: Mapping[str, str]
    named_options: Mapping[str, str]
    weights: Path | None
    checkpoint_digest: str | None
    explicit: bool

    @classmethod
    def find(cls, method: _Named[MethodCard], options: Mapping[str, str]) -> _ReadyMethod:
        card = method.entry.card
        taken = {key: value for key, value in options.items() if key in card.options or key in METHOD_OPTIONS}
        chosen = method_options(card, {**taken, **method.options})
        weights = find_weights(method.entry, chosen)
        checkpoint_digest = weights_digest(weights) if weights else None
        named = differing(card, chosen)
        if "checkpoint" in named and checkpoint_digest:
            # A path means nothing elsewhere and may reveal a person; the content's digest is the fact.
            named["checkpoint"] = checkpoint_digest[:12]
        return cls(method.entry, chosen, named, weights, checkpoint_digest, method.explicit)


def _make_cell(
    ready: _ReadyMethod,
    task: Task,
    protocol: Protocol,
    protocol_entry: Entry[ProtocolCard],
    request: Request,
    store: ResultStore,
) -> PlannedRecord:
    count = len(task.folds)
    folds = range(count) if request.folds is None else sorted(set(request.folds))
    seeds = sorted(set(request.seeds))
    if not folds or not seeds or seeds[0] < 0:
        raise UsageError("folds and seeds are whole numbers from 0, at least one of each")
    for fold in folds:
        if not 0 <= fold < count:
            raise UsageError(f"task {task.name} has no fold {fold}", f"Its folds are 0 to {count - 1}.")
    units = tuple(
        Unit(
            task=task.card,
            task_options=task.chosen,
            method=ready.entry.card,
            method_options={**ready.options, **ready.named_options},
            protocol=protocol,
            manifest_digest=task.table.digest,
            split_digest=task.split.digest,
            checkpoint_digest=ready.checkpoint_digest,
            fold=fold,
            seed=seed,
        )
        for seed in seeds
        for fold in folds
    )
    name = format_name(ready.entry.card.name, ready.named_options)
    finished = store.finished_units(task.name, protocol.name, name)
    missing = tuple(unit for unit in units if finished.get((unit.fold, unit.seed)) != unit.key())
    return PlannedRecord(
        ready.entry,
        ready.options,
        ready.named_options,
        ready.weights,
        ready.checkpoint_digest,
        task,
        protocol,
        protocol_entry,
        units,
        missing,
    )


def _only_units(cells: Sequence[PlannedRecord], keys: Sequence[str]) -> tuple[PlannedRecord, ...]:
    if not keys:
        return tuple(cells)

    def chosen(unit: Unit) -> bool:
        return any(unit.key().startswith(key) for key in keys)

    kept = [
        dataclasses.replace(
            cell,
            units=tuple(filter(chosen, cell.units)),
            missing=tuple(filter(chosen, cell.missing)),
        )
        for cell in cells
    ]
    for key in keys:
        if not any(unit.key().startswith(key) for cell in cells for unit in cell.units):
            raise UsageError(
                f"no unit of this request has the key {key}",
                "Its cards, data or settings may have changed; see the keys: comface-bench run … --dry-run",
            )
    return tuple(cell for cell in kept if cell.units)


def _find_leak(method: MethodCard, task: TaskCard) -> UsageError | None:
    """Refuse a method that was trained on labels of the task's people: its score would say nothing."""
    leaked = sorted(set(method.labels_of) & set(task.overlaps))
    if not leaked:
        return None
    return UsageError(
        f"{method.name} was trained on the labels of {', '.join(leaked)}, which {task.name} tests",
        f"Leave the two apart; its card shows what it was trained on: comface-bench show {method.name}",
    )


def _skip_or_raise(explicit: bool, label: str, error: BenchError, skips: list[Skip]) -> None:
    if explicit:
        raise error
    skips.append(Skip(label, error.message, error.hint))
