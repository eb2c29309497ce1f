"""A unit's key, worked out again from what its record holds."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from comface_bench.core.card import MethodCard, TaskCard
from comface_bench.core.digest import digest
from comface_bench.core.names import parse_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comface_bench.results.schema import Record, TaskInfo


def stored_card_digest(card: Mapping[str, Any], kind: type[TaskCard | MethodCard]) -> str:
    """Return the digest of a stored card, as `core.card.card_digest` takes it of the card itself."""
    return digest(_deciding(card, kind))


def unit_key(record: Record, fold: int, seed: int) -> str:
    """Return the key that a unit of this record must have: the digest of all that decides its result.

    Raises:
        KeyError: The record's cards or protocol lack a fact that they must have.
        TypeError: A fact isn't of its kind.
        UsageError: The task's name isn't made of its card's name and options.
    """
    protocol = dict(record.protocol.values)
    return digest(
        {
            "engine_epoch": protocol.pop("engine_epoch"),
            "task": _deciding(record.task.card, TaskCard),
            "task_options": _task_options(record.task),
            "method": _deciding(record.method.card, MethodCard),
            "method_options": record.method.options,
            "protocol": protocol,
            "manifest": record.task.manifest_digest,
            "split": record.task.split_digest,
            "checkpoint": record.method.checkpoint_digest,
            "fold": fold,
            "seed": seed,
        }
    )


def _deciding(card: Mapping[str, Any], kind: type[TaskCard | MethodCard]) -> dict[str, Any]:
    """Leave out what the card merely offers, as `core.card.deciding_facts` does."""
    offers = {item.name for item in dataclasses.fields(kind) if item.metadata.get("offer")}
    return {name: value for name, value in card.items() if name not in offers}


def _task_options(task: TaskInfo) -> dict[str, str]:
    """Return all options of a task: those in its name, the defaults of the others, and the split."""
    _, named = parse_name("task" + task.name.removeprefix(task.card["name"]))
    defaults = {key: accepted[0] for key, accepted in task.card["options"].items() if accepted}
    return {**defaults, **named, "split": task.split}
