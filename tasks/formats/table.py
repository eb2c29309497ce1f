"""CSV files as found in practice, read with the lines that their rows start in.

RFC 4180: commas, quoted cells that may hold commas and line ends, UTF-8 with or without a byte-order
mark, any line ending. Blank lines are passed over, blanks around a cell don't count.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comface_bench.core.problems import ProblemList
from comface_bench.tasks.formats.numbers import ColumnNumbers, parse_number

MARK = "# comface-bench"
"""Start of a first line that states the format and version of the file."""

_SEPARATORS = {",": "commas", ";": "';'", "\t": "tabs", "|": "'|'"}
_STATED = re.compile(r'"?sep=([,;\t|])"?[,;\t| ]*(?:\r\n|\r|\n|\Z)', re.IGNORECASE)
"""Excel's own first line, which states what separates cells."""
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
        separator: What stands between cells.
    """

    path: Path
    mark: str
    top: str
    header: tuple[str, ...]
    lines: tuple[Line, ...]
    separator: str = ","

    def numbers(self, column: str) -> ColumnNumbers:
        """Return how the numbers of a column are to be read."""
        return ColumnNumbers((line[column] for line in self.lines), self.separator)

    def check_columns(self, wanted: Sequence[str], problems: ProblemList) -> None:
        """Report the wanted columns that the header lacks, unless the file couldn't be read."""
        if not self.header and len(problems):
            return
        if missing := [column for column in wanted if column not in self.header]:
            problems.add(
                self.top,
                f"no column {', '.join(missing)}",
                f"The header is {','.join(wanted)}; here it is {self._what_header()}",
            )

    def _what_header(self) -> str:
        if not self.header:
            return "empty"
        found = ",".join(self.header)
        if any(parse_number(name) is not None for name in self.header):
            return f"{found}, which looks like a row: write the header above it."
        return f"{found}: rename what holds the missing ones, or add them."


def read_table(path: Path, known: Collection[str], problems: ProblemList) -> Table:
    """Read a CSV file; rows that can't be read are reported and left out.

    Empty cells at the end of a row don't count, a first line `sep=;` states another separator, and the row
    numbers that R writes without a heading are left out.

    Args:
        path: A file that exists.
        known: Columns that are called by these names in any case.
        problems: Receives text that isn't UTF-8 or CSV, columns that stand twice, other separators,
            and rows with more or fewer cells than the header.
    """
    text = _decode(path, problems)
    mark, number, separator = "", 1, ","
    if stated := _STATED.match(text):
        separator, number = stated[1], 2
        text = text[stated.end() :]
    if text.startswith(MARK):
        # A spreadsheet fills the line up with commas.
        mark, number = text.splitlines()[0].rstrip(", ;\t|"), number + 1
        text = re.sub(r"^[^\r\n]*(\r\n|\r|\n)?", "", text)
    rows = _rows(path, text, number, separator, problems)
    top, names = next(rows, (f"{path}:{number}", ()))
    spelled = {name.lower(): name for name in known}
    names = tuple(spelled.get(name.lower().replace(" ", "_"), name) for name in names)
    for name in sorted({name for name in names if name and names.count(name) > 1}):
        problems.add(top, f"column {name} stands twice", "Take one of them out, or rename it.")
    others = [said for sign, said in _SEPARATORS.items() if len(names) == 1 and sign in names[0]]
    if others:
        problems.add(
            top,
            f"the cells are separated by {others[0]}, not by {_SEPARATORS[separator]}",
            f"Take out the line sep={separator}, or correct it." if stated else _AS_COMMAS,
        )
        return Table(path, mark, top, (), (), separator)
    cells_of = _without_row_numbers([(where, _trim(cells, len(names))) for where, cells in rows], len(names))
    lines = []
    for where, cells in cells_of:
        if len(cells) == len(names):
            lines.append(Line(where, dict(zip(names, cells, strict=True))))
        else:
            problems.add(
                where,
                f"{len(cells)} cells, but the header has {len(names)}",
                _FEWER_CELLS if len(cells) < len(names) else _MORE_CELLS[separator == ","],
            )
    header = tuple(dict.fromkeys(filter(None, names)))
    return Table(path, mark, top, header, tuple(lines), separator)


_FEWER_CELLS = "Fill the row up: an empty cell has its separator, too."
_MORE_CELLS = {
    True: "Write decimals with a point, and put quotes around cells that hold a comma.",
    False: "Put quotes around cells that hold the separator.",
}

_Row = tuple[str, tuple[str, ...]]
"""A row's place and its cells."""


def _trim(cells: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Take off empty cells behind the last column."""
    while len(cells) > count and not cells[-1]:
        cells = cells[:-1]
    return cells


def _without_row_numbers(rows: list[_Row], count: int) -> list[_Row]:
    """Take off the first cell of each row where these are 1, 2, 3 and so on and have no heading."""
    numbered = all(
        len(cells) == count + 1 and cells[0] == str(number) for number, (_, cells) in enumerate(rows, 1)
    )
    return [(where, cells[1:]) for where, cells in rows] if numbered else rows


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


def _rows(path: Path, text: str, first: int, separator: str, problems: ProblemList) -> Iterator[_Row]:
    """Yield the rows that aren't blank with their places; a quote that doesn't close ends the file."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
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
