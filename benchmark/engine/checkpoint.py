"""Checkpoints of training: the state after an epoch, which a killed run goes on from.

Everything that the next epoch depends on is in the state. Random numbers are no part of it: pairs, views,
head and dropout are functions of seeds and the epoch.
"""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import Any

import torch

from comface_bench.core.errors import DataFormatError
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
