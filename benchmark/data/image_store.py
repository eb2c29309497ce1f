"""The image store: every image decoded and resized once, into a memory-mapped array of bytes.

A store is two files in a cache folder. `KEY.pixels` is plain uint8 (N, 3, S, S): an image's bytes lie
together and in the order that models read, so that a batch is N straight copies. `KEY.json` is written
last and is the only mark of a finished store. The key covers the images' names, sizes in bytes and
times of change, the side S, the way of resizing and the format, so a changed file gives another key.

Each file is written under a name of its own, fsynced and renamed. A build that was killed leaves nothing
that counts, and of two processes that build at once the later rename wins, with the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from comface_bench.core.digest import digest
from comface_bench.core.errors import DataMissingError
from comface_bench.core.files import replacing
from comface_bench.data.image_file import ONE_COLOUR, UnreadableImageError, is_one_colour, read_image

FORMAT = 1
"""Raised by hand when the files of a store change their layout."""


@dataclass(frozen=True, eq=False)
class ImageStore:
    """Decoded images of a data set.

    Attributes:
        names: Each image's path below the data root, in the order of the rows.
        size: Side of the square images in pixels.
        digest: SHA-256 over the bytes of all images in order, 64 hexadecimal digits.
        pixels: uint8 (N, 3, size, size), memory-mapped and read-only.
    """

    names: tuple[str, ...]
    size: int
    digest: str
    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.names)

    def gather(self, indices: NDArray[np.int64]) -> torch.Tensor:
        """Return images by row.

        Args:
            indices: Rows, integers (n,), in any order, repeated or not.

        Returns:
            uint8 (n, 3, size, size), memory of its own.

        Raises:
            IndexError: A row is outside the store.
        """
        return torch.from_numpy(self.pixels[np.asarray(indices, dtype=np.int64)])


def open_image_store(
    root: Path,
    names: Sequence[str],
    size: int,
    *,
    cache: Path,
    resize: Resize = "squash",
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImageStore:
    """Open the store of these images; build it first if it isn't there, or is damaged.

    Args:
        root: Folder of the data set; only read.
        names: Each image's path below it; at least one.
        size: Side of the square images in pixels.
        cache: Folder of the stores; made if needed.
        resize: `squash` fits the whole image into the square; `crop` scales the shorter side and keeps
            the centre.
        workers: Threads that decode; one a core by default.
        progress: Called during a build with the number of images done and of all images.

    Raises:
        ValueError: There are no names, or the size isn't positive.
        DataMissingError: An image isn't there.
        UnreadableImageError: An image is truncated, can't be decoded, or shows a single colour.
    """
    if not names or size < 1:
        raise ValueError(f"a store of {len(names)} images of side {size} holds nothing")
    key = _key(root, names, size, resize)
    store = _open(cache, key, names, size)
    if store is None:
        _build(root, names, size, cache, key, resize, workers or _cores(), progress)
        store = _open(cache, key, names, size)
        if store is None:
            raise OSError(f"the image store {key} in {cache} vanished while it was opened")
    return store


def _key(root: Path, names: Sequence[str], size: int, resize: Resize) -> str:
    files = []
    for name in names:
        try:
            facts = (root / name).stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise missing_image(root, name) from error
        files.append((name, facts.st_size, facts.st_mtime_ns))
    key: str = digest([FORMAT, DECODE_EPOCH, size, resize, files])
    return key[:32]


def _open(cache: Path, key: str, names: Sequence[str], size: int) -> ImageStore | None:
    """Return the finished store, or None if there is none or its files don't fit each other."""
    shape = (len(names), 3, size, size)
    pixels = cache / f"{key}.pixels"
    try:
        header = json.loads((cache / f"{key}.json").read_text(encoding="utf-8"))
        if header["shape"] != list(shape) or pixels.stat().st_size != math.prod(shape):
            return None
        mapped = np.memmap(pixels, dtype=np.uint8, mode="r", shape=shape)
        return ImageStore(tuple(names), size, str(header["digest"]), np.asarray(mapped))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _build(
    root: Path,
    names: Sequence[str],
    size: int,
    cache: Path,
    key: str,
    resize: Resize,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    sha = hashlib.sha256()
    with replacing(cache / f"{key}.pixels") as stream:
        for done, image in enumerate(_decode_all(root, names, size, resize, workers), start=1):
            content = image.tobytes()
            stream.write(content)
            sha.update(content)
            if progress is not None:
                progress(done, len(names))
    header = {"shape": [len(names), 3, size, size], "resize": resize, "digest": sha.hexdigest()}
    with replacing(cache / f"{key}.json") as stream:
        stream.write(json.dumps(header).encode())


def _decode_all(
    root: Path, names: Sequence[str], size: int, resize: Resize, workers: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield the images in order; a few rounds at a time, so that memory doesn't grow with the data set."""
    portion = 16 * workers
    # Threads are enough: Pillow decodes and resizes outside the interpreter's lock.
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(names), portion):
            part = names[start : start + portion]
            yield from pool.map(lambda name: decode_image(root, name, size, resize), part)


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
    try:
        image = read_image(root / name)
    except FileNotFoundError as error:
        raise missing_image(root, name) from error
    if is_one_colour(image.tobytes()):
        raise UnreadableImageError(root / name, *ONE_COLOUR)
    return np.asarray(_fit(image, size, resize)).transpose(2, 0, 1)


def missing_image(root: Path, name: str) -> DataMissingError:
    """Return the error for an image that isn't there."""
    return DataMissingError(
        f"there is no image {name} under {root}",
        "Give the folder that holds it with --data, or check the data set: comface-bench data check TASK",
    )


def _fit(image: Image.Image, size: int, resize: Resize) -> Image.Image:
    if resize == "squash":
        return image.resize((size, size), Image.Resampling.BILINEAR)
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box)
