"""CSV files as found in practice, read with the lines that their rows start in.

RFC 4180: commas, quoted cells that may hold commas and line ends, UTF-8 with or without a byte-order
mark, any line ending. Blank lines are passed over, blanks around a cell don't count.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comface_bench.core.problems import ProblemList

MARK = "# comface-bench"
"""Start of a first line that states the format and version of the file."""

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SEPARATORS = {";": "';'", "\t": "tabs", "|": "'|'"}
_AS_COMMAS = "Save it as CSV with commas between cells, and points in decimals."


@dataclass(frozen=True)
class Line:
    """One row: the line it starts in (1-based), as `file:line`, and its cells by column."""

    where: str
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")


@dataclass(frozen=True)
class Table:
    """A CSV file.

    Attributes:
        path: The file.
        mark: Its first line, if that starts with `MARK`, else empty.
        top: `file:line` of the header.
        header: Names of the columns, in the file's order; those without a name are left out.
        lines: The rows that have as many cells as the header.
    """

    path: Path
    mark: str
    top: str
    header: tuple[str, ...]
    lines: tuple[Line, ...]

    def check_columns(self, wanted: Sequence[str], problems: ProblemList) -> None:
        """Report the wanted columns that the header lacks, unless the file couldn't be read."""
        if not self.header and len(problems):
            return
        if missing := [column for column in wanted if column not in self.header]:
            problems.add(
                self.top,
                f"no column {', '.join(missing)}",
                f"The header is {','.join(wanted)}; here it is {','.join(self.header) or 'empty'}",
            )


def read_table(path: Path, problems: ProblemList) -> Table:
    """Read a CSV file; rows that can't be read are reported and left out.

    Args:
        path: A file that exists.
        problems: Receives text that isn't UTF-8 or CSV, columns that stand twice, other separators,
            and rows with more or fewer cells than the header.
    """
    text = _decode(path, problems)
    mark, number = "", 1
    if text.startswith(MARK):
        # A spreadsheet fills the line up with commas.
        mark, number = text.splitlines()[0].rstrip(", "), 2
        text = re.sub(r"^[^\r\n]*(\r\n|\r|\n)?", "", text)
    rows = _rows(path, text, number, problems)
    top, names = next(rows, (f"{path}:{number}", ()))
    for name in sorted({name for name in names if name and names.count(name) > 1}):
        problems.add(top, f"column {name} stands twice", "Take one of them out, or rename it.")
    if len(names) == 1 and (found := [said for sign, said in _SEPARATORS.items() if sign in names[0]]):
        problems.add(top, f"the cells are separated by {found[0]}, not by commas", _AS_COMMAS)
        return Table(path, mark, top, (), ())
    lines = []
    for where, cells in rows:
        if len(cells) == len(names):
            lines.append(Line(where, dict(zip(names, cells, strict=True))))
        else:
            problems.add(
                where,
                f"{len(cells)} cells, but the header has {len(names)}",
                "Write decimals with a point, and put quotes around cells that hold a comma.",
            )
    return Table(path, mark, top, tuple(dict.fromkeys(filter(None, names))), tuple(lines))


def parse_number(text: str) -> float | None:
    """Return the decimal number that a text writes, or None; `nan`, `inf`, `1_0` and `1,5` are none."""
    return float(text) if _NUMBER.fullmatch(text) else None


def number_remedy(text: str) -> str:
    """Return the remedy for a text that is no number."""
    if parse_number(pointed := text.replace(",", ".")) is not None:
        return f"Write decimals with a point: {pointed}"
    return "Write a number such as 60.5, without a unit."


def check_image(line: Line, problems: ProblemList) -> bool:
    """Return True if the cell `image` has no backslashes; report it otherwise."""
    if "\\" not in line["image"]:
        return True
    problems.add(
        line.where,
        f"image {line['image']} has backslashes",
        f"Write it with forward slashes: {line['image'].replace(chr(92), '/')}",
    )
    return False


def _decode(path: Path, problems: ProblemList) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        problems.add(f"{path}:{line}", "not UTF-8 text", "Save it as CSV in UTF-8.")
    except OSError as error:
        problems.add(path, f"can't be read: {error.strerror}")
    return ""


def _rows(path: Path, text: str, first: int, problems: ProblemList) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the rows that aren't blank with their places; a quote that doesn't close ends the file."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        where = f"{path}:{first + reader.line_num}"
        try:
            cells = tuple(cell.strip() for cell in next(reader))
        except StopIteration:
            return
        except csv.Error as error:
            problems.add(where, f"not CSV: {error}", "Close the quotes of this row; a quote is doubled.")
            return
        if any(cells):
            yield where, cells
