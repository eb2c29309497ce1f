"""The ledger of the weights folder: which digest each file had when it was first used.

Most authors publish no digest. So that a file can't change unnoticed between two runs, its SHA-256 is
noted in `digests.json` at first use and compared from then on.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from comface_bench.core.errors import WeightsFormatError
from comface_bench.core.files import file_lock, replace_file

LEDGER = "digests.json"
_LOCK = f".{LEDGER}.lock"


class FileDigests(NamedTuple):
    """Digests of a file's bytes in hexadecimal digits."""

    sha256: str
    md5: str


@dataclass(frozen=True)
class KnownDigest:
    """What is known of a file.

    Attributes:
        sha256: Its digest when it was noted, or when it was accepted.
        method: The method that used it.
        when: Time of that, UTC in ISO 8601.
        size: Bytes, and
        mtime_ns: time of the last change, of the file with that digest: while both stay, so does it.
        published: The published digest that the file was found to have, `sha256:…` or `md5:…`, or empty.
    """

    sha256: str
    method: str
    when: str
    size: int
    mtime_ns: int
    published: str = ""

    def is_of(self, path: Path) -> bool:
        """Tell, without reading it, whether a file is unchanged since it was noted."""
        status = path.stat()
        return (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns)


def digest_weights(path: Path) -> FileDigests:
    """Return a file's digests; a process reads an unchanged file once, however often it asks."""
    status = path.stat()
    return _digest(path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@functools.lru_cache(maxsize=64)
def _digest(path: Path, *state: int) -> FileDigests:
    del state  # Only part of the cache's key.
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            sha256.update(piece)
            md5.update(piece)
    return FileDigests(sha256.hexdigest(), md5.hexdigest())


def make_note(path: Path, method: str, published: str = "", before: KnownDigest | None = None) -> KnownDigest:
    """Describe a file as it is now; an earlier note of the same content says whose first use it was."""
    status = path.stat()
    return KnownDigest(
        sha256=digest_weights(path).sha256,
        method=before.method if before else method,
        when=before.when if before else datetime.now(UTC).isoformat(timespec="seconds"),
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        published=published,
    )


def read_ledger(folder: Path) -> dict[str, KnownDigest]:
    """Read a weights folder's ledger: path relative to the folder → note.

    Raises:
        WeightsFormatError: It is malformed.
    """
    path = folder / LEDGER
    try:
        return {str(name): KnownDigest(**note) for name, note in json.loads(path.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise WeightsFormatError(
            f"{path} is malformed: {error}",
            f"Delete it, and note all files again: rm {path} && comface-bench weights verify all",
        ) from error


def write_note(folder: Path, name: str, note: KnownDigest) -> None:
    """Put a note into a folder's ledger, replacing that of the same file.

    The ledger is replaced whole, by one process at a time. A folder that can't be written keeps none,
    with a warning.
    """
    try:
        with file_lock(folder / _LOCK, remove=True):
            notes = {key: dataclasses.asdict(value) for key, value in read_ledger(folder).items()}
            notes[name] = dataclasses.asdict(note)
            text = json.dumps(dict(sorted(notes.items())), indent=1) + "\n"
            replace_file(folder / LEDGER, text.encode())
    except OSError as error:
        warnings.warn(f"the digest of {name} can't be noted: {error}", stacklevel=2)
