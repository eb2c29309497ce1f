"""The board's summary in the README: a table between two marks, and a plot.

python -m comface_bench.leaderboards.readme leaderboards/results README.md docs/images/board.svg
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from comface_bench.core.errors import UsageError
from comface_bench.core.files import replace_file
from comface_bench.leaderboards.compose import compose
from comface_bench.leaderboards.document import OVERALL
from comface_bench.leaderboards.facts import CONSTANT, constant_entry, marks, value_text
from comface_bench.leaderboards.markdown import beneath, escape, table
from comface_bench.leaderboards.numbers import DASH, format_value
from comface_bench.leaderboards.readme_plot import draw_plot
from comface_bench.leaderboards.standings import find_ranking
from comface_bench.leaderboards.table import method_order, protocol_order

if TYPE_CHECKING:
    from comface_bench.leaderboards.document import Board, Document, Ranking, Row

BEGIN, END = "<!-- board -->", "<!-- end of board -->"
AGE, WEIGHT, UNITS = "synth-age", "synth-weight", "synth-au"


def board_section(document: Document) -> str:
    """Write the table of each protocol: age, weight, the action units' mean correlation, and mean rank.

    Args:
        document: The committed board; its tasks are the synthetic ones.
    """
    lines = []
    for protocol in sorted({board.protocol for board in document.boards}, key=protocol_order):
        boards = {board.task: board for board in document.boards if board.protocol == protocol}
        lines += [
            "",
            f"`{protocol}`",
            "",
            *_table(boards, find_ranking(document.rankings, OVERALL, protocol)),
        ]
    return "\n".join(lines).strip() + "\n"


def replace_section(readme: str, section: str) -> str:
    """Put a section between the marks of a README.

    Raises:
        UsageError: The marks aren't there, or stand twice.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in after or END in after:
        raise UsageError(f"the file doesn't hold {BEGIN} and {END} once, in this order")
    return f"{before}{BEGIN}\n{section}{END}{after}"


def _table(boards: dict[str, Board], ranking: Ranking | None) -> list[str]:
    units = [board for task, board in boards.items() if task.startswith(UNITS)]
    columns = [(AGE, "mae"), (AGE, "pearson"), (WEIGHT, "mae"), (WEIGHT, "pearson"), (WEIGHT, "acc")]
    header = ["Method", "Age, MAE (years) ↓", "Age, r ↑", "Weight, MAE (kg) ↓", "Weight, r ↑"]
    header += ["Weight, Acc. (%) ↑", f"{len(units)} action units, mean r ↑", "Mean rank ↓"]
    found: dict[str, dict[str, Row]] = {}
    for board in boards.values():
        for row in board.rows:
            found.setdefault(row.entry.method, {})[board.task] = row
    rows = [[CONSTANT, *(_constant(boards.get(task), name) for task, name in columns), DASH, ""]]
    for method, own in sorted(
        found.items(), key=lambda item: method_order(next(iter(item[1].values())).entry)
    ):
        idle = any(row.entry.idle for task, row in own.items() if task in (AGE, WEIGHT))
        cells = [
            value_text(name, own[task].cells.get(name)) if task in own else DASH for task, name in columns
        ]
        name = escape(method) + (
            marks(next(row.entry for row in own.values() if row.entry.idle)) if idle else ""
        )
        rows.append([name, *cells, _mean_r(own, units), _rank(method, ranking)])
    return table(header, rows)


def _constant(board: Board | None, name: str) -> str:
    if board is None:
        return DASH
    value = constant_entry(board).constant.get(name)
    return DASH if value is None else format_value(name, value.value)


def _mean_r(own: dict[str, Row], units: list[Board]) -> str:
    """Print the mean correlation over all action units; a dash if one is missing."""
    cells = [own[board.task].cells.get("pearson") for board in units if board.task in own]
    values = [cell.value.value for cell in cells if cell is not None and cell.value.value is not None]
    return format_value("pearson", fmean(values)) if units and len(values) == len(units) else DASH


def _rank(method: str, ranking: Ranking | None) -> str:
    standing = ranking.standings.get(method) if ranking is not None else None
    if standing is None or standing.mean_rank is None:
        return DASH
    interval = standing.mean_rank_interval
    if interval.low is None or interval.high is None:
        return f"{standing.mean_rank:.2f}"
    return beneath(f"{standing.mean_rank:.2f}", f"[{interval.low:.2f}, {interval.high:.2f}]")


def write(results: Path, readme: Path, plot: Path) -> None:
    """Bring the README's section and the plot up to date.

    Args:
        results: Folder of the committed records.
        readme: File with the marks.
        plot: SVG file to write.

    Raises:
        ResultError: A file isn't a record.
        UsageError: The marks aren't there.
    """
    document = compose(results)
    text = replace_section(readme.read_text(encoding="utf-8"), board_section(document))
    replace_file(readme, text.encode())
    replace_file(plot, draw_plot(document).encode())


if __name__ == "__main__":
    write(*map(Path, sys.argv[1:]))
