"""Room on disks: what is said when there is too little of it, before a file is written or while it is."""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
from pathlib import Path

from comface_bench.core.errors import StorageError

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
