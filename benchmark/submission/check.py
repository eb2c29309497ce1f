"""The check of a stranger's package. Nothing in it is executed; what can't be checked doesn't pass."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.errors import DataMissingError
from comface_bench.submission.archive import ArchiveError, read_archive
from comface_bench.submission.check_record import check_against_note, check_alone, check_published
from comface_bench.submission.limits import PACKAGE_BYTES
from comface_bench.submission.note import NoteError, check_note, read_note
from comface_bench.submission.package import (
    NOTE,
    PREDICTIONS,
    RECORD,
    Place,
    check_contents,
    check_names,
    record_stems,
)
from comface_bench.submission.report import Report, make_findings
from comface_bench.submission.text import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comface_bench.submission.board import Peer
    from comface_bench.submission.note import SubmissionNote


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
    if results is not None and not results.is_dir():
        raise DataMissingError(f"there is no folder of results {results}", "Name another with --results.")
    try:
        content = _read(path)
    except ArchiveError as error:
        return Report(make_findings([Place(plain(path.name), "", error.message)]))
    return check_bytes(content, path.name, results, data)


def check_bytes(content: bytes, name: str, results: Path | None = None, data: Path | None = None) -> Report:
    """Check a package's bytes, as `check_package`; `name` stands for the package in findings."""
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        members = read_archive(content)
    except ArchiveError as error:
        place = Place(error.place or name, "", error.message, error.hint)
        return Report(make_findings([place]), (), sha256)
    check = _Check(members, results, data)
    # A stranger's file may find a fault that nobody foresaw. It is then refused, not passed and not traced.
    try:
        check.run()
    except (Exception, RecursionError) as error:
        check.places.append(Place(name, "", f"could not be checked: {type(error).__name__}"))
    places = [place._replace(file=place.file or name) for place in check.places]
    unchecked = tuple(plain(text) for text in dict.fromkeys(check.unchecked))
    return Report(make_findings(places), unchecked, sha256, members, check.note)


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
        from comface_bench.submission.installed import Installation

        self.members = members
        self.results = results
        self.installation = Installation(data)
        self.places: list[Place] = []
        self.unchecked: list[str] = []
        self.note: SubmissionNote | None = None

    def run(self) -> None:
        for stage in (check_names, check_contents):
            self.places += stage(self.members)
            if self.places:
                return
        try:
            self.note = read_note(self.members[NOTE].decode("ascii"))
        except NoteError as error:
            self.places.append(Place(NOTE, "", str(error)))
        else:
            self.places += [Place(NOTE, *problem) for problem in check_note(self.note)]
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for name, data in self.members.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(data)
            self._check_records(root)

    def _check_records(self, root: Path) -> None:
        from comface_bench.results.record import load_record

        sound: dict[str, list[str]] = {}
        for stem in record_stems(self.members):
            found = list(check_alone(root, stem))
            self.places += found
            if not found:
                task = load_record(root / f"{stem}{RECORD}").task.name
                sound.setdefault(task, []).append(stem)
        for task, stems in sound.items():
            self._check_task(root, task, stems)

    def _check_task(self, root: Path, task: str, stems: list[str]) -> None:
        from comface_bench.results.predictions import read_predictions
        from comface_bench.results.record import load_record
        from comface_bench.submission.answers import collect_answers
        from comface_bench.submission.board import Peer, check_beside, check_place, read_peers

        peers: list[Peer] = read_peers(self.results, task, self.unchecked) if self.results else []
        for stem in stems:
            file = f"{stem}{RECORD}"
            record = load_record(root / file)
            rows = read_predictions(root / f"{stem}{PREDICTIONS}")
            answers = collect_answers(stem, task, rows)
            problems = [*check_published(record), *check_against_note(record, self.note)]
            problems += self.installation.compare(record, rows, self.unchecked)
            problems += check_beside(record, answers, peers)
            if self.results:
                problems += check_place(record, stem, self.members[file], self.results, self.unchecked)
            self.places += [Place(file, *problem) for problem in problems]
            peers.append(Peer(stem, record, answers))
