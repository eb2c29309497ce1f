"""Digests of declared facts (canonical JSON, hashed), of files, and of texts that state their own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> str:
    """Write a value as JSON in the one form that is hashed: sorted keys, no blanks, no NaN.

    Dataclasses become objects, tuples become lists, paths are refused (no path may reach a key).

    Raises:
        TypeError: The value holds something that has no canonical form.
        ValueError: The value holds a number that isn't finite.
    """
    return json.dumps(
        value, default=_plain, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True
    )


def digest(value: Any) -> str:
    """Return the SHA-256 of `canonical_json(value)`, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


_OWN_DIGEST = re.compile(rb',\n "digest": "([0-9a-f]{64})"\n}\n\Z')


def states_own_digest(text: bytes) -> bool:
    """Return whether a JSON object, indented by 1, ends with the SHA-256 of itself without that field.

    The bytes are looked at as they are: the same facts in another layout don't state their digest.
    """
    found = _OWN_DIGEST.search(text)
    if found is None:
        return False
    before = hashlib.sha256(memoryview(text)[: found.start()])
    before.update(b"\n}\n")
    return before.hexdigest().encode() == found[1]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, (frozenset, set)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no canonical form")
