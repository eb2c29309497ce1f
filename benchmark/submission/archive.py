"""The package: a zip file that has one form only, so that no byte of it goes unseen.

Members are stored, sorted by name and follow each other without a gap; dates are fixed; there is no extra
field, comment, folder, link, encryption or second volume. A table of predictions is compressed by itself.
Reading takes the central directory apart by hand: time and memory grow with the file's size, which is capped.
"""

from __future__ import annotations

import io
import struct
import zipfile
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from comface_bench.submission.limits import MEMBERS, PACKAGE_BYTES
from comface_bench.submission.text import show

if TYPE_CHECKING:
    from collections.abc import Mapping

_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644
_END = struct.Struct("<4s4H2IH")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_AGAIN = "Take the file as `comface-bench submission pack` wrote it."


class ArchiveError(ValueError):
    """Bytes that aren't a package; `place` is the member concerned, or empty."""

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.hint = _AGAIN


class _Entry(NamedTuple):
    name: str
    size: int
    offset: int


def write_archive(members: Mapping[str, bytes]) -> bytes:
    """Write members as a package: the same bytes for the same members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system = 3
            entry.external_attr = _MODE << 16
            archive.writestr(entry, members[name])
    return buffer.getvalue()


def read_archive(data: bytes) -> dict[str, bytes]:
    """Take a stranger's package apart, in memory.

    Raises:
        ArchiveError: It isn't in the form that `write_archive` writes; the message says what is wrong.
    """
    if len(data) > PACKAGE_BYTES:
        raise ArchiveError(f"bigger than {PACKAGE_BYTES} bytes")
    entries = _read_directory(data)
    members: dict[str, bytes] = {}
    lower: dict[str, str] = {}
    for entry in entries:
        if entry.name in members:
            raise ArchiveError("a name stands twice", entry.name)
        if other := lower.get(entry.name.lower()):
            raise ArchiveError(f"differs from {show(other)} only in upper and lower case", entry.name)
        lower[entry.name.lower()] = entry.name
        members[entry.name] = _read_member(data, entry)
    if write_archive(members) != data:
        raise ArchiveError(
            "bytes between, before or after the members, or headers that contradict each other"
        )
    return members


def _read_directory(data: bytes) -> list[_Entry]:
    if len(data) < _END.size or not data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        raise ArchiveError("not a zip file")
    signature, disk, first_disk, here, count, size, offset, comment = _END.unpack_from(
        data, len(data) - _END.size
    )
    if signature != b"PK\x05\x06" or comment:
        raise ArchiveError("not a whole zip file, or one with a comment or bytes behind it")
    if disk or first_disk or here != count:
        raise ArchiveError("a part of a zip file in several volumes")
    if count > MEMBERS:
        raise ArchiveError(f"{count} members; at most {MEMBERS} are taken")
    if offset + size != len(data) - _END.size:
        raise ArchiveError("its directory isn't where its end says")
    entries = []
    place = offset
    for _ in range(count):
        if place + _ENTRY.size > offset + size:
            raise ArchiveError("its directory is cut short")
        entry, place = _read_entry(data, place)
        entries.append(entry)
    if place != offset + size:
        raise ArchiveError("its directory holds more than its entries")
    # One that begins inside another would be read twice: that is how a small file becomes endless.
    by_offset = sorted(entries, key=lambda entry: entry.offset)
    for before, entry in pairwise(by_offset):
        if before.offset + before.size > entry.offset:
            raise ArchiveError(f"overlaps {show(before.name)}", entry.name)
    return entries


def _read_entry(data: bytes, place: int) -> tuple[_Entry, int]:
    fields = _ENTRY.unpack_from(data, place)
    signature, _, _, flags, method, _, _, _, packed, size, n_name, n_extra, n_comment = fields[:13]
    attributes, offset = fields[15:]
    place += _ENTRY.size
    if signature != b"PK\x01\x02":
        raise ArchiveError("its directory is malformed")
    raw = data[place : place + n_name]
    try:
        name = raw.decode("ascii")
    except UnicodeDecodeError:
        raise ArchiveError("a name isn't ASCII", ascii(raw)) from None
    if flags & 0x41:
        raise ArchiveError("encrypted", name)
    if (kind := attributes >> 28) not in (0, 0o10):
        raise ArchiveError("a link" if kind == 0o12 else "a folder or no plain file", name)
    if method:
        raise ArchiveError("compressed; members are stored as they are", name)
    if packed != size or offset + _LOCAL.size + n_name + size > len(data):
        raise ArchiveError("its size isn't that of its bytes", name)
    if n_extra or n_comment:
        raise ArchiveError("with an extra field or a comment", name)
    return _Entry(name, size, offset), place + n_name


def _read_member(data: bytes, entry: _Entry) -> bytes:
    start = entry.offset + _LOCAL.size + len(entry.name)
    return data[start : start + entry.size]
