"""Files of a folder or a ZIP archive, by name and bytes."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from comface_bench.core.errors import DataFormatError

LARGEST = 16 * 2**20
"""Bytes of the largest file that is read out of an archive; FG-NET's largest has a hundred thousand."""


@dataclass(frozen=True)
class Member:
    """One file.

    Attributes:
        where: Its path, as messages name it.
        name: Its name without folders.
    """

    where: str
    name: str
    _source: Path | zipfile.ZipFile
    _key: str

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            DataFormatError: The archive is damaged at this place.
        """
        if isinstance(self._source, Path):
            return (self._source / self._key).read_bytes()
        try:
            return self._source.read(self._key)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
            raise DataFormatError(
                f"{self.where}: can't be unpacked ({error})", "Get the archive again."
            ) from error


@contextmanager
def open_members(source: Path) -> Iterator[list[Member]]:
    """Open a folder or archive and list its files in order of path, without those of macOS.

    Raises:
        DataFormatError: It is neither, a member's path leaves the archive, or a member is too large.
    """
    if source.is_dir():
        paths = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
        yield [
            Member(str(source / path), path.name, source, path.as_posix())
            for path in paths
            if not _is_junk(path)
        ]
        return
    try:
        archive = zipfile.ZipFile(source)
    except zipfile.BadZipFile as error:
        raise DataFormatError(
            f"{source}: neither a folder nor a ZIP archive", "Get the archive again."
        ) from error
    with archive:
        yield sorted(_members(source, archive), key=lambda member: member.where)


def _members(source: Path, archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        # Archives made on Windows may hold backslashes.
        path = PurePosixPath(info.filename.replace("\\", "/"))
        where = f"{source}:{info.filename}"
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[:1]:
            raise DataFormatError(
                f"{where}: this member would be unpacked outside of the folder", "Don't trust this archive."
            )
        if info.is_dir() or _is_junk(path):
            continue
        if info.file_size > LARGEST:
            raise DataFormatError(
                f"{where}: {info.file_size:,} bytes; none should have more than {LARGEST:,}"
            )
        yield Member(where, path.name, archive, info.filename)


def _is_junk(path: Path | PurePosixPath) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
