"""Results as files for other programs: a CSV of all records, and a LaTeX table as papers print it."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

from comface_bench.core.errors import UsageError
from comface_bench.leaderboards.markdown import visible
from comface_bench.leaderboards.spreadsheet import text_cell
from comface_bench.leaderboards.table import groups_of
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comface_bench.leaderboards.table import Entry
    from comface_bench.stats.metrics import MetricValue

_PRINTED = ("mae", "pearson", "acc")
"""Metrics of a LaTeX table, those of the supplement's; a task without one has no such column."""
_UNGROUPED = "Scratch"
"""The supplement sets this group's rows first, under no heading."""
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\texttt{\char34}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    # At the beginning of a row these would belong to the end of the row before.
    **{sign: f"{{{sign}}}" for sign in "[]*"},
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def to_csv(entries: Sequence[Entry]) -> str:
    """Write one line for each record: names, counts, each metric and the constant answer's, all digits.

    A text that a spreadsheet would take for a formula gets an apostrophe in front of it.

    Args:
        entries: In the order of the lines.
    """
    metrics = list(dict.fromkeys(name for entry in entries for name in entry.metrics))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = ["task", "protocol", "method", "group", "kind", "data", "target", "unit", "split"]
    counts = ["complete", "folds_done", "folds", "seeds", "pairs", "subjects", "failures"]
    writer.writerow([*names, *counts, *metrics, *(f"constant_{name}" for name in metrics)])
    for entry in entries:
        numbers = [entry.folds_done, entry.folds, len(entry.seeds), entry.n_pairs, entry.n_subjects]
        writer.writerow(
            [
                *(text_cell(getattr(entry, name)) for name in names),
                *(str(entry.complete).lower(), *numbers, entry.failures),
                *(_csv_number(entry.metrics.get(name)) for name in metrics),
                *(_csv_number(entry.constant.get(name)) for name in metrics),
            ]
        )
    return buffer.getvalue()


def to_latex(entries: Sequence[Entry], tasks: Sequence[str], protocol: str) -> str:
    r"""Write a table (package booktabs) as the supplement's Table N: groups in italics, the best in bold.

    Only complete, measured records of one version of data and split compete for the bold. An incomplete
    one is marked by a dagger, a missing one by a dash.

    Args:
        entries: Records in board order; those of other tasks and protocols are left out.
        tasks: Names of the tasks, in the order of the columns.
        protocol: Name of the protocol.

    Raises:
        UsageError: There is no record of a task under the protocol.
    """
    by_cell = {(entry.method, entry.task): entry for entry in entries if entry.protocol == protocol}
    for task in tasks:
        if not any(here == task for _, here in by_cell):
            raise UsageError(
                f"there is no record of {task} under {protocol}",
                f"Make one: comface-bench run --method M --task {task} --protocol {protocol}",
            )
    chosen = [entry for entry in entries if entry.protocol == protocol and entry.task in tasks]
    columns = [
        (task, name)
        for task in tasks
        for name in _PRINTED
        if any(entry.task == task and name in entry.metrics for entry in chosen)
    ]
    best = {column: _best(chosen, *column) for column in columns}
    lines = [rf"\begin{{tabular}}{{l{'r' * len(columns)}}}", r"\toprule"]
    lines += _headings(tasks, columns)
    for group in groups_of(chosen):
        if group != _UNGROUPED:
            lines.append(rf"\multicolumn{{{len(columns) + 1}}}{{l}}{{\textit{{{_latex(group)}:}}}} \\")
        for method in dict.fromkeys(entry.method for entry in chosen if entry.group == group):
            cells = [_cell(by_cell.get((method, task)), name, best[task, name]) for task, name in columns]
            partial = any(not by_cell[method, task].complete for task in tasks if (method, task) in by_cell)
            lines.append(" & ".join([_latex(method) + (r"$^\dagger$" if partial else ""), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _headings(tasks: Sequence[str], columns: Sequence[tuple[str, str]]) -> list[str]:
    arrows = {True: r"$\uparrow$", False: r"$\downarrow$"}
    titles = [METRICS[name].title.replace(" (%)", "") for _, name in columns]
    directions = [arrows[METRICS[name].higher_is_better] for _, name in columns]
    metrics = [title + arrow for title, arrow in zip(titles, directions, strict=True)]
    if len(tasks) == 1:
        return [" & ".join(["Method", *metrics]) + r" \\", r"\midrule"]
    spans, rules, start = [], [], 2
    for task in tasks:
        width = sum(here == task for here, _ in columns)
        spans.append(rf"\multicolumn{{{width}}}{{c}}{{{_latex(task)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    head = " & ".join(["Method", *spans]) + r" \\"
    return [head, "".join(rules), " & ".join(["", *metrics]) + r" \\", r"\midrule"]


def _best(entries: Sequence[Entry], task: str, name: str) -> str | None:
    """Return the best value as printed, so that equal ones are all in bold; None where none is ranked."""
    here = [entry for entry in entries if entry.task == task]
    if len({entry.version for entry in here}) > 1:
        return None
    ranked = [entry.metrics[name].value for entry in here if entry.ranked and name in entry.metrics]
    values = [value for value in ranked if value is not None]
    if not values:
        return None
    return _print(max(values) if METRICS[name].higher_is_better else min(values), name)


def _cell(entry: Entry | None, name: str, best: str | None) -> str:
    value = entry.metrics[name].value if entry is not None and name in entry.metrics else None
    if entry is None or value is None:
        return "---"
    text = _print(value, name)
    return rf"\textbf{{{text}}}" if entry.ranked and text == best else text


def _print(value: float, name: str) -> str:
    text = f"{100 * value:.1f}" if METRICS[name].percent else f"{value:.3f}"
    if not text.strip("-0."):
        return text.removeprefix("-")
    return text.replace("-", "$-$")


def _csv_number(metric: MetricValue | None) -> str:
    return "" if metric is None or metric.value is None else repr(metric.value)


def _latex(text: str) -> str:
    """Write any text so that LaTeX shows it as it is."""
    plain = "".join(_LATEX.get(sign, sign) for character in text for sign in visible(character))
    return re.sub("-(?=-)", "-{}", plain)
