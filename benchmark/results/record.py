"""A record in memory: read from the bytes of any version, extended by units, summarised, and written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import warnings
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pydantic

from comface_bench.core.digest import states_own_digest
from comface_bench.core.errors import ResultError
from comface_bench.results.predictions import SIZE_LIMIT, digest_text, encode, predictions_of, read_texts
from comface_bench.results.schema import (
    SCHEMA_VERSION,
    NewerVersionError,
    Record,
    Summary,
    dump_json,
    header_digest,
    migrate,
    text_digest,
)
from comface_bench.stats.metrics import MetricValue, compute_metrics, no_change_baseline
from comface_bench.stats.predictions import counted_folds

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from comface_bench.results.predictions import FoldSeed
    from comface_bench.results.schema import (
        Failure,
        MethodInfo,
        ProtocolInfo,
        Provenance,
        TaskInfo,
        UnitResult,
    )


FIRST_SEALED: Final = 2
"""The first version whose records state the digest of their own text."""
TOLERANCE: Final = 1e-9
"""Largest difference that is still equal, relative to max(1, |value|)."""
MEND = "Mend or remove the file, then run the command again."
UPDATE = "Update comface-bench: pip install -U comface-bench"


class NewerRecordError(ResultError):
    """A record that a later comface-bench wrote: whole, so it is neither read nor set aside."""


class Fault(NamedTuple):
    """Something wrong in a file: the field or line, what is wrong there, and what to do."""

    place: str
    message: str
    hint: str = ""


class MalformedError(ValueError):
    """Bytes that aren't a record; `problems` holds at least one."""

    def __init__(self, problems: list[Fault]) -> None:
        super().__init__(problems[0].message)
        self.problems = problems


class Parsed(NamedTuple):
    """A record, and the JSON and version that it was read from."""

    record: Record
    facts: dict[str, Any]
    version: int


def parse(data: str | bytes) -> Parsed:
    """Parse a record of any version, without asking whether it is as it was written; `record_from` does.

    Raises:
        MalformedError: The bytes aren't a record of a known version.
    """
    try:
        facts = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedError([Fault("record", f"no JSON: {error}", MEND)]) from None
    if not isinstance(facts, dict):
        raise MalformedError([Fault("record", "a JSON document, but no object", MEND)])
    if facts.get("schema_version") == 1 and not facts.keys().isdisjoint(("digest", "predictions_digest")):
        # Else the number alone would free a later record from its digests.
        problem = "a record of version 1 has no digests: it is a later one whose version was changed"
        raise MalformedError([Fault("schema_version", problem, MEND)])
    try:
        current = migrate(facts)
        if current.get("schema_version") != facts.get("schema_version"):
            data = json.dumps(current)
        record = Record.model_validate_json(data, strict=True)
    except NewerVersionError as error:
        raise MalformedError([Fault("schema_version", str(error), UPDATE)]) from None
    except pydantic.ValidationError as error:
        raise MalformedError([_fault(found) for found in error.errors(include_url=False)]) from None
    return Parsed(record, facts, facts.get("schema_version", SCHEMA_VERSION))


def read_bytes(path: Path) -> bytes:
    """Read a file that a stranger may have written.

    Raises:
        ResultError: It can't be read, or is too big.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise ResultError(f"{path}: can't be read ({error.strerror})") from None
    if len(data) > SIZE_LIMIT:
        raise ResultError(f"{path}: bigger than {SIZE_LIMIT} bytes")
    return data


def record_from(data: str | bytes, path: Path) -> Record:
    """Parse a record that nobody changed since it was written; `path` names it in errors.

    A record of version 1 states no digest; `load_record` holds it to its predictions.

    Raises:
        NewerRecordError: It is of a later version.
        ResultError: It isn't a record, or not the one that its digest was taken of; the first problem, with
            file and field.
    """
    return _parse_sealed(data, path).record


def _parse_sealed(data: str | bytes, path: Path) -> Parsed:
    try:
        parsed = parse(data)
    except MalformedError as error:
        first = error.problems[0]
        kind = NewerRecordError if first.hint == UPDATE else ResultError
        raise kind(f"{path}: {first.place}: {first.message}", first.hint) from None
    if not is_sealed(parsed, data):
        raise ResultError(
            f"{path}: changed since it was written: digest is that of another text", _edited(path)
        )
    return parsed


def is_sealed(parsed: Parsed, data: str | bytes) -> bool:
    """Return whether a record is the one that its digest was taken of; one of version 1 has none to break.

    Args:
        parsed: The record.
        data: What it was parsed from. Its layout is no part of the record.
    """
    if parsed.version < FIRST_SEALED or states_own_digest(data.encode() if isinstance(data, str) else data):
        return True
    return parsed.facts.get("digest") == text_digest(parsed.facts)


def _edited(path: Path) -> str:
    return (
        f"See what is wrong: comface-bench results recompute {path}\n"
        "Bring the file back as it was, or make it again: comface-bench run sets it aside and starts anew."
    )


def _fault(error: Any) -> Fault:
    place = ".".join(str(part) for part in error["loc"]) or "record"
    return Fault(place, error["msg"], MEND)


@dataclasses.dataclass(frozen=True)
class Header:
    """Whose record it is, and what is written beside its units."""

    task: TaskInfo
    method: MethodInfo
    protocol: ProtocolInfo
    provenance: Provenance
    environment: dict[str, Any]

    @property
    def digest(self) -> str:
        """Digest of what makes two runs the same record."""
        return header_digest(self.task, self.method, self.protocol)


@dataclasses.dataclass
class Content:
    """Units, failures and canonical prediction lines by (fold, seed), under one header."""

    header: Header
    units: dict[FoldSeed, UnitResult] = dataclasses.field(default_factory=dict)
    failures: dict[FoldSeed, Failure] = dataclasses.field(default_factory=dict)
    texts: dict[FoldSeed, str] = dataclasses.field(default_factory=dict)

    def add(self, unit: UnitResult, text: str) -> None:
        """Put a unit, scored by the task's metrics, in the place of any outcome of its fold and seed."""
        place = (unit.fold, unit.seed)
        self.units[place] = score_unit(unit, text, self.header.task.metrics)
        self.texts[place] = text
        self.failures.pop(place, None)

    def fail(self, failure: Failure) -> None:
        """Record a failure; a finished unit of the same key stands, one of another key is outdated."""
        place = (failure.fold, failure.seed)
        if place in self.units and self.units[place].key == failure.key:
            return
        self.units.pop(place, None)
        self.texts.pop(place, None)
        self.failures[place] = failure

    def take_header(self, header: Header, again: Collection[str] = ()) -> bool:
        """Go on under another header of the same digest; metrics that units lack are computed.

        Args:
            header: The other header.
            again: Metrics that are computed although units have them. A value that comes out the same stays.

        Returns:
            Whether the facts of task or method changed.
        """
        changed = (header.task, header.method) != (self.header.task, self.header.method)
        self.header = header
        for place, unit in self.units.items():
            names, text = header.task.metrics, self.texts[place]
            scored = score_unit(unit, text, names)
            if not set(again).isdisjoint(names):
                fresh = score_unit(_without(scored, again), text, names)
                # Another release of numpy may give another last digit: what was computed stays.
                scored = scored if _near(scored.model_dump(), fresh.model_dump()) else fresh
            self.units[place] = scored
        return changed

    def record(self) -> Record:
        """Build the record, units by seed and fold, with its digests."""
        return self._record(encode(self.texts))

    def files(self) -> tuple[bytes, bytes]:
        """Return the bytes of the record's two files: its predictions and its JSON."""
        predictions = encode(self.texts)
        return predictions, dump_json(self._record(predictions)).encode()

    def _record(self, predictions: bytes) -> Record:
        header = self.header
        return Record(
            task=header.task,
            method=header.method,
            protocol=header.protocol,
            units=[self.units[place] for place in sorted(self.units, key=_by_seed)],
            failures=[self.failures[place] for place in sorted(self.failures, key=_by_seed)],
            summary=summarise(header.task, self.units, self.failures, self.texts),
            environment=header.environment,
            provenance=header.provenance,
            predictions_digest=hashlib.sha256(predictions).hexdigest(),
        ).seal()


def load_record(path: Path) -> Record:
    """Read a record's JSON, which must be as it was written.

    Raises:
        ResultError: The file is too big, isn't JSON, isn't a record of a known version, or was changed since
            it was written; names the file and the field. One of version 1, which has no digest, was changed
            if its numbers aren't those of the predictions beside it.
    """
    parsed = _parse_sealed(read_bytes(path), path)
    if parsed.version < FIRST_SEALED:
        texts = read_texts(predictions_of(path)) if parsed.record.units else {}
        try:
            follows = _follows(parsed.record, texts)
        except ValueError:  # Lines that aren't canonical.
            follows = False
        if not follows:
            raise ResultError(f"{path}: its numbers aren't those of its predictions", _edited(path))
    return parsed.record


def _follows(record: Record, texts: Mapping[FoldSeed, str]) -> bool:
    """Return whether all numbers of a record that predictions decide are those of its predictions."""
    again: dict[FoldSeed, UnitResult] = {}
    for unit in record.units:
        text = texts.get((unit.fold, unit.seed), "")
        if digest_text(text) != unit.predictions_digest:
            return False
        columns = _columns(text)
        counts = {"n_pairs": len(columns.pairs), "n_subjects": len(set(columns.subjects))}
        bare = _without(unit.model_copy(update=counts), record.task.metrics)
        again[unit.fold, unit.seed] = score_unit(bare, text, record.task.metrics)
    failures = {(failure.fold, failure.seed): failure for failure in record.failures}
    summary = summarise(record.task, again, failures, texts)
    pairs = [*zip(record.units, again.values(), strict=True), (record.summary, summary)]
    return all(_near(one.model_dump(), other.model_dump()) for one, other in pairs)


def _near(one: Any, other: Any) -> bool:
    """Return whether two values of JSON are equal, numbers up to `TOLERANCE`."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_near(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= TOLERANCE * max(1.0, abs(other))
    return bool(one == other)


def read_content(path: Path, predictions: Path) -> Content:
    """Read a record and its predictions; a unit that they don't bear out is dropped, with a warning.

    Raises:
        ResultError: As `load_record`.
    """
    record = load_record(path)
    content = Content(_header(record))
    try:
        texts = read_texts(predictions)
    except ResultError as error:
        texts = {}
        if record.units:
            warnings.warn(error.message, stacklevel=2)
    for unit in record.units:
        text = texts.get((unit.fold, unit.seed), "")
        if digest_text(text) == unit.predictions_digest:
            content.add(unit, text)
        else:
            _warn_dropped(path, unit)
    for failure in record.failures:
        content.fail(failure)
    return content


def read_sound(path: Path, predictions: Path) -> Content:
    """Read a record and its predictions, all of whose units they must bear out.

    Raises:
        ResultError: As `load_record`, or a unit isn't borne out by its predictions.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            return read_content(path, predictions)
        except UserWarning as warning:
            hint = f"Look it over: comface-bench results validate {path}"
            raise ResultError(str(warning).replace("; it is dropped", ""), hint) from None


def write_staged(content: Content, record: bytes) -> bytes:
    """Write a content whole into one file: the JSON of its record, as given, and its prediction lines."""
    texts = [content.texts[place] for place in sorted(content.units, key=_by_seed)]
    return json.dumps({"record": record.decode(), "predictions": "".join(texts)}).encode()


def read_staged(path: Path) -> Content:
    """Read what `write_staged` wrote.

    Raises:
        ResultError: The file isn't that, or the lines don't bear out the units.
    """
    try:
        staged = json.loads(read_bytes(path))
        record, lines = record_from(staged["record"], path), staged["predictions"].splitlines(keepends=True)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ResultError(f"{path}: no staged units") from None
    content = Content(_header(record))
    for unit in record.units:
        text, lines = "".join(lines[: unit.n_pairs]), lines[unit.n_pairs :]
        if digest_text(text) != unit.predictions_digest:
            raise ResultError(f"{path}: the predictions aren't the units'")
        content.add(unit, text)
    if lines:
        raise ResultError(f"{path}: more predictions than the units'")
    return content


def _header(record: Record) -> Header:
    return Header(record.task, record.method, record.protocol, record.provenance, record.environment)


def _by_seed(place: FoldSeed) -> FoldSeed:
    return place[::-1]


def _warn_dropped(path: Path, unit: UnitResult) -> None:
    warnings.warn(
        f"{path}: fold {unit.fold}, seed {unit.seed} isn't borne out by its predictions; it is dropped",
        stacklevel=3,
    )


def summarise(
    task: TaskInfo,
    units: Mapping[FoldSeed, UnitResult],
    failures: Mapping[FoldSeed, Failure],
    texts: Mapping[FoldSeed, str],
) -> Summary:
    """Take units together.

    Where seeds have different folds, only the folds that every seed has are counted, so that all numbers
    of a summary are of the same pairs; if there is none in common, all units are.

    Args:
        task: Names the metrics, the number of folds and which aggregate counts.
        units: Finished units by (fold, seed).
        failures: Failed units by (fold, seed).
        texts: The canonical prediction lines of each finished unit.
    """
    seeds = sorted({seed for _, seed in (*units, *failures)})
    done = counted_folds(units, seeds)
    units = {place: unit for place, unit in units.items() if place[0] in done} or units
    columns = {place: _columns(texts[place]) for place in units}
    pooled, constant = [], []
    for seed in sorted({seed for _, seed in units}):
        parts = [columns[place] for place in sorted(units) if place[1] == seed]
        y = [value for part in parts for value in part.y]
        yhat = [value for part in parts for value in part.yhat]
        pooled.append(compute_metrics(y, yhat, task.metrics))
        constant.append(no_change_baseline(y, task.metrics))
    if task.aggregate == "fold-mean":
        constant = [dict(units[place].constant) for place in sorted(units)]
    return Summary(
        pooled=_mean(task.metrics, pooled),
        fold_mean=_mean(task.metrics, [units[place].metrics for place in sorted(units)]),
        constant=_mean(task.metrics, constant),
        n_pairs=len({pair for part in columns.values() for pair in part.pairs}),
        n_subjects=len({subject for part in columns.values() for subject in part.subjects}),
        folds_done=done,
        seeds=seeds,
        complete=len(done) == task.folds and not failures,
    )


def score_unit(unit: UnitResult, text: str, names: Sequence[str]) -> UnitResult:
    """Return a unit with exactly these metrics; those that it lacks are computed from its predictions.

    Args:
        unit: The unit.
        text: Its canonical prediction lines.
        names: Keys of `METRICS`.

    Raises:
        UnknownNameError: A name that is lacking isn't a key of `METRICS`.
    """
    if list(unit.metrics) == list(names):
        return unit
    columns, lacking = _columns(text), [name for name in names if name not in unit.metrics]
    metrics = {**unit.metrics, **compute_metrics(columns.y, columns.yhat, lacking)}
    baseline = {**unit.constant, **no_change_baseline(columns.y, lacking)}
    return unit.model_copy(
        update={
            "metrics": {name: metrics[name] for name in names},
            "constant": {name: baseline[name] for name in names},
        }
    )


def _without(unit: UnitResult, names: Collection[str]) -> UnitResult:
    """Return a unit without some of its metrics."""
    kept = {
        block: {name: value for name, value in getattr(unit, block).items() if name not in names}
        for block in ("metrics", "constant")
    }
    return unit.model_copy(update=kept)


def score_record(record: Record, texts: Mapping[FoldSeed, str], names: Sequence[str]) -> Record:
    """Return a record with exactly these metrics; those that it lacks are computed from its predictions.

    Args:
        record: The record; what it says of its own files stays.
        texts: The canonical prediction lines of each of its units.
        names: Keys of `METRICS`.

    Raises:
        UnknownNameError: A name that is lacking isn't a key of `METRICS`.
    """
    content = Content(_header(record))
    for unit in record.units:
        content.add(unit, texts[unit.fold, unit.seed])
    for failure in record.failures:
        content.fail(failure)
    task = record.task.model_copy(update={"metrics": list(names)})
    content.take_header(dataclasses.replace(content.header, task=task))
    kept = {"digest": record.digest, "predictions_digest": record.predictions_digest}
    return content.record().model_copy(update=kept)


class _Columns(NamedTuple):
    pairs: tuple[str, ...]
    subjects: tuple[str, ...]
    y: list[float]
    yhat: list[float]


def _columns(text: str) -> _Columns:
    pairs, subjects, _, _, y, yhat = zip(*(line.split(",") for line in text.splitlines()), strict=True)
    return _Columns(pairs, subjects, [float(value) for value in y], [float(value) for value in yhat])


def _mean(names: Sequence[str], parts: Sequence[Mapping[str, MetricValue]]) -> dict[str, MetricValue]:
    """Average each metric; one part without a value leaves the mean without one, for the same reason."""
    means = {}
    for name in names:
        values = [part[name] for part in parts]
        missing = next((value.reason for value in values if value.value is None), None)
        if missing is not None or not values:
            means[name] = MetricValue(None, missing or "no finished unit")
        else:
            means[name] = MetricValue(math.fsum(value.value or 0.0 for value in values) / len(values))
    return means
