"""Running a plan in this process, one group of units after the other.

Units of a linear protocol that share method and data set form one group, since they share features. A
group that can't even start, because its method can't be built or its images can't be read, doesn't keep
the others from running.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.errors import BenchError, UsageError
from comface_bench.core.events import Event, Report, ignore
from comface_bench.core.unit import Unit
from comface_bench.execute.plan import Cell, Plan, Request
from comface_bench.execute.runner import GroupRunner
from comface_bench.results.store import ResultStore

if TYPE_CHECKING:
    from comface_bench.results.schema import Record


@dataclass(frozen=True, eq=False)
class Finished:
    """What running a plan left.

    Attributes:
        records: One a cell, in the plan's order; a cell that couldn't start has none.
        failed: Units that failed in this run, with the error.
    """

    records: tuple[Record, ...]
    failed: tuple[tuple[Unit, Exception], ...]


def run_plan(plan: Plan, request: Request, report: Report = ignore) -> Finished:
    """Run the missing units of a plan and return all of its records.

    Nothing of torch is imported if no unit is missing.

    Raises:
        Exception: No group could start; the first one's reason.
    """
    store = ResultStore(request.results)
    total = sum(len(cell.units) for cell in plan.cells)
    missing = sum(len(cell.missing) for cell in plan.cells)
    report(Event("plan", f"{total} units, {total - missing} done", done=total - missing, total=total))
    for skip in plan.skips:
        report(Event("skip", f"{skip.label}: {skip.reason}"))
    failed: list[tuple[Unit, Exception]] = []
    groups = list(_groups(plan.cells))
    if groups:
        _check_writable(request.results)
    unstarted: list[Exception] = []
    for group in groups:
        try:
            failed += GroupRunner(group, request, store, report).run()
        except Exception as error:
            unstarted.append(error)
            if len(unstarted) == len(groups):
                raise unstarted[0] from None
            failed += [(unit, error) for cell in group for unit in cell.missing]
            reason = error.message if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
            for cell in group:
                report(Event("failure", f"{cell.label}: {reason}", cell.method_name, cell.task.name))
    records = []
    for cell in plan.cells:
        record = store.load(cell.task.name, cell.protocol.name, cell.method_name)
        if record is not None:
            records.append(record)
            report(_record_event(cell, record))
    return Finished(tuple(records), tuple(failed))


def _check_writable(results: Path) -> None:
    """Check that records can be written, before hours are spent on them.

    Raises:
        UsageError: They can't.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=results):
            pass
    except OSError as error:
        raise UsageError(
            f"records can't be written to {results}: {error.strerror}", "Name another folder: --results DIR"
        ) from error


def _groups(cells: Sequence[Cell]) -> Iterator[tuple[Cell, ...]]:
    """Group cells that still have work by method and data set, where their units share features."""
    grouped: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        if cell.missing:
            table, protocol = cell.task.table, cell.protocol
            alone = None if protocol.trains == "head" else cell.task.name
            # The data set's name too: views are drawn from it.
            key = (cell.method_name, table.name, table.digest, protocol.digest(), alone)
            grouped.setdefault(key, []).append(cell)
    for group in grouped.values():
        yield tuple(group)


def _record_event(cell: Cell, record: Record) -> Event:
    """Tell a record's primary metric, with the constant answer beside it."""
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
    )
