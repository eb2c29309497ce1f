"""What a reader wants to know first: of each quantity, which method is best, how sure that is, and on what.

A quantity on one data set may have several boards, one for each protocol and setting. The answer is of the
one on which most methods are ranked, the first of equal ones: the widest comparison, not the lowest error.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from comface_bench.leaderboards.naming import target_title

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from comface_bench.leaderboards.document import Board, BoardEntry, Document, MetricCell, TaskGroup


@dataclasses.dataclass(frozen=True)
class League:
    """Methods that are compared with each other: those that compete, or those that stand apart.

    Attributes:
        methods: Number of ranked ones.
        best: Of the lowest error or highest correlation.
        cell: Its value.
        tied: The others that the data can't tell from it.
    """

    methods: int
    best: BoardEntry
    cell: MetricCell
    tied: tuple[BoardEntry, ...]


@dataclasses.dataclass(frozen=True)
class Answer:
    """Who is best at one quantity on one data set, under one protocol.

    Attributes:
        boards: One, or those of the tasks that are averaged.
        metric: Name.
        league: Of methods that weren't taught what is asked.
        apart: Of those that were; None where there is none.
        others: The same under other protocols and settings, in board order.
    """

    boards: tuple[Board, ...]
    metric: str
    league: League
    apart: League | None
    others: tuple[Answer, ...] = ()

    @property
    def board(self) -> Board:
        """The only board, or the first of several."""
        return self.boards[0]

    @property
    def entry(self) -> BoardEntry:
        """A record, for what all have in common."""
        return self.board.entry

    def entries(self, method: str) -> list[BoardEntry]:
        """Return a method's records on all of the boards."""
        return [row.entry for board in self.boards for row in board.rows if row.entry.method == method]

    @property
    def protocol(self) -> str:
        """Name of the protocol."""
        return self.board.protocol

    @property
    def baseline(self) -> float | None:
        """The metric of always answering 0; None where it has none, or several tasks are averaged."""
        return self.board.baseline(self.metric) if len(self.boards) == 1 else None

    @property
    def place(self) -> str:
        """The faces that the answer is on, in words."""
        if self.entry.rendered:
            return "rendered faces"
        # What a user's own table names may be anything.
        own = self.entry.task.startswith("csv:")
        return self.entry.data if own else f"photographs of {self.entry.data}"

    @property
    def subject(self) -> str:
        """What is asked, in words."""
        if len(self.boards) == 1:
            return f"change of {target_title(self.entry.target)}"
        of = "action units" if self.entry.quantity == "expression" else "tasks"
        return f"mean of {len(self.boards)} {of}"


def find_answers(document: Document) -> list[Answer]:
    """Answer for each quantity on each data set: photographs first, then rendered faces, in board order."""
    found: dict[tuple[bool, str, str], list[Answer]] = {}
    grouped = {(board.task, board.protocol) for group in document.groups for board in group.boards}
    for board in document.boards:
        if (board.task, board.protocol) not in grouped:
            entry, cells = board.entry, {row.entry.method: row.cells for row in board.rows}
            metric = board.metrics[0]
            of = {name: own[metric] for name, own in cells.items() if metric in own}
            place = (entry.rendered, entry.data, _asked(entry))
            _add(found, place, (board,), of)
    for group in document.groups:
        place = (group.boards[0].entry.rendered, group.boards[0].entry.data, group.quantity)
        _add(found, place, group.boards, group.cells)
    return [_widest(found[place]) for place in sorted(found, key=lambda place: place[0])]


def _asked(entry: BoardEntry) -> str:
    return entry.quantity if entry.quantity in ("age", "weight") else entry.target


def _add(
    found: dict[tuple[bool, str, str], list[Answer]],
    place: tuple[bool, str, str],
    boards: tuple[Board, ...],
    cells: Mapping[str, MetricCell],
) -> None:
    entries = [row.entry for row in boards[0].rows]
    league, apart = (
        _league((one for one in entries if one.apart == which), cells) for which in (False, True)
    )
    if league is not None:
        found.setdefault(place, []).append(Answer(boards, boards[0].metrics[0], league, apart))


def _league(entries: Iterable[BoardEntry], cells: Mapping[str, MetricCell]) -> League | None:
    ranked = [
        (entry, cells[entry.method])
        for entry in entries
        if entry.method in cells and cells[entry.method].rank is not None
    ]
    # The best has none to be compared with; values that print the same share its place.
    first = next((one for one in ranked if one[1].rank == 1 and one[1].to_best is None), None)
    if first is None:
        return None
    tied = tuple(entry for entry, cell in ranked if entry is not first[0] and cell.tied)
    return League(len(ranked), *first, tied)


def _widest(answers: Sequence[Answer]) -> Answer:
    chosen = max(answers, key=lambda one: one.league.methods)
    return dataclasses.replace(chosen, others=tuple(one for one in answers if one is not chosen))


def grouped_boards(
    boards: Sequence[Board], groups: Sequence[TaskGroup]
) -> tuple[list[Board], list[TaskGroup]]:
    """Divide a section's boards into columns of their own, and groups that are one column each."""
    protocol = {board.protocol for board in boards}
    tasks = {board.task for board in boards}
    own = [one for one in groups if one.protocol in protocol and set(one.tasks) <= tasks]
    folded = {task for one in own for task in one.tasks}
    return [board for board in boards if board.task not in folded], own
