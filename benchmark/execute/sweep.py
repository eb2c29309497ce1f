"""Sweeps: many records, divided into batches that processes and machines run on their own.

A batch is what shares a backbone and its features, and what one worker runs in one go. It carries a request,
not a plan: whoever runs it plans again, so that it can be handed to another process or machine, and data that
changed in the meantime are found. A batch is claimed while it runs: two sweeps on one results folder never
run one unit at the same time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from comface_bench.core.digest import digest
from comface_bench.core.errors import StorageError, UsageError, describe_error
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
    describe_data_change,
    draft_plan,
    narrow_all,
    without_repeats,
)
from comface_bench.results.store import ResultStore

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

    def without(self, keys: Collection[str]) -> Batch:
        """Return the batch without the units of some keys, itself if it has none of them."""
        left = {key: label for key, label in zip(self.units, self.labels, strict=True) if key not in keys}
        if len(left) == len(self.units):
            return self
        units = tuple(left)
        return dataclasses.replace(
            self,
            request=dataclasses.replace(self.request, units=units),
            units=units,
            labels=tuple(left.values()),
            seconds=None if self.seconds is None else self.seconds * len(units) / len(self.units),
            key=digest(sorted(units)),
        )


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
    """All that a sweep means, or one shard of it.

    Attributes:
        cells: A record's worth of work each; no unit is in two.
        batches: Units to run, in the order in which they should be begun.
        skips: What patterns matched but can't run.
        estimates: Key of a unit to run → seconds that it may take; no entry where nothing like it ran before.
    """

    cells: tuple[PlannedRecord, ...]
    batches: tuple[Batch, ...]
    skips: tuple[Skip, ...]
    estimates: Mapping[str, float]


@dataclass(frozen=True)
class Shard:
    """One of the parts of a sweep that machines run without knowing of each other.

    Attributes:
        number: Which, from 1 on.
        count: How many there are.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `i/n`.

        Raises:
            UsageError: It isn't of that form, or i isn't from 1 to n.
        """
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise UsageError(
                f"--shard {text}: expected i/n, with i from 1 to n", "The second of eight parts: --shard 2/8"
            )
        return cls(int(number), int(count))


def make_sweep(requests: Sequence[Request], shard: Shard | None = None) -> Sweep:
    """Work out what requests mean together.

    Args:
        requests: One for each protocol and setting, with one results folder.
        shard: The part that is wanted, None for all. What is in it depends on no result, so that it stays
            the same while other shards finish; each unit is in one shard.

    Raises:
        BenchError: As `make_plan`.
    """
    opened = OpenTasks()
    drafts = [draft_plan(request, opened) for request in requests]
    skips = tuple(dict.fromkeys(skip for draft in drafts for skip in draft.skips))
    Plan(tuple(cell for draft in drafts for cell in draft.cells), skips).check_any()
    return arrange([draft.cells for draft in drafts], skips, shard)


def arrange(
    planned: Iterable[Iterable[PlannedRecord]], skips: tuple[Skip, ...] = (), shard: Shard | None = None
) -> Sweep:
    """Divide planned work into batches.

    Args:
        planned: The cells of each request, of one results folder; those of one request may share a batch.
        skips: What was left out.
        shard: As for `make_sweep`.
    """
    seen: set[str] = set()
    parts = [without_repeats(cells, seen) for cells in planned]
    if shard is not None:
        chosen = _choose(_families(parts), shard)
        parts = [narrow_all(cells, chosen) for cells in parts]
    cells = tuple(cell for part in parts for cell in part)
    estimates = estimate_seconds(cells)
    return Sweep(cells, tuple(_batches(_families(parts), estimates)), skips, estimates)


_Work = tuple[PlannedRecord, Unit]


def _families(parts: Iterable[Sequence[PlannedRecord]]) -> list[list[_Work]]:
    """Group all units, finished ones included, by request, backbone, data set and protocol."""
    families: dict[tuple[int | str, ...], list[_Work]] = {}
    for number, cells in enumerate(parts):
        for cell in cells:
            table = cell.task.table
            shared = (number, cell.method_name, table.name, table.digest, cell.protocol.digest())
            families.setdefault(shared, []).extend((cell, unit) for unit in cell.units)
    return list(families.values())


def _is_shared(family: Sequence[_Work]) -> bool:
    """Return whether the units of a family share features, so that apart they would repeat work."""
    return family[0][0].protocol_entry.card.together


def _choose(families: Iterable[Sequence[_Work]], shard: Shard) -> set[str]:
    """Return the keys of a shard's units; shards have about as many each."""
    parts: list[list[str]] = []
    for family in families:
        keys = [unit.key() for _, unit in family]
        parts += [keys] if _is_shared(family) else [[key] for key in keys]
    # Large ones first, each to the shard that has least; by keys, since names may be given in any order.
    parts.sort(key=lambda keys: (-len(keys), min(keys)))
    shards: list[list[str]] = [[] for _ in range(min(shard.count, len(parts)))]
    for keys in parts:
        min(shards, key=len).extend(keys)
    return set(shards[shard.number - 1]) if shard.number <= len(shards) else set()


def estimate_seconds(cells: Iterable[PlannedRecord]) -> dict[str, float]:
    """Estimate the seconds of missing units, by key, from those that ran before."""
    missing = [(cell.request.results, unit) for cell in cells for unit in cell.missing]
    if not missing:
        return {}
    from comface_bench.results.history import PastSeconds

    (results,) = {results for results, _ in missing}
    past = PastSeconds(ResultStore(results), {unit.protocol.name for _, unit in missing})
    found = {unit.key(): past.estimate(unit) for _, unit in missing}
    return {key: seconds for key, seconds in found.items() if seconds is not None}


def _batches(families: Iterable[Sequence[_Work]], estimates: Mapping[str, float]) -> list[Batch]:
    """Divide the missing units: long work first, and what has a backbone and data in common one by one."""
    made: list[list[Batch]] = []
    for family in families:
        missing = [(cell, unit) for cell, unit in family if unit in cell.missing]
        parts = [_with_company(family)] if missing and _is_shared(family) else _join(missing, estimates)
        batches = [_make_batch(part, estimates) for part in parts if part]
        made.append(sorted(batches, key=_length, reverse=True))
    made.sort(key=lambda batches: _total(map(_length, batches)), reverse=True)
    return [batch for batches in made for batch in batches]


def _with_company(family: Sequence[_Work]) -> list[_Work]:
    """Return what is missing, and what is stored of those that a killed sweep had begun together with it."""
    from comface_bench.execute.run import find_company

    company = find_company(family[0][0].request.results, (unit for _, unit in family))
    return [(cell, unit) for cell, unit in family if unit in cell.missing or unit.key() in company]


_JOINED_S = 60.0
"""Up to so many seconds of units that could run apart are one batch: its start takes seconds, too."""


def _join(work: Iterable[_Work], estimates: Mapping[str, float]) -> list[list[_Work]]:
    """Join units that are estimated to be short; one without an estimate stays alone."""
    joined: list[list[_Work]] = []
    total = math.inf
    for cell, unit in work:
        seconds = estimates.get(unit.key(), math.inf)
        total += seconds
        if total > _JOINED_S:
            joined.append([])
            total = seconds
        joined[-1].append((cell, unit))
    return joined


_Length = tuple[float, int]
"""Estimated seconds, without end where they are unknown, and units: what is longer sorts higher."""


def _length(batch: Batch) -> _Length:
    return (math.inf if batch.seconds is None else batch.seconds, len(batch.units))


def _total(lengths: Iterable[_Length]) -> _Length:
    lengths = list(lengths)
    return (math.fsum(seconds for seconds, _ in lengths), sum(units for _, units in lengths))


def _make_batch(work: Sequence[_Work], estimates: Mapping[str, float]) -> Batch:
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
    missing = [unit.key() for cell, unit in work if unit in cell.missing]
    known = [estimates[key] for key in missing if key in estimates]
    where = first.task.name if len(cells) == 1 else first.task.table.name
    return Batch(
        request=request,
        units=keys,
        labels=tuple(unit.label for _, unit in work),
        title=f"{first.method_name} · {where} · {first.protocol.name}",
        seconds=math.fsum(known) if len(known) == len(missing) else None,
        key=digest(sorted(keys)),
    )


def explain(cell: PlannedRecord) -> dict[str, str]:
    """Say why units of a cell run that aren't finished: key → reason."""
    if not cell.missing:
        return {}
    from comface_bench.results.history import explain_misses

    changed = functools.partial(describe_data_change, cell)
    return explain_misses(ResultStore(cell.request.results), cell.missing, changed)


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
            done, failed = (), {key: describe_error(error) for key in mine}
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
        failed |= {unit.key(): describe_error(error) for unit, error in finished.failed}
    return tuple(key for key in left if key not in failed), failed


_CHANGED = (
    "its data, weights or settings were changed since the sweep began; the same command runs it as it is now"
)


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
    with contextlib.ExitStack() as held:
        # One at a time looks around, so that no two find one unit free.
        with file_lock(folder / "claiming.lock", remove=True):
            taken = _claimed_units(folder)
            mine = tuple(key for key in batch.units if key not in taken)
            if mine:
                # Named by what is claimed: two processes may hold parts of one batch.
                name = digest(sorted(mine))
                lock, listed = folder / f"{name}.lock", folder / f"{name}.json"
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
