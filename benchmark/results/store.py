"""The folder of results: records that a kill at any moment leaves whole.

Finished units are first staged, in a file that holds all they need; then the predictions are rewritten, then
the record, and only then is the staged file removed. Whatever is found at the next opening
is therefore either complete or says what is missing. Several processes may add units to one record.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import re
import shutil
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from comface_bench.core.digest import states_own_digest
from comface_bench.core.errors import DataMissingError, ResultError, UsageError
from comface_bench.core.files import file_lock, replace_file, sync_folder
from comface_bench.results.predictions import (
    digest_text,
    parse_columns,
    parse_line,
    predictions_of,
    read_texts,
    unit_text,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from comface_bench.core.card import MethodCard, TaskCard
    from comface_bench.results.predictions import FoldSeed, Prediction
    from comface_bench.results.record import Content, Header
    from comface_bench.results.schema import (
        Failure,
        MethodInfo,
        ProtocolInfo,
        Provenance,
        Record,
        TaskInfo,
        UnitResult,
    )
    from comface_bench.stats.predictions import Columns


MAKE_ONE = "make one: comface-bench run --method M --task T"

_SAFE = re.compile(r"[A-Za-z0-9_+=,-][A-Za-z0-9._+=,-]{0,180}")


def file_stem(name: str) -> str:
    """Turn a task, protocol or method name into a file name: `/` and `:` become `__`.

    Raises:
        UsageError: The name is empty, very long, starts with a dot, or holds any other character than
            letters, digits and `._+=,-`.
    """
    stem = re.sub("[/:]", "__", name)
    if not _SAFE.fullmatch(stem):
        raise UsageError(
            f"{name!r} can't name a result file",
            "Use at most 180 letters, digits and any of . _ + = , - / : and don't start with a dot.",
        )
    return stem


def require_results(folder: Path) -> None:
    """Check that a folder of results is there.

    Raises:
        DataMissingError: It isn't.
    """
    if not folder.is_dir():
        what = f", which is a file: {folder}" if folder.exists() else f" {folder}"
        raise DataMissingError(f"there is no folder of results{what}", f"Name another, or {MAKE_ONE}")


def no_record_in(folder: Path | str) -> DataMissingError:
    """Return the error for a folder of results that holds no record."""
    return DataMissingError(
        f"there is no record in {folder}", f"Records lie at TASK/PROTOCOL/METHOD.json; {MAKE_ONE}"
    )


class RecordFiles:
    """Names, reads and replaces the files of one record. Changes need the lock.

    Args:
        path: The record's JSON, `<method>.json`.

    Attributes:
        path: As given.
        predictions: `<method>.predictions.csv.gz`.
        units: Folder of staged units, `<method>.units`.
        malformed: Where `read` put files that hold no record; None if it never had to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.predictions = predictions_of(path)
        self.units = self._beside(".units")
        self.malformed: Path | None = None

    def lock(self) -> AbstractContextManager[None]:
        """Hold the record's lock, waiting for it; its file is there only while it is held."""
        return file_lock(self._beside(".lock"), remove=True)

    def aside(self, digest: str) -> RecordFiles:
        """Return the files in which a record of the given digest is set aside."""
        return RecordFiles(self._beside(f"@{digest[:8]}.json"))

    def find_aside(self, digest: str) -> RecordFiles:
        """Return the files in which a record of the given digest is set aside, or would be.

        The digest of a file's name may be of an earlier version, in which other facts made a record.
        """
        from comface_bench.results.record import load_record
        from comface_bench.results.schema import header_digest

        expected = self.aside(digest)
        if expected.path.exists():
            return expected
        for path in sorted(self.path.parent.glob(f"{glob.escape(self.path.stem)}@*.json")):
            try:
                record = load_record(path)
            except ResultError:
                continue
            if header_digest(record.task, record.method, record.protocol) == digest:
                return RecordFiles(path)
        return expected

    def read(self) -> Content | None:
        """Read the record, or None if there is none; what can't be read is set aside with a warning.

        Raises:
            NewerRecordError: The record is of a later version, and stays where it is.
        """
        from comface_bench.results.record import NewerRecordError, read_content

        if not self.path.exists():
            return None
        try:
            return read_content(self.path, self.predictions)
        except NewerRecordError:
            raise
        except ResultError as error:
            self.malformed = self._keep_malformed()
            warnings.warn(f"{error.message}; set aside as {self.malformed.name}", stacklevel=2)
            return None

    def write(self, predictions: bytes, record: bytes) -> None:
        """Replace the predictions, then the record that they bear out."""
        replace_file(self.predictions, predictions)
        replace_file(self.path, record)

    def remove(self) -> None:
        """Remove the record, then its predictions."""
        for path in (self.path, self.predictions):
            if path.exists():
                path.unlink()
                sync_folder(path.parent)

    def stage(self, name: str, data: bytes) -> None:
        """Write a file of staged units."""
        self.units.mkdir(exist_ok=True)
        sync_folder(self.units.parent)
        replace_file(self.units / f"{name}.json", data)

    def read_staged(self) -> list[Content]:
        """Read the staged units; a file of them that is damaged is left out, with a warning."""
        from comface_bench.results.record import read_staged

        staged = []
        for path in sorted(self.units.glob("[!.]*.json")):
            try:
                staged.append(read_staged(path))
            except ResultError as error:
                warnings.warn(f"{error.message}; it is dropped", stacklevel=2)
        return staged

    def clear_staged(self) -> None:
        """Remove all staged units."""
        if self.units.exists():
            shutil.rmtree(self.units)
            sync_folder(self.units.parent)

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name.removesuffix(".json") + suffix)

    def _keep_malformed(self) -> Path:
        record = self.path.read_bytes()
        predictions = self.predictions.read_bytes() if self.predictions.exists() else None
        kept = self.aside(hashlib.sha256(record + (predictions or b"")).hexdigest())
        if predictions is not None:
            replace_file(kept.predictions, predictions)
        replace_file(kept.path, record)
        self.remove()
        return kept.path


LEADERBOARD = "leaderboard"
_NEWEST = 3
"""The version that is written. The schema states it, too, but reading what is finished needs no model."""


class ResultStore:
    """Records under one folder, as `<task>/<protocol>/<method>.json`.

    Args:
        root: The folder; made when the first record is opened.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def record_path(self, task: str, protocol: str, method: str) -> Path:
        """Return where a record's JSON is; its predictions are `<method>.predictions.csv.gz` beside it.

        Raises:
            UsageError: A name can't be a file name.
        """
        if task == LEADERBOARD:
            raise UsageError(f"a task can't be called {LEADERBOARD!r}: that folder holds the pages")
        return self.root / file_stem(task) / file_stem(protocol) / f"{file_stem(method)}.json"

    def open(
        self,
        task: TaskInfo,
        method: MethodInfo,
        protocol: ProtocolInfo,
        provenance: Provenance,
        environment: dict[str, Any],
    ) -> RecordWriter:
        """Open a record to add units to it; what an earlier run left is merged first.

        A stored record of other digests is set aside under another name, and taken up again when its own
        digests come back.

        Raises:
            UsageError: A name can't be a file name.
        """
        from comface_bench.results.record import Header

        path = self.record_path(task.name, protocol.name, method.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return RecordWriter(RecordFiles(path), Header(task, method, protocol, provenance, environment))

    def load(self, task: str, protocol: str, method: str) -> Record | None:
        """Read a record, or None if there is none.

        Raises:
            ResultError: The file isn't a record; names file and field.
        """
        from comface_bench.results.record import load_record

        path = self.record_path(task, protocol, method)
        return load_record(path) if path.exists() else None

    def paths(self) -> list[Path]:
        """List where records are, by path; what was set aside is no record."""
        found = []
        for path in sorted(self.root.glob("*/*/*.json")):
            place = path.relative_to(self.root)
            if place.parts[0] != LEADERBOARD and "@" not in str(place) and not path.name.startswith("."):
                found.append(path)
        return found

    def records(self) -> Iterator[Record]:
        """Read all records, by path; what was set aside is no record.

        Raises:
            ResultError: A file isn't a record, or isn't where its names would put it.
        """
        for path in self.paths():
            yield self.load_at(path)

    def load_at(self, path: Path) -> Record:
        """Read the record of one of `paths`.

        Raises:
            ResultError: The file isn't a record, or isn't where its names would put it.
        """
        from comface_bench.results.record import load_record

        record = load_record(path)
        if self.record_path(record.task.name, record.protocol.name, record.method.name) != path:
            raise ResultError(f"{path}: the names inside belong to another file")
        return record

    def load_predictions(self, record: Record) -> list[Prediction]:
        """Read a record's test predictions, by seed, fold and subject.

        Raises:
            ResultError: The predictions aren't there, aren't canonical, or aren't the record's.
        """
        rows = []
        for where, text in self._texts(record).values():
            rows += [parse_line(line, where) for line in text.splitlines()]
        return rows

    def load_columns(self, record: Record) -> dict[FoldSeed, Columns]:
        """Read a record's test predictions by (fold, seed), many times as fast as `load_predictions`.

        Raises:
            ResultError: As `load_predictions`, but for lines that their digest covers and that aren't
                canonical all the same.
        """
        return {place: parse_columns(text, where) for place, (where, text) in self._texts(record).items()}

    def score(self, record: Record, metrics: Sequence[str]) -> Record:
        """Return a record with exactly these metrics; those that it lacks come from its predictions.

        No file is changed.

        Raises:
            ResultError: As `load_predictions`.
            UnknownNameError: A name that is lacking isn't a key of `METRICS`.
        """
        from comface_bench.results.record import score_record

        if list(metrics) == record.task.metrics:
            return record
        texts = {place: text for place, (_, text) in self._texts(record).items()}
        return score_record(record, texts, metrics)

    def _texts(self, record: Record) -> dict[FoldSeed, tuple[str, str]]:
        """Return where each unit's lines are, for errors, and the lines."""
        path = self.record_path(record.task.name, record.protocol.name, record.method.name)
        predictions = RecordFiles(path).predictions
        texts, found = read_texts(predictions) if record.units else {}, {}
        for unit in record.units:
            text = texts.get((unit.fold, unit.seed), "")
            where = f"{predictions}: fold {unit.fold}, seed {unit.seed}"
            if digest_text(text) != unit.predictions_digest:
                raise ResultError(
                    f"{where} isn't the record's",
                    f"comface-bench results validate {path}, or run the record's command again.",
                )
            found[unit.fold, unit.seed] = (where, text)
        return found

    def finished_keys(self) -> frozenset[str]:
        """Return the keys of all stored units that their digests bear out, as `finished_units` does."""
        found = (_finished_units(RecordFiles(path)).values() for path in self.paths())
        return frozenset(unit.key for units in found for unit in units)

    def finished_units(self, task: str, protocol: str, method: str) -> dict[FoldSeed, FinishedUnit]:
        """Return the stored units that their digests bear out, by (fold, seed).

        Reads no more than that needs, and neither locks nor changes anything. A record that can't be read or
        was changed since it was written counts as empty, and a unit with other predictions isn't counted,
        with a warning. Units that a killed run only staged are not among them: opening merges those.
        """
        files = RecordFiles(self.record_path(task, protocol, method))
        return _finished_units(files) if files.path.exists() else {}


class FinishedUnit(NamedTuple):
    """What is asked of a stored unit to know whether it need run.

    Attributes:
        key: Its key.
        details: Further facts of how it ran.
        predictions_digest: Digest of its rows.
    """

    key: str
    details: dict[str, Any]
    predictions_digest: str


def _finished_units(files: RecordFiles) -> dict[FoldSeed, FinishedUnit]:
    try:
        units = _read_units(files.path)
        texts = read_texts(files.predictions) if units else {}
    except ResultError as error:
        _warn_uncounted(files.path, error.message)
        return {}
    finished = {}
    for (fold, seed), unit in units.items():
        if digest_text(texts.get((fold, seed), "")) == unit.predictions_digest:
            finished[fold, seed] = unit
        else:
            _warn_uncounted(files.path, f"{files.predictions}: fold {fold}, seed {seed} isn't the record's")
    return finished


def _read_units(path: Path) -> dict[FoldSeed, FinishedUnit]:
    """Return the units of a record that nobody changed, under the keys of today.

    The models, which take longer to import than all else here, are needed for any other record alone.

    Raises:
        ResultError: As `load_record`.
    """
    try:
        data = path.read_bytes()
        if states_own_digest(data) and (facts := json.loads(data))["schema_version"] == _NEWEST:
            return {
                (unit["fold"], unit["seed"]): FinishedUnit(
                    unit["key"], unit["details"], unit["predictions_digest"]
                )
                for unit in facts["units"]
            }
    except (OSError, ValueError, LookupError, TypeError):
        pass  # Read once more below, where what is wrong is said.
    from comface_bench.results.record import load_record

    return {
        (unit.fold, unit.seed): FinishedUnit(unit.key, dict(unit.details), unit.predictions_digest)
        for unit in load_record(path).units
    }


def _warn_uncounted(path: Path, message: str) -> None:
    hint = f"See what is wrong: comface-bench results recompute {path}"
    warnings.warn(f"{message}; not counted as finished. {hint}", stacklevel=4)


def update_record(
    path: Path,
    task: TaskCard | None = None,
    method: MethodCard | None = None,
    again: Collection[str] = (),
) -> bool:
    """Bring a record to the newest version, and to what the cards of its task and method say now.

    Metrics that the task has gained are computed from the stored predictions; nothing is trained. A card that
    decides other predictions than the stored one changes nothing, and a submission keeps what its note says.

    Args:
        path: The record's JSON.
        task: The task's card, options applied; None leaves what is stored.
        method: The method's card; None leaves what is stored.
        again: Metrics that are computed although they are stored, because their functions may have changed.

    Returns:
        Whether the files changed.

    Raises:
        ResultError: The file isn't a record, or its predictions don't bear it out.
        UnknownNameError: A metric of the task doesn't exist.
    """
    from comface_bench.results.record import load_record, read_sound

    files = RecordFiles(path)
    with files.lock():
        before, content = load_record(path), read_sound(path, files.predictions)
        content.take_header(_current_header(content.header, task, method), again)
        record = _resealed(content.record(), before, files.predictions.read_bytes())
        changed = record != path.read_bytes()
        if changed:
            replace_file(path, record)
    return changed


def _current_header(header: Header, task: TaskCard | None, method: MethodCard | None) -> Header:
    from comface_bench.results.schema import update_method, update_task

    if task is not None:
        header = dataclasses.replace(header, task=update_task(header.task, task))
    if method is not None and header.provenance.kind != "submitted":
        header = dataclasses.replace(header, method=update_method(header.method, method))
    return header


def _resealed(record: Record, before: Record, predictions: bytes) -> bytes:
    """Write a record for the predictions that are there; the summary of before stays if it still holds."""
    from comface_bench.results.schema import dump_json

    facts: dict[str, Any] = {"predictions_digest": hashlib.sha256(predictions).hexdigest()}
    if (record.units, record.task.aggregate) == (before.units, before.task.aggregate):
        # Another release of numpy may give another last digit: what was computed stays.
        facts["summary"] = before.summary
    return dump_json(record.model_copy(update=facts).seal()).encode()


class StoredUnit(NamedTuple):
    """A unit of a record and its test predictions."""

    unit: UnitResult
    rows: list[Prediction]


class RecordWriter:
    """Adds units to one record; a context manager.

    Attributes:
        finished: Keys of the units that are stored, by (fold, seed).
        set_aside: Where a stored record of other digests, or a malformed one, was put; None if none was.
    """

    def __init__(self, files: RecordFiles, header: Header) -> None:
        self._files = files
        self._header = header
        self.set_aside: Path | None = None
        with files.lock():
            self._content = self._collect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to do: every unit was durable when `add` returned."""

    @property
    def finished(self) -> dict[FoldSeed, str]:
        """Keys of the stored units by (fold, seed)."""
        return {place: unit.key for place, unit in self._content.units.items()}

    def stored(self, fold: int, seed: int) -> StoredUnit:
        """Return a unit as it is stored, with its predictions.

        Raises:
            KeyError: It isn't.
        """
        place = (fold, seed)
        rows = [parse_line(line, f"fold {fold}") for line in self._content.texts[place].splitlines()]
        return StoredUnit(self._content.units[place], rows)

    def add(self, unit: UnitResult, rows: Iterable[Prediction]) -> None:
        """Store a finished unit, as `add_all` does."""
        self.add_all([(unit, rows)])

    def add_all(self, finished: Iterable[tuple[UnitResult, Iterable[Prediction]]]) -> None:
        """Store finished units in the place of any earlier outcomes: all or none; durable when this returns.

        Args:
            finished: Units, each with its rows; at least one.

        Raises:
            ResultError: Rows aren't their unit's: other fold or seed, counts or digest; or not canonical.
        """
        from comface_bench.results.record import Content, write_staged

        fresh = Content(self._header)
        for unit, rows in finished:
            rows = list(rows)
            text = unit_text(rows)
            _check(unit, rows, text)
            fresh.add(unit, text)
        with self._files.lock():
            # First, since what a killed process staged may have the same name.
            content = self._collect()
            predictions, record = fresh.files()
            fold, seed = min(fresh.texts)
            self._files.stage(f"{fold}-{seed}", write_staged(fresh, record))
            if content.units or content.failures:
                for place, unit in fresh.units.items():
                    content.add(unit, fresh.texts[place])
                predictions, record = content.files()
            else:
                content = fresh
            self._files.write(predictions, record)
            self._files.clear_staged()
            self._content = content

    def fail(self, failure: Failure) -> None:
        """Record a unit's failure; a finished unit of the same fold and seed stands."""
        with self._files.lock():
            self._content = self._collect()
            self._content.fail(failure)
            self._files.write(*self._content.files())

    def record(self) -> Record:
        """Return the record as stored, other processes' units included."""
        with self._files.lock():
            self._content = self._collect()
        return self._content.record()

    def _collect(self) -> Content:
        """Bring all that is on disk for this header together, and set aside what belongs to another."""
        from comface_bench.results.record import Content

        files, mine = self._files, self._header.digest
        main = files.read()
        if files.malformed is not None:
            self.set_aside = files.malformed
        found = {} if main is None else {main.header.digest: main}
        staged = files.read_staged()
        for part in staged:
            digest = part.header.digest
            if digest not in found:
                found[digest] = files.aside(digest).read() or Content(part.header)
            for place, unit in part.units.items():
                found[digest].add(unit, part.texts[place])
        aside = files.find_aside(mine)
        restored = None if mine in found else aside.read()
        content = found.pop(mine, None) or restored or Content(self._header)
        changed = content.take_header(self._header)
        for digest, other in found.items():
            files.aside(digest).write(*other.files())
            self.set_aside = files.aside(digest).path
        if main is not None and main is not content:
            files.remove()
        if staged or restored is not None or changed:
            if content.units or content.failures:
                files.write(*content.files())
            files.clear_staged()
            aside.remove()
        return content


def _check(unit: UnitResult, rows: list[Prediction], text: str) -> None:
    place = f"fold {unit.fold}, seed {unit.seed}"
    if not rows:
        raise ResultError(f"{place} has no test pair")
    if (rows[0].fold, rows[0].seed) != (unit.fold, unit.seed):
        raise ResultError(f"{place} comes with rows of fold {rows[0].fold}, seed {rows[0].seed}")
    if (unit.n_pairs, unit.n_subjects) != (len(rows), len({row.subject for row in rows})):
        raise ResultError(f"{place} counts other pairs or subjects than its rows")
    if unit.predictions_digest != digest_text(text):
        raise ResultError(f"{place} comes with a digest of other predictions")
