"""Pairs: two images of one subject and the change of a label between them.

Which of the two comes first is drawn by a seed: had y always the larger label, a correlation would
measure something else. Training pairs are drawn anew each epoch; evaluation pairs are one fixed list.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.core.card import PairRule
from comface_bench.core.errors import DataFormatError
from comface_bench.data.manifest import Manifest

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


_MOST_DIGITS = 18
"""Of a number in an identifier; Python refuses to read those of thousands of digits."""


@dataclass(frozen=True, eq=False)
class PairList:
    """Pairs of manifest rows.

    Attributes:
        x, y: Rows of the first and second image, int64 (n,).
        target: label(y) − label(x), float64 (n,), in the label's unit.
        subject: The subject's number, its position among the manifest's sorted subjects, int64 (n,).
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    target: NDArray[np.float64]
    subject: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def frame(self) -> pd.DataFrame:
        """The pairs as a pandas table with the columns x, y, target and subject."""
        import pandas as pd

        return pd.DataFrame({"x": self.x, "y": self.y, "target": self.target, "subject": self.subject})


@dataclass(frozen=True, eq=False)
class PairGroup:
    """Images that are paired with each other: one subject's, or one session's of a subject.

    Attributes:
        first: NDArray[np.int64] of the images, int64 (n,).
        second: None pairs each image of `first` with each other one of them; rows pair each of `first`
            with each of `second`.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64] | None = None

    @property
    def count(self) -> int:
        """Number of unordered pairs."""
        n = len(self.first)
        return n * (n - 1) // 2 if self.second is None else n * len(self.second)


class PairSampler:
    """Draws pairs from the images of one data set that carry a label.

    Args:
        manifest: The data set.
        labels: Label of each image, float64 (number of images,); NaN keeps an image out.
    """

    def __init__(self, manifest: Manifest, labels: NDArray[np.float64]) -> None:
        self.manifest = manifest
        self._labels = labels
        numbers = {subject: number for number, subject in enumerate(manifest.subject_names)}
        self._number = np.array([numbers[subject] for subject in manifest.subjects], dtype=np.int64)
        self._rows: dict[str, list[int]] = {subject: [] for subject in manifest.subject_names}
        for row, subject in enumerate(manifest.subjects):
            if not np.isnan(labels[row]):
                self._rows[subject].append(row)
        self._by_number = list(self._rows.values())
        self._ordinal = np.zeros(len(manifest), dtype=np.int64)
        for rows in self._rows.values():
            self._ordinal[rows] = np.arange(len(rows))

    def counts(self, rule: PairRule = "all") -> dict[str, int]:
        """Return each subject's number of unordered pairs that a rule allows."""
        return {subject: _size(self._enumerate(subject, rule)) for subject in self._rows}

    def count_images(self, subjects: Iterable[str]) -> int:
        """Return how many images of the subjects carry a label."""
        return sum(len(self._rows[subject]) for subject in subjects)

    def groups(self, subjects: Iterable[str], rule: PairRule) -> list[PairGroup]:
        """Describe all pairs that a rule allows, without listing them; groups without a pair are left out."""
        found = []
        for subject in sorted(subjects):
            rows = self._rows[subject]
            if rule == "all":
                groups = [PairGroup(np.array(rows, dtype=np.int64))]
            else:
                groups = [self._phases(part) for part in self._sessions(rows, rule)]
            found += [group for group in groups if group.count]
        return found

    def _sessions(self, rows: list[int], rule: PairRule) -> Iterable[list[int]]:
        """Divide a subject's rows into those that may meet: all of them, or each session by itself."""
        if rule == "pre-post":
            return [rows]
        sessions: dict[str, list[int]] = {}
        for row in rows:
            # Images of unknown days are of no day together.
            if (session := self.manifest.sessions[row]) is not None:
                sessions.setdefault(session, []).append(row)
        return sessions.values()

    def _phases(self, rows: list[int]) -> PairGroup:
        """Pair the images before treatment with those after it."""
        pre, post = (
            np.array([row for row in rows if self.manifest.phases[row] == phase], dtype=np.int64)
            for phase in ("pre", "post")
        )
        return PairGroup(pre, post)

    def identifiers(self, pairs: PairList) -> list[str]:
        """Return a name for each pair that reveals nothing: subject-x-y, all ordinal numbers."""
        columns = (pairs.subject, self._ordinal[pairs.x], self._ordinal[pairs.y])
        return [f"{subject}-{x}-{y}" for subject, x, y in zip(*columns, strict=True)]

    def find_images(self, identifier: str) -> tuple[int, int] | None:
        """Return the rows of a pair's images by its identifier; None if no pair here is called so."""
        parts = identifier.split("-")
        if len(parts) != 3 or not all(part.isdecimal() and len(part) <= _MOST_DIGITS for part in parts):
            return None
        subject, x, y = map(int, parts)
        rows = self._by_number[subject] if subject < len(self._by_number) else []
        return (rows[x], rows[y]) if max(x, y) < len(rows) else None

    def draw(self, subjects: Iterable[str], rule: PairRule, count: int, seed: int) -> PairList:
        """Draw training pairs with replacement, uniformly over all pairs of the subjects.

        Args:
            subjects: Subjects whose pairs are taken.
            rule: Pairs that are allowed.
            count: Number of pairs.
            seed: Of the draw.

        Raises:
            DataFormatError: The subjects have no pair.
        """
        random = np.random.default_rng(seed)
        tables = [self._enumerate(subject, rule) for subject in sorted(subjects)]
        weights = np.array([_size(table) for table in tables], dtype=np.float64)
        if not weights.sum():
            raise DataFormatError(f"{self.manifest.name}: the training subjects have no pair")
        chosen = random.choice(len(tables), size=count, p=weights / weights.sum())
        place, swap = random.random(count), random.random(count) < 0.5
        x, y = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
        for number in np.unique(chosen):
            here = chosen == number
            index = (place[here] * _size(tables[number])).astype(np.int64)
            x[here], y[here] = _take(tables[number], index)
        return self._pairs(x, y, swap)

    def list_pairs(
        self, subjects: Iterable[str], rule: PairRule, per_subject: int | None, seed: int
    ) -> PairList:
        """List the evaluation pairs of the subjects, in a fixed order.

        Args:
            subjects: Subjects whose pairs are taken.
            rule: Pairs that are allowed.
            per_subject: Cap on each subject's pairs, drawn without replacement; None takes all.
            seed: Of the cap and of the orientation. A subject's pairs don't depend on the others.

        Raises:
            DataFormatError: The subjects have no pair.
        """
        xs, ys, swaps = [], [], []
        for subject in sorted(subjects):
            # By the name, not the number: who else is there doesn't matter.
            random = np.random.default_rng([seed, *self.manifest.own_name(subject).encode()])
            table = self._enumerate(subject, rule)
            count = _size(table)
            if per_subject is None or count <= per_subject:
                index = np.arange(count)
            else:
                index = np.sort(random.choice(count, per_subject, replace=False))
            x, y = _take(table, index)
            xs.append(x)
            ys.append(y)
            swaps.append(random.random(len(index)) < 0.5)
        if not sum(map(len, xs)):
            raise DataFormatError(
                f"{self.manifest.name}: the evaluation subjects have no pair of rule {rule!r}"
            )
        return self._pairs(np.concatenate(xs), np.concatenate(ys), np.concatenate(swaps))

    def _enumerate(self, subject: str, rule: PairRule) -> _All | _Listed:
        rows = self._rows[subject]
        if rule == "all":
            return _All(np.array(rows, dtype=np.int64))
        phases, sessions = self.manifest.phases, self.manifest.sessions
        listed = [
            (pre, post)
            for pre in rows
            for post in rows
            if phases[pre] == "pre"
            and phases[post] == "post"
            and (rule == "pre-post" or sessions[pre] == sessions[post] is not None)
        ]
        return _Listed(np.array(listed, dtype=np.int64).reshape(-1, 2))

    def _pairs(
        self, first: NDArray[np.int64], second: NDArray[np.int64], swap: NDArray[np.bool_]
    ) -> PairList:
        x, y = np.where(swap, second, first), np.where(swap, first, second)
        return PairList(x, y, self._labels[y] - self._labels[x], self._number[x])


@dataclass(frozen=True, eq=False)
class _All:
    """All unordered pairs of some rows, numbered without being listed."""

    rows: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Listed:
    """Pairs that are listed one by one, int64 (n, 2)."""

    pairs: NDArray[np.int64]


def _size(table: _All | _Listed) -> int:
    if isinstance(table, _Listed):
        return len(table.pairs)
    return len(table.rows) * (len(table.rows) - 1) // 2


def _take(table: _All | _Listed, index: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if isinstance(table, _Listed):
        return table.pairs[index, 0], table.pairs[index, 1]
    i, j = unrank(index)
    return table.rows[i], table.rows[j]


def unrank(index: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs (i, j), i < j, at places of the list (0,1), (0,2), (1,2), (0,3) and so on.

    Exact for every list that fits into memory: j is taken back by one where floating point has
    rounded the square root up to a whole number.
    """
    j = ((1 + np.sqrt(1 + 8 * index.astype(np.float64))) / 2).astype(np.int64)
    j = np.where(j * (j - 1) // 2 > index, j - 1, j)
    return index - j * (j - 1) // 2, j
