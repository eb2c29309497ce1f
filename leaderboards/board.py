"""One board: the records of a task under a protocol, as a Markdown page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comface_bench.leaderboards.markdown import DASH, bold, escape, table, underline
from comface_bench.leaderboards.paper import is_paper_task, paper_values, published_metrics
from comface_bench.leaderboards.table import groups_of
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comface_bench.leaderboards.table import Entry

MARK = "<!-- Written by `comface-bench leaderboard build`; changes are lost at the next build. -->"
INCOMPLETE = " †"
IDLE = " ‡"
OVERLAP = " §"
NO_CHANGE = "MAE of *no change*"
IDLE_NOTE = f"{IDLE} The error is no smaller than that of always answering 0: nothing was learned that helps."
CONSTANT = "*no change*"

_AGGREGATES = {
    "pooled": "Metrics are of all folds' predictions pooled, averaged over seeds.",
    "fold-mean": "Metrics are averaged over folds and seeds, because all folds are tested on the same pairs.",
}


def board_page(entries: Sequence[Entry]) -> str:
    """Write the page of one task under one protocol.

    Args:
        entries: Its records, at least one, in board order.
    """
    first = entries[0]
    measured = list(dict.fromkeys(name for entry in entries for name in entry.metrics))
    published = published_metrics(first.task, first.protocol)
    header = ["Method", *(metric_heading(name) for name in measured)]
    header += [NO_CHANGE] if "mae" in measured else []
    header += [f"{METRICS[name].title}, paper" for name in published]
    header += ["Folds", "Seeds", "Pairs", "Subjects", "Failed", "From"]
    width = len(header)
    styles = {name: column_styles(entries, name) for name in measured}
    rows = [_constant_row(entries, measured, width)]
    for group in groups_of(entries):
        rows.append([f"*{escape(group)}*", *[""] * (width - 1)])
        for index, entry in enumerate(entries):
            if entry.group == group:
                values = [styles[name][index] for name in measured]
                values += [format_value("mae", entry.constant["mae"].value)] if "mae" in measured else []
                rows.append([method_cell(entry), *values, *_paper_cells(entry, published), *_facts(entry)])
    lines = [MARK, "", f"# {escape(first.task)}, {escape(first.protocol)}", "", *_about(first)]
    lines += ["", *table(header, rows), "", *_notes(entries, bool(published))]
    return "\n".join(lines) + "\n"


def metric_heading(name: str) -> str:
    """Return a metric's title with the arrow of its better direction."""
    metric = METRICS[name]
    return f"{metric.title} {'↑' if metric.higher_is_better else '↓'}"


def method_cell(entry: Entry) -> str:
    """Return a method's name with its marks."""
    return escape(entry.method) + marks(entry)


def marks(entry: Entry) -> str:
    """Return the marks of a record: incomplete, no better than "no change", or pre-trained on its people."""
    told = ((not entry.complete, INCOMPLETE), (entry.idle, IDLE), (bool(entry.overlap), OVERLAP))
    return "".join(mark for holds, mark in told if holds)


def format_value(name: str, value: float | None) -> str:
    """Print a metric: three decimals, or a percentage with one; a dash for none."""
    if value is None:
        return DASH
    text = f"{100 * value:.1f}" if METRICS[name].percent else f"{value:.3f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def column_styles(entries: Sequence[Entry], name: str) -> list[str]:
    """Print one metric of all entries, the best in bold and the second underlined.

    Only complete, measured entries are ranked, and none where data or split differ. Values that print the
    same share a place.
    """
    values = [entry.metrics[name].value if name in entry.metrics else None for entry in entries]
    texts = [format_value(name, value) for value in values]
    ranked = [
        value for entry, value in zip(entries, values, strict=True) if entry.ranked and value is not None
    ]
    if len({entry.version for entry in entries}) > 1:
        ranked = []
    ranked.sort(reverse=METRICS[name].higher_is_better)
    places = list(dict.fromkeys(format_value(name, value) for value in ranked))
    styled = []
    for entry, text in zip(entries, texts, strict=True):
        if not entry.ranked or text not in places[:2]:
            styled.append(text)
        else:
            styled.append(bold(text) if text == places[0] else underline(text))
    return styled


def constant_entry(entries: Sequence[Entry]) -> Entry:
    """Choose the record whose "no change" answer covers most: a complete one if there is one."""
    return max(entries, key=lambda entry: (entry.complete, entry.n_pairs))


def _constant_row(entries: Sequence[Entry], measured: Sequence[str], width: int) -> list[str]:
    chosen = constant_entry(entries)
    constant = chosen.constant
    values = [format_value(name, constant[name].value) if name in constant else DASH for name in measured]
    counts = [f"{chosen.folds_done}/{chosen.folds}", "", str(chosen.n_pairs), str(chosen.n_subjects), "", ""]
    name = CONSTANT + ("" if chosen.complete else INCOMPLETE)
    return [name, *values, *[""] * (width - 1 - len(values) - len(counts)), *counts]


def _paper_cells(entry: Entry, published: Sequence[str]) -> list[str]:
    values = paper_values(entry.task, entry.protocol, entry.method)
    return [format_value(name, values[name].value) if name in values else DASH for name in published]


def _facts(entry: Entry) -> list[str]:
    seeds = ", ".join(str(seed) for seed in entry.seeds)
    folds = f"{entry.folds_done}/{entry.folds}"
    counts = [str(entry.n_pairs), str(entry.n_subjects), str(entry.failures)]
    return [folds, seeds, *counts, escape(entry.kind)]


def _about(entry: Entry) -> list[str]:
    protocol, *overrides = entry.protocol.split("+")
    options = "".join(f" -o {override}" for override in overrides)
    return [
        f"Estimated is the change of {escape(entry.target)}, in {escape(entry.unit)}, between two images of "
        f"one person. Data: {escape(entry.data)}, manifest {entry.version[0][:8]}. "
        f"Split: {escape(entry.split)}, {entry.folds} folds, no subject in two parts of a fold. "
        f"{_AGGREGATES[entry.aggregate]}",
        "",
        "A row comes from",
        "",
        f"    comface-bench run --method METHOD --task {entry.task} --protocol {protocol}{options}",
    ]


def _notes(entries: Sequence[Entry], published: bool) -> list[str]:
    notes = [
        "The best complete row is in bold, the second underlined. *no change* always answers 0; its MAE on a "
        "row's own pairs stands in that row."
    ]
    if any(not entry.complete for entry in entries):
        notes.append("† Folds are missing or failed; the row covers what is done and isn't ranked.")
    if any(entry.idle for entry in entries):
        notes.append(IDLE_NOTE.strip())
    for entry in entries:
        if entry.overlap:
            names = ", ".join(map(escape, entry.overlap))
            notes.append(
                f"§ {escape(entry.method)} was pre-trained on {names}, which holds people of this data set."
            )
    if len({entry.version for entry in entries}) > 1:
        notes.append("Rows were measured on different versions of data or split, so none is marked as best.")
    task, protocol = entries[0].task, entries[0].protocol
    if published:
        letters = {v.table for e in entries for v in paper_values(task, protocol, e.method).values()}
        source = f", Table{'s' if len(letters) > 1 else ''} {', '.join(sorted(letters))}" if letters else ""
        notes.append(f"*Paper*: the ComFace supplement{source}; — where it publishes none. Never ranked.")
        if any("+" in entry.method and paper_values(task, protocol, entry.method) for entry in entries):
            notes.append("The paper's values are for a method without the options after its name's `+`.")
    elif is_paper_task(task) and protocol in ("linear", "finetune"):
        notes.append("The supplement publishes no value for this task under this protocol.")
    for entry in entries:
        for name, value in entry.metrics.items():
            if value.reason is not None:
                title = METRICS[name].title
                notes.append(f"No {title} for {escape(entry.method)}: {escape(value.reason)}.")
    return [f"- {note}" for note in notes]
