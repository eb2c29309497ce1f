"""The plan of a study: rows and columns of its table, and for each cell a record to be, or what it lacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comface_bench.core.card import MethodCard, TaskCard
from comface_bench.core.errors import BenchError, UnknownNameError, UsageError
from comface_bench.core.names import (
    METHOD_OPTIONS,
    differing,
    format_name,
    method_options,
    parse_name,
    split_list,
)
from comface_bench.core.protocol import override_keys, protocol_registry
from comface_bench.core.registry import Registry, method_registry, task_registry
from comface_bench.execute.grid import Grid, expand_options, merge_grids
from comface_bench.execute.plan import OpenTasks, PlannedRecord, Request, draft_plan
from comface_bench.execute.sweep import Sweep, arrange
from comface_bench.leaderboards.document import backbone_of, topology_of
from comface_bench.leaderboards.paper import default_head_start
from comface_bench.studies.study import Run, Study

SAME_METHOD = {"backbone", "checkpoint"}
"""Options that leave a method the supplement's of that name, with the backbone that is chosen."""


@dataclass(frozen=True)
class Gap:
    """What keeps a cell from being measured.

    Attributes:
        reason: What is missing.
        hint: How to get it.
        short: The same in a word or two: the data set, the method, or the reason itself.
    """

    reason: str
    hint: str = ""
    short: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a study's table.

    Attributes:
        label: As the table prints it.
        method: As the study names it.
        request: What its cells come from, with all methods and tasks of its run.
        group: Group of the method in the supplement's tables.
        topology: Its backbone.
        protocol: Name of its protocol, with the options that it takes.
        head_start: `scratch` or `pretrained`.
        plain: Whether the names of protocol, method, backbone and weights say all that was chosen.
        paper: Row of the supplement's table that it is a counterpart of; empty where the method says it.
        x: Its value of the study's axis; empty without one.
        line: What the rows of one line in the figure have in common.
    """

    label: str
    method: str
    request: Request
    group: str
    topology: str
    protocol: str
    head_start: str
    plain: bool
    paper: str
    x: str
    line: str


@dataclass(frozen=True)
class Column:
    """A column of a study's table.

    Attributes:
        task: Name as the study has it; records may have options of the row in theirs.
        metric: Key of `METRICS`.
        unit: Of the target.
        data: Name of the data set.
        ships: Whether it comes with the package.
    """

    task: str
    metric: str
    unit: str
    data: str
    ships: bool


@dataclass(frozen=True, eq=False)
class StudyPlan:
    """All that a study means.

    Attributes:
        study: The study.
        grids: Its grids, as the command line left them.
        rows, columns: Of its table.
        cells: (index of the row, task) → a record's worth of work, or what is missing.
        sweep: The work.
    """

    study: Study
    grids: tuple[Grid, ...]
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    cells: Mapping[tuple[int, str], PlannedRecord | Gap]
    sweep: Sweep

    @property
    def gaps(self) -> dict[Gap, list[str]]:
        """What is missing, each with the rows and tasks that it is missing for."""
        found: dict[Gap, list[str]] = {}
        for (row, task), cell in self.cells.items():
            if isinstance(cell, Gap):
                found.setdefault(cell, []).append(f"{self.rows[row].label}, {task}")
        return found

    def check_any(self) -> None:
        """Check that something can run, or has run.

        Raises:
            BenchError: Nothing can; says what is missing.
        """
        if self.sweep.cells:
            return
        gaps = list(self.gaps)
        hint = gaps[0].hint if gaps else ""
        if gaps and not any(column.ships for column in self.columns):
            hint += f"\nOn the faces that ship: comface-bench study {self.study.line} --shipped"
        reasons = "; ".join(dict.fromkeys(gap.reason for gap in gaps))
        raise BenchError(f"nothing of {self.study.name} can run: {reasons}", hint.strip())


def plan_study(
    study: Study, given: Mapping[str, Any], *, shipped: bool = False, small: bool = False
) -> StudyPlan:
    """Work a study out.

    Args:
        study: The study.
        given: Fields of `Grid` that the command line states; they override the file's.
        shipped: Put the faces that ship in the place of each task's data; tasks without any are left out.
        small: The small form, on the faces that ship.

    Raises:
        UsageError: A name, an option or a label is wrong.
    """
    if small:
        small_options = study.small.get("options", {})
        if "protocol" in given:
            # What the small form shortens, another protocol may not have.
            registry = protocol_registry(given.get("plugin", ()), not given.get("no_plugins"))
            own = set[str]()
            for name in split_list(given["protocol"]):
                own |= set(override_keys(registry.get(parse_name(name)[0]).card.settings))
            of_protocols = {
                key for entry in registry.declared() for key in override_keys(entry.card.settings)
            }
            small_options = {
                key: value for key, value in small_options.items() if key in own or key not in of_protocols
            }
        options = {**small_options, **given.get("options", {})}
        given = {**study.small, **given, "options": options}
    grids = tuple(merge_grids(study.top, run.fields, given) for run in study.runs)
    planner = _Planner(study, grids)
    rows: list[Row] = []
    cells: dict[tuple[int, str], PlannedRecord | Gap] = {}
    parts: list[list[PlannedRecord]] = []
    names: dict[str, None] = {}
    for run, grid in zip(study.runs, grids, strict=True):
        tasks = planner.tasks(grid, shipped or small)
        names |= dict.fromkeys(tasks)
        requests = planner.requests(grid)
        drafts = [planner.draft(request, tasks) for request in requests]
        parts += [[cell for cell in draft.values() if isinstance(cell, PlannedRecord)] for draft in drafts]
        for method in planner.methods(grid):
            for request, draft in zip(requests, drafts, strict=True):
                for task in tasks:
                    cells[len(rows), task] = _explain(draft[method, task], run)
                rows.append(planner.row(run, grid, request, method))
    return StudyPlan(study, grids, tuple(rows), tuple(planner.columns(names)), cells, arrange(parts))


def shipped_task(name: str, registry: Registry[TaskCard]) -> str | None:
    """Return the task on the faces that ship whose quantity and format are those of a task; None without one.

    A task that ships stands for itself, and keeps its options.

    Raises:
        UnknownNameError: No task has that name.
    """
    base, options = parse_name(name)
    card = registry.get(base).card
    if card.ships:
        return name
    alike = (
        other.card
        for other in registry.declared()
        if other.card.ships and other.card.data.endswith(f"/{card.data}") and other.card.target == card.target
    )
    found = next(alike, None) if card.test_data is None else None
    return None if found is None else format_name(found.name, options)


def _explain(cell: PlannedRecord | Gap, run: Run) -> PlannedRecord | Gap:
    """Return a cell; what is missing is got as its run says."""
    return dataclasses.replace(cell, hint=run.get) if isinstance(cell, Gap) and run.get else cell


class _Planner:
    """The registries of a study, and the tasks that are open."""

    def __init__(self, study: Study, grids: Sequence[Grid]) -> None:
        self._study = study
        first = grids[0]
        origins = (tuple(first.plugin), not first.no_plugins)
        self._methods, self._tasks = method_registry(*origins), task_registry(*origins)
        self._protocols = protocol_registry(*origins)
        self._opened = OpenTasks()
        named = {name for grid in grids for name in split_list(grid.protocol)}
        self._taken = {key for name in named for key in self._options_of(name)}

    def _options_of(self, protocol: str) -> set[str]:
        """Return the options that a protocol takes; none where nobody knows it."""
        try:
            return set(override_keys(self._protocols.get(parse_name(protocol)[0]).card.settings))
        except UnknownNameError:
            return set()

    def tasks(self, grid: Grid, shipped: bool) -> list[str]:
        """Return the names of a grid's tasks, patterns expanded."""
        names = self._tasks.expand(split_list(grid.task))
        if shipped:
            counterparts = (shipped_task(name, self._tasks) for name in names)
            names = list(dict.fromkeys(name for name in counterparts if name is not None))
        if not names:
            raise UsageError(
                f"{self._study.name} has no task that ships", "Name one: --task synth-age,synth-weight"
            )
        return names

    def methods(self, grid: Grid) -> list[str]:
        """Return the names of a grid's methods, patterns expanded."""
        names = self._methods.expand(split_list(grid.method))
        if not names:
            raise UsageError(f"{self._study.name} names no method", "Name one: --method comface")
        return names

    def requests(self, grid: Grid) -> list[Request]:
        """Return a request for each protocol and combination of options of a grid.

        An option that only other protocols of the study take is left out.
        """
        found = []
        for protocol in split_list(grid.protocol):
            keys = self._options_of(protocol)
            options = {
                key: value for key, value in grid.options.items() if key in keys or key not in self._taken
            }
            found += [
                dataclasses.replace(request, skip_missing=True)
                for request in expand_options(grid, protocol, options)
            ]
        return found

    def draft(self, request: Request, tasks: Sequence[str]) -> dict[tuple[str, str], PlannedRecord | Gap]:
        """Plan each (method, task) of a request; what is wrong with one task is no matter of others."""
        methods = self._methods.expand(split_list(request.methods))
        request = dataclasses.replace(request, methods=tuple(methods))
        found: dict[tuple[str, str], PlannedRecord | Gap] = {}
        for task in tasks:
            try:
                plan = draft_plan(dataclasses.replace(request, tasks=(task,)), self._opened)
            except BenchError as error:
                gap = Gap(error.message, error.hint, error.message)
                found |= {(method, task): gap for method in methods}
                continue
            gaps = {skip.label: skip for skip in plan.skips}
            cells = {cell.request.methods[0]: cell for cell in plan.cells}
            for method in methods:
                shorts = {method: parse_name(method)[0], task: self._data_of(task), f"{method} · {task}": ""}
                skip = next((gaps[label] for label in shorts if label in gaps), None)
                if skip is None:
                    found[method, task] = cells[method]
                else:
                    found[method, task] = Gap(skip.reason, skip.hint, shorts[skip.label] or skip.reason)
        return found

    def row(self, run: Run, grid: Grid, request: Request, method: str) -> Row:
        """Make the row of a method under a request."""
        base, options = parse_name(method)
        card = self._methods.get(base).card
        protocol, axis = self._protocol_name(request), self._study.axis
        several = len(split_list(grid.protocol)) > 1
        varied = {"protocol": request.protocol} if several else {}
        varied |= {key: value for key, value in request.options.items() if len(grid.options[key]) > 1}
        label = self._label(run.row, method, request) if run.row else _usual_label(method, varied)
        if run.row and several:
            label = _usual_label(label, {"protocol": request.protocol})
        return Row(
            label=label,
            method=method,
            request=request,
            group=card.group,
            topology=topology_of(backbone_of(_chosen_backbone(card, options), card.backbone)),
            protocol=protocol,
            head_start=request.options.get("head_start", "") or default_head_start(protocol, base),
            plain=self._is_plain(card, options, request),
            paper=run.paper,
            x=request.options.get(axis, "") if axis else "",
            line=_usual_label(method, {key: value for key, value in varied.items() if key != axis}),
        )

    def _is_plain(self, card: MethodCard, options: Mapping[str, str], request: Request) -> bool:
        """Return whether a row is what the names of its protocol, method, backbone and weights say."""
        own = {
            key: value for key, value in request.options.items() if key in {**METHOD_OPTIONS, **card.options}
        }
        changed = differing(card, method_options(card, {**own, **options}))
        left = request.options.keys() - own.keys() - self._options_of(request.protocol)
        return not left and changed.keys() <= SAME_METHOD

    def _label(self, template: str, method: str, request: Request) -> str:
        try:
            return template.format_map({**request.options, "method": method, "protocol": request.protocol})
        except KeyError as error:
            raise UsageError(
                f"{self._study.path}: row {template!r} names {error}, which is no option of its run",
                "It may name method, protocol and options of the run.",
            ) from None

    def _protocol_name(self, request: Request) -> str:
        """Return the protocol's name as records have it, where options differ from its defaults."""
        keys = self._options_of(request.protocol)
        base, named = parse_name(request.protocol)
        taken = {key: value for key, value in request.options.items() if key in keys}
        return format_name(base, {**named, **taken})

    def _data_of(self, task: str) -> str:
        card = self._tasks.get(parse_name(task)[0]).card
        return card.data if card.test_data is None else f"{card.data}, {card.test_data}"

    def columns(self, tasks: Mapping[str, None]) -> Iterator[Column]:
        """Yield the columns of tasks, each with its metrics."""
        for name in tasks:
            card = self._tasks.get(parse_name(name)[0]).card
            metrics = self._study.metrics
            wanted = metrics.get(card.family, ()) if isinstance(metrics, Mapping) else metrics
            for metric in [one for one in wanted if one in card.metrics] or card.metrics[:1]:
                yield Column(name, metric, card.unit, card.data, card.ships)


def _usual_label(method: str, options: Mapping[str, str]) -> str:
    return ", ".join([method, *(f"{key} {value}" for key, value in options.items())])


def _chosen_backbone(card: MethodCard, options: Mapping[str, str]) -> str:
    return method_options(card, options).get("backbone", "")
