"""Units: the smallest thing that runs, has a key, and can be repeated alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from comface_bench.core.card import MethodCard, TaskCard, deciding_facts
from comface_bench.core.digest import digest
from comface_bench.core.names import format_name
from comface_bench.core.options import differing, differing_task_options
from comface_bench.core.protocol import Protocol

ENGINE_EPOCH = 1
"""Raised by hand when the mathematics of the engine changes; part of every key."""


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
        checkpoint_digest: SHA-256 of the method's weights file, or None if it has none.
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

    @cached_property
    def _key(self) -> str:
        return digest(
            {
                "engine_epoch": ENGINE_EPOCH,
                "task": deciding_facts(self.task),
                "task_options": dict(self.task_options),
                "method": deciding_facts(self.method),
                "method_options": dict(self.method_options),
                "protocol": self.protocol.facts(),
                "manifest": self.manifest_digest,
                "split": self.split_digest,
                "checkpoint": self.checkpoint_digest,
                "fold": self.fold,
                "seed": self.seed,
            }
        )

    def key(self) -> str:
        """Return the SHA-256 of everything that decides the unit's result.

        Source code, paths, devices, precision and worker counts are no part of it.
        """
        return self._key
