"""The feature store: what a frozen encoder makes of a data set's images, kept on disk.

An entry is a folder, `KEY/`, of the features of one view of the images: plain, mirrored, or an augmented view
of one number. The key covers all that decides them: the encoder (`encoder_digest`), the contents of the
images in order and how they were resized, the size at which they are rendered, precision, kind of device,
and what draws the view. Targets, folds, heads and their training are no part of it.

The parts of an entry, `*.part`, are never changed. Each holds up to 4,096 images: their manifest rows, int64
(n,); the features, float32 (n, D); a checksum of each block of 64 images (CRC-32, four bytes); n and D, eight
bytes each; the SHA-256 of the key and of all that but the features. All numbers have their lowest byte first.
A part is written under another name, fsynced and renamed, so that a kill loses the one in work and no more. A
block is checked before it is used; a part with a damaged one is removed, and its images are encoded again.

`entry.json` says for people what an entry is of; its time of change is that of the last use. A lock beside
the entry, `KEY.lock`, keeps two processes from encoding the same images.

A store never fails a run: what can't be kept stays in memory.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import math
import mmap
import os
import shutil
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from zlib import crc32

import numpy as np

from comface_bench.core.card import NO_AUGMENTATION
from comface_bench.core.digest import digest
from comface_bench.core.errors import BenchError, UnitError, UsageError
from comface_bench.core.events import Event, Report, ignore
from comface_bench.core.files import file_lock, replacing

# `cache list` reads entries without torch.
if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from comface_bench.engine.encoder import Encoder, ImageSource

    View = int | Literal["plain", "mirrored"]
    Rows = NDArray[np.int64]
    Values = NDArray[np.float32]

FORMAT = 1
"""Raised by hand when the files of an entry change their layout."""

PART_IMAGES = 4096
BLOCK_IMAGES = 64

_PART, _ABOUT = ".part", "entry.json"
_ROW, _VALUE, _CHECKSUM, _COUNT = (np.dtype(name) for name in ("<i8", "<f4", "<u4", "<u8"))
_SEAL = hashlib.sha256().digest_size
_END = 2 * _COUNT.itemsize + _SEAL
_TOUCHED = 64 << 20
_FAULT = 64 << 10
"""Bytes that a system maps around an address that is read."""

LIMIT = "COMFACE_FEATURES_GB"
DEFAULT_LIMIT_GB = 20.0
_WAIT_S = 5.0
"""Seconds between two signs of life while another process encodes."""


class FeatureStore:
    """Features of one data set's images under one frozen encoder.

    Args:
        encoder: Put into eval mode and frozen when features are first required.
        images: Renders the images.
        report: Takes the events of encoding.
        folder: Where entries are kept; made if needed. None keeps them in memory, while somebody has them.
        about: What entries say of themselves to people, such as the method's name.

    Attributes:
        encoder, images: As given.
        encoded: Images that went through the backbone, and the seconds that took.

    Raises:
        UsageError: COMFACE_FEATURES_GB is no number.
    """

    def __init__(
        self,
        encoder: Encoder,
        images: ImageSource,
        report: Report = ignore,
        folder: Path | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        from comface_bench.engine.precision import Throughput

        self.encoder, self.images, self._report = encoder, images, report
        self.encoded = Throughput()
        limit = read_limit()
        self._shared = _Shared(folder if limit else None, limit, dict(about or {}))

    def with_views(self, augmentation: str, seed: int) -> FeatureStore:
        """Return a store of the same images whose numbered views follow `AUGMENTATIONS[augmentation]`."""
        other = copy.copy(self)
        other.images = self.images.with_views(augmentation, seed)
        return other

    def require(self, rows: Rows, view: View, stage: str) -> Features:
        """Return features of images; those that aren't kept are encoded, and kept.

        Args:
            rows: Manifest rows, int64 (n,), in any order, repeated or not.
            view: Number of an augmented view, or `plain`, or `mirrored` (plain, flipped horizontally).
            stage: Names the work in events.

        Raises:
            UnitError: Not even one image has room on the device.
        """
        rows, epoch = np.unique(rows), view if isinstance(view, int) else None
        if epoch is not None and self.images.augmentation == NO_AUGMENTATION:
            view = "plain"
        entry = self._open(view)
        missing = entry.find_missing(rows, self._tell)
        if len(missing) < len(rows) and entry.found:
            self._tell("features that another run kept are used; see them all: comface-bench cache list")
        if len(missing):
            with self._alone(entry, stage):
                # Another process may have encoded them meanwhile.
                missing = entry.find_missing(rows, self._tell)
                self._report(Event("stage", stage, epoch=epoch, total=len(missing)))
                for start in range(0, len(missing), PART_IMAGES):
                    some = missing[start : start + PART_IMAGES]
                    values = self._encode(
                        some, view, Event("progress", stage, epoch=epoch, total=len(missing))
                    )
                    entry.add(self._keep(entry.key, view, some, values))
        return Features(entry, rows)

    def check_frozen(self) -> None:
        """Make sure that the backbone is bit for bit what it was before it encoded; hash it only if it did.

        Raises:
            UnitError: It changed. Nothing that it encoded is kept.
        """
        from comface_bench.engine.encoder import state_digest

        shared = self._shared
        if shared.checked == self.encoded.images:
            return
        if state_digest(self.encoder) != shared.state:
            for path in shared.written:
                path.unlink(missing_ok=True)
            raise UnitError(f"{self.encoder.name}: the frozen backbone changed while it encoded images")
        shared.checked = self.encoded.images

    def _encode(self, rows: Rows, view: View, progress: Event) -> Values:
        from comface_bench.engine.encoder import encode

        def render(batch: Rows) -> Tensor:
            if isinstance(view, int):
                return self.images.augmented(batch, np.full(len(batch), view, dtype=np.int64))
            images = self.images.plain(batch)
            return images.flip(3) if view == "mirrored" else images

        def tick(count: int) -> None:
            self._report(replace(progress, amount=count))

        with self.encoded.measure(len(rows)):
            values = encode(self.encoder, render, rows, self.images.machine, tick, self._tell)
        return values.numpy()

    def _open(self, view: View) -> _Entry:
        """Return the entry of a view, and take up what other processes have added to it."""
        from comface_bench.engine.encoder import encoder_digest, state_digest

        shared = self._shared
        if not shared.state:
            self.encoder.eval().requires_grad_(False)
            shared.state = state_digest(self.encoder)
            shared.encoder = encoder_digest(self.encoder, shared.state)
        key = self._key(view)
        entry = shared.entries.get(key)
        if entry is None:
            entry = shared.entries[key] = _Entry(key, len(self.images.keys))
            shared.used.add(key)
        self._take_up(entry)
        return entry

    def _take_up(self, entry: _Entry) -> None:
        """Map parts that other processes have written, or this one earlier."""
        shared = self._shared
        if shared.folder is None:
            return
        with contextlib.suppress(OSError):
            os.utime(shared.folder / entry.key / _ABOUT)
        for path in sorted((shared.folder / entry.key).glob(f"*{_PART}")):
            if path in entry.paths:
                continue
            part = _MappedPart.open(path, entry.key, shared.pages)
            if part is not None:
                entry.add(part)
                entry.found |= path not in shared.written
            elif path.exists():
                self._tell(_remove_damaged(path))

    def _key(self, view: View) -> str:
        from comface_bench.core.unit import ENGINE_EPOCH

        images = self.images
        drawn: list[object] = []
        if isinstance(view, int):
            keys = hashlib.sha256(np.ascontiguousarray(images.keys, "<u8")).hexdigest()
            drawn = [images.augmentation, images.seed, keys]
        machine = [images.machine.precision, images.machine.device.type]
        shown = [images.store.key, images.size, view, drawn]
        return digest([FORMAT, ENGINE_EPOCH, self._shared.encoder, machine, shown])[:32]

    def _tell(self, text: str) -> None:
        """Report something for people, once."""
        if text not in self._shared.told:
            self._shared.told.add(text)
            self._report(Event("notice", text))

    @contextlib.contextmanager
    def _alone(self, entry: _Entry, stage: str) -> Iterator[None]:
        """Keep other processes from encoding for an entry, where it can be locked."""
        with contextlib.ExitStack() as held:
            while (folder := self._shared.folder) is not None:
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    held.enter_context(_lock(folder / entry.key, _WAIT_S))
                    self._take_up(entry)
                    break
                except UsageError:
                    self._tell(f"{stage}: waiting for another process, which encodes the same images")
                    self._report(Event("progress", stage))  # a sign of life
                except OSError as error:
                    self._stop_keeping(error)
            yield

    def _keep(self, key: str, view: View, rows: Rows, values: Values) -> _Part:
        """Write a part and map it; one that can't be written stays in memory."""
        shared = self._shared
        if shared.folder is not None:
            try:
                if self._make_room(_offsets(*values.shape)[-1]):
                    self._describe(shared.folder / key, view, values.shape[1])
                    path = _write_part(shared.folder / key, rows, values)
                    shared.written.add(path)
                    if (part := _MappedPart.open(path, key, shared.pages)) is not None:
                        return part
                    self._tell(f"{path} isn't read as it was written: its disk or the memory may be failing")
            except OSError as error:
                self._stop_keeping(error)
        return _Part(rows, values)

    def _stop_keeping(self, error: OSError) -> None:
        self._shared.folder = None
        reason = error.message if isinstance(error, BenchError) else f"{error.filename}: {error.strerror}"
        self._tell(f"features can't be kept and stay in memory: {reason}")

    def _describe(self, folder: Path, view: View, width: int) -> None:
        """Say for people what an entry is of."""
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / _ABOUT).exists():
            return
        images = self.images
        facts = {
            **self._shared.about,
            "view": f"{view} of seed {images.seed}" if isinstance(view, int) else view,
            "image_size": images.size,
            "precision": images.machine.precision,
            "features": width,
        }
        with replacing(folder / _ABOUT) as stream:
            stream.write(json.dumps(facts, indent=1).encode())

    def _make_room(self, size: int) -> bool:
        """Remove what was unused longest, until so many bytes fit below the limit; not what this run uses."""
        shared = self._shared
        assert shared.folder is not None
        entries = sorted(list_entries(shared.folder), key=lambda entry: entry.used)
        others = [entry for entry in entries if entry.key not in shared.used]
        excess = sum(entry.size for entry in entries) + size - shared.limit
        if excess > sum(entry.size for entry in others):
            self._tell(f"features beyond {shared.limit / 1e9:g} GB stay in memory; to keep more: {LIMIT}=…")
            return False
        for entry in others:
            if excess <= 0:
                break
            excess -= entry.size if entry.remove() else 0
        return excess <= 0


@dataclass(eq=False)
class _Shared:
    """What stores of the same images and encoder share, whichever views they take.

    Attributes:
        folder: Of the entries; None once nothing can be kept.
        limit: Most bytes that the folder may hold.
        about: See `FeatureStore`.
        state: Digest of the encoder's tensors before it encoded.
        encoder: Its own digest.
        checked: How many images had been encoded when the tensors were last as they were.
        used: Keys of the entries in use; they aren't removed to make room.
        entries: Those of which somebody has features.
        written: Parts that this store wrote.
        told: Notices that were given.
        pages: Of mapped parts.
    """

    folder: Path | None
    limit: float
    about: dict[str, str]
    state: str = ""
    encoder: str = ""
    checked: int = 0
    used: set[str] = field(default_factory=set)
    entries: weakref.WeakValueDictionary[str, _Entry] = field(default_factory=weakref.WeakValueDictionary)
    written: set[Path] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    pages: MappedPages = field(default_factory=lambda: MappedPages())


class Features:
    """Features of some of a data set's images, in memory or mapped.

    Attributes:
        width: D.
    """

    def __init__(self, entry: _Entry, rows: Rows) -> None:
        self._entry = entry  # While it is in use, a store gives out the same one.
        self._parts = list(entry.parts)
        self._part = np.full_like(entry.part, -1)
        self._part[rows] = entry.part[rows]
        self._line = entry.line.copy()
        self.width = self._parts[0].values.shape[1] if self._parts else 0

    def gather(self, rows: Rows) -> Tensor:
        """Return features by manifest row.

        Args:
            rows: Integers (n,), in any order, repeated or not, among those that were required.

        Returns:
            float32 (n, D), on the CPU, memory of its own.

        Raises:
            IndexError: A row wasn't required.
        """
        import torch

        numbers, lines = self._part[rows], self._line[rows]
        if len(numbers) and numbers.min() < 0:
            raise IndexError("features of an image that wasn't required")
        values = np.empty((len(numbers), self.width), np.float32)
        for number in np.unique(numbers):
            places = np.flatnonzero(numbers == number)
            self._parts[number].copy_lines(lines[places], values, places)
        return torch.from_numpy(values)


class _Entry:
    """The parts of one view's features, and where in them each image lies.

    Args:
        key: See the head of this file.
        images: Number of the data set's images.

    Attributes:
        key: As given.
        parts: In memory or mapped.
        part: Number of each image's part, (images,); -1 where there is none.
        line: Each image's place in its part, (images,).
        paths: Files of the parts.
        found: Whether other runs have written some of them.
    """

    def __init__(self, key: str, images: int) -> None:
        self.key = key
        self.parts: list[_Part] = []
        self.part = np.full(images, -1, dtype=np.int32)
        self.line = np.zeros(images, dtype=np.int32)
        self.paths: set[Path] = set()
        self.found = False

    def add(self, part: _Part) -> None:
        """Take up a part."""
        self.part[part.rows], self.line[part.rows] = len(self.parts), np.arange(len(part.rows))
        self.parts.append(part)
        if part.path is not None:
            self.paths.add(part.path)

    def find_missing(self, rows: Rows, tell: Callable[[str], None]) -> Rows:
        """Return those of some images that no part has; parts where they are damaged are removed."""
        numbers = self.part[rows]
        for number in np.unique(numbers[numbers >= 0]):
            part = self.parts[number]
            if isinstance(part, _MappedPart) and not part.check(self.line[rows[numbers == number]]):
                tell(_remove_damaged(part.path))
                self.paths.discard(part.path)
                self.part[self.part == number] = -1
        return rows[self.part[rows] < 0]


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


class _Part:
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


class _MappedPart(_Part):
    """A part in a file.

    Args:
        path: The file; whole but for the features, which are checked when `check` is asked.
        mapped: Its bytes.
        shape: n and D.
        pages: Count what is read of it.
    """

    path: Path

    def __init__(self, path: Path, mapped: mmap.mmap, shape: tuple[int, int], pages: MappedPages) -> None:
        head, sums = _offsets(*shape)[:2]
        rows = np.frombuffer(mapped[:head], _ROW)
        super().__init__(rows, np.frombuffer(mapped, _VALUE, math.prod(shape), head).reshape(shape))
        self.path, self._mapped, self._pages = path, mapped, pages
        self._sums = np.frombuffer(mapped[sums:-_END], _CHECKSUM)
        self._checked = np.zeros(len(self._sums), dtype=bool)

    @classmethod
    def open(cls, path: Path, key: str, pages: MappedPages) -> _MappedPart | None:
        """Map a file, or return None if it isn't a whole part of the entry."""
        try:
            with path.open("rb") as stream:
                mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # An empty file can't be mapped.
            return None
        if len(mapped) < _END:
            return None
        count, width = (int(number) for number in np.frombuffer(mapped[-_END:-_SEAL], _COUNT))
        head, sums, size = _offsets(count, width)
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
            if crc32(values) != self._sums[block]:
                return False
            self._checked[block] = True
            self._pages.touch(self._mapped, values.nbytes)
        return True

    def copy_lines(self, lines: NDArray[np.int32], target: Values, places: Rows) -> None:
        """Copy features by their place in this part to lines of an array."""
        cost = max(_FAULT, self.values.itemsize * self.values.shape[1])
        step = _TOUCHED // 2 // cost
        for start in range(0, len(lines), step):
            some = slice(start, start + step)
            super().copy_lines(lines[some], target, places[some])
            self._pages.touch(self._mapped, min(cost * len(lines[some]), len(self._mapped)))


def _offsets(count: int, width: int) -> tuple[int, int, int]:
    """Return where the features of a part begin, where its checksums do, and its size in bytes."""
    head = count * _ROW.itemsize
    sums = head + count * width * _VALUE.itemsize
    return head, sums, sums + -(-count // BLOCK_IMAGES) * _CHECKSUM.itemsize + _END


def _seal(key: str, rows: bytes, end: bytes) -> bytes:
    return hashlib.sha256(key.encode() + rows + end).digest()


def _write_part(folder: Path, rows: Rows, values: Values) -> Path:
    """Write the features of images into a file of an entry.

    Raises:
        StorageError: There is no room for it.
        OSError: It can't be written for another reason.
    """
    head, body = rows.astype(_ROW).tobytes(), np.ascontiguousarray(values, _VALUE)
    blocks = range(0, len(rows), BLOCK_IMAGES)
    sums = np.array([crc32(body[start : start + BLOCK_IMAGES]) for start in blocks], _CHECKSUM)
    end = sums.tobytes() + np.array(body.shape, _COUNT).tobytes()
    # Named by its images: who writes the same ones writes the same file.
    path = folder / f"{hashlib.sha256(head).hexdigest()[:16]}{_PART}"
    with replacing(path) as stream:
        stream.write(head)
        stream.write(body)
        stream.write(end)
        stream.write(_seal(folder.name, head, end))
    return path


def _remove_damaged(path: Path) -> str:
    """Remove a part, and return what is to be said of it."""
    with contextlib.suppress(OSError):
        path.unlink()
    return f"kept features are damaged and are encoded again: {path}"


def _lock(entry: Path, timeout: float) -> contextlib.AbstractContextManager[None]:
    return file_lock(entry.with_name(f"{entry.name}.lock"), timeout=timeout, remove=True)


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


@dataclass(frozen=True)
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
        for path in sorted(self.path.glob(f"*{_PART}")):
            part = _MappedPart.open(path, self.key, pages)
            if part is None or not part.check(np.arange(len(part.rows), dtype=np.int32)):
                damaged.append(path)
        return damaged

    def remove(self) -> bool:
        """Remove it, unless a process writes to it now; return whether it is gone."""
        try:
            with _lock(self.path, 0):
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
            found.append(FeatureEntry(path, sum(sizes), used, _read_about(about)))
    return found


def _read_about(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
