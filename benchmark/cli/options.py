"""Options that several commands share, and how their words become values."""

from __future__ import annotations

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
    """Turn `0,1` into numbers, in order and without repeats.

    Raises:
        UsageError: A part is no whole number, or there is none.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UsageError(f"{option} {text}: expected whole numbers with commas between them, such as 0,1")
    return tuple(dict.fromkeys(int(part) for part in parts))
