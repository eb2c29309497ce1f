"""What of a record may be published: no host, user or path, and no text that a machine made up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from comface_bench.core.names import format_name, parse_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comface_bench.results.schema import Failure, Record, UnitResult

_PACKAGES = ("python", "comface-bench", "torch", "torchvision", "timm", "open_clip", "numpy", "scipy")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+_-]{0,39}")
_SYSTEM = re.compile(r"(Linux|Darwin|Windows|FreeBSD)(?: (\d+(?:\.\d+){0,3}))?")
_MACHINE = re.compile(r"[A-Za-z0-9_]{1,16}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HARDWARE = re.compile(r"[^A-Za-z0-9 ().,_-]+")
_DETAIL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}")
_DETAIL_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def publish(record: Record) -> Record:
    """Return the record as it may be given away: kind `submitted`, sealed anew.

    Doing so twice changes nothing. Its numbers, digests and keys stay; of the environment, versions,
    hardware and commit; of a failure, its class.
    """
    provenance = record.provenance.model_copy(update={"kind": "submitted", "command": command_of(record)})
    return record.model_copy(
        update={
            "units": [_publish_unit(unit) for unit in record.units],
            "failures": [_publish_failure(failure) for failure in record.failures],
            "environment": _publish_environment(record.environment),
            "provenance": provenance,
        }
    ).seal()


def command_of(record: Record) -> str:
    """Return the command that makes such a record; weights of one's own are FILE."""
    base, options = parse_name(record.method.name)
    file = " -o checkpoint=FILE" if options.pop("checkpoint", None) else ""
    return (
        f"comface-bench run --method {format_name(base, options)} --task {record.task.name}"
        f" --protocol {record.protocol.name}{file}"
    )


def _publish_unit(unit: UnitResult) -> UnitResult:
    details = {
        name: value
        for name, value in unit.details.items()
        if _DETAIL_NAME.fullmatch(name) and (not isinstance(value, str) or _DETAIL.fullmatch(value))
    }
    return unit.model_copy(update={"details": details})


def _publish_failure(failure: Failure) -> Failure:
    error = failure.error if failure.error.isidentifier() and failure.error.isascii() else "Error"
    return failure.model_copy(update={"error": error[:60], "message": "", "hint": ""})


def _publish_environment(environment: Mapping[str, Any]) -> dict[str, Any]:
    versions, torch, git = (_mapping(environment.get(name)) for name in ("versions", "torch", "git"))
    return {
        "versions": {name: _match(_VERSION, versions.get(name)) for name in _PACKAGES if name in versions},
        "system": _system(environment.get("system")),
        "machine": _match(_MACHINE, environment.get("machine")),
        "cpu": _hardware(environment.get("cpu")),
        "cores": _count(environment.get("cores")),
        "torch": {
            "threads": _count(torch.get("threads")),
            "cuda": _match(_VERSION, torch.get("cuda")),
            "cudnn": _count(torch.get("cudnn")),
            "gpu": _hardware(torch.get("gpu")),
        },
        "git": {
            "commit": _match(_COMMIT, git.get("commit")),
            "dirty": git["dirty"] if isinstance(git.get("dirty"), bool) else None,
        },
    }


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _match(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def _system(value: object) -> str | None:
    # A kernel's release may end in a name that somebody gave to a machine.
    found = _SYSTEM.match(value) if isinstance(value, str) else None
    return " ".join(filter(None, found.groups())) if found else None


def _hardware(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    return " ".join(_HARDWARE.sub(" ", value).split())[:80].strip(" -") or None


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 10**9 else None
