"""What differs between two records, or between two folders of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from comface_bench.core.errors import ResultError, UsageError
from comface_bench.results.record_files import RecordFiles
from comface_bench.results.store import ResultStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from comface_bench.results.predictions import Place, Row
    from comface_bench.results.schema import Record, UnitResult

MEASURED = ("seconds", "peak_memory_mb", "details")
"""Facts of a unit that tell how it ran, not what came out; two runs of one unit differ in them."""
_HEADER = ("environment", "provenance")
_APART = ("units", "failures", "digest", "predictions_digest")


@dataclass(frozen=True)
class Pairs:
    """How the predictions of one unit differ.

    Attributes:
        shared: Number of pairs in both.
        only_a, only_b: Number of pairs in one alone.
        other_y: Number of shared pairs with another true change.
        other_yhat: Number of shared pairs with another answer.
        largest: Largest difference of two answers to one pair, in the target's unit.
    """

    shared: int
    only_a: int
    only_b: int
    other_y: int
    other_yhat: int
    largest: float


@dataclass(frozen=True)
class Difference:
    """One fact that two records don't share.

    Attributes:
        record: Place of the record in its folder, such as `age/linear/scratch`.
        unit: Its unit, such as `fold 0, seed 1`; empty for a fact of the whole record.
        field: Name of the fact, such as `metrics.mae`; empty where a record or unit is missing on one side.
        a, b: The two values; None where one has no such fact.
        size: Absolute difference of two numbers, else None.
        pairs: Where predictions differ, how; else None.
    """

    record: str
    unit: str
    field: str
    a: Any
    b: Any
    size: float | None = None
    pairs: Pairs | None = None


def compare(a: Path, b: Path, *, measured: bool = False) -> list[Difference]:
    """Compare two records, or all records of two folders by their places.

    Args:
        a: A record's JSON, or a folder of results.
        b: The same kind.
        measured: Whether seconds, memory, environment and provenance are compared, too.

    Raises:
        ResultError: A file isn't a record.
        UsageError: One is a folder, and the other isn't.
    """
    if a.is_dir() != b.is_dir():
        raise UsageError(f"{a} and {b}: a folder and a file can't be compared", "Name two of one kind.")
    if not a.is_dir():
        return list(_compare_records(a, b, measured))
    here, there = _by_place(a), _by_place(b)
    found: list[Difference] = []
    for place in sorted(here.keys() | there.keys()):
        if place in here and place in there:
            found += _compare_records(here[place], there[place], measured, place)
        else:
            present = "a record"
            sides = (present, None) if place in here else (None, present)
            found.append(Difference(place, "", "", *sides))
    return found


def _by_place(root: Path) -> dict[str, Path]:
    return {str(path.relative_to(root).with_suffix("")): path for path in ResultStore(root).paths()}


def _compare_records(a: Path, b: Path, measured: bool, place: str | None = None) -> Iterator[Difference]:
    from comface_bench.results.content import load_record

    one, other = load_record(a), load_record(b)
    name = place or f"{one.task.name}/{one.protocol.name}/{one.method.name}"
    leave_out = {*_APART} if measured else {*_APART, *_HEADER}
    yield from _compare_facts(one.model_dump(exclude=leave_out), other.model_dump(exclude=leave_out), name)
    yield from _compare_units(one, other, a, b, name, measured)
    failed, failed_too = (
        {
            _unit_name(failure.fold, failure.seed): f"{failure.error}: {failure.message}"
            for failure in failures
        }
        for failures in (one.failures, other.failures)
    )
    for unit in sorted(failed.keys() | failed_too.keys()):
        if failed.get(unit) != failed_too.get(unit):
            yield Difference(name, unit, "failure", failed.get(unit), failed_too.get(unit))


def _compare_units(
    one: Record, other: Record, a: Path, b: Path, name: str, measured: bool
) -> Iterator[Difference]:
    here = {(unit.fold, unit.seed): unit for unit in one.units}
    there = {(unit.fold, unit.seed): unit for unit in other.units}
    rows: tuple[dict[Place, list[Row]], dict[Place, list[Row]]] | None = None
    for place in sorted(here.keys() | there.keys(), key=lambda place: place[::-1]):
        unit = _unit_name(*place)
        if place not in here or place not in there:
            present = "a result"
            yield Difference(name, unit, "", *((present, None) if place in here else (None, present)))
            continue
        first, second = _facts(here[place], measured), _facts(there[place], measured)
        yield from _compare_facts(first, second, name, unit)
        if here[place].predictions_digest != there[place].predictions_digest:
            rows = rows or (_read_rows(a), _read_rows(b))
            pairs = _compare_pairs(rows[0].get(place, []), rows[1].get(place, []))
            counts = (pairs.shared + pairs.only_a, pairs.shared + pairs.only_b)
            yield Difference(name, unit, "predictions", *counts, pairs.largest, pairs)


def _facts(unit: UnitResult, measured: bool) -> dict[str, Any]:
    return unit.model_dump(exclude={"predictions_digest", *(() if measured else MEASURED)})


def _compare_facts(
    a: Mapping[str, Any], b: Mapping[str, Any], record: str, unit: str = ""
) -> Iterator[Difference]:
    one, other = dict(_flatten(a)), dict(_flatten(b))
    for field in dict.fromkeys([*one, *other]):
        first, second = one.get(field), other.get(field)
        if first != second or (field in one) != (field in other):
            yield Difference(record, unit, field, first, second, _size(first, second))


def _flatten(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict) and value.keys() == {"value", "reason"}:
        # A metric: its number, or the words that stand for it.
        yield place, value["reason"] if value["value"] is None else value["value"]
    elif isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{place}.{key}" if place else str(key))
    else:
        yield place, value


def _size(a: Any, b: Any) -> float | None:
    numbers = [value for value in (a, b) if isinstance(value, int | float) and not isinstance(value, bool)]
    return abs(numbers[0] - numbers[1]) if len(numbers) == 2 else None


def _read_rows(path: Path) -> dict[Place, list[Row]]:
    from comface_bench.results.predictions import read_predictions

    rows: dict[Place, list[Row]] = {}
    for row in read_predictions(RecordFiles(path).predictions):
        rows.setdefault((row.fold, row.seed), []).append(row)
    return rows


def _compare_pairs(a: list[Row], b: list[Row]) -> Pairs:
    one, other = {row.pair_id: row for row in a}, {row.pair_id: row for row in b}
    if len(one) < len(a) or len(other) < len(b):
        raise ResultError(
            "a pair stands twice in one unit", "Look the files over: comface-bench results validate"
        )
    shared = [(one[pair], other[pair]) for pair in one.keys() & other.keys()]
    return Pairs(
        shared=len(shared),
        only_a=len(one) - len(shared),
        only_b=len(other) - len(shared),
        other_y=sum(first.y != second.y for first, second in shared),
        other_yhat=sum(first.yhat != second.yhat for first, second in shared),
        largest=max((abs(first.yhat - second.yhat) for first, second in shared), default=0.0),
    )


def _unit_name(fold: int, seed: int) -> str:
    return f"fold {fold}, seed {seed}"
