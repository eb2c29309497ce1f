"""Versions of records: older ones brought to the newest, and the keys that their units must have."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from comface_bench.core.card import MethodCard, TaskCard
from comface_bench.core.digest import digest
from comface_bench.core.names import parse_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


SCHEMA_VERSION: Final = 2


class NewerVersionError(ValueError):
    """A record was written by a later comface-bench than this one."""


def migrate(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the facts of a record to the newest version; those of the newest come back as they are.

    Args:
        facts: A record's JSON, parsed. What is of no version is left as it is, for the schema to refuse.

    Raises:
        NewerVersionError: The version is newer than any known here.
    """
    current = dict(facts)
    version = current.get("schema_version")
    if type(version) is not int:
        return current
    if version > SCHEMA_VERSION:
        raise NewerVersionError(f"a record of version {version}; this comface-bench knows {SCHEMA_VERSION}")
    for step in range(version, SCHEMA_VERSION):
        if step not in _STEPS:
            return dict(facts)
        current = _STEPS[step](current)
    return current


def _from_1(facts: dict[str, Any]) -> dict[str, Any]:
    """Version 2 has digests of the whole record and of its predictions file, which version 1 doesn't."""
    return {**facts, "schema_version": 2, "predictions_digest": None, "digest": None}


_STEPS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}
"""By the version that a step starts from."""


def stored_card_digest(card: Mapping[str, Any], kind: type[TaskCard | MethodCard]) -> str:
    """Return the digest of a stored card, as `core.card.card_digest` takes it of the card itself."""
    return digest(_deciding(card, kind))


def stored_unit_key(
    task: Mapping[str, Any], method: Mapping[str, Any], protocol: Mapping[str, Any], fold: int, seed: int
) -> str:
    """Return the key that a unit must have, worked out from what its record holds.

    Args:
        task: This block of the record, as JSON has it.
        method: Likewise.
        protocol: Likewise.
        fold: Index of the fold.
        seed: The user's seed.

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
