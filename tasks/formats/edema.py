"""Edema: faces of dialysis patients before and after treatment, with body weight.

The data sets of the paper are private; this is the format that the suite defines for them:

    manifest.csv   header `image,patient,day,phase,weight_kg`; phase is pre or post
    any images     named relative to the folder of manifest.csv
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comface_bench.core.errors import DataFormatError, DataMissingError
from comface_bench.tasks.formats.lines import numbered_lines

COLUMNS = ("image", "patient", "day", "phase", "weight_kg")


def read_edema(root: Path) -> Iterator[dict[str, Any]]:
    """Yield one row per image: image, subject, session (the day), phase, and weight_kg in kilograms.

    Args:
        root: Folder of the data set.

    Raises:
        DataMissingError: There is no manifest.csv.
        DataFormatError: A header or row is malformed; names file and line.
    """
    path = root / "manifest.csv"
    if not path.is_file():
        raise DataMissingError(f"{path} doesn't exist", f"Write it with the header {','.join(COLUMNS)}")
    lines = list(numbered_lines(path))
    header = next(csv.reader([lines[0][1]])) if lines else []
    if missing := [column for column in COLUMNS if column not in header]:
        raise DataFormatError(
            f"{path}:1: no column {', '.join(missing)}", f"The header is {','.join(COLUMNS)}"
        )
    for number, line in lines[1:]:
        cells = next(csv.reader([line]))
        if len(cells) != len(header):
            raise DataFormatError(f"{path}:{number}: {len(cells)} cells, but the header has {len(header)}")
        row = dict(zip(header, cells, strict=True))
        if empty := [column for column in COLUMNS if not row[column].strip()]:
            raise DataFormatError(f"{path}:{number}: {', '.join(empty)} is empty")
        if row["phase"] not in ("pre", "post"):
            raise DataFormatError(f"{path}:{number}: phase is {row['phase']!r}, not pre or post")
        yield {
            "image": row["image"],
            "subject": row["patient"],
            "session": row["day"],
            "phase": row["phase"],
            "weight_kg": _weight(row["weight_kg"], path, number),
            "where": f"{path}:{number}",
        }


def _weight(text: str, path: Path, number: int) -> float:
    try:
        weight = float(text)
    except ValueError as error:
        raise DataFormatError(f"{path}:{number}: weight_kg is {text!r}, not a number") from error
    if not 10 <= weight <= 400:
        raise DataFormatError(
            f"{path}:{number}: weight_kg is {text}; a patient weighs 10 to 400 kg",
            "Are these grams or pounds?",
        )
    return weight
