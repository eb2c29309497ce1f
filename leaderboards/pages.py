"""Writes the pages, and removes those whose records are gone."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path, PurePosixPath

from comface_bench.core.errors import UsageError
from comface_bench.core.files import replace_file
from comface_bench.leaderboards.board import MARK, board_page
from comface_bench.leaderboards.index import index_page
from comface_bench.leaderboards.table import read_entries
from comface_bench.results.files import file_stem, locked

_LIST = ".pages"
_INDEX = "README.md"


def build(results: Path | str, out: Path | str) -> list[Path]:
    """Write one page for each task and protocol, and an index; the same bytes for the same results.

    Pages that an earlier build wrote and that no record asks for any more are removed.

    Args:
        results: Folder of results.
        out: Folder of the pages; made if need be.

    Returns:
        The pages, sorted.

    Raises:
        ResultError: A file isn't a record.
        UsageError: A page would replace a file that no build wrote.
    """
    out = Path(out)
    texts = _render(Path(results))
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / ".lock"):
        return _write(texts, out)


def _write(texts: dict[str, str], out: Path) -> list[Path]:
    for name in texts:
        _refuse_foreign(out / name)
    for name in sorted(_listed(out) - set(texts)):
        _remove(out, name)
    for name, text in [*texts.items(), (_LIST, "".join(f"{name}\n" for name in sorted(texts)))]:
        path, data = out / name, text.encode()
        if not path.exists() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, data)
    return [out / name for name in sorted(texts)]


def _render(results: Path) -> dict[str, str]:
    entries = read_entries(results)
    groups = groupby(entries, key=lambda entry: (entry.task, entry.protocol))
    boards = {place: list(group) for place, group in groups}
    names = {(task, protocol): f"{file_stem(task)}/{file_stem(protocol)}.md" for task, protocol in boards}
    pages = {names[place]: board_page(board) for place, board in boards.items()}
    return pages | {_INDEX: index_page(entries, names)}


def _refuse_foreign(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb") as stream:
        if stream.read(len(MARK)) != MARK.encode():
            raise UsageError(f"{path} wasn't written by a build", "Choose another --out, or move it away.")


def _listed(out: Path) -> set[str]:
    try:
        names = (out / _LIST).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return set()
    return {name for name in names if _inside(name)}


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix == ".md" and not path.is_absolute() and ".." not in path.parts


def _remove(out: Path, name: str) -> None:
    path = out / name
    if not path.is_file() or path.is_symlink():
        return
    if not path.read_bytes().startswith(MARK.encode()):
        return
    path.unlink()
    if path.parent != out and not any(path.parent.iterdir()):
        path.parent.rmdir()
