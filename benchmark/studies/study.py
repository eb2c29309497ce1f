"""What a study is: a grid of runs, and the table that its results become, declared in one TOML file.

Such a file is one that `comface-bench sweep` runs, with a table `[study]` on top and a key `study` in each
`[[run]]`:

    method = "comface"
    task = ["disfa-au6", "disfa-au12"]
    protocol = "linear"

    [study]
    title = "Two settings of linear evaluation"
    table = "K"                          # of the supplement, whose values may stand beside ours
    metrics = ["mae", "pearson"]         # of each task; or { age = ["mae"], weight = ["acc"] }
    small = { folds = 0, options = { image_size = 32 } }

    [[run]]
    study = { row = "(a) Linear: Scratch" }

    [[run]]
    study = { row = "(b) Linear: Pre-trained" }
    options = { head_start = "pretrained" }

A row of the table is one method under one combination of options; columns are tasks, each with its metrics.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from comface_bench.core.errors import UsageError
from comface_bench.core.names import unknown_name
from comface_bench.execute.grid import Keys, grid_fields, read_grid_file, read_keys
from comface_bench.leaderboards.paper import tables


@dataclass(frozen=True)
class Run:
    """One grid of a study.

    Attributes:
        fields: Fields of `execute.grid.Grid` that it states.
        row: Label of its rows, with `{method}`, `{protocol}` or options in braces; empty for the usual one.
        paper: Row of the supplement's table that its rows are counterparts of; empty where methods say it.
        get: How to get what its rows need and doesn't come with the package: commands, a line each.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    row: str = ""
    paper: str = ""
    get: str = ""


@dataclass(frozen=True)
class Study:
    """A declared study.

    Attributes:
        name: Name on the command line: that of its file.
        path: The file.
        title: One line.
        summary: What it asks, in a sentence or two.
        table: Letter of the supplement's table; empty for a study of ours.
        metrics: Metrics of each task, or those of each family of tasks.
        axis: Option that is the figure's horizontal axis; empty where rows are.
        notes: What is to be known of its table.
        small: Fields of `Grid` that its small form overrides.
        top: Fields of `Grid` that all runs share.
        runs: The grids.
    """

    name: str
    path: Path
    title: str
    metrics: Sequence[str] | Mapping[str, Sequence[str]]
    top: Mapping[str, Any]
    runs: tuple[Run, ...]
    summary: str = ""
    table: str = ""
    axis: str = ""
    notes: tuple[str, ...] = ()
    small: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ships(self) -> bool:
        """Whether it comes with the package."""
        return self.path.parent == _folder()

    @property
    def line(self) -> str:
        """The words that name it on the command line."""
        return self.name if self.ships else str(self.path)


ORDER = (
    *("fiq", "backbones", "action-units", "linear-heads", "finetune-heads", "synthetic", "age", "table-3"),
    *("preprocess", "epoch-length", "image-size", "label-fraction", "alignment"),
)
"""Of the studies that come with the package: the supplement's tables, then ours."""


def study_names() -> list[str]:
    """Return the names of the studies that come with the package, in order."""
    found = sorted(path.stem for path in _folder().glob("*.toml"))
    return sorted(found, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


def find_study(name: str) -> Study:
    """Read the study of a name, or of a file.

    Args:
        name: One of `study_names`, or the path of a file that ends in `.toml`.

    Raises:
        UnknownNameError: No study has that name.
        UsageError: The file can't be read, or something in it is wrong.
    """
    if name.endswith(".toml"):
        return read_study(Path(name))
    if name not in (names := study_names()):
        error = unknown_name(name, names, "study")
        raise type(error)(error.message, "See them all: comface-bench study list")
    return read_study(_folder() / f"{name}.toml")


def read_study(path: Path) -> Study:
    """Read a study's file.

    Raises:
        UsageError: It can't be read, or a key or value of it is wrong; names the file and the key.
    """
    stated = read_grid_file(path)
    if not stated.study:
        raise UsageError(f"{path} has no table [study], which says what becomes of its results", _EXAMPLE)
    about = read_keys(path, "[study]: ", stated.study, _STUDY, _EXAMPLE)
    for key in ("title", "metrics"):
        if key not in about:
            raise UsageError(f"{path}: [study] has no {key}", _EXAMPLE)
    letter = about.get("table", "")
    if letter and letter not in tables():
        known = ", ".join(sorted(tables()))
        raise UsageError(f"{path}: [study]: the supplement has no table {letter!r}", f"There are: {known}")
    about["small"] = grid_fields(path, "[study.small]: ", about.get("small", {}))
    runs = tuple(
        Run(fields, **read_keys(path, f"[[run]] {number}: study: ", own, _RUN, _EXAMPLE))
        for number, (fields, own) in enumerate(zip(stated.runs, stated.run_studies, strict=True), start=1)
    )
    printed = [row["row"] for row in tables()[letter]["rows"]] if letter else []
    for run in runs:
        if run.paper and run.paper not in printed:
            known = "; ".join(printed) or "none, as [study] names no table"
            raise UsageError(
                f"{path}: the supplement's table has no row {run.paper!r}", f"There are: {known}"
            )
    return Study(name=path.stem, path=path, top=stated.top, runs=runs, **about)


def _folder() -> Path:
    return Path(str(resources.files(__package__)))


_EXAMPLE = "A file to begin with: comface-bench study linear-heads --copy FILE.toml"


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_text, value if isinstance(value, list) else [value]))


def _template(value: Any) -> str:
    if any(name == "" or conversion for _, name, _, conversion in string.Formatter().parse(_text(value))):
        raise ValueError
    return _text(value)


def _metrics(value: Any) -> Any:
    if isinstance(value, dict):
        return {family: _texts(names) for family, names in value.items()}
    return _texts(value)


def _table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


_STUDY: Keys = {
    "title": (_text, "a text"),
    "summary": (_text, "a text"),
    "table": (_text, "a letter"),
    "metrics": (_metrics, "a list of metrics, or one for each family of tasks"),
    "axis": (_text, "the name of an option"),
    "notes": (_texts, "a text or a list of texts"),
    "small": (_table, "a table of a run's keys"),
}
_RUN: Keys = {
    "row": (_template, "a text, perhaps with {method} or an option in braces"),
    "paper": (_text, "a text"),
    "get": (lambda value: "\n".join(_texts(value)), "a text or a list of texts"),
}
"""How each key is read, and its form in words."""
