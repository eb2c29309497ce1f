"""Plans: which units a request means, which of them are finished, and why any are left out.

Planning reads cards, manifests, folds and records; it needs neither torch nor pandas, but where
open_clip has to be asked which repository a tag is in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from comface_bench.core.card import Family, MethodCard, TaskCard
from comface_bench.core.errors import (
    BenchError,
    DataMissingError,
    SplitError,
    UsageError,
    WeightsMissingError,
)
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
from comface_bench.core.weights import digest_weights, find_weights
from comface_bench.data.changes import DataTable, describe_changes, read_table
from comface_bench.data.manifest import Manifest
from comface_bench.data.splits import PARTS
from comface_bench.data.task import Task, open_task
from comface_bench.results.models import ModelFiles
from comface_bench.results.store import ResultStore
from comface_bench.stats.metrics import metric_registry

if TYPE_CHECKING:
    from comface_bench.results.schema import Record

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
        plugin_files: Files that declare further methods, tasks, protocols or metrics.
        use_plugins: Whether installed plugins are looked up.
        again: Whether units run although they are finished; each then replaces its former result.
        save_models: Whether trained backbones are kept, too, and finished units run for models that aren't
            kept. The heads of frozen ones always are.
        skip_missing: Whether a name that was written out is skipped, as one that a pattern matched is, where
            its data or weights are missing or it may not be tested.
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
    again: bool = False
    save_models: bool = False
    skip_missing: bool = False


@dataclass(frozen=True, eq=False)
class PlannedRecord:
    """One record's worth of work: a method on a task under a protocol.

    Attributes:
        request: What asks for this record alone: one method, one task, and the options that they or the
            protocol take.
        method: Registry entry of the method.
        options: All of the method's options.
        named_options: Those that differ from its defaults, as its name shows them.
        weights: Its weights file.
        checkpoint_digest: SHA-256 of what that file holds, as `FileDigests` has it.
        task: The task with its data.
        protocol: Resolved for this task and method.
        protocol_entry: Registry entry of the protocol.
        units: All units asked for.
        missing: Those to run: those that aren't finished or lack a model, or all that were asked for again.
        finished: Those that are finished, whether they run again or not.
        unsaved: Those that are finished and run for their models alone.
        outdated: Those that are finished and don't run, though their plugin's source was changed since.
        plugin_metrics: Metrics of the task that come from plugins, whose functions may change.
    """

    request: Request
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
    finished: tuple[Unit, ...] = ()
    unsaved: tuple[Unit, ...] = ()
    outdated: tuple[Unit, ...] = ()
    plugin_metrics: tuple[str, ...] = ()

    @property
    def method_name(self) -> str:
        """The method's name with its options."""
        return format_name(self.method.card.name, self.named_options)

    @property
    def record_path(self) -> Path:
        """Where the record is kept."""
        store = ResultStore(self.request.results)
        return store.record_path(self.task.name, self.protocol.name, self.method_name)

    @property
    def same_key(self) -> str:
        """What all units of the record have in common: the key of one fixed fold and repetition."""
        return self.units[0].at(0, 0).key()

    def asked_unlike(self, other: PlannedRecord) -> str:
        """Return how the cell was asked for, with the options that another one wasn't asked for with."""
        (method,), (task,) = self.request.methods, self.request.tasks
        unlike = self.request.options.items() - other.request.options.items()
        return " ".join([method, "·", task, *(f"-o {key}={value}" for key, value in sorted(unlike))])

    @property
    def label(self) -> str:
        """One line that names the cell for people."""
        return f"{self.method_name} · {self.task.name} · {self.protocol.name}"

    def narrow(self, chosen: Callable[[Unit], bool]) -> PlannedRecord:
        """Return the part of the work whose units are chosen."""
        return dataclasses.replace(
            self,
            units=tuple(filter(chosen, self.units)),
            missing=tuple(filter(chosen, self.missing)),
            finished=tuple(filter(chosen, self.finished)),
            unsaved=tuple(filter(chosen, self.unsaved)),
            outdated=tuple(filter(chosen, self.outdated)),
        )

    @property
    def sources(self) -> dict[str, str]:
        """Digests of the plugins' sources that predictions come from, under the names of a unit's details."""
        found = {"method_source": self.method.source, "protocol_source": self.protocol_entry.source}
        return {name: source for name, source in found.items() if source is not None}

    @property
    def warning(self) -> str | None:
        """What is to be said of outdated units, with the remedy; None if there are none."""
        if not self.outdated:
            return None
        cards = [entry.card for entry in (self.method, self.protocol_entry) if entry.source is not None]
        names = " or ".join(f"{card.name} (still version {card.version})" for card in cards)
        keys = [] if self.outdated == self.units else [f"--unit {unit.key()[:12]}" for unit in self.outdated]
        return (
            f"{self.label}: the source of {names} was changed since {len(self.outdated)} of "
            f"{len(self.units)} units were run; they are reused. Raise its version, or run them again: the "
            f"same command with {' '.join(['--again', *keys])}"
        )


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

    def check_any(self) -> None:
        """Check that something can run.

        Raises:
            BenchError: All was skipped.
        """
        if not self.cells and self.skips:
            reasons = dict.fromkeys(skip.reason for skip in self.skips)
            raise BenchError("nothing can run: " + "; ".join(reasons), self.skips[0].hint)


class OpenTasks:
    """What plans that follow each other share: opened tasks, their tables, and whose each record is."""

    def __init__(self) -> None:
        self._manifests: dict[tuple[str, Path], Manifest] = {}
        self._tasks: dict[tuple[object, ...], Task] = {}
        self._records: dict[Path, PlannedRecord] = {}

    def open(self, entry: Entry[TaskCard], options: Mapping[str, str], data: Path | None) -> Task:
        """Open a task, as `open_task` does, or return it if it is open."""
        card = entry.card
        # The names of two tables in two folders may be equal: only their locations tell them apart.
        key = (card.name, card.location, entry.module, entry.source, data, *sorted(options.items()))
        if key not in self._tasks:
            self._tasks[key] = open_task(entry, options, data, self._manifests)
        return self._tasks[key]

    def check_apart(self, cells: Iterable[PlannedRecord]) -> None:
        """Check that what is planned doesn't go into the record of anything else that is.

        Raises:
            UsageError: Of two cells that differ in more than fold and seed, one would replace the other.
        """
        for cell in cells:
            other = self._records.setdefault(cell.record_path, cell)
            if other.same_key != cell.same_key:
                raise UsageError(
                    f"{other.asked_unlike(cell)} and {cell.asked_unlike(other)} aren't the same, but both"
                    f" would be the record {cell.record_path}",
                    "Rename a file, or the split in a split file; or run each into a folder of its own:"
                    " --results DIR",
                )


def make_plan(request: Request) -> Plan:
    """Work a request out.

    A name that the user wrote out must be able to run; a name that only a pattern matched is skipped
    with its reason if its data or weights are missing.

    Raises:
        BenchError: A name, option, fold or key is wrong, or data or weights are missing.
    """
    plan = draft_plan(request, OpenTasks())
    plan.check_any()
    once = without_repeats(plan.cells, set())
    return choose_units(dataclasses.replace(plan, cells=tuple(once)), request.units)


def draft_plan(request: Request, opened: OpenTasks) -> Plan:
    """Work a request out but for its `units`; all of its cells may be skipped.

    Args:
        request: What is asked for.
        opened: Keeps the tasks that are opened.

    Raises:
        BenchError: As `make_plan`.
    """
    planner = _Planner(request)
    methods = planner.ready_methods()
    planner.check_metrics()
    tasks = planner.open_tasks(opened)
    cells = tuple(cell for task, named in tasks for cell in planner.cells(task, named, methods))
    opened.check_apart(cells)
    return Plan(cells, tuple(planner.skips))


def describe_data_change(cell: PlannedRecord, record: Record) -> str:
    """Say what is other in a cell's data than in those of a record; empty where they are the same.

    All that a record itself tells is how many people there were. More is known where the table of its data
    is kept (`comface_bench.data.changes`).
    """
    table = cell.task.table
    if record.task.manifest_digest == table.digest:
        return ""
    kept = read_table(record.task.manifest_digest)
    if kept is not None and (told := describe_changes(kept, DataTable.of(table))):
        return told
    unknown = "what else changed isn't known: this machine's cache has no table of the data as they were"
    known = {number for fold in record.task.fold_subjects for number in fold.numbers()}
    people = {name for fold in cell.task.folds for part in PARTS for name in fold.subjects(part)}
    if known and len(known) != len(people):
        return f"people in its folds {len(known)} → {len(people)}; {unknown}"
    return unknown.replace("else ", "")


CardT = TypeVar("CardT", bound=MethodCard | TaskCard)


class _Named(Generic[CardT]):
    """A name with its entry, and whether the user wrote it out."""

    def __init__(self, registry: Registry[CardT], name: str, explicit: bool) -> None:
        base, self.options = parse_name(name)
        self.name = name
        self.entry = registry.get(base)
        self.explicit = explicit

    def under(self, options: Mapping[str, str]) -> Entry[CardT]:
        """Return the entry as its own options and those of a request make it."""
        return self.entry.configured({**_taken(options, self.entry.card), **self.options})


def _expand(registry: Registry[CardT], wanted: Sequence[str]) -> list[_Named[CardT]]:
    return [_Named(registry, name, name in wanted) for name in registry.expand(wanted)]


@dataclass(frozen=True, eq=False)
class _ReadyMethod:
    """A method with its options and weights."""

    name: str
    entry: Entry[MethodCard]
    options: Mapping[str, str]
    named_options: Mapping[str, str]
    weights: Path | None
    checkpoint_digest: str | None
    explicit: bool

    @classmethod
    def find(cls, method: _Named[MethodCard], options: Mapping[str, str]) -> _ReadyMethod:
        entry = method.under(options)
        card = entry.card
        chosen = method_options(card, {**_taken(options, card), **method.options})
        weights = find_weights(entry, chosen)
        checkpoint_digest = digest_weights(weights).content if weights else None
        named = differing(card, chosen)
        if "checkpoint" in named and checkpoint_digest:
            # A path means nothing elsewhere and may reveal a person; the content's digest is the fact.
            named["checkpoint"] = checkpoint_digest[:12]
        return cls(method.name, entry, chosen, named, weights, checkpoint_digest, method.explicit)


def _taken(options: Mapping[str, str], card: MethodCard | TaskCard) -> dict[str, str]:
    """Return the options that a method or a task takes."""
    general = METHOD_OPTIONS if isinstance(card, MethodCard) else TASK_OPTIONS
    return {key: value for key, value in options.items() if key in card.options or key in general}


class _Planner:
    """The names, options and registries of a request.

    Attributes:
        skips: Combinations left out so far.

    Raises:
        UsageError: A name or an option is wrong.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        origins = (request.plugin_files, request.use_plugins)
        wanted = {"method": split_list(request.methods), "task": split_list(request.tasks)}
        for kind, names in wanted.items():
            if not names:
                raise UsageError(f"no {kind} is named", f"See which there are: comface-bench list {kind}s")
        self._methods = _expand(method_registry(*origins), wanted["method"])
        self._tasks = _expand(task_registry(*origins), wanted["task"])
        self._protocols = protocol_registry(*origins)
        self._metrics = metric_registry(*origins)
        self._protocol_name, protocol_options = parse_name(request.protocol)
        self._protocol = self._protocols.get(self._protocol_name)
        shared, self._for_methods, self._for_tasks = divide_options(
            request.options,
            override_keys(self._protocol.card.settings),
            [named.under(request.options).card for named in self._methods],
            [named.entry.card for named in self._tasks],
        )
        self._for_protocol = shared
        self._overrides = {**protocol_options, **shared}
        self._resolved: dict[tuple[Family, bool, str], Protocol] = {}
        self._store = ResultStore(request.results)
        self.skips: list[Skip] = []

    def ready_methods(self) -> list[_ReadyMethod]:
        """Find the weights of all methods.

        Raises:
            WeightsMissingError: They are missing for a method that was written out.
        """
        ready = []
        for method in self._methods:
            try:
                ready.append(_ReadyMethod.find(method, self._for_methods))
            except WeightsMissingError as error:
                self._skip_or_raise(method.explicit, method.name, error)
        return ready

    def check_metrics(self) -> None:
        """Check that the tasks' metrics are known.

        Raises:
            UnknownNameError: One isn't.
        """
        known = self._metrics.names()
        for name in (name for named in self._tasks for name in named.entry.card.metrics):
            if name not in known:
                raise unknown_name(name, known, "metric")

    def open_tasks(self, opened: OpenTasks) -> Iterator[tuple[Task, _Named[TaskCard]]]:
        """Yield the tasks whose data are there.

        Raises:
            DataMissingError: They are missing for a task that was written out.
        """
        unfit: tuple[type[BenchError], ...] = (DataMissingError,)
        if self._protocol.card.split_kind == "days":
            # Few tasks have days, so that a pattern means those that do.
            unfit += (SplitError, UsageError)
        for named in self._tasks:
            card = named.entry.card
            usual = _taken(self._protocol.card.task_options, card)
            options = {**usual, **_taken(self._for_tasks, card), **named.options}
            try:
                task = opened.open(named.entry, options, self._request.data)
                self._check_split(task)
            except unfit as error:
                self._skip_or_raise(named.explicit, named.name, error)
                continue
            yield task, named

    def _check_split(self, task: Task) -> None:
        """Check that the protocol can run on a task's split.

        Raises:
            UsageError: The split is of another kind.
        """
        kind = self._protocol.card.split_kind
        if task.split.kind == kind:
            return
        name = self._protocol_name
        if kind == "days":
            raise UsageError(
                f"{name} makes a model of each patient's own days, but split {task.split.name} of {task.name}"
                " keeps people apart",
                "Leave the split out, or name one that tests days: -o split=patient-days",
            )
        raise UsageError(
            f"split {task.split.name} of {task.name} is of models that are trained on other days of the"
            f" patients who are tested, and {name} trains on other people only",
            "Test the same patients by models of others: -o split=other-patients",
        )

    def cells(
        self, task: Task, named: _Named[TaskCard], methods: Iterable[_ReadyMethod]
    ) -> Iterator[PlannedRecord]:
        """Yield what is planned on a task, a record for each method that may be tested on it."""
        for method in methods:
            card = method.entry.card
            if (refusal := find_leak(card, task.card)) is not None:
                explicit = named.explicit and method.explicit
                self._skip_or_raise(explicit, f"{method.name} · {named.name}", refusal)
                continue
            yield self._cell(method, task, named, self._resolve(task.card.family, card))

    def _resolve(self, family: Family, method: MethodCard) -> Protocol:
        """Return the protocol for a family of tasks and a kind of method."""
        key = (family, method.pretrained_head, method.chip)
        if key not in self._resolved:
            self._resolved[key] = resolve_protocol(
                self._protocol_name,
                family,
                self._overrides,
                method.pretrained_head,
                self._protocols,
                method.chip,
            )
        return self._resolved[key]

    def _cell(
        self, method: _ReadyMethod, task: Task, named: _Named[TaskCard], protocol: Protocol
    ) -> PlannedRecord:
        (seed, fold), *_ = places = self._places(task)
        first = Unit(
            task=task.card,
            task_options=task.chosen,
            method=method.entry.card,
            method_options={**method.options, **method.named_options},
            protocol=protocol,
            manifest_digest=task.table.digest,
            split_digest=task.split.digest,
            checkpoint_digest=method.checkpoint_digest,
            fold=fold,
            seed=seed,
        )
        units = tuple(first.at(fold, seed) for seed, fold in places)
        name = format_name(method.entry.card.name, method.named_options)
        stored = self._store.finished_units(task.name, protocol.name, name)
        done = {unit.key for unit in stored.values()}
        finished = tuple(unit for unit in units if unit.key() in done)
        again = self._request.again
        lacking: set[str] = set()
        if self._request.save_models and self._protocol.card.gives_models and not again:
            lacking = ModelFiles(self._store.record_path(task.name, protocol.name, name)).missing(
                stored.items()
            )
        options = {
            **self._for_protocol,
            **_taken(self._for_methods, method.entry.card),
            **_taken(self._for_tasks, named.entry.card),
        }
        cell = PlannedRecord(
            request=dataclasses.replace(
                self._request, methods=(method.name,), tasks=(named.name,), options=options, units=()
            ),
            method=method.entry,
            options=method.options,
            named_options=method.named_options,
            weights=method.weights,
            checkpoint_digest=method.checkpoint_digest,
            task=task,
            protocol=protocol,
            protocol_entry=self._protocol,
            units=units,
            missing=units if again else tuple(unit for unit in units if unit.key() not in done - lacking),
            finished=finished,
            unsaved=tuple(unit for unit in finished if unit.key() in lacking),
            plugin_metrics=tuple(name for name in task.card.metrics if self._metrics.get(name).source),
        )
        # Units that were stored before sources were, or under a built-in name, can't be outdated.
        outdated = (
            unit
            for unit in finished
            if any(
                stored[unit.fold, unit.seed].details.get(name, source) != source
                for name, source in cell.sources.items()
            )
        )
        return cell if again else dataclasses.replace(cell, outdated=tuple(outdated))

    def _places(self, task: Task) -> list[tuple[int, int]]:
        """Return the repetitions and folds that are asked for, (seed, fold)."""
        count, asked = len(task.folds), self._request.folds
        folds = range(count) if asked is None else sorted(set(asked))
        seeds = sorted(set(self._request.seeds))
        if not folds or not seeds or seeds[0] < 0:
            raise UsageError("folds and seeds are whole numbers from 0, at least one of each")
        for fold in folds:
            if not 0 <= fold < count:
                raise UsageError(f"task {task.name} has no fold {fold}", f"Its folds are 0 to {count - 1}.")
        return [(seed, fold) for seed in seeds for fold in folds]

    def _skip_or_raise(self, explicit: bool, label: str, error: BenchError) -> None:
        if explicit and not self._request.skip_missing:
            raise error
        self.skips.append(Skip(label, error.message, error.hint))


def without_repeats(cells: Iterable[PlannedRecord], seen: set[str]) -> list[PlannedRecord]:
    """Leave out units that were seen before; all become seen.

    Requests may overlap, and two names or paths may mean one thing.
    """
    left = []
    for cell in cells:
        keys = {unit.key() for unit in cell.units}
        left += narrow_all([cell], keys - seen) if keys & seen else [cell]
        seen |= keys
    return left


def narrow_all(cells: Iterable[PlannedRecord], keys: Set[str]) -> list[PlannedRecord]:
    """Return cells with only the units of some keys, without those that have none."""
    narrowed = (cell.narrow(lambda unit: unit.key() in keys) for cell in cells)
    return [cell for cell in narrowed if cell.units]


def choose_units(plan: Plan, keys: Collection[str]) -> Plan:
    """Return a plan of only the units with these keys, or leading digits of keys; of all, if there are none.

    Raises:
        UsageError: No unit has one of them.
    """
    if not keys:
        return plan
    for key in keys:
        if not any(unit.key().startswith(key) for cell in plan.cells for unit in cell.units):
            raise UsageError(
                f"no unit of this request has the key {key}",
                "Its cards, data or settings may have changed; see the keys: comface-bench run … --dry-run",
            )
    kept = (cell.narrow(lambda unit: unit.key().startswith(tuple(keys))) for cell in plan.cells)
    return Plan(tuple(cell for cell in kept if cell.units), plan.skips)


def find_leak(method: MethodCard, task: TaskCard) -> UsageError | None:
    """Return why a method isn't measured on a task of whose people it learnt the labels, or None.

    Its score would say nothing.
    """
    leaked = sorted(set(method.labels_of) & set(task.overlaps))
    if not leaked:
        return None
    return UsageError(
        f"{method.name} was trained on the labels of {', '.join(leaked)}, which {task.name} tests",
        f"Leave the two apart; its card shows what it was trained on: comface-bench show {method.name}",
    )
