"""Units: the smallest thing that runs, has a key, and can be repeated alone; and their seeds.

A seed depends on what it is for, the task, the fold and the repetition, and on nothing else.
The method is deliberately no axis: all methods see the same pairs, views and head draw, which
makes paired comparisons sharp, and any unit can be run alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

from comface_bench.core.card import MethodCard, TaskCard, deciding_facts, facts
from comface_bench.core.digest import digest
from comface_bench.core.names import differing, differing_task_options, format_name
from comface_bench.core.protocol import Protocol

Purpose = Literal["split", "pairs", "augment", "backbone", "head", "dropout"]


def seed_for(purpose: Purpose, task: str, fold: int | None = None, repetition: int | None = None) -> int:
    """Derive the seed of one purpose.

    Args:
        purpose: What the random numbers are for; purposes never share a stream.
        task: Name of the task, or of the data set where tasks share a draw.
        fold: Fold index, or None where all folds share the draw.
        repetition: Index of the repetition (the user's `--seeds`), or None where all share it.

    Returns:
        An integer in [0, 2**63), the same on every machine.

    Raises:
        ValueError: The purpose isn't one of the named ones.
    """
    if purpose not in get_args(Purpose):
        raise ValueError(f"unknown seed purpose {purpose!r}; one of {', '.join(get_args(Purpose))}")
    text = "\x1f".join(["comface-bench", purpose, task, str(fold), str(repetition)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


ENGINE_EPOCH = 2
"""Raised by hand when the mathematics of the engine changes; part of every key.

2: pairs are drawn by data set instead of by target.
"""

_LATER_DEFAULTS: Mapping[str, str] = {"pairs": "pre-post"}
"""Defaults of options that tasks gained when results of theirs existed, whose keys have no such option."""


@dataclass(frozen=True)
class Unit:
    """One task × method × protocol × fold × seed.

    Attributes:
        task: Card of the task.
        task_options: All options of the task, the split that was chosen among them.
        method: Card of the method.
        method_options: All options of the method, values as recorded (a checkpoint by its digest).
        protocol: Resolved protocol.
        manifest_digest: Digest of the data set's table.
        split_digest: Digest of the folds.
        checkpoint_digest: SHA-256 of what the method's weights file holds, or None if it has none.
        fold: Index of the fold.
        seed: Index of the repetition.
    """

    task: TaskCard
    method: MethodCard
    protocol: Protocol
    manifest_digest: str
    split_digest: str
    fold: int
    seed: int
    task_options: Mapping[str, str] = field(default_factory=dict)
    method_options: Mapping[str, str] = field(default_factory=dict)
    checkpoint_digest: str | None = None

    @property
    def task_name(self) -> str:
        """The task's name with its options."""
        return format_name(self.task.name, differing_task_options(self.task, self.task_options))

    @property
    def method_name(self) -> str:
        """The method's name with its options."""
        return format_name(self.method.name, differing(self.method, self.method_options))

    @property
    def label(self) -> str:
        """One line that names the unit for people."""
        place = f"fold {self.fold} · seed {self.seed}"
        return f"{self.method_name} · {self.task_name} · {self.protocol.name} · {place}"

    def at(self, fold: int, seed: int) -> Unit:
        """Return the unit of another fold and repetition."""
        unit = dataclasses.replace(self, fold=fold, seed=seed)
        # All else that decides the key is worked out once for all of them.
        vars(unit)["_deciding"] = self._deciding
        return unit

    @cached_property
    def _key(self) -> str:
        return _digest_place(self._deciding, self.fold, self.seed)

    @cached_property
    def _deciding(self) -> dict[str, Any]:
        return _deciding_parts(
            task=facts(self.task),
            task_options=self.task_options,
            method=facts(self.method),
            method_options=self.method_options,
            protocol=self.protocol.facts(),
            manifest=self.manifest_digest,
            split=self.split_digest,
            checkpoint=self.checkpoint_digest,
            engine_epoch=ENGINE_EPOCH,
        )

    def key(self) -> str:
        """Return the SHA-256 of everything that decides the unit's predictions.

        Source code, paths, devices, precision, worker counts, and how predictions are scored and shown are no
        part of it.
        """
        return self._key


def unit_key(*, fold: int, seed: int, **parts: Any) -> str:
    """Return a unit's key, from plain facts as records store them.

    Args:
        fold: Index of the fold.
        seed: Index of the repetition.
        **parts: All else that decides it:
            task: Declared facts of the task's card, of which the deciding ones count.
            task_options: All options of the task. An option that it gained later is no part of the key at
                its default.
            method: Declared facts of the method's card, of which the deciding ones count.
            method_options: All options of the method.
            protocol: Every value of the protocol, as `Protocol.facts` gives them.
            manifest: Digest of the data set's table.
            split: Digest of the folds.
            checkpoint: SHA-256 of what the method's weights file holds, or None if it has none.
            engine_epoch: `ENGINE_EPOCH` of the engine that made the predictions.
    """
    return _digest_place(_deciding_parts(**parts), fold, seed)


def _digest_place(parts: Mapping[str, Any], fold: int, seed: int) -> str:
    return digest({**parts, "fold": fold, "seed": seed})


def _deciding_parts(
    *,
    task: Mapping[str, Any],
    task_options: Mapping[str, str],
    method: Mapping[str, Any],
    method_options: Mapping[str, Any],
    protocol: Mapping[str, Any],
    manifest: str,
    split: str,
    checkpoint: str | None,
    engine_epoch: int,
) -> dict[str, Any]:
    """Return what decides a key, but for fold and seed; arguments as for `unit_key`."""
    return {
        "engine_epoch": engine_epoch,
        "task": deciding_facts(task, TaskCard),
        "task_options": _keyed_options(task, task_options),
        "method": deciding_facts(method, MethodCard),
        "method_options": dict(method_options),
        "protocol": dict(protocol),
        "manifest": manifest,
        "split": split,
        "checkpoint": checkpoint,
    }


def _keyed_options(task: Mapping[str, Any], chosen: Mapping[str, str]) -> dict[str, str]:
    """Return the options of a task that are part of a key."""
    offered = task.get("options", {})
    later = {key for key, value in _LATER_DEFAULTS.items() if list(offered.get(key, ()))[:1] == [value]}
    return {key: value for key, value in chosen.items() if key not in later or value != _LATER_DEFAULTS[key]}
