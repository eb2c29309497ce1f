"""A look at every image of a data set: what can't be used, sizes, colours, and images of equal pixels."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from comface_bench.core.problems import Problem, ProblemList
from comface_bench.data.image_file import (
    ONE_COLOUR,
    ImageFacts,
    UnreadableImageError,
    inspect_image,
    pixel_digest,
    read_image,
)

_CHUNK = 16
"""Files that one thread looks at in a row; single ones would cost more in switching."""


@dataclass(frozen=True)
class ImageCheck:
    """Findings in the image files of a data set.

    Attributes:
        modes: Colour mode by Pillow's name → number of images, the most frequent first.
        sizes: All (width, height) in pixels, upright.
        equal: Groups of images, by their places among all, whose pixels are equal once they are decoded,
            whatever their format; two or more each, in order.
    """

    modes: Mapping[str, int]
    sizes: frozenset[tuple[int, int]]
    equal: tuple[tuple[int, ...], ...]


def check_images(
    paths: Sequence[Path],
    problems: ProblemList,
    progress: Callable[[int, int], None] | None = None,
) -> ImageCheck:
    """Read all image files, each once.

    Images are decoded whole only where a look at the reduced ones leaves a doubt: two that are alike, or
    two of one size in different formats.

    Args:
        paths: The files.
        problems: Receives each that can't be used, or shows a single colour.
        progress: Called with (images read, images in all) after each image.
    """
    facts: dict[int, ImageFacts] = {}
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    # Pillow decodes outside the interpreter's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for place, found in enumerate(each for part in pool.map(_inspect_all, chunks) for each in part):
            if isinstance(found, Problem):
                problems.add(found.where, found.message, found.remedy)
            else:
                facts[place] = found
                if found.one_colour:
                    problems.add(paths[place], *ONE_COLOUR)
            if progress is not None:
                progress(place + 1, len(paths))
        equal = _equal_images(paths, facts, pool)
    modes = Counter(found.mode for found in facts.values())
    return ImageCheck(
        dict(modes.most_common()), frozenset(found.size for found in facts.values()), tuple(equal)
    )


def _inspect_all(paths: Sequence[Path]) -> list[ImageFacts | Problem]:
    return [_inspect(path) for path in paths]


def _inspect(path: Path) -> ImageFacts | Problem:
    try:
        return inspect_image(path)
    except UnreadableImageError as error:
        return Problem(error.where, error.fault, error.hint)
    except FileNotFoundError:
        return Problem(str(path), "vanished during the check", "Check again when nothing writes there.")


def _equal_images(
    paths: Sequence[Path], facts: Mapping[int, ImageFacts], pool: ThreadPoolExecutor
) -> list[tuple[int, ...]]:
    pictures = {place: found for place, found in facts.items() if not found.one_colour}
    digests = {place: found.digest for place, found in pictures.items()}
    whole_sizes = {found.size for found in pictures.values() if not found.reduced}
    alike = Counter((found.size, found.digest) for found in pictures.values() if found.reduced)
    doubtful = [
        place
        for place, found in pictures.items()
        if found.reduced and (found.size in whole_sizes or alike[found.size, found.digest] > 1)
    ]
    decoded = pool.map(lambda place: pixel_digest(read_image(paths[place]).tobytes()), doubtful)
    digests |= dict(zip(doubtful, decoded, strict=True))
    groups = defaultdict(list)
    for place, digest in digests.items():
        groups[pictures[place].size, digest].append(place)
    return [tuple(group) for group in groups.values() if len(group) > 1]
