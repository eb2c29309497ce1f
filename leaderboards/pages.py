"""Builds the leaderboards from result files, and checks whether those that are there are fresh."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.leaderboards.board import board_page
from comface_bench.leaderboards.document_json import leaderboard_json
from comface_bench.leaderboards.family import family_page, overall_page
from comface_bench.leaderboards.index import index_page
from comface_bench.leaderboards.spreadsheet import leaderboard_csv
from comface_bench.leaderboards.written import LIST, Written, digests_of, stamp_of, write_files
from comface_bench.results.store import ResultStore, file_stem, locked
from comface_bench.version import __version__

if TYPE_CHECKING:
    from comface_bench.leaderboards.document import Document

INDEX, OVERALL, CSV, JSON = "README.md", "overall.md", "leaderboard.csv", "leaderboard.json"
SITE = "html/"


@dataclasses.dataclass(frozen=True)
class Freshness:
    """How a folder of pages compares with what a build would write.

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
        """Whether nothing is to be done."""
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
    files = _files(results, out, html)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / ".lock"):
        write_files(files, out, stamp, force=force)
    return sorted(out / name for name in files)


def refresh(results: Path | str, out: Path | str) -> list[Path]:
    """Build again only if records changed since the last build, the site only if it is there already.

    Args and errors are those of `build`, and so is what it returns.
    """
    results, out = Path(results), Path(out)
    written = Written.read(out)
    there = sorted(out / name for name in written.digests)
    if there and written.stamp == _stamp(results) and all(path.is_file() for path in there):
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
    files = _files(results, out, html)
    listed = Written.read(out).digests
    left_over = [name for name in listed if name not in files and (out / name).is_file()]
    missing = [name for name in (*files, LIST) if not (out / name).is_file()]
    differing = [
        name for name, data in files.items() if name not in missing and (out / name).read_bytes() != data
    ]
    if LIST not in missing and listed != digests_of(files):
        differing.append(LIST)
    return Freshness(*(tuple(sorted(names)) for names in (differing, missing, left_over)))


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
    families = {name: family_file(name) for name in sorted({board.family for board in document.boards})}
    links = [("overall ranking", OVERALL), *families.items(), (CSV, CSV), (JSON, JSON)]
    links += [("site", f"{SITE}index.html")] if html else []
    texts = {
        INDEX: index_page(document, boards, links),
        OVERALL: overall_page(document),
        CSV: leaderboard_csv(document),
        JSON: leaderboard_json(document),
    }
    texts |= {file: family_page(document, family, boards) for family, file in families.items()}
    texts |= {boards[board.task, board.protocol]: board_page(board) for board in document.boards}
    return {name: text.encode() for name, text in texts.items()}


def family_file(family: str) -> str:
    """Return the file name of a family's page; no other page has it, not even where case doesn't count."""
    taken = {Path(name).stem.lower() for name in (INDEX, OVERALL)}
    return f"{file_stem(family)}{'-family' if family.lower() in taken else ''}.md"


def _files(results: Path, out: Path, html: bool | None) -> dict[str, bytes]:
    from comface_bench.leaderboards.compose import compose

    if html is None:
        html = any(name.startswith(SITE) for name in Written.read(out).digests)
    document = compose(results)
    files = render(document, html=html)
    if html:
        from comface_bench.leaderboards.site import render_site

        files |= render_site(document, results)
    return files


def _stamp(results: Path) -> str:
    return stamp_of(ResultStore(results).paths(), results, __version__)
