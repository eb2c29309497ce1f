"""Files that survive a crash: replaced whole or not at all. Folders and files that are nobody else's."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from comface_bench.core.errors import UsageError


def replace_file(path: Path, data: bytes) -> None:
    """Write a file durably: a reader or a crash sees the old bytes or the new ones, never a mixture.

    Two processes may not replace the same file at once; whoever shares one holds a lock.
    """
    temporary = temporary_path(path)
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def temporary_path(path: Path) -> Path:
    """Return where `replace_file` writes first; a crash may leave that behind."""
    return path.with_name(f".{path.name}.tmp")


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
def hold(path: Path, message: str, hint: str, *, patience: float = 0.0) -> Iterator[None]:
    """Hold a lock file, which is made if it isn't there and stays behind; a process's end lets go of it.

    Args:
        path: The file.
        message: What is wrong if another process holds it.
        hint: What to do then.
        patience: Seconds to wait for it.

    Raises:
        UsageError: Another process does.
    """
    end = time.monotonic() + patience
    with path.open("w") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise UsageError(message, hint) from None
                time.sleep(0.02)
        yield
