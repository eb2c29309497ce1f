"""The feature store: what a frozen encoder makes of a data set's images, encoded once and kept on disk.

There is an entry (`feature_files.py`) for each view of the images: plain, mirrored, or the augmented view of
a number. Its key covers all that decides the features: the encoder (`encoder_digest`), the contents of the
images in order and how they were resized, the size at which they are rendered, precision, kind of device, and
what draws the view. Targets, folds, heads and their training are no part of it.

A store never fails a run: what can't be kept stays in memory, and a part that is damaged is encoded again.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from comface_bench.core.card import NO_AUGMENTATION
from comface_bench.core.digest import digest
from comface_bench.core.errors import BenchError, UnitError, UsageError
from comface_bench.core.events import Event, Report, ignore
from comface_bench.core.unit import ENGINE_EPOCH
from comface_bench.engine.encoder import Encoder, ImageSource, encode, encoder_digest, state_digest
from comface_bench.engine.feature_files import (
    FORMAT,
    LIMIT,
    PART_IMAGES,
    MappedPages,
    MappedPart,
    Part,
    describe_entry,
    list_parts,
    lock_entry,
    make_room,
    note_use,
    read_limit,
    remove_damaged,
    write_part,
)
from comface_bench.engine.precision import Throughput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    View = int | Literal["plain", "mirrored"]
    Rows = NDArray[np.int64]
    Values = NDArray[np.float32]

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
                work = Event("stage", stage, epoch=epoch, total=len(missing))
                if len(missing):
                    self._report(work)
                for start in range(0, len(missing), PART_IMAGES):
                    some = missing[start : start + PART_IMAGES]
                    values = self._encode(some, view, replace(work, kind="progress"))
                    entry.add(self._keep(entry.key, view, some, values))
        return Features(entry, rows)

    @property
    def state(self) -> str:
        """The encoder's `state_digest` as it was before it encoded; empty before features are required."""
        return self._shared.state

    def check_frozen(self) -> None:
        """Make sure that the backbone is bit for bit what it was before it encoded; hash it only if it did.

        Raises:
            UnitError: It changed. Nothing that it encoded is kept.
        """
        shared = self._shared
        if shared.checked == self.encoded.images:
            return
        if state_digest(self.encoder) != shared.state:
            for path in shared.written:
                path.unlink(missing_ok=True)
            raise UnitError(f"{self.encoder.name}: the frozen backbone changed while it encoded images")
        shared.checked = self.encoded.images

    def _encode(self, rows: Rows, view: View, progress: Event) -> Values:
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
        shared = self._shared
        if not shared.state:
            self.encoder.eval().requires_grad_(False)
            shared.state = state_digest(self.encoder)
            try:
                shared.encoder = encoder_digest(self.encoder, shared.state)
            except Exception as error:  # Modules may hold anything.
                shared.folder = None
                self._stop_keeping(str(error))
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
        note_use(shared.folder / entry.key)
        for path in list_parts(shared.folder / entry.key):
            if path in entry.paths:
                continue
            part = MappedPart.open(path, entry.key, shared.pages)
            if part is not None:
                entry.add(part)
                entry.found |= path not in shared.written
            elif path.exists():
                self._tell(remove_damaged(path))

    def _key(self, view: View) -> str:
        images = self.images
        drawn: list[object] = []
        if isinstance(view, int):
            keys = hashlib.sha256(np.ascontiguousarray(images.keys, "<u8").data).hexdigest()
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
            while (folder := self._shared.folder) is not None and self._shared.writes:
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    held.enter_context(lock_entry(folder / entry.key, _WAIT_S))
                    self._take_up(entry)
                    break
                except UsageError:
                    self._tell(f"{stage}: waiting for another process, which encodes the same images")
                    self._report(Event("progress", stage))  # a sign of life
                except OSError as error:
                    self._stop_keeping(_reason(error))
            yield

    def _keep(self, key: str, view: View, rows: Rows, values: Values) -> Part:
        """Write a part and map it; one that can't be written stays in memory."""
        shared = self._shared
        if shared.folder is None or not shared.writes:
            return Part(rows, values)
        try:
            if not make_room(shared.folder, values.nbytes + rows.nbytes, shared.limit, shared.used):
                more = f"to keep more: {LIMIT}=…"
                self._tell(f"features beyond {shared.limit / 1e9:g} GB stay in memory; {more}")
                return Part(rows, values)
            describe_entry(shared.folder / key, self._describe(view, values.shape[1]))
            path = write_part(shared.folder / key, rows, values)
        except OSError as error:
            self._stop_keeping(_reason(error))
            return Part(rows, values)
        shared.written.add(path)
        part = MappedPart.open(path, key, shared.pages)
        if part is None:
            self._tell(f"{path} isn't read as it was written: its disk or the memory may be failing")
        return part or Part(rows, values)

    def _stop_keeping(self, reason: str) -> None:
        self._shared.writes = False
        self._tell(f"features can't be kept and stay in memory: {reason}")

    def _describe(self, view: View, width: int) -> dict[str, object]:
        """Say for people what an entry is of."""
        images = self.images
        return {
            **self._shared.about,
            "view": f"{view} of seed {images.seed}" if isinstance(view, int) else view,
            "image_size": images.size,
            "precision": images.machine.precision,
            "features": width,
        }


@dataclass(eq=False)
class _Shared:
    """What stores of the same images and encoder share, whichever views they take.

    Attributes:
        folder: Of the entries, if any are kept.
        limit: Most bytes that the folder may hold.
        about: See `FeatureStore`.
        writes: Whether they can be written.
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
    writes: bool = True
    state: str = ""
    encoder: str = ""
    checked: int = 0
    used: set[str] = field(default_factory=set)
    entries: weakref.WeakValueDictionary[str, _Entry] = field(default_factory=weakref.WeakValueDictionary)
    written: set[Path] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    pages: MappedPages = field(default_factory=MappedPages)


def _reason(error: OSError) -> str:
    return error.message if isinstance(error, BenchError) else f"{error.filename}: {error.strerror}"


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
        self.parts: list[Part] = []
        self.part = np.full(images, -1, dtype=np.int32)
        self.line = np.zeros(images, dtype=np.int32)
        self.paths: set[Path] = set()
        self.found = False

    def add(self, part: Part) -> None:
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
            if isinstance(part, MappedPart) and not part.check(self.line[rows[numbers == number]]):
                tell(remove_damaged(part.path))
                self.paths.discard(part.path)
                self.part[self.part == number] = -1
        return rows[self.part[rows] < 0]
