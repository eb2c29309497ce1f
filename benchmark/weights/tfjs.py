"""Reading the weights of a TensorFlow.js model: a manifest in JSON, and shards of numbers beside it.

The manifest names each tensor with its shape and type, in the order in which their bytes follow each other in
the shards of a group, taken as one. A tensor may be stored in fewer bits: `quantization` says in which, and a
value is then stored · scale + min (float16 has neither). The graph of a model stands in the same JSON; it is
never run or looked at.

Some packages turn JSON and shards into modules of JavaScript. Such a module is read as what it is, a value
that is written out, and never run.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from comface_bench.core.errors import WeightsFormatError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_LARGEST_MANIFEST = 1 << 26
"""Bytes of JSON, the graph included; real ones have some 100,000."""
_TYPES = {"float32": "<f4", "int32": "<i4", "bool": "u1"}
_STORED = {"uint8": "u1", "uint16": "<u2", "float16": "<f2"}
"""Types of fewer bits, as numpy calls them."""


class _Entry(NamedTuple):
    """A tensor of the manifest; its bytes begin at `offset` of its group's shards."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    stored: str
    scale: float
    least: float
    offset: int
    size: int


def is_tfjs(path: Path) -> bool:
    """Return whether a file looks like the JSON of a TensorFlow.js model: by its beginning and its words."""
    with path.open("rb") as stream:
        if stream.read(64).lstrip()[:1] not in (b"{", b"["):
            return False
        if path.stat().st_size > _LARGEST_MANIFEST:
            return False
        stream.seek(0)
        text = stream.read()
    return b'"weights"' in text and b'"paths"' in text


def read_tfjs(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a TensorFlow.js model.

    Args:
        path: The JSON: `model.json`, or a manifest alone. Its shards lie beside it.

    Returns:
        Name → tensor, float32, int32 or bool, in the layouts that TensorFlow has (filters are HWIO).

    Raises:
        WeightsFormatError: The JSON isn't such a manifest, a shard is missing, or their sizes contradict each
            other.
    """
    tensors: dict[str, Tensor] = {}
    for number, group in enumerate(_groups(path)):
        place = f"{path.name}: group {number}"
        entries = _entries(place, group)
        shards = _shards(path, place, group)
        expected, found = sum(entry.size for entry in entries), sum(shards.values())
        if expected != found:
            raise WeightsFormatError(
                f"{place} describes {expected:,} bytes of tensors, but {', '.join(p.name for p in shards)}"
                f" hold{'s' if len(shards) == 1 else ''} {found:,}",
                "The two don't belong together, or one is cut off: fetch them again.",
            )
        content = b"".join(shard.read_bytes() for shard in shards)
        for entry in entries:
            if entry.name in tensors:
                raise WeightsFormatError(f"{place} names the tensor {entry.name} twice")
            tensors[entry.name] = _decode(f"{place}, byte {entry.offset:,}: {entry.name}", entry, content)
    return tensors


def unpack_modules(modules: Sequence[Path], folder: Path) -> Path:
    """Write the JSON and the shards that modules of JavaScript hold.

    Args:
        modules: A module whose value is the JSON of a TensorFlow.js model, then one for each of its shards,
            whose values are text in base 64; named as what they hold, with `.js` or `.min.js` behind.
        folder: Where they go.

    Returns:
        The JSON.

    Raises:
        WeightsFormatError: A module isn't only a value, or a shard isn't base 64; the message says where.
    """
    written = []
    for module in modules:
        value = _value(module)
        name = module.name.removesuffix(".js").removesuffix(".min")
        if isinstance(value, str):
            try:
                content = base64.b64decode(value, validate=True)
            except binascii.Error as error:
                raise WeightsFormatError(f"{module.name} holds text that isn't base 64: {error}") from error
        else:
            name, content = f"{name}.json", json.dumps(value).encode()
        written.append(folder / name)
        written[-1].write_bytes(content)
    return written[0]


_EXPORT = re.compile(r"\bexports=(?=[{\"])")
_TOKEN = re.compile(
    r'"[^"\\]*(?:\\.[^"\\]*)*"|[][{},:]|![01]|(-?)(\d+(?:\.\d+)?|\.\d+)((?:[eE][-+]?\d+)?)|([A-Za-z_$][\w$]*)'
)
_WORDS = {"!0": "true", "!1": "false", "true": "true", "false": "false", "null": "null"}
"""JavaScript's short forms → JSON's words."""


def _value(module: Path) -> Any:
    """Read the one value that a module exports, written out by a minifier: keys are bare, zeros left out."""
    if module.stat().st_size > _LARGEST_MANIFEST:
        raise WeightsFormatError(f"{module.name} is too large for a module: {module.stat().st_size:,} bytes")
    text = module.read_text(encoding="utf-8", errors="replace")
    found = list(_EXPORT.finditer(text))
    if len(found) != 1:
        raise WeightsFormatError(f"{module.name} exports {len(found)} values that are written out, not one")
    try:
        return json.loads("".join(_as_json(module.name, text, found[0].end())), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise WeightsFormatError(f"{module.name} exports no value that can be read: {error}") from error


def _as_json(name: str, text: str, place: int) -> Iterator[str]:
    """Give the words of a value in JavaScript as JSON writes them, up to its end."""
    depth = 0
    while True:
        match = _TOKEN.match(text, place)
        if match is None:
            raise WeightsFormatError(f"{name} holds more than a value, at character {place:,}")
        word, place = match[0], match.end()
        sign, number, exponent, bare = match.groups()
        if number:
            yield f"{sign}{'0' if number[0] == '.' else ''}{number}{exponent}"
        elif bare and text[place : place + 1] == ":":
            yield f'"{bare}"'
        else:
            yield _WORDS.get(word, word)
        depth += (word in "{[") - (word in "}]")
        if not depth:
            return


def _groups(path: Path) -> list[Any]:
    if path.stat().st_size > _LARGEST_MANIFEST:
        raise WeightsFormatError(f"{path.name} is too large for a manifest: {path.stat().st_size:,} bytes")
    try:
        content = json.loads(path.read_bytes(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise WeightsFormatError(f"{path.name} is no JSON: {error}") from error
    groups = content.get("weightsManifest") if isinstance(content, dict) else content
    if not isinstance(groups, list) or not groups or not all(isinstance(group, dict) for group in groups):
        raise WeightsFormatError(f"{path.name} has no weightsManifest of TensorFlow.js")
    return groups


def _refuse(constant: str) -> float:
    raise ValueError(f"it holds {constant}")


def _shards(path: Path, place: str, group: Mapping[str, Any]) -> dict[Path, int]:
    """Return a group's shards, in order, and their sizes in bytes."""
    names = group.get("paths")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise WeightsFormatError(f"{place} has no paths")
    shards: dict[Path, int] = {}
    for name in names:
        if name != Path(name).name or "\\" in name or name in ("", ".", ".."):
            raise WeightsFormatError(f"{place} names a shard outside its folder: {name!r}")
        shard = path.with_name(name)
        if not shard.is_file():
            raise WeightsFormatError(f"{place} needs {name}, which isn't beside it", f"Put it there: {shard}")
        if shard in shards:
            raise WeightsFormatError(f"{place} names the shard {name} twice")
        shards[shard] = shard.stat().st_size
    return shards


def _entries(place: str, group: Mapping[str, Any]) -> list[_Entry]:
    declared = group.get("weights")
    if not isinstance(declared, list):
        raise WeightsFormatError(f"{place} has no weights")
    entries, offset = [], 0
    for number, facts in enumerate(declared):
        entry = _entry(f"{place}, tensor {number}", facts, offset)
        entries.append(entry)
        offset += entry.size
    return entries


def _entry(place: str, facts: Any, offset: int) -> _Entry:
    name = facts.get("name") if isinstance(facts, dict) else None
    if not isinstance(name, str) or not name:
        raise WeightsFormatError(f"{place} has no name")
    shape, dtype = facts.get("shape"), facts.get("dtype")
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        raise WeightsFormatError(f"{place}: {name} has the shape {shape!r}")
    if dtype not in _TYPES:
        raise WeightsFormatError(f"{place}: {name} is of {dtype!r}; read are {', '.join(_TYPES)}")
    stored, scale, least = _TYPES[dtype], 1.0, 0.0
    if (quantised := facts.get("quantization")) is not None:
        kind = quantised.get("dtype") if isinstance(quantised, dict) else None
        if kind not in _STORED or dtype == "bool":
            raise WeightsFormatError(f"{place}: {name} is stored as {kind!r}; read are {', '.join(_STORED)}")
        stored = _STORED[kind]
        if kind != "float16":
            # JSON may write either as a whole number, with which numpy would go on computing in bytes.
            scale, least = (_number(place, name, quantised.get(key)) for key in ("scale", "min"))
    size = math.prod(shape) * int(stored[-1])
    return _Entry(name, tuple(shape), dtype, stored, scale, least, offset, size)


def _number(place: str, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise WeightsFormatError(f"{place}: {name} is quantised by {value!r}, which is no number")
    return float(value)


def _decode(place: str, entry: _Entry, content: bytes) -> Tensor:
    import numpy as np
    import torch

    stored = np.frombuffer(content, entry.stored, math.prod(entry.shape), entry.offset)
    if entry.stored in (_STORED["uint8"], _STORED["uint16"]) and entry.dtype != "bool":
        values: NDArray[Any] = stored.astype(np.float64) * entry.scale + entry.least
        if entry.dtype == "int32":
            values = np.floor(values + 0.5)  # As JavaScript rounds.
    else:
        values = stored
    if not np.isfinite(values).all():
        raise WeightsFormatError(f"{place} holds values that aren't finite")
    kind: type[np.generic] = {"float32": np.float32, "int32": np.int32, "bool": np.bool_}[entry.dtype]
    return torch.from_numpy(values.astype(kind).reshape(entry.shape))
