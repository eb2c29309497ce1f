"""Leaderboards from a folder of results: reads the records, writes every page, and checks what is there.

`build` and `refresh` are the door: records → one document → one writer for each format → files.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface_bench.core.errors import UnknownNameError
from comface_bench.core.files import file_lock
from comface_bench.core.registry import load_plugin_file, loaded_plugin_files
from comface_bench.leaderboards.document import BoardEntry, Document
from comface_bench.leaderboards.export import leaderboard_csv, leaderboard_json
from comface_bench.leaderboards.manifest_writer import LIST, PageManifest, digests_of, stamp_of, write_files
from comface_bench.leaderboards.markdown import board_page, family_page, index_page, overall_page
from comface_bench.leaderboards.paper import natural_order, protocol_order
from comface_bench.leaderboards.statistics import Arranged, agreements, board_statistics, rankings, settings
from comface_bench.results.store import ResultStore, file_stem
from comface_bench.stats.metrics import METRICS
from comface_bench.stats.predictions import PredictionSet
from comface_bench.version import __version__

if TYPE_CHECKING:
    import pandas

    from comface_bench.leaderboards.document import Board
    from comface_bench.results.schema import Record
    from comface_bench.stats.bootstrap import Scores
    from comface_bench.stats.metrics import MetricValue

INDEX, OVERALL, CSV, JSON = "README.md", "overall.md", "leaderboard.csv", "leaderboard.json"
SITE = "html/"
FEW = 150
"""Up to so many records, starting processes takes longer than they save."""


@dataclasses.dataclass(frozen=True)
class Freshness:
    """Differences between a folder of pages and what a build would write.

    Attributes:
        differing: Files with other bytes.
        missing: Files that aren't there.
        left_over: Files that an earlier build wrote and this one wouldn't.
    """

    differing: tuple[str, ...]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]

    @property
    def fresh(self) -> bool:
        """True if nothing is to be done."""
        return not (self.differing or self.missing or self.left_over)


def build(
    results: Path | str, out: Path | str, html: bool | None = True, *, force: bool = False
) -> list[Path]:
    """Write all pages, the CSV, the JSON and the site; the same bytes for the same results.

    Files that an earlier build wrote and that no record asks for any more are removed.

    Args:
        results: Folder of results.
        out: Folder of the pages; made if need be.
        html: Whether to write the site; None does so if it is there already.
        force: Replace files that were changed since a build wrote them.

    Returns:
        The files, sorted.

    Raises:
        ResultError: A file isn't a record, or predictions aren't the record's.
        UsageError: A file in the way wasn't written by a build, or was changed since.
    """
    results, out = Path(results), Path(out)
    stamp = _stamp(results)
    files = _render_all(results, out, html)
    out.mkdir(parents=True, exist_ok=True)
    with file_lock(out / ".lock", remove=True):
        write_files(files, out, stamp, force=force)
    return sorted(out / name for name in files)


def refresh(results: Path | str, out: Path | str) -> list[Path]:
    """Build again only if records changed since the last build, the site only if it is there already.

    Args and errors are those of `build`, and so is what it returns.
    """
    results, out = Path(results), Path(out)
    manifest = PageManifest.read(out)
    there = sorted(out / name for name in manifest.digests)
    if there and manifest.stamp == _stamp(results) and all(path.is_file() for path in there):
        return there
    return build(results, out, html=None)


def check(results: Path | str, out: Path | str, html: bool | None = None) -> Freshness:
    """Compare a folder of pages with what `build` would write; nothing is changed.

    Args:
        results: Folder of results.
        out: Folder of the pages.
        html: Whether the site belongs to it; None if it is there already.

    Raises:
        ResultError: A file isn't a record, or predictions aren't the record's.
    """
    results, out = Path(results), Path(out)
    files = _render_all(results, out, html)
    listed = PageManifest.read(out).digests
    left_over = [name for name in listed if name not in files and (out / name).is_file()]
    missing = [name for name in (*files, LIST) if not (out / name).is_file()]
    differing = [
        name for name, data in files.items() if name not in missing and (out / name).read_bytes() != data
    ]
    if LIST not in missing and listed != digests_of(files):
        differing.append(LIST)
    return Freshness(*(tuple(sorted(names)) for names in (differing, missing, left_over)))


def read_document(results: Path | str, workers: int | None = None) -> Document:
    """Read all records and their predictions, and compute every number that pages show.

    Args:
        results: Folder of results.
        workers: Processes; by default one, or one a core where there are many records. The document doesn't
            depend on it.

    Raises:
        ResultError: A file isn't a record, or predictions aren't the record's.
        UnknownNameError: A record has a metric that nothing here declares.
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
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        context = multiprocessing.get_context("spawn")
        files = [str(module.__file__) for module in loaded_plugin_files()]
        with ProcessPoolExecutor(workers, context, _load_plugin_files, (files,)) as pool:
            boards = list(pool.map(read, folders.values()))
    boards.sort(key=lambda made: (natural_order(made[0].task), protocol_order(made[0].protocol)))
    return Document(
        tuple(board for board, _ in boards), rankings(boards), settings(boards), agreements(boards)
    )


def render(document: Document, *, html: bool = False) -> dict[str, bytes]:
    """Write everything but the site.

    Args:
        document: What the pages show.
        html: Whether the front page leads to the site.

    Returns:
        Bytes by path.
    """
    boards = {
        (board.task, board.protocol): f"{file_stem(board.task)}/{file_stem(board.protocol)}.md"
        for board in document.boards
    }
    families = {name: family_file(name) for name in sorted(document.families)}
    links = [("overall ranking", OVERALL), *families.items(), (CSV, CSV), (JSON, JSON)]
    links += [("site", f"{SITE}index.html")] if html else []
    texts = {
        INDEX: index_page(document, boards, links),
        OVERALL: overall_page(document),
        CSV: leaderboard_csv(document),
        JSON: leaderboard_json(document),
    }
    texts |= {file: family_page(document, family, boards) for family, file in families.items()}
    texts |= {
        boards[board.task, board.protocol]: board_page(board, document.head_starts(board))
        for board in document.boards
    }
    return {name: text.encode() for name, text in texts.items()}


def family_file(family: str) -> str:
    """Return the file name of a family's page; no other page has it, not even where case doesn't count."""
    taken = {Path(name).stem.lower() for name in (INDEX, OVERALL)}
    return f"{file_stem(family)}{'-family' if family.lower() in taken else ''}.md"


def read_entries(results: Path) -> list[BoardEntry]:
    """Read all records of a results folder, in board order, without their predictions.

    Raises:
        ResultError: A file isn't a record.
    """
    entries = map(BoardEntry.of, ResultStore(results).records())
    return sorted(entries, key=lambda e: (natural_order(e.task), protocol_order(e.protocol), e.order))


def load(results: Path | str) -> pandas.DataFrame:
    """Read all records into a table.

    Args:
        results: Folder of results.

    Returns:
        One row a record: `task, protocol, method, group, kind, complete, folds_done, folds, seeds, n_pairs,
        n_subjects, failures`, then each metric in its own unit (`acc` as a fraction) and its `constant_`
        counterpart, of the no-change baseline; NaN where a metric has no value or the task doesn't have it.

    Raises:
        ResultError: A file isn't a record.
    """
    return record_table(read_entries(Path(results)))


def record_table(entries: Sequence[BoardEntry]) -> pandas.DataFrame:
    """Make the table that `load` returns, of records that are at hand."""
    import pandas

    plain = ["task", "protocol", "method", "group", "kind", "complete", "folds_done", "folds"]
    plain += ["n_pairs", "n_subjects", "failures"]
    names = list(dict.fromkeys(name for entry in entries for name in entry.metrics))
    columns: dict[str, list[Any]] = {name: [getattr(entry, name) for entry in entries] for name in plain}
    columns["seeds"] = [len(entry.seeds) for entry in entries]
    columns |= {name: [_number(entry.metrics.get(name)) for entry in entries] for name in names}
    columns |= {
        f"constant_{name}": [_number(entry.baseline.get(name)) for entry in entries] for name in names
    }
    return pandas.DataFrame(columns)


def _render_all(results: Path, out: Path, html: bool | None) -> dict[str, bytes]:
    """Write everything, the site included if it is asked for or there already."""
    if html is None:
        html = any(name.startswith(SITE) for name in PageManifest.read(out).digests)
    document = read_document(results)
    files = render(document, html=html)
    if html:
        from comface_bench.leaderboards.site import render_site

        files |= render_site(document, results)
    return files


def _stamp(results: Path) -> str:
    return stamp_of(ResultStore(results).paths(), results, __version__)


def _read_board(root: Path, paths: Sequence[Path]) -> tuple[Board, Scores | None]:
    return board_statistics(*read_rows(ResultStore(root), paths))


def read_rows(
    store: ResultStore, paths: Iterable[Path], *, by_fold: bool = True
) -> tuple[list[BoardEntry], dict[str, Arranged]]:
    """Read the records of one task and protocol.

    Args:
        store: The folder of results.
        paths: Of `store.paths()`, the records.
        by_fold: Whether predictions are arranged fold by fold, too; else that is left as the summary has it.

    Returns:
        The records in board order, all with the same metrics; predictions by method, of those that have any.

    Raises:
        ResultError: A file isn't a record, or predictions aren't the record's.
        UnknownNameError: A record has a metric that nothing here declares.
    """
    entries: list[BoardEntry] = []
    arranged: dict[str, Arranged] = {}
    records = [_load_known(store, path) for path in paths]
    # A metric that the task gained since some of them ran is computed from their predictions.
    ordered = sorted(records, key=lambda record: -len(record.task.metrics))
    metrics = list(dict.fromkeys(name for record in ordered for name in record.task.metrics))
    for record in records:
        entries.append(BoardEntry.of(store.score(record, metrics)))
        if record.units:
            arranged[record.method.name] = _arrange(store, record, by_fold)
    return sorted(entries, key=lambda entry: entry.order), arranged


def _load_known(store: ResultStore, path: Path) -> Record:
    """Read a record whose metrics are all declared here.

    Raises:
        ResultError: The file isn't a record.
        UnknownNameError: A plugin that isn't loaded declares one of its metrics.
    """
    record = store.load_at(path)
    for name in record.task.metrics:
        if METRICS.get(name) is None:
            raise UnknownNameError(
                f"{path}: no metric is called {name!r}",
                "Install the plugin that declares it, or name its file: --plugin FILE",
            )
    return record


def _load_plugin_files(files: Sequence[str]) -> None:
    """Load into a new process what the process that started it has loaded."""
    for file in files:
        load_plugin_file(Path(file))


def _arrange(store: ResultStore, record: Record, by_fold: bool) -> Arranged:
    columns, seeds = store.load_columns(record), record.summary.seeds
    counted = PredictionSet.of_columns(columns, record.task.aggregate, seeds)
    if record.task.aggregate == "fold-mean" or not by_fold:
        return Arranged(counted, counted)
    return Arranged(counted, PredictionSet.of_columns(columns, "fold-mean", seeds))


def _number(value: MetricValue | None) -> float:
    return math.nan if value is None or value.value is None else value.value
