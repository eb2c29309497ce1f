"""Data checks: counts of images, labels, pairs and folds, decodability of every image, and all problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.core.card import TaskCard, data_location, data_root
from comface_bench.core.names import parse_name
from comface_bench.core.problems import Problem, ProblemList
from comface_bench.core.registry import Registry, task_registry
from comface_bench.data.image_check import check_images
from comface_bench.data.manifest import Manifest
from comface_bench.data.pairs import PairSampler
from comface_bench.data.splits import check_people
from comface_bench.data.task import Task, configure, open_task, read_manifest, table_key

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
class SubjectCount:
    """A subject's images, those of them with a label, and its pairs for training and for testing."""

    images: int
    labelled: int
    train_pairs: int
    test_pairs: int


@dataclass(frozen=True)
class Bin:
    """Number of labels from `low` to `high`; below `high` in all bins but the last."""

    low: float
    high: float
    count: int


@dataclass(frozen=True)
class LabelCount:
    """Labels of the target.

    Attributes:
        range: Smallest and largest, in the target's unit.
        histogram: Numbers of labels, from the smallest to the largest.
        first, last: Name and label of the first and last labelled image.
    """

    range: tuple[float, float]
    histogram: tuple[Bin, ...]
    first: tuple[str, float]
    last: tuple[str, float]


@dataclass(frozen=True)
class DataCheck:
    """Findings of a check of one task's data set.

    Attributes:
        task, data, target, unit: Names.
        problems: Everything that is wrong; nothing runs while there is any.
        notes: Entries that the loader left out on purpose, and other remarks.
        images: Number of images that can be used.
        labelled: Those with a label of the target.
        per_subject: Counts of each subject.
        pairs: All within-subject pairs of labelled images.
        zero_change_pairs: Those whose two labels are equal.
        labels: Labels of the target; None if there are none.
        modes: Colour mode by PIL's name → number of images; `L` is grey, `RGB` colour.
        image_sizes: Smallest and largest (width, height) in pixels, upright, by area; None without images.
        equal_images: Groups of images whose pixels are equal once they are decoded, by name.
        manifest_digest: SHA-256 of the data set's table.
        folds: Counts of each fold; none while there are problems.
        split, split_digest: Name of the folds and their SHA-256; empty while there are problems.
        constant_mae: MAE of the no-change baseline over all test pairs of all folds, in the target's
            unit; None while there are problems.
    """

    task: str
    data: str
    target: str
    unit: str
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    images: int
    labelled: int
    per_subject: Mapping[str, SubjectCount]
    pairs: int
    zero_change_pairs: int
    labels: LabelCount | None
    modes: Mapping[str, int]
    image_sizes: tuple[tuple[int, int], tuple[int, int]] | None
    equal_images: tuple[tuple[str, ...], ...]
    manifest_digest: str
    folds: tuple[FoldCount, ...] = ()
    split: str = ""
    split_digest: str = ""
    constant_mae: float | None = None

    @property
    def grey_images(self) -> int:
        """Images without colour: those of the modes 1, L, LA, and I and its variants."""
        return sum(n for mode, n in self.modes.items() if mode in ("1", "L", "LA", "La") or mode[0] in "IF")


def check_data(
    name: str,
    data: Path | None = None,
    registry: Registry[TaskCard] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DataCheck:
    """Check a data set: read every row, decode every image, list every fold; write nothing.

    Args:
        name: Name of the task, options included.
        data: Data root; see `data_root`.
        registry: Where to look the name up; the built-in tasks and installed plugins by default.
        progress: Called with (images opened, images in all) after each image.

    Raises:
        UnknownNameError: No task has that name.
        UsageError: An option that the task doesn't take.
        DataMissingError: The data set isn't there.
    """
    base, options = parse_name(name)
    entry = (registry or task_registry()).get(base)
    card, chosen = configure(entry, options)
    places = {card.data: data_location(card, data)}
    if card.test_data is not None:
        places[card.test_data] = data_root(data) / card.test_data
    problems = ProblemList()
    tables = {place: read_manifest(entry, card, place, folder, problems) for folder, place in places.items()}
    names = [(table, image) for table in tables.values() for image in table.images]
    pictures = check_images([table.root / image for table, image in names], problems, progress)
    equal = tuple(
        tuple(
            f"{names[place][0].name}/{names[place][1]}" if len(tables) > 1 else names[place][1]
            for place in group
        )
        for group in pictures.equal
    )
    labels = [_labels(table, card, problems) for table in tables.values()]
    remarks: list[str] = []
    with problems.collect():
        first, *others = tables.values()
        whole = Manifest.join(first, *others) if others else first
        remarks += check_people(whole, card.target, chosen.get("allow", ""), problems, pictures.equal)
    if not len(problems):
        _check_changes(list(tables.values()), labels, card, problems)
    samplers = [PairSampler(table, part) for table, part in zip(tables.values(), labels, strict=True)]
    task = None
    if not len(problems):
        with problems.collect():
            known = {table_key(entry, card, place): table for place, table in tables.items()}
            task = open_task(entry, options, data, known)
    folds, targets = _count_folds(task, problems) if task else ((), [])
    by_area = sorted(pictures.sizes, key=lambda size: (size[0] * size[1], size))
    table = task.table if task else next(iter(tables.values()))
    return DataCheck(
        task=task.name if task else name,
        data=table.name,
        target=card.target,
        unit=card.unit,
        problems=problems.found,
        notes=(*(note for table in tables.values() for note in table.notes), *remarks),
        images=sum(map(len, tables.values())),
        labelled=int(sum(np.isfinite(part).sum() for part in labels)),
        per_subject=_count_subjects(samplers, labels, card),
        pairs=sum(sum(sampler.counts().values()) for sampler in samplers),
        zero_change_pairs=sum(map(_count_equal, tables.values(), labels)),
        labels=_count_labels(list(tables.values()), labels),
        modes=pictures.modes,
        image_sizes=(by_area[0], by_area[-1]) if by_area else None,
        equal_images=equal,
        manifest_digest=table.digest,
        folds=folds,
        split=task.split.name if task else "",
        split_digest=task.split.digest if task else "",
        constant_mae=float(np.abs(np.concatenate(targets)).mean()) if targets else None,
    )


def _labels(table: Manifest, card: TaskCard, problems: ProblemList) -> NDArray[np.float64]:
    """Return the target's labels; a column that isn't there or leaves its range is a problem."""
    before = len(problems)
    # Where a loader found something wrong, what is missing altogether is missing on account of that.
    lacking = len(table) and np.isnan(table.labels.get(card.target, np.nan)).all()
    with problems.collect():
        if len(table) and not (lacking and before):
            labels = table.target(card.target, card.label_range)
            if lacking:
                problems.add(table.name, f"no image has a label {card.target!r}", "Fill it in for some.")
            return labels
    if len(problems) > before and card.target in table.labels:
        return table.labels[card.target]
    return np.full(len(table), np.nan)


def _check_changes(
    tables: list[Manifest], labels: list[NDArray[np.float64]], card: TaskCard, problems: ProblemList
) -> None:
    """Report labels in which nothing changes: every fold of a run would fail of that."""
    name = " and ".join(table.name for table in tables)
    known = np.concatenate([part[np.isfinite(part)] for part in labels])
    people = Counter(
        (table.name, table.subjects[row])
        for table, part in zip(tables, labels, strict=True)
        for row in np.flatnonzero(np.isfinite(part))
    )
    if len(known) and max(people.values()) < 2:
        problems.add(
            name,
            "no person has two labelled images, and so nobody has a change",
            "Add more images of the same people, or name each person alike in all of them.",
        )
    elif len(known) and (known == known[0]).all():
        problems.add(
            name,
            f"each {card.target} is {known[0]:g}: nothing changes",
            "Name another target, or add images in which it differs.",
        )


def _count_folds(
    task: Task, problems: ProblemList
) -> tuple[tuple[FoldCount, ...], list[NDArray[np.float64]]]:
    folds, targets = [], []
    for number, fold in enumerate(task.folds):
        with problems.collect():
            task.pairs(number, "train")
            task.pairs(number, "validation")
            pairs = task.pairs(number, "test")
            targets.append(pairs.target)
            folds.append(FoldCount(len(fold.train), len(fold.validation), len(fold.test), len(pairs)))
    return tuple(folds), targets


def _count_subjects(
    samplers: list[PairSampler], labels: list[NDArray[np.float64]], card: TaskCard
) -> dict[str, SubjectCount]:
    counts = {}
    for sampler, part in zip(samplers, labels, strict=True):
        table = sampler.manifest
        images = Counter(table.subjects)
        labelled = Counter(np.array(table.subjects, dtype=object)[np.isfinite(part)].tolist())
        train, test = sampler.counts(card.train_pairs), sampler.counts(card.test_pairs)
        prefix = f"{table.name}/" if len(samplers) > 1 else ""
        for subject in table.subject_names:
            counts[prefix + subject] = SubjectCount(
                images[subject], labelled[subject], train[subject], test[subject]
            )
    return counts


def _count_equal(table: Manifest, labels: NDArray[np.float64]) -> int:
    """Count the within-subject pairs of equal labels."""
    rows = np.flatnonzero(np.isfinite(labels))
    alike = Counter((table.subjects[row], float(labels[row])) for row in rows)
    return sum(count * (count - 1) // 2 for count in alike.values())


def _count_labels(tables: list[Manifest], labels: list[NDArray[np.float64]]) -> LabelCount | None:
    named = [
        (image, float(label))
        for table, part in zip(tables, labels, strict=True)
        for image, label in zip(table.images, part, strict=True)
        if np.isfinite(label)
    ]
    if not named:
        return None
    values = np.array([label for _, label in named])
    return LabelCount((float(values.min()), float(values.max())), _histogram(values), named[0], named[-1])


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
