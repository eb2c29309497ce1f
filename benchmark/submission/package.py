"""The form of a package: limits, texts that are taken, the archive, the note, the members.

Sizes are in bytes; a real package needs a tenth of what is taken.

Texts of a stranger's file end up in Markdown, HTML, CSV, LaTeX and terminals. Those places escape what they
print; that nothing gets in which would need it is the second wall. Everything is ASCII, so no letter can
pass for another.

The archive is a zip file that has one form only, so that no byte of it goes unseen: members are stored,
sorted by name and follow each other without a gap; dates are fixed; there is no extra field, comment,
folder, link, encryption or second volume. A table of predictions is compressed by itself. Reading takes the
central directory apart by hand: time and memory grow with the file's size, which is capped.
"""

from __future__ import annotations

import dataclasses
import io
import json
import re
import struct
import tomllib
import unicodedata
import zipfile
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from comface_bench.results.predictions import GZIP_HEADER, HEADER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FieldProblem = tuple[str, str]
"""A field of a record or note, and what is wrong there."""

PACKAGE_BYTES: Final = 32 * 2**20
MEMBERS: Final = 201
PATH_LENGTH: Final = 240
RECORD_BYTES: Final = 2 * 2**20
NOTE_BYTES: Final = 8 * 2**10
PREDICTIONS_BYTES: Final = 8 * 2**20
UNPACKED_BYTES: Final = 16 * 2**20
"""Of one predictions file, unpacked."""
TOTAL_BYTES: Final = 64 * 2**20
"""Of all predictions files together, unpacked."""
COMPRESSION_RATIO: Final = 100
"""Of unpacked to packed bytes of predictions; tables of different numbers stay below 15."""
JSON_DEPTH: Final = 12
TEXT_LENGTH: Final = 400
"""Characters of one text in a record."""
NUMBERS_LENGTH: Final = 4000
"""Characters of one list of subjects' numbers."""
REPORTED_FINDINGS: Final = 100
"""Findings that are listed one by one; further ones are counted."""

_FORBIDDEN_CHARACTER = re.compile(r"[^A-Za-z0-9 _\-+./,:;'()%=]")
_NUMBERS = re.compile(r"[0-9,]+")
_FORMULA_SIGNS = "=+-@"
_PATH = re.compile(
    r"(?:^|[\s'(=:,;])(?:/|\.\.?/|[A-Za-z]:/|file:)|(?:^|[\s'(=:,;/])(?:home|Users|root|tmp)/|(?:^|/)\.\.(?:/|$)"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+=,/-]{0,119}")
_URL = re.compile(r"https://(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}(?:/[A-Za-z0-9._/%+=-]*)?")
_URL_LENGTH = 300


def text_problem(text: str) -> str | None:
    """Say why a text may not stand in a submission; None if it may."""
    if _NUMBERS.fullmatch(text) and len(text) <= NUMBERS_LENGTH:
        return None
    if len(text) > TEXT_LENGTH:
        return f"a text of {len(text)} characters; at most {TEXT_LENGTH} are taken"
    if found := _FORBIDDEN_CHARACTER.search(text):
        return f"{describe_character(found[0])} in {quote(text)}"
    if text and text[0] in _FORMULA_SIGNS:
        return f"{quote(text)} begins like a formula"
    if _PATH.search(text):
        return f"{quote(text)} looks like a path"
    return None


def name_problem(name: str) -> str | None:
    """Say why something may not be the name of a method, task or protocol; None if it may."""
    if problem := text_problem(name):
        return problem
    if not _NAME.fullmatch(name) or "//" in name or name.endswith(("/", ".")):
        return (
            f"{quote(name)} is no name: up to 120 letters, digits and _ . + = , / - after a letter or digit"
        )
    return None


def url_problem(url: str) -> str | None:
    """Say why something may not be a link; None if it may."""
    if len(url) > _URL_LENGTH:
        return f"a link of {len(url)} characters; at most {_URL_LENGTH} are taken"
    if not url.startswith("https://"):
        return f"{quote(url)} doesn't begin with https://"
    if not _URL.fullmatch(url) or "xn--" in url or "/../" in f"{url}/":
        return f"{quote(url)} is more than a plain host and path"
    return None


def texts_of(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield (place, text) of all texts in a JSON document, the keys of its objects among them."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield place, key
            yield from texts_of(entry, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            yield from texts_of(entry, f"{place}.{number}" if place else str(number))


def describe_character(character: str) -> str:
    """Name a character, such as `U+202E RIGHT-TO-LEFT OVERRIDE`."""
    name = unicodedata.name(character, "a control character")
    shown = f" {character}" if character.isascii() and character.isprintable() else ""
    return f"U+{ord(character):04X} {name}{shown}"


def quote(text: str) -> str:
    """Quote a text for a message, in printable ASCII and not longer than a line."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def as_plain(text: str, length: int = 400) -> str:
    """Write any text as one line of printable ASCII, cut to a length."""
    line = "".join(sign if sign.isascii() and sign.isprintable() else ascii(sign)[1:-1] for sign in text)
    return line if len(line) <= length else f"{line[: length - 4]} ..."


def as_markdown(text: str) -> str:
    """Write any text as code in a table of GitHub's Markdown; nothing in it is a tag, link or mention.

    Every sign but letters, digits, blanks and hyphens becomes an entity, which no syntax is read from.
    """
    signs = (
        sign if sign.isascii() and (sign.isalnum() or sign in " -") else f"&#{ord(sign)};"
        for sign in as_plain(text)
    )
    return f"<code>{''.join(signs)}</code>"


_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
_ZIP_MODE = 0o100644
_ZIP_END = struct.Struct("<4s4H2IH")
_ZIP_ENTRY = struct.Struct("<4s6H3I5H2I")
_ZIP_LOCAL = struct.Struct("<4s5H3I2H")
_REPACK_HINT = "Take the file as `comface-bench submission pack` wrote it."


class ArchiveError(ValueError):
    """Bytes that aren't a package; `place` is the member concerned, or empty."""

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.hint = _REPACK_HINT


class _MemberHeader(NamedTuple):
    name: str
    size: int
    offset: int


def write_archive(members: Mapping[str, bytes]) -> bytes:
    """Write members as a package: the same bytes for the same members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, _ZIP_DATE)
            entry.create_system = 3
            entry.external_attr = _ZIP_MODE << 16
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
            raise ArchiveError(f"differs from {quote(other)} only in upper and lower case", entry.name)
        lower[entry.name.lower()] = entry.name
        members[entry.name] = _read_member(data, entry)
    if write_archive(members) != data:
        raise ArchiveError(
            "bytes between, before or after the members, or headers that contradict each other"
        )
    return members


def _read_directory(data: bytes) -> list[_MemberHeader]:
    if len(data) < _ZIP_END.size or not data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        raise ArchiveError("not a zip file")
    signature, disk, first_disk, here, count, size, offset, comment = _ZIP_END.unpack_from(
        data, len(data) - _ZIP_END.size
    )
    if signature != b"PK\x05\x06" or comment:
        raise ArchiveError("not a whole zip file, or one with a comment or bytes behind it")
    if disk or first_disk or here != count:
        raise ArchiveError("a part of a zip file in several volumes")
    if count > MEMBERS:
        raise ArchiveError(f"{count} members; at most {MEMBERS} are taken")
    if offset + size != len(data) - _ZIP_END.size:
        raise ArchiveError("its directory isn't where its end says")
    entries = []
    place = offset
    for _ in range(count):
        if place + _ZIP_ENTRY.size > offset + size:
            raise ArchiveError("its directory is cut short")
        entry, place = _read_entry(data, place)
        entries.append(entry)
    if place != offset + size:
        raise ArchiveError("its directory holds more than its entries")
    # One that begins inside another would be read twice: that is how a small file becomes endless.
    by_offset = sorted(entries, key=lambda entry: entry.offset)
    for before, entry in pairwise(by_offset):
        if before.offset + before.size > entry.offset:
            raise ArchiveError(f"overlaps {quote(before.name)}", entry.name)
    return entries


def _read_entry(data: bytes, place: int) -> tuple[_MemberHeader, int]:
    fields = _ZIP_ENTRY.unpack_from(data, place)
    signature, _, _, flags, method, _, _, _, packed, size, n_name, n_extra, n_comment = fields[:13]
    attributes, offset = fields[15:]
    place += _ZIP_ENTRY.size
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
    if packed != size or offset + _ZIP_LOCAL.size + n_name + size > len(data):
        raise ArchiveError("its size isn't that of its bytes", name)
    if n_extra or n_comment:
        raise ArchiveError("with an extra field or a comment", name)
    return _MemberHeader(name, size, offset), place + n_name


def _read_member(data: bytes, entry: _MemberHeader) -> bytes:
    start = entry.offset + _ZIP_LOCAL.size + len(entry.name)
    return data[start : start + entry.size]


_NOTE_LENGTHS = {"description": 300, "licence": 80}
_MOST_DATA_SETS = 30
_DATA_SET_LENGTH = 60


class NoteError(ValueError):
    """Text that is no note."""


@dataclasses.dataclass(frozen=True)
class SubmissionNote:
    """Facts about the method that accompany the numbers of a submission; printable ASCII.

    Attributes:
        method: Name of the method, options included, as the records have it.
        description: What it is, in one or two sentences.
        code: https address of the code, or empty.
        weights: https address of the weights, or empty; one of the two is needed.
        licence: Of the weights, or of the code where there are none.
        training_data: Data sets seen in pre-training; `none` alone for a method that saw none.
    """

    method: str
    description: str
    code: str
    weights: str
    licence: str
    training_data: tuple[str, ...]


def write_note(note: SubmissionNote) -> str:
    """Write a note as TOML; one form for one note, comments have no place."""
    lines = ["schema = 1"]
    for item in dataclasses.fields(note):
        value = getattr(note, item.name)
        listed = (
            f"[{', '.join(map(_toml_string, value))}]" if isinstance(value, tuple) else _toml_string(value)
        )
        lines.append(f"{item.name} = {listed}")
    return "\n".join(lines) + "\n"


def read_note(text: str) -> SubmissionNote:
    """Read what `write_note` wrote.

    Raises:
        NoteError: It is anything else.
    """
    try:
        facts: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoteError(f"no TOML: {error}") from None
    if facts.pop("schema", None) != 1:
        raise NoteError("schema isn't 1")
    names = {item.name for item in dataclasses.fields(SubmissionNote)}
    if strange := sorted(set(facts) ^ names):
        raise NoteError(f"{', '.join(strange)}: missing, or not a field of a note")
    listed = facts.pop("training_data")
    if not isinstance(listed, list) or not all(
        isinstance(value, str) for value in [*facts.values(), *listed]
    ):
        raise NoteError("training_data is a list of texts, all other fields are texts")
    note = SubmissionNote(training_data=tuple(listed), **facts)
    if write_note(note) != text:
        raise NoteError("not written as `comface-bench submission pack` writes it")
    return note


def check_note(note: SubmissionNote) -> Iterator[FieldProblem]:
    """Yield the problems of a note."""
    if problem := name_problem(note.method):
        yield "method", problem
    for field, longest in _NOTE_LENGTHS.items():
        text = getattr(note, field)
        if not text.strip():
            yield field, "is empty"
        elif len(text) > longest:
            yield field, f"{len(text)} characters; at most {longest} are taken"
        elif problem := text_problem(text):
            yield field, problem
    if not note.code and not note.weights:
        yield "code", "neither the code nor the weights have an address"
    for field in ("code", "weights"):
        url = getattr(note, field)
        if url and (problem := url_problem(url)):
            yield field, problem
    if not 1 <= len(note.training_data) <= _MOST_DATA_SETS:
        yield "training_data", f"between 1 and {_MOST_DATA_SETS} names are taken; `none` for no pre-training"
    for name in note.training_data:
        if problem := _data_set_problem(name):
            yield "training_data", problem
    if "none" in note.training_data and len(note.training_data) > 1:
        yield "training_data", "`none` stands alone"


def _data_set_problem(name: str) -> str | None:
    if not name.strip() or len(name) > _DATA_SET_LENGTH:
        return f"a name is empty or longer than {_DATA_SET_LENGTH} characters"
    return text_problem(name)


def _toml_string(text: str) -> str:
    # A JSON string in ASCII is a TOML string, too.
    return json.dumps(text)


NOTE: Final = "submission.toml"
RECORD: Final = ".json"
PREDICTIONS: Final = ".predictions.csv.gz"

_NAME_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+=,-]*")
_DEVICE_NAME = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
_FILE_SIGNATURES = {
    b"\x80": "a pickle",
    b"PK": "a zip file",
    b"\x1f\x8b": "a gzip file",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"#!": "a script",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"%PDF": "a PDF",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"<": "HTML or XML",
}


class RawFinding(NamedTuple):
    """Something wrong in a package, with texts as the stranger wrote them: member, place inside it, fault."""

    file: str
    place: str
    message: str
    hint: str = ""


def check_names(members: Mapping[str, bytes]) -> Iterator[RawFinding]:
    """Check that there is a note and that each record has predictions, and nothing else is there."""
    for name in members:
        if problem := _member_name_problem(name):
            yield RawFinding(name, "", problem)
    if NOTE not in members:
        yield RawFinding(NOTE, "", "isn't there")
    stems = record_stems(members)
    for stem in stems:
        if f"{stem}{PREDICTIONS}" not in members:
            yield RawFinding(f"{stem}{RECORD}", "", "has no predictions beside it")
    for name in members:
        if name.endswith(PREDICTIONS) and name.removesuffix(PREDICTIONS) not in stems:
            yield RawFinding(name, "", "predictions without their record")
    if not stems:
        yield RawFinding("", "", "holds no record")


def record_stems(members: Mapping[str, bytes]) -> list[str]:
    """List `<task>/<protocol>/<method>` of each record, sorted."""
    return sorted(name.removesuffix(RECORD) for name in members if name.endswith(RECORD))


def check_contents(members: Mapping[str, bytes]) -> Iterator[RawFinding]:
    """Check sizes and kinds, whatever the names promise; nothing is unpacked beyond its cap.

    Names must have passed `check_names`.
    """
    unpacked = 0
    for name, data in members.items():
        if name == NOTE:
            yield from _check_ascii_file(name, data, NOTE_BYTES)
        elif name.endswith(RECORD):
            yield from _check_record_file(name, data)
        else:
            problem, size = _unpack_predictions(data)
            unpacked += size
            if problem:
                yield RawFinding(name, "", problem)
            if unpacked > TOTAL_BYTES:
                yield RawFinding("", "", f"all predictions unpack to more than {TOTAL_BYTES} bytes")
                return


def _member_name_problem(name: str) -> str | None:
    if len(name) > PATH_LENGTH:
        return f"a path of {len(name)} characters; at most {PATH_LENGTH} are taken"
    if "\\" in name or name.startswith("/") or ".." in name or ":" in name:
        return "a path that may lead out of the folder"
    if bad := next((sign for sign in name if not (sign.isascii() and sign.isprintable())), None):
        return f"a name with {describe_character(bad)}"
    if name == NOTE:
        return None
    ending = PREDICTIONS if name.endswith(PREDICTIONS) else RECORD
    parts = name.removesuffix(ending).split("/")
    if not name.endswith(ending) or len(parts) != 3:
        return f"isn't {NOTE}, TASK/PROTOCOL/METHOD{RECORD} or TASK/PROTOCOL/METHOD{PREDICTIONS}"
    for part in parts:
        if not _NAME_PART.fullmatch(part) or part.endswith("."):
            return f"{quote(part)} can't name a folder or file: letters, digits and _ . + = , - are taken"
        if _DEVICE_NAME.fullmatch(part):
            return f"{quote(part)} is the name of a device on some systems"
    return None


def _check_ascii_file(name: str, data: bytes, limit: int) -> Iterator[RawFinding]:
    """Check that a file is short ASCII text and no other known kind."""
    if len(data) > limit:
        yield RawFinding(name, "", f"{len(data)} bytes; at most {limit} are taken")
    elif kind := next((kind for magic, kind in _FILE_SIGNATURES.items() if data.startswith(magic)), None):
        yield RawFinding(name, "", f"begins like {kind}")
    elif not data.isascii() or b"\0" in data:
        yield RawFinding(name, "", "isn't ASCII text")


def _check_record_file(name: str, data: bytes) -> Iterator[RawFinding]:
    problems = list(_check_ascii_file(name, data, RECORD_BYTES))
    if problems:
        yield from problems
        return
    try:
        facts = json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        yield RawFinding(name, "", f"no JSON: {reason}")
        return
    if _deeper_than(facts, JSON_DEPTH):
        yield RawFinding(name, "", f"nested more than {JSON_DEPTH} deep")
        return
    for place, text in texts_of(facts):
        if place != "provenance.command" and (problem := text_problem(text)):
            yield RawFinding(name, place, problem)


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(left, dict | list) for left in level)


def _unpack_predictions(data: bytes) -> tuple[str | None, int]:
    """Unpack a table up to its cap; return what is wrong, and how many bytes it came to."""
    if len(data) > PREDICTIONS_BYTES:
        return f"{len(data)} bytes; at most {PREDICTIONS_BYTES} are taken", 0
    if not data.startswith(GZIP_HEADER):
        return "isn't a plain gzip file without name, time and comment", 0
    limit = min(UNPACKED_BYTES, COMPRESSION_RATIO * len(data))
    gzip = zlib.decompressobj(wbits=31)
    try:
        table = gzip.decompress(data, limit + 1)
    except zlib.error as error:
        return f"not a whole gzip file ({error})", 0
    if len(table) > limit:
        return f"unpacks to more than {UNPACKED_BYTES} bytes or {COMPRESSION_RATIO} times its size", len(
            table
        )
    if not table.startswith(f"{HEADER}\n".encode()):
        return f"isn't a table with the header {HEADER}", len(table)
    # Readers would go on with a second file behind the first, beyond every cap.
    if not gzip.eof or gzip.unused_data:
        return f"not one whole gzip file{': bytes behind it' if gzip.eof else ''}", len(table)
    return None, len(table)
