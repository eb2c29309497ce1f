"""The pages of the site: which there are, where they are, and what each is filled with."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from comface_bench.core.digest import digest
from comface_bench.core.errors import UsageError
from comface_bench.leaderboards.document import APART, COLUMNS, OVERALL, rows_by_group, shown_marks
from comface_bench.leaderboards.formatting import DASH, format_value, unit_of, visible
from comface_bench.leaderboards.naming import family_title, protocol_title, target_title
from comface_bench.leaderboards.paper import COMFACE, paper_metrics
from comface_bench.leaderboards.site.answers import find_answers, grouped_boards
from comface_bench.leaderboards.site.charts import curves
from comface_bench.leaderboards.site.comparison import compare_data
from comface_bench.leaderboards.site.pictures import Pictures
from comface_bench.leaderboards.site.record import draw_plots, facts
from comface_bench.leaderboards.site.strips import forest, rank_plot
from comface_bench.leaderboards.site.templates import render
from comface_bench.results.store import ResultStore, file_stem
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from comface_bench.leaderboards.document import (
        Board,
        BoardEntry,
        BoardRow,
        Document,
        Ranking,
        TaskGroup,
    )
    from comface_bench.leaderboards.site.answers import Answer
    from comface_bench.leaderboards.site.pictures import Gallery
    from comface_bench.leaderboards.site.strips import Forest
    from comface_bench.results.schema import Record

    Crumbs = list[tuple[str, str | None]]
    Key = tuple[str, str, str]

FOLDER = "html"
INDEX = "index.html"
SHARED = ("style.css", "script.js", "icon.svg")
PRINTED = (
    *("trained_on", "training_scale", "licence", "parameters", "images_per_second"),
    *("folds_done", "seeds", "pairs", "subjects", "failures"),
)
"""Columns that the template's tables print in their own way; further ones follow as texts."""
MOST_RECORDS = 1000
"""Where there are more records, only the best of each board have pages of their own."""
QUESTION = "Which backbone best tells how much a face has changed?"
ABOUT = "Pre-trained backbones, compared on the same pairs of faces, with 95 % intervals."


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
    return {f"{FOLDER}/{path}": data for path, data in pages.items()}


@dataclasses.dataclass(frozen=True)
class _Shown:
    """An answer with its plot, the plot's rows, pictures of a pair, and what they are a change of."""

    answer: Answer
    forest: Forest | None
    rows: list[tuple[str, list[BoardRow]]]
    gallery: Gallery | None
    pictured: str


class _Site:
    """The document and its records, and what all pages share."""

    def __init__(self, document: Document, results: Path, most_records: int) -> None:
        self._document = document
        rows = sum(len(board.rows) for board in document.boards)
        self._share = None if rows <= most_records else max(1, most_records // len(document.boards))
        self._store = ResultStore(results)
        self._families = [(family_title(family), family_path(family)) for family in document.families]
        self._records: set[Key] = set()
        self._pictures = Pictures()
        self._galleries: dict[Key, Gallery] = {}

    def pages(self) -> dict[str, bytes]:
        """Return all files by path."""
        pages = {name: resources.files(__package__).joinpath(name).read_bytes() for name in SHARED}
        for board in self._document.boards:
            for row in self._opened(board):
                record = self._load(row)
                if record:
                    path = record_path(board.task, board.protocol, row.entry.method)
                    pages[path] = self._record(board, row, record)
            pages[board_path(board.task, board.protocol)] = self._board(board)
        pages[INDEX] = self._overview(INDEX, "Leaderboards", OVERALL)
        for family in self._document.families:
            pages[family_path(family)] = self._overview(family_path(family), family_title(family), family)
        return dict(sorted((pages | self._pictures.files).items()))

    def _overview(self, path: str, title: str, scope: str) -> bytes:
        sections = self._document.sections(scope)
        answers = [self._shown(one) for one in find_answers(self._document)] if scope == OVERALL else []
        columns = {
            section.protocol: grouped_boards(section.boards, self._document.groups) for section in sections
        }
        boards = {board.task: board for section in sections for board in section.boards}
        return self._render(
            "overview.html.j2",
            path,
            title,
            [],
            f"{_summary(answers[0].answer)} {ABOUT}" if answers else ABOUT,
            sections=sections,
            answers=answers,
            question=QUESTION,
            about=ABOUT,
            tasks=list(boards.values()),
            columns=columns,
            any_group=any(groups for _, groups in columns.values()),
            group_title=_group_title,
            entries_of=lambda rows, names: [rows[name].entry for name in names if name in rows],
            family_of=lambda board: family_path(board.family),
            path_to=self._record_of,
            plots={section.protocol: rank_plot(section.ranking) for section in sections if section.ranking},
            unranked=_unranked,
            is_apart=_is_apart,
            settings=self._document.settings_of(scope),
            agreements=self._document.agreements if scope == OVERALL else (),
            marks=shown_marks(
                row.entry for section in sections for board in section.boards for row in board.rows
            ),
            path_of=lambda board: board_path(board.task, board.protocol),
            record_at=self._record_at,
        )

    def _board(self, board: Board) -> bytes:
        path, primary = board_path(board.task, board.protocol), board.metrics[0]
        best = next((row for row in board.rows if row.entry.method == board.best.get(primary)), None)
        others = [one.protocol for one in self._document.boards if one.task == board.task]
        published = _published(board.rows)
        return self._render(
            "board.html.j2",
            path,
            f"{board.task}, {protocol_title(board.protocol)}",
            self._crumbs(board, None),
            board.entry.asks,
            board=board,
            comparison=compare_data(board),
            gallery=self._galleries.get((board.task, board.protocol, str(board.best.get(primary)))),
            best=best,
            to_comface=board.best.get(primary) != COMFACE and _compared_with_comface(board),
            baselines=[format_value(name, board.baseline(name)) for name in board.metrics]
            + [DASH] * len(published),
            counted=board.baseline_entry,
            protocols=[(name, board_path(board.task, name)) for name in others],
            forest=forest(board),
            groups=rows_by_group(board.rows),
            published=published,
            head_starts=self._document.head_starts(board),
            entries=[row.entry for row in board.rows],
            further={
                table: [one for name, one in COLUMNS.items() if one.table == table and name not in PRINTED]
                for table in ("Methods", "Runs")
            },
            share=self._share,
            paths={row.entry.method: self._record_at(board, row.entry.method) for row in board.rows},
        )

    def _record(self, board: Board, row: BoardRow, record: Record) -> bytes:
        method, primary = row.entry.method, board.metrics[0]
        key = (board.task, board.protocol, method)
        self._records.add(key)
        columns = self._store.load_columns(record) if record.units else {}
        first = [of for (_, seed), of in columns.items() if seed == min(seed for _, seed in columns)]
        # The best of a board stands for it there and on the front page, with a typical pair.
        gallery = self._pictures.choose(record, first, typical=board.best.get(primary) == method)
        if gallery is not None:
            self._galleries[key] = gallery
        back = board_path(board.task, board.protocol)
        return self._render(
            "record.html.j2",
            record_path(board.task, board.protocol, method),
            f"{method} on {board.task}, {protocol_title(board.protocol)}",
            [*self._crumbs(board, back), (method, None)],
            f"{board.entry.asks} {METRICS[primary].title} {format_value(primary, row.number(primary))}.",
            board=board,
            board_path=back,
            row=row,
            entry=row.entry,
            record=record,
            facts=facts(record),
            gallery=gallery,
            plots=draw_plots(columns.values(), record),
            curve=curves(record.units, record.task.unit),
        )

    def _shown(self, answer: Answer) -> _Shown:
        """Put to an answer what is shown beside it; pictures are of the best method, on the first task."""
        board, method = answer.board, answer.league.best.method
        return _Shown(
            answer,
            forest(board) if len(answer.boards) == 1 else None,
            _by_place(board),
            self._galleries.get((board.task, board.protocol, method)),
            target_title(board.entry.target),
        )

    def _render(
        self, template: str, here: str, title: str, crumbs: Crumbs, description: str, **context: Any
    ) -> bytes:
        shared = {
            "here": here,
            "title": title,
            "crumbs": crumbs,
            "families": self._families,
            "description": visible(description),
        }
        return render(template, link=partial(link, here=here), **shared, **context)

    def _crumbs(self, board: Board, path: str | None) -> Crumbs:
        family = (family_title(board.family), family_path(board.family))
        return [("Leaderboards", INDEX), family, (f"{board.task}, {protocol_title(board.protocol)}", path)]

    def _load(self, row: BoardRow) -> Record | None:
        entry = row.entry
        try:
            return self._store.load(entry.task, entry.protocol, entry.method)
        except UsageError:
            # A name that can't be a file name has no record.
            return None

    def _opened(self, board: Board) -> list[BoardRow]:
        """Return the rows of a board that have a page of their own, if their record is there."""
        ordered = sorted(board.rows, key=lambda row: _rank(row, board.metrics[0]))
        if self._share is None:
            return ordered
        return ordered[: self._share] + [row for row in ordered[self._share :] if row.entry.method == COMFACE]

    def _record_of(self, entry: BoardEntry) -> str | None:
        key = (entry.task, entry.protocol, entry.method)
        return record_path(*key) if key in self._records else None

    def _record_at(self, board: Board, method: str) -> str | None:
        if (board.task, board.protocol, method) not in self._records:
            return None
        return record_path(board.task, board.protocol, method)


def family_path(family: str) -> str:
    """Return the path of a family's page, relative to the site's folder."""
    return f"family/{_stem(family)}.html"


def board_path(task: str, protocol: str) -> str:
    """Return the path of a board's page, relative to the site's folder."""
    return f"task/{_stem(task)}/{_stem(protocol)}.html"


def record_path(task: str, protocol: str, method: str) -> str:
    """Return the path of a record's page, relative to the site's folder."""
    return f"task/{_stem(task)}/{_stem(protocol)}/{_stem(method)}.html"


def link(path: str, here: str) -> str:
    """Return the address of a page as another page refers to it.

    Args:
        path: Of the page, relative to the site's folder.
        here: Of the referring page, likewise.
    """
    return "../" * here.count("/") + quote(path, safe="/+=,")


def _stem(name: str) -> str:
    """Return a file name for any name: its own, or a digest where it can't be one."""
    try:
        return file_stem(name)
    except UsageError:
        return f"digest-{digest(name)[:16]}"


def _summary(answer: Answer) -> str:
    """Say who is best in one sentence, for those who show a link to the page."""
    league, name = answer.league, answer.metric
    unit = unit_of(name, answer.entry.unit)
    value = " ".join(filter(None, (format_value(name, league.cell.value.value), unit)))
    others = len(league.tied)
    ties = f", tied with {others} other{'s' if others > 1 else ''}" if others else ""
    best = f"{league.best.method} is best ({METRICS[name].title} {value})"
    return f"On {answer.place}, {answer.subject}: {best}{ties}."


def _rank(row: BoardRow, metric: str) -> float:
    rank = row.cells[metric].rank if metric in row.cells else None
    return math.inf if rank is None else rank


def _by_place(board: Board) -> list[tuple[str, list[BoardRow]]]:
    """Return a board's ranked rows, the best first: those that compete, then by title those set apart."""
    ranked = [row for row in board.rows if math.isfinite(_rank(row, board.metrics[0]))]
    ranked.sort(key=lambda row: _rank(row, board.metrics[0]))
    apart = [row for row in ranked if row.entry.apart]
    title = rows_by_group(apart)[0][0] if apart else ""
    leagues = [("", [row for row in ranked if not row.entry.apart]), (title, apart)]
    return [(title, rows) for title, rows in leagues if rows]


def _group_title(group: TaskGroup) -> str:
    """Name the tasks that are one column."""
    return f"{len(group.tasks)} {'action units' if group.quantity == 'expression' else 'tasks'}"


def _published(rows: Sequence[BoardRow]) -> list[str]:
    """Name the metrics that the paper has for any row."""
    return [name for name in paper_metrics() if any(name in row.paper for row in rows)]


def _compared_with_comface(board: Board) -> bool:
    cells = (row.cells.get(board.metrics[0]) for row in board.rows)
    return any(cell is not None and cell.to_comface is not None for cell in cells)


def _is_apart(title: str) -> bool:
    """Return True for the title of a group that stands apart."""
    return title.endswith(APART)


def _unranked(ranking: Ranking) -> list[tuple[str, str]]:
    """Return the methods that a ranking leaves out for tasks that they miss, and those."""
    left_out = ((name, one.missing) for name, one in ranking.standings.items() if one.missing)
    return [
        (name, missing[0] if len(missing) == 1 else f"{len(missing)} tasks") for name, missing in left_out
    ]
