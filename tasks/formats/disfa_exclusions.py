"""Frames of DISFA that are left out, by subject and range.

`exclude.csv` in the data set's folder, or the list that ships here:

    subject,first,last,reason
    SN029,4330,4536,"landmarks are wrong (issue 3 of EvelynFan/FAU)"

Numbers are the labels' (from 1), both ends included. A file with nothing but the header leaves out nothing.

The one range that ships is known for wrong landmarks, so faces that were cropped by them are wrong too.
SN031's frame 3631 isn't listed: only its landmark file is missing, and no landmark is read here.
"""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from comface_bench.core.problems import ProblemList
from comface_bench.tasks.formats.lines import numbered_lines

COLUMNS = ("subject", "first", "last", "reason")
"""Header of the list."""

_SHIPPED = Path(__file__).with_name("disfa_exclusions.csv")


@dataclass(frozen=True)
class Exclusion:
    """Frames of a subject that are left out.

    Attributes:
        subject: Whose.
        frames: Their numbers.
        reason: Why.
    """

    subject: str
    frames: range
    reason: str


def read_exclusions(root: Path, subjects: Collection[str], problems: ProblemList) -> list[Exclusion]:
    """Read a data set's own list of exclusions, or the one that ships if it has none.

    Args:
        root: Folder of the data set.
        subjects: All subjects that may be named.
        problems: Receives rows that can't be used.
    """
    own = root / "exclude.csv"
    path = own if own.is_file() else _SHIPPED
    found: list[Exclusion] = []
    with problems.collect():
        found += _parse_list(path, subjects, problems)
    return found


def _parse_list(path: Path, subjects: Collection[str], problems: ProblemList) -> list[Exclusion]:
    lines = list(numbered_lines(path))
    header = _cells(lines[0][1]) if lines else []
    if header != list(COLUMNS):
        problems.add(
            f"{path}:{lines[0][0] if lines else 1}",
            f"the header is {','.join(header)!r}, not {','.join(COLUMNS)!r}",
            f"Write the header {','.join(COLUMNS)}; a file of nothing else leaves out no frame.",
        )
        return []
    found = []
    for number, line in lines[1:]:
        exclusion = _parse(line, subjects)
        if isinstance(exclusion, str):
            problems.add(
                f"{path}:{number}", exclusion, 'Write rows like SN029,4330,4536,"reason"; ends are included.'
            )
        else:
            found.append(exclusion)
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line]))]


def _parse(line: str, subjects: Collection[str]) -> Exclusion | str:
    """Return the exclusion of a row, or the mistake in it."""
    cells = _cells(line)
    if len(cells) != len(COLUMNS):
        return f"{len(cells)} cells, but the header has {len(COLUMNS)}"
    subject, first, last, reason = cells
    if subject not in subjects:
        return f"no subject is called {subject!r}"
    for name, cell in (("first", first), ("last", last)):
        if not (cell.isascii() and cell.isdecimal() and int(cell)):
            return f"{name} is {cell!r}, not a frame number from 1"
    if int(first) > int(last):
        return f"the range ends at {last}, before it begins at {first}"
    if not reason:
        return "the reason is empty"
    return Exclusion(subject, range(int(first), int(last) + 1), reason)
