"""Anyone's manifest: a CSV file with the columns image and subject, and numbers to estimate changes of.

image      an image, named relative to the folder of the CSV file
subject    whom it shows; pairs are of one subject
session    optional: the visit or day; if there is such a column, each row has one
phase      optional: pre, post or empty
frame      optional, where images are frames of videos: then equal images of one subject may have two labels
others     labels if they hold numbers; an empty cell is a label that isn't known

These words are read in any case. A column that does nothing but number the rows isn't a label.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from comface_bench.core.problems import Note, ProblemList
from comface_bench.tasks.formats.files import listed
from comface_bench.tasks.formats.numbers import ColumnNumbers
from comface_bench.tasks.formats.sessions import check_sessions
from comface_bench.tasks.formats.table import Line, Table, check_image, read_table

COLUMNS = ("image", "subject")
PHASES = ("", "pre", "post")
KNOWN = (*COLUMNS, "session", "phase", "frame")
"""Columns that are no labels."""
_INDEX = re.compile(r"|unnamed: ?[0-9.]+|index|row|id|nr\.?|no\.?|#|\.\.\.[0-9]+", re.IGNORECASE)
"""What programs and people call the column that numbers the rows."""


def read_csv_file_by_session(path: Path) -> Iterator[dict[str, Any] | Note]:
    """Yield what `read_csv_file` does, for pairs within sessions: those that part such pairs are problems."""
    return read_csv_file(path, by_session=True)


def read_csv_file(path: Path, by_session: bool = False) -> Iterator[dict[str, Any] | Note]:
    """Yield one row per image: image, subject, perhaps session and phase, and each column of numbers.

    Args:
        path: The CSV file.
        by_session: Sessions decide which images make a pair, and are checked by `check_sessions`.

    Raises:
        DataProblemsError: After the last good row: everything that is wrong, with file and line.
    """
    problems = ProblemList()
    table = read_table(path, KNOWN, problems)
    table.check_columns(COLUMNS, problems)
    if not set(COLUMNS) <= set(table.header):
        problems.raise_any()
    labels = label_columns(table)
    if "where" in labels:
        problems.add(table.top, "no label can be called 'where'", "Rename the column.")
        del labels["where"]
    if index := [column for column in table.header if is_index(table, column)]:
        yield Note(f"columns of {path.name} that number the rows and aren't read: {listed(index)}")
    if unread := [column for column in table.header if column not in (*KNOWN, *labels, *index, "where")]:
        yield Note(f"columns of {path.name} that hold no number and aren't read: {listed(unread)}")
    for column, numbers in labels.items():
        if way := numbers.way(line[column] for line in table.lines):
            yield Note(f"numbers of column {column} of {path.name}: {way}")
    wanted = [column for column in (*COLUMNS, "session") if column in table.header]
    images: Counter[str] = Counter()
    malformed = set()
    rows = []
    for line in table.lines:
        row = _read_line(line, wanted, labels, problems)
        if row is None:
            malformed.add(line["subject"])
            continue
        images[line["subject"]] += 1
        rows.append(row)
        yield row
    if by_session:
        check_sessions(rows, "session", problems)
    # A subject with a malformed row has been reported by that row.
    if single := sorted(name for name, count in images.items() if count == 1 and name not in malformed):
        yield Note(f"subjects with one image, who have no pair: {len(single):,} ({listed(single)})")
    problems.raise_any()


def label_columns(table: Table) -> dict[str, ColumnNumbers]:
    """Return the columns that hold a number, in the file's order, and how their numbers are read."""
    columns = {
        column: table.numbers(column)
        for column in table.header
        if column not in KNOWN and not is_index(table, column)
    }
    return {column: numbers for column, numbers in columns.items() if numbers.found}


def is_index(table: Table, column: str) -> bool:
    """Return whether a column numbers the rows: it has such a name, and whole numbers that only grow."""
    cells = [line[column] for line in table.lines]
    if not _INDEX.fullmatch(column) or not all(cell.isdecimal() for cell in cells):
        return False
    numbers = [int(cell) for cell in cells]
    return all(before < after for before, after in itertools.pairwise(numbers))


def _read_line(
    line: Line, wanted: list[str], labels: Mapping[str, ColumnNumbers], problems: ProblemList
) -> dict[str, Any] | None:
    """Read one row; report everything that is wrong with it, and return None if anything is."""
    before = len(problems)
    if empty := [column for column in wanted if not line[column]]:
        problems.add(line.where, f"{', '.join(empty)} is empty", "Fill it in, or take the row out.")
    check_image(line, problems)
    phase = line["phase"].lower()
    if phase not in PHASES:
        problems.add(
            line.where,
            f"phase is {line['phase']!r}, not pre or post",
            "Write pre, post or nothing; other groups are sessions.",
        )
    row: dict[str, Any] = {"image": line["image"], "subject": line["subject"], "where": line.where}
    row |= {"session": line["session"] or None, "phase": phase or None}
    if line["frame"]:
        row["frame"] = line["frame"]
    for column, numbers in labels.items():
        text = line[column]
        row[column] = numbers.parse(text)
        if text and row[column] is None:
            what, remedy = numbers.mistake(text)
            problems.add(
                line.where,
                f"{column} is {text!r}, {what}",
                f"{remedy} Leave the cell empty if it is unknown.",
            )
    return row if len(problems) == before else None
