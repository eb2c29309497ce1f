"""The pages over several tasks: one for each family of tasks, and the overall ranking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comface_bench.leaderboards.board import MARK
from comface_bench.leaderboards.document import OVERALL
from comface_bench.leaderboards.markdown import escape
from comface_bench.leaderboards.matrix import NOTES, matrix
from comface_bench.leaderboards.standings import READING, find_ranking, standings_notes, standings_table
from comface_bench.leaderboards.table import protocol_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comface_bench.leaderboards.document import Board, Document, Ranking

ALONE = "No ranking: fewer than two tasks have a complete record under this protocol."


def family_page(document: Document, family: str, pages: Mapping[tuple[str, str], str]) -> str:
    """Write the page of a family: under each protocol its ranking, and methods against its tasks.

    Args:
        document: All boards and rankings.
        family: Name of the family.
        pages: Address of each board's page by (task, protocol), relative to this page.
    """
    boards = [board for board in document.boards if board.family == family]
    lines = _head(family)
    for protocol in protocols(boards):
        mine = [board for board in boards if board.protocol == protocol]
        ranking = find_ranking(document.rankings, family, protocol)
        lines += [f"## {escape(protocol)}", "", *(_ranking(ranking) if len(mine) > 1 else [])]
        lines += [*matrix(mine, pages), ""]
    return "\n".join([*lines, *(f"- {note}" for note in NOTES), f"- {READING}"]) + "\n"


def overall_page(document: Document) -> str:
    """Write the page of the rankings over all tasks, one for each protocol."""
    lines = [*_head("Overall ranking"), READING, ""]
    for protocol in protocols(document.boards):
        ranking = find_ranking(document.rankings, OVERALL, protocol)
        lines += [f"## {escape(protocol)}", "", *_ranking(ranking)]
    return "\n".join(lines).rstrip("\n") + "\n"


def protocols(boards: Sequence[Board]) -> list[str]:
    """Return the protocols that occur, in board order."""
    return sorted({board.protocol for board in boards}, key=protocol_order)


def _head(title: str) -> list[str]:
    return [MARK, "", f"# {escape(title)}", "", "[All leaderboards](README.md)", ""]


def _ranking(ranking: Ranking | None) -> list[str]:
    if ranking is None:
        return [ALONE, ""]
    return [*standings_table(ranking), "", *standings_notes(ranking), ""]
