"""Markdown: the pages of boards, of families of tasks, of the overall ranking, and the page in front."""

from __future__ import annotations

import functools
import re
from functools import partial
from typing import TYPE_CHECKING

from comface_bench.core.display import with_unit
from comface_bench.leaderboards.document import (
    COLUMNS,
    MARKS,
    PARTLY,
    marks_text,
    rows_by_group,
    shown_marks,
)
from comface_bench.leaderboards.formatting import (
    DASH,
    INCOMPLETE,
    TIED,
    fixed,
    format_value,
    heading,
    interval_text,
    p_text,
    signed_text,
    visible,
)
from comface_bench.leaderboards.paper import COMFACE, GROUPS
from comface_bench.stats.bootstrap import NOT_RESAMPLED
from comface_bench.stats.metrics import METRICS, MetricValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from comface_bench.leaderboards.document import (
        Agreement,
        Board,
        BoardEntry,
        BoardRow,
        Comparison,
        Document,
        HeadStart,
        MetricCell,
        Ranking,
        Section,
        Settings,
    )
    from comface_bench.stats.bootstrap import Interval
    from comface_bench.stats.ranks import Standing

    Addresses = Mapping[tuple[str, str], str]

MARK = "<!-- Written by `comface-bench leaderboard build`; change the results or the builder, not this. -->"
NO_CHANGE = "*no change*"
ALONE = "No ranking: fewer than two methods have complete records on two or more tasks under this protocol."
READING = (
    "Ranks are by each task's first metric, 1 the best, among the methods that have a complete record on all "
    "of the tasks. In a mean rank each quantity (expression, weight, age, custom) counts the same, and "
    "within it each task. Intervals are of 95 %, by resampling the people tested. A method's "
    "Borda count is how many others it beats, over all tasks, ties counted half."
)
MATRIX_NOTES = (
    "Cells hold the metrics that their column's heading names; the best complete value is in bold, the "
    "second underlined. *no change* always answers 0.",
    f"{TIED} Tied with the best.",
)
AGREEMENT = "Do rendered faces order backbones as photographs do?"
AGREEMENT_NOTES = (
    "Correlation of the methods' ranks by the first metric, over several tasks by their mean rank; 1 is the "
    "same order, -1 the reverse. Intervals are of 95 %, by resampling the people of both data sets, with the "
    "methods fixed. p is the share of all orders of so many methods that agree or disagree as much: it, and "
    "not the interval, says how little few methods show. Without marks: less the methods that were taught "
    "what a task asks, or learnt from the generator of the rendered faces."
)
SETTINGS_NOTES = (
    "Each column is a board of its own, with places within it. Beneath a value stands its 95 % interval, or, "
    "where the method is in the first column, its difference in the first metric to that one, on the same "
    "pairs, with the interval of the difference; then what the backbone saw, if the column doesn't say it."
)
_AGGREGATES = {
    "pooled": "Metrics are of all folds' predictions pooled, averaged over seeds.",
    "fold-mean": "Metrics are averaged over folds and seeds, because all folds are tested on the same pairs.",
}
_INTERVALS = (
    "Intervals are of 95 %, by resampling the people tested; p is of a sign-flip test by person, corrected "
    "for all methods by Holm."
)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_SPECIAL = set("\\`*_[]|~#$!{}")


# Pages.


def index_page(document: Document, pages: Addresses, links: Iterable[tuple[str, str]]) -> str:
    """Write the page in front: under each protocol the overall ranking, and methods against tasks.

    Args:
        document: All boards and rankings.
        pages: Address of each board's page by (task, protocol), relative to this page.
        links: Title and address of the other pages and files.
    """
    lines = [MARK, "", "# Leaderboards", ""]
    if not document.boards:
        lines += ["No results yet. `comface-bench run --method METHOD --task TASK` makes the first.", ""]
    lines += [" · ".join(f"[{escape(title)}]({address})" for title, address in links), ""]
    for section in document.sections():
        lines += [f"## {escape(section.protocol)}", ""]
        if section.ranking is not None:
            table_lines = ranking_table(section.ranking, section.methods)
            lines += [f"Over {_weighing(section.ranking)}:", "", *table_lines, ""]
        lines += [*matrix(section, pages), ""]
    if document.agreements:
        lines += [f"## {AGREEMENT}", "", *agreement_table(document.agreements), "", AGREEMENT_NOTES, ""]
    if document.boards:
        notes = [*MATRIX_NOTES, *mark_notes(_entries(document)), *_methods_without_record(document)]
        lines += [f"- {note}" for note in notes]
    return "\n".join(lines).rstrip("\n") + "\n"


def family_page(document: Document, family: str, pages: Addresses) -> str:
    """Write the page of a family of tasks: under each protocol its ranking, and methods against its tasks.

    Args:
        document: All boards and rankings.
        family: Name of the family.
        pages: Address of each board's page by (task, protocol), relative to this page.
    """
    lines = _head(family)
    for section in document.sections(family):
        ranking = _ranking(section) if len(section.boards) > 1 else []
        lines += [f"## {escape(section.protocol)}", "", *ranking, *matrix(section, pages), ""]
    for one in document.settings_of(family):
        lines += [f"## {escape(settings_title(one))}", "", *settings_table(one), "", SETTINGS_NOTES, ""]
    notes = [*MATRIX_NOTES, *mark_notes(_entries(document, family)), READING]
    return "\n".join([*lines, *(f"- {note}" for note in notes)]) + "\n"


def overall_page(document: Document) -> str:
    """Write the page of the rankings over all tasks, one for each protocol."""
    lines = [*_head("Overall ranking"), READING, ""]
    for section in document.sections():
        lines += [f"## {escape(section.protocol)}", "", *_ranking(section)]
    lines += [f"- {note}" for note in mark_notes(_entries(document))]
    return "\n".join(lines).rstrip("\n") + "\n"


def board_page(board: Board, head_starts: Sequence[HeadStart] = ()) -> str:
    """Write the page of one task under one protocol, which lies in the task's folder.

    Args:
        board: With at least one row.
        head_starts: Its methods that have several, as `Document.head_starts` gives them.
    """
    parts = [
        [MARK],
        [f"# {escape(board.task)}, {escape(board.protocol)}"],
        ["[All leaderboards](../README.md)"],
        _introduction(board),
        _results(board),
        _board_notes(board),
    ]
    sections = [
        ("Further metrics", _further_metrics(board)),
        ("Head starts", _head_starts(board, head_starts)),
        ("Differences", _differences(board)),
        ("Folds", _fold_means(board)),
        ("Methods", _columns_table(board, "Methods", 6)),
        ("Runs", _runs(board)),
    ]
    parts += [[f"## {title}", "", *lines] for title, lines in sections if lines]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


# Parts of a board's page.


def detectable_text(board: Board) -> str:
    """Name the smallest difference that the task shows, or the reason why it isn't known."""
    known = {name: board.detectable[name] for name in board.headline if name in board.detectable}
    found = [
        f"{METRICS[name].title} {format_value(name, value.value)}{_unit(board, name)}"
        for name, value in known.items()
        if value.value is not None
    ]
    lines = [f"Two methods must differ by so much for this task to show it (80 % power): {', '.join(found)}."]
    missing = [(METRICS[name].title, value.reason) for name, value in known.items() if value.reason]
    why = [text.replace("No ", "No smallest difference for ", 1) for text in _reasons(missing)]
    return " ".join([*(lines if found else []), *why])


def _unit(board: Board, name: str) -> str:
    return with_unit("", escape(board.entry.unit)) if METRICS[name].has_unit else ""


_OWN_DAYS = (
    "Who is tested also trains: the model of each tested day is made of other days of the same person, never"
    " of that one. "
)


def _introduction(board: Board) -> list[str]:
    entry = board.entry
    in_unit = f", in {escape(entry.unit)}," if entry.unit else ""
    return [
        f"Estimated is the change of {escape(entry.target)}{in_unit} between two images of "
        f"one person. Data: {escape(entry.data)}, manifest {escape(entry.version[0][:8])}. "
        f"Split: {escape(entry.split)}, {entry.folds} folds, no subject in two parts of a fold. "
        f"{_OWN_DAYS if entry.own_days else ''}"
        f"{_AGGREGATES[entry.aggregate]} {_INTERVALS}",
        "",
        "A row comes from",
        "",
        f"    {visible(board.command)}",
    ]


def _results(board: Board) -> list[str]:
    """Write the headline metrics with intervals, the paper's values beside them, and where a row is from."""
    names, published = board.headline, board.published
    header = ["Method", "Backbone", "Input", *map(heading, names)]
    header += [*(f"{METRICS[name].title}, paper" for name in published), "From"]

    def cells(row: BoardRow) -> list[str]:
        found = [(name, row.paper.get(name)) for name in published]
        paper = [format_value(name, value.value if value else None) for name, value in found]
        kind = row.entry.kind
        what = [escape(row.entry.backbone_text), escape(row.entry.input_text)]
        return [*what, *_measured(row, names), *paper, kind if kind == "ours" else f"*{escape(kind)}*"]

    label, *values = _baseline(board, names)
    baseline = [label, "", "", *values, *[""] * (len(published) + 1)]
    return table(header, [baseline, *_grouped(board.rows, len(header), cells)], 3)


def _further_metrics(board: Board) -> list[str]:
    """Write the other metrics with intervals; nothing where there are none."""
    names = [name for name in board.metrics if name not in board.headline]
    if not names:
        return []
    header = ["Method", *map(heading, names)]
    rows = _grouped(board.rows, len(header), lambda row: _measured(row, names))
    return table(header, [_baseline(board, names), *rows])


def _head_starts(board: Board, head_starts: Sequence[HeadStart]) -> list[str]:
    """Write methods with each of their head starts, measured and published; nothing for single ones."""
    if not head_starts:
        return []
    names = board.headline
    published = [name for name in names if any(name in one.paper for one in head_starts)]
    header = ["Method", "Head start", *map(heading, names)]
    header += [f"{METRICS[name].title}, paper" for name in published]
    rows = []
    for one in head_starts:
        measured = [_plainly(name, one.row.cells.get(name) if one.row else None) for name in names]
        paper = [
            format_value(name, one.paper[name].value if name in one.paper else None) for name in published
        ]
        marks = one.row.entry.marks if one.row else ""
        rows.append([escape(one.entry.method) + marks, escape(one.label), *measured, *paper])
    return table(header, rows, 2)


def _plainly(name: str, cell: MetricCell | None) -> str:
    if cell is None:
        return DASH
    return beneath(format_value(name, cell.value.value), interval_text(name, cell.interval))


def _differences(board: Board) -> list[str]:
    """Write each method's difference to the best and to ComFace; a sentence where nothing is compared."""
    compared = [row for row in board.rows if any(map(_is_compared, row.cells.values()))]
    if not compared:
        return ["Fewer than two rows are ranked."]
    names = board.headline
    to_comface = [name for name in names if any(_to_comface(row, name) for row in compared)]
    best = "; of those set apart: ".join(
        filter(None, (_best_names(names, of) for of in (board.best, board.best_apart)))
    )
    header = ["Method", *(f"{METRICS[name].title} − best" for name in names)]
    header += [f"{METRICS[name].title} − {COMFACE}" for name in to_comface]

    def cells(row: BoardRow) -> list[str]:
        found = [(name, row.cells.get(name)) for name in names]
        to_best = [difference_text(name, cell.to_best if cell else None) for name, cell in found]
        return [*to_best, *(difference_text(name, _to_comface(row, name)) for name in to_comface)]

    return [f"The best: {best}.", "", *table(header, _grouped(compared, len(header), cells))]


def _best_names(names: Sequence[str], best: Mapping[str, str | None]) -> str:
    found = [(name, best.get(name)) for name in names]
    return ", ".join(
        f"{METRICS[name].title} {escape(method)}" for name, method in found if method is not None
    )


def _fold_means(board: Board) -> list[str]:
    """Write the mean of the folds' metrics; nothing where that is what the board shows already."""
    if board.entry.aggregate == "fold-mean":
        return []
    header = ["Method", *map(heading, board.metrics)]

    def cells(row: BoardRow) -> list[str]:
        found = [(name, row.cells.get(name)) for name in board.metrics]
        return [DASH if cell is None else _fold_mean(name, cell) for name, cell in found]

    lines = table(header, _grouped(board.rows, len(header), cells))
    why = {cell.fold_interval.reason for row in board.rows for cell in row.cells.values()}
    reasons = "; ".join(escape(reason) for reason in sorted(filter(None, why)))
    without = f" Without an interval: {reasons}." if reasons else ""
    return [f"Each fold's own metrics, averaged over folds and seeds.{without}", "", *lines]


def _runs(board: Board) -> list[str]:
    """Write how much was run for each row, how fast, and the baseline's error on the row's own pairs."""
    errors = [name for name in board.metrics if METRICS[name].has_unit][:1]
    more = {f"{METRICS[name].title} of {NO_CHANGE}": partial(_own_baseline, name) for name in errors}
    return _columns_table(board, "Runs", more=more)


def _own_baseline(name: str, entry: BoardEntry) -> str:
    found = entry.baseline.get(name)
    return format_value(name, found.value if found else None)


def _columns_table(
    board: Board,
    name: str,
    text_columns: int = 1,
    more: Mapping[str, Callable[[BoardEntry], str]] | None = None,
) -> list[str]:
    """Write facts of the rows.

    Args:
        board: The board.
        name: Of the table, which `COLUMNS` have.
        text_columns: How many columns are left-aligned, the method's included.
        more: Further columns by heading, which is Markdown, as is what they print.
    """
    more = more or {}
    columns = [column for column in COLUMNS.values() if column.table == name]
    header = ["Method", *(column.heading for column in columns), *more]

    def cells(row: BoardRow) -> list[str]:
        facts = [escape(column.text(row.entry)) or DASH for column in columns]
        return [*facts, *(text(row.entry) for text in more.values())]

    return table(header, _grouped(board.rows, len(header), cells), text_columns)


def _measured(row: BoardRow, names: Sequence[str]) -> list[str]:
    cells = [(name, row.cells.get(name)) for name in names]
    return [
        beneath(value_text(name, cell), interval_text(name, cell.interval) if cell else "")
        for name, cell in cells
    ]


def _baseline(board: Board, names: Sequence[str]) -> list[str]:
    label = NO_CHANGE if board.baseline_entry.complete else f"{NO_CHANGE} {INCOMPLETE}"
    return [label, *(format_value(name, board.baseline(name)) for name in names)]


def _fold_mean(name: str, cell: MetricCell) -> str:
    return beneath(format_value(name, cell.fold_mean.value), interval_text(name, cell.fold_interval))


def _to_comface(row: BoardRow, name: str) -> Comparison | None:
    """Return the difference to ComFace, but not where ComFace is the best, which has a column already."""
    cell = row.cells.get(name)
    if cell is None or (cell.to_best is not None and cell.to_best.reference == COMFACE):
        return None
    return cell.to_comface


def _is_compared(cell: MetricCell) -> bool:
    return cell.to_best is not None or cell.to_comface is not None


def _grouped(rows: Sequence[BoardRow], width: int, cells: Callable[[BoardRow], list[str]]) -> list[list[str]]:
    """Make a table's lines of all rows, each with its method in front and each group under its heading.

    Args:
        rows: In board order.
        width: Number of columns, the method's included.
        cells: Makes the other cells of a row.
    """
    lines = []
    for group, members in rows_by_group(rows):
        lines.append([f"*{escape(group)}*", *[""] * (width - 1)])
        lines += [[escape(row.entry.method) + row.entry.marks, *cells(row)] for row in members]
    return lines


# Notes under a board.


def _board_notes(board: Board) -> list[str]:
    entries = [row.entry for row in board.rows]
    notes = [
        f"The best complete row is in bold, the second underlined. {NO_CHANGE} always answers 0.",
        detectable_text(board),
    ]
    if any(cell.tied and cell.rank != 1 for row in board.rows for cell in row.cells.values()):
        notes.append(f"{TIED} Tied with the best: the interval of the difference holds 0.")
    notes += [f"Faces, aligned by five points: {how}." for how in _ways_of_faces(entries)]
    notes += [*mark_notes(entries, ["overlap"]), *_overlap_notes(entries)]
    return [f"- {note}" for note in [*notes, *_paper_notes(board), *_missing_values(board.rows)]]


def mark_notes(entries: Sequence[BoardEntry], without: Iterable[str] = ()) -> list[str]:
    """Explain the marks that any of these records carry, but those that are named."""
    found = shown_marks(entries, without)
    partly = [PARTLY] if len({entry.task for entry in entries}) > 1 and found else []
    return [*(f"{mark.sign} {mark.meaning}" for mark in found), *partly]


def _entries(document: Document, family: str | None = None) -> list[BoardEntry]:
    boards = [board for board in document.boards if family in (None, board.family)]
    return [row.entry for board in boards for row in board.rows]


def _ways_of_faces(entries: Iterable[BoardEntry]) -> list[str]:
    """Return what records say of how faces were come by, each text once."""
    return list(dict.fromkeys(escape(entry.faces) for entry in entries if entry.faces))


def _overlap_notes(entries: Iterable[BoardEntry]) -> list[str]:
    overlaps: dict[tuple[str, ...], list[str]] = {}
    for entry in entries:
        if entry.overlap:
            overlaps.setdefault(entry.overlap, []).append(escape(entry.method))
    return [
        f"{MARKS['overlap'].sign} {', '.join(names)} {'was' if len(names) == 1 else 'were'} pre-trained on "
        f"{_names(seen)}, which holds people of this data set."
        for seen, names in overlaps.items()
    ]


def _paper_notes(board: Board) -> list[str]:
    if not board.in_paper:
        return []
    letters = board.paper_tables
    if not letters:
        return [
            "Not published in the supplement: these methods with these backbones on this task under this "
            "protocol."
        ]
    source = f"Table{'s' if len(letters) > 1 else ''} {', '.join(letters)}"
    return [
        f"*Paper*: the ComFace supplement, {source}, for the same backbone, protocol and head start; — where "
        "it publishes none. Never ranked."
    ]


def _missing_values(rows: tuple[BoardRow, ...]) -> list[str]:
    cells = [
        (f"{METRICS[name].title} for {escape(row.entry.method)}", cell)
        for row in rows
        for name, cell in row.cells.items()
    ]
    values = [(name, cell.value.reason) for name, cell in cells if cell.value.reason is not None]
    intervals = [
        (f"interval of {name}", cell.interval.reason)
        for name, cell in cells
        if cell.value.reason is None
        and cell.interval.low is None
        and cell.interval.reason not in (None, NOT_RESAMPLED)
    ]
    return _reasons([*values, *intervals])


def _reasons(reasoned: Iterable[tuple[str, str | None]]) -> list[str]:
    """Write why things have no value, each reason once with the names of what it holds for.

    Args:
        reasoned: Names, which are Markdown, and plain reasons.
    """
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasoned:
        by_reason.setdefault(reason or "", []).append(name)
    return [f"No {', '.join(names)}: {escape(reason)}." for reason, names in by_reason.items()]


# Rankings, and methods against tasks.


def matrix(section: Section, pages: Addresses) -> list[str]:
    """Write methods against tasks under one protocol.

    Args:
        section: The boards of the protocol.
        pages: Address of each board's page by (task, protocol).
    """
    boards = section.boards
    rows = [[NO_CHANGE, "", *map(_matrix_baseline, boards)]]
    for group, methods in section.groups:
        rows.append([f"*{escape(group)}*", *[""] * (len(boards) + 1)])
        rows += [
            [escape(method), _backbone(own), *(_matrix_cell(board, own.get(board.task)) for board in boards)]
            for method, own in methods
        ]
    return table(["Method", "Backbone", *(_matrix_heading(board, pages) for board in boards)], rows, 2)


def _backbone(own: Mapping[str, BoardRow]) -> str:
    """Print the backbone of a method, which is that of its first record here."""
    return escape(next(iter(own.values())).entry.backbone_text)


def _matrix_heading(board: Board, pages: Addresses) -> str:
    headings = " / ".join(map(heading, board.headline))
    return f"[{escape(board.task)}]({pages[board.task, board.protocol]})<br>{headings}"


def _matrix_baseline(board: Board) -> str:
    text = " / ".join(format_value(name, board.baseline(name)) for name in board.headline)
    return text if board.baseline_entry.complete else f"{text} {INCOMPLETE}"


def _matrix_cell(board: Board, row: BoardRow | None) -> str:
    if row is None:
        return DASH
    values = " / ".join(value_text(name, row.cells.get(name)) for name in board.headline)
    return values + row.entry.marks


def ranking_table(ranking: Ranking, methods: Mapping[str, Sequence[BoardEntry]]) -> list[str]:
    """Write the methods by mean rank, then those that are left out.

    Where tasks are of several quantities, each has a column with the mean rank over its tasks.

    Args:
        ranking: The ranking.
        methods: Records by method, which say its marks and its backbone.
    """
    quantities = list(ranking.weighed)
    header = ["Method", "Backbone", "Place", "Mean rank", *map(escape, quantities), "Borda count", "Tasks"]
    ordered = sorted(ranking.standings.items(), key=lambda item: item[1].mean_rank is None)
    rows = []
    for method, one in ordered:
        _, *cells = _standing(method, one, len(ranking.tasks), quantities)
        own = methods.get(method, [])
        backbone = escape(own[0].backbone_text) if own else DASH
        rows.append([escape(method) + marks_text(own), backbone, *cells])
    return table(header, rows, 2)


def ranking_notes(ranking: Ranking) -> list[str]:
    """Write what the differences of mean ranks are worth, and which methods are left out for which tasks."""
    friedman, critical = ranking.friedman, ranking.critical_difference
    notes = [f"{len(ranking.tasks)} tasks: {_names(ranking.tasks)}."]
    if ranking.weighed:
        notes.append(f"Over {_weighing(ranking)}; a quantity's column has the mean rank over its own tasks.")
    if friedman.value is None:
        notes.append(f"No Friedman test: {escape(friedman.reason or '')}.")
    else:
        notes.append(
            f"Friedman's test that all methods are equally good: p {escape(p_text(friedman))}. It takes "
            "tasks as independent; where they share people, as action units do, p is too small."
        )
    if critical.value is None:
        notes.append(f"No critical difference: {escape(critical.reason or '')}.")
    else:
        closer = f"mean ranks closer than {critical.value:.2f} may be equal"
        notes.append(f"Nemenyi's critical difference: {closer}.")
    for tasks in dict.fromkeys(ranking.apart.values()):
        names = [name for name, own in ranking.apart.items() if own == tasks]
        notes.append(f"Taught from labels what {_names(tasks)} asks, so not ranked: {_names(names)}.")
    left_out: dict[tuple[str, ...], list[str]] = {}
    for name, standing in ranking.standings.items():
        if standing.missing:
            left_out.setdefault(standing.missing, []).append(name)
    for tasks, names in left_out.items():
        notes.append(
            f"Without a complete, comparable record on {_names(tasks)}, not ranked: {_names(names)}."
        )
    return [f"- {note}" for note in notes]


def mean_rank_text(standing: Standing) -> str:
    """Print a mean rank with its interval beneath; a dash for a method that isn't ranked."""
    if standing.mean_rank is None:
        return DASH
    ends = standing.mean_rank_interval
    interval = "" if ends.low is None or ends.high is None else f"[{ends.low:.2f}, {ends.high:.2f}]"
    return beneath(f"{standing.mean_rank:.2f}", interval)


def _ranking(section: Section) -> list[str]:
    ranking = section.ranking
    if ranking is None:
        return [ALONE, ""]
    return [*ranking_table(ranking, section.methods), "", *ranking_notes(ranking), ""]


def _weighing(ranking: Ranking) -> str:
    """Say how many tasks a ranking is over, and of which quantities."""
    tasks = f"{len(ranking.tasks)} tasks"
    if not ranking.weighed:
        return tasks
    sizes = ", ".join(f"{escape(name)} ({size})" for name, size in ranking.weighed.items())
    return f"{tasks} of {len(ranking.weighed)} quantities, each counting the same: {sizes}"


def _standing(method: str, standing: Standing, tasks: int, quantities: Sequence[str]) -> list[str]:
    done = f"{tasks - len(standing.missing)}/{tasks}"
    if standing.mean_rank is None or standing.rank is None or standing.borda is None:
        return [escape(method), DASH, DASH, *(DASH for _ in quantities), DASH, done]
    rank = f"{standing.rank:g}"
    if standing.rank == 1:
        rank = bold(rank)
    elif standing.rank == 2:
        rank = underline(rank)
    span = "" if standing.rank_low is None else f"{standing.rank_low} to {standing.rank_high}"
    own = [f"{standing.group_ranks[name]:.2f}" for name in quantities]
    return [escape(method), beneath(rank, span), mean_rank_text(standing), *own, f"{standing.borda:g}", done]


def _head(title: str) -> list[str]:
    return [MARK, "", f"# {escape(title)}", "", "[All leaderboards](README.md)", ""]


def _methods_without_record(document: Document) -> list[str]:
    """Name the paper's methods that nobody has run yet, options aside."""
    run = {row.entry.method.partition("+")[0] for board in document.boards for row in board.rows}
    waiting = [method for methods in GROUPS.values() for method in methods if method not in run]
    return [f"No record yet, of the paper's methods: {_names(waiting)}."] if waiting else []


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(escape, names))


# Over several boards.


def agreement_table(agreements: Iterable[Agreement]) -> list[str]:
    """Write how orders of methods on photographs and on rendered faces agree."""
    header = ["Photographs", "Rendered faces", "Methods", "Spearman", "Kendall", "p"]
    rows = []
    for one in agreements:
        sides = [
            f"{escape(shorten_names(tasks))}, {escape(protocol)}"
            for tasks, protocol in (
                (one.photographs, one.photographs_protocol),
                (one.rendered, one.rendered_protocol),
            )
        ]
        for names, found in one.parts:
            without = "" if names == one.methods else " without marks"
            values = [
                (found.spearman, found.spearman_interval),
                (found.kendall, found.kendall_interval),
            ]
            cells = [beneath(correlation_text(value), correlation_ends(ends)) for value, ends in values]
            p = DASH if found.p is None else escape(p_text(MetricValue(found.p)))
            rows.append([*sides, f"{len(names)}{without}", *cells, p])
    return table(header, rows, 3)


def settings_title(one: Settings) -> str:
    """Return the heading of a table of settings."""
    return f"{one.task}, {one.protocol}: settings side by side"


def settings_table(
    one: Settings, facts: Mapping[str, Callable[[BoardEntry], str]] | None = None
) -> list[str]:
    """Write methods against the settings of a protocol under which a task ran.

    Args:
        one: The settings.
        facts: Further columns behind the method's, by heading; what they print is Markdown.
    """
    facts = {"Backbone": _escaped_backbone} | dict(facts or {})
    shown = " / ".join(map(heading, one.boards[0].headline))
    header = ["Method", *facts, *(f"{escape(setting_text(board))}<br>{shown}" for board in one.boards)]
    header += [f"paper<br>{shown}"] if one.published else []
    floors = [_matrix_baseline(board) for board in one.boards]
    empty = [""] if one.published else []
    rows = [[NO_CHANGE, *("" for _ in facts), *floors, *empty]]
    for group, methods in one.groups:
        rows.append([f"*{escape(group)}*", *[""] * (len(header) - 1)])
        for method, own in methods:
            entry = next(iter(own.values())).entry
            cells = [_setting(one, board, own.get(board.protocol)) for board in one.boards]
            cells += [_paper_text(one.boards[0].headline, own.values())] if one.published else []
            rows.append([escape(method), *(text(entry) for text in facts.values()), *cells])
    return table(header, rows, 1 + len(facts))


def _escaped_backbone(entry: BoardEntry) -> str:
    return escape(entry.backbone_text)


def setting_text(board: Board) -> str:
    """Name a protocol's settings: what backbones are shown, its size in pixels, and other options."""
    entry = board.entry
    options = [
        option for option in board.protocol.split("+")[1:] if not option.startswith(("image_size=", "align="))
    ]
    return ", ".join([entry.alignment or "whole picture", f"{entry.image_size} px", *options])


def _setting(one: Settings, board: Board, row: BoardRow | None) -> str:
    if row is None:
        return DASH
    name, entry = board.metrics[0], row.entry
    values = " / ".join(value_text(metric, row.cells.get(metric)) for metric in board.headline)
    change = one.changes.get((entry.method, board.protocol))
    small = []
    if change is not None and change.value is not None:
        ends = interval_text(name, change.interval, signed=True)
        small.append(" ".join(filter(None, (signed_text(name, change.value), ends))))
    elif name in row.cells:
        small.append(interval_text(name, row.cells[name].interval))
    small += [f"{entry.input_size} px"] if entry.input_size != entry.image_size else []
    return beneath(values + entry.marks, ", ".join(filter(None, small)))


def _paper_text(names: Sequence[str], rows: Iterable[BoardRow]) -> str:
    """Print what the paper publishes for any of a method's rows."""
    published = {name: value for row in rows for name, value in row.paper.items()}
    if not published:
        return DASH
    return " / ".join(
        format_value(name, published[name].value if name in published else None) for name in names
    )


def shorten_names(names: Sequence[str]) -> str:
    """Name tasks: all of few, else their number and the ends of the list."""
    if len(names) <= 2:
        return ", ".join(names)
    return f"{len(names)} tasks from {names[0]} to {names[-1]}"


def correlation_text(value: MetricValue) -> str:
    """Print a correlation of ranks with two decimals; a dash for none."""
    return DASH if value.value is None else fixed(value.value, 2)


def correlation_ends(interval: Interval) -> str:
    """Print the ends of a rank correlation's interval in brackets; empty where there is none."""
    if interval.low is None or interval.high is None:
        return ""
    return f"[{fixed(interval.low, 2)}, {fixed(interval.high, 2)}]"


# Cells and their markup.


def value_text(name: str, cell: MetricCell | None) -> str:
    """Print a metric: the best in bold, the second underlined, ties with the best marked."""
    if cell is None:
        return DASH
    text = format_value(name, cell.value.value)
    if cell.rank == 1:
        return bold(text)
    if cell.rank == 2:
        text = underline(text)
    return f"{text} {TIED}" if cell.tied else text


def difference_text(name: str, comparison: Comparison | None) -> str:
    """Print a difference, and beneath it the interval and p."""
    if comparison is None:
        return DASH
    difference, p = comparison.difference, comparison.p
    small = [
        interval_text(name, difference.interval, signed=True),
        "" if p.value is None else f"p {escape(p_text(p))}",
    ]
    return beneath(signed_text(name, difference.value), ", ".join(filter(None, small)))


def bold(text: str) -> str:
    """Mark the best value."""
    return f"**{text}**"


def underline(text: str) -> str:
    """Mark the second value; code hosts that filter tags let this one through, but not `u`."""
    return f"<ins>{text}</ins>"


def beneath(text: str, small: str) -> str:
    """Put small text on a line of its own under a cell's text; nothing where there is none."""
    return f"{text}<br><sub>{small}</sub>" if small else text


def table(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> list[str]:
    """Write a table's lines; cells are Markdown already.

    Args:
        header: One cell a column.
        rows: Rows as long as the header.
        text_columns: How many columns are left-aligned; the others are right-aligned.
    """
    rule = [":--" if i < text_columns else "--:" for i in range(len(header))]
    return [f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)]


@functools.lru_cache(maxsize=20_000)
def escape(text: str) -> str:
    r"""Write any text so that Markdown, HTML and bidirectional rendering show it as it is, on one line.

    Characters that can't be seen (line breaks, controls, direction marks) appear as `\u` escapes, and
    nothing is taken for a link, a tag, emphasis or a cell's end.
    """
    # An entity in place of its dot keeps a bare address from becoming a link.
    return re.sub(r"(www)\.", r"\1&#46;", "".join(map(_escape_character, text)), flags=re.IGNORECASE)


def _escape_character(character: str) -> str:
    if character in _ENTITIES:
        return _ENTITIES[character]
    if character in _SPECIAL:
        return f"\\{character}"
    if character in ":@":
        return f"&#{ord(character)};"
    shown = visible(character)
    return shown if shown == character else f"\\{shown}"
