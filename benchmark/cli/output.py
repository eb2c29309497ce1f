"""Output on stdout: tables, facts, JSON, and the text forms that several commands share."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[str] = ()) -> None:
    """Print rows under headings; columns named in `numbers` are aligned to the right.

    A terminal gets lines of its width, a file or pipe lines that are never broken.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    console = Console(markup=False, highlight=False, emoji=False, width=width)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values in two columns, leaving out values that are empty."""
    shown = [(name, value) for name, value in facts if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        first, *rest = value.splitlines()
        typer.echo(f"{name:<{width}}  {first}")
        for line in rest:
            typer.echo(" " * (width + 2) + line)


def print_json(value: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


def format_count(count: int, noun: str) -> str:
    """Return a number with its noun, such as `1 record` or `2 records`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
