"""What changed in a data set: the table of a version that was run, kept, and compared with today's.

A record holds the digest of its data, which tells that they changed and not what. So each run keeps the table
of its data in the user's cache, under that digest: the data set's name, hashes of names and pictures, and
labels. No name of an image or a person, path or picture is in it.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comface_bench.core.errors import BenchError
from comface_bench.core.files import file_lock, replace_file
from comface_bench.core.weights import cache_folder
from comface_bench.data.manifest import Manifest

_DIGITS = 16
_SUFFIX = ".json.gz"
_SUBJECT, _PLACE, _CONTENT = range(3)
_MOST_NAMED = 3
"""Labels that are named; of more, their number is given."""


@dataclass(frozen=True)
class DataTable:
    """A data set's table as it is kept.

    Attributes:
        rows: Hash of an image's name → hashes of its subject, of its session and phase, and of the picture.
        labels: Name of a label → its values, by the hash of an image's name; None where an image lacks it.
    """

    rows: Mapping[str, Sequence[str]]
    labels: Mapping[str, Mapping[str, float | None]]

    @classmethod
    def of(cls, manifest: Manifest) -> DataTable:
        """Return the table of a manifest."""
        images = [_hash(name) for name in manifest.images]
        places = zip(manifest.sessions, manifest.phases, strict=True)
        rows = zip(
            map(_hash, manifest.subjects),
            (_hash(json.dumps(place)) for place in places),
            (content[:_DIGITS] for content in manifest.contents),
            strict=True,
        )
        labels = {
            name: {
                image: None if math.isnan(value) else value
                for image, value in zip(images, values.tolist(), strict=True)
            }
            for name, values in manifest.labels.items()
        }
        return cls(dict(zip(images, rows, strict=True)), labels)


def keep_table(manifest: Manifest) -> None:
    """Keep the table of a data set, if it isn't yet; a cache that can't be written keeps none."""
    path = _path(manifest.digest)
    if path.exists():
        return
    table = DataTable.of(manifest)
    images = list(table.rows)
    facts = {
        "data": manifest.name,
        "images": images,
        "rows": [table.rows[image] for image in images],
        "labels": {name: [values[image] for image in images] for name, values in table.labels.items()},
    }
    # Another process may be keeping it at the moment, and no run depends on it.
    with contextlib.suppress(OSError, BenchError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(path.with_suffix(".lock"), timeout=0, remove=True):
            replace_file(path, gzip.compress(json.dumps(facts).encode(), mtime=0))


def read_table(digest: str) -> DataTable | None:
    """Return the table of the data set of some digest; None where it isn't kept, or damaged."""
    facts = _read(_path(digest))
    return None if facts is None else facts[0]


def _read(path: Path) -> tuple[DataTable, dict[str, object]] | None:
    """Return a kept table and what is said of it; None where it isn't there, or damaged."""
    try:
        facts: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
        images = facts["images"]
        rows = {
            image: (str(subject), str(place), str(content))
            for image, (subject, place, content) in zip(images, facts["rows"], strict=True)
        }
        labels = {name: dict(zip(images, values, strict=True)) for name, values in facts["labels"].items()}
        about = {"data": str(facts.get("data", "")), "images": len(images)}
    except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, AttributeError):
        return None
    return DataTable(rows, labels), about


@dataclass(frozen=True, eq=False)
class KeptTable:
    """A kept table on disk.

    Attributes:
        path: Its file.
        size: Bytes.
        used: When it was written, in seconds since 1970.
        about: `data`, the data set's name, and `images`, their number; nothing where it is damaged.
    """

    path: Path
    size: int
    used: float
    about: Mapping[str, object]

    @property
    def key(self) -> str:
        """Digest of the data."""
        return self.path.name.removesuffix(_SUFFIX)

    def find_damaged(self) -> list[Path]:
        """Read it; return its file if it is damaged."""
        return [] if _read(self.path) else [self.path]

    def remove(self) -> bool:
        """Remove it; return whether it is gone."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        return not self.path.exists()


def list_tables(folder: Path) -> list[KeptTable]:
    """Return the tables in a folder; none where there is no folder."""
    found = []
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        with contextlib.suppress(OSError):  # Another process may remove it meanwhile.
            state, read = path.stat(), _read(path)
            found.append(KeptTable(path, state.st_size, state.st_mtime, read[1] if read else {}))
    return found


def describe_changes(before: DataTable, now: DataTable) -> str:
    """Say what changed, such as `2 images added, 1 picture changed, 3 labels of age changed`.

    A picture that stands under another name counts as renamed, whatever its labels are there. Nothing is said
    where nothing changed.
    """
    gone, new = before.rows.keys() - now.rows.keys(), now.rows.keys() - before.rows.keys()
    common = sorted(before.rows.keys() & now.rows.keys())
    lost, found = (
        Counter(table.rows[image][_CONTENT] for image in images)
        for table, images in ((before, gone), (now, new))
    )
    renamed = (lost & found).total()
    people = [{row[_SUBJECT] for row in table.rows.values()} for table in (before, now)]
    differ = [
        sum(before.rows[image][column] != now.rows[image][column] for image in common)
        for column in (_SUBJECT, _PLACE, _CONTENT)
    ]
    said = [
        _say(len(people[1] - people[0]), "person", "people", "added"),
        _say(len(people[0] - people[1]), "person", "people", "removed"),
        _say(len(new) - renamed, "image", "images", "added"),
        _say(len(gone) - renamed, "image", "images", "removed"),
        _say(renamed, "image", "images", "renamed"),
        _say(differ[_CONTENT], "picture", "pictures", "changed"),
        _say(differ[_SUBJECT], "image is", "images are", "of another person"),
        _say(differ[_PLACE], "image is", "images are", "of another session or phase"),
        *_describe_labels(before, now, common),
    ]
    return ", ".join(filter(None, said))


def _describe_labels(before: DataTable, now: DataTable, images: Sequence[str]) -> list[str]:
    changed = {
        name: sum(before.labels[name][image] != now.labels[name][image] for image in images)
        for name in sorted(before.labels.keys() & now.labels.keys())
    }
    changed = {name: count for name, count in changed.items() if count}
    names = f"of {', '.join(changed)} " if len(changed) <= _MOST_NAMED else f"of {len(changed)} quantities "
    said = [_say(sum(changed.values()), "label", "labels", f"{names}changed")]
    for what, columns in {
        "new": now.labels.keys() - before.labels.keys(),
        "gone": before.labels.keys() - now.labels.keys(),
    }.items():
        if columns:
            said.append(f"label {', '.join(sorted(columns))} is {what}")
    return said


def _say(count: int, one: str, many: str, what: str) -> str:
    return f"{count:,} {one if count == 1 else many} {what}" if count else ""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _path(digest: str) -> Path:
    return cache_folder() / "tables" / f"{digest}{_SUFFIX}"
