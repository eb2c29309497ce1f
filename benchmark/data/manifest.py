"""Manifests: the table of a data set's images, with a digest over its rows and the images' contents."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from comface_bench.core.display import short_repr
from comface_bench.core.errors import DataFormatError, DataMissingError
from comface_bench.core.problems import Note, ProblemList

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


_FIXED = ("image", "subject", "session", "phase")
_UNHASHED = ("frame", "where")
"""What rows may tell besides, which is no label and no part of the digest."""
_UNKNOWN = "Leave the cell empty if it is unknown."


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
        places: File and line that each row comes from, for messages only; where there are none, messages name
            the image.
        notes: Entries that the loader left out on purpose, as sentences; no part of the digest.
        joined: Two data sets side by side, made by `join`.
        video: Images are frames of videos, where neighbours may be equal and have two labels; no part of the
            digest.
    """

    name: str
    root: Path
    images: tuple[str, ...]
    subjects: tuple[str, ...]
    sessions: tuple[str | None, ...]
    phases: tuple[str | None, ...]
    labels: Mapping[str, NDArray[np.float64]]
    contents: tuple[str, ...]
    places: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    joined: bool = False
    video: bool = False

    @classmethod
    def from_rows(
        cls,
        name: str,
        root: Path,
        rows: Iterable[Mapping[str, Any] | Note],
        problems: ProblemList | None = None,
    ) -> Manifest:
        """Build a manifest from a loader's rows.

        Args:
            name: Name of the data set.
            root: Folder that image names are relative to.
            rows: Mappings with `image` and `subject`, optionally `session`, `phase`, `frame` (in a video) and
                `where` (file and line, for messages); every other column is a label. Notes may stand between.
            problems: Where to note what is wrong; the rows concerned are left out. None raises it all.

        Raises:
            DataProblemsError: An image leaves the root, isn't there, stands twice, has no subject or an
                unreadable label; and whatever the loader itself found. Only without `problems`.
            DataMissingError: There are no rows.
        """
        noted = ProblemList() if problems is None else problems
        before = len(noted)
        found: list[Mapping[str, Any]] = []
        notes: list[str] = []
        with noted.collect():
            for row in rows:
                if isinstance(row, Note):
                    notes.append(row.text)
                else:
                    found.append(row)
        found.sort(key=lambda row: str(row["image"]))
        found = _without_repeats(found, noted)
        found = [row for row in found if _has_subject(row, noted)]
        known = sorted({column for row in found for column in row} - {*_FIXED, *_UNHASHED})
        columns = {column: [_label(row, column, noted) for row in found] for column in known}
        contents = digest_contents(root, found, noted)
        kept = [place for place, content in enumerate(contents) if content is not None]
        if problems is None:
            noted.raise_any()
        if not kept and len(noted) == before:
            raise DataMissingError(
                f"{name}: no images under {root}",
                "Put them there, or point --data at the folder that holds them.",
            )
        return cls(
            name=name,
            root=root,
            images=tuple(str(found[place]["image"]) for place in kept),
            subjects=tuple(str(found[place]["subject"]) for place in kept),
            sessions=tuple(_optional(found[place].get("session")) for place in kept),
            phases=tuple(_optional(found[place].get("phase")) for place in kept),
            labels={
                column: np.array([values[place] for place in kept], dtype=np.float64)
                for column, values in columns.items()
            },
            contents=tuple(content for content in contents if content is not None),
            places=tuple(row_place(found[place]) for place in kept),
            notes=tuple(notes),
            video=any(row.get("frame") for row in found),
        )

    @classmethod
    def join(cls, first: Manifest, second: Manifest) -> Manifest:
        """Put two data sets side by side under one root; images and subjects get their folder's name.

        Args:
            first: A manifest.
            second: Another, whose root lies in the same folder.

        Raises:
            DataFormatError: They have no label in common, or their roots aren't two folders in one.
        """
        common = sorted(set(first.labels) & set(second.labels))
        if not common:
            raise DataFormatError(f"{first.name} and {second.name} have no label in common")
        if first.root.parent != second.root.parent or first.root.name == second.root.name:
            raise DataFormatError(
                f"{first.root} and {second.root} don't lie side by side",
                "Put the two data sets into two folders of one folder, and let the card name these.",
            )
        parts = (first, second)

        def prefixed(names: str) -> tuple[str, ...]:
            return tuple(f"{part.root.name}/{name}" for part in parts for name in getattr(part, names))

        return cls(
            name=f"{first.name} and {second.name}",
            root=first.root.parent,
            images=prefixed("images"),
            subjects=prefixed("subjects"),
            sessions=first.sessions + second.sessions,
            phases=first.phases + second.phases,
            labels={column: np.concatenate([part.labels[column] for part in parts]) for column in common},
            contents=first.contents + second.contents,
            places=first.places + second.places,
            notes=first.notes + second.notes,
            joined=True,
            video=first.video or second.video,
        )

    def own_name(self, name: str) -> str:
        """Return an image's or subject's name in its own data set, by which draws are seeded."""
        return name.partition("/")[2] if self.joined else name

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return short_repr("Manifest", self.name, self.size_text)

    @property
    def size_text(self) -> str:
        """How many images there are, and of how many people."""
        return f"{len(self):,} images of {len(self.subject_names):,} people"

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
            DataFormatError: There is no such column.
            DataProblemsError: Values leave the range.
        """
        if column not in self.labels:
            offered = ", ".join(sorted(self.labels)) or "none"
            raise DataFormatError(f"{self.name} has no label {column!r}; it has: {offered}")
        values = self.labels[column]
        low, high = label_range
        with np.errstate(invalid="ignore"):
            outside = np.flatnonzero((values < low) | (values > high))
        problems = ProblemList()
        for row in outside:
            problems.add(
                (self.places or self.images)[row],
                f"{column} is {values[row]:g}, not within {low:g} to {high:g}",
                "Correct the label, or take the image out.",
            )
        problems.raise_any()
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


def _optional(value: Any) -> str | None:
    return None if value is None else str(value)


def _without_repeats(rows: list[Mapping[str, Any]], problems: ProblemList) -> list[Mapping[str, Any]]:
    """Keep the first of the rows of one image; rows are sorted by image."""
    kept: list[Mapping[str, Any]] = []
    for row in rows:
        if kept and kept[-1]["image"] == row["image"]:
            problems.add(
                row_place(row),
                f"{row['image']} stands twice",
                "One row an image; crop each face into an image of its own.",
            )
        else:
            kept.append(row)
    return kept


def _has_subject(row: Mapping[str, Any], problems: ProblemList) -> bool:
    if str(row["subject"]).strip():
        return True
    problems.add(row_place(row), "the subject is empty", "Name the person, by a number or pseudonym.")
    return False


def _label(row: Mapping[str, Any], column: str, problems: ProblemList) -> float:
    value = row.get(column)
    if value is None:
        return math.nan
    try:
        # Python would read 7_5 as 75.
        number = float(value.replace("_", "x") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        problems.add(row_place(row), f"{column} is {value!r}, not a number", _UNKNOWN)
        return math.nan
    if not math.isfinite(number):
        problems.add(
            row_place(row),
            f"{column} is {value!r}, not a finite number",
            _UNKNOWN,
        )
        return math.nan
    return number


_CHUNK = 1024
"""Files that one thread hashes in a row; single files would cost more in switching than in hashing."""

_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
"""A pipe in place of an image isn't waited for."""

_PLAIN = re.compile(r"(?:[^/.][^/]*/)*[^/.][^/]*", re.DOTALL)
"""Names that need no closer look: no part is empty or begins with a point."""


def digest_contents(root: Path, rows: Sequence[Mapping[str, Any]], problems: ProblemList) -> list[str | None]:
    """Return the SHA-256 of each row's image file, or None where there is a problem with it.

    Every file is read each time. A digest that was kept under a file's size and times would be believed of a
    file that was replaced with both kept, and reading costs little beside what follows.

    Args:
        root: Folder that image names are relative to.
        rows: A loader's rows.
        problems: Receives images that leave the root, by `..` or a link, or aren't files.
    """
    names = [_plain_name(root, row, problems) for row in rows]
    folders: dict[str, str | None] = {}
    real_root = os.path.realpath(root)
    # Links are looked up here and not in the threads: one look a folder serves all its images.
    inside = [
        name is not None and _is_inside(root, name, real_root, folders, row, problems)
        for name, row in zip(names, rows, strict=True)
    ]
    paths = [f"{root}/{name}" if here else None for name, here in zip(names, inside, strict=True)]
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hashed = [content for part in pool.map(_hash_all, chunks) for content in part]
    lost = [row for row, path, content in zip(rows, paths, hashed, strict=True) if path and content is None]
    if lost:
        from comface_bench.data.image_file import explain_missing

        listings: dict[Path, dict[str, list[str]]] = {}
        for row in lost:
            plain = f"{row['image']} isn't a file under {root}", "Put it there, or take the row out."
            problems.add(row_place(row), *(explain_missing(root, str(row["image"]), listings) or plain))
    return hashed


def row_place(row: Mapping[str, Any]) -> str:
    """Return where a loader's row comes from, for messages: file and line, else the image's name."""
    return str(row.get("where") or row["image"])


def _plain_name(root: Path, row: Mapping[str, Any], problems: ProblemList) -> str | None:
    text = str(row["image"])
    if _PLAIN.fullmatch(text):
        return text
    name = PurePosixPath(text)
    if name.is_absolute() or ".." in name.parts:
        problems.add(row_place(row), f"{name} leaves the data root", f"Name it relative to {root}.")
        return None
    if not name.parts:
        problems.add(row_place(row), f"image {text!r} names no file", "Name one, or take the row out.")
        return None
    if str(name) != text:
        # `./a.jpg` and `a//b.jpg` would let one file stand twice under two names.
        problems.add(row_place(row), f"image {text!r} is written plainly as {str(name)!r}", "Write it so.")
        return None
    return text


def _is_inside(
    root: Path,
    name: str,
    real_root: str,
    folders: dict[str, str | None],
    row: Mapping[str, Any],
    problems: ProblemList,
) -> bool:
    folder = name.rpartition("/")[0]
    if folder not in folders:
        folders[folder] = _resolve_inside(f"{root}/{folder}", real_root)
    path = f"{root}/{name}"
    linked = os.path.islink(path)  # noqa: PTH114 - making a Path takes longer than the look itself
    if folders[folder] is not None and (not linked or _resolve_inside(path, real_root)):
        return True
    problems.add(
        row_place(row),
        f"{name} is a link that leaves the data root",
        "Copy the images, or point --data at the folder that really holds them.",
    )
    return False


def _resolve_inside(path: str, real_root: str) -> str | None:
    real = os.path.realpath(path)
    return real if real == real_root or real.startswith(real_root.rstrip("/") + "/") else None


def _hash_all(paths: Sequence[str | None]) -> list[str | None]:
    return [None if path is None else _hash(path) for path in paths]


def _hash(path: str) -> str | None:
    # Plain calls of the operating system: a data set has a hundred thousand small files.
    try:
        handle = os.open(path, _READ)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        digest = hashlib.sha256()
        while block := os.read(handle, 1 << 20):
            digest.update(block)
    except OSError:
        return None
    finally:
        os.close(handle)
    return digest.hexdigest()
