"""Checkpoints inside a unit: what an epoch leaves, so that a killed unit goes on from it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass
class TrainingState:
    """Everything that the next epoch depends on.

    Random numbers are no part of it: pairs, views and head are functions of seeds and the epoch.
    """

    epoch: int
    model: dict[str, Any]
    head: torch.Tensor
    optimizer: dict[str, Any]
    best: dict[str, Any]
    best_epoch: int
    curve: list[float]
    seconds: float


def save_state(state: TrainingState, path: Path, key: str) -> None:
    """Write a state so that a kill leaves the earlier one or this one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".writing")
    with temporary.open("wb") as stream:
        torch.save({"key": key, **vars(state)}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def load_state(path: Path, key: str) -> TrainingState | None:
    """Read the state of a unit, or None if there is none, or it is another unit's or unreadable.

    Tensors and plain values only; nothing in the file is executed.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content.pop("key") != key:
            return None
        return TrainingState(**content)
    except Exception:  # an unreadable checkpoint only costs the time to train again
        return None
