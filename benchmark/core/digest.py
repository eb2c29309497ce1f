"""Digests of facts (canonical JSON, hashed), of files and their tensors, of texts that state their own."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import inspect
import json
import re
import sys
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple


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


class FileDigests(NamedTuple):
    """Digests of a file, SHA-256 in hexadecimal digits: of its bytes, and of what it holds.

    The latter is that of the tensors where the file is safetensors, whatever it is called: names, types,
    shapes and numbers, in whichever order they lie, and metadata that may mean something. Where the numbers
    were copied from (`PROVENANCE`) doesn't. Any other file is its bytes.
    """

    bytes: str
    content: str


PROVENANCE = ("conversion", "format")
"""Metadata of safetensors files that say which program wrote them, and from what."""

_PIECE = 1 << 20


def digest_content(path: Path) -> FileDigests:
    """Return both digests of a file, which is read once and never held in memory."""
    with path.open("rb") as stream:
        header = _read_header(stream, path.stat().st_size)
        begun = stream.tell() if header else 0
        stream.seek(0)
        whole = hashlib.sha256()
        if header is None:
            _consume(stream, None, [whole])
            return FileDigests(whole.hexdigest(), whole.hexdigest())
        _consume(stream, begun, [whole])
        metadata, tensors = header
        parts = {}
        for tensor in tensors:
            own = hashlib.sha256()
            _consume(stream, tensor.size, [whole, own])
            parts[tensor.name] = [tensor.dtype, tensor.shape, own.hexdigest()]
        return FileDigests(whole.hexdigest(), digest({"tensors": parts, "metadata": metadata}))


class _StoredTensor(NamedTuple):
    name: str
    dtype: str
    shape: list[int]
    size: int


def _read_header(stream: IO[bytes], size: int) -> tuple[dict[str, str], list[_StoredTensor]] | None:
    """Read the head of a safetensors file: metadata that may mean something, and tensors as they lie.

    A file whose tensors don't follow each other without a gap up to its end is none: None, as for any other.
    """
    length = int.from_bytes(stream.read(8), "little")
    if not 2 <= length <= size - 8:
        return None
    try:
        header = json.loads(stream.read(length), object_pairs_hook=_without_repetition)
        metadata = {key: str(value) for key, value in header.pop("__metadata__", {}).items()}
        spans = sorted((*_numbers(fact["data_offsets"]), name) for name, fact in header.items())
        tensors = [
            _StoredTensor(name, str(header[name]["dtype"]), _numbers(header[name]["shape"]), end - begin)
            for begin, end, name in spans
        ]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    if [0, *(end for _, end, _ in spans)] != [*(begin for begin, _, _ in spans), size - 8 - length]:
        return None
    return {key: value for key, value in metadata.items() if key not in PROVENANCE}, tensors


def _numbers(values: Any) -> list[int]:
    if not all(type(value) is int and value >= 0 for value in values):
        raise ValueError("not whole numbers")
    return list(values)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _consume(stream: IO[bytes], count: int | None, into: Iterable[Any]) -> None:
    """Feed hashes with the next bytes of a stream, or with all that are left."""
    left = count
    while piece := stream.read(_PIECE if left is None else min(_PIECE, left)):
        left = None if left is None else left - len(piece)
        for one in into:
            one.update(piece)


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


class ObjectFacts:
    """Describes Python objects by all that they hold, in a form that has a digest.

    Classes and functions are described by their names; functions by the values that they bring along, too.

    Attributes:
        modules: Names of the Python modules that these classes and functions come from.
    """

    def __init__(self) -> None:
        self.modules: set[str] = set()
        # With the objects: the number of one that is gone may become another's.
        self._seen: dict[int, tuple[int, object]] = {}

    def describe(self, value: Any) -> Any:
        """Describe an object; what was described before is only referred to."""
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, (float, complex, bytes)):
            return repr(value)
        if id(value) in self._seen:
            return {"seen": self._seen[id(value)][0]}
        self._seen[id(value)] = len(self._seen), value
        if isinstance(value, Mapping):
            return [[self.describe(key), self.describe(item)] for key, item in value.items()]
        if isinstance(value, (list, tuple)):
            return [self.describe(item) for item in value]
        if isinstance(value, (set, frozenset)):
            return sorted(canonical_json(self.describe(item)) for item in value)
        if isinstance(value, type) or inspect.isroutine(value):
            return self._describe_code(value)
        return [self.describe(type(value)), self.describe(self.held(value))]

    def held(self, value: Any) -> Any:
        """Return what stands for an object that is neither plain, nor a container, nor code."""
        if isinstance(value, functools.partial):
            return [value.func, value.args, value.keywords]
        if isinstance(value, (enum.Enum, Path)):
            return str(value)
        # Those of the standard library, such as loggers and locks, may hold half of the process.
        if type(value).__module__.partition(".")[0] in sys.stdlib_module_names:
            return None
        if hasattr(value, "__dict__"):
            return vars(value)
        text = repr(value)
        return None if " at 0x" in text else text

    def _describe_code(self, value: Any) -> list[Any]:
        module = str(getattr(value, "__module__", ""))
        self.modules.add(module)
        facts = [module, getattr(value, "__qualname__", "")]
        if isinstance(value, type):
            # A class of this process behaves as its bases do where it doesn't say otherwise.
            return [*facts, [self.describe(base) for base in value.__bases__ if base is not object]]
        if isinstance(value, types.MethodType):
            return [*facts, self.describe(value.__func__), self.describe(value.__self__)]
        if isinstance(value, types.FunctionType):
            held = [inspect.getclosurevars(value).nonlocals, value.__defaults__, value.__kwdefaults__]
            return [*facts, value.__code__.co_firstlineno, self.describe(held)]
        return facts
