"""What the files of one record hold together: its header, units, failures and prediction lines."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
from typing import TYPE_CHECKING

from comface_bench.core.errors import ResultError
from comface_bench.results.parse import read_bytes, record_from
from comface_bench.results.predictions import digest_text, encode, read_texts
from comface_bench.results.schema import Record, dump_json, header_digest
from comface_bench.results.summary import summarise

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from comface_bench.results.predictions import Place
    from comface_bench.results.schema import (
        Failure,
        MethodInfo,
        ProtocolInfo,
        Provenance,
        TaskInfo,
        UnitResult,
    )


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
    units: dict[Place, UnitResult] = dataclasses.field(default_factory=dict)
    failures: dict[Place, Failure] = dataclasses.field(default_factory=dict)
    texts: dict[Place, str] = dataclasses.field(default_factory=dict)

    def add(self, unit: UnitResult, text: str) -> None:
        """Put a unit in the place of any earlier outcome of its fold and seed."""
        place = (unit.fold, unit.seed)
        self.units[place], self.texts[place] = unit, text
        self.failures.pop(place, None)

    def fail(self, failure: Failure) -> None:
        """Record a failure; a finished unit of the same key stands, one of another key is outdated."""
        place = (failure.fold, failure.seed)
        if place in self.units and self.units[place].key == failure.key:
            return
        self.units.pop(place, None)
        self.texts.pop(place, None)
        self.failures[place] = failure

    def record(self) -> Record:
        """Build the record, units by seed and fold, with its digests."""
        return self._record(encode(self.texts))

    def files(self) -> tuple[bytes, bytes]:
        """Write the record's two files: its predictions and its JSON."""
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
    """Read a record's JSON.

    Raises:
        ResultError: The file is too big, isn't JSON, or isn't a record of a known version; names the file
            and the field.
    """
    return record_from(read_bytes(path), path)


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


def write_staged(content: Content) -> bytes:
    """Write a content whole into one file: its record, and the prediction lines of its one unit."""
    (text,) = content.texts.values()
    return json.dumps({"record": dump_json(content.record()), "predictions": text}).encode()


def read_staged(path: Path) -> Content:
    """Read what `write_staged` wrote.

    Raises:
        ResultError: The file isn't that, or the lines don't bear out the unit.
    """
    try:
        staged = json.loads(read_bytes(path))
        record, text = record_from(staged["record"], path), staged["predictions"]
        (unit,) = record.units
    except (ValueError, TypeError, KeyError):
        raise ResultError(f"{path}: not a staged unit") from None
    if digest_text(text) != unit.predictions_digest:
        raise ResultError(f"{path}: the predictions aren't the unit's")
    content = Content(_header(record))
    content.add(unit, text)
    return content


def _header(record: Record) -> Header:
    return Header(record.task, record.method, record.protocol, record.provenance, record.environment)


def _by_seed(place: Place) -> Place:
    return place[::-1]


def _warn_dropped(path: Path, unit: UnitResult) -> None:
    warnings.warn(
        f"{path}: fold {unit.fold}, seed {unit.seed} isn't borne out by its predictions; it is dropped",
        stacklevel=3,
    )
