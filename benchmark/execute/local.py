"""Running a plan in this process, one group of units after the other.

Units of a linear protocol that share method and data set form one group, since they share features;
a unit that trains the backbone is a group of its own. A unit that fails is recorded with its reason and
the next one runs; nothing that failed is ever read as a result.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comface_bench.core.errors import BenchError, PluginError, UnitError
from comface_bench.core.events import Event, Kind, Report, ignore
from comface_bench.core.protocol import AUGMENTATIONS
from comface_bench.core.seeds import seed_for
from comface_bench.core.unit import Unit
from comface_bench.core.weights import cache_folder
from comface_bench.execute.describe import (
    describe_method,
    describe_protocol,
    describe_task,
    make_provenance,
    make_unit_result,
)
from comface_bench.execute.journal import Journal
from comface_bench.execute.plan import Cell, Plan, Request
from comface_bench.results.store import ResultStore

if TYPE_CHECKING:
    from comface_bench.data.image_store import ImageStore
    from comface_bench.engine.encoder import Encoder
    from comface_bench.engine.features import ImageSource
    from comface_bench.engine.outcome import Outcome
    from comface_bench.results.schema import Record
    from comface_bench.results.store import RecordWriter


@dataclass(frozen=True, eq=False)
class Finished:
    """What running a plan left.

    Attributes:
        records: One a cell, in the plan's order.
        failed: Units that failed in this run, with the error.
    """

    records: tuple[Record, ...]
    failed: tuple[tuple[Unit, Exception], ...]


def run_plan(plan: Plan, request: Request, report: Report = ignore) -> Finished:
    """Run the missing units of a plan and return all of its records.

    Nothing of torch is imported if no unit is missing.

    Raises:
        BenchError: A method can't be built at all, or two images can't be encoded.
    """
    store = ResultStore(request.results)
    total = sum(len(cell.units) for cell in plan.cells)
    missing = sum(len(cell.missing) for cell in plan.cells)
    report(Event("plan", f"{total} units, {total - missing} done", done=total - missing, total=total))
    for skip in plan.skips:
        report(Event("skip", f"{skip.label}: {skip.reason}"))
    failed: list[tuple[Unit, Exception]] = []
    for group in _groups(plan.cells):
        failed += _Runner(group, request, store, report).run()
    records = []
    for cell in plan.cells:
        record = store.load(cell.task.name, cell.protocol.name, cell.method_name)
        assert record is not None
        records.append(record)
        report(Event("record", cell.label, cell.method_name, cell.task.name, cell.protocol.name))
    return Finished(tuple(records), tuple(failed))


def _groups(cells: Sequence[Cell]) -> Iterator[tuple[Cell, ...]]:
    """Group cells that still have work by method and data set, where their units share features."""
    grouped: dict[tuple[str | None, ...], list[Cell]] = {}
    for cell in cells:
        if cell.missing:
            alone = None if cell.protocol.trains == "head" else cell.task.name
            key = (cell.method_name, cell.task.table.digest, cell.protocol.digest(), alone)
            grouped.setdefault(key, []).append(cell)
    for group in grouped.values():
        yield tuple(group)


class _Runner:
    """Runs the missing units of cells that share method, data set and protocol."""

    def __init__(self, cells: tuple[Cell, ...], request: Request, store: ResultStore, report: Report) -> None:
        self._cells = cells
        self._method = cells[0].method
        self._protocol = cells[0].protocol
        self._request = request
        self._store = store
        self._journal = Journal(request.results)
        self._report_to = report
        self._unit: Unit | None = None
        self._failed: list[tuple[Unit, Exception]] = []

    def run(self) -> list[tuple[Unit, Exception]]:
        """Run all units; return those that failed."""
        from comface_bench.engine.precision import choose_machine

        self._machine = choose_machine(self._request.device, self._request.precision)
        # Before anything is decoded or recorded: a method that can't be built is the user's to mend.
        encoder = self._build(0)
        feature_dim = encoder.measure(self._protocol.image_size)
        self._check_card(feature_dim)
        self._images = self._open_images()
        with contextlib.ExitStack() as stack:
            work = []
            for cell in self._cells:
                writer = stack.enter_context(self._open_record(cell, feature_dim, encoder.parameter_count()))
                # What a killed run had staged is merged by now and needs no second run.
                work += [
                    _Item(cell, writer, unit)
                    for unit in cell.missing
                    if writer.finished.get((unit.fold, unit.seed)) != unit.key()
                ]
            if self._protocol.trains == "head":
                self._train_heads(work)
            else:
                for item in work:
                    self._train_backbone(item)
        return self._failed

    def _train_heads(self, work: list[_Item]) -> None:
        from comface_bench.engine.linear import HeadJob, run_linear

        # Drawn backbones differ between repetitions; all others serve every repetition at once.
        drawn = self._method.card.drawn
        for seed in sorted({item.unit.seed for item in work}) if drawn else [None]:
            items = [item for item in work if seed in (None, item.unit.seed)]
            jobs = [
                HeadJob(item.cell.task, item.unit.fold, item.unit.seed, item.unit.label) for item in items
            ]
            for item in items:
                self._journal.write("start", item.unit)
            try:
                encoder = self._build(seed or 0)
                # One seed for all folds and repetitions, so that they share each view.
                source = self._image_source(seed_for("augment", self._cells[0].task.table.name))
                outcomes = run_linear(jobs, encoder, self._protocol, source, self._report)
            except Exception as error:
                for item in items:
                    self._fail(item, error)
                continue
            for item, outcome in zip(items, outcomes, strict=True):
                self._settle(item, outcome)

    def _train_backbone(self, item: _Item) -> None:
        from comface_bench.engine.finetune import FineTuneJob, run_finetune

        unit, task = item.unit, item.cell.task
        self._unit = unit
        self._journal.write("start", unit)
        path = self._request.results / ".checkpoints" / f"{unit.key()[:16]}.pt"
        try:
            seed = seed_for("augment", task.table.name, unit.fold, unit.seed)
            job = FineTuneJob(task, unit.fold, unit.seed, unit.key(), unit.label, path)
            encoder = self._build(unit.seed)
            outcome = run_finetune(job, encoder, self._protocol, self._image_source(seed), self._report)
        except Exception as error:
            self._fail(item, error)
        else:
            self._settle(item, outcome)
        path.unlink(missing_ok=True)
        self._unit = None

    def _settle(self, item: _Item, outcome: Outcome | UnitError) -> None:
        from comface_bench.engine.outcome import check_predictions

        try:
            if isinstance(outcome, UnitError):
                raise outcome
            check_predictions(outcome.predictions, item.unit.label)
        except UnitError as error:
            self._fail(item, error)
            return
        details = {"precision": self._machine.precision, "device": self._machine.device.type}
        result, rows = make_unit_result(item.cell.task, item.unit, outcome, details)
        item.writer.add(result, rows)
        primary = item.cell.task.card.metrics[0]
        value = result.metrics[primary].value
        self._journal.write("end", item.unit, seconds=round(outcome.seconds, 1))
        self._report_to(
            _event("unit", item, f"{primary} {value:.3f}" if value is not None else primary, value)
        )

    def _fail(self, item: _Item, error: Exception) -> None:
        from comface_bench.results.schema import Failure

        if isinstance(error, BenchError):
            message, hint = error.message, error.hint
        else:
            message = f"{type(error).__name__}: {error}"
            hint = "This is a fault of the method or of comface-bench; see more with --debug."
        unit = item.unit
        item.writer.fail(
            Failure(
                fold=unit.fold,
                seed=unit.seed,
                key=unit.key(),
                error=type(error).__name__,
                message=message,
                hint=hint,
            )
        )
        self._journal.write("failure", unit, error=message)
        self._failed.append((unit, error))
        self._report_to(_event("failure", item, message))

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
            )
        )

    def _build(self, seed: int) -> Encoder:
        from comface_bench.engine.encoder import build_encoder

        cell = self._cells[0]
        return build_encoder(self._method, cell.options, cell.weights, seed).to(self._machine.device)

    def _check_card(self, feature_dim: int) -> None:
        card = self._method.card
        if card.feature_dim is not None and card.feature_dim != feature_dim:
            raise PluginError(
                f"the card of {card.name} says {card.feature_dim} features, but there are {feature_dim}"
            )

    def _open_images(self) -> ImageStore:
        from comface_bench.data.image_store import open_image_store

        table, size = self._cells[0].task.table, self._protocol.image_size
        self._report(Event("stage", f"reading {len(table)} images", total=len(table)))
        return open_image_store(
            table.root,
            table.images,
            # A seventh more than is shown, so that crops of the augmentation lose little sharpness.
            size + -(-size // 7),
            cache=cache_folder() / "images",
            resize=self._protocol.resize,
            progress=lambda done, total: self._report(
                Event("progress", "reading images", done=done, total=total, amount=1)
            ),
        )

    def _image_source(self, seed: int) -> ImageSource:
        import numpy as np

        from comface_bench.data.augment import image_key
        from comface_bench.engine.features import ImageSource

        return ImageSource(
            store=self._images,
            keys=np.array([image_key(name) for name in self._images.names], dtype=np.uint64),
            size=self._protocol.image_size,
            augmentation=AUGMENTATIONS[self._protocol.augmentation],
            seed=seed,
            machine=self._machine,
        )

    def _open_record(self, cell: Cell, feature_dim: int, parameters: int) -> RecordWriter:
        from comface_bench.results.environment import describe_environment

        writer = self._store.open(
            describe_task(cell.task),
            describe_method(cell, feature_dim, parameters),
            describe_protocol(cell.protocol),
            make_provenance(cell),
            describe_environment(),
        )
        if writer.set_aside is not None:
            self._report(Event("notice", f"a record of other settings is kept as {writer.set_aside.name}"))
        return writer


@dataclass(frozen=True, eq=False)
class _Item:
    """A unit to run, with the record it goes into."""

    cell: Cell
    writer: RecordWriter
    unit: Unit


def _event(kind: Kind, item: _Item, text: str, value: float | None = None) -> Event:
    unit = item.unit
    return Event(
        kind,
        f"{unit.label}: {text}",
        method=unit.method_name,
        task=unit.task_name,
        protocol=unit.protocol.name,
        fold=unit.fold,
        seed=unit.seed,
        value=value,
    )
