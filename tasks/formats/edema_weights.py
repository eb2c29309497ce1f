"""Plausibility of the weights of a dialysis cohort. The rules and their limits are this suite's own.

They are about what goes wrong in tables that people write: pounds among kilograms, phases swapped, a
digit lost. A weight that a person has looked at (`checked`) is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from comface_bench.core.problems import ProblemList

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


def check_weights(path: Path, weighings: Iterable[Weighing], problems: ProblemList) -> None:
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
    said = f"{patient} weighs {heavy.kg:g} kg here and {light.kg:g} kg in line {_line(light)}"
    remedy = "Correct the wrong one"
    if abs(ratio / POUNDS_PER_KG - 1) <= POUNDS_TOLERANCE:
        said, remedy = f"{said}, 2.2 times as much: pounds?", f"Divide pounds by {POUNDS_PER_KG}"
    problems.add(heavy.where, said, f"{remedy}, {_CHECKED}.")
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
    said = f"{patient}, day {day}: {pre:g} kg before treatment and {post:g} kg after it"
    if abs(post - pre) > MOST_SESSION_CHANGE * pre:
        problems.add(
            where,
            f"{said}, a change of {abs(post - pre) / pre:.1%}",
            f"Correct the wrong weight or day, {_CHECKED}.",
        )
    elif post > pre:
        problems.add(where, f"{said}, which is more", f"Swap pre and post if they were mistaken, {_CHECKED}.")


def _line(one: Weighing) -> str:
    return one.where.rpartition(":")[2]
