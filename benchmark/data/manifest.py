"""Manifests: the table of a data set's images."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from comface_bench.core.digest import digest_file
from comface_bench.core.errors import DataFormatError, DataMissingError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

_FIXED = ("image", "subject", "session", "phase")


@dataclass(frozen=True, eq=False)
class Manifest:
    """Images of a data set with subject, optional session and phase, and one column per label.

    Rows are sorted by image name. A label that an image lacks is NaN.

    Attributes:
        name: Name of the data set.
        root: Folder that image names are relative to.
        images: Relative names with forward slashes, all distinct.
        subjects, sessions, phases: One entry an image; sessions and phases may be None.
        labels: Label name → float64 array of shape (number of images,).
        contents: SHA-256 of each image file.
    """

    name: str
    root: Path
    images: tuple[str, ...]
    subjects: tuple[str, ...]
    sessions: tuple[str | None, ...]
    phases: tuple[str | None, ...]
    labels: Mapping[str, NDArray[np.float64]]
    contents: tuple[str, ...]

    @classmethod
    def from_rows(cls, name: str, root: Path, rows: Iterable[Mapping[str, Any]]) -> Manifest:
        """Build a manifest from a loader's rows.

        Args:
            name: Name of the data set.
            root: Folder that image names are relative to.
            rows: Mappings with `image` and `subject`, optionally `session`, `phase` and `where`
                (file and line, for messages); every other column is a label.

        Raises:
            DataFormatError: An image leaves the root, stands twice, or has an unreadable label.
            DataMissingError: There are no rows, or an image file doesn't exist.
        """
        found = sorted(rows, key=lambda row: str(row["image"]))
        if not found:
            raise DataMissingError(f"{name}: no images under {root}")
        known = {column for row in found for column in row} - {*_FIXED, "where"}
        for before, row in pairwise(found):
            if before["image"] == row["image"]:
                raise DataFormatError(f"{_where(row)}: {row['image']} stands twice")
        return cls(
            name=name,
            root=root,
            images=tuple(str(row["image"]) for row in found),
            subjects=tuple(str(row["subject"]) for row in found),
            sessions=tuple(_optional(row.get("session")) for row in found),
            phases=tuple(_optional(row.get("phase")) for row in found),
            labels={
                column: np.array([_label(row, column) for row in found], dtype=np.float64)
                for column in sorted(known)
            },
            contents=tuple(_content(root, row) for row in found),
        )

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all rows: names, subjects, sessions, phases, labels and image contents.

        It doesn't depend on the order of the loader's rows, nor on where the data set lies.
        """
        sha = hashlib.sha256()
        columns = sorted(self.labels)
        sha.update(json.dumps([*_FIXED, "content", *columns]).encode())
        for row in range(len(self)):
            values = [self.labels[column][row] for column in columns]
            plain = [None if math.isnan(value) else repr(float(value)) for value in values]
            facts = [
                self.images[row],
                self.subjects[row],
                self.sessions[row],
                self.phases[row],
                self.contents[row],
                *plain,
            ]
            sha.update(b"\n" + json.dumps(facts).encode())
        return sha.hexdigest()

    @cached_property
    def subject_names(self) -> tuple[str, ...]:
        """All subjects, sorted; a subject's number in results is its position here."""
        return tuple(sorted(set(self.subjects)))

    def target(self, column: str, label_range: tuple[float, float]) -> NDArray[np.float64]:
        """Return one label column, checked against its range; NaN where an image lacks it.

        Raises:
            DataFormatError: There is no such column, or a value leaves the range.
        """
        if column not in self.labels:
            offered = ", ".join(sorted(self.labels)) or "none"
            raise DataFormatError(f"{self.name} has no label {column!r}; it has: {offered}")
        values = self.labels[column]
        low, high = label_range
        with np.errstate(invalid="ignore"):
            outside = np.flatnonzero((values < low) | (values > high))
        if outside.size:
            first = int(outside[0])
            raise DataFormatError(
                f"{self.images[first]}: {column} is {values[first]:g}, not within {low:g} to {high:g}"
                f" ({outside.size} such images)"
            )
        return values

    @property
    def frame(self) -> pd.DataFrame:
        """The manifest as a pandas table with the columns image, subject, session, phase and labels."""
        import pandas as pd

        return pd.DataFrame(
            {
                "image": self.images,
                "subject": self.subjects,
                "session": self.sessions,
                "phase": self.phases,
                **self.labels,
            }
        )


def _where(row: Mapping[str, Any]) -> str:
    return str(row.get("where") or row["image"])


def _optional(value: Any) -> str | None:
    return None if value is None else str(value)


def _label(row: Mapping[str, Any], column: str) -> float:
    value = row.get(column)
    if value is None:
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise DataFormatError(f"{_where(row)}: {column} is {value!r}, not a number") from error
    if not math.isfinite(number):
        raise DataFormatError(f"{_where(row)}: {column} is {value!r}, not a finite number")
    return number


def _content(root: Path, row: Mapping[str, Any]) -> str:
    name = PurePosixPath(str(row["image"]))
    if name.is_absolute() or ".." in name.parts:
        raise DataFormatError(f"{_where(row)}: {name} leaves the data root")
    if str(name) != str(row["image"]):
        # `./a.jpg` and `a//b.jpg` would let one file stand twice under two names.
        raise DataFormatError(
            f"{_where(row)}: image {str(row['image'])!r} is written plainly as {str(name)!r}"
        )
    if not (root / name).is_file():
        raise DataMissingError(f"{_where(row)}: {name} isn't a file under {root}")
    return digest_file(root / name)
