"""One board: all methods on a task under a protocol, as a Markdown page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comface_bench.leaderboards.facts import IDLE, INCOMPLETE, OVERLAP, TIED, headline, reasons
from comface_bench.leaderboards.markdown import escape, visible
from comface_bench.leaderboards.numbers import format_value
from comface_bench.leaderboards.paper import is_paper_task
from comface_bench.leaderboards.tables import differences, fold_means, further, methods, results, runs
from comface_bench.stats.bootstrap import NOT_RESAMPLED
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from comface_bench.leaderboards.document import Board, Row

MARK = "<!-- Written by `comface-bench leaderboard build`; change the results or the builder, not this. -->"

IDLE_NOTE = "The error is no smaller than that of always answering 0: nothing was learned that helps."
_AGGREGATES = {
    "pooled": "Metrics are of all folds' predictions pooled, averaged over seeds.",
    "fold-mean": "Metrics are averaged over folds and seeds, because all folds are tested on the same pairs.",
}
_METHODS = (
    "Intervals are of 95 %, by resampling the people tested; p is of a sign-flip test by person, corrected "
    "for all methods by Holm."
)


def board_page(board: Board) -> str:
    """Write the page of one task under one protocol, which lies in the task's folder.

    Args:
        board: With at least one row.
    """
    parts = [
        [MARK],
        [f"# {escape(board.task)}, {escape(board.protocol)}"],
        ["[All leaderboards](../README.md)"],
        _intro(board),
        results(board),
        _notes(board),
    ]
    sections = [
        ("Further metrics", further(board)),
        ("Differences", differences(board)),
        ("Folds", fold_means(board)),
        ("Methods", methods(board)),
        ("Runs", runs(board)),
    ]
    parts += [[f"## {title}", "", *lines] for title, lines in sections if lines]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def detectable_text(board: Board) -> str:
    """Say how large a difference the task shows, or why that isn't known."""
    known = {name: board.detectable[name] for name in headline(board) if name in board.detectable}
    told = [
        f"{METRICS[name].title} {format_value(name, found.value)}{_unit(board, name)}"
        for name, found in known.items()
        if found.value is not None
    ]
    lines = [f"Two methods must differ by so much for this task to show it (80 % power): {', '.join(told)}."]
    missing = [(METRICS[name].title, found.reason) for name, found in known.items() if found.reason]
    why = [text.replace("No ", "No smallest difference for ", 1) for text in reasons(missing)]
    return " ".join([*(lines if told else []), *why])


def _unit(board: Board, name: str) -> str:
    return f" {escape(board.rows[0].entry.unit)}" if METRICS[name].has_unit else ""


def _intro(board: Board) -> list[str]:
    entry = board.rows[0].entry
    protocol, *overrides = entry.protocol.split("+")
    options = "".join(f" -o {override}" for override in overrides)
    command = f"comface-bench run --method METHOD --task {entry.task} --protocol {protocol}{options}"
    return [
        f"Estimated is the change of {escape(entry.target)}, in {escape(entry.unit)}, between two images of "
        f"one person. Data: {escape(entry.data)}, manifest {escape(entry.version[0][:8])}. "
        f"Split: {escape(entry.split)}, {entry.folds} folds, no subject in two parts of a fold. "
        f"{_AGGREGATES[entry.aggregate]} {_METHODS}",
        "",
        "A row comes from",
        "",
        "    " + "".join(map(visible, command)),
    ]


def _notes(board: Board) -> list[str]:
    entries = [row.entry for row in board.rows]
    notes = [
        "The best complete row is in bold, the second underlined. *no change* always answers 0.",
        detectable_text(board),
    ]
    if any(cell.tied and cell.place != 1 for row in board.rows for cell in row.cells.values()):
        notes.append(f"{TIED} Tied with the best: the interval of the difference holds 0.")
    if any(not entry.complete for entry in entries):
        notes.append(f"{INCOMPLETE} Folds are missing or failed; such a row isn't ranked.")
    if any(entry.idle for entry in entries):
        notes.append(f"{IDLE} {IDLE_NOTE}")
    overlaps: dict[tuple[str, ...], list[str]] = {}
    for entry in entries:
        if entry.overlap:
            overlaps.setdefault(entry.overlap, []).append(escape(entry.method))
    for seen, names in overlaps.items():
        told = f"{', '.join(names)} {'was' if len(names) == 1 else 'were'} pre-trained on "
        told += ", ".join(map(escape, seen))
        notes.append(f"{OVERLAP} {told}, which holds people of this data set.")
    if any(entry.kind == "submitted" for entry in entries):
        notes.append("*submitted*: someone else's run; its numbers were computed again from its predictions.")
    if not board.comparable:
        notes.append("Rows were measured on different versions of data or split, so none is marked as best.")
    notes += _paper_notes(board)
    notes += _missing(board.rows)
    return [f"- {note}" for note in notes]


def _paper_notes(board: Board) -> list[str]:
    if board.protocol not in ("linear", "finetune") or not is_paper_task(board.task):
        return []
    letters = sorted({value.table for row in board.rows for value in row.paper.values()})
    if not letters:
        return ["Not published in the supplement: these methods on this task under this protocol."]
    source = f"Table{'s' if len(letters) > 1 else ''} {', '.join(letters)}"
    notes = [f"*Paper*: the ComFace supplement, {source}; — where it publishes none. Never ranked."]
    if any("+" in row.entry.method and row.paper for row in board.rows):
        notes.append(
            "Options after a `+` in a method's name are no part of the paper's value, but for ComFace's "
            "backbones (Table I)."
        )
    return notes


def _missing(rows: tuple[Row, ...]) -> list[str]:
    found = [
        (f"{METRICS[name].title} for {escape(row.entry.method)}", cell.value.reason)
        for row in rows
        for name, cell in row.cells.items()
        if cell.value.reason is not None
    ]
    found += [
        (f"interval of {METRICS[name].title} for {escape(row.entry.method)}", cell.interval.reason)
        for row in rows
        for name, cell in row.cells.items()
        if cell.value.reason is None
        and cell.interval.low is None
        and cell.interval.reason not in (None, NOT_RESAMPLED)
    ]
    return reasons(found)
