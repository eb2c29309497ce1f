"""Taking a package that the check has passed into the folder of a board's records."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.errors import ResultError
from comface_bench.core.files import replace_file, sync_folder, writing
from comface_bench.submission.check import RefusedError, check_package
from comface_bench.submission.package import NOTE, PREDICTIONS, RECORD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comface_bench.submission.package import SubmissionNote

NOTE_BESIDE = ".submission.toml"
"""Ending of the note beside each record."""


def accept(path: Path, results: Path, *, replace: bool = False, data: Path | None = None) -> list[Path]:
    """Check a package and put its records, predictions and note into a folder of records.

    What was checked is what is written: the package is read once. Only the prose about the method is the
    note's, in every record. Everything is first written beside the target, then renamed, predictions before
    their record; if anything fails, what was there comes back.
    Accepting the same package once more changes nothing.

    Args:
        path: The package.
        results: Folder of the board's records.
        replace: Replace earlier submissions of the same rows; rows of kind `ours` never are.
        data: As `check_package` takes it.

    Returns:
        The records' paths.

    Raises:
        RefusedError: The check finds something.
        ResultError: A row is there already.
        DataMissingError: There is no such package or folder.
    """
    report = check_package(path, results, data)
    if not report.ok:
        raise RefusedError("\n".join(["refused:", *map(str, report.findings)]))
    assert report.note is not None
    files = {}
    for stem in report.records:
        files[f"{stem}{NOTE_BESIDE}"] = report.members[NOTE]
        files[f"{stem}{PREDICTIONS}"] = report.members[f"{stem}{PREDICTIONS}"]
        files[f"{stem}{RECORD}"] = _with_note(report.members[f"{stem}{RECORD}"], stem, report.note)
    changed = {name: data for name, data in files.items() if _other(results / name, data)}
    there = [name for name in changed if name.endswith(RECORD) and (results / name).exists()]
    _refuse_ours(results, there)
    if there and not replace:
        raise ResultError(
            f"already on the board: {', '.join(there)}", "Replace the earlier submission: --replace"
        )
    _write(results, changed)
    return [results / f"{stem}{RECORD}" for stem in report.records]


def _with_note(data: bytes, stem: str, note: SubmissionNote) -> bytes:
    """Return a record whose prose about the method is the note's, sealed anew."""
    from comface_bench.results.record import record_from
    from comface_bench.results.schema import MethodAbout, dump_json

    record = record_from(data, Path(f"{stem}{RECORD}"))
    about = MethodAbout(summary=note.description, licence=note.licence, source=note.code or note.weights)
    method = record.method.model_copy(update={"about": about})
    return dump_json(record.model_copy(update={"method": method}).seal()).encode()


def _other(path: Path, data: bytes) -> bool:
    return not path.exists() or path.read_bytes() != data


def _refuse_ours(results: Path, names: list[str]) -> None:
    """Look once more, right before writing: the board may have changed since the check."""
    from comface_bench.results.record import load_record

    for name in names:
        if load_record(results / name).provenance.kind != "submitted":
            raise ResultError(f"{results / name} is no submission and isn't replaced")


def _write(results: Path, files: Mapping[str, bytes]) -> None:
    staging = Path(tempfile.mkdtemp(prefix=".submission-", dir=results))
    kept: dict[Path, Path | None] = {}
    try:
        for number, (name, data) in enumerate(files.items()):
            replace_file(staging / f"new-{number}", data)
            if (results / name).exists():
                with writing(staging / f"old-{number}"):
                    shutil.copy2(results / name, staging / f"old-{number}")
        for number, name in enumerate(files):
            target, old = results / name, staging / f"old-{number}"
            _make_folder(target.parent)
            kept[target] = old if old.exists() else None
            os.replace(staging / f"new-{number}", target)  # noqa: PTH105 - beside the rollback below
            sync_folder(target.parent)
    except BaseException:
        for target, before in reversed(kept.items()):
            if before is None:
                target.unlink(missing_ok=True)
            else:
                before.replace(target)
        raise
    finally:
        shutil.rmtree(staging)


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)
