"""Packing records for others, so that the check on their side finds nothing."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from comface_bench.core.errors import DataMissingError, ResultError, UsageError
from comface_bench.submission.check import RefusedError, check_bytes, publishable
from comface_bench.submission.package import NOTE, PREDICTIONS, RECORD, check_note, write_archive, write_note

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from comface_bench.results.schema import Record
    from comface_bench.submission.check import Report
    from comface_bench.submission.package import SubmissionNote


def pack(
    results: Path,
    note: SubmissionNote,
    *,
    tasks: Sequence[str] = (),
    protocols: Sequence[str] = (),
    incomplete: bool = False,
    data: Path | None = None,
) -> tuple[bytes, Report]:
    """Pack one method's records with their predictions.

    Args:
        results: Folder of records; nothing in it is changed.
        note: Facts about the method that accompany the numbers; it names the method.
        tasks: Names and patterns of tasks; none takes all that there are.
        protocols: Names and patterns of protocols, likewise.
        incomplete: Pack records with missing or failed folds, too.
        data: As `check_package` takes it.

    Returns:
        The zip file's bytes, and the report of its check, which found nothing.

    Raises:
        UsageError: The note isn't fit, or a name or pattern fits no record.
        DataMissingError: There is no record of the method.
        ResultError: A record isn't sound, or isn't complete.
        RefusedError: The check finds something else, such as a task that isn't here.
    """
    if wrong := [f"{field}: {problem}" for field, problem in check_note(note)]:
        raise UsageError("; ".join(wrong))
    members = {NOTE: write_note(note).encode("ascii")}
    for path in _choose(results, note.method, tasks, protocols):
        stem = path.relative_to(results).as_posix().removesuffix(RECORD)
        record, predictions = _read(path, incomplete)
        members[f"{stem}{RECORD}"] = record
        members[f"{stem}{PREDICTIONS}"] = predictions
    package = write_archive(members)
    report = check_bytes(package, "the package", data=data)
    if not report.ok:
        raise RefusedError("\n".join(["this would be refused:", *map(str, report.findings)]))
    return package, report


def _choose(results: Path, method: str, tasks: Sequence[str], protocols: Sequence[str]) -> list[Path]:
    """List the method's records that the names and patterns fit."""
    from comface_bench.core.names import match_names
    from comface_bench.results.store import ResultStore, file_stem

    file = f"{file_stem(method)}{RECORD}"
    found = [path for path in ResultStore(results).paths() if path.name == file]
    if not found:
        raise DataMissingError(
            f"there is no record of {method} in {results}",
            f"Make one: comface-bench run --method {method} --task T --results {results}",
        )
    for wanted, kind, level in ((tasks, "task", 1), (protocols, "protocol", 0)):
        if wanted:
            # Compared as they are written in the tree, where `/` and `:` are `__`.
            known = [path.parents[level].name for path in found]
            patterns = [pattern.replace("/", "__").replace(":", "__") for pattern in wanted]
            kept = {name for pattern in patterns for name in match_names(pattern, known, kind)}
            found = [path for path in found if path.parents[level].name in kept]
    return found


def _read(path: Path, incomplete: bool) -> tuple[bytes, bytes]:
    """Read a sound record as it may be given away, and its predictions."""
    from comface_bench.results.record import load_record
    from comface_bench.results.schema import dump_json
    from comface_bench.results.store import RecordFiles
    from comface_bench.results.validation import recompute_record, validate_record

    if found := validate_record(path) or recompute_record(path):
        raise ResultError(
            "\n".join(map(str, found)), f"See it by itself: comface-bench results validate {path}"
        )
    record = load_record(path)
    if not record.summary.complete and not incomplete:
        raise ResultError(
            f"{path}: {_what_lacks(record)}",
            f"Finish it: {record.provenance.command or 'comface-bench run'}\n"
            "or pack it as it is with --incomplete: it is shown, but not ranked.",
        )
    predictions = RecordFiles(path).predictions.read_bytes()
    sealed = record.model_copy(update={"predictions_digest": hashlib.sha256(predictions).hexdigest()})
    return dump_json(publishable(sealed)).encode("ascii"), predictions


def _what_lacks(record: Record) -> str:
    done = set(record.summary.folds_done)
    missing = [str(fold) for fold in range(record.task.folds) if fold not in done]
    parts = [f"fold {', '.join(missing)} not done for each seed"] if missing else []
    parts += [
        f"fold {failure.fold}, seed {failure.seed} failed ({failure.error})" for failure in record.failures
    ]
    return "; ".join(parts)
