"""The page in front: under each protocol the overall ranking, and methods against tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comface_bench.leaderboards.board import MARK
from comface_bench.leaderboards.document import OVERALL
from comface_bench.leaderboards.family import protocols
from comface_bench.leaderboards.markdown import escape
from comface_bench.leaderboards.matrix import NOTES, matrix
from comface_bench.leaderboards.standings import find_ranking, standings_table
from comface_bench.leaderboards.table import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from comface_bench.leaderboards.document import Document


def index_page(
    document: Document, pages: Mapping[tuple[str, str], str], links: Iterable[tuple[str, str]]
) -> str:
    """Write the index.

    Args:
        document: All boards and rankings.
        pages: Address of each board's page by (task, protocol), relative to the index.
        links: Title and address of the other pages and files.
    """
    lines = [MARK, "", "# Leaderboards", ""]
    if not document.boards:
        lines += ["No results yet. `comface-bench run --method METHOD --task TASK` makes the first.", ""]
    lines += [" · ".join(f"[{escape(title)}]({address})" for title, address in links), ""]
    for protocol in protocols(document.boards):
        boards = [board for board in document.boards if board.protocol == protocol]
        ranking = find_ranking(document.rankings, OVERALL, protocol)
        lines += [f"## {escape(protocol)}", ""]
        if ranking is not None:
            lines += [f"Over {len(ranking.tasks)} tasks:", "", *standings_table(ranking), ""]
        lines += [*matrix(boards, pages), ""]
    if document.boards:
        lines += [f"- {note}" for note in [*NOTES, *_expected(document)]]
    return "\n".join(lines).rstrip("\n") + "\n"


def _expected(document: Document) -> list[str]:
    """Name the paper's methods that nobody has run yet, options aside."""
    run = {row.entry.method.partition("+")[0] for board in document.boards for row in board.rows}
    waiting = [method for methods in GROUPS.values() for method in methods if method not in run]
    return [f"No record yet, of the paper's methods: {', '.join(map(escape, waiting))}."] if waiting else []
