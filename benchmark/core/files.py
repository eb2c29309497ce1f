"""Files that survive a crash: replaced whole or not at all. Folders and files that are nobody else's."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from comface_bench.core.errors import UsageError


def replace_file(path: Path, data: bytes) -> None:
    """Write a file durably: a reader or a crash sees the old bytes or the new ones, never a mixture.

    Two processes may not replace the same file at once; whoever shares one holds a lock.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def require_empty(folder: Path) -> None:
    """Make sure that a folder to be filled is new or empty.

    Raises:
        UsageError: Something is in it, or it is no folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} isn't an empty folder", "Name a new one: --out DIR")


@contextlib.contextmanager
def hold(path: Path, message: str, hint: str) -> Iterator[None]:
    """Hold a lock file, which is made if it isn't there and stays behind.

    Args:
        path: The file.
        message: What is wrong if another process holds it.
        hint: What to do then.

    Raises:
        UsageError: Another process does.
    """
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(message, hint) from None
        yield
