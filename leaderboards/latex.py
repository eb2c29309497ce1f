"""LaTeX: a table of records as the supplement prints them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from comface_bench.core.errors import UsageError
from comface_bench.leaderboards.document import by_group
from comface_bench.leaderboards.formatting import format_value, visible
from comface_bench.leaderboards.paper import paper_metrics
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comface_bench.leaderboards.document import BoardEntry

_UNGROUPED = "Scratch"
"""The supplement sets this group's rows first, under no heading."""
_ESCAPES = {
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


def records_latex(entries: Sequence[BoardEntry], tasks: Sequence[str], protocol: str) -> str:
    r"""Write a table (package booktabs) as the supplement's Table N: groups in italics, the best in bold.

    Only complete, measured records of one version of data and split compete for the bold. An incomplete
    one is marked by a dagger, a missing one by a dash. Columns are the metrics that the supplement reports.

    Args:
        entries: Records in board order; those of other tasks and protocols are left out.
        tasks: Names of the tasks, in the order of the columns.
        protocol: Name of the protocol.

    Raises:
        UsageError: There is no record of a task under the protocol.
    """
    chosen = [entry for entry in entries if entry.protocol == protocol and entry.task in tasks]
    by_cell = {(entry.method, entry.task): entry for entry in chosen}
    for task in tasks:
        if not any(here == task for _, here in by_cell):
            raise UsageError(
                f"there is no record of {task} under {protocol}",
                f"Make one: comface-bench run --method M --task {task} --protocol {protocol}",
            )
    columns = [
        (task, name)
        for task in tasks
        for name in paper_metrics()
        if any(entry.task == task and name in entry.metrics for entry in chosen)
    ]
    best = {column: _best(chosen, *column) for column in columns}
    lines = [rf"\begin{{tabular}}{{l{'r' * len(columns)}}}", r"\toprule"]
    lines += _headings(tasks, columns)
    for group, members in by_group(chosen):
        if group != _UNGROUPED:
            lines.append(rf"\multicolumn{{{len(columns) + 1}}}{{l}}{{\textit{{{_escape(group)}:}}}} \\")
        for method in dict.fromkeys(entry.method for entry in members):
            cells = [_cell(by_cell.get((method, task)), name, best[task, name]) for task, name in columns]
            partial = any(not by_cell[method, task].complete for task in tasks if (method, task) in by_cell)
            lines.append(" & ".join([_escape(method) + (r"$^\dagger$" if partial else ""), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _headings(tasks: Sequence[str], columns: Sequence[tuple[str, str]]) -> list[str]:
    arrows = {True: r"$\uparrow$", False: r"$\downarrow$"}
    metrics = [
        METRICS[name].title.replace(" (%)", "") + arrows[METRICS[name].higher_is_better]
        for _, name in columns
    ]
    if len(tasks) == 1:
        return [" & ".join(["Method", *metrics]) + r" \\", r"\midrule"]
    spans, rules, start = [], [], 2
    for task in tasks:
        width = sum(here == task for here, _ in columns)
        spans.append(rf"\multicolumn{{{width}}}{{c}}{{{_escape(task)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    head = " & ".join(["Method", *spans]) + r" \\"
    return [head, "".join(rules), " & ".join(["", *metrics]) + r" \\", r"\midrule"]


def _best(entries: Sequence[BoardEntry], task: str, name: str) -> str | None:
    """Return the best value as printed, so that equal ones are all in bold; None where none is ranked."""
    here = [entry for entry in entries if entry.task == task]
    if len({entry.version for entry in here}) > 1:
        return None
    ranked = [entry.metrics[name].value for entry in here if entry.ranked and name in entry.metrics]
    values = [value for value in ranked if value is not None]
    if not values:
        return None
    return _number(name, max(values) if METRICS[name].higher_is_better else min(values))


def _cell(entry: BoardEntry | None, name: str, best: str | None) -> str:
    value = entry.metrics[name].value if entry is not None and name in entry.metrics else None
    if entry is None or value is None:
        return "---"
    text = _number(name, value)
    return rf"\textbf{{{text}}}" if entry.ranked and text == best else text


def _number(name: str, value: float) -> str:
    return format_value(name, value).replace("-", "$-$")


def _escape(text: str) -> str:
    """Write any text so that LaTeX shows it as it is."""
    plain = "".join(_ESCAPES.get(sign, sign) for sign in visible(text))
    return re.sub("-(?=-)", "-{}", plain)
