"""Checks of a predictions file: its packing, its lines, and that they are the record's."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from comface_bench.core.errors import ResultError
from comface_bench.results.check_facts import AGAIN
from comface_bench.results.parse import Problem
from comface_bench.results.predictions import (
    GZIP_HEADER,
    HEADER,
    SIZE_LIMIT,
    digest_text,
    parse_line,
    row_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comface_bench.results.predictions import Place, Row
    from comface_bench.results.schema import Record

_PAIR = re.compile(r"\d+-\d+-\d+", re.ASCII)
_MOST = 20
"""How many bad lines of a file are told one by one."""


def check_predictions(record: Record, data: bytes, *, sealed: bool) -> Iterator[Problem]:
    """Check a predictions file against its record.

    Args:
        record: Whose predictions they are.
        data: The file's bytes.
        sealed: Whether the record must know the digest of the file, which is so from version 2 on.
    """
    if sealed and hashlib.sha256(data).hexdigest() != record.predictions_digest:
        yield Problem("", "not the file that the record's predictions_digest was taken of", AGAIN)
    if not data.startswith(GZIP_HEADER):
        yield Problem("", "its gzip header isn't the plain one: no name, no time, no comment", AGAIN)
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(data, SIZE_LIMIT).decode("ascii")
    except zlib.error as error:
        yield Problem("", f"not a whole gzip file ({error})", AGAIN)
        return
    except UnicodeDecodeError:
        yield Problem("", "holds bytes outside ASCII", AGAIN)
        return
    if unpacker.unconsumed_tail:
        yield Problem("", f"unpacks to more than {SIZE_LIMIT} bytes")
    elif not unpacker.eof:
        yield Problem("", "not a whole gzip file: cut short", AGAIN)
    elif unpacker.unused_data:
        yield Problem("", f"{len(unpacker.unused_data)} bytes follow the packed table", AGAIN)
    else:
        yield from check_table(record, text)


def check_table(record: Record, text: str) -> Iterator[Problem]:
    """Check an unpacked predictions table against its record."""
    header, *lines = text.split("\n")
    if header != HEADER:
        yield Problem("line 1", f"the header isn't {HEADER}", AGAIN)
    if not lines or lines.pop() != "":
        yield Problem(f"line {len(lines) + 2}", "the last line is cut short", AGAIN)
    rows: list[Row] = []
    bad = 0
    for number, line in enumerate(lines, start=2):
        try:
            rows.append(parse_line(line, ""))
        except ResultError as error:
            bad += 1
            if bad <= _MOST:
                yield Problem(f"line {number}", error.message.removeprefix(": "), AGAIN)
    if bad:
        if bad > _MOST:
            yield Problem("", f"{bad - _MOST} more lines are no predictions")
        return
    units: dict[Place, list[Row]] = {}
    for row in rows:
        units.setdefault((row.fold, row.seed), []).append(row)
    order = [(row.seed, row.fold, row.subject) for row in rows]
    for number, (before, here) in enumerate(pairwise(order), start=3):
        if before > here:
            yield Problem(f"line {number}", "out of order; rows go by seed, fold and subject", AGAIN)
            break
    yield from _check_units(record, units)
    yield from _check_pairs(record, units)
    yield from _check_range(record, rows)


def _check_units(record: Record, units: dict[Place, list[Row]]) -> Iterator[Problem]:
    stored = {(unit.fold, unit.seed): unit for unit in record.units}
    for fold, seed in sorted(set(units) - set(stored)):
        yield Problem(
            f"fold {fold}, seed {seed}", "predictions of a unit that the record doesn't have", AGAIN
        )
    for (fold, seed), unit in stored.items():
        place = f"fold {fold}, seed {seed}"
        rows = units.get((fold, seed))
        if rows is None:
            yield Problem(place, "the record has this unit, but there are no predictions of it", AGAIN)
            continue
        yield from _check_identifiers(rows, place)
        if digest_text(row_text(rows)) != unit.predictions_digest:
            yield Problem(place, "the rows aren't those that the unit's digest was taken of", AGAIN)
        if unit.n_pairs != len(rows):
            yield Problem(place, f"{len(rows)} pairs, but the record says {unit.n_pairs}")
        subjects = {row.subject for row in rows}
        if unit.n_subjects != len(subjects):
            yield Problem(place, f"{len(subjects)} subjects, but the record says {unit.n_subjects}")
        if record.task.fold_subjects:
            tested = record.task.fold_subjects[fold].test.split(",")
            if strangers := sorted(set(map(str, subjects)) - set(tested), key=int):
                yield Problem(place, f"subject {', '.join(strangers[:5])} isn't one that the fold tests")


def _check_identifiers(rows: list[Row], place: str) -> Iterator[Problem]:
    """A pair is named by numbers alone, its subject's first, and stands once, whichever image is first."""
    for row in rows:
        parts = row.pair_id.split("-")
        if not _PAIR.fullmatch(row.pair_id) or parts[0] != str(row.subject):
            yield Problem(place, f"pair {row.pair_id} isn't named by numbers, subject {row.subject} first")
            return
    counts = Counter("-".join(sorted(row.pair_id.split("-")[1:])) + f" of {row.subject}" for row in rows)
    twice = [pair for pair, count in counts.items() if count > 1]
    if twice:
        yield Problem(place, f"pair {', '.join(sorted(twice)[:5])} occurs more than once")


def _check_pairs(record: Record, units: dict[Place, list[Row]]) -> Iterator[Problem]:
    """A pair has one subject, one true change and, where folds are pooled, one fold; seeds share pairs."""
    known: dict[str, tuple[int, str, int]] = {}
    pairs: dict[int, tuple[int, set[str]]] = {}
    for (fold, seed), rows in units.items():
        place = f"fold {fold}, seed {seed}"
        for row in rows:
            facts = (row.subject, repr(row.y), fold if record.task.aggregate == "pooled" else 0)
            before = known.setdefault(row.pair_id, facts)
            if before == facts:
                continue
            names = ("subject", "true change", "fold")
            what = next(name for name, a, b in zip(names, before, facts, strict=True) if a != b)
            yield Problem(place, f"pair {row.pair_id} has another {what} elsewhere in the file")
            break
        here = {row.pair_id for row in rows}
        first, expected = pairs.setdefault(fold, (seed, here))
        if here != expected:
            yield Problem(place, f"not the pairs that seed {first} tested in this fold")


def _check_range(record: Record, rows: list[Row]) -> Iterator[Problem]:
    match record.task.card.get("label_range"):
        case [int() | float() as low, int() | float() as high]:
            pass
        case _:
            yield Problem("", "the record's task card has no label_range to hold the true changes against")
            return
    for row in rows:
        if abs(row.y) > high - low:
            yield Problem(
                f"fold {row.fold}, seed {row.seed}",
                f"pair {row.pair_id}: a change of {row.y!r} is beyond labels from {low:g} to {high:g}",
            )
            break
