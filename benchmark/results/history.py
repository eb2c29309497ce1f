"""What a folder of results tells of earlier runs: how long units took, and why one has to run again."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface_bench.core.card import MethodCard, TaskCard, deciding_facts, facts
from comface_bench.core.digest import canonical_json
from comface_bench.core.errors import ResultError
from comface_bench.core.unit import ENGINE_EPOCH, Unit
from comface_bench.results.store import ResultStore, file_stem

if TYPE_CHECKING:
    from comface_bench.results.schema import Record

NEVER = "never run"


class PastSeconds:
    """Seconds that finished units took, for estimates of those to come.

    Args:
        store: Where records are; one that can't be read tells nothing.
        protocols: Names of the protocols that are asked for.
    """

    def __init__(self, store: ResultStore, protocols: Collection[str]) -> None:
        self._found: dict[tuple[str, ...], list[float]] = defaultdict(list)
        stems = {file_stem(name) for name in protocols}
        for path in store.paths():
            if path.parent.name in stems:
                for protocol, method, task, seconds in _past_units(path):
                    for names in ((protocol,), (protocol, method), (protocol, method, task)):
                        self._found[names].append(seconds)

    def estimate(self, unit: Unit) -> float | None:
        """Return the median of the units that are nearest: of its method and task, its method, its protocol.

        All are of its protocol; None if there is none.
        """
        names = (unit.protocol.name, unit.method_name, unit.task_name)
        near = (self._found.get(names[:count]) for count in (3, 2, 1))
        return next((statistics.median(seconds) for seconds in near if seconds), None)


def _past_units(path: Path) -> Iterator[tuple[str, str, str, float]]:
    try:
        record = json.loads(path.read_bytes())
        names = (record["protocol"]["name"], record["method"]["name"], record["task"]["name"])
        yield from [(*names, float(unit["seconds"])) for unit in record["units"] if not _reused(unit)]
    except (OSError, ValueError, LookupError, TypeError):
        return


def _reused(unit: dict[str, Any]) -> bool:
    """Return whether a unit found all of its features encoded: one to come may have to encode them."""
    details = unit.get("details", {})
    return "units_sharing_features" in details and details.get("images_per_second") is None


def explain_misses(
    store: ResultStore, units: Collection[Unit], data_change: Callable[[Record], str]
) -> dict[str, str]:
    """Say of units of one record, none of which is finished, why each has to run.

    Args:
        store: Where the record is.
        units: The units.
        data_change: Says what is known of how a record's data changed.

    Returns:
        Key → reason.
    """
    one = next(iter(units))
    try:
        record = store.load(one.task_name, one.protocol.name, one.method_name)
    except ResultError as error:
        return {unit.key(): f"its record can't be used: {error.message}" for unit in units}
    if record is None:
        return dict.fromkeys((unit.key() for unit in units), NEVER)
    changes = _changes(record, one)
    outdated = f"{', '.join(changes)} changed" if changes else "its settings changed"
    if _THE_DATA in changes and (told := data_change(record)):
        outdated += f" ({told})"
    stored = {(unit.fold, unit.seed): unit.key for unit in record.units}
    failures = {(failure.fold, failure.seed): failure for failure in record.failures}

    def explain(unit: Unit) -> str:
        place = (unit.fold, unit.seed)
        if place in failures:
            message = failures[place].message
            before = f", and {outdated}" if failures[place].key != unit.key() else ""
            return f"failed before{before}: {message}"
        if place not in stored:
            return NEVER
        return "its predictions were changed or lost" if stored[place] == unit.key() else outdated

    return {unit.key(): explain(unit) for unit in units}


_THE_DATA = "the data"


def _changes(record: Record, unit: Unit) -> list[str]:
    """Name what decides a unit's key and isn't as it was when the record was written."""
    protocol = dict(record.protocol.values)
    epoch = protocol.pop("engine_epoch", 1)
    pairs: dict[str, tuple[Any, Any]] = {
        _THE_DATA: (record.task.manifest_digest, unit.manifest_digest),
        "the folds": (record.task.split_digest, unit.split_digest),
        "the weights": (record.method.checkpoint_digest, unit.checkpoint_digest),
        f"the engine (epoch {epoch} → {ENGINE_EPOCH})": (epoch, ENGINE_EPOCH),
        "the task's card": (
            deciding_facts(record.task.card, TaskCard),
            deciding_facts(facts(unit.task), TaskCard),
        ),
        "the method's card": (
            deciding_facts(record.method.card, MethodCard),
            deciding_facts(facts(unit.method), MethodCard),
        ),
    }
    found = [name for name, (before, now) in pairs.items() if canonical_json(before) != canonical_json(now)]
    now = json.loads(canonical_json(unit.protocol.facts()))  # as records have it
    keys = [key for key in {**protocol, **now} if protocol.get(key) != now.get(key)]
    return [*found, *([f"the protocol's {', '.join(keys)}"] if keys else [])]
