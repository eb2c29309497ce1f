"""Checking result files that anybody may have written: schema, digests, numbers, folds, predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comface_bench.core.errors import ResultError, UsageError
from comface_bench.results.finding import Finding as Finding
from comface_bench.results.lines import Lines
from comface_bench.results.record_files import RecordFiles
from comface_bench.results.store import ResultStore

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from comface_bench.results.parse import Problem
    from comface_bench.results.schema import Record


def validate_record(path: Path) -> list[Finding]:
    """Check a record and the predictions beside it against the schema and against themselves.

    Metrics aren't computed again; `recompute_record` does that.

    Args:
        path: The record's JSON, at `<task>/<protocol>/<method>.json`.

    Returns:
        All that is wrong; empty if nothing is.
    """
    from comface_bench.results.check_facts import check_facts, check_text
    from comface_bench.results.check_rows import check_predictions
    from comface_bench.results.parse import MalformedError, parse, read_bytes

    try:
        data = read_bytes(path)
        parsed = parse(data)
    except ResultError as error:
        return [_finding(path, "", error.message.removeprefix(f"{path}: "), error.hint)]
    except MalformedError as error:
        return _findings(path, error.problems, data)
    record = parsed.record
    found = _findings(path, check_text(parsed, data), data) + _check_place(path, record)
    found += _findings(path, check_facts(record), data)
    predictions = RecordFiles(path).predictions
    try:
        packed = read_bytes(predictions)
    except ResultError as error:
        return [*found, _finding(predictions, "", error.message.removeprefix(f"{predictions}: "), _LOST)]
    return found + _findings(predictions, check_predictions(record, packed, sealed=parsed.version > 1))


def validate_strays(results: Path) -> list[Finding]:
    """Find predictions without a record in a folder of results."""
    found = []
    for predictions in sorted(results.glob(f"*/*/*{_SUFFIX}")):
        record = predictions.with_name(predictions.name.removesuffix(_SUFFIX) + ".json")
        if not record.exists():
            found.append(_finding(predictions, "", f"predictions without their record {record.name}", _STRAY))
    return found


_SUFFIX = ".predictions.csv.gz"
_LOST = "A record counts only with its predictions; bring them back or run the units again."
_MOST = 1000
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


def _findings(path: Path, problems: Iterable[Problem], record: bytes = b"") -> list[Finding]:
    """Make findings of problems, with the line of each where they are a record's; beyond many, count them."""
    problems = list(problems)
    lines = Lines(record if problems else b"")
    found = [
        _finding(path, problem.place, problem.message, problem.hint, lines.of(problem.place))
        for problem in problems[:_MOST]
    ]
    if len(problems) > _MOST:
        found.append(_finding(path, "", f"{len(problems) - _MOST} more things are wrong", ""))
    return found


def _finding(path: Path, place: str, message: str, hint: str, line: int | None = None) -> Finding:
    return Finding(str(path), place, message, hint, line)
