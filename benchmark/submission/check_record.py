"""A packed record by itself: sound, saying no more than it should, and the one that the note is on."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING

from comface_bench.core.errors import BenchError
from comface_bench.submission.package import RECORD, Place
from comface_bench.submission.text import show

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from comface_bench.results.schema import Record
    from comface_bench.submission.note import SubmissionNote

_MEASURED_MOST = 1e9
"""More than any time in seconds, memory in MiB or loss can be."""
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+]{0,30}")


def check_alone(root: Path, stem: str) -> Iterator[Place]:
    """Check a record against its schema, itself and its predictions.

    Args:
        root: Folder that the package was written into.
        stem: The record, `<task>/<protocol>/<method>`.
    """
    from comface_bench.results.recompute import recompute_record
    from comface_bench.results.record import load_record
    from comface_bench.results.validation import validate_record

    path = root / f"{stem}{RECORD}"
    found = validate_record(path)
    if not found:
        metrics = load_record(path).task.metrics
        if len(set(metrics)) < len(metrics):  # a hundred thousand times the same would take hours
            yield Place(f"{stem}{RECORD}", "task.metrics", "a metric stands twice")
            return
        found = recompute_record(path)
    for finding in found:
        file = finding.file.removeprefix(f"{root}/")
        place = ": ".join(filter(None, (f"line {finding.line}" if finding.line else "", finding.place)))
        yield Place(file, place, finding.message.replace(f"{root}/", ""), finding.hint)


def check_published(record: Record) -> Iterator[tuple[str, str]]:
    """Check that a record says no more than `submission pack` lets out."""
    from comface_bench.submission.publish import publish

    provenance = record.provenance
    if provenance.kind != "submitted":
        yield "provenance.kind", f"{provenance.kind}, where submitted is due"
    elif record.digest is None or record.predictions_digest is None:
        yield "digest", "a record of an earlier version; pack it again"
    try:
        wanted = publish(record).model_dump()
    except BenchError as error:
        yield "provenance.command", error.message
        return
    told = record.model_dump()
    if told["provenance"]["command"] != wanted["provenance"]["command"]:
        yield "provenance.command", "not the command that makes such a record"
    for field in ("units", "failures", "environment"):
        if told[field] != wanted[field]:
            yield field, "holds more than versions, hardware, precision and commit"
    if not _VERSION.fullmatch(provenance.tool_version):
        yield "provenance.tool_version", f"{show(provenance.tool_version)} is no version"
    tomorrow = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=1)
    if provenance.created[:10] > tomorrow.isoformat():
        yield "provenance.created", "a day to come"
    for number, unit in enumerate(record.units):
        measured = (unit.seconds, unit.peak_memory_mb or 0.0, *unit.validation_curve)
        if max(measured) > _MEASURED_MOST:
            yield f"units.{number}", f"{max(measured):g} isn't plausible"
    if not record.units:
        yield "units", "none is finished"


def check_against_note(record: Record, note: SubmissionNote | None) -> Iterator[tuple[str, str]]:
    """Check that the note is on this method, and names what its card says it was trained on."""
    if note is None:
        return
    if note.method != record.method.name:
        yield "method.name", f"{show(record.method.name)}, but the note is on {show(note.method)}"
    seen = record.method.card.get("trained_on")
    names = [name for name in seen if isinstance(name, str)] if isinstance(seen, list) else []
    untold = sorted(set(names) - set(note.training_data))
    if untold:
        yield "method.card.trained_on", f"{', '.join(untold)} isn't among the note's training_data"
