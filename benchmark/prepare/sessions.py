"""Source table of `prepare edema`: one row per image or video of a patient's session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from comface_bench.core.errors import DataMissingError
from comface_bench.core.problems import ProblemList
from comface_bench.tasks.formats.edema import COLUMNS, PHASES
from comface_bench.tasks.formats.table import Line, number_remedy, parse_number, read_table

FACTS = tuple(column for column in COLUMNS if column != "image")
"""Columns that are copied; the images' names are new."""

_HEADER = f"The header is image,{','.join(FACTS)} or video,{','.join(FACTS)}"


@dataclass(frozen=True)
class Take:
    """One row of the source table: an image or video of a session.

    Attributes:
        path: The image or video.
        name: The same, as the table names it.
        is_video: True for a video, False for an image.
        number: 1 for the session's first recording in the table, 2 for its second, …
        facts: Cells of the columns `FACTS`.
        checked: The cell of the column `checked`, empty if there is none.
    """

    path: Path
    name: str
    is_video: bool
    number: int
    facts: tuple[str, ...]
    checked: str

    @property
    def session(self) -> tuple[str, ...]:
        """Patient, day and phase."""
        return self.facts[:3]

    def image(self, frame: int) -> str:
        """Return the name of an image in the new table, relative to its folder.

        Different patients and sessions have different names, whatever characters they are written with:
        all but letters, digits, `_` and `-` become percent signs and numbers.

        Args:
            frame: 1-based frame of a video; 0 for an image.
        """
        patient, day, phase = (_safe(cell) for cell in self.session)
        return f"images/{patient}/{day}-{phase}/{self.number:02d}{f'-{frame:05d}' if frame else ''}.jpg"


def _safe(text: str) -> str:
    # quote leaves dots and tildes alone, but `..` would be a folder.
    return quote(text, safe="").replace(".", "%2E").replace("~", "%7E")


def read_sessions(source: Path) -> list[Take]:
    """Read `manifest.csv` of a source folder.

    Raises:
        DataMissingError: There is no such table.
        DataProblemsError: All that is wrong in it: cells, files that aren't there, lie outside of the
            folder, or are named twice.
    """
    path = source / "manifest.csv"
    if not path.is_file():
        raise DataMissingError(f"{path} doesn't exist", _HEADER)
    problems = ProblemList()
    table = read_table(path, problems)
    table.check_columns(FACTS, problems)
    if table.header and not {"image", "video"} & set(table.header):
        problems.add(table.top, "no column image or video", _HEADER)
    problems.raise_any()
    recordings: list[Take] = []
    seen: dict[Path, str] = {}
    numbers: dict[tuple[str, ...], int] = {}
    for line in table.lines:
        facts = _read_facts(line, problems)
        file = _find_file(source, line, problems)
        if file is None or facts is None:
            continue
        if file in seen:
            problems.add(
                line.where, f"{_name(line)} stands in {seen[file]} already", "Take one of the lines out."
            )
        seen[file] = line.where
        number = numbers[facts[:3]] = numbers.get(facts[:3], 0) + 1
        recordings.append(Take(file, _name(line), not line["image"], number, facts, line["checked"]))
    if not table.lines:
        problems.add(path, "there is no line below the header", _HEADER)
    problems.raise_any()
    return recordings


def _name(line: Line) -> str:
    return line["image"] or line["video"]


def _read_facts(line: Line, problems: ProblemList) -> tuple[str, ...] | None:
    before = len(problems)
    patient, day, phase, weight = (line[column] for column in FACTS)
    if empty := [column for column in FACTS if not line[column]]:
        problems.add(line.where, f"{', '.join(empty)} is empty", "Fill it in, or take the line out.")
    if phase and phase.lower() not in PHASES:
        problems.add(
            line.where, f"phase is {phase!r}, not pre or post", "pre is before treatment, post after it."
        )
    if weight and parse_number(weight) is None:
        problems.add(line.where, f"weight_kg is {weight!r}, not a number", number_remedy(weight))
    return None if len(problems) > before else (patient, day, phase.lower(), weight)


def _find_file(source: Path, line: Line, problems: ProblemList) -> Path | None:
    if bool(line["image"]) == bool(line["video"]):
        said = "both an image and a video" if line["image"] else "neither an image nor a video"
        problems.add(line.where, said, "Name one file a line.")
        return None
    path = (source / _name(line)).resolve()
    if not path.is_relative_to(source.resolve()):
        problems.add(line.where, f"{_name(line)} lies outside of {source}", "Name files within the folder.")
    elif not path.is_file():
        problems.add(
            line.where, f"{source / _name(line)} doesn't exist", "Correct the name, or copy the file."
        )
    else:
        return path
    return None
