"""Files of features: entries of the feature store, their parts, and the limit of what they take up.

An entry is a folder, `KEY/`, of the features of one view of a data set's images. Its parts, `*.part`, are
never changed. Each holds up to 4,096 images: their manifest rows, int64 (n,); the features, float32 (n, D); a
checksum of each block of 64 images (CRC-32, four bytes); n and D, eight bytes each; the SHA-256 of the key
and of all that but the features. All numbers have their lowest byte first. A part is written under another
name, fsynced and renamed, so that a kill loses the one in work and no more. A block is checked before it is
used.

`entry.json` says for people what an entry is of; its time of change is that of the last use. A lock beside
the entry, `KEY.lock`, keeps two processes from encoding the same images, and from removing what is written.

Nothing here needs torch, so that entries are listed at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import mmap
import os
import shutil
import weakref
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from comface_bench.core.errors import UsageError
from comface_bench.core.files import UNFINISHED, file_lock, read_facts, replacing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]
    Values = NDArray[np.float32]

FORMAT = 1
"""Raised by hand when the files of an entry change their layout."""

PART_IMAGES = 4096
BLOCK_IMAGES = 64

LIMIT = "COMFACE_FEATURES_GB"
DEFAULT_LIMIT_GB = 20.0

_PART, _ABOUT = ".part", "entry.json"
_ROW, _VALUE, _CHECKSUM, _COUNT = (np.dtype(name) for name in ("<i8", "<f4", "<u4", "<u8"))
_SEAL = hashlib.sha256().digest_size
_END = 2 * _COUNT.itemsize + _SEAL

_TOUCHED = 64 << 20
_FAULT = 2 << 20
"""Bytes that a system may map around an address that is read: Linux on ext4 was seen to map as many."""


class Part:
    """Features of some images of an entry, in memory or mapped from a file.

    Args:
        rows: Manifest rows of the images, (n,).
        values: Their features, (n, D).

    Attributes:
        rows, values: As given.
        path: The file that they are mapped from.
    """

    path: Path | None = None

    def __init__(self, rows: Rows, values: Values) -> None:
        self.rows, self.values = rows, values

    def copy_lines(self, lines: NDArray[np.int32], target: Values, places: Rows) -> None:
        """Copy features by their place in this part to lines of an array."""
        target[places] = self.values[lines]


class MappedPart(Part):
    """A part in a file.

    Args:
        path: The file; whole but for the features, which are checked when `check` is asked.
        mapped: Its bytes.
        shape: n and D.
        pages: Count what is read of it.
    """

    path: Path

    def __init__(self, path: Path, mapped: mmap.mmap, shape: tuple[int, int], pages: MappedPages) -> None:
        head, sums = _layout(*shape)[:2]
        rows = np.frombuffer(mapped[:head], _ROW)
        super().__init__(rows, np.frombuffer(mapped, _VALUE, math.prod(shape), head).reshape(shape))
        self.path, self._mapped, self._pages = path, mapped, pages
        self._sums = np.frombuffer(mapped[sums:-_END], _CHECKSUM)
        self._checked = np.zeros(len(self._sums), dtype=bool)

    @classmethod
    def open(cls, path: Path, key: str, pages: MappedPages) -> MappedPart | None:
        """Map a file, or return None if it isn't a whole part of the entry."""
        try:
            with path.open("rb") as stream:
                mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # An empty file can't be mapped.
            return None
        if len(mapped) < _END:
            return None
        count, width = (int(number) for number in np.frombuffer(mapped[-_END:-_SEAL], _COUNT))
        head, sums, size = _layout(count, width)
        if len(mapped) != size or not count * width:
            return None
        if mapped[-_SEAL:] != _seal(key, mapped[:head], mapped[sums:-_SEAL]):
            return None
        return cls(path, mapped, (count, width), pages)

    def check(self, lines: NDArray[np.int32]) -> bool:
        """Return whether features, by their place in this part, are what was written."""
        blocks = np.unique(lines // BLOCK_IMAGES)
        for block in blocks[~self._checked[blocks]]:
            values = self.values[block * BLOCK_IMAGES : (block + 1) * BLOCK_IMAGES]
            if crc32(values.data) != self._sums[block]:
                return False
            self._checked[block] = True
            self._pages.touch(self._mapped, max(_FAULT, values.nbytes))
        return True

    def copy_lines(self, lines: NDArray[np.int32], target: Values, places: Rows) -> None:
        """Copy features by their place in this part to lines of an array."""
        cost, size = max(_FAULT, self.values[0].nbytes), len(self._mapped)
        step = max(len(lines), 1) if size <= _TOUCHED else max(_TOUCHED // 2 // cost, 1)
        for start in range(0, len(lines), step):
            some = slice(start, start + step)
            super().copy_lines(lines[some], target, places[some])
            self._pages.touch(self._mapped, min(cost * len(lines[some]), size))


class MappedPages:
    """Takes pages of mapped files out of the process before they pile up; they stay in the system's cache."""

    def __init__(self) -> None:
        self._mapped: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
        self._touched = 0

    def touch(self, mapped: mmap.mmap, size: int) -> None:
        """Count bytes that were read; beyond 64 MB all pages go."""
        self._mapped.add(mapped)
        self._touched += size
        if self._touched > _TOUCHED:
            self._touched = 0
            for one in self._mapped:
                if hasattr(mmap, "MADV_DONTNEED"):
                    one.madvise(mmap.MADV_DONTNEED)
            self._mapped.clear()


def _layout(count: int, width: int) -> tuple[int, int, int]:
    """Return where the features of a part begin, where its checksums do, and its size in bytes."""
    head = count * _ROW.itemsize
    sums = head + count * width * _VALUE.itemsize
    return head, sums, sums + -(-count // BLOCK_IMAGES) * _CHECKSUM.itemsize + _END


def _seal(key: str, rows: bytes, end: bytes) -> bytes:
    return hashlib.sha256(key.encode() + rows + end).digest()


def write_part(folder: Path, rows: Rows, values: Values) -> Path:
    """Write the features of images into a file of an entry.

    Raises:
        StorageError: There is no room for it.
        OSError: It can't be written for another reason.
    """
    head, body = rows.astype(_ROW).tobytes(), np.ascontiguousarray(values, _VALUE)
    blocks = range(0, len(rows), BLOCK_IMAGES)
    sums = np.array([crc32(body[start : start + BLOCK_IMAGES].data) for start in blocks], _CHECKSUM)
    end = sums.tobytes() + np.array(body.shape, _COUNT).tobytes()
    # Named by its images: who writes the same ones writes the same file.
    path = folder / f"{hashlib.sha256(head).hexdigest()[:16]}{_PART}"
    with replacing(path) as stream:
        stream.write(head)
        stream.write(body.data)
        stream.write(end)
        stream.write(_seal(folder.name, head, end))
    return path


def remove_damaged(path: Path) -> str:
    """Remove a part, and return what is to be said of it."""
    with contextlib.suppress(OSError):
        path.unlink()
    return f"kept features are damaged and are encoded again: {path}"


@contextlib.contextmanager
def lock_entry(entry: Path, timeout: float) -> Iterator[None]:
    """Hold an entry against other processes that write to it or remove it.

    Raises:
        UsageError: Another one still holds it after so many seconds.
        OSError: Its folder can't be written.
    """
    with file_lock(entry.with_name(f"{entry.name}.lock"), timeout=timeout, remove=True):
        for path in entry.glob(f"*{UNFINISHED}"):  # of writers that were killed
            path.unlink(missing_ok=True)
        yield


def list_parts(entry: Path) -> list[Path]:
    """Return the files of an entry's parts; none where there is no entry."""
    return sorted(entry.glob(f"*{_PART}"))


def describe_entry(entry: Path, about: Mapping[str, object], *, again: bool = False) -> None:
    """Make an entry's folder, and say for people what it is of; `again` writes over what it said before.

    Raises:
        OSError: It can't be written.
    """
    entry.mkdir(parents=True, exist_ok=True)
    if again or not (entry / _ABOUT).exists():
        with replacing(entry / _ABOUT) as stream:
            stream.write(json.dumps(about, indent=1).encode())


def read_about(entry: Path) -> Mapping[str, Any]:
    """Return what an entry says of itself; nothing where it says nothing that can be read."""
    return read_facts(entry / _ABOUT)


def note_use(entry: Path) -> None:
    """Note that an entry is used now, if it is there."""
    with contextlib.suppress(OSError):
        os.utime(entry / _ABOUT)


@dataclass(frozen=True, eq=False)
class FeatureEntry:
    """An entry on disk.

    Attributes:
        path: Its folder.
        size: Bytes.
        used: When it was last used, in seconds since 1970.
        about: What it says of itself.
    """

    path: Path
    size: int
    used: float
    about: Mapping[str, object]

    @property
    def key(self) -> str:
        """Its key."""
        return self.path.name

    def find_damaged(self) -> list[Path]:
        """Read all of it; return the parts that aren't what was written."""
        damaged, pages = [], MappedPages()
        for path in list_parts(self.path):
            part = MappedPart.open(path, self.key, pages)
            if part is None or not part.check(np.arange(len(part.rows), dtype=np.int32)):
                damaged.append(path)
        return damaged

    def remove(self) -> bool:
        """Remove it, unless a process writes to it now; return whether it is gone."""
        try:
            with lock_entry(self.path, 0):
                shutil.rmtree(self.path)
        except (UsageError, OSError):
            return not self.path.exists()
        return True


def list_entries(folder: Path) -> list[FeatureEntry]:
    """Return the entries in a folder; none where there is no folder."""
    found = []
    for path in sorted(folder.glob("*/")) if folder.is_dir() else ():
        # Another process may remove it meanwhile.
        with contextlib.suppress(OSError):
            about = path / _ABOUT
            sizes = [file.stat().st_size for file in path.iterdir()]
            used = (about if about.exists() else path).stat().st_mtime
            found.append(FeatureEntry(path, sum(sizes), used, read_facts(about)))
    return found


def make_room(folder: Path, size: int, limit: float, used: Collection[str]) -> bool:
    """Remove entries, those first that were unused longest, until so many bytes fit below the limit.

    Args:
        folder: Of the entries.
        size: Bytes that are to be written.
        limit: Most bytes that the folder may hold then.
        used: Keys of entries that stay.

    Returns:
        Whether they fit now. If they can't, nothing was removed.
    """
    entries = sorted(list_entries(folder), key=lambda entry: entry.used)
    others = [entry for entry in entries if entry.key not in used]
    excess = sum(entry.size for entry in entries) + size - limit
    if excess > sum(entry.size for entry in others):
        return False
    for entry in others:
        if excess <= 0:
            break
        excess -= entry.size if entry.remove() else 0
    return excess <= 0


def read_limit() -> float:
    """Return the most bytes that entries may take up together.

    Raises:
        UsageError: COMFACE_FEATURES_GB isn't a number of gigabytes.
    """
    text = os.environ.get(LIMIT, "")
    try:
        limit = float(text) if text else DEFAULT_LIMIT_GB
    except ValueError:
        limit = math.nan
    if not limit >= 0:
        raise UsageError(f"{LIMIT}={text} isn't a number of gigabytes", f"0 keeps nothing: {LIMIT}=0")
    return limit * 1e9
