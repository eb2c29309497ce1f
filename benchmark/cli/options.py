"""Options that several commands share: their declaration, parsing and shell completion."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from comface_bench.core.errors import UsageError

Data = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Data root [default: COMFACE_DATA, else data].", show_default=False
    ),
]
Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="Folder of records.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Plugins = Annotated[
    list[Path],
    typer.Option(
        "--plugin",
        metavar="FILE",
        help="Python file with further methods or tasks; repeatable.",
        show_default=False,
    ),
]
NoPlugins = Annotated[bool, typer.Option("--no-plugins", help="Leave installed plugins out.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def parse_numbers(text: str, option: str) -> tuple[int, ...]:
    """Parse `0,1` into numbers, in order and without repeats.

    Args:
        text: Whole numbers with commas between them.
        option: The option that they were given to, for the error message.

    Raises:
        UsageError: A part is no whole number, or there is none.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UsageError(f"{option} {text}: expected whole numbers with commas between them, such as 0,1")
    return tuple(dict.fromkeys(int(part) for part in parts))


def complete_method(incomplete: str) -> list[str]:
    """Offer methods, and an example of each open family, for the last name of a comma list."""
    return _complete_last(incomplete, _methods())


def complete_task(incomplete: str) -> list[str]:
    """Offer tasks for the last name of a comma list."""
    return _complete_last(incomplete, _tasks())


def complete_protocol(incomplete: str) -> list[str]:
    """Offer protocols."""
    return _complete_last(incomplete, _protocols())


def complete_name(incomplete: str) -> list[str]:
    """Offer methods, tasks and protocols."""
    return _complete_last(incomplete, [*_methods(), *_tasks(), *_protocols()])


def _complete_last(incomplete: str, names: Iterable[str]) -> list[str]:
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
