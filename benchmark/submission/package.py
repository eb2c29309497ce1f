"""What a package holds: a note, and records with their predictions; each by its name, size and kind."""

from __future__ import annotations

import json
import re
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from comface_bench.results.predictions import GZIP_HEADER, HEADER
from comface_bench.submission.limits import (
    JSON_DEPTH,
    NOTE_BYTES,
    PATH_LENGTH,
    PREDICTIONS_BYTES,
    RATIO,
    RECORD_BYTES,
    TOTAL_BYTES,
    UNPACKED_BYTES,
)
from comface_bench.submission.text import describe_character, show, text_problem, texts_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NOTE: Final = "submission.toml"
RECORD: Final = ".json"
PREDICTIONS: Final = ".predictions.csv.gz"

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+=,-]*")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
_KINDS = {
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


class Place(NamedTuple):
    """Where something is wrong in a package: the member, the place inside it, and what is wrong."""

    file: str
    place: str
    message: str
    hint: str = ""


def check_names(members: Mapping[str, bytes]) -> Iterator[Place]:
    """Check that there is a note and that each record has predictions, and nothing else is there."""
    for name in members:
        if problem := _name_problem(name):
            yield Place(name, "", problem)
    if NOTE not in members:
        yield Place(NOTE, "", "isn't there")
    stems = record_stems(members)
    for stem in stems:
        if f"{stem}{PREDICTIONS}" not in members:
            yield Place(f"{stem}{RECORD}", "", "has no predictions beside it")
    for name in members:
        if name.endswith(PREDICTIONS) and name.removesuffix(PREDICTIONS) not in stems:
            yield Place(name, "", "predictions without their record")
    if not stems:
        yield Place("", "", "holds no record")


def record_stems(members: Mapping[str, bytes]) -> list[str]:
    """List `<task>/<protocol>/<method>` of each record, sorted."""
    return sorted(name.removesuffix(RECORD) for name in members if name.endswith(RECORD))


def check_contents(members: Mapping[str, bytes]) -> Iterator[Place]:
    """Check sizes and kinds, whatever the names promise; nothing is unpacked beyond its cap.

    Names must have passed `check_names`.
    """
    unpacked = 0
    for name, data in members.items():
        if name == NOTE:
            yield from _check_plain(name, data, NOTE_BYTES)
        elif name.endswith(RECORD):
            yield from _check_record(name, data)
        else:
            problem, size = _unpack(data)
            unpacked += size
            if problem:
                yield Place(name, "", problem)
            if unpacked > TOTAL_BYTES:
                yield Place("", "", f"all predictions unpack to more than {TOTAL_BYTES} bytes")
                return


def _name_problem(name: str) -> str | None:
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
        if not _PART.fullmatch(part) or part.endswith("."):
            return f"{show(part)} can't name a folder or file: letters, digits and _ . + = , - are taken"
        if _DEVICE.fullmatch(part):
            return f"{show(part)} is the name of a device on some systems"
    return None


def _check_plain(name: str, data: bytes, limit: int) -> Iterator[Place]:
    """Check that a file is short ASCII text and no other known kind."""
    if len(data) > limit:
        yield Place(name, "", f"{len(data)} bytes; at most {limit} are taken")
    elif kind := next((kind for magic, kind in _KINDS.items() if data.startswith(magic)), None):
        yield Place(name, "", f"begins like {kind}")
    elif not data.isascii() or b"\0" in data:
        yield Place(name, "", "isn't ASCII text")


def _check_record(name: str, data: bytes) -> Iterator[Place]:
    problems = list(_check_plain(name, data, RECORD_BYTES))
    if problems:
        yield from problems
        return
    try:
        facts = json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        yield Place(name, "", f"no JSON: {reason}")
        return
    if _deeper_than(facts, JSON_DEPTH):
        yield Place(name, "", f"nested more than {JSON_DEPTH} deep")
        return
    for place, text in texts_of(facts):
        if place != "provenance.command" and (problem := text_problem(text)):
            yield Place(name, place, problem)


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


def _unpack(data: bytes) -> tuple[str | None, int]:
    """Unpack a table up to its cap; return what is wrong, and how many bytes it came to."""
    if len(data) > PREDICTIONS_BYTES:
        return f"{len(data)} bytes; at most {PREDICTIONS_BYTES} are taken", 0
    if not data.startswith(GZIP_HEADER):
        return "isn't a plain gzip file without name, time and comment", 0
    limit = min(UNPACKED_BYTES, RATIO * len(data))
    try:
        table = zlib.decompressobj(wbits=31).decompress(data, limit + 1)
    except zlib.error as error:
        return f"not a whole gzip file ({error})", 0
    if len(table) > limit:
        return f"unpacks to more than {UNPACKED_BYTES} bytes or {RATIO} times its size", len(table)
    if not table.startswith(f"{HEADER}\n".encode()):
        return f"isn't a table with the header {HEADER}", len(table)
    return None, len(table)
