"""From a folder of results to the document that all pages are made from."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.leaderboards.document import Document
from comface_bench.leaderboards.ranking import rankings
from comface_bench.leaderboards.statistics import Arranged, board_statistics
from comface_bench.leaderboards.table import entry_of, method_order, natural, protocol_order
from comface_bench.results.store import ResultStore
from comface_bench.stats.predictions import PredictionSet

if TYPE_CHECKING:
    from comface_bench.leaderboards.document import Board
    from comface_bench.leaderboards.table import Entry
    from comface_bench.results.schema import Record
    from comface_bench.stats.bootstrap import Scores

FEW = 150
"""Up to so many records, starting processes takes longer than they save."""


def compose(results: Path | str, workers: int | None = None) -> Document:
    """Read all records and their predictions, and compute every number that pages show.

    Args:
        results: Folder of results.
        workers: Processes; by default one, or one a core where there are many records. The document doesn't
            depend on it.

    Raises:
        ResultError: A file isn't a record, or predictions aren't the record's.
    """
    store = ResultStore(Path(results))
    folders: dict[Path, list[Path]] = {}
    for path in store.paths():
        folders.setdefault(path.parent, []).append(path)
    records = sum(map(len, folders.values()))
    workers = workers or (1 if records <= FEW else min(os.cpu_count() or 1, len(folders)))
    read = partial(_read_board, store.root)
    if workers == 1:
        boards = [read(paths) for paths in folders.values()]
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            boards = list(pool.map(read, folders.values()))
    boards.sort(key=lambda made: (natural(made[0].task), protocol_order(made[0].protocol)))
    return Document(tuple(board for board, _ in boards), rankings(boards))


def _read_board(root: Path, paths: Sequence[Path]) -> tuple[Board, Scores | None]:
    store = ResultStore(root)
    entries: list[Entry] = []
    arranged: dict[str, Arranged] = {}
    for path in paths:
        record = store.load_at(path)
        entries.append(entry_of(record))
        if record.units:
            arranged[record.method.name] = _arrange(store, record)
    return board_statistics(sorted(entries, key=method_order), arranged)


def _arrange(store: ResultStore, record: Record) -> Arranged:
    columns, seeds = store.load_columns(record), record.summary.seeds
    counted = PredictionSet.of_columns(columns, record.task.aggregate, seeds)
    if record.task.aggregate == "fold-mean":
        return Arranged(counted, counted)
    return Arranged(counted, PredictionSet.of_columns(columns, "fold-mean", seeds))
