"""Describing what ran, in the terms of a record."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING

from comface_bench.core.card import card_digest, facts
from comface_bench.core.digest import digest
from comface_bench.core.names import format_name
from comface_bench.core.protocol import Protocol
from comface_bench.core.unit import ENGINE_EPOCH, Unit
from comface_bench.data.splits import PARTS
from comface_bench.data.task import Task
from comface_bench.execute.plan import Cell
from comface_bench.version import __version__

if TYPE_CHECKING:
    from comface_bench.engine.outcome import Outcome
    from comface_bench.results.predictions import Prediction
    from comface_bench.results.schema import MethodInfo, ProtocolInfo, Provenance, TaskInfo, UnitResult


def describe_task(task: Task) -> TaskInfo:
    """Describe a task with its data."""
    from comface_bench.results.schema import FoldSubjects, TaskInfo

    card = task.card
    number = {subject: place for place, subject in enumerate(task.table.subject_names)}
    return TaskInfo(
        name=task.name,
        card=facts(card),
        card_digest=card_digest(card),
        data=card.data,
        target=card.target,
        unit=card.unit,
        metrics=list(card.metrics),
        aggregate=card.aggregate,
        manifest_digest=task.table.digest,
        split=task.split.name,
        split_digest=task.split.digest,
        folds=len(task.folds),
        fold_subjects=[
            FoldSubjects.of(*([number[subject] for subject in fold.subjects(part)] for part in PARTS))
            for fold in task.folds
        ],
    )


def describe_method(cell: Cell, feature_dim: int, parameters: int) -> MethodInfo:
    """Describe a method as it was built."""
    from comface_bench.results.schema import MethodInfo

    options = dict(cell.options)
    if "checkpoint" in options:
        options["checkpoint"] = cell.named_options["checkpoint"]
    return MethodInfo(
        name=cell.method_name,
        card=facts(cell.method.card),
        card_digest=card_digest(cell.method.card),
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


def make_provenance(cell: Cell) -> Provenance:
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
    task: Task, unit: Unit, outcome: Outcome, details: Mapping[str, str]
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
