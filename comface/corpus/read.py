"""Random access to a finished corpus: any image of any record, without reading the rest.

An epoch reads each image once, in random order, so a read must cost little more than the system's own:
offsets, lengths and checksums are in flat arrays, 20 bytes an image in memory (400 MB for 20 million).
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
import weakref
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from comface_bench.comface.corpus.layout import Layout
from comface_bench.comface.corpus.shard import IMAGE_DTYPES, RECORD_DTYPE, decode_image_bytes
from comface_bench.core.errors import DataFormatError, DataMissingError
from comface_bench.data.image_file import UnreadableImageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


MOST_OPEN = 256
"""Shards kept open; a corpus of the paper's size has more than a process may open files."""


class CorpusRecord(NamedTuple):
    """One record.

    Attributes:
        number: Place in the corpus.
        identity: Number of the identity; records of one number show one person.
        attribute: Name.
        alphas: α of each image, ascending, shape (K,).
    """

    number: int
    identity: int
    attribute: str
    alphas: NDArray[np.float32]


class Corpus:
    """A corpus on disk, opened for reading; can be pickled and shared by processes.

    Args:
        root: Its folder.

    Attributes:
        description: Contents of its `corpus.json`.
        identities: Identity of each record, shape (R,).
        attributes: Index into `description.plan.attributes` of each record, shape (R,).

    Raises:
        DataMissingError: There is no corpus, or shards are missing.
        DataFormatError: An index isn't the one that its shard was finished with, or a shard is another
            corpus's.
    """

    def __init__(self, root: Path | str) -> None:
        self._layout = Layout(root)
        self.description = self._layout.read()
        plan, size = self.description.plan, self.description.records_per_shard
        shards = range(self.description.shards)
        missing = [paths for shard in shards if (paths := self._layout.missing(shard))]
        if missing:
            raise DataMissingError(
                f"{missing[0][0]} is missing: {len(missing)} of {len(shards)} shards aren't there yet",
                f"comface-bench synth corpus --out {root}",
            )
        self._count, self._each, self._size = plan.records, plan.alphas, size
        self.identities = np.empty(plan.records, np.int64)
        self.attributes = np.empty(plan.records, np.int32)
        self._alphas = np.empty(plan.images, np.float32)
        offsets, lengths = np.empty(plan.images, np.int64), np.empty(plan.images, np.int32)
        kind = IMAGE_DTYPES[self.description.version]
        checksums = np.empty(plan.images if "crc32" in (kind.names or ()) else 0, np.uint32)
        for shard in shards:
            # The number of images is the same in all records, so a place in the arrays is a product.
            rows = slice(shard * size, min(shard * size + size, plan.records))
            places = slice(rows.start * plan.alphas, rows.stop * plan.alphas)
            records = self._load_table(shard, "records", RECORD_DTYPE, rows.stop - rows.start)
            images = self._load_table(shard, "images", kind, places.stop - places.start)
            self.identities[rows], self.attributes[rows] = records["identity"], records["attribute"]
            self._alphas[places] = images["alpha"]
            offsets[places], lengths[places] = images["offset"], images["length"]
            if checksums.size:
                checksums[places] = images["crc32"]
        # An item of a memoryview is a plain int, and costs half of an array's.
        self._offsets, self._lengths, self._checksums = offsets.data, lengths.data, checksums.data
        self._paths = [str(self._layout.tar(shard)) for shard in shards]
        self._files: list[int | None]
        self._opening: threading.Lock
        self._forget_files()
        _opened.add(self)

    def __len__(self) -> int:
        """Return the number of records."""
        return self._count

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self._layout.root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["root"])  # type: ignore[misc]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the shards that were read from."""
        with self._opening:
            files, self._files = self._files, [None] * self.description.shards
            self._open = 0
        for file in files:
            if file is not None:
                os.close(file)

    def record(self, number: int) -> CorpusRecord:
        """Return record `number`'s facts."""
        if not 0 <= number < self._count:
            raise IndexError(f"the corpus has no record {number}")
        name = self.description.plan.attributes[self.attributes[number]]
        alphas = self._alphas[number * self._each : (number + 1) * self._each].copy()
        return CorpusRecord(number, int(self.identities[number]), name, alphas)

    def read(self, number: int, index: int) -> bytes:
        """Return an image's bytes as stored.

        Args:
            number: Number of the record.
            index: Place of the image in the record, from 0.

        Raises:
            IndexError: No such record or image.
            DataFormatError: The shard is shorter than its index requires.
            DataMissingError: The shard has gone.
        """
        if not 0 <= number < self._count:
            raise IndexError(f"the corpus has no record {number}")
        if not 0 <= index < self._each:
            raise IndexError(f"record {number} has no image {index}")
        place, shard = number * self._each + index, number // self._size
        length, offset = self._lengths[place], self._offsets[place]
        file = self._files[shard]
        data = self._read(shard, length, offset) if file is None else os.pread(file, length, offset)
        if len(data) < length:
            raise DataFormatError(
                f"{self._layout.tar(shard)}: cut short before byte {offset + length}",
                f"comface-bench synth check {self._layout.root}",
            )
        return data

    def image(self, number: int, index: int) -> NDArray[np.uint8]:
        """Return an image as RGB, shape (3, H, W); arguments as for `read`.

        Raises:
            DataFormatError: The bytes aren't those that were written, or no image; and the errors of `read`.
        """
        data = self.read(number, index)
        message = f"{self._layout.tar(number // self._size)}: image {index} of record {number}"
        again = f"comface-bench synth check {self._layout.root} --pictures"
        if self._checksums and zlib.crc32(data) != self._checksums[number * self._each + index]:
            raise DataFormatError(f"{message} isn't the one that was written", again)
        try:
            return decode_image_bytes(data)
        except UnreadableImageError as error:
            raise DataFormatError(f"{message} {error.fault}", again) from None

    def _load_table(self, shard: int, name: str, kind: np.dtype[np.void], rows: int) -> NDArray[np.void]:
        """Load a shard's table of records or of images, and compare it with its digest."""
        path = self._layout.records(shard) if name == "records" else self._layout.images(shard)
        again = self._layout.remake_command(shard)
        try:
            data = path.read_bytes()
            table: NDArray[np.void] = np.load(io.BytesIO(data), allow_pickle=False)
        except FileNotFoundError:
            raise DataMissingError(f"{path} is missing", again) from None
        except (ValueError, EOFError) as error:
            raise DataFormatError(f"{path}: {error}", again) from None
        if table.dtype != kind or table.shape != (rows,):
            raise DataFormatError(f"{path}: not the index of this shard, of {rows} rows", again)
        done = self._layout.read_done(shard, self.description)
        if hashlib.sha256(data).hexdigest() != done[f"sha256_{name}"]:
            raise DataFormatError(f"{path}: not the index that the shard was finished with", again)
        return table

    def _read(self, shard: int, length: int, offset: int) -> bytes:
        """Read from a shard that isn't open, and keep it open if not too many are."""
        try:
            file = os.open(self._paths[shard], os.O_RDONLY)
        except FileNotFoundError:
            raise DataMissingError(
                f"{self._layout.tar(shard)} is missing",
                f"comface-bench synth corpus --out {self._layout.root}",
            ) from None
        try:
            data = os.pread(file, length, offset)
            if self._open < MOST_OPEN:  # at the paper's size most reads come here: no lock then
                with self._opening:
                    if self._files[shard] is None and self._open < MOST_OPEN:
                        self._files[shard], file = file, -1
                        self._open += 1
        finally:
            if file >= 0:
                os.close(file)
        return data

    def _forget_files(self) -> None:
        self._files = [None] * self.description.shards
        self._open = 0
        self._opening = threading.Lock()


_opened: weakref.WeakSet[Corpus] = weakref.WeakSet()


def _forget_files_after_fork() -> None:
    """Let a child process open its own files: its parent's may be closed there, and its lock be held."""
    for corpus in list(_opened):
        corpus._forget_files()


os.register_at_fork(after_in_child=_forget_files_after_fork)
