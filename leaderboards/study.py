"""The table of a study: rows and columns in the paper's layout, as Markdown, LaTeX and JSON.

Values of the supplement stand beside measured ones of the same method, backbone, protocol, head start and
data only. What the supplement prints otherwise is a table of its own beneath.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from comface_bench.leaderboards.export import latex_number, latex_text
from comface_bench.leaderboards.formatting import (
    DASH,
    format_value,
    heading,
    precise,
    unit_of,
    visible,
)
from comface_bench.leaderboards.markdown import beneath, bold, escape, table
from comface_bench.leaderboards.paper import tables
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from comface_bench.leaderboards.document import Mark
    from comface_bench.leaderboards.paper import PaperValue


@dataclass(frozen=True)
class StudyColumn:
    """A column: one metric on one task.

    Attributes:
        task: Name of the task.
        metric: Key of `METRICS`.
        unit: Of the target.
        ships: Whether its data are the rendered faces that ship, and none of the paper's.
    """

    task: str
    metric: str
    unit: str
    ships: bool

    @property
    def title(self) -> str:
        """The task and the metric, with its unit and better direction."""
        unit = unit_of(self.metric, self.unit)
        unit = f" ({unit})" if unit and "(" not in METRICS[self.metric].title else ""
        title, arrow = heading(self.metric).rsplit(" ", 1)
        return f"{self.task}, {title}{unit} {arrow}"


@dataclass(frozen=True)
class StudyCell:
    """One metric of one record, or what is missing.

    Attributes:
        value: In the metric's own unit; None where there is none.
        low, high: Its 95 % interval by resampling people; None where there is none.
        complete: Whether all folds are there.
        marks: Signs of the record's marks, each with a space in front.
        record: Digest of the record; empty without one.
        paper: What the supplement publishes for the same thing.
        missing: Why there is no value; empty where there is one.
        hint: How to get what is missing.
        apart: Whether the method was taught what the task asks; such values are never the best.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    complete: bool = False
    marks: str = ""
    record: str = ""
    paper: PaperValue | None = None
    missing: str = ""
    hint: str = ""
    apart: bool = False


@dataclass(frozen=True)
class StudyRow:
    """A row.

    Attributes:
        label: Its name.
        method, group, backbone: Of its method.
        x: Its value of the study's axis; empty without one.
        line: What the rows of one line in a figure have in common.
        seconds: That its units took together.
        cells: One for each column.
    """

    label: str
    method: str
    group: str
    backbone: str
    x: str
    line: str
    seconds: float
    cells: tuple[StudyCell, ...]


@dataclass(frozen=True)
class StudyTable:
    """A study's results.

    Attributes:
        name, title, summary: Of the study.
        letter: Of the supplement's table; empty for a study of ours.
        axis: Option that is the figure's horizontal axis; empty without one.
        notes: What is to be known of it.
        command: The line that makes it.
        columns, rows: The table.
        marks: Those that any record carries.
    """

    name: str
    title: str
    summary: str
    letter: str
    axis: str
    notes: tuple[str, ...]
    command: str
    columns: tuple[StudyColumn, ...]
    rows: tuple[StudyRow, ...]
    marks: tuple[Mark, ...]

    @property
    def grouped(self) -> bool:
        """Whether rows stand under the groups of their methods, as in Tables J and N."""
        methods = [row.method for row in self.rows]
        return len(set(methods)) == len(methods) and len({row.group for row in self.rows}) > 1

    @property
    def with_paper(self) -> list[bool]:
        """For each column, whether the supplement publishes the same thing for any row."""
        return [any(row.cells[place].paper for row in self.rows) for place in range(len(self.columns))]

    @property
    def best(self) -> list[str | None]:
        """The best complete value of each column as it is printed; None where fewer than two are complete."""
        return [self._best(place, column.metric) for place, column in enumerate(self.columns)]

    def _best(self, place: int, metric: str) -> str | None:
        cells = [row.cells[place] for row in self.rows]
        values = [cell.value for cell in cells if cell.complete and not cell.apart and cell.value is not None]
        if len(values) < 2:
            return None
        return format_value(metric, max(values) if METRICS[metric].higher_is_better else min(values))

    @property
    def missing(self) -> dict[tuple[str, str], list[str]]:
        """Why values are missing and how to get them, each with the cells that lack it."""
        found: dict[tuple[str, str], dict[str, None]] = {}
        for row in self.rows:
            for column, cell in zip(self.columns, row.cells, strict=True):
                if cell.missing:
                    name = f"{row.label}, {column.task}"
                    found.setdefault((cell.missing, cell.hint), {})[name] = None
        return {why: list(names) for why, names in found.items()}


def study_markdown(made: StudyTable, figure: str = "") -> str:
    """Write the page of a study.

    Args:
        made: Its table.
        figure: File of the figure, relative to the page; empty without one.
    """
    lines = [f"<!-- Written by `{made.command}`. -->", "", f"# {escape(made.title)}", ""]
    lines += [escape(made.summary), ""] if made.summary else []
    lines += ["Made by", "", f"    {visible(made.command)}", ""]
    lines += [f"![{escape(made.title)}]({figure})", ""] if figure else []
    lines += [*_markdown_table(made), "", *(f"- {note}" for note in _notes(made)), ""]
    if made.missing:
        lines += ["## What is missing", ""]
        for number, ((why, hint), names) in enumerate(made.missing.items(), start=1):
            lines.append(f"{number}. {_listed(names)}: {escape(why)}")
            lines += ["", *(f"       {visible(one)}" for one in hint.splitlines()), ""] if hint else []
        lines += [""] if lines[-1] else []
    if made.letter:
        lines += _printed(made)
    return "\n".join(lines).rstrip("\n") + "\n"


def _markdown_table(made: StudyTable) -> list[str]:
    published, best = made.with_paper, made.best
    header = ["Row" if not made.grouped else "Method", "Backbone"]
    for column, paper in zip(made.columns, published, strict=True):
        header += [escape(column.title), *(["paper"] if paper else [])]
    header.append("Time")
    numbers = {why: number for number, why in enumerate(made.missing, start=1)}
    rows, group = [], ""
    for row in made.rows:
        if made.grouped and row.group != group:
            group = row.group
            rows.append([f"*{escape(group)}*", *[""] * (len(header) - 1)])
        cells = [escape(row.label), escape(row.backbone) or DASH]
        for place, (column, cell) in enumerate(zip(made.columns, row.cells, strict=True)):
            if cell.missing:
                cells.append(f"{DASH} <sup>{numbers[cell.missing, cell.hint]}</sup>")
            else:
                cells.append(_value_text(column.metric, cell, best[place]))
            if published[place]:
                cells.append(format_value(column.metric, cell.paper.value if cell.paper else None))
        rows.append([*cells, _time_text(row.seconds)])
    return table(header, rows, 2)


def _value_text(metric: str, cell: StudyCell, best: str | None) -> str:
    text = format_value(metric, cell.value)
    shown = bold(text) if cell.complete and not cell.apart and text == best else text
    interval = "" if cell.low is None or cell.high is None else _ends(metric, cell.low, cell.high)
    return beneath(shown + cell.marks, interval)


def _ends(metric: str, low: float, high: float) -> str:
    return f"[{format_value(metric, low)}, {format_value(metric, high)}]"


def _time_text(seconds: float) -> str:
    if not seconds:
        return DASH
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _notes(made: StudyTable) -> list[str]:
    notes = [
        "Brackets hold 95 % intervals by resampling the people tested; the best complete value of a column "
        "is in bold. Time is that of a row's units together, on the machine that ran them."
    ]
    if shipped := dict.fromkeys(column.task for column in made.columns if column.ships):
        notes.append(
            f"Other data: {', '.join(map(escape, shipped))} are of the rendered faces that ship, not of the "
            "paper's data. No value of the supplement stands beside them."
        )
    letters = {cell.paper.table for row in made.rows for cell in row.cells if cell.paper}
    if letters:
        notes.append(
            f"*paper*: the supplement's Table {', '.join(sorted(letters))}, beside the same method, "
            f"backbone, protocol, head start and data only; {DASH} where it publishes none."
        )
    notes += [f"{mark.sign} {mark.meaning}" for mark in made.marks]
    return [*notes, *map(escape, made.notes)]


_MANY = 4


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MANY} more" if len(names) > _MANY else ""
    return "; ".join(map(escape, names[:_MANY])) + more


def _printed(made: StudyTable) -> list[str]:
    """Write the supplement's table as it is printed there."""
    printed = tables()[made.letter]
    other = all(column.ships for column in made.columns)
    lines = [f"## The supplement's Table {made.letter}{', of other data' if other else ''}", ""]
    lines += [f"{escape(printed['title'])}, under `{printed['protocol']}`, as printed there.", ""]
    header = ["Row", *(escape(f"{one['task']}, {heading(one['metric'])}") for one in printed["columns"])]
    rows = [[escape(row["row"]), *map(_plain, printed["columns"], row["values"])] for row in printed["rows"]]
    return [*lines, *table(header, rows)]


def _plain(column: Mapping[str, str], value: float) -> str:
    return f"{value:.{METRICS[column['metric']].digits}f}"


def study_latex(made: StudyTable) -> str:
    r"""Write the table for LaTeX (package booktabs), with the supplement's values in italics behind ours.

    A value that is missing is a dash, one of an incomplete record has a dagger.
    """
    published, best = made.with_paper, made.best
    width = 1 + len(made.columns) + sum(published)
    lines = [f"% {visible(made.command)}"]
    if any(column.ships for column in made.columns):
        lines.append("% synth-*: rendered faces, not the paper's data; not to be compared with its values")
    lines += [rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}", r"\toprule"]
    lines += [" & ".join(["", *_latex_headings(made.columns, published)]) + r" \\", r"\midrule"]
    group = ""
    for row in made.rows:
        if made.grouped and row.group != group:
            group = row.group
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{latex_text(group)}:}}}} \\")
        cells = [latex_text(row.label)]
        for place, (column, cell) in enumerate(zip(made.columns, row.cells, strict=True)):
            cells.append(_latex_cell(column.metric, cell, best[place]))
            if published[place]:
                cells.append(
                    rf"\textit{{{latex_number(column.metric, cell.paper.value)}}}" if cell.paper else "---"
                )
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_headings(columns: Sequence[StudyColumn], published: Sequence[bool]) -> Iterable[str]:
    for column, paper in zip(columns, published, strict=True):
        metric = METRICS[column.metric]
        arrow = r"$\uparrow$" if metric.higher_is_better else r"$\downarrow$"
        yield f"{latex_text(column.task)} {metric.title.replace(' (%)', '')}{arrow}"
        if paper:
            yield r"\textit{paper}"


def _latex_cell(metric: str, cell: StudyCell, best: str | None) -> str:
    if cell.value is None:
        return "---"
    text = latex_number(metric, cell.value)
    if cell.complete and not cell.apart and format_value(metric, cell.value) == best:
        return rf"\textbf{{{text}}}"
    return text if cell.complete else rf"{text}$^\dagger$"


def study_json(made: StudyTable) -> str:
    """Write the table for programs; numbers in the metric's own unit, rounded to ten digits."""
    facts = {
        "study": made.name,
        "title": made.title,
        "table": made.letter or None,
        "command": made.command,
        "rows": [
            {
                "row": row.label,
                "method": row.method,
                "backbone": row.backbone,
                "seconds": _rounded(row.seconds),
                "cells": [
                    _json_cell(column, cell) for column, cell in zip(made.columns, row.cells, strict=True)
                ],
            }
            for row in made.rows
        ],
    }
    return json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _json_cell(column: StudyColumn, cell: StudyCell) -> dict[str, Any]:
    found: dict[str, Any] = {"task": column.task, "metric": column.metric, "other_data": column.ships}
    if cell.missing:
        found |= {"missing": cell.missing, "hint": cell.hint}
    else:
        found |= {"value": _rounded(cell.value), "low": _rounded(cell.low), "high": _rounded(cell.high)}
        found |= {"complete": cell.complete, "record": cell.record}
    if cell.paper:
        found |= {"paper": _rounded(cell.paper.value), "paper_table": cell.paper.table}
    return found


def read_intervals(text: str) -> dict[tuple[str, str], tuple[float | None, float | None]]:
    """Read from a file of `study_json` the interval of each (digest of a record, metric).

    What isn't such a file holds none.
    """
    try:
        cells = [cell for row in json.loads(text)["rows"] for cell in row["cells"]]
        return {
            (str(cell["record"]), str(cell["metric"])): (cell["low"], cell["high"])
            for cell in cells
            if "record" in cell
        }
    except (ValueError, LookupError, TypeError):
        return {}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(precise(value))
