"""Versions of records: older ones brought to the newest, and the keys that their units must have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from comface_bench.core.digest import digest
from comface_bench.core.errors import UsageError
from comface_bench.core.names import parse_name
from comface_bench.core.unit import unit_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


SCHEMA_VERSION: Final = 3


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


def _from_2(facts: dict[str, Any]) -> dict[str, Any]:
    """Version 3 has the cards' prose, and keys of what decides a prediction and nothing else."""
    current = {**facts, "schema_version": 3, "digest": None}
    try:
        parts = _key_parts(facts["task"], facts["method"], facts["protocol"])
        for block in ("units", "failures"):
            current[block] = [_with_new_key(unit, parts) for unit in facts[block]]
    except (LookupError, TypeError, AttributeError, ValueError, UsageError, RecursionError):
        # Keys that can't be worked out stay as they are: nothing vouches for these units.
        pass
    return current


def _with_new_key(unit: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """Give a unit or failure its key of version 3, if its key is the one that version 2 gave it."""
    place = {"fold": unit["fold"], "seed": unit["seed"]}
    if unit["key"] != _key_until_2(**parts, **place):
        return unit
    return {**unit, "key": unit_key(**parts, **place)}


def _key_until_2(*, task: Mapping[str, Any], method: Mapping[str, Any], **rest: Any) -> str:
    """Return a unit's key by the rule of versions 1 and 2: every fact of the cards but what they offer."""
    cards = {"task": task, "method": method}
    kept = {
        name: {key: value for key, value in card.items() if key not in ("splits", "options")}
        for name, card in cards.items()
    }
    return digest({**rest, **kept})


_STEPS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1, 2: _from_2}
"""By the version that a step starts from."""


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
    return unit_key(**_key_parts(task, method, protocol), fold=fold, seed=seed)


def _key_parts(
    task: Mapping[str, Any], method: Mapping[str, Any], protocol: Mapping[str, Any]
) -> dict[str, Any]:
    values = dict(protocol["values"])
    return {
        "engine_epoch": values.pop("engine_epoch"),
        "task": task["card"],
        "task_options": _task_options(task),
        "method": method["card"],
        "method_options": method["options"],
        "protocol": values,
        "manifest": task["manifest_digest"],
        "split": task["split_digest"],
        "checkpoint": method["checkpoint_digest"],
    }


def _task_options(task: Mapping[str, Any]) -> dict[str, str]:
    """Return all options of a task: those in its name, the defaults of the others, and the split."""
    _, named = parse_name("task" + task["name"].removeprefix(task["card"]["name"]))
    defaults = {key: accepted[0] for key, accepted in task["card"]["options"].items() if accepted}
    return {**defaults, **named, "split": task["split"]}
