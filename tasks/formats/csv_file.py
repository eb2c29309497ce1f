"""Anyone's manifest: a CSV file with the columns image and subject, and numbers to estimate changes of.

image      an image, named relative to the folder of the CSV file
subject    whom it shows; pairs are of one subject
session    optional: the visit or day; if there is such a column, each row has one
phase      optional: pre, post or empty
others     labels if they hold numbers; an empty cell is a label that isn't known
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comface_bench.core.problems import Note, ProblemList
from comface_bench.tasks.formats.files import listed
from comface_bench.tasks.formats.table import (
    Line,
    Table,
    check_image,
    number_remedy,
    parse_number,
    read_table,
)

COLUMNS = ("image", "subject")
PHASES = ("", "pre", "post")
_FIXED = (*COLUMNS, "session", "phase")


def read_csv_file(path: Path) -> Iterator[dict[str, Any] | Note]:
    """Yield one row per image: image, subject, perhaps session and phase, and each column of numbers.

    Args:
        path: The CSV file.

    Raises:
        DataProblemsError: After the last good row: everything that is wrong, with file and line.
    """
    problems = ProblemList()
    table = read_table(path, problems)
    table.check_columns(COLUMNS, problems)
    if not set(COLUMNS) <= set(table.header):
        problems.raise_any()
    labels = label_columns(table)
    if "where" in labels:
        problems.add(table.top, "no label can be called 'where'", "Rename the column.")
        labels.remove("where")
    if unread := [column for column in table.header if column not in (*_FIXED, *labels, "where")]:
        yield Note(f"columns of {path.name} that hold no number and aren't read: {listed(unread)}")
    wanted = [column for column in (*COLUMNS, "session") if column in table.header]
    images: Counter[str] = Counter()
    malformed = set()
    for line in table.lines:
        row = _read_line(line, wanted, labels, problems)
        if row is None:
            malformed.add(line["subject"])
            continue
        images[line["subject"]] += 1
        yield row
    # A subject with a malformed row has been reported by that row.
    if single := sorted(name for name, count in images.items() if count == 1 and name not in malformed):
        yield Note(f"subjects with one image, who have no pair: {len(single):,} ({listed(single)})")
    problems.raise_any()


def label_columns(table: Table) -> list[str]:
    """Return the columns that hold at least one number, in the file's order."""
    return [
        column
        for column in table.header
        if column not in _FIXED and any(parse_number(line[column]) is not None for line in table.lines)
    ]


def _read_line(
    line: Line, wanted: list[str], labels: list[str], problems: ProblemList
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
    for column in labels:
        text = line[column]
        row[column] = parse_number(text)
        if text and row[column] is None:
            problems.add(
                line.where,
                f"{column} is {text!r}, not a number",
                f"{number_remedy(text)} Leave the cell empty if it is unknown.",
            )
    return row if len(problems) == before else None
