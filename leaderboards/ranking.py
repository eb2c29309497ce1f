"""Methods over several tasks: a ranking for each family of tasks, and one over all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comface_bench.leaderboards.document import OVERALL, Board, Ranking, family_of
from comface_bench.leaderboards.table import natural, protocol_order
from comface_bench.stats.ranks import critical_difference, friedman, rank_methods, unranked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from comface_bench.stats.bootstrap import Scores


def rankings(boards: Sequence[tuple[Board, Scores | None]]) -> tuple[Ranking, ...]:
    """Rank methods under each protocol: over each family of two or more tasks, then over all tasks.

    Tasks without a ranked method have no part in it. A method without a complete record on one of the
    tasks isn't ranked, and the ranking says which it misses.

    Args:
        boards: With the primary metric of their ranked methods on the resamples.
    """
    ranked = [(board, scores) for board, scores in boards if scores is not None]
    found = []
    for protocol in sorted({board.protocol for board, _ in ranked}, key=protocol_order):
        mine = [(board, scores) for board, scores in ranked if board.protocol == protocol]
        families = sorted({family_of(board.task) for board, _ in mine}, key=natural)
        for family in families:
            own = [(board, scores) for board, scores in mine if family_of(board.task) == family]
            if len(own) > 1:
                found.append(_ranking(family, protocol, own))
        if len(mine) > 1:
            found.append(_ranking(OVERALL, protocol, mine))
    overall = [ranking for ranking in found if ranking.scope == OVERALL]
    return (*(ranking for ranking in found if ranking.scope != OVERALL), *overall)


def _ranking(scope: str, protocol: str, boards: Iterable[tuple[Board, Scores]]) -> Ranking:
    boards = list(boards)
    scores = {board.task: scored for board, scored in boards}
    standings = rank_methods(scores)
    # A method whose only records are incomplete is on no board's scores, but it is there.
    shown = [row.entry.method for board, _ in boards for row in board.rows]
    for method in dict.fromkeys(shown):
        if method not in standings:
            standings[method] = unranked(scores)
    return Ranking(
        scope=scope,
        protocol=protocol,
        tasks=tuple(scores),
        standings=standings,
        friedman=friedman(standings),
        critical_difference=critical_difference(standings),
    )
