"""Comparison of two records or folders of records, and the union of several folders."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from comface_bench.core.errors import ResultError, UsageError
from comface_bench.results.predictions import parse_line
from comface_bench.results.record import load_record, read_sound, score_unit
from comface_bench.results.schema import MethodAbout, TaskAbout
from comface_bench.results.store import RecordFiles, ResultStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from comface_bench.results.predictions import FoldSeed, Prediction
    from comface_bench.results.record import Content, Header
    from comface_bench.results.schema import Record, UnitResult


MEASURED = ("seconds", "peak_memory_mb", "details")
"""Facts of a unit about its run, not its outcome; two runs of one unit differ in them."""
_HEADER = ("environment", "provenance")
_APART = ("units", "failures", "digest", "predictions_digest")


@dataclass(frozen=True)
class Pairs:
    """Differences between two tables of predictions of one unit.

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
class RecordDifference:
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


def compare_results(a: Path, b: Path, *, measured: bool = False) -> list[RecordDifference]:
    """Compare two records, or all records of two folders by their places.

    Args:
        a: A record's JSON, or a folder of results.
        b: The same kind.
        measured: Whether seconds, memory, environment and provenance are compared, too.

    Raises:
        ResultError: A file isn't a record, was changed since it was written, or has other predictions beside
            it.
        UsageError: One is a folder, and the other isn't.
    """
    if a.is_dir() != b.is_dir():
        raise UsageError(f"{a} and {b}: a folder and a file can't be compared", "Name two of one kind.")
    if not a.is_dir():
        return list(_compare_records(a, b, measured))
    here, there = _by_place(a), _by_place(b)
    found: list[RecordDifference] = []
    for place in sorted(here.keys() | there.keys()):
        if place in here and place in there:
            found += _compare_records(here[place], there[place], measured, place)
        else:
            present = "a record"
            sides = (present, None) if place in here else (None, present)
            found.append(RecordDifference(place, "", "", *sides))
    return found


def _by_place(root: Path) -> dict[str, Path]:
    return {str(path.relative_to(root).with_suffix("")): path for path in ResultStore(root).paths()}


def _compare_records(
    a: Path, b: Path, measured: bool, place: str | None = None
) -> Iterator[RecordDifference]:
    one, other = load_record(a), load_record(b)
    # Read even where no digest differs: a table that isn't the record's is no equal of the other.
    texts, other_texts = (read_sound(path, RecordFiles(path).predictions).texts for path in (a, b))
    name = place or f"{one.task.name}/{one.protocol.name}/{one.method.name}"
    causes = list(_compare_causes(one, other, name))
    yield from causes
    leave_out = {*_APART} if measured else {*_APART, *_HEADER}
    yield from _compare_facts(one.model_dump(exclude=leave_out), other.model_dump(exclude=leave_out), name)
    for difference in _compare_units(one, other, texts, other_texts, name, measured):
        if difference not in causes:
            yield difference
    failed, failed_too = (
        {
            _unit_name(failure.fold, failure.seed): f"{failure.error}: {failure.message}"
            for failure in failures
        }
        for failures in (one.failures, other.failures)
    )
    for unit in sorted(failed.keys() | failed_too.keys()):
        if failed.get(unit) != failed_too.get(unit):
            yield RecordDifference(name, unit, "failure", failed.get(unit), failed_too.get(unit))


CAUSES = ("threads", "method_source", "protocol_source", "device", "precision")
"""Details of a unit that change its predictions and no key, the likeliest first."""


def _compare_causes(one: Record, other: Record, name: str) -> Iterator[RecordDifference]:
    """Yield in what the runs of units differed whose predictions differ, though their keys are equal."""
    here = {(unit.fold, unit.seed): unit for unit in one.units}
    changed = [
        (here[unit.fold, unit.seed], unit)
        for unit in other.units
        if (unit.fold, unit.seed) in here
        and here[unit.fold, unit.seed].predictions_digest != unit.predictions_digest
    ]
    for field in CAUSES:
        for first, second in changed:
            a, b = _cause(one, first, field), _cause(other, second, field)
            if a != b:
                unit = _unit_name(first.fold, first.seed)
                yield RecordDifference(name, unit, f"details.{field}", a, b, _size(a, b))


def _cause(record: Record, unit: UnitResult, field: str) -> Any:
    torch = record.environment.get("torch")
    if field == "threads" and field not in unit.details and isinstance(torch, dict):
        return torch.get(field)  # Units didn't always say it themselves.
    return unit.details.get(field)


def _compare_units(
    one: Record,
    other: Record,
    texts: Mapping[FoldSeed, str],
    other_texts: Mapping[FoldSeed, str],
    name: str,
    measured: bool,
) -> Iterator[RecordDifference]:
    here = {(unit.fold, unit.seed): unit for unit in one.units}
    there = {(unit.fold, unit.seed): unit for unit in other.units}
    for place in sorted(here.keys() | there.keys(), key=lambda place: place[::-1]):
        unit = _unit_name(*place)
        if place not in here or place not in there:
            present = "a result"
            yield RecordDifference(name, unit, "", *((present, None) if place in here else (None, present)))
            continue
        first, second = _facts(here[place], measured), _facts(there[place], measured)
        yield from _compare_facts(first, second, name, unit)
        if here[place].predictions_digest != there[place].predictions_digest:
            pairs = _compare_pairs(*(_parse(lines[place], unit) for lines in (texts, other_texts)))
            counts = (pairs.shared + pairs.only_a, pairs.shared + pairs.only_b)
            yield RecordDifference(name, unit, "predictions", *counts, pairs.largest, pairs)


def _facts(unit: UnitResult, measured: bool) -> dict[str, Any]:
    return unit.model_dump(exclude={"predictions_digest", *(() if measured else MEASURED)})


def _compare_facts(
    a: Mapping[str, Any], b: Mapping[str, Any], record: str, unit: str = ""
) -> Iterator[RecordDifference]:
    one, other = dict(_flatten(a)), dict(_flatten(b))
    for field in dict.fromkeys([*one, *other]):
        first, second = one.get(field), other.get(field)
        if first != second or (field in one) != (field in other):
            yield RecordDifference(record, unit, field, first, second, _size(first, second))


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


def _parse(text: str, unit: str) -> list[Prediction]:
    return [parse_line(line, unit) for line in text.splitlines()]


def _compare_pairs(a: list[Prediction], b: list[Prediction]) -> Pairs:
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


Prefer = Literal["first", "last"]


@dataclass(frozen=True)
class Conflict:
    """One thing on which two folders contradict each other.

    Attributes:
        record: Place of the record, such as `age/linear/scratch`.
        what: What differs, such as `fold 0, seed 1` or `task.manifest_digest`.
        files: The two files, in the order in which the folders were named.
    """

    record: str
    what: str
    files: tuple[Path, Path]


@dataclass(frozen=True)
class Merged:
    """Outcome of a merge.

    Attributes:
        conflicts: All of them. If there are any and none was preferred, nothing was written.
        written: The records that were made or changed.
        records, units: How many there are now.
    """

    conflicts: list[Conflict]
    written: list[Path]
    records: int
    units: int


@dataclass
class _Union:
    """The contents found at one place, and what they come to."""

    origin: Path
    content: Content
    units_from: dict[tuple[int, int], Path] = dataclasses.field(default_factory=dict)


def merge_results(sources: Sequence[Path], into: Path, prefer: Prefer | None = None) -> Merged:
    """Unite folders of results.

    What `into` holds already counts as the first folder. Units that differ only in how they ran (seconds,
    memory, precision's name) are equal, and the first stands; so do its environment and provenance. A unit
    with a result stands over a failure. Each record is written whole or left untouched, so that a merge
    that is cut short can be repeated.

    Args:
        sources: Folders of results.
        into: Folder of the union; made if it isn't there.
        prefer: Whose word counts where two folders contradict each other; None writes nothing then.

    Raises:
        ResultError: A file isn't a record, its predictions don't bear it out, or a record in `into` was
            changed while this was read.
    """
    unions: dict[Path, _Union] = {}
    conflicts: list[Conflict] = []
    before: dict[Path, bytes] = {}
    for root in [into, *(source for source in sources if source.resolve() != into.resolve())]:
        for path in ResultStore(root).paths():
            place = path.relative_to(root)
            if root is into:
                before[place] = path.read_bytes()
            found = read_sound(path, RecordFiles(path).predictions)
            if place in unions:
                conflicts += _unite(unions[place], found, path, str(place.with_suffix("")), prefer)
            else:
                unions[place] = _Union(path, found, dict.fromkeys(found.units, path))
    written = [] if conflicts and prefer is None else _write(unions, into, before)
    units = sum(len(union.content.units) for union in unions.values())
    return Merged(conflicts, written, len(unions), units)


def _unite(union: _Union, other: Content, path: Path, record: str, prefer: Prefer | None) -> list[Conflict]:
    """Add a content to the one found so far; the preferred one's word counts."""
    if differing := _differing_header(union.content, other):
        conflicts = [Conflict(record, what, (union.origin, path)) for what in differing]
        if prefer == "last":
            union.content, union.origin = other, path
            union.units_from = dict.fromkeys(other.units, path)
        return conflicts
    conflicts = []
    mine = union.content
    mine.take_header(_united_header(mine.header, other.header))
    for place, found in other.units.items():
        stored = mine.units.get(place)
        unit = score_unit(found, other.texts[place], mine.header.task.metrics)
        if stored is not None and not _same(stored, unit):
            files = (union.units_from[place], path)
            conflicts.append(Conflict(record, f"fold {place[0]}, seed {place[1]}", files))
        if stored is None or (prefer == "last" and not _same(stored, unit)):
            mine.add(unit, other.texts[place])
            union.units_from[place] = path
    for place, failure in other.failures.items():
        if place not in mine.units and place not in mine.failures:
            mine.fail(failure)
    return conflicts


def _united_header(one: Header, other: Header) -> Header:
    """Return the first of two headers of one digest, completed by what only the other one knows."""
    task = other.task if len(other.task.metrics) > len(one.task.metrics) else one.task
    abouts = [about for about in (one.task.about, other.task.about) if about != TaskAbout()]
    known = {
        "fold_subjects": one.task.fold_subjects or other.task.fold_subjects,
        "about": abouts[0] if abouts else TaskAbout(),
    }
    method = other.method if one.method.about == MethodAbout() else one.method
    return dataclasses.replace(one, task=task.model_copy(update=known), method=method)


def _differing_header(one: Content, other: Content) -> list[str]:
    """Name the facts that keep two records of one name from being one record."""
    found = []
    a, b = one.header, other.header
    deciding = a.digest != b.digest
    for part, fields in (
        ("task", ("name", "card_digest", "manifest_digest", "split", "split_digest", "folds")),
        ("method", ("name", "card_digest", "options", "checkpoint_digest")),
        ("protocol", ("name", "digest")),
        ("provenance", ("kind",)),
    ):
        if part != "provenance" and not deciding:
            continue  # Cards may still differ in what decides no prediction.
        first, second = getattr(a, part), getattr(b, part)
        found += [f"{part}.{name}" for name in fields if getattr(first, name) != getattr(second, name)]
    if a.task.fold_subjects and b.task.fold_subjects and a.task.fold_subjects != b.task.fold_subjects:
        found.append("task.fold_subjects")
    return found or (["task, method or protocol"] if deciding else [])


def _same(one: UnitResult, other: UnitResult) -> bool:
    return one.model_dump(exclude={*MEASURED}) == other.model_dump(exclude={*MEASURED})


def _write(unions: dict[Path, _Union], into: Path, before: dict[Path, bytes]) -> list[Path]:
    written = []
    for place, union in sorted(unions.items()):
        path = into / place
        if before.get(place) == union.content.files()[1]:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        files = RecordFiles(path)
        with files.lock():
            if (path.read_bytes() if path.exists() else None) != before.get(place):
                raise ResultError(f"{path}: was changed meanwhile", "Merge again when no run writes to it.")
            files.write(*union.content.files())
        written.append(path)
    return written
