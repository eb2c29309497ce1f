"""Random access to a finished corpus: any image of any record, without reading the rest."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from comface_bench.comface.corpus.encode import decode_image
from comface_bench.comface.corpus.index import IMAGE, RECORD
from comface_bench.comface.corpus.layout import Layout
from comface_bench.core.errors import DataFormatError, DataMissingError

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
        description: What it holds.
        identities: Identity of each record, shape (R,).
        attributes: Index into `description.plan.attributes` of each record, shape (R,).

    Raises:
        DataMissingError: There is no corpus, or shards are missing.
        DataFormatError: An index isn't one.
    """

    def __init__(self, root: Path | str) -> None:
        self._layout = Layout(root)
        self.description = self._layout.read()
        missing = [n for n in range(self.description.shards) if not self._layout.done(n).exists()]
        if missing:
            raise DataMissingError(
                f"{root}: {len(missing)} of {self.description.shards} shards aren't there yet",
                f"comface-bench synth corpus --out {root}, with the options that it was begun with",
            )
        shards = range(self.description.shards)
        tables = [_table(self._layout.records(shard), RECORD) for shard in shards]
        self._starts = np.cumsum([0, *(len(table) for table in tables)]).tolist()
        self._records = np.concatenate(tables)
        self._images = [_table(self._layout.images(shard), IMAGE) for shard in shards]
        self._files: dict[tuple[int, int], int] = {}
        self._opening = threading.Lock()
        self.identities = np.ascontiguousarray(self._records["identity"])
        self.attributes = np.ascontiguousarray(self._records["attribute"])

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._records)

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
        while self._files:
            os.close(self._files.popitem()[1])

    def record(self, number: int) -> CorpusRecord:
        """Return record `number`'s facts."""
        row, _, images = self._find(number)
        name = self.description.plan.attributes[row["attribute"]]
        return CorpusRecord(number, int(row["identity"]), name, images["alpha"].copy())

    def read(self, number: int, index: int) -> bytes:
        """Return an image's bytes as stored.

        Args:
            number: Number of the record.
            index: Place of the image in the record, from 0.

        Raises:
            IndexError: No such record or image.
            DataFormatError: The shard is shorter than its index says.
        """
        _, shard, images = self._find(number)
        if not 0 <= index < len(images):
            raise IndexError(f"record {number} has no image {index}")
        place = images[index]
        length, offset = int(place["length"]), int(place["offset"])
        data = self._read(shard, length, offset)
        if len(data) < length:
            raise DataFormatError(
                f"{self._layout.tar(shard)}: cut short before byte {offset + length}",
                f"comface-bench synth check {self._layout.root}",
            )
        return data

    def image(self, number: int, index: int) -> NDArray[np.uint8]:
        """Return an image as RGB, shape (3, H, W); arguments and errors as for `read`."""
        return decode_image(self.read(number, index))

    def _find(self, number: int) -> tuple[NDArray[np.void], int, NDArray[np.void]]:
        if not 0 <= number < len(self):
            raise IndexError(f"the corpus has no record {number}")
        row = self._records[number]
        shard = bisect_right(self._starts, number) - 1
        first = int(row["first"])
        return row, shard, self._images[shard][first : first + int(row["count"])]

    def _read(self, shard: int, length: int, offset: int) -> bytes:
        # A child process opens its own: file descriptors of a parent may be closed there.
        key = (os.getpid(), shard)
        with self._opening:
            if key not in self._files and len(self._files) < MOST_OPEN:
                self._files[key] = os.open(self._layout.tar(shard), os.O_RDONLY)
            file = self._files.get(key)
        if file is not None:
            return os.pread(file, length, offset)
        with self._layout.tar(shard).open("rb", buffering=0) as opened:
            return os.pread(opened.fileno(), length, offset)


def _table(path: Path, kind: np.dtype[np.void]) -> NDArray[np.void]:
    try:
        # Read, not mapped: each mapped file would hold a descriptor, and a corpus has thousands.
        table: NDArray[np.void] = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DataMissingError(f"{path} is missing", f"comface-bench synth check {path.parents[1]}") from None
    except (ValueError, EOFError) as error:
        raise DataFormatError(f"{path}: {error}") from None
    if table.dtype != kind or table.ndim != 1:
        raise DataFormatError(f"{path}: not an index of this version", "Generate this shard again.")
    return table
