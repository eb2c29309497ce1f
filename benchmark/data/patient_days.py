"""Days of patients: models of one person each that are trained on some days and tested on another.

A day is a session. Only days with images of both phases, before and after treatment, count: a tested day
needs a pair, and a day that trains is one that could be tested.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.core.errors import DataFormatError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from comface_bench.data.manifest import Manifest


@dataclass(frozen=True, eq=False)
class DayModel:
    """A model of one person, made for the test of one day.

    Attributes:
        subject: Whose model it is.
        tested: The day that it is tested on.
        trained: The days that it is trained on, ascending; never the tested one.
        train_rows: Manifest rows of the images of those days, ascending, int64 (n,).
        test_rows: Likewise of the tested day.
    """

    subject: str
    tested: str
    trained: tuple[str, ...]
    train_rows: NDArray[np.int64]
    test_rows: NDArray[np.int64]


def paired_days(
    table: Manifest, labels: NDArray[np.float64]
) -> Mapping[str, Mapping[str, NDArray[np.int64]]]:
    """Return subject → day → rows of its labelled images, of days that have images of both phases.

    Subjects and days are ascending; a subject may have no such day.
    """
    found: dict[str, dict[str, list[int]]] = {subject: {} for subject in table.subject_names}
    for row, (subject, day) in enumerate(zip(table.subjects, table.sessions, strict=True)):
        if day is not None and table.phases[row] in ("pre", "post") and not np.isnan(labels[row]):
            found[subject].setdefault(day, []).append(row)
    return {
        subject: {
            day: np.array(rows, dtype=np.int64)
            for day, rows in sorted(days.items())
            if {table.phases[row] for row in rows} == {"pre", "post"}
        }
        for subject, days in found.items()
    }


def draw_day_models(
    table: Manifest,
    labels: NDArray[np.float64],
    subjects: Iterable[str],
    count: int | None,
    seed: int,
    *,
    fewer: bool = False,
) -> list[DayModel]:
    """Leave one day out: for each paired day of each subject, draw the days that its model is trained on.

    A draw of fewer days is the beginning of one of more, so that 1 and 3 days differ by what is added.

    Args:
        table: The data set.
        labels: Label of each image; one without (NaN) is left out.
        subjects: Whose models.
        count: Days that train each model; None takes all but the tested one.
        seed: Of the draws. A model's draw depends on its subject's and its day's name alone.
        fewer: Whether a subject with fewer days, two at least, trains its models on those it has.

    Raises:
        DataFormatError: A subject has too few days.
    """
    days_of, models = paired_days(table, labels), []
    subjects = sorted(subjects)
    for subject in subjects:
        days = days_of[subject]
        if len(days) < 1 + (1 if fewer else count or 1):
            most = min(len(days_of[other]) for other in subjects) - 1
            raise DataFormatError(
                f"{table.name}: {subject} has {len(days)} days with images of both phases, so that no"
                f" {count or 1} beside a tested one can train",
                f"Train on fewer: -o days={most}"
                if most > 0
                else "Add such days, or test other patients by a split file: -o split=FILE.json",
            )
        for tested, rows in days.items():
            others = [day for day in days if day != tested]
            name = f"{table.own_name(subject)}\x1f{tested}".encode()
            order = np.random.default_rng([seed, *name]).permutation(len(others))
            trained = sorted(others[place] for place in order[:count])
            train_rows = np.sort(np.concatenate([days[day] for day in trained]))
            models.append(DayModel(subject, tested, tuple(trained), train_rows, rows))
    return models
