"""Edema, version 1: faces of dialysis patients before and after treatment, with body weight.

The data sets of the paper are private; this is the format that the suite defines for them:

    manifest.csv   header `image,patient,day,phase,weight_kg` in any order; phase is pre or post
    any images     named relative to the folder of manifest.csv

A first line `# comface-bench edema 1` may state the version. A column `checked` with `yes` confirms a weight
that looks wrong and isn't: the rules of `check_weights` leave that row out. Other columns aren't read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from comface_bench.core.errors import DataMissingError
from comface_bench.core.problems import Note, ProblemList
from comface_bench.tasks.formats.files import listed
from comface_bench.tasks.formats.numbers import ColumnNumbers
from comface_bench.tasks.formats.sessions import check_sessions
from comface_bench.tasks.formats.table import (
    MARK,
    Line,
    Table,
    check_image,
    read_table,
)

VERSION = 1
COLUMNS = ("image", "patient", "day", "phase", "weight_kg")
PHASES = ("pre", "post")
LIGHTEST_KG, HEAVIEST_KG = 10.0, 400.0
"""A weight outside is refused, checked or not."""

_CONVERSIONS = {
    "weight_g": "Divide the grams by 1000",
    "weight_lb": "Divide the pounds by 2.2046",
    "weight_lbs": "Divide the pounds by 2.2046",
    "weight": "Make sure that it is in kilograms",
}


def read_edema(root: Path) -> Iterator[dict[str, Any] | Note]:
    """Yield one row per image: image, subject, session (the day), phase, and weight_kg in kilograms.

    Args:
        root: Folder of the data set.

    Raises:
        DataMissingError: There is no manifest.csv.
        DataProblemsError: After the last good row: everything that is wrong, with file and line.
    """
    path = root / "manifest.csv"
    if not path.is_file():
        raise DataMissingError(f"{path} doesn't exist", _how_to_write(root))
    problems = ProblemList()
    table = read_table(path, (*COLUMNS, "checked", *_CONVERSIONS), problems)
    _check_version(table, problems)
    _check_header(table, problems)
    if not set(COLUMNS) <= set(table.header):
        problems.raise_any()
    if unread := [column for column in table.header if column not in (*COLUMNS, "checked")]:
        yield Note(f"columns of {path.name} that aren't read: {listed(unread)}")
    weights = table.numbers("weight_kg")
    if way := weights.way(line["weight_kg"] for line in table.lines):
        yield Note(f"weights in {path.name}: {way}")
    weighings: list[Weighing] = []
    malformed: set[str] = set()
    rows = []
    for line in table.lines:
        weighing = _read_line(line, weights, problems)
        if weighing is None:
            malformed.add(line["patient"])
            continue
        weighings.append(weighing)
        row = {
            "image": line["image"],
            "subject": weighing.patient,
            "session": weighing.day,
            "phase": weighing.phase,
            "weight_kg": weighing.kg,
            "where": line.where,
        }
        rows.append(row)
        yield row
    check_sessions(rows, "day", problems)
    if not malformed:
        _check_phases(path, weighings, problems)
    check_weight_column(path, weighings, problems)
    # A patient with a malformed row has been reported by that row.
    yield from _note_lone([one for one in weighings if one.patient not in malformed])
    problems.raise_any()


def _how_to_write(root: Path) -> str:
    others = sorted(path.name for path in root.glob("*") if path.suffix.lower() == ".csv")
    if others:
        return f"Rename {others[0]} to manifest.csv; its header is {','.join(COLUMNS)}"
    return f"Write it with the header {','.join(COLUMNS)}"


def _check_version(table: Table, problems: ProblemList) -> None:
    stated = f"{MARK} edema {VERSION}"
    if table.mark not in ("", stated):
        problems.add(
            f"{table.path}:1",
            f"this is {table.mark.removeprefix(MARK).strip() or 'no'!r}, not version {VERSION} of edema",
            f"Write the file as docs/datasets/edema.md shows, and its first line as {stated}",
        )


def _check_header(table: Table, problems: ProblemList) -> None:
    other = [column for column in _CONVERSIONS if column in table.header]
    if "weight_kg" in table.header or not other:
        table.check_columns(COLUMNS, problems)
        return
    problems.add(
        table.top,
        f"the column of weights is {other[0]}, not weight_kg",
        f"{_CONVERSIONS[other[0]]}, and call the column weight_kg.",
    )
    table.check_columns([column for column in COLUMNS if column != "weight_kg"], problems)


def _read_line(line: Line, weights: ColumnNumbers, problems: ProblemList) -> Weighing | None:
    """Read one row; report everything that is wrong with it, and return None if anything is."""
    before = len(problems)
    if empty := [column for column in COLUMNS if not line[column]]:
        problems.add(line.where, f"{', '.join(empty)} is empty", "Fill it in, or take the row out.")
    check_image(line, problems)
    phase = line["phase"].lower()
    if phase and phase not in PHASES:
        problems.add(
            line.where,
            f"phase is {line['phase']!r}, not pre or post",
            "pre is before treatment, post after it.",
        )
    checked = line["checked"].lower()
    if checked not in ("", "no", "yes"):
        problems.add(line.where, f"checked is {line['checked']!r}", "Write yes, or leave the cell empty.")
    kg = _read_weight(line, weights, problems) if line["weight_kg"] else None
    if kg is None or len(problems) > before:
        return None
    return Weighing(line["patient"], line["day"], phase, kg, line.where, checked == "yes")


def _read_weight(line: Line, weights: ColumnNumbers, problems: ProblemList) -> float | None:
    text = line["weight_kg"]
    kg = weights.parse(text)
    if kg is None:
        what, remedy = weights.mistake(text)
        problems.add(line.where, f"weight_kg is {text!r}, {what}", remedy)
    elif kg <= 0:
        problems.add(line.where, f"weight_kg is {text}, not above 0", "Correct it, or take the row out.")
    elif LIGHTEST_KG <= kg / 1000 <= HEAVIEST_KG:
        problems.add(
            line.where, f"weight_kg is {text}: grams, not kilograms", f"Divide it by 1000: {kg / 1000:g}"
        )
    elif not LIGHTEST_KG <= kg <= HEAVIEST_KG:
        problems.add(
            line.where,
            f"weight_kg is {text}; a patient weighs {LIGHTEST_KG:g} to {HEAVIEST_KG:g} kg",
            "Write kilograms: grams are divided by 1000, pounds by 2.2046.",
        )
    return kg


def _check_phases(path: Path, weighings: list[Weighing], problems: ProblemList) -> None:
    if weighings and not any(len(phases) == 2 for phases in _phases(weighings).values()):
        problems.add(
            path,
            "no patient has images of both phases, so nothing can be tested",
            "Testing takes pre/post pairs: add the other phase of at least some patients.",
        )


def _note_lone(weighings: list[Weighing]) -> Iterator[Note]:
    phases = _phases(weighings)
    counts = Counter(one.patient for one in weighings)
    if single := sorted(patient for patient, count in counts.items() if count == 1):
        yield Note(f"patients with one image, who have no pair: {len(single):,} ({listed(single)})")
    lone = sorted(patient for patient, seen in phases.items() if len(seen) == 1 and counts[patient] > 1)
    if lone:
        named = [f"{patient} {''.join(phases[patient])}" for patient in lone]
        yield Note(
            f"patients of one phase, who are trained on and can't be tested: {len(lone):,} ({listed(named)})"
        )


def _phases(weighings: list[Weighing]) -> dict[str, set[str]]:
    phases: dict[str, set[str]] = {}
    for one in weighings:
        phases.setdefault(one.patient, set()).add(one.phase)
    return phases


MOST_SESSION_CHANGE = 0.10
"""Largest change in a treatment, as a part of the weight before it; 4 to 5 % is already a lot."""
MOST_PATIENT_RATIO = 1.5
"""Largest ratio of a patient's heaviest to lightest weight over all days."""
POUNDS_PER_KG = 2.2046
POUNDS_TOLERANCE = 0.10
"""Largest relative deviation from `POUNDS_PER_KG` that is taken for pounds: weights vary."""
MOST_COHORT_KG, LEAST_COHORT = 120.0, 5
"""Largest median over the patients' median weights, asked of so many patients at least. Half of a cohort
above 120 kg isn't known from anywhere, while 120 lb are 54 kg."""

_CHECKED = "or write yes in a column `checked` if it is right"


@dataclass(frozen=True)
class Weighing:
    """One row: whose weight, when, in kilograms, where it stands, and whether a person has checked it."""

    patient: str
    day: str
    phase: str
    kg: float
    where: str
    checked: bool


def check_weight_column(path: Path, weighings: Iterable[Weighing], problems: ProblemList) -> None:
    """Report implausible weights.

    Args:
        path: The table, for what concerns no single line.
        weighings: All rows.
        problems: Receives two weights of one patient, day and phase; patients whose weights differ too
            much; treatments with too large a change or a gain of weight; a cohort that is too heavy.
    """
    patients: dict[str, list[Weighing]] = {}
    for one in weighings:
        if not one.checked:
            patients.setdefault(one.patient, []).append(one)
    for patient, own in sorted(patients.items()):
        if not _check_ratio(patient, own, problems):
            continue
        for day, phases in sorted(_days(own).items()):
            # A list, so that both phases are looked at.
            agreed = [_check_agree(patient, day, rows, problems) for rows in phases.values()]
            if all(agreed):
                _check_change(patient, day, phases, problems)
    medians = [median(one.kg for one in own) for own in patients.values()]
    if len(medians) >= LEAST_COHORT and median(medians) > MOST_COHORT_KG:
        problems.add(
            path,
            f"half of the {len(medians):,} patients weigh more than {MOST_COHORT_KG:g} kg: pounds?",
            f"Divide weight_kg by {POUNDS_PER_KG}, {_CHECKED}.",
        )


def _days(own: Iterable[Weighing]) -> Mapping[str, Mapping[str, list[Weighing]]]:
    days: dict[str, dict[str, list[Weighing]]] = {}
    for one in own:
        days.setdefault(one.day, {}).setdefault(one.phase, []).append(one)
    return days


def _check_ratio(patient: str, own: list[Weighing], problems: ProblemList) -> bool:
    light, heavy = min(own, key=lambda one: one.kg), max(own, key=lambda one: one.kg)
    ratio = heavy.kg / light.kg
    if ratio <= MOST_PATIENT_RATIO:
        return True
    message = f"{patient} weighs {heavy.kg:g} kg here and {light.kg:g} kg in line {_line(light)}"
    remedy = "Correct the wrong one"
    if abs(ratio / POUNDS_PER_KG - 1) <= POUNDS_TOLERANCE:
        message, remedy = f"{message}, 2.2 times as much: pounds?", f"Divide pounds by {POUNDS_PER_KG}"
    problems.add(heavy.where, message, f"{remedy}, {_CHECKED}.")
    return False


def _check_agree(patient: str, day: str, rows: list[Weighing], problems: ProblemList) -> bool:
    other = next((one for one in rows if one.kg != rows[0].kg), None)
    if other is None:
        return True
    problems.add(
        other.where,
        f"{patient}, day {day}, {other.phase}: {other.kg:g} kg here and {rows[0].kg:g} kg in line"
        f" {_line(rows[0])}",
        f"A patient has one weight a phase: correct one, give another day, {_CHECKED}.",
    )
    return False


def _check_change(
    patient: str, day: str, phases: Mapping[str, list[Weighing]], problems: ProblemList
) -> None:
    if len(phases) < 2:
        return
    pre, post = (phases[phase][0].kg for phase in ("pre", "post"))
    where = phases["post"][0].where
    message = f"{patient}, day {day}: {pre:g} kg before treatment and {post:g} kg after it"
    if abs(post - pre) > MOST_SESSION_CHANGE * pre:
        problems.add(
            where,
            f"{message}, a change of {abs(post - pre) / pre:.1%}",
            f"Correct the wrong weight or day, {_CHECKED}.",
        )
    elif post > pre:
        problems.add(
            where, f"{message}, which is more", f"Swap pre and post if they were mistaken, {_CHECKED}."
        )


def _line(one: Weighing) -> str:
    return one.where.rpartition(":")[2]
