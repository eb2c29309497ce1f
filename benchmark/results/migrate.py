"""Records of earlier versions, brought to the newest one step at a time; each stays readable for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

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
