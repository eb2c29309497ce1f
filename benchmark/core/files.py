"""Files that survive a crash: replaced whole or not at all; locks; what is said when a disk is full."""

from __future__ import annotations

import contextlib
import errno
import glob
import math
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from comface_bench.core.errors import StorageError, UsageError

UNFINISHED = ".unfinished"
"""Ending of the file that `replacing` writes first."""

_POLL_S = 0.02

_NO_ROOM = {
    errno.ENOSPC: "the disk is full",
    getattr(errno, "EDQUOT", errno.ENOSPC): "the quota of disk space is used up",
    errno.EFBIG: "files may not be as large there",
}
_FREE = (
    "Make room there and type the same command again, or name a place on another disk: --results or --out,"
    " COMFACE_CACHE for the image store, COMFACE_WEIGHTS for weights."
)
_RAISE_LIMIT = "Raise the limit (ulimit -f unlimited), then type the same command again."


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
def replacing(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Write a file durably piece by piece: it appears under its name once it is whole and on the disk.

    Two processes may replace the same file at once: the later one's content stays.

    Args:
        path: The file.
        durable: Whether the disk is waited for. Without that, a file may turn out empty or cut off after the
            machine itself fails: for what can be made again and is checked when it is read.

    Yields:
        A binary stream. If the block raises, nothing is left; a kill leaves `NAME.….unfinished`, which the
        next who replaces the file removes.

    Raises:
        StorageError: There is no room for it.
        OSError: It can't be written for another reason.
    """
    with writing(path):
        remove_unfinished(path)
        handle, temporary = _open_unfinished(path)
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                if durable:
                    os.fsync(stream.fileno())
                # While it is open, and so locked: another would remove it as a dead process's.
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        if durable:
            sync_folder(path.parent)


def remove_unfinished(path: Path) -> None:
    """Remove what killed processes left of a file; what another one is writing stays."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.*{UNFINISHED}"):
        with contextlib.suppress(OSError), left.open("r+b") as stream:
            _lock_unfinished(stream.fileno(), wait=False)
            left.unlink()


def _open_unfinished(path: Path) -> tuple[int, Path]:
    """Make the file that is written first, locked as long as it is open; return it and its name."""
    while True:
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}{UNFINISHED}")
        # Not by `tempfile`, whose files are for this user alone: caches and results may be a group's.
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        with contextlib.suppress(OSError):  # Some network disks have no locks: nothing is removed there.
            _lock_unfinished(handle, wait=True)
        if os.fstat(handle).st_nlink:
            return handle, temporary
        os.close(handle)  # It was taken for a dead process's before it was locked.


def _lock_unfinished(handle: int, *, wait: bool) -> None:
    """Lock an open file; its closing, or the end of the process, releases it.

    Raises:
        OSError: Another process has it and `wait` is false, or it can't be locked here.
    """
    try:
        import fcntl
    except ImportError:
        return  # Windows removes no file that is open.
    fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


def read_facts(path: Path) -> dict[str, object]:
    """Return the JSON object that a file beside others says of them; nothing where there is none to read."""
    import json

    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


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


def find_storage_error(error: BaseException, path: Path | None = None) -> StorageError | None:
    """Return the sentence for a lack of room that lies behind an error, or None if that isn't its reason.

    Args:
        error: The system's, or one of a library that hides the system's behind its own.
        path: The file that was written; by default the one that the error names.
    """
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, StorageError):
            return link
        number, named = _system_error(link)
        if number in _NO_ROOM:
            return _no_room(number, path or named)
        link = link.__cause__ or link.__context__
    return None


def require_room(path: Path, size: int) -> None:
    """Make sure, before the work for it is done, that a file of so many bytes can be written.

    Args:
        path: The file; its folder must exist.
        size: Bytes.

    Raises:
        StorageError: Its disk has less left, or no file may be as large.
    """
    limit, usage = _size_limit(), shutil.disk_usage(path.parent)
    if size > limit:
        raise StorageError(
            f"{path} will have {_in_words(size)}, but files may not exceed {_in_words(limit)} (ulimit -f)",
            _RAISE_LIMIT,
        )
    if size > usage.free:
        raise StorageError(f"{path} will have {_in_words(size)}, too much for {_describe_disk(path)}", _FREE)


def require_writable(folder: Path, what: str, hint: str, room: int = 0) -> None:
    """Make a folder if it isn't there, and make sure that a file can be written into it.

    Args:
        folder: The folder.
        what: What is to be written there, for the error message.
        hint: What to do if it can't be.
        room: Bytes that it must take.

    Raises:
        StorageError: There is no room.
        UsageError: It can't be written to for another reason.
    """
    import tempfile

    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as stream:
                stream.write(bytes(room))
                stream.flush()
                os.fsync(stream.fileno())
    except StorageError:
        raise
    except OSError as error:
        raise UsageError(f"{what} can't be written to {folder}: {error.strerror}", hint) from error


def _system_error(error: BaseException) -> tuple[int | None, Path | None]:
    """Return the system's number of an error, and the file that it names."""
    if isinstance(error, OSError):
        name = error.filename
        return error.errno, Path(os.fsdecode(name)) if isinstance(name, (str, bytes)) else None
    # Libraries written in Rust, safetensors among them, say it in words only.
    match = re.search(r"\(os error (\d+)\)", str(error))
    return (int(match[1]) if match else None), None


def _no_room(number: int | None, path: Path | None) -> StorageError:
    reason, limit = _NO_ROOM[number or errno.ENOSPC], _size_limit()
    if number == errno.EFBIG and limit < math.inf:
        return StorageError(
            f"{path or 'a file'} can't be written: files may not exceed {_in_words(limit)} (ulimit -f)",
            _RAISE_LIMIT,
        )
    if path is None:
        return StorageError(f"a file can't be written: {reason}", _FREE)
    return StorageError(f"{path} can't be written: {reason}: {_describe_disk(path)}", _FREE)


def _describe_disk(path: Path) -> str:
    real = Path(os.path.realpath(path))
    place = next(place for place in (real, *real.parents) if place.is_mount() or place == place.parent)
    usage = shutil.disk_usage(place)
    room = f"{_in_words(usage.free)} free of {_in_words(usage.total)}"
    # A file system may be out of entries for files, with bytes to spare.
    if hasattr(os, "statvfs") and (entries := os.statvfs(place)).f_files and not entries.f_favail:
        room = "no entry left for another file"
    return f"the disk at {place}, with {room}"


def _size_limit() -> float:
    """Return the most bytes that this process may write into one file."""
    try:
        import resource
    except ImportError:  # Windows has no such limit.
        return math.inf
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return math.inf if limit == resource.RLIM_INFINITY else limit


def _in_words(size: float) -> str:
    if size < 1e6:
        return f"{size:,.0f} bytes"
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
