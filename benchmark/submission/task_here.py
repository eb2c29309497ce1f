"""A record's task against the one here: card, split, data, pairs and true changes."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.card import card_digest
from comface_bench.core.errors import BenchError
from comface_bench.core.names import format_name, parse_name
from comface_bench.core.options import differing_task_options
from comface_bench.submission.card_here import OTHER_RELEASE, same_card
from comface_bench.submission.text import show

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comface_bench.core.card import TaskCard
    from comface_bench.core.registry import Entry
    from comface_bench.data.manifest import Manifest
    from comface_bench.data.splits import Split
    from comface_bench.data.task import Task
    from comface_bench.results.predictions import Prediction
    from comface_bench.results.schema import TaskInfo

Problem = tuple[str, str]
Tables = dict[tuple[str, Path], "Manifest"]
"""Data sets that were read, by loader and folder; several tasks share them."""


def check_task(
    info: TaskInfo,
    entry: Entry[TaskCard],
    rows: Sequence[Prediction],
    data: Path | None,
    tables: Tables,
    unchecked: list[str],
) -> Iterator[Problem]:
    """Yield (field, what is wrong) of a task.

    Args:
        info: As the record has it.
        entry: The task of that name here.
        rows: The record's predictions.
        data: Data root of what doesn't ship; None looks at shipped data only.
        tables: Data sets read so far.
        unchecked: Told what can't be looked at.
    """
    from comface_bench.data.task import configure

    _, options = parse_name(info.name)
    if options.setdefault("split", info.split) != info.split or info.split not in entry.card.splits:
        yield "task.split", f"{show(info.split)} isn't a split that {entry.card.name} offers"
        return
    try:
        card, chosen = configure(entry, options)
    except BenchError as error:
        yield "task.name", error.message
        return
    if info.name != (wanted := format_name(card.name, differing_task_options(card, chosen))):
        yield "task.name", f"with these options it is called {wanted}"
    if info.card_digest != card_digest(card) or not same_card(info.card, card):
        yield "task.card", f"not the card of {card.name} here: {OTHER_RELEASE}"
        return
    if info.folds != len(info.fold_subjects):
        yield "task.folds", f"{info.folds}, but subjects of {len(info.fold_subjects)} folds are listed"
        return
    task = open_here(entry, options, data, tables, unchecked)
    if task is None:
        yield from check_split_file(info, card, unchecked)
    elif info.manifest_digest != task.table.digest:
        yield "task.manifest_digest", f"not the data that {card.name} has here"
    else:
        yield from _check_folds(info, task.split, task.table.subject_names)
        yield from _check_truth(task, info, rows)


def open_here(
    entry: Entry[TaskCard], options: dict[str, str], data: Path | None, tables: Tables, unchecked: list[str]
) -> Task | None:
    """Open a task with its data, or say why not."""
    from comface_bench.data.task import open_task

    name = entry.card.name
    if not entry.card.ships and data is None:
        unchecked.append(f"{name}: manifest digest and true changes, because its data aren't here")
        return None
    try:
        return open_task(entry, options, data, tables)
    except BenchError as error:
        unchecked.append(f"{name}: manifest digest and true changes ({error.message})")
        return None


def check_split_file(info: TaskInfo, card: TaskCard, unchecked: list[str]) -> Iterator[Problem]:
    """Compare with a published split where the data aren't here; subjects are numbered by their names."""
    from comface_bench.data.splits import read_split

    published = Path(str(importlib.resources.files("comface_bench.tasks"))) / "splits" / f"{info.split}.json"
    if card.test_data is not None or not published.is_file():
        unchecked.append(
            f"{info.name}: digest and subjects of split {info.split}, which follow from the data"
        )
        return
    split = read_split(published)
    yield from _check_folds(info, split, sorted(split.subjects))


def _check_folds(info: TaskInfo, split: Split, subjects: Sequence[str]) -> Iterator[Problem]:
    from comface_bench.data.splits import PARTS
    from comface_bench.results.schema import FoldSubjects

    if info.split_digest != split.digest:
        yield "task.split_digest", f"not the published folds of {info.split}"
    if info.folds != len(split.folds):
        yield "task.folds", f"{info.folds}, but {info.split} has {len(split.folds)}"
        return
    number = {subject: place for place, subject in enumerate(subjects)}
    for place, (fold, told) in enumerate(zip(split.folds, info.fold_subjects, strict=True)):
        expected = FoldSubjects.of(*([number[name] for name in fold.subjects(part)] for part in PARTS))
        if told != expected:
            yield f"task.fold_subjects.{place}", f"not the subjects of fold {place} of {info.split}"


def _check_truth(task: Task, info: TaskInfo, rows: Sequence[Prediction]) -> Iterator[Problem]:
    """Compare pairs, subjects and true changes with those that the task has."""
    told: dict[tuple[int, int], set[tuple[str, int, float]]] = {}
    for row in rows:
        told.setdefault((row.fold, row.seed), set()).add((row.pair_id, row.subject, row.y))
    for (fold, seed), pairs in sorted(told.items()):
        if fold >= min(info.folds, len(task.folds)):
            continue
        listed = task.pairs(fold, "test")
        names = task.sampler.identifiers(listed)
        truth = {
            (name, int(subject), float(target))
            for name, subject, target in zip(names, listed.subject, listed.target, strict=True)
        }
        if pairs != truth:
            count = len(pairs ^ truth)
            yield f"predictions, fold {fold}, seed {seed}", f"{count} pairs or true changes aren't the task's"
