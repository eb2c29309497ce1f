"""Checkpoints of training: the state after an epoch, which a killed run goes on from.

Everything that the next epoch depends on is in the state. Random numbers are no part of it: pairs, views,
head and dropout are functions of seeds and the epoch.
"""

from __future__ import annotations

import contextlib
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from comface_bench.core.errors import DataFormatError
from comface_bench.core.events import Event, Report
from comface_bench.core.files import replacing

SAVE_INTERVAL_S = 20.0
"""Most seconds between two saved epochs: what a kill can cost, beside the epoch in progress."""
SAVE_SHARE = 0.05
"""Share of the time that may go into saving more often than that."""


class TrainingCheckpoint:
    """The state of one training, in one file.

    Args:
        path: The file; its folder is made when first needed.
        key: Of what is trained. A file of another key is never resumed.
        interval: Seconds between two saved states. If none are given, `SAVE_INTERVAL_S` at most, and fewer
            as long as saving takes no more than `SAVE_SHARE` of the time.
    """

    def __init__(self, path: Path, key: str, interval: float | None = None) -> None:
        self._path = path
        self._key = key
        self._interval = interval
        self._saved, self._cost = time.perf_counter(), 0.0

    def load(self) -> dict[str, Any] | None:
        """Read the state, or None if there is none, or it is another training's, damaged or unreadable."""
        try:
            content = load_tensors(self._path)
            found: dict[str, Any] = content["state"]
            return found if content["key"] == self._key else None
        except Exception:  # an unreadable checkpoint only costs the time to train again
            return None

    @property
    def due(self) -> bool:
        """True if the last state was saved long enough ago."""
        wait = self._interval
        if wait is None:
            wait = min(SAVE_INTERVAL_S, self._cost / SAVE_SHARE)
        return time.perf_counter() - self._saved >= wait

    def save(self, state: dict[str, Any], *, at_once: bool = False) -> bool:
        """Write the state, if it is due or to be written at once.

        A kill leaves the earlier file or this one, never half of one. A full disk costs the checkpoint,
        not the training.

        Returns:
            Whether all is well: it was written, or wasn't due.
        """
        if not at_once and not self.due:
            return True
        began = time.perf_counter()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_tensors(self._path, {"key": self._key, "state": state})
        except (OSError, RuntimeError):
            return False
        finally:
            self._saved = time.perf_counter()
            self._cost = self._saved - began
        return True


class EpochTraining(Protocol):
    """A training by epochs, each a function of the state before it and of its number.

    Attributes:
        done: Epochs that are done.
    """

    done: int

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state that `state` gave."""

    def state(self, seconds: float) -> dict[str, Any]:
        """Return everything that the next epoch depends on; `seconds` since this process began."""

    def train(self, epoch: int) -> None:
        """Train for an epoch."""

    def validate(self, epoch: int) -> float:
        """Return what chooses the epoch, and keep the network if no epoch before was as good."""


def train_epochs(
    training: EpochTraining,
    epochs: int,
    saved: TrainingCheckpoint,
    report: Report,
    *,
    label: str,
    started: float,
) -> None:
    """Train and validate epoch by epoch, going on from the last saved one if there is one.

    Args:
        training: Its state is saved after each epoch, where that is due.
        epochs: How many there are in all.
        saved: Where the state lies.
        report: Takes an event of every epoch.
        label: Names the unit in messages.
        started: Time of `time.perf_counter` when this process began with the unit.

    Raises:
        UnitError: As `training` raises it.
    """
    if (state := saved.load()) is not None:
        training.restore(state)
        report(Event("notice", f"{label}: going on after epoch {training.done}"))
    for epoch in range(training.done + 1, epochs + 1):
        training.train(epoch)
        value = training.validate(epoch)
        saved.save(training.state(time.perf_counter() - started))
        report(Event("epoch", epoch=epoch, total=epochs, value=value))


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's own generators, from which dropout and its like draw, and give them back afterwards.

    Seeded anew each epoch, draws are the same whether a training was interrupted or not.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def write_tensors(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values so that a kill leaves the earlier file or this one.

    Raises:
        StorageError: There is no room for the file.
        OSError: It can't be written for another reason.
    """
    with replacing(path) as stream:
        torch.save(content, stream)


def load_tensors(path: Path) -> dict[str, Any]:
    """Read what `write_tensors` wrote, onto the CPU.

    Tensors and plain values only; nothing in the file is executed.

    Raises:
        FileNotFoundError: There is no such file.
        DataFormatError: It is damaged.
    """
    try:
        # torch stores a checksum of each tensor, but compares none when it loads them.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile as error:
        damaged = str(error)
    if damaged is not None:
        raise DataFormatError(f"{path} is damaged ({damaged})", "Remove it, and run what wrote it again.")
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content
