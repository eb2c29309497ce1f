"""The folder of results: records that a kill at any moment leaves whole.

A finished unit is first staged, in a file of its own that holds all it needs; then the predictions are
rewritten, then the record, and only then is the staged file removed. Whatever is found at the next opening
is therefore either complete or says what is missing. Several processes may add units to one record.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Self

from comface_bench.core.errors import ResultError, UsageError
from comface_bench.results.files import file_stem, locked
from comface_bench.results.predictions import (
    digest_text,
    parse_columns,
    parse_line,
    read_texts,
    unit_text,
)
from comface_bench.results.record_files import RecordFiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import Any

    from comface_bench.results.content import Content, Header
    from comface_bench.results.predictions import Place, Row
    from comface_bench.results.schema import (
        Failure,
        MethodInfo,
        ProtocolInfo,
        Provenance,
        Record,
        TaskInfo,
        UnitResult,
    )
    from comface_bench.stats.answers import Columns

LEADERBOARD = "leaderboard"


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
        from comface_bench.results.content import Header

        path = self.record_path(task.name, protocol.name, method.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return RecordWriter(RecordFiles(path), Header(task, method, protocol, provenance, environment))

    def load(self, task: str, protocol: str, method: str) -> Record | None:
        """Read a record, or None if there is none.

        Raises:
            ResultError: The file isn't a record; names file and field.
        """
        from comface_bench.results.content import load_record

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
        from comface_bench.results.content import load_record

        record = load_record(path)
        if self.record_path(record.task.name, record.protocol.name, record.method.name) != path:
            raise ResultError(f"{path}: the names inside belong to another file")
        return record

    def load_predictions(self, record: Record) -> list[Row]:
        """Read a record's test predictions, by seed, fold and subject.

        Raises:
            ResultError: The predictions aren't there, aren't canonical, or aren't the record's.
        """
        rows = []
        for where, text in self._texts(record).values():
            rows += [parse_line(line, where) for line in text.splitlines()]
        return rows

    def load_columns(self, record: Record) -> dict[Place, Columns]:
        """Read a record's test predictions by (fold, seed), many times as fast as `load_predictions`.

        Raises:
            ResultError: As `load_predictions`, but for lines that their digest covers and that aren't
                canonical all the same.
        """
        return {place: parse_columns(text, where) for place, (where, text) in self._texts(record).items()}

    def _texts(self, record: Record) -> dict[Place, tuple[str, str]]:
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

    def finished_units(self, task: str, protocol: str, method: str) -> dict[Place, str]:
        """Return the keys of stored units that their predictions bear out, by (fold, seed).

        Reads no more than that needs, and neither locks nor changes anything; a file that can't be read
        counts as empty. Units that a killed run only staged are not among them: opening merges those.
        """
        files = RecordFiles(self.record_path(task, protocol, method))
        try:
            units = json.loads(files.path.read_bytes())["units"]
            texts = read_texts(files.predictions)
            return {
                (unit["fold"], unit["seed"]): unit["key"]
                for unit in units
                if digest_text(texts.get((unit["fold"], unit["seed"]), "")) == unit["predictions_digest"]
            }
        except (OSError, ValueError, KeyError, TypeError, ResultError):
            return {}


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
        with locked(files.lock):
            self._content = self._collect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to do: every unit was durable when `add` returned."""

    @property
    def finished(self) -> dict[Place, str]:
        """Keys of the stored units by (fold, seed)."""
        return {place: unit.key for place, unit in self._content.units.items()}

    def add(self, unit: UnitResult, rows: Iterable[Row]) -> None:
        """Store a finished unit in the place of any earlier outcome; durable when this returns.

        Raises:
            ResultError: The rows aren't the unit's: other fold or seed, counts or digest; or not canonical.
        """
        from comface_bench.results.content import Content, write_staged

        rows = list(rows)
        text = unit_text(rows)
        _check(unit, rows, text)
        staged = Content(self._header)
        staged.add(unit, text)
        with locked(self._files.lock):
            self._files.stage(f"{unit.fold}-{unit.seed}", write_staged(staged))
            self._content = self._collect()
        if self.finished.get((unit.fold, unit.seed)) != unit.key:
            raise ResultError(f"{self._files.path}: fold {unit.fold}, seed {unit.seed} could not be stored")

    def fail(self, failure: Failure) -> None:
        """Record a unit's failure; a finished unit of the same fold and seed stands."""
        with locked(self._files.lock):
            self._content = self._collect()
            self._content.fail(failure)
            self._files.write(self._content)

    def record(self) -> Record:
        """Return the record as stored, other processes' units included."""
        with locked(self._files.lock):
            self._content = self._collect()
        return self._content.record()

    def _collect(self) -> Content:
        """Bring all that is on disk for this header together, and set aside what belongs to another."""
        from comface_bench.results.content import Content

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
        restored = None if mine in found else files.aside(mine).read()
        content = found.pop(mine, None) or restored or Content(self._header)
        content.header = self._header
        for digest, other in found.items():
            files.aside(digest).write(other)
            self.set_aside = files.aside(digest).path
        if main is not None and main is not content:
            files.remove()
        if staged or restored is not None:
            if content.units or content.failures:
                files.write(content)
            files.clear_staged()
            files.aside(mine).remove()
        return content


def _check(unit: UnitResult, rows: list[Row], text: str) -> None:
    place = f"fold {unit.fold}, seed {unit.seed}"
    if not rows:
        raise ResultError(f"{place} has no test pair")
    if (rows[0].fold, rows[0].seed) != (unit.fold, unit.seed):
        raise ResultError(f"{place} comes with rows of fold {rows[0].fold}, seed {rows[0].seed}")
    if (unit.n_pairs, unit.n_subjects) != (len(rows), len({row.subject for row in rows})):
        raise ResultError(f"{place} counts other pairs or subjects than its rows")
    if unit.predictions_digest != digest_text(text):
        raise ResultError(f"{place} comes with a digest of other predictions")
