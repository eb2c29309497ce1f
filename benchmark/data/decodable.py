"""Decodability of every image of a data set, to its last byte."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from comface_bench.core.problems import Problem, ProblemList
from comface_bench.data.manifest import Manifest


def decode_all(
    tables: Sequence[Manifest],
    problems: ProblemList,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, int], set[tuple[int, int]]]:
    """Decode all images of some data sets.

    Args:
        tables: The data sets.
        problems: Receives each image that can't be decoded.
        progress: Called with (images opened, images in all) after each image.

    Returns:
        Colour mode by PIL's name → number of images, the most frequent first; and all (width, height)
        in pixels.
    """
    paths = [table.root / name for table in tables for name in table.images]
    modes: Counter[str] = Counter()
    sizes: set[tuple[int, int]] = set()
    # Pillow decodes outside the interpreter's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, found in enumerate(pool.map(_decode, paths), 1):
            if isinstance(found, Problem):
                problems.add(found.where, found.message, found.remedy)
            else:
                modes[found[0]] += 1
                sizes.add(found[1])
            if progress is not None:
                progress(number, len(paths))
    return dict(modes.most_common()), sizes


def _decode(path: Path) -> tuple[str, tuple[int, int]] | Problem:
    """Read a whole image, so that a cut-off file shows, and return its mode and size."""
    from PIL import Image, ImageFile

    # A switch of the whole process that some libraries turn on: cut-off files would pass for whole ones.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(path) as image:
            mode, size = image.mode, image.size
            # JPEG decodes at an eighth of its size, which still reads every byte.
            image.draft(None, (1, 1))
            image.load()
    except Exception as error:  # Decoders raise whatever comes, RuntimeError and struct.error among it.
        return Problem(str(path), f"can't be decoded: {error}", "Get the file again, or take it out.")
    return mode, size
