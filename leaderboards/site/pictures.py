"""Pairs of faces with what was true and what was estimated, as pictures where pictures may be shown.

They may of the data sets that ship: rendered faces, CC0. A record's pairs are shown only if its data is,
image by image, what ships here, by the manifest's digest; those of any other data set stay numbers.
"""

from __future__ import annotations

import dataclasses
import math
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from comface_bench.core.errors import BenchError
from comface_bench.core.names import parse_name
from comface_bench.core.registry import task_registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from comface_bench.data.task import Task
    from comface_bench.results.schema import Record
    from comface_bench.stats.predictions import Columns

FOLDER = "pictures"
EACH = 2
"""Best and worst pairs of a record that are shown."""
RENDERED = "synthfaces/"
"""Begins the names of the data sets that ship."""


@dataclasses.dataclass(frozen=True)
class PicturedPair:
    """Two pictures of one person.

    Attributes:
        first, second: Paths in the site's folder.
        y, yhat: True and estimated change from the first to the second, in the target's unit.
        subject: The person's number.
    """

    first: str
    second: str
    y: float
    yhat: float
    subject: int


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Pairs of one record, among those with at least the median change, no person twice in a list.

    Attributes:
        best, worst: Of the smallest and the largest error.
        typical: Of the median error.
    """

    best: tuple[PicturedPair, ...]
    worst: tuple[PicturedPair, ...]
    typical: PicturedPair


class _Row(NamedTuple):
    error: float
    pair: str
    subject: int
    y: float
    yhat: float


class Pictures:
    """Pictures of the data sets that ship, and those of them that pages show.

    Attributes:
        files: Bytes of the pictures that were asked for, by path in the site's folder.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self._tasks: dict[str, Task | None] = {}

    def choose(self, record: Record, columns: Iterable[Columns]) -> Gallery | None:
        """Choose pairs of a record; None where its pictures may not be shown, or aren't here.

        Args:
            record: Whose data is compared with what ships.
            columns: Its predictions, by fold and seed.
        """
        task = self._task_of(record)
        rows = _large_changes(columns)
        if task is None or not rows:
            return None
        rows.sort()
        middle = rows[(len(rows) - 1) // 2]
        parts = [self._show(task, one) for one in (_each(rows), _each(reversed(rows)), [middle])]
        if not all(parts):
            return None
        best, worst, typical = parts
        return Gallery(tuple(best), tuple(worst), typical[0])

    def _task_of(self, record: Record) -> Task | None:
        """Open the shipped task of a record, if its data is the same; a plugin's is never asked for."""
        if not record.task.data.startswith(RENDERED):
            return None
        name = parse_name(record.task.name)[0]
        if name not in self._tasks:
            self._tasks[name] = _open(name)
        task = self._tasks[name]
        same = task is not None and task.table.digest == record.task.manifest_digest
        return task if same else None

    def _show(self, task: Task, rows: Iterable[_Row]) -> list[PicturedPair]:
        """Take the pictures of pairs; of none, if the labels don't say what the record does."""
        shown = []
        for row in rows:
            images = _images(task, row.pair)
            if images is None:
                return []
            labels = task.labels
            if not math.isclose(labels[images[1]] - labels[images[0]], row.y, abs_tol=1e-9):
                return []
            first, second = (self._keep(task, image) for image in images)
            shown.append(PicturedPair(first, second, row.y, row.yhat, row.subject))
        return shown

    def _keep(self, task: Task, image: int) -> str:
        path = f"{FOLDER}/{task.table.contents[image][:16]}.jpg"
        if path not in self.files:
            self.files[path] = (task.table.root / task.table.images[image]).read_bytes()
        return path


def _open(name: str) -> Task | None:
    from comface_bench.data.task import load_task

    # What comes with comface-bench has no source of its own.
    cards = [entry.card for entry in task_registry().declared() if entry.source is None]
    if not any(card.name == name and card.ships for card in cards):
        return None
    try:
        return load_task(name)
    except BenchError:
        # An installation without the pictures: pages do without them.
        return None


def _images(task: Task, pair: str) -> tuple[int, int] | None:
    """Return the images of a pair by its identifier: numbers of the subject and of its labelled images."""
    parts = pair.split("-")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        return None
    subject, first, second = map(int, parts)
    names = task.table.subject_names
    if subject >= len(names):
        return None
    rows = [
        row
        for row, name in enumerate(task.table.subjects)
        if name == names[subject] and not math.isnan(task.labels[row])
    ]
    return (rows[first], rows[second]) if max(first, second) < len(rows) else None


def _large_changes(columns: Iterable[Columns]) -> list[_Row]:
    """Return a record's predictions of changes, of those of at least their median size."""
    rows = [
        _Row(abs(y - yhat), pair, subject, y, yhat)
        for part in columns
        for pair, subject, y, yhat in zip(part.pairs, part.subjects, part.y, part.yhat, strict=True)
        if y
    ]
    least = median(abs(row.y) for row in rows) if rows else 0.0
    return [row for row in rows if abs(row.y) >= least]


def _each(rows: Iterable[_Row]) -> Iterator[_Row]:
    """Yield the first rows of `EACH` people."""
    seen: set[int] = set()
    for row in rows:
        if row.subject not in seen:
            seen.add(row.subject)
            yield row
        if len(seen) == EACH:
            return
