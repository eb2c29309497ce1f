"""Output on stdout: tables, facts, JSON, and the text forms that several commands share."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from comface_bench.core.display import format_count as format_count
from comface_bench.core.errors import UsageError

_LONGEST = 500
"""Characters of a cell up to which a table stays far from the width at which lines break."""


_NARROWEST = 8
"""Characters to which a column is cut at most; one that would get fewer is left out."""
_GAP = 2
"""Blanks between two columns."""


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


def print_lines(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of one line a row, whatever the terminal's width.

    Where it is too narrow, all columns but the first are cut, the widest first, and those for which no room
    is left are left out, from the last on. A file or pipe gets whole cells.
    """
    rows = [list(row) for row in rows]
    if sys.stdout.isatty():
        widths = fit_widths([headings, *rows], terminal_width())
        headings, *rows = [
            [_cut(cell, width) for cell, width in zip(row, widths, strict=False)] for row in (headings, *rows)
        ]
    print_table(headings, rows)


def terminal_width() -> int:
    """Return how many characters a line of the terminal holds; 80 where there is none."""
    return shutil.get_terminal_size().columns


def table_width(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Return how many characters the lines of a table take."""
    columns = zip(headings, *rows, strict=True)
    return sum(max(map(_count_cells, column)) + _GAP for column in columns) - _GAP


def fit_widths(rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """Return the widths of columns whose lines fit, of as many of the first columns as there is room for.

    Args:
        rows: Cells, the headings among them.
        room: Characters of a line.
    """
    widths = [max(map(_count_cells, column)) for column in zip(*rows, strict=True)]
    least = [widths[0], *(min(width, _NARROWEST) for width in widths[1:])]
    while len(widths) > 1 and sum(least) + _GAP * (len(least) - 1) > room:
        widths.pop()
        least.pop()
    while len(widths) > 1 and sum(widths) + _GAP * (len(widths) - 1) > room:
        widest = max(range(1, len(widths)), key=lambda number: (widths[number] - least[number], number))
        widths[widest] -= 1
    return widths


def _count_cells(text: str) -> int:
    """Return how many cells of a terminal a line of text takes."""
    if _has_plain_width(text):
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _cut(text: str, width: int) -> str:
    """Return a text of at most so many cells, its end marked where it was cut off."""
    if _count_cells(text) <= width:
        return text
    if _has_plain_width(text):
        return text[: width - 1].rstrip() + "…"
    from rich.cells import set_cell_size

    return set_cell_size(text, width - 1).rstrip() + "…"


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


def print_text(text: str, indent: str = "") -> None:
    """Print a sentence, broken between words where a terminal's line ends."""
    if sys.stdout.isatty():
        lines = textwrap.wrap(text, max(1, terminal_width() - len(indent)), break_on_hyphens=False)
    else:
        lines = [text]
    for line in lines:
        typer.echo(indent + line)


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


def show_path(path: Path) -> str:
    """Return a path as short as it can be typed: relative to the working folder where it lies in that."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_absolute() and path.is_relative_to(here) else str(path)


def check_output(path: Path) -> None:
    """Check, before the work, that a file can be written; its folder need not be there yet.

    Raises:
        UsageError: It is a folder, or the folder that is to hold it is none, or isn't writable.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder", f"Name a file in it: --out {path / 'NAME'}")
    if why := _why_closed(path.parent):
        raise UsageError(f"{path} can't be written: {why}", "Name another: --out FILE")


def check_folder(folder: Path) -> None:
    """Check, before the work, that files can be written into a folder; it need not be there yet.

    Raises:
        UsageError: It is none, or isn't writable.
    """
    if why := _why_closed(folder):
        raise UsageError(f"nothing can be written into {folder}: {why}", "Name another: --out DIR")


def _why_closed(folder: Path) -> str:
    """Return why no file can be put into a folder that may have to be made; empty where one can."""
    whole = folder.absolute()
    there = next(place for place in (whole, *whole.parents) if place.exists())
    if not there.is_dir():
        return f"{show_path(there)} isn't a folder"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"{show_path(there)} isn't writable"


def make_folder(path: Path) -> None:
    """Make the folder that is to hold a file.

    Raises:
        StorageError: There is no room for it.
        OSError: It can't be made for another reason.
    """
    from comface_bench.core.files import writing

    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
