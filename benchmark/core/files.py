"""Files that survive a crash: replaced whole or not at all; locks that one process holds at a time."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from comface_bench.core.errors import StorageError, UsageError

UNFINISHED = ".unfinished"
"""Ending of the file that `replacing` writes first."""

_POLL_S = 0.02


def replace_file(path: Path, data: bytes) -> None:
    """Write a file durably: a reader or a crash sees the old bytes or the new ones, never a mixture.

    Two processes may not replace the same file at once; whoever shares one holds a lock.

    Raises:
        StorageError: There is no room for it.
        OSError: It can't be written for another reason.
    """
    temporary = temporary_path(path)
    with writing(path):
        try:
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            # What was written of it would only keep a full disk full.
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file durably piece by piece: it appears under its name once it is whole and on the disk.

    Two processes may replace the same file at once: the later one's content stays.

    Yields:
        A binary stream. If the block raises, nothing is left; a kill leaves `NAME.….unfinished`.

    Raises:
        StorageError: There is no room for it.
        OSError: It can't be written for another reason.
    """
    import tempfile

    with writing(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=UNFINISHED)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def append_line(path: Path, line: str) -> None:
    """Append a line to a file, made if it isn't there; lines of several processes don't mix.

    Raises:
        StorageError: There is no room for it.
        OSError: It can't be written for another reason.
    """
    # One write in append mode.
    with writing(path), path.open("a", encoding="utf-8") as stream:
        stream.write(f"{line}\n")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say which file it was and what to do, if the block that writes it finds no room.

    Raises:
        StorageError: The disk is full, a quota is used up, or the file is larger than files may be.
        OSError: Any other reason, with the file's name.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        from comface_bench.core.storage import find_storage_error

        full = find_storage_error(error, path)
        if full is not None:
            raise full from error
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


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
def file_lock(
    path: Path, busy: str = "", hint: str = "", *, timeout: float = math.inf, remove: bool = False
) -> Iterator[None]:
    """Hold a lock file: one holder at a time, among processes and threads. The end of a process releases it.

    Args:
        path: The lock file, made if it isn't there. Its folder must exist. The content isn't touched.
        busy: Message of the error if another holder keeps it.
        hint: What to do then.
        timeout: Seconds to wait for it, without end by default; 0 tries once.
        remove: Remove the file before it is released. Else it stays.

    Raises:
        UsageError: Another holder still keeps it after `timeout`.
        OSError: The file can't be opened for writing.
    """
    from filelock import FileLock, Timeout

    path.parent.stat()  # filelock makes a folder that isn't there.
    # Some releases of filelock remove the file themselves, also where it has to stay.
    lock = FileLock(path, timeout, thread_local=False, poll_interval=_POLL_S, preserve_lock_file=True)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(busy, hint) from None
    try:
        yield
    finally:
        # Removed while held: whoever waits on it finds that it is gone, and makes another.
        if remove:
            path.unlink(missing_ok=True)
        lock.release()
