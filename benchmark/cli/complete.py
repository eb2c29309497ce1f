"""Shell completion of names."""

from __future__ import annotations

from collections.abc import Iterable


def complete_method(incomplete: str) -> list[str]:
    """Offer methods, and an example of each open family, for the last name of a comma list."""
    return _last(incomplete, _methods())


def complete_task(incomplete: str) -> list[str]:
    """Offer tasks for the last name of a comma list."""
    return _last(incomplete, _tasks())


def complete_protocol(incomplete: str) -> list[str]:
    """Offer protocols."""
    return _last(incomplete, _protocols())


def complete_name(incomplete: str) -> list[str]:
    """Offer methods, tasks and protocols."""
    return _last(incomplete, [*_methods(), *_tasks(), *_protocols()])


def _last(incomplete: str, names: Iterable[str]) -> list[str]:
    before, comma, begun = incomplete.rpartition(",")
    return [before + comma + name for name in names if name.startswith(begun)]


def _methods() -> list[str]:
    from comface_bench.core.registry import method_registry

    registry = method_registry()
    return [*registry.names(), *(family.example for family in registry.families())]


def _tasks() -> list[str]:
    from comface_bench.core.registry import task_registry

    return list(task_registry().names())


def _protocols() -> list[str]:
    from comface_bench.core.protocol import protocol_names

    return protocol_names()
