"""The check of a stranger's package. Nothing in it is executed; what can't be checked doesn't pass.

A record in a package is checked by itself here, against this installation in `vs_installed` and against the
board in `vs_board`. `publishable` states what of a record may be published at all: no host, user or path,
and no text that a machine made up; packing applies it and the check compares with it.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface_bench.core.errors import BenchError, DataMissingError
from comface_bench.core.files import writing
from comface_bench.core.findings import Finding
from comface_bench.core.names import format_name, parse_name
from comface_bench.results.store import require_results
from comface_bench.submission.package import (
    NOTE,
    PACKAGE_BYTES,
    PREDICTIONS,
    RECORD,
    REPORTED_FINDINGS,
    ArchiveError,
    NoteError,
    RawFinding,
    as_markdown,
    as_plain,
    check_contents,
    check_names,
    check_note,
    quote,
    read_archive,
    read_note,
    record_stems,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from comface_bench.results.schema import Failure, Record, UnitResult
    from comface_bench.submission.package import FieldProblem, SubmissionNote
    from comface_bench.submission.vs_board import Peer

DISCLAIMER = (
    "Nobody has run the model: the check sees that the numbers follow from the predictions, not that the "
    "predictions follow from the images."
)


@dataclasses.dataclass(frozen=True)
class Report:
    """The outcome of a check.

    Attributes:
        findings: All that is wrong, in printable ASCII; the package is good if there is nothing.
        unchecked: What could not be looked at, one line each.
        sha256: Of the package.
        members: The bytes that were checked, by name; empty where they couldn't be taken apart.
        note: The note, once it was read.
    """

    findings: tuple[Finding, ...]
    unchecked: tuple[str, ...] = ()
    sha256: str = ""
    members: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    note: SubmissionNote | None = None

    @property
    def ok(self) -> bool:
        """True if nothing was found."""
        return not self.findings

    @property
    def records(self) -> list[str]:
        """`<task>/<protocol>/<method>` of each record in the package."""
        return record_stems(self.members)

    def facts(self) -> dict[str, Any]:
        """Return all of it for programs."""
        return {
            "ok": self.ok,
            "sha256": self.sha256,
            "records": [as_plain(stem) for stem in self.records],
            "note": dataclasses.asdict(self.note) if self.note and self.ok else None,
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "unchecked": list(self.unchecked),
        }

    def lines(self) -> Iterator[str]:
        """Yield lines for a terminal."""
        for finding in self.findings:
            yield str(finding)
        for hint in dict.fromkeys(finding.hint for finding in self.findings if finding.hint):
            yield f"  {hint}"
        for text in self.unchecked:
            yield f"not checked: {text}"
        if self.ok:
            count = len(self.records)
            yield f"{count} record{'s' if count != 1 else ''}: nothing is wrong"
        else:
            yield f"refused: {len(self.findings)} thing{'s are' if len(self.findings) != 1 else ' is'} wrong"

    def markdown(self) -> str:
        """Return a summary for a pull request, in which no text of the package is read as Markdown."""
        verdict = "nothing is wrong" if self.ok else f"refused, {len(self.findings)} wrong"
        lines = [f"### Submission: {verdict}", "", f"SHA-256 of the package: {as_markdown(self.sha256)}", ""]
        if self.ok and self.note is not None:
            lines += ["| Note | |", "|---|---|"]
            for name, value in dataclasses.asdict(self.note).items():
                text = ", ".join(value) if isinstance(value, tuple) else value
                lines.append(f"| {name} | {as_markdown(text)} |")
            lines += ["", "| Record |", "|---|", *(f"| {as_markdown(stem)} |" for stem in self.records), ""]
        if self.findings:
            lines += ["| File | Place | What is wrong |", "|---|---|---|"]
            for finding in self.findings:
                cells = (finding.file, finding.place, finding.message)
                lines.append(f"| {' | '.join(as_markdown(cell) for cell in cells)} |")
            lines.append("")
        lines += [f"- Not checked: {as_markdown(text)}" for text in self.unchecked]
        return "\n".join([*lines, f"- {DISCLAIMER}"]) + "\n"


class RefusedError(BenchError):
    """A package, or what should become one, that the check refuses; the message lists why."""

    exit_status = 1


def check_package(path: Path, results: Path | None = None, data: Path | None = None) -> Report:
    """Check a package that anybody may have made.

    Args:
        path: The zip file.
        results: Folder of the board's records, to compare with them; None compares with none.
        data: Data root for tasks whose data don't ship; None looks at shipped data only.

    Returns:
        All that is wrong, and what couldn't be looked at. Any bytes at all give a report.

    Raises:
        DataMissingError: There is no such file, or no such folder of results.
    """
    if results is not None:
        require_results(results)
    try:
        content = _read(path)
    except ArchiveError as error:
        return Report(make_findings([RawFinding(as_plain(path.name), "", error.message)]))
    return check_bytes(content, path.name, results, data)


def check_bytes(content: bytes, name: str, results: Path | None = None, data: Path | None = None) -> Report:
    """Check a package's bytes, as `check_package`; `name` stands for the package in findings."""
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        members = read_archive(content)
    except ArchiveError as error:
        fault = RawFinding(error.place or name, "", error.message, error.hint)
        return Report(make_findings([fault]), (), sha256)
    check = _Check(members, results, data)
    # A stranger's file may find a fault that nobody foresaw. It is then refused, not passed and not traced.
    try:
        check.run()
    except (Exception, RecursionError) as error:
        check.found.append(RawFinding(name, "", f"could not be checked: {type(error).__name__}"))
    found = [finding._replace(file=finding.file or name) for finding in check.found]
    unchecked = tuple(as_plain(text) for text in dict.fromkeys(check.unchecked))
    return Report(make_findings(found), unchecked, sha256, members, check.note)


def _read(path: Path) -> bytes:
    """Read a plain file up to the cap; a link isn't followed."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise DataMissingError(
            f"there is no package {path}", "Make one: comface-bench submission pack"
        ) from None
    except OSError as error:
        raise ArchiveError(f"can't be read, or is a link ({error.strerror})") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ArchiveError("no plain file")
    with os.fdopen(handle, "rb") as stream:
        return stream.read(PACKAGE_BYTES + 1)


class _Check:
    """One pass over a package; each stage needs what the one before has let through."""

    def __init__(self, members: Mapping[str, bytes], results: Path | None, data: Path | None) -> None:
        from comface_bench.submission.vs_installed import Installation

        self.members = members
        self.results = results
        self.installation = Installation(data)
        self.found: list[RawFinding] = []
        self.unchecked: list[str] = []
        self.note: SubmissionNote | None = None

    def run(self) -> None:
        for stage in (check_names, check_contents):
            self.found += stage(self.members)
            if self.found:
                return
        try:
            self.note = read_note(self.members[NOTE].decode("ascii"))
        except NoteError as error:
            self.found.append(RawFinding(NOTE, "", str(error)))
        else:
            self.found += [RawFinding(NOTE, *problem) for problem in check_note(self.note)]
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for name, data in self.members.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                with writing(root / name):
                    (root / name).write_bytes(data)
            self._check_records(root)

    def _check_records(self, root: Path) -> None:
        from comface_bench.results.record import load_record

        sound: dict[str, list[str]] = {}
        for stem in record_stems(self.members):
            faults = list(check_alone(root, stem))
            self.found += faults
            if not faults:
                task = load_record(root / f"{stem}{RECORD}").task.name
                sound.setdefault(task, []).append(stem)
        for task, stems in sound.items():
            self._check_task(root, task, stems)

    def _check_task(self, root: Path, task: str, stems: list[str]) -> None:
        from comface_bench.results.predictions import read_predictions
        from comface_bench.results.record import load_record
        from comface_bench.submission.vs_board import (
            Peer,
            check_beside,
            check_destination,
            collect_predictions,
            read_peers,
        )

        peers: list[Peer] = read_peers(self.results, task, self.unchecked) if self.results else []
        for stem in stems:
            file = f"{stem}{RECORD}"
            record = load_record(root / file)
            rows = read_predictions(root / f"{stem}{PREDICTIONS}")
            predictions = collect_predictions(stem, task, rows)
            problems = [*check_publishable(record), *check_against_note(record, self.note)]
            problems += self.installation.compare(record, rows, self.unchecked)
            problems += check_beside(record, predictions, peers)
            if self.results:
                problems += check_destination(record, stem, self.members[file], self.results, self.unchecked)
            self.found += [RawFinding(file, *problem) for problem in problems]
            peers.append(Peer(stem, record, predictions))


def make_findings(raw: Iterable[RawFinding]) -> tuple[Finding, ...]:
    """Write findings in printable ASCII, each once, and count those beyond `REPORTED_FINDINGS`."""
    found = list(dict.fromkeys(raw))
    shown = [
        Finding(
            as_plain(item.file, 120), as_plain(item.place, 120), as_plain(item.message), as_plain(item.hint)
        )
        for item in found[:REPORTED_FINDINGS]
    ]
    if len(found) > REPORTED_FINDINGS:
        shown.append(Finding("", "", f"{len(found) - REPORTED_FINDINGS} more things are wrong"))
    return tuple(shown)


_LARGEST_MEASUREMENT = 1e9
"""More than any time in seconds, memory in MiB or loss can be."""
_TOOL_VERSION = re.compile(r"[0-9][0-9A-Za-z.+]{0,30}")


def check_alone(root: Path, stem: str) -> Iterator[RawFinding]:
    """Check a record against its schema, itself and its predictions.

    Args:
        root: Folder that the package was written into.
        stem: The record, `<task>/<protocol>/<method>`.
    """
    from comface_bench.results.record import load_record
    from comface_bench.results.validation import recompute_record, validate_record

    path = root / f"{stem}{RECORD}"
    found = validate_record(path)
    if not found:
        metrics = load_record(path).task.metrics
        if len(set(metrics)) < len(metrics):  # a hundred thousand times the same would take hours
            yield RawFinding(f"{stem}{RECORD}", "task.metrics", "a metric stands twice")
            return
        found = recompute_record(path)
    for finding in found:
        file = finding.file.removeprefix(f"{root}/")
        place = ": ".join(filter(None, (f"line {finding.line}" if finding.line else "", finding.place)))
        yield RawFinding(file, place, finding.message.replace(f"{root}/", ""), finding.hint)


def check_publishable(record: Record) -> Iterator[FieldProblem]:
    """Check that a record says no more than `submission pack` lets out."""
    provenance = record.provenance
    if provenance.kind != "submitted":
        yield "provenance.kind", f"{provenance.kind}, where submitted is due"
    elif record.digest is None or record.predictions_digest is None:
        yield "digest", "a record of an earlier version; pack it again"
    try:
        wanted = publishable(record).model_dump()
    except BenchError as error:
        yield "provenance.command", error.message
        return
    stored = record.model_dump()
    if stored["provenance"]["command"] != wanted["provenance"]["command"]:
        yield "provenance.command", "not the command that makes such a record"
    for block in ("task", "method"):
        if stored[block]["about"] != wanted[block]["about"]:
            yield f"{block}.about", "holds prose, which the note is for"
    for field in ("units", "failures", "environment"):
        if stored[field] != wanted[field]:
            yield field, "holds more than versions, hardware, precision and commit"
    if not _TOOL_VERSION.fullmatch(provenance.tool_version):
        yield "provenance.tool_version", f"{quote(provenance.tool_version)} is no version"
    tomorrow = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=1)
    if provenance.created[:10] > tomorrow.isoformat():
        yield "provenance.created", "a day to come"
    for number, unit in enumerate(record.units):
        measured = (unit.seconds, unit.peak_memory_mb or 0.0, *unit.validation_curve)
        if max(measured) > _LARGEST_MEASUREMENT:
            yield f"units.{number}", f"{max(measured):g} isn't plausible"
    if not record.units:
        yield "units", "none is finished"


def check_against_note(record: Record, note: SubmissionNote | None) -> Iterator[FieldProblem]:
    """Check that the note is on this method, and names what its card says it was trained on."""
    if note is None:
        return
    if note.method != record.method.name:
        yield "method.name", f"{quote(record.method.name)}, but the note is on {quote(note.method)}"
    seen = record.method.card.get("trained_on")
    names = [name for name in seen if isinstance(name, str)] if isinstance(seen, list) else []
    missing = sorted(set(names) - set(note.training_data))
    if missing:
        yield "method.card.trained_on", f"{', '.join(missing)} isn't among the note's training_data"


_PACKAGES = ("python", "comface-bench", "torch", "torchvision", "timm", "open_clip", "numpy", "scipy")
_PACKAGE_VERSION = re.compile(r"[0-9][0-9A-Za-z.+_-]{0,39}")
_SYSTEM = re.compile(r"(Linux|Darwin|Windows|FreeBSD)(?: (\d+(?:\.\d+){0,3}))?")
_MACHINE = re.compile(r"[A-Za-z0-9_]{1,16}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HARDWARE = re.compile(r"[^A-Za-z0-9 ().,_-]+")
_DETAIL_TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}")
_DETAIL_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_DAYS = re.compile(r"[0-9]+:[0-9]+<[0-9,]+(?: [0-9]+:[0-9]+<[0-9,]+)*")
"""Of `days_trained`, without which `results.validation` takes no record of patients' own days."""


def publishable(record: Record) -> Record:
    """Return the part of a record that may be published: kind `submitted`, sealed anew.

    Doing so twice changes nothing. Its numbers, digests and keys stay; of the environment, versions,
    hardware and commit; of a failure, its class. Of prose about the method, the note has what is due.
    """
    from comface_bench.results.schema import MethodAbout, TaskAbout

    provenance = record.provenance.model_copy(update={"kind": "submitted", "command": command_of(record)})
    return record.model_copy(
        update={
            "task": record.task.model_copy(update={"about": TaskAbout()}),
            "method": record.method.model_copy(update={"about": MethodAbout()}),
            "units": [_publish_unit(unit) for unit in record.units],
            "failures": [_publish_failure(failure) for failure in record.failures],
            "environment": _publish_environment(record.environment),
            "provenance": provenance,
        }
    ).seal()


def command_of(record: Record) -> str:
    """Return the command that makes such a record; weights of one's own are FILE."""
    base, options = parse_name(record.method.name)
    file = " -o checkpoint=FILE" if options.pop("checkpoint", None) else ""
    return (
        f"comface-bench run --method {format_name(base, options)} --task {record.task.name}"
        f" --protocol {record.protocol.name}{file}"
    )


def _publish_unit(unit: UnitResult) -> UnitResult:
    details = {
        name: value
        for name, value in unit.details.items()
        if _DETAIL_NAME.fullmatch(name)
        and (
            not isinstance(value, str) or (_DAYS if name == "days_trained" else _DETAIL_TEXT).fullmatch(value)
        )
    }
    return unit.model_copy(update={"details": details})


def _publish_failure(failure: Failure) -> Failure:
    error = failure.error if failure.error.isidentifier() and failure.error.isascii() else "Error"
    return failure.model_copy(update={"error": error[:60], "message": "", "hint": ""})


def _publish_environment(environment: Mapping[str, Any]) -> dict[str, Any]:
    versions, torch, git = (_mapping(environment.get(name)) for name in ("versions", "torch", "git"))
    return {
        "versions": {
            name: _match(_PACKAGE_VERSION, versions.get(name)) for name in _PACKAGES if name in versions
        },
        "system": _system(environment.get("system")),
        "machine": _match(_MACHINE, environment.get("machine")),
        "cpu": _hardware(environment.get("cpu")),
        "cores": _count(environment.get("cores")),
        "torch": {
            "threads": _count(torch.get("threads")),
            "cuda": _match(_PACKAGE_VERSION, torch.get("cuda")),
            "cudnn": _count(torch.get("cudnn")),
            "gpu": _hardware(torch.get("gpu")),
        },
        "git": {
            "commit": _match(_COMMIT, git.get("commit")),
            "dirty": git["dirty"] if isinstance(git.get("dirty"), bool) else None,
        },
    }


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _match(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def _system(value: object) -> str | None:
    # A kernel's release may end in a name that somebody gave to a machine.
    found = _SYSTEM.match(value) if isinstance(value, str) else None
    return " ".join(filter(None, found.groups())) if found else None


def _hardware(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    return " ".join(_HARDWARE.sub(" ", value).split())[:80].strip(" -") or None


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 10**9 else None
