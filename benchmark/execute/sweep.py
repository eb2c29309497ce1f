"""Sweeps: many records, divided into batches that processes and machines run on their own.

A batch is what shares a backbone and its features, and what one worker runs in one go. It carries a request,
not a plan: whoever runs it plans again, so that it can be handed to another process or machine, and data that
changed in the meantime are found. A batch is claimed while it runs: two sweeps on one results folder never
run one unit at the same time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from comface_bench.core.digest import digest
from comface_bench.core.errors import BenchError, StorageError, UsageError
from comface_bench.core.events import Report, ignore
from comface_bench.core.files import file_lock, replace_file, writing
from comface_bench.core.unit import Unit
from comface_bench.execute.plan import (
    OpenTasks,
    Plan,
    PlannedRecord,
    Request,
    Skip,
    choose_units,
    draft_plan,
)

CLAIMS = ".claims"
"""Folder of claims in a results folder."""


@dataclass(frozen=True)
class Batch:
    """What one worker runs in one go: units of one method, data set and protocol.

    It can be pickled, and planned again by any process that has the same working folder, data and weights.

    Attributes:
        request: Asks for these units alone, by their full keys.
        units: Keys of the units.
        labels: One for each unit, for people.
        title: One line for people: method, task or data set, protocol.
        seconds: Estimate from units that ran before; None where there is none.
        key: Names the batch: the digest of its units' keys.
    """

    request: Request
    units: tuple[str, ...]
    labels: tuple[str, ...]
    title: str
    seconds: float | None
    key: str


@dataclass(frozen=True)
class BatchResult:
    """What became of a batch; it can be pickled.

    Attributes:
        done: Keys of the units that have a result now.
        failed: Keys of those that have none, with the reason.
        busy: Whether another sweep runs units of it at the moment, which are in neither of the two.
    """

    done: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    busy: bool = False


@dataclass(frozen=True, eq=False)
class Sweep:
    """All that a sweep means.

    Attributes:
        cells: A record's worth of work each; no unit is in two.
        batches: Units to run, in the order in which they should be begun.
        skips: What patterns matched but can't run.
    """

    cells: tuple[PlannedRecord, ...]
    batches: tuple[Batch, ...]
    skips: tuple[Skip, ...]


def make_sweep(requests: Sequence[Request]) -> Sweep:
    """Work out what requests mean together.

    Args:
        requests: One for each protocol and setting, with one results folder.

    Raises:
        BenchError: As `make_plan`.
    """
    opened = OpenTasks()
    drafts = [draft_plan(request, opened) for request in requests]
    skips = tuple(dict.fromkeys(skip for draft in drafts for skip in draft.skips))
    Plan(tuple(cell for draft in drafts for cell in draft.cells), skips).check_any()
    seen: set[str] = set()
    parts = [list(_without_repeats(draft.cells, seen)) for draft in drafts]
    batches = tuple(batch for cells in parts for batch in _batches(cells))
    return Sweep(tuple(cell for cells in parts for cell in cells), batches, skips)


def _without_repeats(cells: Iterable[PlannedRecord], seen: set[str]) -> Iterator[PlannedRecord]:
    """Leave out units that were seen before, since requests may overlap; all become seen."""
    for cell in cells:
        fresh = {unit.key() for unit in cell.units} - seen
        seen |= fresh
        if fresh:
            yield cell.narrow(lambda unit, fresh=fresh: unit.key() in fresh)  # type: ignore[misc]


def _batches(cells: Sequence[PlannedRecord]) -> Iterator[Batch]:
    """Divide the missing units of one request's cells."""
    groups: dict[tuple[str, ...], list[tuple[PlannedRecord, Unit]]] = {}
    for cell in cells:
        table = cell.task.table
        shared = (cell.method_name, table.name, table.digest, cell.protocol.digest())
        for unit in cell.missing:
            own = shared if cell.protocol_entry.card.together else (unit.key(),)
            groups.setdefault(own, []).append((cell, unit))
    for work in groups.values():
        yield _make_batch(work)


def _make_batch(work: Sequence[tuple[PlannedRecord, Unit]]) -> Batch:
    cells = list(dict.fromkeys(cell for cell, _ in work))
    keys = tuple(unit.key() for _, unit in work)
    first = cells[0]
    options: dict[str, str] = {}
    for cell in cells:
        options |= cell.request.options
    request = dataclasses.replace(
        first.request,
        tasks=tuple(dict.fromkeys(name for cell in cells for name in cell.request.tasks)),
        options=options,
        units=keys,
    )
    where = first.task.name if len(cells) == 1 else first.task.table.name
    return Batch(
        request=request,
        units=keys,
        labels=tuple(unit.label for _, unit in work),
        title=f"{first.method_name} · {where} · {first.protocol.name}",
        seconds=None,
        key=digest(sorted(keys)),
    )


def run_batch(batch: Batch, report: Report = ignore) -> BatchResult:
    """Plan a batch again and run what is missing of it, in this process.

    Units that another sweep runs at the moment are left to it. Units that data, weights or settings of now no
    longer mean fail, and so do all where the batch can't start.

    Raises:
        StorageError: There is no room for results; other batches would find none either.
    """
    with _claim(batch) as mine:
        busy = len(mine) < len(batch.units)
        if not mine:
            return BatchResult(busy=True)
        try:
            done, failed = _run_units(batch.request, mine, report)
        except StorageError:
            raise
        except Exception as error:
            done, failed = (), {key: _describe(error) for key in mine}
        return BatchResult(done, tuple(failed.items()), busy)


def _run_units(
    request: Request, keys: Sequence[str], report: Report
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Run units; return the keys of those that are done, and the others' with the reason."""
    from comface_bench.execute.run import run_plan

    plan = draft_plan(request, OpenTasks())
    there = {unit.key() for cell in plan.cells for unit in cell.units}
    failed = {key: _CHANGED for key in keys if key not in there}
    left = [key for key in keys if key in there]
    if left:
        finished = run_plan(choose_units(plan, left), request, report)
        failed |= {unit.key(): _describe(error) for unit, error in finished.failed}
    return tuple(key for key in left if key not in failed), failed


_CHANGED = (
    "its data, weights or settings were changed since the sweep began; the same command runs it as it is now"
)


def _describe(error: Exception) -> str:
    return error.message if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _claim(batch: Batch) -> Iterator[tuple[str, ...]]:
    """Claim the units of a batch that no other process has claimed; the end of a process releases its claims.

    A claim is a lock file, held as long as the batch runs, beside a file that lists its units.

    Yields:
        Keys of the units that are claimed.
    """
    folder = batch.request.results / CLAIMS
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock, listed = folder / f"{batch.key}.lock", folder / f"{batch.key}.json"
    with contextlib.ExitStack() as held:
        # One at a time looks around, so that no two find one unit free.
        with file_lock(folder / "claiming.lock"):
            taken = _claimed_units(folder)
            mine = tuple(key for key in batch.units if key not in taken)
            if mine:
                held.enter_context(file_lock(lock, timeout=0, remove=True))
                held.callback(listed.unlink, missing_ok=True)
                replace_file(listed, json.dumps(mine).encode())
        yield mine


def _claimed_units(folder: Path) -> set[str]:
    """Return the units of all claims that are held; a claim whose process has ended is removed."""
    taken: set[str] = set()
    for listed in sorted(folder.glob("*.json")):
        try:
            with file_lock(listed.with_suffix(".lock"), timeout=0, remove=True):
                listed.unlink(missing_ok=True)
        except UsageError:
            # Its holder may be done by now.
            with contextlib.suppress(FileNotFoundError):
                taken.update(json.loads(listed.read_bytes()))
    return taken
