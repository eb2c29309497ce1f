"""Uniting folders of results, such as those of several machines."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from comface_bench.core.errors import ResultError
from comface_bench.results.diff import MEASURED
from comface_bench.results.files import locked
from comface_bench.results.record_files import RecordFiles
from comface_bench.results.store import ResultStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from comface_bench.results.content import Content
    from comface_bench.results.schema import UnitResult

Prefer = Literal["first", "last"]


@dataclass(frozen=True)
class Conflict:
    """One thing that two folders tell differently.

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
    """What a merge came to.

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
    units_from: dict[tuple[int, int], Path] = field(default_factory=dict)


def merge(sources: Sequence[Path], into: Path, prefer: Prefer | None = None) -> Merged:
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
            found = _read(path)
            if place in unions:
                conflicts += _unite(unions[place], found, path, str(place.with_suffix("")), prefer)
            else:
                unions[place] = _Union(path, found, dict.fromkeys(found.units, path))
    written = [] if conflicts and prefer is None else _write(unions, into, before)
    units = sum(len(union.content.units) for union in unions.values())
    return Merged(conflicts, written, len(unions), units)


def _read(path: Path) -> Content:
    from comface_bench.results.content import read_content

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            return read_content(path, RecordFiles(path).predictions)
        except UserWarning as warning:
            hint = f"Look it over: comface-bench results validate {path}"
            raise ResultError(str(warning).replace("; it is dropped", ""), hint) from None


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
    if not mine.header.task.fold_subjects:
        mine.header = dataclasses.replace(mine.header, task=other.header.task)
    for place, unit in other.units.items():
        stored = mine.units.get(place)
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


def _differing_header(one: Content, other: Content) -> list[str]:
    """Name the facts that keep two records of one name from being one record."""
    found = []
    a, b = one.header, other.header
    for part, fields in (
        ("task", ("name", "card_digest", "manifest_digest", "split", "split_digest", "metrics", "folds")),
        ("method", ("name", "card_digest", "options", "checkpoint_digest")),
        ("protocol", ("name", "digest")),
        ("provenance", ("kind",)),
    ):
        first, second = getattr(a, part), getattr(b, part)
        found += [f"{part}.{name}" for name in fields if getattr(first, name) != getattr(second, name)]
    if a.task.fold_subjects and b.task.fold_subjects and a.task.fold_subjects != b.task.fold_subjects:
        found.append("task.fold_subjects")
    return found or (["task, method or protocol"] if a.digest != b.digest else [])


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
        with locked(files.lock):
            if (path.read_bytes() if path.exists() else None) != before.get(place):
                raise ResultError(f"{path}: was changed meanwhile", "Merge again when no run writes to it.")
            files.write(union.content)
        written.append(path)
    return written
