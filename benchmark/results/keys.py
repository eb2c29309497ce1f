"""A unit's key, worked out again from what its record holds."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from comface_bench.core.card import MethodCard, TaskCard
from comface_bench.core.digest import digest
from comface_bench.core.names import parse_name

if TYPE_CHECKING:
    from collections.abc import Mapping


def stored_card_digest(card: Mapping[str, Any], kind: type[TaskCard | MethodCard]) -> str:
    """Return the digest of a stored card, as `core.card.card_digest` takes it of the card itself."""
    return digest(_deciding(card, kind))


def stored_unit_key(
    task: Mapping[str, Any], method: Mapping[str, Any], protocol: Mapping[str, Any], fold: int, seed: int
) -> str:
    """Return the key that a unit must have, worked out from what its record holds.

    Args:
        task, method, protocol: These blocks of the record, as JSON has them.
        fold, seed: Which unit.

    Raises:
        KeyError: A card or the protocol lacks a fact that it must have.
        TypeError: A fact isn't of its kind.
        UsageError: The task's name isn't made of its card's name and options.
    """
    values = dict(protocol["values"])
    return digest(
        {
            "engine_epoch": values.pop("engine_epoch"),
            "task": _deciding(task["card"], TaskCard),
            "task_options": _task_options(task),
            "method": _deciding(method["card"], MethodCard),
            "method_options": method["options"],
            "protocol": values,
            "manifest": task["manifest_digest"],
            "split": task["split_digest"],
            "checkpoint": method["checkpoint_digest"],
            "fold": fold,
            "seed": seed,
        }
    )


def _deciding(card: Mapping[str, Any], kind: type[TaskCard | MethodCard]) -> dict[str, Any]:
    """Leave out what the card merely offers, as `core.card.deciding_facts` does."""
    offers = {item.name for item in dataclasses.fields(kind) if item.metadata.get("offer")}
    return {name: value for name, value in card.items() if name not in offers}


def _task_options(task: Mapping[str, Any]) -> dict[str, str]:
    """Return all options of a task: those in its name, the defaults of the others, and the split."""
    _, named = parse_name("task" + task["name"].removeprefix(task["card"]["name"]))
    defaults = {key: accepted[0] for key, accepted in task["card"]["options"].items() if accepted}
    return {**defaults, **named, "split": task["split"]}
