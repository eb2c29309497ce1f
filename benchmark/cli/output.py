"""Output on stdout: tables, facts, JSON, and the text forms that several commands share."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import typer

_LONGEST = 500
"""Characters of a cell up to which a table stays far from the width at which lines break."""


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[str] = ()) -> None:
    """Print rows under headings; columns named in `numbers` are aligned to the right.

    A terminal gets lines of its width, a file or pipe lines that are never broken.
    """
    rows, right = list(rows), [heading in numbers for heading in headings]
    plain = not (sys.stdout.isatty() or {"FORCE_COLOR", "TTY_COMPATIBLE"} & os.environ.keys())
    # Rich takes as long to import as a list takes to make, and is needed for widths and colours only.
    alone = plain and all(
        _has_plain_width(line) for row in (headings, *rows) for cell in row for line in cell.split("\n")
    )
    for line in (_align_table if alone else _draw_table)(headings, rows, right):
        typer.echo(line.rstrip())


def _has_plain_width(text: str) -> bool:
    """Return whether each character of a text takes one cell; False where that isn't certain."""
    return (
        len(text) < _LONGEST
        and text == text.rstrip(" ")
        and text.isprintable()
        and all(
            (sign < "\u1100" or "\u2000" <= sign < "\u2600")
            and unicodedata.category(sign)[0] != "M"
            and unicodedata.east_asian_width(sign) not in "WF"
            for sign in text
            if not sign.isascii()
        )
    )


def _align_table(headings: Sequence[str], rows: list[Sequence[str]], right: list[bool]) -> Iterator[str]:
    """Yield the lines that `_draw_table` yields for cells of plain width where there is no terminal."""
    lines = [[cell.split("\n") for cell in row] for row in (headings, *rows)]
    table = [line for row in lines for line in itertools.zip_longest(*row, fillvalue="")]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = zip(row, widths, right, strict=True)
        yield "  ".join(cell.rjust(width) if number else cell.ljust(width) for cell, width, number in cells)


def _draw_table(headings: Sequence[str], rows: list[Sequence[str]], right: list[bool]) -> list[str]:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading, number in zip(headings, right, strict=True):
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    console = Console(markup=False, highlight=False, emoji=False, width=width)
    with console.capture() as captured:
        console.print(table)
    return captured.get().splitlines()


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


def printable(text: str) -> str:
    """Escape characters that a terminal would obey: anybody may have written a record."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
