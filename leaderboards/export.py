"""Files for other programs: `leaderboard.csv`, `leaderboard.json`, and records as CSV or as a LaTeX table.

In CSV, a text that a spreadsheet would take for a formula gets an apostrophe in front of it; a character that
can't be seen appears as its escape; an empty cell is none.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any

from comface_bench.core.errors import UsageError
from comface_bench.leaderboards.document import COLUMNS, by_group, group_title
from comface_bench.leaderboards.formatting import format_value, precise, visible
from comface_bench.leaderboards.paper import paper_metrics
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from comface_bench.leaderboards.document import (
        Agreement,
        Board,
        BoardEntry,
        BoardRow,
        Comparison,
        Document,
        Fact,
        MetricCell,
        Ranking,
        Settings,
    )
    from comface_bench.stats.bootstrap import Interval
    from comface_bench.stats.metrics import MetricValue
    from comface_bench.stats.ranks import Standing

NAMES = ("task", "protocol", "method", "group", "kind")
COUNTS = ("folds_done", "folds", "seeds", "pairs", "subjects", "failures")
FACTS = (
    *("complete", *COUNTS, "idle", "overlap"),
    *("trained_on", "training_scale", "licence", "parameters", "images_per_second"),
    *("target", "unit", "data", "split", "manifest_digest", "split_digest"),
)
METRIC = (
    *("value", "low", "high", "fold_mean", "fold_low", "fold_high", "constant"),
    *("place", "tied"),
    *("best", "best_difference", "best_low", "best_high", "best_p"),
    *("comface_difference", "comface_low", "comface_high", "comface_p"),
    *("paper", "paper_table"),
)
"""Columns of `leaderboard.csv` that belong to a metric."""
RECORD = (*NAMES, "data", "target", "unit", "split", "complete", *COUNTS)
"""Columns of a table of records, before its metrics."""
ROW_BEGINS = ("method", "group", "kind", "complete")
"""Fields of a row of `leaderboard.json` before `ranked`; the others follow in the order of `COLUMNS`."""
VERSION = 2
"""Of `leaderboard.json`; raised when a field changes its meaning or goes; new fields may come without it."""

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
    "≥": r"$\geq$",
    # At the beginning of a row these would belong to the end of the row before.
    **{sign: f"{{{sign}}}" for sign in "[]*"},
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


# CSV.


def leaderboard_csv(document: Document) -> str:
    """Write `leaderboard.csv`; values are in the metric's own unit (`acc` as a fraction)."""
    further = _csv_columns()
    lines: list[Sequence[str]] = [csv_header()]
    for board in document.boards:
        for row in board.rows:
            names, facts = _csv_facts(row.entry, NAMES), _csv_facts(row.entry, further)
            lines += [[*names, *_csv_metric(board, row, name), *facts] for name in board.metrics]
    return _write_csv(lines)


def csv_header() -> list[str]:
    """Return the columns of `leaderboard.csv`."""
    return [*NAMES, "metric", *METRIC, *_csv_columns()]


def records_csv(entries: Sequence[BoardEntry]) -> str:
    """Write one line for each record: names, counts, each metric and the no-change baseline's, all digits.

    Args:
        entries: In the order of the lines.
    """
    metrics = list(dict.fromkeys(name for entry in entries for name in entry.metrics))
    lines = [[*RECORD, *metrics, *(f"constant_{name}" for name in metrics)]]
    for entry in entries:
        found = [values.get(name) for values in (entry.metrics, entry.baseline) for name in metrics]
        lines.append([*_csv_facts(entry, RECORD), *map(_all_digits, found)])
    return _write_csv(lines)


@functools.lru_cache(maxsize=20_000)
def text_cell(text: str) -> str:
    """Write any text so that a spreadsheet shows it and runs nothing."""
    plain = visible(text)
    # Some spreadsheets take a full-width sign for the plain one.
    first = unicodedata.normalize("NFKC", plain).lstrip()[:1]
    return f"'{plain}" if first in ("=", "+", "-", "@", "\u2212") else plain


def number_cell(value: float | None) -> str:
    """Write a number; nothing where there is none."""
    return "" if value is None else precise(value)


def fact_cell(value: Fact) -> str:
    """Write a fact of a record, several values with commas between them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return text_cell(", ".join(map(str, value)))
    return text_cell(value) if isinstance(value, str) else number_cell(value)


def _csv_columns() -> list[str]:
    """Return the columns of facts: those that there were from the start, then further ones."""
    return [*FACTS, *(name for name in COLUMNS if name not in (*NAMES, *FACTS, "aggregate"))]


def _csv_facts(entry: BoardEntry, columns: Iterable[str]) -> list[str]:
    # Of the seeds, files for spreadsheets have the number only.
    return [
        str(len(entry.seeds)) if name == "seeds" else fact_cell(COLUMNS[name].value(entry))
        for name in columns
    ]


def _csv_metric(board: Board, row: BoardRow, name: str) -> list[str]:
    cell, paper = row.cells.get(name), row.paper.get(name)
    ranked = cell is not None and cell.rank is not None
    return [
        text_cell(name),
        *map(number_cell, (*_csv_values(cell), _number(row.entry.baseline.get(name)))),
        *((str(cell.rank), fact_cell(cell.tied)) if cell is not None and ranked else ("", "")),
        text_cell((board.best_apart if row.entry.apart else board.best).get(name) or ""),
        *_csv_difference(cell.to_best if cell else None),
        *_csv_difference(cell.to_comface if cell else None),
        *(("", "") if paper is None else (number_cell(paper.value), text_cell(paper.table))),
    ]


def _csv_values(cell: MetricCell | None) -> list[float | None]:
    if cell is None:
        return [None] * 6
    return [cell.value.value, *_ends(cell.interval), cell.fold_mean.value, *_ends(cell.fold_interval)]


def _csv_difference(comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return [""] * 4
    found = comparison.difference
    return [number_cell(number) for number in (found.value, *_ends(found.interval), comparison.p.value)]


def _ends(interval: Interval) -> tuple[float | None, float | None]:
    return interval.low, interval.high


def _number(metric: MetricValue | None) -> float | None:
    return None if metric is None else metric.value


def _all_digits(metric: MetricValue | None) -> str:
    value = _number(metric)
    return "" if value is None else repr(value)


def _write_csv(lines: Iterable[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue()


# JSON.


def leaderboard_json(document: Document) -> str:
    """Write the file, one line for each row and for each method of a ranking.

    Numbers are in the metric's own unit (`acc` as a fraction), rounded to ten digits; null stands for none,
    with a `reason` beside it where one is known.
    """
    boards = _array(map(_json_board, document.boards))
    rankings = _array(map(_json_ranking, document.rankings))
    settings = _array(map(_dump, map(_json_settings, document.settings)))
    agreements = _array(map(_dump, map(_json_agreement, document.agreements)))
    parts = {"boards": boards, "rankings": rankings, "settings": settings, "agreements": agreements}
    lines = ",\n".join(f'"{name}": {part}' for name, part in parts.items())
    return f'{{"version": {VERSION},\n{lines}}}\n'


def _json_board(board: Board) -> str:
    facts = {
        "task": board.task,
        "protocol": board.protocol,
        "family": board.family,
        "metrics": board.metrics,
        "comparable": board.comparable,
        "best": dict(board.best),
        "best_apart": dict(board.best_apart),
        "detectable": {name: _json_value(found) for name, found in board.detectable.items()},
    }
    return _with_lines(facts, "rows", (_dump(_json_row(board, row)) for row in board.rows))


def _json_ranking(ranking: Ranking) -> str:
    facts = {
        "scope": ranking.scope,
        "protocol": ranking.protocol,
        "tasks": ranking.tasks,
        "quantities": dict(ranking.quantities),
        "apart": dict(ranking.apart),
        "friedman_p": _json_value(ranking.friedman),
        "critical_difference": _json_value(ranking.critical_difference),
    }
    standings = (_dump({"method": name} | _json_standing(one)) for name, one in ranking.standings.items())
    return _with_lines(facts, "standings", standings)


def _json_settings(one: Settings) -> dict[str, Any]:
    return {
        "task": one.task,
        "protocol": one.protocol,
        "settings": [board.protocol for board in one.boards],
        "changes": [
            {"method": method, "setting": setting, "value": _round(change.value)}
            | ({"reason": change.reason} if change.reason else {})
            | {"interval": _json_interval(change.interval)}
            for (method, setting), change in one.changes.items()
        ],
    }


def _json_agreement(one: Agreement) -> dict[str, Any]:
    return {
        "photographs": {"tasks": one.photographs, "protocol": one.photographs_protocol},
        "rendered": {"tasks": one.rendered, "protocol": one.rendered_protocol},
        "parts": [
            {
                "methods": names,
                "spearman": _json_value(found.spearman)
                | {"interval": _json_interval(found.spearman_interval)},
                "kendall": _json_value(found.kendall) | {"interval": _json_interval(found.kendall_interval)},
                "p": _round(found.p),
            }
            for names, found in one.parts
        ],
    }


def _json_row(board: Board, row: BoardRow) -> dict[str, Any]:
    return {
        **_json_facts(row, ROW_BEGINS),
        "ranked": row.entry.ranked and board.comparable,
        **_json_facts(row, [name for name in COLUMNS if name not in ("task", "protocol", *ROW_BEGINS)]),
        "constant": {name: _json_value(value) for name, value in row.entry.baseline.items()},
        "paper": {name: {"value": _round(it.value), "table": it.table} for name, it in row.paper.items()},
        "cells": {name: _json_cell(cell) for name, cell in row.cells.items()},
    }


def _json_facts(row: BoardRow, names: Iterable[str]) -> dict[str, Fact]:
    found = {name: COLUMNS[name].value(row.entry) for name in names}
    return {name: _round(value) if isinstance(value, float) else value for name, value in found.items()}


def _json_cell(cell: MetricCell) -> dict[str, Any]:
    return {
        **_json_value(cell.value),
        "interval": _json_interval(cell.interval),
        "fold_mean": _json_value(cell.fold_mean) | {"interval": _json_interval(cell.fold_interval)},
        "place": cell.rank,
        "tied": cell.tied,
        "to_best": _json_comparison(cell.to_best),
        "to_comface": _json_comparison(cell.to_comface),
    }


def _json_comparison(comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    difference = comparison.difference
    found: dict[str, Any] = {"reference": comparison.reference, "value": _round(difference.value)}
    found |= {"reason": difference.reason} if difference.reason else {}
    return found | {"interval": _json_interval(difference.interval), "p": _json_value(comparison.p)}


def _json_standing(standing: Standing) -> dict[str, Any]:
    return {
        "place": _round(standing.rank),
        "place_interval": None if standing.rank_low is None else [standing.rank_low, standing.rank_high],
        "mean_rank": _round(standing.mean_rank),
        "mean_rank_interval": _json_interval(standing.mean_rank_interval),
        "borda": _round(standing.borda),
        "ranks": {task: _round(rank) for task, rank in standing.ranks.items()},
        "quantity_ranks": {name: _round(rank) for name, rank in standing.group_ranks.items()},
        "missing": standing.missing,
    }


def _json_value(found: MetricValue) -> dict[str, Any]:
    return {"value": None, "reason": found.reason} if found.reason else {"value": _round(found.value)}


def _json_with_interval(found: MetricValue, interval: Interval) -> dict[str, Any]:
    return _json_value(found) | {"interval": _json_interval(interval)}


def _json_interval(interval: Interval) -> list[float | None] | None:
    return None if interval.low is None else [_round(interval.low), _round(interval.high)]


def _round(value: float | None) -> float | None:
    return None if value is None else float(precise(value))


def _with_lines(facts: dict[str, Any], key: str, lines: Iterable[str]) -> str:
    return f'{_dump(facts)[:-1]}, "{key}": {_array(lines)}}}'


def _array(lines: Iterable[str]) -> str:
    text = ",\n".join(lines)
    return f"[\n{text}\n]" if text else "[]"


def _dump(facts: dict[str, Any]) -> str:
    """Write one line; what is no ASCII is escaped, so that no editor or terminal is led astray by it."""
    return json.dumps(facts, allow_nan=False)


# LaTeX.


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
    best = {
        column: {apart: _best(chosen, *column, apart=apart) for apart in (False, True)} for column in columns
    }
    lines = [rf"\begin{{tabular}}{{l{'r' * len(columns)}}}", r"\toprule"]
    lines += _latex_headings(tasks, columns)
    for group, members in by_group(chosen):
        if group != _UNGROUPED:
            title = latex_text(group_title(group, members))
            lines.append(rf"\multicolumn{{{len(columns) + 1}}}{{l}}{{\textit{{{title}:}}}} \\")
        for method in dict.fromkeys(entry.method for entry in members):
            lines.append(_latex_row({task: by_cell.get((method, task)) for task in tasks}, method, best))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_row(
    own: Mapping[str, BoardEntry | None],
    method: str,
    best: Mapping[tuple[str, str], Mapping[bool, str | None]],
) -> str:
    cells = [_latex_cell(own[task], name, texts) for (task, name), texts in best.items()]
    partial = any(not entry.complete for entry in own.values() if entry is not None)
    return " & ".join([latex_text(method) + (r"$^\dagger$" if partial else ""), *cells]) + r" \\"


def _latex_headings(tasks: Sequence[str], columns: Sequence[tuple[str, str]]) -> list[str]:
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
        spans.append(rf"\multicolumn{{{width}}}{{c}}{{{latex_text(task)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    head = " & ".join(["Method", *spans]) + r" \\"
    return [head, "".join(rules), " & ".join(["", *metrics]) + r" \\", r"\midrule"]


def _best(entries: Sequence[BoardEntry], task: str, name: str, *, apart: bool) -> str | None:
    """Return the best value as printed, so that equal ones are all in bold; None where none is ranked.

    Args:
        entries: Of any task.
        task: Name of the task.
        name: Of the metric.
        apart: Whether the best is wanted of those that stand apart, or of all others.
    """
    here = [entry for entry in entries if entry.task == task]
    if len({entry.version for entry in here}) > 1:
        return None
    ranked = [entry for entry in here if entry.ranked and entry.apart == apart and name in entry.metrics]
    values = [value for entry in ranked if (value := entry.metrics[name].value) is not None]
    if not values:
        return None
    return latex_number(name, max(values) if METRICS[name].higher_is_better else min(values))


def _latex_cell(entry: BoardEntry | None, name: str, best: Mapping[bool, str | None]) -> str:
    value = entry.metrics[name].value if entry is not None and name in entry.metrics else None
    if entry is None or value is None:
        return "---"
    text = latex_number(name, value)
    return rf"\textbf{{{text}}}" if entry.ranked and text == best[entry.apart] else text


def latex_number(name: str, value: float) -> str:
    """Print a metric for LaTeX, a minus as one."""
    return format_value(name, value).replace("-", "$-$")


def latex_text(text: str) -> str:
    """Write any text so that LaTeX shows it as it is."""
    plain = "".join(_LATEX.get(sign, sign) for sign in visible(text))
    return re.sub("-(?=-)", "-{}", plain)
