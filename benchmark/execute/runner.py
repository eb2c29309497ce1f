"""Running the units of one method on one data set under one protocol.

A unit that fails is recorded with its reason and the next one runs; nothing that failed is ever read as
a result.
"""

from __future__ import annotations

import dataclasses
import traceback
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.digest import digest
from comface_bench.core.errors import BenchError, PluginError, UnitError
from comface_bench.core.events import Event, Kind, Report
from comface_bench.core.protocol import AUGMENTATIONS
from comface_bench.core.unit import Unit, seed_for
from comface_bench.core.weights import cache_folder, weights_folder
from comface_bench.data.splits import PARTS
from comface_bench.execute.describe import (
    describe_method,
    describe_protocol,
    describe_task,
    make_provenance,
    make_unit_result,
)
from comface_bench.execute.journal import Journal
from comface_bench.execute.plan import Cell, Request
from comface_bench.results.store import ResultStore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from comface_bench.data.image_store import ImageStore
    from comface_bench.engine.encoder import Encoder
    from comface_bench.engine.features import ImageSource
    from comface_bench.engine.outcome import Outcome
    from comface_bench.results.store import RecordWriter


@dataclass(frozen=True, eq=False)
class _Item:
    """A unit to run, with the record it goes into."""

    cell: Cell
    writer: RecordWriter
    unit: Unit


class GroupRunner:
    """Runs the missing units of cells that share method, data set and protocol.

    Args:
        cells: At least one; several only where their units share features.
        request: The user's.
        store: Where records go.
        report: Told of everything that happens.
    """

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
        """Run all units; return those that failed.

        Raises:
            Exception: The group can't start: its method can't be built, or its images can't be read.
        """
        from comface_bench.engine.precision import choose_machine

        self._machine = choose_machine(
            self._request.device, self._protocol.precision, trains=self._protocol.trains == "backbone"
        )
        self._first_encoder: Encoder | None = self._build(0)
        feature_dim = self._first_encoder.measure(self._protocol.image_size)
        self._check_card(feature_dim)
        parameters = self._first_encoder.parameter_count()
        self._images = self._open_images()
        work = []
        for cell in self._cells:
            writer = self._open_record(cell, feature_dim, parameters)
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

        work = [item for item in work if self._has_pairs(item)]
        # Drawn backbones differ between repetitions; all others serve every repetition at once.
        drawn = self._method.card.drawn
        for seed in sorted({item.unit.seed for item in work}) if drawn else [None]:
            items = [item for item in work if seed in (None, item.unit.seed)]
            if not items:
                continue
            jobs = [
                HeadJob(item.cell.task, item.unit.fold, item.unit.seed, item.unit.label) for item in items
            ]
            for item in items:
                self._journal.write("start", item.unit)
            key = digest([self._machine.precision, *(item.unit.key() for item in items)])
            path = self._checkpoint_path(key)
            try:
                encoder = self._take_encoder(seed or 0)
                # One seed for all folds and repetitions, so that they share each view.
                source = self._image_source(seed_for("augment", self._cells[0].task.card.data))
                outcomes = run_linear(jobs, encoder, self._protocol, source, self._report, path, key)
            except Exception as error:
                for item in items:
                    self._fail(item, error)
            else:
                for item, outcome in zip(items, outcomes, strict=True):
                    self._settle(item, outcome)
            path.unlink(missing_ok=True)

    def _has_pairs(self, item: _Item) -> bool:
        """Tell whether a unit can be validated and tested; one that can't fails alone."""
        try:
            for part in PARTS:
                item.cell.task.pairs(item.unit.fold, part)
        except BenchError as error:
            self._fail(item, error)
            return False
        return True

    def _train_backbone(self, item: _Item) -> None:
        from comface_bench.engine.finetune import FineTuneJob, run_finetune

        unit, task = item.unit, item.cell.task
        self._unit = unit
        self._journal.write("start", unit)
        key = digest([self._machine.precision, unit.key()])
        path = self._checkpoint_path(key)
        try:
            seed = seed_for("augment", task.card.data, unit.fold, unit.seed)
            job = FineTuneJob(task, unit.fold, unit.seed, key, unit.label, path)
            encoder = self._take_encoder(unit.seed)
            outcome = run_finetune(job, encoder, self._protocol, self._image_source(seed), self._report)
        except Exception as error:
            self._fail(item, error)
        else:
            self._settle(item, outcome)
        path.unlink(missing_ok=True)
        self._unit = None

    def _checkpoint_path(self, key: str) -> Path:
        return self._request.results / ".checkpoints" / f"{key[:16]}.pt"

    def _settle(self, item: _Item, outcome: Outcome | UnitError) -> None:
        from comface_bench.engine.outcome import check_predictions

        try:
            if isinstance(outcome, UnitError):
                raise outcome
            check_predictions(outcome.predictions, item.unit.label)
            details = {"precision": self._machine.precision, "device": self._machine.device.type}
            result, rows = make_unit_result(item.cell.task, item.unit, outcome, details)
            item.writer.add(result, rows)
        except Exception as error:
            self._fail(item, error)
            return
        primary = item.cell.task.card.metrics[0]
        value = result.metrics[primary].value
        self._journal.write("end", item.unit, seconds=round(outcome.seconds, 1))
        shown = f"{primary} {value:.3f}" if value is not None else f"{primary} undefined"
        self._report_to(_event("unit", item, shown, value))

    def _fail(self, item: _Item, error: Exception) -> None:
        from comface_bench.results.schema import Failure

        if isinstance(error, BenchError):
            message, hint = error.message, error.hint
        else:
            message = f"{type(error).__name__}: {error}"
            hint = "This is a fault of the method or of comface-bench; see more with --debug."
        # A traceback keeps the frames alive, and with them a network and its optimizer.
        traceback.clear_frames(error.__traceback__)
        message, hint = self._without_paths(message), self._without_paths(hint)
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

    def _without_paths(self, text: str) -> str:
        """Replace folders by what they are: records are shared, and paths may name people."""
        folders = {
            self._cells[0].task.table.root: "DATA",
            weights_folder(): "WEIGHTS",
            cache_folder(): "CACHE",
            self._request.results.absolute(): "RESULTS",
            Path.cwd(): ".",
            Path.home(): "~",
        }
        for folder, name in folders.items():
            text = text.replace(str(folder), name)
        return text

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

    def _take_encoder(self, seed: int) -> Encoder:
        """Return an untouched encoder: the one that was measured, the first time that it serves."""
        if self._first_encoder is not None and (seed == 0 or not self._method.card.drawn):
            encoder, self._first_encoder = self._first_encoder, None
            return encoder
        return self._build(seed)

    def _build(self, seed: int) -> Encoder:
        from comface_bench.engine.encoder import build_encoder

        cell = self._cells[0]
        return build_encoder(self._method, cell.options, cell.weights, seed).to(self._machine.device)

    def _check_card(self, feature_dim: int) -> None:
        card = self._method.card
        if card.feature_dim is not None and card.feature_dim != feature_dim:
            raise PluginError(
                f"the card of {card.name} says {card.feature_dim} features, but there are {feature_dim}",
                "Correct feature_dim in the card.",
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

    @cached_property
    def _image_keys(self) -> NDArray[np.uint64]:
        import numpy as np

        from comface_bench.data.augment import image_key

        table = self._cells[0].task.table
        return np.array([image_key(table.own_name(name)) for name in table.images], dtype=np.uint64)

    def _image_source(self, seed: int) -> ImageSource:
        from comface_bench.engine.features import ImageSource

        return ImageSource(
            store=self._images,
            keys=self._image_keys,
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
            self._report(
                Event(
                    "notice",
                    f"an earlier record, of other settings or damaged, is kept as {writer.set_aside.name}",
                )
            )
        return writer


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
