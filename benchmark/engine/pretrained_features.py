"""Features of a pre-trained network, kept so that protocols that differ in what follows pre-train it once.

They are an entry among the features of frozen backbones (`feature_files.py`), listed, verified and cleared
with them; what else is to be known of the pre-training stands in the entry's description, under a digest.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from comface_bench.core.digest import digest
from comface_bench.core.errors import UsageError
from comface_bench.core.events import Event, Report
from comface_bench.core.weights import cache_folder
from comface_bench.engine.feature_files import (
    MappedPages,
    MappedPart,
    describe_entry,
    list_parts,
    lock_entry,
    make_room,
    note_use,
    read_about,
    read_limit,
    write_part,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WAIT_S = 5.0
"""Seconds between two signs of life while another process pre-trains."""


@dataclass(frozen=True, eq=False)
class Pretrained:
    """What a pre-training left.

    Attributes:
        rows: Manifest rows, ascending, int64 (n,).
        features: Of these images under the chosen network, float32 (n, D).
        curve: Validation error after each epoch.
        best_epoch: The chosen one, 1-based; 0 if nothing was trained.
        seconds: That it took, over all parts of a run.
        images_per_second: Of its steps; None if there were none.
        seconds_before: Those of them that other processes had spent before a break.
    """

    rows: NDArray[np.int64]
    features: NDArray[np.float32]
    curve: tuple[float, ...]
    best_epoch: int
    seconds: float
    images_per_second: float | None
    seconds_before: float = 0.0


class PretrainedFeatures:
    """The entry of one pre-training.

    Args:
        identity: Digest of all that decides it; empty if that isn't known, so that nothing is kept.
        about: What the entry says of itself to people.
        report: Takes events.
    """

    def __init__(self, identity: str, about: Mapping[str, object], report: Report) -> None:
        self._limit = read_limit()
        self._folder = cache_folder() / "features" if identity and self._limit else None
        self._key, self._about, self._report = identity[:32], dict(about), report

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from the same pre-training, where that can be."""
        with contextlib.ExitStack() as held:
            while self._folder is not None:
                try:
                    self._folder.mkdir(parents=True, exist_ok=True)
                    held.enter_context(lock_entry(self._folder / self._key, _WAIT_S))
                    break
                except UsageError:
                    self._report(
                        Event("progress", "waiting for another process, which pre-trains the same network")
                    )
                except OSError as error:
                    self._give_up(error)
            yield

    def load(self, rows: NDArray[np.int64]) -> Pretrained | None:
        """Return what is kept, or None if that isn't whole or has other rows."""
        if self._folder is None:
            return None
        entry = self._folder / self._key
        about = read_about(entry)
        facts = about.get("pretraining")
        for path in list_parts(entry):
            part = MappedPart.open(path, self._key, MappedPages())
            if part is None or not np.array_equal(part.rows, rows) or not isinstance(facts, dict):
                continue
            if not part.check(np.arange(len(rows), dtype=np.int32)) or about.get("seal") != self._seal(facts):
                continue
            note_use(entry)
            self._report(Event("notice", "the pre-trained network's features that another run kept are used"))
            curve = tuple(float(error) for error in facts["curve"])
            return Pretrained(
                np.array(part.rows),
                np.array(part.values),
                curve,
                facts["best_epoch"],
                facts["seconds"],
                facts["images_per_second"],
            )
        return None

    def save(self, pretrained: Pretrained) -> None:
        """Keep it, where there is room; what can't be kept is pre-trained again when it is needed."""
        if self._folder is None:
            return
        facts: dict[str, Any] = {
            "curve": list(pretrained.curve),
            "best_epoch": pretrained.best_epoch,
            "seconds": pretrained.seconds,
            "images_per_second": pretrained.images_per_second,
        }
        features = pretrained.features
        about = {**self._about, "features": features.shape[1], "pretraining": facts}
        entry = self._folder / self._key
        try:
            if make_room(self._folder, math.ceil(1.1 * features.nbytes), self._limit, {self._key}):
                describe_entry(entry, {**about, "seal": self._seal(facts)}, again=True)
                write_part(entry, pretrained.rows, features)
        except OSError as error:
            self._give_up(error)

    def _seal(self, facts: Mapping[str, Any]) -> str:
        return digest([self._key, dict(facts)])

    def _give_up(self, error: OSError) -> None:
        self._folder = None
        self._report(Event("notice", f"the pre-trained network's features can't be kept: {error.strerror}"))
