"""The files of one record: its JSON, its predictions, units staged on the way, and a lock."""

from __future__ import annotations

import hashlib
import shutil
import warnings
from typing import TYPE_CHECKING

from comface_bench.core.errors import ResultError
from comface_bench.core.files import replace_file, sync_folder

if TYPE_CHECKING:
    from pathlib import Path

    from comface_bench.results.content import Content


class RecordFiles:
    """Names, reads and replaces the files of one record. Changes need the lock.

    Args:
        path: The record's JSON, `<method>.json`.

    Attributes:
        path: As given.
        predictions: `<method>.predictions.csv.gz`.
        units: Folder of staged units, `<method>.units`.
        lock: The lock file, `<method>.lock`.
        malformed: Where `read` put files that hold no record; None if it never had to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.predictions = self._beside(".predictions.csv.gz")
        self.units = self._beside(".units")
        self.lock = self._beside(".lock")
        self.malformed: Path | None = None

    def aside(self, digest: str) -> RecordFiles:
        """Return the files in which a record of the given digest is set aside."""
        return RecordFiles(self._beside(f"@{digest[:8]}.json"))

    def read(self) -> Content | None:
        """Read the record, or None if there is none; what can't be read is set aside with a warning.

        Raises:
            NewerRecordError: The record is of a later version, and stays where it is.
        """
        from comface_bench.results.content import read_content
        from comface_bench.results.parse import NewerRecordError

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

    def write(self, content: Content) -> None:
        """Replace the predictions, then the record that they bear out."""
        predictions, record = content.files()
        replace_file(self.predictions, predictions)
        replace_file(self.path, record)

    def remove(self) -> None:
        """Remove the record, then its predictions."""
        for path in (self.path, self.predictions):
            if path.exists():
                path.unlink()
                sync_folder(path.parent)

    def stage(self, name: str, data: bytes) -> None:
        """Write one staged unit."""
        self.units.mkdir(exist_ok=True)
        sync_folder(self.units.parent)
        replace_file(self.units / f"{name}.json", data)

    def read_staged(self) -> list[Content]:
        """Read the staged units; one that is damaged is left out, with a warning."""
        from comface_bench.results.content import read_staged

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
