"""The image store: every image decoded and resized once, into a memory-mapped array of bytes.

A store is one file in a cache folder, `KEY.pixels`: uint8 (N, 3, S, S), so that an image's bytes lie together
and in the order that models read; then a checksum of each image (CRC-32, four bytes, the lowest first);
where faces are aligned, how each was come by, a byte an image (`alignment.HOW`); then the SHA-256 of the key
and of what stands between the pixels and it. The key covers the contents of the images in order (the digests
of the manifest, for which every run reads every file), the side S, the way of resizing or all that decides
the alignment, and what decodes. Names, times and folders are no part of it: data that have moved keep their
store, and a file of other contents never has one, whatever its size and its time of change say.

What is read is checked: the end of the file when it is opened, each image when it is first taken. So a large
store is never hashed as a whole, and one that is damaged is built again before anything of it is used.

`KEY.json` says for people what a store is of; the store's time of change is that of its last use.

The file is written under a name of its own, fsynced and renamed. A build that was killed leaves nothing
that counts, and of two processes that build at once the later rename wins, with the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from zlib import crc32

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from comface_bench.core.digest import digest, digest_file
from comface_bench.core.errors import BenchError, DataFormatError, DataMissingError
from comface_bench.core.files import read_facts, replacing, require_room, require_writable
from comface_bench.data.alignment import Aligner, count_faces, cut_middle, open_aligner
from comface_bench.data.image_file import (
    ONE_COLOUR,
    UnreadableImageError,
    is_one_colour,
    pixel_digest,
    read_image,
)
from comface_bench.data.manifest import Manifest

if TYPE_CHECKING:
    import torch

    from comface_bench.core.protocol import Protocol

FORMAT = 2
"""Raised by hand when the file of a store changes its layout."""

_CHECKSUM = np.dtype("<u4")
_SEAL = hashlib.sha256().digest_size


def _ignore(*told: object) -> None:
    """Take no notice."""


class ImageStore:
    """Decoded images of a data set.

    Args:
        plan: What the store holds, and where.
        progress: Called during a build with the number of images done and of all images.
        notice: Called with a sentence when a damaged store is built again.

    Attributes:
        names: Each image's path below the data root, in the order of the rows.
        size: Side of the square images in pixels.
        how: Where faces are aligned, how each image's was come by, numbers of `alignment.HOW`; else None.
    """

    def __init__(
        self, plan: StorePlan, progress: Callable[[int, int], None], notice: Callable[[str], None]
    ) -> None:
        self.names = plan.table.images
        self.size = plan.size
        self._plan, self._progress, self._notice = plan, progress, notice
        if not plan.path.exists():
            plan.build(progress)
        self._opened = plan.open() or self._rebuild()
        self.how = self._opened.how

    def __len__(self) -> int:
        return len(self.names)

    @property
    def key(self) -> str:
        """Digest of all that decides the pixels: `StorePlan.key`."""
        return self._plan.key

    def gather(self, indices: NDArray[np.int64]) -> torch.Tensor:
        """Return images by row; a store that turns out to be damaged is built again first.

        Args:
            indices: Rows, integers (n,), in any order, repeated or not.

        Returns:
            uint8 (n, 3, size, size), memory of its own.

        Raises:
            IndexError: A row is outside the store.
            DataMissingError: An image of a damaged store isn't there any more.
            DataFormatError: It has changed since the manifest was read.
            StorageError: There is no room to build it again.
            BenchError: It is damaged as soon as it is built.
        """
        import torch

        rows = np.asarray(indices, dtype=np.int64)
        images = self._opened.take(rows)
        if images is None:
            self._opened = self._rebuild()
            images = self._opened.take(rows)
        if images is None:
            raise self._plan.fault()
        return torch.from_numpy(images)

    def find_equal(self) -> list[tuple[int, ...]]:
        """Return groups of rows, two or more, whose images have the same pixels at the store's size.

        Raises:
            DataMissingError, DataFormatError, StorageError, BenchError: As `gather`.
        """
        groups: dict[bytes, list[int]] = {}
        # Only images of one checksum are looked at, one at a time: a video may repeat thousands.
        for row in self._opened.repeated():
            pixels = self.gather(np.array([row])).numpy()
            groups.setdefault(pixel_digest(pixels.tobytes()), []).append(row)
        return [tuple(rows) for rows in groups.values() if len(rows) > 1]

    def _rebuild(self) -> _OpenStore:
        self._notice(f"the image store {self._plan.path} is damaged and is built again")
        self._plan.path.unlink(missing_ok=True)  # There may be no room for both.
        self._plan.build(self._progress)
        opened = self._plan.open()
        if opened is None:
            raise self._plan.fault()
        return opened


def open_image_store(
    table: Manifest,
    size: int,
    *,
    cache: Path,
    resize: Resize = "squash",
    aligner: Aligner | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] = _ignore,
    notice: Callable[[str], None] = _ignore,
) -> ImageStore:
    """Open the store of a data set's images; build it first if it isn't there, or is damaged.

    Args:
        table: The data set; its root is only read.
        size: Side of the square images in pixels.
        cache: Folder of the stores; made if needed.
        resize: `squash` fits the whole image into the square; `crop` scales the shorter side and keeps
            the centre.
        aligner: Cuts the face out instead of resizing the photograph.
        workers: Threads that decode; one a core by default.
        progress: Called during a build with the number of images done and of all images.
        notice: Called with a sentence when a damaged store is built again, now or later.

    Raises:
        ValueError: There are no images, or the size isn't positive.
        DataMissingError: An image isn't there any more.
        UnreadableImageError: An image is truncated, can't be decoded, or shows a single colour.
        DataFormatError: An image has changed since the manifest was read.
        UsageError: Nothing can be written to the cache.
        StorageError: There is no room for the store.
    """
    if not len(table) or size < 1:
        raise ValueError(f"a store of {len(table)} images of side {size} holds nothing")
    plan = StorePlan(table, size, resize, cache, workers or _cores(), aligner)
    return ImageStore(plan, progress, notice)


def stored_size(image_size: int) -> int:
    """Return the side at which images are stored that are shown at a side of `image_size` pixels.

    It is a seventh more, so that crops of the augmentation lose little sharpness.
    """
    return image_size + -(-image_size // 7)


def open_shown(
    table: Manifest,
    protocol: Protocol,
    *,
    cache: Path,
    aligner: Aligner | None = None,
    progress: Callable[[int, int], None] = _ignore,
    notice: Callable[[str], None] = _ignore,
) -> ImageStore:
    """Open the store of a data set's images as a protocol shows them: the one preparation of all photographs.

    Args:
        table: The data set.
        protocol: Says how large the images are, and how photographs become squares or chips of faces.
        cache: Folder of the stores; made if needed.
        aligner: The protocol's, where the caller has opened it; else it is opened here.
        progress: As `open_image_store` takes it.
        notice: Likewise.

    Raises:
        BenchError: As `open_image_store` and `open_aligner`.
    """
    if aligner is None and protocol.align != "none":
        aligner = open_aligner(protocol.chip)
    return open_image_store(
        table,
        stored_size(protocol.image_size),
        cache=cache,
        resize=protocol.resize,
        aligner=aligner,
        progress=progress,
        notice=notice,
    )


@dataclass(frozen=True, eq=False)
class StorePlan:
    """What a store holds, and where: it can be built, and opened.

    Attributes:
        table: The data set.
        size: Side of the square images in pixels.
        resize: The way of resizing.
        cache: Folder of the stores.
        workers: Threads that decode.
        aligner: Cuts faces out, or None.
    """

    table: Manifest
    size: int
    resize: Resize
    cache: Path
    workers: int
    aligner: Aligner | None = None

    @cached_property
    def key(self) -> str:
        """SHA-256 of all that decides the pixels, its first 32 hexadecimal digits."""
        # Two versions of Pillow may decode one file to pixels that differ.
        decoder = [DECODE_EPOCH, PIL.__version__]
        shown = self.aligner.describe() if self.aligner else self.resize
        key: str = digest([FORMAT, decoder, self.size, shown, self.table.contents])
        return key[:32]

    @property
    def path(self) -> Path:
        """The store's file."""
        return self.cache / f"{self.key}.pixels"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the pixels."""
        return len(self.table), 3, self.size, self.size

    def open(self) -> _OpenStore | None:
        """Map the store's file, or return None if it isn't whole."""
        pixels = math.prod(self.shape)
        try:
            mapped = np.memmap(self.path, dtype=np.uint8, mode="r")
        except (OSError, ValueError):  # An empty file can't be mapped.
            return None
        if mapped.size != pixels + self._end_size:
            return None
        notes, seal = mapped[pixels:-_SEAL].tobytes(), mapped[-_SEAL:].tobytes()
        if seal != _seal(self.key, notes):
            return None
        with contextlib.suppress(OSError):
            os.utime(self.path)
        count = len(self.table)
        sums = np.frombuffer(notes, _CHECKSUM, count)
        how = np.frombuffer(notes, np.uint8, count, sums.nbytes) if self.aligner else None
        return _OpenStore(np.asarray(mapped[:pixels]).reshape(self.shape), sums, how)

    def build(self, progress: Callable[[int, int], None]) -> None:
        """Decode all images into the store's file.

        Raises:
            DataMissingError, DataFormatError, UsageError, StorageError: As `open_image_store`.
        """
        require_writable(self.cache, "decoded images", "Name another folder: COMFACE_CACHE=DIR")
        require_room(self.path, math.prod(self.shape) + self._end_size)
        sums = np.zeros(len(self.table), _CHECKSUM)
        how = np.zeros(len(self.table), np.uint8)
        with replacing(self.path) as stream:
            for row, (image, come_by) in enumerate(self._decode_all()):
                content = image.tobytes()
                stream.write(content)
                sums[row], how[row] = crc32(content), come_by
                progress(row + 1, len(self.table))
            notes = sums.tobytes() + (how.tobytes() if self.aligner else b"")
            stream.write(notes)
            stream.write(_seal(self.key, notes))
            # Before the store has its name: one that is there isn't built again, nor described.
            about: dict[str, object] = {
                "data": self.table.name,
                "images": len(self.table),
                "image_size": self.size,
            }
            if self.aligner:
                about |= {"chip": self.aligner.chip, "faces": count_faces(how)}
            with contextlib.suppress(OSError), replacing(_about_path(self.path)) as described:
                described.write(json.dumps(about, indent=1).encode())

    def fault(self) -> BenchError:
        """Make the error for a store that is damaged as soon as it is built."""
        return BenchError(
            f"{self.path} isn't read as it was just written: its disk or the memory may be failing",
            "Keep image stores on another disk: COMFACE_CACHE=DIR",
        )

    @property
    def _end_size(self) -> int:
        return len(self.table) * (_CHECKSUM.itemsize + (self.aligner is not None)) + _SEAL

    def _decode_all(self) -> Iterator[tuple[NDArray[np.uint8], int]]:
        """Yield the images in order, a few rounds at a time: memory doesn't grow with the data set."""
        images = list(zip(self.table.images, self.table.contents, strict=True))
        portion = 16 * self.workers
        # Threads are enough: Pillow decodes and resizes outside the interpreter's lock.
        with ThreadPoolExecutor(self.workers) as pool:
            for start in range(0, len(images), portion):
                part = images[start : start + portion]
                yield from pool.map(self._decode, part)

    def _decode(self, image: tuple[str, str]) -> tuple[NDArray[np.uint8], int]:
        """Return an image's pixels and how its face was come by; 0 where faces aren't aligned."""
        name, content = image
        if self.aligner is None:
            shown = decode_image(self.table.root, name, self.size, self.resize), 0
        else:
            shown = decode_face(self.table.root, name, self.size, self.aligner)
        # Afterwards: the file that was decoded is the one that the manifest is about.
        if digest_file(self.table.root / name) != content:
            raise DataFormatError(
                f"{self.table.root / name} has changed since this run read its data set",
                "Type the same command again when nothing writes there any more.",
            )
        return shown


def _seal(key: str, notes: bytes) -> bytes:
    return hashlib.sha256(key.encode() + notes).digest()


def _about_path(store: Path) -> Path:
    return store.with_suffix(".json")


@dataclass(frozen=True, eq=False)
class StoredImages:
    """A store on disk.

    Attributes:
        path: Its file.
        size: Bytes.
        used: When it was last opened, in seconds since 1970.
        about: What is said of it beside it: `data`, `images`, `image_size`, and of aligned faces
            `chip` and `faces`; nothing in older stores.
    """

    path: Path
    size: int
    used: float
    about: Mapping[str, object]

    @property
    def key(self) -> str:
        """Its key."""
        return self.path.stem

    def find_damaged(self) -> list[Path] | None:
        """Read all of it; return its file if that isn't what was written, or None if it can't be known."""
        images, side = self.about.get("images"), self.about.get("image_size")
        if not isinstance(images, int) or not isinstance(side, int):
            return None
        one = 3 * side * side
        try:
            with self.path.open("rb") as stream:
                found = np.array([crc32(stream.read(one)) for _ in range(images)], _CHECKSUM).tobytes()
                end = stream.read()
                notes = end[:-_SEAL]
                whole = notes.startswith(found) and len(notes) - len(found) in (0, images)
                return [] if whole and end[-_SEAL:] == _seal(self.key, notes) else [self.path]
        except OSError:
            return [self.path]

    def remove(self) -> bool:
        """Remove it; return whether it is gone. A run that has it open keeps it to its end."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
            _about_path(self.path).unlink(missing_ok=True)
        return not self.path.exists()


def list_stores(folder: Path) -> list[StoredImages]:
    """Return the stores in a folder; none where there is no folder."""
    found = []
    for path in sorted(folder.glob("*.pixels")):
        with contextlib.suppress(OSError):  # Another process may remove it meanwhile.
            state = path.stat()
            found.append(StoredImages(path, state.st_size, state.st_mtime, read_facts(_about_path(path))))
    return found


class _OpenStore:
    """A store's file as it is mapped.

    Args:
        pixels: uint8 (N, 3, S, S).
        sums: Checksum of each image, (N,).
        how: How each face was come by, (N,), or None.
    """

    def __init__(
        self, pixels: NDArray[np.uint8], sums: NDArray[np.uint32], how: NDArray[np.uint8] | None
    ) -> None:
        self._pixels, self._sums, self.how = pixels, sums, how
        self._checked = np.zeros(len(sums), bool)

    def repeated(self) -> list[int]:
        """Return the rows whose checksum another row has, too."""
        _, group, counts = np.unique(self._sums, return_inverse=True, return_counts=True)
        return [int(row) for row in np.flatnonzero(counts[group] > 1)]

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.uint8] | None:
        """Copy images, or return None if one isn't what was written."""
        images = self._pixels[rows]
        for place in np.flatnonzero(~self._checked[rows]):
            if crc32(images[place]) != self._sums[rows[place]]:
                return None
            self._checked[rows[place]] = True
        return images


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Resize = Literal["squash", "crop"]

DECODE_EPOCH = 2
"""Raised by hand when the same file gives other pixels than before."""


def decode_image(root: Path, name: str, size: int, resize: Resize) -> NDArray[np.uint8]:
    """Decode an image as `read_image` does, and make it a square.

    The filter is Pillow's bilinear one, which antialiases.

    Args:
        root: Folder of the data set.
        name: Path of the image below it.
        size: Side of the square in pixels.
        resize: `squash` fits the whole image into the square; `crop` scales the shorter side and keeps
            the centre.

    Returns:
        uint8 (3, size, size).

    Raises:
        DataMissingError: There is no such file.
        UnreadableImageError: `read_image` refuses the file, or it shows a single colour.
    """
    return np.asarray(fit_square(_read(root, name), size, resize)).transpose(2, 0, 1)


def decode_face(root: Path, name: str, size: int, aligner: Aligner) -> tuple[NDArray[np.uint8], int]:
    """Decode an image as `decode_image` does, and cut its face out.

    Args:
        root: Folder of the data set.
        name: Path of the image below it.
        size: Side of the square in pixels.
        aligner: Cuts the face out.

    Returns:
        uint8 (3, size, size), and how the face was come by: a number of `alignment.HOW`.

    Raises:
        DataMissingError, UnreadableImageError: As `decode_image`.
    """
    chip, how = aligner.align(_read(root, name), size)
    return np.asarray(chip).transpose(2, 0, 1), how


def _read(root: Path, name: str) -> Image.Image:
    try:
        image = read_image(root / name)
    except FileNotFoundError as error:
        raise missing_image(root, name) from error
    if is_one_colour(image.tobytes()):
        raise UnreadableImageError(root / name, *ONE_COLOUR)
    return image


def missing_image(root: Path, name: str) -> DataMissingError:
    """Return the error for an image that isn't there."""
    return DataMissingError(
        f"there is no image {name} under {root}",
        "Give the folder that holds it with --data, or check the data set: comface-bench data check TASK",
    )


def fit_square(image: Image.Image, size: int, resize: Resize) -> Image.Image:
    """Make an image a square of a side in pixels, as `decode_image` says."""
    if resize == "squash":
        return image.resize((size, size), Image.Resampling.BILINEAR)
    return cut_middle(image, size)
