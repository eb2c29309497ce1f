"""Files of results: their names, and changes by one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from typing import TYPE_CHECKING

from comface_bench.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SAFE = re.compile(r"[A-Za-z0-9_+=,-][A-Za-z0-9._+=,-]{0,180}")


def file_stem(name: str) -> str:
    """Turn a task, protocol or method name into a file name: `/` and `:` become `__`.

    Raises:
        UsageError: The name is empty, very long, starts with a dot, or holds any other character than
            letters, digits and `._+=,-`.
    """
    stem = re.sub("[/:]", "__", name)
    if not _SAFE.fullmatch(stem):
        raise UsageError(
            f"{name!r} can't name a result file",
            "Use at most 180 letters, digits and any of . _ + = , - / : and don't start with a dot.",
        )
    return stem


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock, waiting for it; the lock file is there only while it is held."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if _is_at(path, handle):
            break
        # The holder before us removed the file that we waited on; another may hold its successor.
        os.close(handle)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
