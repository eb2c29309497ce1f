"""Checking a data set: what a task finds in it, counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.core.errors import DataFormatError
from comface_bench.data.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BINS = 10
_MOST_VALUES = 12
"""Labels of at most so many distinct values, such as intensities, are counted value by value."""


@dataclass(frozen=True)
class FoldCount:
    """Subjects of a fold's parts, and its test pairs."""

    train: int
    validation: int
    test: int
    test_pairs: int


@dataclass(frozen=True)
class Bin:
    """Number of labels from `low` to `high`; below `high` in all bins but the last."""

    low: float
    high: float
    count: int


@dataclass(frozen=True)
class DataCheck:
    """What a task finds in its data set.

    Attributes:
        task, data, target, unit: Names.
        images: Number of images.
        labelled: Those with a label of the target.
        subjects: Number of subjects.
        images_per_subject: Smallest, median and largest number of labelled images.
        pairs: All within-subject pairs of labelled images.
        zero_change_pairs: Those whose two labels are equal.
        folds: Counts of each fold.
        label_range: Smallest and largest label, in the target's unit.
        histogram: Numbers of labels, from the smallest to the largest.
        modes: Colour mode by PIL's name → number of images; `L` is grey, `RGB` colour.
        image_sizes: Smallest and largest (width, height) in pixels, by area.
        first, last: Name and label of the first and last labelled image.
        manifest_digest: SHA-256 of the data set's table.
        split, split_digest: Name of the folds and their SHA-256.
        constant_mae: MAE of the answer "no change" over all test pairs of all folds, in the target's unit.
    """

    task: str
    data: str
    target: str
    unit: str
    images: int
    labelled: int
    subjects: int
    images_per_subject: tuple[int, float, int]
    pairs: int
    zero_change_pairs: int
    folds: tuple[FoldCount, ...]
    label_range: tuple[float, float]
    histogram: tuple[Bin, ...]
    modes: Mapping[str, int]
    image_sizes: tuple[tuple[int, int], tuple[int, int]]
    first: tuple[str, float]
    last: tuple[str, float]
    manifest_digest: str
    split: str
    split_digest: str
    constant_mae: float

    @property
    def grey_images(self) -> int:
        """Images without colour: those of the modes 1, L, LA, and I and its variants."""
        return sum(n for mode, n in self.modes.items() if mode in ("1", "L", "LA", "La") or mode[0] in "IF")


def check_data(task: Task, progress: Callable[[int, int], None] | None = None) -> DataCheck:
    """Count what a task finds in its data set; images are opened, but only their headers are read.

    Args:
        task: The task with its data; loading it has checked the manifest and the folds.
        progress: Called with (images opened, images in all) after each image.

    Raises:
        DataFormatError: A label leaves its range, an image can't be opened, or a fold has no pair.
    """
    table, labels = task.table, task.labels
    rows = np.flatnonzero(~np.isnan(labels))
    if not rows.size:
        raise DataFormatError(f"{table.name}: no image has a label {task.card.target!r}")
    subjects = np.array(table.subjects)[rows]
    sizes = sorted(Counter(subjects.tolist()).values())
    modes, image_sizes = _decode_all(task, progress)
    folds, targets = [], []
    for number, fold in enumerate(task.folds):
        task.pairs(number, "validation")
        pairs = task.pairs(number, "test")
        targets.append(pairs.target)
        folds.append(FoldCount(len(fold.train), len(fold.validation), len(fold.test), len(pairs)))
    return DataCheck(
        task=task.name,
        data=table.name,
        target=task.card.target,
        unit=task.card.unit,
        images=len(table),
        labelled=len(rows),
        subjects=len(table.subject_names),
        images_per_subject=(sizes[0], float(np.median(sizes)), sizes[-1]),
        pairs=sum(task.source.counts().values()),
        zero_change_pairs=_count_equal(subjects.tolist(), labels[rows].tolist()),
        folds=tuple(folds),
        label_range=(float(labels[rows].min()), float(labels[rows].max())),
        histogram=_histogram(labels[rows]),
        modes=modes,
        image_sizes=image_sizes,
        first=(table.images[rows[0]], float(labels[rows[0]])),
        last=(table.images[rows[-1]], float(labels[rows[-1]])),
        manifest_digest=table.digest,
        split=task.split.name,
        split_digest=task.split.digest,
        constant_mae=float(np.abs(np.concatenate(targets)).mean()),
    )


def _count_equal(subjects: list[str], labels: list[float]) -> int:
    """Count the within-subject pairs of equal labels."""
    alike = Counter(zip(subjects, labels, strict=True))
    return sum(count * (count - 1) // 2 for count in alike.values())


def _histogram(labels: NDArray[np.float64]) -> tuple[Bin, ...]:
    values, counts = np.unique(labels, return_counts=True)
    if len(values) <= _MOST_VALUES:
        return tuple(
            Bin(float(value), float(value), int(count)) for value, count in zip(values, counts, strict=True)
        )
    counts, edges = np.histogram(labels, bins=_BINS)
    return tuple(
        Bin(float(low), float(high), int(count))
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    )


def _decode_all(
    task: Task, progress: Callable[[int, int], None] | None
) -> tuple[dict[str, int], tuple[tuple[int, int], tuple[int, int]]]:
    names = task.table.images
    modes: Counter[str] = Counter()
    sizes: set[tuple[int, int]] = set()
    # Pillow decodes outside the interpreter's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = pool.map(_decode, (task.table.root / name for name in names))
        for number, (mode, size) in enumerate(decoded, 1):
            modes[mode] += 1
            sizes.add(size)
            if progress is not None:
                progress(number, len(names))
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    return dict(modes.most_common()), (by_area[0], by_area[-1])


def _decode(path: Path) -> tuple[str, tuple[int, int]]:
    """Read a whole image, so that a cut-off file shows, and return its mode and size."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            mode, size = image.mode, image.size
            # JPEG decodes at an eighth of its size, which still reads every byte.
            image.draft(None, (1, 1))
            image.load()
    except (OSError, ValueError, SyntaxError) as error:
        raise DataFormatError(
            f"{path}: can't be decoded: {error}", "Get the file again, or remove it."
        ) from error
    return mode, size
