"""`csv:FILE`: the change of any quantity in anyone's images, named in a CSV file (docs/datasets/csv.md)."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from comface_bench.core.card import Family, PairRule, TaskCard
from comface_bench.core.errors import DataMissingError, UsageError
from comface_bench.core.problems import ProblemList
from comface_bench.tasks.formats.csv_file import COLUMNS, KNOWN, is_index, label_columns
from comface_bench.tasks.formats.numbers import parse_number
from comface_bench.tasks.formats.table import Table, read_table

FAMILY = "csv:"
EXAMPLE = "csv:FILE"

WIDEST_RANGE = (-1e9, 1e9)
"""Labels that are accepted where no range is given; beyond lie identifiers and times, not quantities."""

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VALUE = re.compile(r"[A-Za-z0-9._/-]+")
_COLUMN_OF_RULE: Mapping[str, tuple[str, ...]] = {
    "all": (),
    "pre-post": ("phase",),
    "pre-post-same-day": ("session", "phase"),
}


def make_card(name: str) -> TaskCard:
    """Make the card of a CSV file without opening it; `configure` looks the target up.

    Raises:
        UsageError: No file is named, or its name can't be part of a record's.
    """
    text = name.removeprefix(FAMILY)
    if not text:
        raise UsageError(f"{FAMILY} needs a file", f"For example: --task {FAMILY}faces.csv")
    path = Path(text).expanduser()
    if not _FILE_NAME.fullmatch(path.name):
        raise UsageError(
            f"the file name {path.name!r} can't be part of a task's name",
            "Rename the file: letters, digits, `.`, `_` and `-`, a letter or digit first. A path ends at its"
            " first `,` or `+`, which part names and options.",
        )
    return TaskCard(
        name=f"{FAMILY}{path.name}",
        version=1,
        family="custom",
        data=path.name,
        read="comface_bench.tasks.formats.csv_file:read_csv_file",
        target="",
        unit="",
        label_range=WIDEST_RANGE,
        metrics=("mae", "pearson", "rmse", "spearman", "ccc", "icc31"),
        # Tables of a few hundred images are the usual ones, and half a pair for each would be a few steps.
        pairs_per_image=4,
        splits=("balanced-4", "leave-one-out"),
        options={
            "target": (),
            "unit": (),
            "range": (),
            "family": ("custom", "weight", "age", "expression"),
            "pairs": ("all", "pre-post", "pre-post-same-day"),
        },
        location=str(path),
        summary=f"Change of a column of {path.name} between two images of one subject.",
        licence="That of your images.",
        how_to_get="Write a CSV file with the columns image, subject and a label; see docs/datasets/csv.md.",
        source="Your own.",
    )


def configure(card: TaskCard, chosen: Mapping[str, str]) -> TaskCard:
    """Return the card of the options: `target`, `unit`, `range`, `family` and `pairs`.

    Raises:
        DataMissingError: The file isn't there.
        UsageError: The target isn't a column of numbers, or isn't named where there are several; the range
            is none; the rule of pairs needs a column that isn't there.
    """
    for key in ("target", "unit"):
        if not _VALUE.fullmatch(value := chosen.get(key, "-")):
            raise UsageError(
                f"{key}={value} can't be part of a task's name",
                "Use letters, digits and any of . _ - /; rename the column if need be."
                if key == "target"
                else "Use letters, digits and any of . _ - /",
            )
    path = Path(card.location)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "doesn't exist"
        hint = f"Name a CSV file, as in: comface-bench data check {EXAMPLE}"
        raise DataMissingError(f"task {card.name} needs {path}, which {what}", f"{hint}\n{card.how_to_get}")
    # Mistakes in its rows are reported when they are read.
    table = read_table(path, KNOWN, ProblemList())
    rule = cast(PairRule, chosen["pairs"])
    if missing := [column for column in _COLUMN_OF_RULE[rule] if table.header and column not in table.header]:
        raise UsageError(
            f"pairs={rule} needs the column {' and '.join(missing)}, which {path} lacks",
            "Add it, or take all pairs within a subject: -o pairs=all",
        )
    lacking = [column for column in COLUMNS if table.header and column not in table.header]
    if lacking and chosen.get("target") is None and len(list(label_columns(table))) > 1:
        # Else a column under another name would be offered as the quantity.
        raise UsageError(
            f"{path} has no column {' and no column '.join(lacking)}",
            f"It has {', '.join(table.header)}. A row has an image and the subject whom it shows.",
        )
    target = _find_target(table, chosen.get("target"))
    return dataclasses.replace(
        card,
        target=target,
        unit=chosen.get("unit", ""),
        label_range=_parse_range(chosen["range"]) if "range" in chosen else card.label_range,
        family=cast(Family, chosen["family"]),
        test_pairs=rule,
        read=f"{card.read}_by_session" if rule == "pre-post-same-day" else card.read,
        metrics=card.metrics if rule == "all" else (*card.metrics, "acc"),
        summary=f"Change of {target} between two images of one subject of {path.name}.",
    )


def _find_target(table: Table, named: str | None) -> str:
    """Return the label column that is named, or the only one."""
    labels = list(label_columns(table))
    others = ", ".join(labels) or "none"
    if named in labels:
        return named
    if named is not None and named in table.header:
        what = "numbers the rows" if is_index(table, named) else "holds no number"
        raise UsageError(f"column {named} of {table.path} {what}", f"Columns of numbers: {others}")
    if named is not None and table.header:
        raise UsageError(f"{table.path} has no column {named}", f"Its columns of numbers: {others}")
    if len(labels) > 1:
        named_well = [label for label in labels if _VALUE.fullmatch(label)]
        raise UsageError(
            f"{table.path} has several labels: {others}",
            f"Say which to estimate: {' or '.join(f'-o target={label}' for label in named_well)}"
            if named_well
            else "Rename the one to estimate, in letters, digits and any of . _ - /, and say: -o target=NAME",
        )
    if not labels and set(COLUMNS) <= set(table.header):
        raise UsageError(
            f"{table.path} has no column of numbers", "Add the quantity whose change is to be estimated."
        )
    # A file that isn't a table at all is reported by the reader.
    return labels[0] if labels else named or ""


def _parse_range(text: str) -> tuple[float, float]:
    low, colon, high = text.partition(":")
    ends = parse_number(low), parse_number(high)
    if colon and ends[0] is not None and ends[1] is not None:
        found = (ends[0], ends[1])
        if math.isfinite(found[0]) and math.isfinite(found[1]) and found[0] < found[1]:
            return found
    raise UsageError(f"range={text} is no range", "Write LOW:HIGH, as in -o range=0:10")
