"""Where the models of a record are: beside it, in the folder `<method>.models`, a file for each unit.

They are no part of the record, which is the same with and without them; nothing that reads records reads
them. A file's name begins with fold, seed and key of its unit and ends with the digest of the predictions
that the unit is stored with, so that models of a record that was set aside, or of a unit that is being run
again, stand beside the others and none is taken for another.
"""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from comface_bench.results.predictions import FoldSeed

ENDING = ".safetensors"


class StoredUnit(Protocol):
    """What names a stored unit's model."""

    @property
    def key(self) -> str:
        """The unit's key."""

    @property
    def predictions_digest(self) -> str:
        """Digest of its stored predictions."""


class ModelFiles:
    """The models of a record.

    Args:
        record: The record's JSON; one that was set aside (`<method>@<digest>.json`) shares the folder.

    Attributes:
        folder: Where they are; there only if there is one.
    """

    def __init__(self, record: Path) -> None:
        stem = record.name.removesuffix(".json").partition("@")[0]
        self.folder = record.with_name(f"{stem}.models")

    def path(self, place: FoldSeed, unit: StoredUnit) -> Path:
        """Return the file of a unit, whether it is there or not."""
        return self.folder / f"{_begin(place, unit.key)}{unit.predictions_digest[:12]}{ENDING}"

    def missing(self, units: Iterable[tuple[FoldSeed, StoredUnit]]) -> set[str]:
        """Return the keys of units that have no file."""
        return {unit.key for place, unit in units if not self.path(place, unit).exists()}

    def remove_earlier(self, place: FoldSeed, unit: StoredUnit) -> None:
        """Remove what an earlier run of a unit left, once the unit is stored anew."""
        for path in self.folder.glob(f"{glob.escape(_begin(place, unit.key))}*{ENDING}"):
            if path != self.path(place, unit):
                with contextlib.suppress(OSError):
                    path.unlink()


def _begin(place: FoldSeed, key: str) -> str:
    fold, seed = place
    return f"{fold}-{seed}-{key[:12]}-"
