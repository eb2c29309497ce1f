"""What the index and the pages of families show: ranks over tasks, and methods against tasks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from comface_bench.leaderboards.site.strips import Strip, Strips
from comface_bench.leaderboards.table import groups_of, method_order, protocol_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from comface_bench.leaderboards.document import Board, Ranking, Row
    from comface_bench.leaderboards.table import Entry


@dataclasses.dataclass(frozen=True)
class RankPlot:
    """Mean ranks as strips on one scale: the scale, and strips by method."""

    axis: Markup
    strips: dict[str, Markup]


@dataclasses.dataclass(frozen=True)
class Section:
    """Everything under one protocol.

    Attributes:
        protocol: Name.
        boards: In board order.
        ranking: Over these tasks; None where there is none.
        plot: Of the ranking; None where no method has all tasks.
        groups: Methods by group, both in board order, each with its rows by task.
    """

    protocol: str
    boards: tuple[Board, ...]
    ranking: Ranking | None
    plot: RankPlot | None
    groups: list[tuple[str, list[tuple[str, dict[str, Row]]]]]

    @property
    def unranked(self) -> list[tuple[str, str]]:
        """Methods that the ranking leaves out, and for which tasks."""
        standings = self.ranking.standings if self.ranking else {}
        left_out = ((name, one.missing) for name, one in standings.items() if one.mean_rank is None)
        return [
            (name, missing[0] if len(missing) == 1 else f"{len(missing)} tasks") for name, missing in left_out
        ]


def sections(boards: Sequence[Board], rankings: Sequence[Ranking], scope: str) -> list[Section]:
    """Sort boards into sections, one a protocol.

    Args:
        boards: In board order.
        rankings: Any; those of other scopes are passed over.
        scope: That of the rankings to show.
    """
    ranked = {ranking.protocol: ranking for ranking in rankings if ranking.scope == scope}
    found = []
    for protocol in sorted({board.protocol for board in boards}, key=protocol_order):
        chosen = tuple(board for board in boards if board.protocol == protocol)
        ranking = ranked.get(protocol)
        found.append(
            Section(protocol, chosen, ranking, rank_plot(ranking) if ranking else None, _by_group(chosen))
        )
    return found


def rank_plot(ranking: Ranking) -> RankPlot | None:
    """Draw the mean ranks with their intervals, and Nemenyi's critical difference where there is one."""
    ranked = {name: one for name, one in ranking.standings.items() if one.mean_rank is not None}
    if not ranked:
        return None
    critical = ranking.critical_difference.value
    strips = Strips(1, max(2, len(ranked), 1 + (critical or 0)), about=6)
    drawn = {}
    for name, one in ranked.items():
        ends = one.mean_rank_interval
        told = f"{name}: mean rank {one.mean_rank:.2f}"
        if ends.low is not None and ends.high is not None:
            told += f", 95 % interval {ends.low:.2f} to {ends.high:.2f}"
        best = "best" if one.place == 1 else ""
        drawn[name] = strips.row(Strip(one.mean_rank, ends.low, ends.high, best, None, told))
    words = "" if critical is None else f"CD {critical:.2f}"
    return RankPlot(strips.axis("Scale: mean rank, 1 the best", critical, words), drawn)


def _by_group(boards: Sequence[Board]) -> list[tuple[str, list[tuple[str, dict[str, Row]]]]]:
    entries: dict[str, Entry] = {}
    rows: dict[str, dict[str, Row]] = {}
    for board in boards:
        for row in board.rows:
            name = row.entry.method
            rows.setdefault(name, {})[board.task] = row
            # A method whose records name different groups is listed once, in the first of them.
            if name not in entries or method_order(row.entry) < method_order(entries[name]):
                entries[name] = row.entry
    ordered = sorted(entries.values(), key=method_order)
    return [
        (group, [(entry.method, rows[entry.method]) for entry in ordered if entry.group == group])
        for group in groups_of(ordered)
    ]
