"""Checks of result files that anybody may have written.

A record is held to its schema, to itself (digests, keys, names, folds, plausible numbers), to the predictions
beside it, and to the other records of its task; every metric is computed again from the predictions alone.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import zlib
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from comface_bench.core.card import MethodCard, TaskCard, stored_card_digest
from comface_bench.core.digest import digest
from comface_bench.core.errors import BenchError, ResultError, UsageError
from comface_bench.core.findings import Finding, LineIndex
from comface_bench.results.predictions import (
    GZIP_HEADER,
    HEADER,
    PREDICTIONS,
    SIZE_LIMIT,
    digest_text,
    parse_line,
    read_texts,
    row_text,
)
from comface_bench.results.record import (
    TOLERANCE,
    Fault,
    MalformedError,
    Parsed,
    is_sealed,
    load_record,
    parse,
    read_bytes,
    summarise,
)
from comface_bench.results.schema import SCHEMA_VERSION, dump_json
from comface_bench.results.store import RecordFiles, ResultStore
from comface_bench.stats.metrics import METRICS, compute_metrics, no_change_baseline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from comface_bench.results.predictions import FoldSeed, Prediction
    from comface_bench.results.schema import Record, Summary, UnitResult
    from comface_bench.stats.metrics import MetricValue


def validate_record(path: Path) -> list[Finding]:
    """Check a record and the predictions beside it against the schema and against themselves.

    Metrics aren't computed again; `recompute_record` does that.

    Args:
        path: The record's JSON, at `<task>/<protocol>/<method>.json`.

    Returns:
        All that is wrong; empty if nothing is.
    """
    try:
        data = read_bytes(path)
        parsed = parse(data)
    except ResultError as error:
        return [_finding(path, "", error.message.removeprefix(f"{path}: "), error.hint)]
    except MalformedError as error:
        return _findings(path, error.problems, data)
    record = parsed.record
    found = _findings(path, check_text(parsed, data), data) + _check_place(path, record)
    found += _findings(path, check_record(record), data)
    predictions = RecordFiles(path).predictions
    try:
        packed = read_bytes(predictions)
    except ResultError as error:
        return [*found, _finding(predictions, "", error.message.removeprefix(f"{predictions}: "), _LOST)]
    return found + _findings(predictions, check_predictions_file(record, packed, sealed=parsed.version > 1))


def validate_strays(results: Path) -> list[Finding]:
    """Find predictions without a record in a folder of results."""
    found = []
    for predictions in sorted(results.glob(f"*/*/*{PREDICTIONS}")):
        record = predictions.with_name(predictions.name.removesuffix(PREDICTIONS) + ".json")
        if not record.exists():
            found.append(_finding(predictions, "", f"predictions without their record {record.name}", _STRAY))
    return found


_LOST = "A record counts only with its predictions; bring them back or run the units again."
_MOST_FINDINGS = 1000
_STRAY = "Bring the record back, or remove the predictions."


def _check_place(path: Path, record: Record) -> list[Finding]:
    names = (record.task.name, record.protocol.name, record.method.name)
    root = path.absolute().parents[2] if len(path.absolute().parts) > 3 else path.absolute().parent
    try:
        expected = ResultStore(root).record_path(*names)
    except UsageError as error:
        return [_finding(path, "", error.message, error.hint)]
    if expected == path.absolute():
        return []
    right = expected.relative_to(root)
    return [_finding(path, "", "the names inside belong to another file", f"Its place is {right}.")]


def _findings(path: Path, problems: Iterable[Fault], record: bytes = b"") -> list[Finding]:
    """Make findings of problems, with the line of each where they are a record's; beyond many, count them."""
    problems = list(problems)
    lines = LineIndex(record if problems else b"")
    found = [
        _finding(path, problem.place, problem.message, problem.hint, lines.of(problem.place))
        for problem in problems[:_MOST_FINDINGS]
    ]
    if len(problems) > _MOST_FINDINGS:
        found.append(_finding(path, "", f"{len(problems) - _MOST_FINDINGS} more things are wrong", ""))
    return found


def _finding(path: Path, place: str, message: str, hint: str, line: int | None = None) -> Finding:
    return Finding(str(path), place, message, hint, line)


_OTHER_PAIRS = "One of the two wasn't made by comface-bench run; make it again."


def check_together(paths: Iterable[Path]) -> list[Finding]:
    """Check that records of one task, data, split and engine have the same pairs and true changes by fold.

    The first record of each task is what the others are held against. Records that can't be read are
    passed over: `validate_record` reports them.

    Args:
        paths: Records' JSON files.
    """
    known: dict[tuple[str, str, str, str, int], tuple[str, Path]] = {}
    found = []
    for path in paths:
        try:
            record = load_record(path)
            texts = read_texts(RecordFiles(path).predictions)
        except ResultError:
            continue
        task, engine = record.task, str(record.protocol.values.get("engine_epoch"))
        folds = {fold: text for (fold, _), text in sorted(texts.items(), reverse=True)}
        for fold, text in sorted(folds.items()):
            pairs = _digest_pairs(text)
            expected, other = known.setdefault(
                (task.name, task.manifest_digest, task.split_digest, engine, fold), (pairs, path)
            )
            if pairs != expected:
                message = f"other pairs or true changes than in {other}"
                found.append(Finding(str(path), f"fold {fold}", message, _OTHER_PAIRS))
    return found


def _digest_pairs(text: str) -> str:
    """Digest pair, subject and true change of each line, whatever their order."""
    facts = sorted(
        f"{fields[0]},{fields[1]},{fields[4]}" for fields in (line.split(",") for line in text.splitlines())
    )
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBER = r"(0|[1-9][0-9]{0,17})"
_NUMBERS = re.compile(f"{_NUMBER}(,{_NUMBER})*")
_ROUNDING = 1e-9
AGAIN = "Take the file as it was written, or make it again: comface-bench run"


def check_text(parsed: Parsed, data: bytes) -> Iterator[Fault]:
    """Check that a record's bytes are the one text that this record is written as, down to its digest."""
    yield from _check_seal(parsed, data)
    newest = parsed.version == SCHEMA_VERSION
    expected = dump_json(parsed.record) if newest else json.dumps(parsed.facts, indent=1) + "\n"
    if expected.encode() != data:
        line = _first_difference(expected.encode(), data)
        yield Fault(f"line {line}", "not written as comface-bench writes this record", AGAIN)


def _check_seal(parsed: Parsed, data: bytes) -> Iterator[Fault]:
    if not is_sealed(parsed, data):
        yield Fault("digest", "the record isn't the one that this digest was taken of", AGAIN)


def check_record(record: Record) -> Iterator[Fault]:
    """Check all that a record says of itself."""
    yield from _check_digests(record)
    yield from _check_names(record)
    yield from _check_folds(record)
    for number, unit in enumerate(record.units):
        place = f"units.{number}"
        yield from _check_key(record, unit.fold, unit.seed, unit.key, place)
        yield from _check_metrics(unit.metrics, f"{place}.metrics")
        yield from _check_metrics(unit.constant, f"{place}.constant")
        yield from _check_training(record, unit, place)
        yield from _check_days(record, unit, place)
    for number, failure in enumerate(record.failures):
        yield from _check_key(record, failure.fold, failure.seed, failure.key, f"failures.{number}")
    for part in ("pooled", "fold_mean", "constant"):
        metrics = getattr(record.summary, part)
        if set(metrics) != set(record.task.metrics):
            yield Fault(f"summary.{part}", "its metrics aren't the task's")
        yield from _check_metrics(metrics, f"summary.{part}")
    try:
        datetime.datetime.fromisoformat(record.provenance.created)
    except ValueError:
        yield Fault("provenance.created", "no date such as 2026-01-31")


def _check_digests(record: Record) -> Iterator[Fault]:
    task, method, protocol = record.task, record.method, record.protocol
    if task.card_digest != stored_card_digest(task.card, TaskCard):
        yield Fault("task.card_digest", "not the digest of the card", AGAIN)
    if method.card_digest != stored_card_digest(method.card, MethodCard):
        yield Fault("method.card_digest", "not the digest of the card", AGAIN)
    if protocol.digest != digest(protocol.values):
        yield Fault("protocol.digest", "not the digest of the values", AGAIN)
    for place, value in (
        ("task.manifest_digest", task.manifest_digest),
        ("task.split_digest", task.split_digest),
        ("method.checkpoint_digest", method.checkpoint_digest),
    ):
        if value is not None and not _DIGEST.fullmatch(value):
            yield Fault(place, "not 64 hexadecimal digits")


def _check_key(record: Record, fold: int, seed: int, key: str, place: str) -> Iterator[Fault]:
    try:
        expected = record.unit_key(fold, seed)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, UsageError):
        yield Fault(f"{place}.key", "can't be checked: a card or the protocol lacks a fact", AGAIN)
        return
    if key != expected:
        yield Fault(f"{place}.key", "not the key that the record's facts give", AGAIN)


def _check_names(record: Record) -> Iterator[Fault]:
    task, method, protocol = record.task, record.method, record.protocol
    for place, name, card_name in (
        ("task.name", task.name, task.card.get("name")),
        ("method.name", method.name, method.card.get("name")),
    ):
        if not isinstance(card_name, str) or name.split("+")[0] != card_name.split("+")[0]:
            yield Fault(place, f"{name!r} isn't of the card's name {card_name!r}")
    if protocol.name != protocol.values.get("name"):
        yield Fault("protocol.name", "not the name among the protocol's values")
    for field in ("data", "target", "unit", "metrics", "aggregate"):
        if getattr(task, field) != task.card.get(field):
            yield Fault(f"task.{field}", "not the card's")
    for name in task.metrics:
        if name not in METRICS:
            yield Fault("task.metrics", f"no metric is called {name!r}")
    dim = method.card.get("feature_dim")
    if dim is not None and dim != method.feature_dim:
        yield Fault("method.feature_dim", f"{method.feature_dim}, but the card says {dim}")


def _check_folds(record: Record) -> Iterator[Fault]:
    task = record.task
    if not task.fold_subjects:
        yield Fault(
            "task.fold_subjects", "who is in which fold isn't there, so folds can't be checked", AGAIN
        )
    tested: dict[str, int] = {}
    for number, fold in enumerate(task.fold_subjects):
        for part in ("train", "validation", "test"):
            text = getattr(fold, part)
            listed = text.split(",")
            if not _NUMBERS.fullmatch(text) or listed != sorted(listed, key=int):
                yield Fault(f"task.fold_subjects.{number}.{part}", "not ascending numbers")
        for subject in fold.test.split(",") if task.aggregate == "pooled" else ():
            if subject in tested:
                yield Fault(
                    f"task.fold_subjects.{number}.test",
                    f"subject {subject} is tested by fold {tested[subject]}, too, though folds are pooled",
                )
            tested.setdefault(subject, number)


def _check_metrics(metrics: Mapping[str, MetricValue], place: str) -> Iterator[Fault]:
    for name, metric in metrics.items():
        if metric.value is None or name not in METRICS:
            continue
        low, high = METRICS[name].low, METRICS[name].high
        if not low - _ROUNDING <= metric.value <= high + _ROUNDING:
            yield Fault(f"{place}.{name}", f"{metric.value!r} isn't between {low:g} and {high:g}")


def _check_training(record: Record, unit: UnitResult, place: str) -> Iterator[Fault]:
    curve = unit.validation_curve
    # A protocol without epochs may have a curve of its own.
    epochs = record.protocol.values.get("epochs", len(curve))
    if len(curve) != epochs:
        yield Fault(f"{place}.validation_curve", f"{len(curve)} epochs, but the protocol has {epochs}")
    if any(loss < 0 for loss in curve):
        yield Fault(f"{place}.validation_curve", "a loss is negative")
    best = curve.index(min(curve)) + 1 if curve else 0
    if unit.best_epoch != best:
        yield Fault(f"{place}.best_epoch", f"{unit.best_epoch}, but the lowest validation loss is of {best}")
    if unit.n_subjects > unit.n_pairs:
        yield Fault(f"{place}.n_subjects", "more subjects than pairs")


_OWN_DAYS = re.compile(r"(\d+):(\d+)<(\d+(?:,\d+)*)", re.ASCII)
"""A subject, its day that is tested, and its days that trained the model of it."""


def _check_days(record: Record, unit: UnitResult, place: str) -> Iterator[Fault]:
    """Check what a unit says of models that were made of tested people's own days."""
    values = record.protocol.values
    if values.get("split_kind") != "days":
        return
    where = f"{place}.details.days_trained"
    models = [_OWN_DAYS.fullmatch(text) for text in str(unit.details.get("days_trained", "")).split()]
    if not models:
        yield Fault(where, "which days trained isn't there, so that it can't be checked", AGAIN)
    tested = record.task.fold_subjects[unit.fold].test.split(",") if record.task.fold_subjects else []
    for match in models:
        if match is None:
            yield Fault(where, "not of the form subject:day<days", AGAIN)
            return
        subject, day, trained = match[1], match[2], match[3].split(",")
        if day in trained:
            yield Fault(where, f"day {day} of subject {subject} is tested by a model that it trained")
        if len(set(trained)) != len(trained) or len(trained) != values.get("days"):
            yield Fault(where, f"{len(trained)} days of subject {subject}, but {values.get('days')} train")
        if subject not in tested:
            yield Fault(where, f"subject {subject} isn't one that the fold tests")
    said = {match[1] for match in models if match}
    if models and (silent := [subject for subject in tested if subject not in said]):
        yield Fault(where, f"days of subject {', '.join(silent[:5])}, who is tested, aren't there")
    others = record.task.fold_subjects or []
    taught = {
        subject for fold in others for part in (fold.train, fold.validation) for subject in part.split(",")
    }
    if both := [subject for subject in tested if subject in taught]:
        yield Fault(where, f"subject {', '.join(both[:5])} is tested, and pre-trains in another fold")


def _first_difference(one: bytes, other: bytes) -> int:
    """Return the line, from 1, in which two texts first differ."""
    lines = zip(one.split(b"\n"), other.split(b"\n"), strict=False)
    same = next((number for number, (a, b) in enumerate(lines) if a != b), None)
    return 1 + (min(one.count(b"\n"), other.count(b"\n")) if same is None else same)


_PAIR = re.compile(r"\d+-\d+-\d+", re.ASCII)
_MOST_LINES = 20
"""Number of bad lines of a file that are listed one by one."""


def check_predictions_file(record: Record, data: bytes, *, sealed: bool) -> Iterator[Fault]:
    """Check a predictions file against its record.

    Args:
        record: Whose predictions they are.
        data: The file's bytes.
        sealed: Whether the record must know the digest of the file, which is so from version 2 on.
    """
    if sealed and hashlib.sha256(data).hexdigest() != record.predictions_digest:
        yield Fault("", "not the file that the record's predictions_digest was taken of", AGAIN)
    if not data.startswith(GZIP_HEADER):
        yield Fault("", "its gzip header isn't the plain one: no name, no time, no comment", AGAIN)
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(data, SIZE_LIMIT).decode("ascii")
    except zlib.error as error:
        yield Fault("", f"not a whole gzip file ({error})", AGAIN)
        return
    except UnicodeDecodeError:
        yield Fault("", "holds bytes outside ASCII", AGAIN)
        return
    if unpacker.unconsumed_tail:
        yield Fault("", f"unpacks to more than {SIZE_LIMIT} bytes")
    elif not unpacker.eof:
        yield Fault("", "not a whole gzip file: cut short", AGAIN)
    elif unpacker.unused_data:
        yield Fault("", f"{len(unpacker.unused_data)} bytes follow the packed table", AGAIN)
    else:
        yield from check_table(record, text)


def check_table(record: Record, text: str) -> Iterator[Fault]:
    """Check an unpacked predictions table against its record."""
    header, *lines = text.split("\n")
    if header != HEADER:
        yield Fault("line 1", f"the header isn't {HEADER}", AGAIN)
    if not lines or lines.pop() != "":
        yield Fault(f"line {len(lines) + 2}", "the last line is cut short", AGAIN)
    rows: list[Prediction] = []
    bad = 0
    for number, line in enumerate(lines, start=2):
        try:
            rows.append(parse_line(line, ""))
        except ResultError as error:
            bad += 1
            if bad <= _MOST_LINES:
                yield Fault(f"line {number}", error.message.removeprefix(": "), AGAIN)
    if bad:
        if bad > _MOST_LINES:
            yield Fault("", f"{bad - _MOST_LINES} more lines are no predictions")
        return
    units: dict[FoldSeed, list[Prediction]] = {}
    for row in rows:
        units.setdefault((row.fold, row.seed), []).append(row)
    order = [(row.seed, row.fold, row.subject) for row in rows]
    for number, (before, here) in enumerate(pairwise(order), start=3):
        if before > here:
            yield Fault(f"line {number}", "out of order; rows go by seed, fold and subject", AGAIN)
            break
    yield from _check_units(record, units)
    yield from _check_pairs(record, units)
    yield from _check_range(record, rows)


def _check_units(record: Record, units: dict[FoldSeed, list[Prediction]]) -> Iterator[Fault]:
    stored = {(unit.fold, unit.seed): unit for unit in record.units}
    for fold, seed in sorted(set(units) - set(stored)):
        yield Fault(f"fold {fold}, seed {seed}", "predictions of a unit that the record doesn't have", AGAIN)
    for (fold, seed), unit in stored.items():
        place = f"fold {fold}, seed {seed}"
        rows = units.get((fold, seed))
        if rows is None:
            yield Fault(place, "the record has this unit, but there are no predictions of it", AGAIN)
            continue
        yield from _check_identifiers(rows, place)
        if digest_text(row_text(rows)) != unit.predictions_digest:
            yield Fault(place, "the rows aren't those that the unit's digest was taken of", AGAIN)
        if unit.n_pairs != len(rows):
            yield Fault(place, f"{len(rows)} pairs, but the record says {unit.n_pairs}")
        subjects = {row.subject for row in rows}
        if unit.n_subjects != len(subjects):
            yield Fault(place, f"{len(subjects)} subjects, but the record says {unit.n_subjects}")
        if record.task.fold_subjects:
            tested = record.task.fold_subjects[fold].test.split(",")
            if strangers := sorted(set(map(str, subjects)) - set(tested), key=int):
                yield Fault(place, f"subject {', '.join(strangers[:5])} isn't one that the fold tests")


def _check_identifiers(rows: list[Prediction], place: str) -> Iterator[Fault]:
    """A pair is named by numbers alone, its subject's first, and stands once, whichever image is first."""
    for row in rows:
        parts = row.pair_id.split("-")
        if not _PAIR.fullmatch(row.pair_id) or parts[0] != str(row.subject):
            yield Fault(place, f"pair {row.pair_id} isn't named by numbers, subject {row.subject} first")
            return
    counts = Counter("-".join(sorted(row.pair_id.split("-")[1:])) + f" of {row.subject}" for row in rows)
    twice = [pair for pair, count in counts.items() if count > 1]
    if twice:
        yield Fault(place, f"pair {', '.join(sorted(twice)[:5])} occurs more than once")


def _check_pairs(record: Record, units: dict[FoldSeed, list[Prediction]]) -> Iterator[Fault]:
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
            yield Fault(place, f"pair {row.pair_id} has another {what} elsewhere in the file")
            break
        here = {row.pair_id for row in rows}
        first, expected = pairs.setdefault(fold, (seed, here))
        if here != expected:
            yield Fault(place, f"not the pairs that seed {first} tested in this fold")


def _check_range(record: Record, rows: list[Prediction]) -> Iterator[Fault]:
    match record.task.card.get("label_range"):
        case [int() | float() as low, int() | float() as high]:
            pass
        case _:
            yield Fault("", "the record's task card has no label_range to hold the true changes against")
            return
    for row in rows:
        if abs(row.y) > high - low:
            yield Fault(
                f"fold {row.fold}, seed {row.seed}",
                f"pair {row.pair_id}: a change of {row.y!r} is beyond labels from {low:g} to {high:g}",
            )
            break


_OTHER_NUMBERS = (
    "Its numbers aren't those of its predictions: don't count it, and make it again: comface-bench run"
)


def recompute_record(path: Path) -> list[Finding]:
    """Compute every metric of every unit, the no-change baseline's and the summary again; nothing is changed.

    Args:
        path: The record's JSON; its predictions are read from beside it.

    Returns:
        Where a stored number isn't the one computed, or can't be, and whether record and predictions are
        those that their digests were taken of; empty if all are equal.
    """
    predictions = RecordFiles(path).predictions
    file = path
    try:
        data = read_bytes(path)
        parsed = parse(data)
        record = parsed.record
        file = predictions
        texts = read_texts(predictions)
        rows = {
            place: [parse_line(line, f"fold {place[0]}, seed {place[1]}") for line in text.splitlines()]
            for place, text in texts.items()
        }
    except MalformedError as error:
        return _findings(path, error.problems, data)
    except BenchError as error:
        return [Finding(str(file), "", error.message.removeprefix(f"{file}: "), error.hint)]
    missing = [unit for unit in record.units if (unit.fold, unit.seed) not in rows]
    if missing:
        return [
            Finding(
                str(predictions), f"fold {unit.fold}, seed {unit.seed}", "has no predictions", _OTHER_NUMBERS
            )
            for unit in missing
        ]
    faults = [Fault(*difference, _OTHER_NUMBERS) for difference in _differences(record, rows, texts)]
    faults += [
        Fault(
            f"units.{number}.predictions_digest", "not the digest of its rows in the predictions file", AGAIN
        )
        for number, unit in enumerate(record.units)
        if digest_text(texts[unit.fold, unit.seed]) != unit.predictions_digest
    ]
    return _findings(path, [*faults, *_check_seal(parsed, data)], data)


def _differences(
    record: Record, rows: Mapping[FoldSeed, list[Prediction]], texts: Mapping[FoldSeed, str]
) -> Iterator[tuple[str, str]]:
    again = {}
    for number, unit in enumerate(record.units):
        try:
            fresh = _recompute_unit(record, unit, rows[unit.fold, unit.seed])
        except (BenchError, ValueError) as error:
            yield f"units.{number}", f"can't be computed: {error}"
            return
        again[unit.fold, unit.seed] = fresh
        for field in ("metrics", "constant"):
            stored, computed = getattr(unit, field), getattr(fresh, field)
            yield from _compare_metrics(stored, computed, f"units.{number}.{field}")
        for field in ("n_pairs", "n_subjects"):
            yield from _compare_exactly(unit, fresh, field, f"units.{number}")
    failures = {(failure.fold, failure.seed): failure for failure in record.failures}
    summary = summarise(record.task, again, failures, texts)
    for field in ("pooled", "fold_mean", "constant"):
        yield from _compare_metrics(
            getattr(record.summary, field), getattr(summary, field), f"summary.{field}"
        )
    for field in ("n_pairs", "n_subjects", "folds_done", "seeds", "complete"):
        yield from _compare_exactly(record.summary, summary, field, "summary")


def _recompute_unit(record: Record, unit: UnitResult, rows: list[Prediction]) -> UnitResult:
    y, yhat = [row.y for row in rows], [row.yhat for row in rows]
    return unit.model_copy(
        update={
            "metrics": compute_metrics(y, yhat, record.task.metrics),
            "constant": no_change_baseline(y, record.task.metrics),
            "n_pairs": len(rows),
            "n_subjects": len({row.subject for row in rows}),
        }
    )


def _compare_metrics(
    stored: Mapping[str, MetricValue], computed: Mapping[str, MetricValue], place: str
) -> Iterator[tuple[str, str]]:
    if set(stored) != set(computed):
        yield place, "its metrics aren't the task's"
    for name in stored.keys() & computed.keys():
        if not _equal(stored[name], computed[name]):
            yield f"{place}.{name}", f"{_shown(stored[name])} is stored, but it is {_shown(computed[name])}"


def _compare_exactly(
    stored: UnitResult | Summary, computed: UnitResult | Summary, field: str, place: str
) -> Iterator[tuple[str, str]]:
    one, other = getattr(stored, field), getattr(computed, field)
    if one != other:
        yield f"{place}.{field}", f"{one} is stored, but it is {other}"


def _equal(stored: MetricValue, computed: MetricValue) -> bool:
    if stored.value is None or computed.value is None:
        return stored == computed
    return abs(stored.value - computed.value) <= TOLERANCE * max(1.0, abs(computed.value))


def _shown(metric: MetricValue) -> str:
    return f"none ({metric.reason})" if metric.value is None else repr(metric.value)
