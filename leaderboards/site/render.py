"""Writes all pages of the site."""

from __future__ import annotations

import math
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any

from comface_bench.core.errors import UsageError
from comface_bench.leaderboards.document import OVERALL
from comface_bench.leaderboards.facts import constant_entry
from comface_bench.leaderboards.numbers import DASH, format_value
from comface_bench.leaderboards.paper import is_paper_task
from comface_bench.leaderboards.site.board import constant, forest, groups, published
from comface_bench.leaderboards.site.charts import curves
from comface_bench.leaderboards.site.overview import sections
from comface_bench.leaderboards.site.places import (
    FOLDER,
    INDEX,
    SCRIPT,
    STYLE,
    board_place,
    family_place,
    link,
    record_place,
)
from comface_bench.leaderboards.site.record import draw_plots, facts
from comface_bench.leaderboards.site.templates import render
from comface_bench.leaderboards.statistics import COMFACE
from comface_bench.results.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

    from comface_bench.leaderboards.document import Board, Document, Row
    from comface_bench.results.schema import Record

Key = tuple[str, str, str]


MOST_RECORDS = 1000
"""Where there are more records, only the best of each board have pages of their own."""


def render_site(document: Document, results: Path, most_records: int = MOST_RECORDS) -> dict[str, bytes]:
    """Write the site; the same bytes for the same document and results.

    Args:
        document: What the pages show.
        results: Folder of the records, for what is shown of a single one.
        most_records: Where there are more records, each board's share of so many pages goes to the best of
            its primary metric, and to `comface`; the board's page says so.

    Returns:
        Bytes of each file by path, which begins with `html/`.

    Raises:
        ResultError: A record or its predictions can't be read.
    """
    pages = _Site(document, results, most_records).pages()
    return {f"{FOLDER}/{place}": data for place, data in pages.items()}


class _Site:
    """The document and its records, and what all pages share."""

    def __init__(self, document: Document, results: Path, most_records: int) -> None:
        self._document = document
        rows = sum(len(board.rows) for board in document.boards)
        self._share = None if rows <= most_records else max(1, most_records // len(document.boards))
        self._store = ResultStore(results)
        self._families = [
            (family, family_place(family))
            for family in dict.fromkeys(board.family for board in document.boards)
        ]
        self._records: set[Key] = set()

    def pages(self) -> dict[str, bytes]:
        """Return all files by place."""
        pages = {name: _shared(name) for name in (STYLE, SCRIPT)}
        for board in self._document.boards:
            for row in self._opened(board):
                record = self._load(row)
                if record:
                    place = record_place(board.task, board.protocol, row.entry.method)
                    pages[place] = self._record(board, row, record)
            pages[board_place(board.task, board.protocol)] = self._board(board)
        pages[INDEX] = self._overview(INDEX, "Leaderboards", OVERALL, self._document.boards)
        for family, place in self._families:
            boards = tuple(board for board in self._document.boards if board.family == family)
            pages[place] = self._overview(place, family, family, boards)
        return dict(sorted(pages.items()))

    def _overview(self, place: str, title: str, scope: str, boards: tuple[Board, ...]) -> bytes:
        return self._render(
            "overview.html.j2",
            place,
            title,
            [],
            sections=sections(boards, self._document.rankings, scope),
            constants={(board.task, board.protocol): constant_entry(board).constant for board in boards},
            place_of=lambda board: board_place(board.task, board.protocol),
            record_at=self._record_at,
        )

    def _board(self, board: Board) -> bytes:
        place, entries = board_place(board.task, board.protocol), [row.entry for row in board.rows]
        chosen, primary = constant_entry(board), board.metrics[0]
        best = next((row for row in board.rows if row.entry.method == board.best.get(primary)), None)
        protocol, *overrides = board.protocol.split("+")
        options = "".join(f" -o {override}" for override in overrides)
        others = [one.protocol for one in self._document.boards if one.task == board.task]
        return self._render(
            "board.html.j2",
            place,
            f"{board.task}, {board.protocol}",
            self._crumbs(board, None),
            board=board,
            best=best,
            floor=constant(board, primary),
            to_comface=board.best.get(primary) != COMFACE and _compared_with_comface(board),
            floors=_floors(board) + [DASH] * len(published(board.rows)),
            counted=chosen,
            protocols=[(name, board_place(board.task, name)) for name in others],
            forest=forest(board),
            groups=groups(board.rows),
            published=published(board.rows),
            tables=sorted({value.table for row in board.rows for value in row.paper.values()}),
            is_paper_task=is_paper_task(board.task) and board.protocol in ("linear", "finetune"),
            entries=entries,
            share=self._share,
            places={entry.method: self._record_at(board, entry.method) for entry in entries},
            command=f"comface-bench run --method METHOD --task {board.task} --protocol {protocol}{options}",
        )

    def _record(self, board: Board, row: Row, record: Record) -> bytes:
        method = row.entry.method
        self._records.add((board.task, board.protocol, method))
        back = board_place(board.task, board.protocol)
        return self._render(
            "record.html.j2",
            record_place(board.task, board.protocol, method),
            f"{method} on {board.task}, {board.protocol}",
            [*self._crumbs(board, back), (method, None)],
            board=board,
            board_place=back,
            row=row,
            entry=row.entry,
            record=record,
            facts=facts(record),
            plots=draw_plots(self._store, record),
            curve=curves(record.units, record.task.unit),
        )

    def _render(
        self, template: str, here: str, title: str, crumbs: list[tuple[str, str | None]], **context: Any
    ) -> bytes:
        shared = {"here": here, "title": title, "crumbs": crumbs, "families": self._families}
        return render(template, link=partial(link, here=here), **shared, **context)

    def _crumbs(self, board: Board, place: str | None) -> list[tuple[str, str | None]]:
        family = (board.family, family_place(board.family))
        return [("Leaderboards", INDEX), family, (f"{board.task}, {board.protocol}", place)]

    def _load(self, row: Row) -> Record | None:
        entry = row.entry
        try:
            return self._store.load(entry.task, entry.protocol, entry.method)
        except UsageError:
            # A name that can't be a file name has no record.
            return None

    def _opened(self, board: Board) -> list[Row]:
        """Return the rows of a board that have a page of their own, if their record is there."""
        ordered = sorted(board.rows, key=lambda row: _place(row, board.metrics[0]))
        if self._share is None:
            return ordered
        return ordered[: self._share] + [row for row in ordered[self._share :] if row.entry.method == COMFACE]

    def _record_at(self, board: Board, method: str) -> str | None:
        if (board.task, board.protocol, method) not in self._records:
            return None
        return record_place(board.task, board.protocol, method)


def _place(row: Row, metric: str) -> float:
    place = row.cells[metric].place if metric in row.cells else None
    return math.inf if place is None else place


def _compared_with_comface(board: Board) -> bool:
    cells = (row.cells.get(board.metrics[0]) for row in board.rows)
    return any(cell is not None and cell.to_comface is not None for cell in cells)


def _floors(board: Board) -> list[str]:
    return [format_value(name, constant(board, name)) for name in board.metrics]


def _shared(name: str) -> bytes:
    return resources.files(__package__).joinpath(name).read_bytes()
