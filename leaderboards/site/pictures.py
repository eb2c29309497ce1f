"""Pairs of faces with what was true and what was estimated, as pictures where pictures may be shown.

They may of the data sets that ship: rendered faces, CC0. A record's pairs are shown only if its data is,
image by image, what ships here, by the manifest's digest; those of any other data set stay numbers.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from comface_bench.core.errors import BenchError
from comface_bench.core.registry import task_registry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from comface_bench.data.manifest import Manifest
    from comface_bench.data.task import Task
    from comface_bench.results.schema import Record
    from comface_bench.stats.predictions import Columns

FOLDER = "pictures"
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
    """Pairs of one record, of the larger half of changes.

    Attributes:
        best, worst: Of the smallest and the largest error.
        typical: Of the median error; None where it wasn't asked for.
    """

    best: PicturedPair
    worst: PicturedPair
    typical: PicturedPair | None = None


class _Row(NamedTuple):
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
        self._manifests: dict[tuple[str, Path], Manifest] = {}

    def choose(self, record: Record, columns: Sequence[Columns], *, typical: bool = False) -> Gallery | None:
        """Choose pairs of a record; None where its pictures may not be shown, or aren't here.

        Args:
            record: Whose data is compared with what ships.
            columns: Its predictions, by fold and seed.
            typical: Whether a pair of the median error is shown, too.
        """
        task = self._task_of(record)
        rows = [] if task is None else _choose(columns)[: 3 if typical else 2]
        pairs = [pair for row in rows if task is not None and (pair := self._show(task, row)) is not None]
        return Gallery(*pairs) if rows and len(pairs) == len(rows) else None

    def _task_of(self, record: Record) -> Task | None:
        """Open the shipped task of a record, if its data is the same; a plugin's is never asked for."""
        if not record.task.data.startswith(RENDERED):
            return None
        name = record.task.name.partition("+")[0]
        if name not in self._tasks:
            self._tasks[name] = self._open(name)
        task = self._tasks[name]
        same = task is not None and task.table.digest == record.task.manifest_digest
        return task if same else None

    def _open(self, name: str) -> Task | None:
        from comface_bench.data.task import open_task

        for entry in task_registry().declared():
            # What comes with comface-bench has no source of its own.
            if entry.card.name == name and entry.card.ships and entry.source is None:
                try:
                    return open_task(entry, {}, None, self._manifests)
                except BenchError:
                    # An installation without the pictures: pages do without them.
                    return None
        return None

    def _show(self, task: Task, row: _Row) -> PicturedPair | None:
        """Take the pictures of a pair; None if the labels don't say what the record does."""
        images = task.sampler.find_images(row.pair)
        if images is None:
            return None
        change = task.labels[images[1]] - task.labels[images[0]]
        if not math.isclose(change, row.y, abs_tol=1e-9):
            return None
        first, second = (self._keep(task, image) for image in images)
        return PicturedPair(first, second, row.y, row.yhat, row.subject)

    def _keep(self, task: Task, image: int) -> str:
        path = f"{FOLDER}/{task.table.contents[image][:16]}.jpg"
        if path not in self.files:
            self.files[path] = (task.table.root / task.table.images[image]).read_bytes()
        return path


def _choose(parts: Sequence[Columns]) -> list[_Row]:
    """Return the pairs of the smallest, largest and median error, of changes of at least the median size."""
    y = np.array([value for part in parts for value in part.y])
    yhat = np.array([value for part in parts for value in part.yhat])
    changed = np.flatnonzero(y)
    if not changed.size:
        return []
    large = changed[np.abs(y[changed]) >= np.median(np.abs(y[changed]))]
    order = large[np.argsort(np.abs(y - yhat)[large], kind="stable")]
    pairs = [pair for part in parts for pair in part.pairs]
    subjects = [subject for part in parts for subject in part.subjects]
    places = (order[0], order[-1], order[(len(order) - 1) // 2])
    return [_Row(pairs[i], subjects[i], float(y[i]), float(yhat[i])) for i in places]
