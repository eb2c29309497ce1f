"""Running a plan in this process, one group of units after the other.

Units that share features form one group for each method and data set. A unit that fails is recorded with
its reason and the next one runs; nothing that failed is ever read as a result. A group that can't even start,
because its method can't be built or its images can't be read, doesn't keep the others from running.

`journal.jsonl` in the results folder has one line for each start and end of a unit. It is for people who ask
what happened; no result depends on it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
import json
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface_bench.core.digest import digest
from comface_bench.core.display import format_count
from comface_bench.core.errors import (
    BenchError,
    PluginError,
    ResultError,
    StorageError,
    UnitError,
    as_text,
    describe_error,
    hide_paths,
)
from comface_bench.core.events import Event, Kind, Report, ignore
from comface_bench.core.files import append_line, remove_unfinished, replace_file, require_writable
from comface_bench.core.names import format_name
from comface_bench.core.problems import ProblemList
from comface_bench.core.processes import LEAVING
from comface_bench.core.protocol import Protocol
from comface_bench.core.unit import ENGINE_EPOCH, Unit
from comface_bench.core.weights import cache_folder, weights_digest, weights_folder
from comface_bench.data.changes import keep_table
from comface_bench.data.splits import PARTS, check_people
from comface_bench.data.task import Task
from comface_bench.execute.plan import Plan, PlannedRecord, Request, describe_data_change
from comface_bench.results.models import ModelFiles
from comface_bench.results.store import ResultStore, update_record
from comface_bench.version import __version__

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from comface_bench.data.image_store import ImageStore
    from comface_bench.data.photos import PhotoFacts
    from comface_bench.engine.encoder import Encoder, ImageSource
    from comface_bench.engine.jobs import Outcome
    from comface_bench.results.predictions import Prediction
    from comface_bench.results.schema import (
        Failure,
        MethodInfo,
        ProtocolInfo,
        Provenance,
        Record,
        TaskInfo,
        UnitResult,
    )
    from comface_bench.results.store import RecordWriter


@dataclass(frozen=True, eq=False)
class Finished:
    """The result of running a plan.

    Attributes:
        records: One a cell, in the plan's order; a cell that couldn't start has none.
        failed: Units that failed in this run, with the error.
    """

    records: tuple[Record, ...]
    failed: tuple[tuple[Unit, Exception], ...]


def run_plan(plan: Plan, request: Request, report: Report = ignore) -> Finished:
    """Run the missing units of a plan and return all of its records.

    Nothing of torch is imported if no unit is missing. All units of a record that can't be read have failed.

    Raises:
        Exception: No group could start, and nothing was finished before; the first one's reason.
    """
    store = ResultStore(request.results)
    total = sum(len(cell.units) for cell in plan.cells)
    missing = sum(len(cell.missing) for cell in plan.cells)
    report(
        Event(
            "plan",
            f"{format_count(total, 'unit')}, {total - missing} done",
            done=total - missing,
            total=total,
        )
    )
    for skip in plan.skips:
        report(Event("skip", f"{skip.label}: {skip.reason}"))
    for cell in plan.cells:
        if cell.warning is not None:
            report(Event("notice", cell.warning, cell.method_name, cell.task.name, cell.protocol.name))
    for table in {cell.task.table.digest: cell.task.table for cell in plan.cells}.values():
        keep_table(table)
    failed: list[tuple[Unit, Exception]] = []
    groups = list(_groups(plan.cells, request.results))
    if groups:
        check_writable(request.results)
    unstarted: list[Exception] = []
    for group in groups:
        try:
            failed += GroupRunner(group, request, store, report).run()
        except StorageError:
            raise  # What is still to come wouldn't find room either.
        except (Exception, SystemExit) as fault:
            error = _as_error(fault, group[0].method_name)
            unstarted.append(error)
            if len(unstarted) == len(groups) and all(cell.missing for cell in plan.cells):
                raise unstarted[0] from None
            for cell in group:
                failed += _fail_cell(cell, cell.missing, error, report)
    records = []
    for cell in plan.cells:
        try:
            record = _load_current(store, cell, report)
        except ResultError as error:
            known = {unit.key() for unit, _ in failed}
            if lost := [unit for unit in cell.units if unit.key() not in known]:
                failed += _fail_cell(cell, lost, error, report)
            continue
        if record is not None:
            records.append(record)
            report(_record_event(cell, record))
            _remove_states(request.results, cell, record)
    return Finished(tuple(records), tuple(failed))


def _fail_cell(
    cell: PlannedRecord, units: Iterable[Unit], error: Exception, report: Report
) -> list[tuple[Unit, Exception]]:
    """Report a failure of a cell as a whole; return its units with the error."""
    report(Event("failure", f"{cell.label}: {describe_error(error)}", cell.method_name, cell.task.name))
    return [(unit, error) for unit in units]


def _as_error(fault: Exception | SystemExit, name: str) -> Exception:
    """Return what is to be reported of a fault: code of a plugin that leaves the program ends its own units.

    Raises:
        SystemExit: It isn't a plugin that leaves, but this process that is told to.
    """
    if isinstance(fault, Exception):
        return fault
    if LEAVING.is_set():
        raise fault
    return PluginError(
        f"{name} leaves the program: SystemExit({fault.code!r})", "A plugin raises an error instead."
    )


def _state_path(results: Path, unit: Unit) -> Path:
    """Return where the state of a training is kept whose first unit this is; the file knows all of them."""
    return results / ".checkpoints" / f"{unit.key()[:16]}.pt"


def _company_path(results: Path, unit: Unit) -> Path:
    """Return where it is noted which units were given in one call, a key a line; this one is the first."""
    return _state_path(results, unit).with_suffix(".units")


def find_company(results: Path, units: Iterable[Unit]) -> set[str]:
    """Return the keys of units that a killed run had given in one call whose first unit is one of these."""
    if not (results / ".checkpoints").exists():
        return set()
    paths = [_company_path(results, unit) for unit in units]
    return {key for path in paths if path.exists() for key in path.read_text(encoding="utf-8").split()}


def _remove_state(results: Path, unit: Unit) -> None:
    """Remove what is kept of a call whose first unit this is, until all of its units are stored."""
    state = _state_path(results, unit)
    state.unlink(missing_ok=True)
    remove_unfinished(state)
    _company_path(results, unit).unlink(missing_ok=True)


def _remove_states(results: Path, cell: PlannedRecord, record: Record) -> None:
    """Remove states of finished units, which a run leaves that is killed between a record and its state."""
    if not any((results / ".checkpoints").glob("*")):
        return
    finished = {unit.key for unit in record.units}
    for unit in cell.units:
        if unit.key() in finished:
            _remove_state(results, unit)


def _load_current(store: ResultStore, cell: PlannedRecord, report: Report) -> Record | None:
    """Load a cell's record, brought to what its cards say now, such as metrics that the task has gained.

    A metric of a plugin is computed anew, since nothing but its function says what it is. A record of other
    data, folds, weights or settings, which lies there until a unit of the cell is stored, isn't the cell's.

    Raises:
        ResultError: The record can't be read.
    """
    from comface_bench.results.schema import update_method, update_task

    names = (cell.task.name, cell.protocol.name, cell.method_name)
    task, method = cell.task.card, cell.method.card
    record = store.load(*names)
    if record is None or not _is_of(record, cell):
        return None
    if record.provenance.kind == "submitted":
        current = update_task(record.task, task) == record.task
    else:
        now = (update_task(record.task, task), update_method(record.method, method))
        current = now == (record.task, record.method)
    if current and not cell.plugin_metrics:
        return record
    try:
        if update_record(store.record_path(*names), task, method, cell.plugin_metrics) and current:
            listed = ", ".join(cell.plugin_metrics)
            report(Event("notice", f"{cell.label}: {listed} computes other numbers now; the record has them"))
    except OSError:  # A folder of somebody else's results may be read, not written.
        return store.score(record, task.metrics)
    return store.load(*names)


def _is_of(record: Record, cell: PlannedRecord) -> bool:
    """Return whether a record is the cell's: of any fold and seed, what decides predictions is the same."""
    first = cell.units[0]
    outcomes: list[UnitResult | Failure] = [*record.units, *record.failures]
    return any(first.at(one.fold, one.seed).key() == one.key for one in outcomes)


_LEAST_ROOM = 1 << 20
"""Bytes that a results folder must take: about what a record of the largest tasks has."""


def check_writable(results: Path) -> None:
    """Check that records can be written, before hours are spent on them.

    Raises:
        StorageError: There is no room for them.
        UsageError: They can't for another reason.
    """
    require_writable(results, "records", "Name another folder: --results DIR", _LEAST_ROOM)


def _groups(cells: Sequence[PlannedRecord], results: Path) -> Iterator[tuple[PlannedRecord, ...]]:
    """Group cells that still have work by method and data set, where their units share features.

    A finished one is with them if a killed run had begun its units together with some that are missing.
    """
    grouped: dict[tuple[object, ...], list[PlannedRecord]] = {}
    for cell in cells:
        table, protocol = cell.task.table, cell.protocol
        alone = None if cell.protocol_entry.card.together else cell.task.name
        # The data set's name too: views are drawn from it.
        key = (cell.method_name, table.name, table.digest, protocol.digest(), alone)
        grouped.setdefault(key, []).append(cell)
    for group in grouped.values():
        if not any(cell.missing for cell in group):
            continue
        company = find_company(results, (unit for cell in group for unit in cell.units))
        yield tuple(
            cell for cell in group if cell.missing or any(unit.key() in company for unit in cell.units)
        )


def _record_event(cell: PlannedRecord, record: Record) -> Event:
    """Report a record's primary metric, with the no-change baseline beside it."""
    from comface_bench.results.schema import UNDERTRAINED

    name = record.task.metrics[0]
    value, constant = record.primary[name].value, record.summary.constant[name].value
    shown = ", ".join(
        f"{what} {number:.6g}"
        for what, number in ((name, value), (f"{name} of no change", constant))
        if number is not None
    )
    return Event(
        "record",
        f"{cell.label}: {shown}" if shown else cell.label,
        method=cell.method_name,
        task=cell.task.name,
        protocol=cell.protocol.name,
        value=value,
        note=UNDERTRAINED if record.undertrained else "",
    )


SAME_PREDICTION = 1e-6
"""Most that the predictions of a model may differ from those that are stored, in the target's unit."""


@dataclass(frozen=True, eq=False)
class _Work:
    """A unit, with the record it goes into.

    Attributes:
        finished: It only keeps others company, and its outcome is stored already.
        unsaved: Its outcome is stored already, and it runs for its model alone.
    """

    cell: PlannedRecord
    writer: RecordWriter
    unit: Unit
    finished: bool
    unsaved: bool


class GroupRunner:
    """Runs the missing units of cells that share method, data set and protocol.

    Args:
        cells: At least one; several only where their units share features.
        request: The user's.
        store: Where records go.
        report: Takes the events of everything that happens.
    """

    def __init__(
        self, cells: tuple[PlannedRecord, ...], request: Request, store: ResultStore, report: Report
    ) -> None:
        self._cells = cells
        self._method = cells[0].method
        self._protocol = cells[0].protocol
        self._together = cells[0].protocol_entry.card.together
        self._request = request
        self._store = store
        self._journal = Journal(request.results)
        self._report_to = report
        self._unit: Unit | None = None
        self._called = 0
        self._failed: list[tuple[Unit, Exception]] = []

    def run(self) -> list[tuple[Unit, Exception]]:
        """Run all units; return those that failed.

        Raises:
            Exception: The group can't start: its method can't be built, or its images or only record be read.
        """
        from comface_bench.engine.precision import choose_machine

        self._machine = choose_machine(
            self._request.device, self._protocol.precision, trains=self._protocol.trains == "backbone"
        )
        self._first_encoder: Encoder | None = self._build(0)
        feature_dim = self._first_encoder.measure(self._protocol.image_size)
        self._check_card(feature_dim)
        self._input_size = self._first_encoder.input_size(self._protocol.image_size)
        parameters = self._first_encoder.parameter_count()
        if self._weights_part not in ("", "state_dict", "model"):
            self._report(
                Event(
                    "notice",
                    f"{self._method.card.name}: of its file, the part {self._weights_part} was taken",
                )
            )
        self._images = self._open_images()
        work = []
        for cell in self._cells:
            try:
                writer = self._open_record(cell, feature_dim, parameters)
            except (ResultError, OSError) as error:
                if isinstance(error, StorageError) or len(self._cells) == 1:
                    raise
                self._failed += _fail_cell(cell, cell.missing, error, self._report_to)
                continue
            for unit in cell.units:
                # What a killed run had staged is merged by now and needs no second run, unless asked for.
                stored = writer.finished.get((unit.fold, unit.seed)) == unit.key() and not self._request.again
                unsaved = stored and unit in cell.unsaved
                finished = (stored and not unsaved) or unit not in cell.missing
                work.append(_Work(cell, writer, unit, finished, unsaved))
        for items in self._batches(work):
            self._run_batch([item for item in items if self._has_pairs(item)])
        return self._failed

    def _batches(self, work: list[_Work]) -> list[list[_Work]]:
        """Divide units into those that the protocol's function is given in one call.

        Those that a killed run had given in one call are given so again, even if some are stored: the state
        is of all of them, and sums over fewer heads or labels are rounded otherwise.
        """
        missing = {item.unit.key(): item for item in work if not item.finished}
        if not self._together:
            return [[item] for item in missing.values()]
        batches, every = [], {item.unit.key(): item for item in work}
        for item in work:
            company = _company_path(self._request.results, item.unit)
            keys = company.read_text(encoding="utf-8").split() if company.exists() else []
            if not missing.keys().isdisjoint(keys) and every.keys() >= set(keys):
                batches.append([every[key] for key in keys])
                missing = {key: left for key, left in missing.items() if key not in keys}
        if not self._method.card.drawn:
            return [*batches, list(missing.values())]
        # Drawn backbones differ between repetitions; all others serve every repetition at once.
        seeds = sorted({item.unit.seed for item in missing.values()})
        return batches + [[item for item in missing.values() if item.unit.seed == seed] for seed in seeds]

    def _run_batch(self, items: list[_Work]) -> None:
        wanted = [item for item in items if not item.finished]
        if not wanted:
            return
        first, results = items[0].unit, self._request.results
        self._unit = None if self._together else first
        self._called = len(wanted)
        for item in wanted:
            self._journal.write("start", item.unit)
        if len(items) > 1:
            company = _company_path(results, first)
            company.parent.mkdir(exist_ok=True)
            replace_file(company, "\n".join(item.unit.key() for item in items).encode())
        # A training isn't continued by another source than it was begun by.
        sources = self._cells[0].sources.values()
        key = digest([self._machine.precision, *sources, *(item.unit.key() for item in items)])
        try:
            outcomes = self._call(items, _state_path(results, first), key)
        except StorageError:
            raise
        except (Exception, SystemExit) as error:
            fault = _as_error(error, self._method.card.name)
            # A traceback keeps the frames alive, and with them a network and its optimizer.
            traceback.clear_frames(error.__traceback__)
            self._fail_all(wanted, fault)
        else:
            self._settle(
                [(item, out) for item, out in zip(items, outcomes, strict=True) if not item.finished]
            )
        _remove_state(results, first)
        self._unit, self._called = None, 0

    def _call(self, items: list[_Work], checkpoint: Path, key: str) -> list[Outcome | UnitError]:
        """Call the protocol's function.

        Raises:
            Exception: It fails for all of the units.
        """
        from comface_bench.engine.feature_store import FeatureStore
        from comface_bench.engine.jobs import Job, RunContext

        entry, unit = self._cells[0].protocol_entry, items[0].unit
        function = entry.resolve(entry.card.run)
        shared = self._together and not self._method.card.drawn
        encoder = self._take_encoder(0 if shared else unit.seed)
        jobs = [Job(item.cell.task, item.unit.fold, item.unit.seed, item.unit.label) for item in items]
        images = self._image_source()
        about = {"method": self._cells[0].method_name, "data": self._cells[0].task.table.name}
        # Of code that a plugin calls elsewhere, its features' key knows nothing: --again is to run that, too.
        anew = self._request.again and self._method.source is not None
        kept = None if anew else cache_folder() / "features"
        features = FeatureStore(encoder, images, self._report, kept, about)
        context = RunContext(encoder, self._protocol, images, features, self._report, checkpoint, key)
        outcomes: list[Outcome | UnitError] = list(function(jobs, context))
        if len(outcomes) != len(jobs):
            raise PluginError(f"{entry.card.run} returned {len(outcomes)} outcomes for {len(jobs)} jobs")
        return outcomes

    def _has_pairs(self, item: _Work) -> bool:
        """Return whether a unit can be trained, validated and tested; one that can't fails alone."""
        task, fold = item.cell.task, item.unit.fold
        try:
            for part in PARTS:
                task.pairs(fold, part)
            if not task.changes_in_training(fold):
                raise UnitError(
                    f"{item.unit.label}: no training pair changes in {task.card.target}",
                    "Nothing can be learnt from labels that stay: check them, or choose another split.",
                )
        except BenchError as error:
            self._fail(item, error)
            return False
        return True

    def _settle(self, ended: Iterable[tuple[_Work, Outcome | UnitError]]) -> None:
        """Store what came of units, all that are of one record at once."""
        for writer, some in itertools.groupby(ended, key=lambda pair: pair[0].writer):
            made = {item: found for item, outcome in some if (found := self._make(item, outcome))}
            if not made:
                continue
            try:
                with self._storing(next(iter(made))):
                    writer.add_all(made.values())
            except StorageError:
                raise
            except Exception as error:
                for item in made:
                    self._fail(item, error)
                continue
            for item, (result, _) in made.items():
                self._model_files(item).remove_earlier((result.fold, result.seed), result)
                primary = item.cell.task.card.metrics[0]
                value = result.metrics[primary].value
                self._journal.write("end", item.unit, seconds=round(result.seconds, 1))
                shown = f"{primary} {value:.3f}" if value is not None else f"{primary} undefined"
                self._report_to(_unit_event("unit", item, shown, value))

    def _make(self, item: _Work, outcome: Outcome | UnitError) -> tuple[UnitResult, list[Prediction]] | None:
        """Return what is to be stored of a unit; one that came to nothing is recorded as failed."""
        from comface_bench.engine.jobs import check_predictions

        try:
            if isinstance(outcome, UnitError):
                raise outcome
            check_predictions(outcome.predictions, item.unit.label)
            made = make_unit_result(item.cell.task, item.unit, outcome, self._details(item.cell))
            with self._storing(item):
                if item.unsaved:
                    self._keep_model_alone(item, outcome, made[1])
                    return None
                self._keep_model(item, outcome, made[0])
            return made
        except StorageError:
            raise
        except Exception as error:
            self._fail(item, error)
            return None

    def _keep_model(self, item: _Work, outcome: Outcome, stored: UnitResult) -> None:
        """Keep what a unit learnt, before the unit is stored: whoever finds the unit finds its model."""
        from comface_bench.engine.model_file import write_model

        fitted = outcome.fitted
        if fitted is None or (fitted.backbone and not self._request.save_models):
            return
        place = (stored.fold, stored.seed)
        write_model(
            self._model_files(item).path(place, stored),
            fitted,
            self._photos,
            key=stored.key,
            predictions_digest=stored.predictions_digest,
            fold=stored.fold,
            seed=stored.seed,
        )

    def _keep_model_alone(self, item: _Work, outcome: Outcome, rows: Sequence[Prediction]) -> None:
        """Keep the model of a unit that is stored, and stays so, if it gives the stored predictions."""
        unit = item.unit
        stored = item.writer.stored(unit.fold, unit.seed)
        before = {row.pair_id: row.yhat for row in stored.rows}
        apart = max(abs(row.yhat - before[row.pair_id]) for row in rows)
        said = ""
        if outcome.fitted is None:
            said = f"protocol {self._protocol.name} gives no model"
        elif apart > SAME_PREDICTION:
            said = (
                f"its model isn't kept: it answers otherwise than the record, by up to {apart:.2g}, as on"
                " another processor or version of torch. Run it anew: the same command with --again"
            )
        if said:
            self._report_to(_unit_event("notice", item, said))
            return
        self._keep_model(item, outcome, stored.unit)
        self._journal.write("end", unit, seconds=round(outcome.seconds, 1))
        self._report_to(_unit_event("unit", item, "model kept"))

    def _model_files(self, item: _Work) -> ModelFiles:
        cell = item.cell
        names = (cell.task.name, cell.protocol.name, cell.method_name)
        return ModelFiles(self._store.record_path(*names))

    @cached_property
    def _photos(self) -> PhotoFacts:
        from comface_bench.data.photos import describe_photos

        table = self._cells[0].task.table
        return describe_photos(table.root, table.images)

    def _fail_all(self, items: list[_Work], error: Exception) -> None:
        """Record the failure of units that were given in one call, and free what it had taken."""
        from comface_bench.engine.jobs import explain_memory
        from comface_bench.engine.precision import release_memory

        explained = explain_memory(error, self._protocol)
        for item in items:
            self._fail(item, explained or error)
        if explained:
            release_memory(self._machine)

    def _details(self, cell: PlannedRecord) -> dict[str, str | int]:
        """State what may change predictions and is no part of a key."""
        import torch

        machine = self._machine
        facts: dict[str, str | int] = {"precision": machine.precision, "device": machine.device.type}
        if cell.weights is not None:
            facts["weights_sha256"] = weights_digest(cell.weights)
        if self._weights_part:
            facts["weights_part"] = self._weights_part
        facts["input_size"] = self._input_size
        return {**facts, **self._aligned, "threads": torch.get_num_threads(), **cell.sources}

    def _fail(self, item: _Work, error: Exception) -> None:
        from comface_bench.results.schema import Failure

        message = describe_error(error)
        hint = "This is a fault of the method or of comface-bench; see more with --debug."
        if isinstance(error, BenchError):
            hint = as_text(error.hint)
        shared = self._without_paths(message)
        unit = item.unit
        failure = Failure(
            fold=unit.fold,
            seed=unit.seed,
            key=unit.key(),
            error=type(error).__name__,
            message=shared,
            hint=self._without_paths(hint),
        )
        # A record that can't be read any more stays as it is.
        with self._storing(item), contextlib.suppress(ResultError):
            item.writer.fail(failure)
        self._journal.write("failure", unit, error=shared)
        self._failed.append((unit, error))
        self._report_to(_unit_event("failure", item, message))

    @contextlib.contextmanager
    def _storing(self, item: _Work) -> Iterator[None]:
        """Stop the run if a record can't be written: those of later units couldn't be, either.

        Raises:
            StorageError: The system says no.
        """
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(
                f"the record of {item.unit.label} can't be written: {error}",
                "Mend that, then type the same command again: it goes on from here.",
            ) from error

    def _without_paths(self, text: str) -> str:
        """Replace folders by what they are: records are shared, and paths may name people."""
        return hide_paths(
            text,
            {
                self._cells[0].task.table.root: "DATA",
                weights_folder(): "WEIGHTS",
                cache_folder(): "CACHE",
                self._request.results: "RESULTS",
            },
        )

    def _report(self, event: Event) -> None:
        """Pass an event of the engine on, completed by the names of what runs."""
        unit = self._unit
        self._report_to(
            dataclasses.replace(
                event,
                method=self._cells[0].method_name,
                task=unit.task_name if unit else ", ".join(cell.task.name for cell in self._cells),
                protocol=self._protocol.name,
                fold=unit.fold if unit else None,
                seed=unit.seed if unit else None,
                key=unit.key() if unit else None,
                units=self._called,
                epochs=getattr(self._protocol, "epochs", 0) if self._called else 0,
            )
        )

    def _take_encoder(self, seed: int) -> Encoder:
        """Return an untouched encoder: the one that was measured, the first time that it serves."""
        if self._first_encoder is not None and (seed == 0 or not self._method.card.drawn):
            encoder, self._first_encoder = self._first_encoder, None
            return encoder
        return self._build(seed)

    def _build(self, seed: int) -> Encoder:
        from comface_bench.engine.encoder import build_encoder

        cell = self._cells[0]
        encoder = build_encoder(self._method, cell.options, cell.weights, seed).to(self._machine.device)
        self._weights_part = encoder.weights_part
        return encoder

    def _check_card(self, feature_dim: int) -> None:
        card = self._method.card
        if card.feature_dim is not None and card.feature_dim != feature_dim:
            raise PluginError(
                f"the card of {card.name} says {card.feature_dim} features, but there are {feature_dim}",
                "Correct feature_dim in the card.",
            )

    def _open_images(self) -> ImageStore:
        from comface_bench.data.alignment import count_faces, open_aligner, tell_faces
        from comface_bench.data.image_store import open_shown

        table, protocol = self._cells[0].task.table, self._protocol
        aligner = open_aligner(protocol.chip) if protocol.align != "none" else None
        doing, what = ("reading", "images") if aligner is None else ("aligning", "faces")
        self._report(Event("stage", f"{doing} {len(table)} {what}", total=len(table)))
        store = open_shown(
            table,
            protocol,
            cache=cache_folder() / "images",
            aligner=aligner,
            progress=lambda done, total: self._report(
                Event("progress", f"{doing} {what}", done=done, total=total, amount=1)
            ),
            notice=lambda text: self._report(Event("notice", text)),
        )
        self._aligned: dict[str, str | int] = {}
        if aligner is not None and store.how is not None:
            faces, finder = count_faces(store.how), aligner.finder.describe()
            self._aligned = {f"faces_{name.replace(' ', '_')}": count for name, count in faces.items()}
            self._aligned["face_finder"] = f"{finder['name']} {finder['version']}"
            self._report(Event("notice", f"faces: {tell_faces(faces)}"))
        # Pictures that were saved anew have other bytes and the same pixels.
        equal = store.find_equal()
        for task in (cell.task for cell in self._cells if equal):
            problems = ProblemList()
            check_people(task.table, task.card.target, task.chosen.get("allow", ""), problems, equal)
            problems.raise_any()
        return store

    @cached_property
    def _environment(self) -> dict[str, Any]:
        from comface_bench.results.environment import describe_environment

        return describe_environment()

    @cached_property
    def _image_keys(self) -> NDArray[np.uint64]:
        import numpy as np

        from comface_bench.data.augment import image_key

        table = self._cells[0].task.table
        return np.array([image_key(table.own_name(name)) for name in table.images], dtype=np.uint64)

    def _image_source(self) -> ImageSource:
        from comface_bench.engine.encoder import ImageSource

        size = self._protocol.image_size
        return ImageSource.unaugmented(self._images, size, self._machine, self._image_keys)

    def _open_record(self, cell: PlannedRecord, feature_dim: int, parameters: int) -> RecordWriter:
        from comface_bench.results.record import load_record

        writer = self._store.open(
            describe_task(cell.task),
            describe_method(cell, feature_dim, parameters),
            describe_protocol(cell.protocol),
            make_provenance(cell),
            self._environment,
        )
        if writer.set_aside is not None:
            kept = writer.set_aside.name
            told = f"an earlier record, of other settings or damaged, is kept as {kept}"
            with contextlib.suppress(ResultError):  # A damaged one says nothing.
                if change := describe_data_change(cell, load_record(writer.set_aside)):
                    told = (
                        f"{cell.label}: the data changed since its record ({change}); that is kept as {kept}"
                    )
            self._report(Event("notice", told))
        return writer


def _unit_event(kind: Kind, item: _Work, text: str, value: float | None = None) -> Event:
    unit = item.unit
    return Event(
        kind,
        # A fault that one of several units of a call has says itself which it was.
        f"{unit.label}: {text.removeprefix(f'{unit.label}: ')}",
        method=unit.method_name,
        task=unit.task_name,
        protocol=unit.protocol.name,
        fold=unit.fold,
        seed=unit.seed,
        key=unit.key(),
        value=value,
    )


def describe_task(task: Task) -> TaskInfo:
    """Describe a task with its data."""
    from comface_bench.results.schema import FoldSubjects, TaskInfo, describe_card

    card = task.card
    number = {subject: place for place, subject in enumerate(task.table.subject_names)}
    return TaskInfo(
        name=task.name,
        **describe_card(card),
        manifest_digest=task.table.digest,
        split=task.split.name,
        split_digest=task.split.digest,
        folds=len(task.folds),
        fold_subjects=[
            FoldSubjects.of(*([number[subject] for subject in fold.subjects(part)] for part in PARTS))
            for fold in task.folds
        ],
    )


def describe_method(cell: PlannedRecord, feature_dim: int, parameters: int) -> MethodInfo:
    """Describe a method as it was built."""
    from comface_bench.results.schema import MethodInfo, describe_method_card

    options = dict(cell.options)
    if "checkpoint" in options:
        options["checkpoint"] = cell.named_options["checkpoint"]
    return MethodInfo(
        name=cell.method_name,
        **describe_method_card(cell.method.card),
        options=options,
        checkpoint_digest=cell.checkpoint_digest,
        feature_dim=feature_dim,
        parameters=parameters,
    )


def describe_protocol(protocol: Protocol) -> ProtocolInfo:
    """Describe a resolved protocol."""
    from comface_bench.results.schema import ProtocolInfo

    # The engine's epoch stands with the protocol, so that records of other mathematics are set aside.
    values = {**protocol.facts(), "engine_epoch": ENGINE_EPOCH}
    return ProtocolInfo(name=protocol.name, values=values, digest=digest(values))


def make_provenance(cell: PlannedRecord) -> Provenance:
    """State who made a record and the command that makes it again, free of paths."""
    from comface_bench.results.schema import Provenance

    # A checkpoint is named by its digest; its place on this machine is nobody's business.
    named = {key: value for key, value in cell.named_options.items() if key != "checkpoint"}
    checkpoint = " -o checkpoint=FILE" if "checkpoint" in cell.named_options else ""
    method = format_name(cell.method.card.name, named)
    return Provenance(
        kind="ours",
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        tool_version=__version__,
        command=f"comface-bench run --method {method} --task {cell.task.name}"
        f" --protocol {cell.protocol.name}{checkpoint}",
    )


def make_unit_result(
    task: Task, unit: Unit, outcome: Outcome, details: Mapping[str, str | int]
) -> tuple[UnitResult, list[Prediction]]:
    """Turn a unit's outcome into what its record stores: the result and a row for each test pair."""
    from comface_bench.results.predictions import Prediction, digest_rows
    from comface_bench.results.schema import UnitResult
    from comface_bench.stats.metrics import compute_metrics, no_change_baseline

    pairs = task.pairs(unit.fold, "test")
    names = task.card.metrics
    rows = [
        Prediction(name, int(subject), unit.fold, unit.seed, float(target), float(predicted))
        for name, subject, target, predicted in zip(
            task.sampler.identifiers(pairs), pairs.subject, pairs.target, outcome.predictions, strict=True
        )
    ]
    result = UnitResult(
        fold=unit.fold,
        seed=unit.seed,
        key=unit.key(),
        metrics=compute_metrics(pairs.target, outcome.predictions, names),
        constant=no_change_baseline(pairs.target, names),
        n_pairs=len(rows),
        n_subjects=len({row.subject for row in rows}),
        best_epoch=outcome.best_epoch,
        validation_curve=outcome.validation_curve,
        seconds=outcome.seconds,
        peak_memory_mb=outcome.peak_memory_mb,
        details={**details, **outcome.details},
        predictions_digest=digest_rows(rows),
    )
    return result, rows


JOURNAL = "journal.jsonl"


class Journal:
    """Appends to `journal.jsonl` under a results folder."""

    def __init__(self, results: Path) -> None:
        self.path = results / JOURNAL

    def write(self, happened: str, unit: Unit, **facts: str | float) -> None:
        """Append one line: when, what (`start`, `end` or `failure`), which unit, and further facts."""
        line = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "event": happened,
            "unit": unit.label,
            "key": unit.key(),
            **facts,
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            append_line(self.path, json.dumps(line))
        except StorageError:
            raise
        except OSError as error:  # Another person's, for example.
            warnings.warn(f"{self.path} isn't kept: {error}; no result depends on it", stacklevel=2)
