"""Reading the tensors of an ONNX model: its initializers, and nothing else of it.

The file is a protocol buffer: fields, each with a number and a kind, nested by lengths. The graph of
operations stands beside the initializers; it is never run or looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.errors import WeightsFormatError

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST = 1 << 31
"""Bytes; a protocol buffer can't be larger."""
_GRAPH, _INITIALIZER = 7, 5
_DIMS, _TYPE, _NAME, _RAW, _LOCATION = 1, 2, 8, 9, 14
"""Numbers of the fields that are read: of the model, of its graph, and of a tensor."""
_TYPES = {1: "<f4", 6: "<i4", 7: "<i8"}


def is_onnx(head: bytes) -> bool:
    """Return whether a file begins as ONNX models do: a version of the format, then who wrote it."""
    return len(head) > 3 and head[0] == 0x08 and 1 <= head[1] < 0x40 and head[2] == 0x12


def read_onnx(path: Path) -> dict[str, Tensor]:
    """Read the initializers of an ONNX model.

    Args:
        path: The file.

    Returns:
        Name → tensor, float32, int32 or int64.

    Raises:
        WeightsFormatError: It is no such file, is cut off, or holds tensors in another form; the message
            names the byte.
    """
    if path.stat().st_size > _LARGEST:
        raise WeightsFormatError(f"{path.name} is too large to be read: {path.stat().st_size:,} bytes")
    return _Reader(path).read()


class _Reader:
    """A file whose parts are spans of bytes."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._content = path.read_bytes()

    def read(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for graph in self._messages(range(len(self._content)), _GRAPH):
            for initializer in self._messages(graph, _INITIALIZER):
                name, tensor = self._tensor(initializer)
                if name in tensors:
                    raise self._fault(initializer.start, f"the tensor {name} a second time")
                tensors[name] = tensor
        return tensors

    def _tensor(self, span: range) -> tuple[str, Tensor]:
        import numpy as np
        import torch

        name, shape, kind, raw = "", list[int](), 0, range(0)
        for number, value in self._fields(span):
            if number == _NAME and isinstance(value, range):
                name = self._content[value.start : value.stop].decode("utf-8", "replace")
            elif number == _DIMS:
                shape += [value] if isinstance(value, int) else list(self._wholes(value))
            elif number == _TYPE and isinstance(value, int):
                kind = value
            elif number == _RAW and isinstance(value, range):
                raw = value
            elif number == _LOCATION and value:
                raise self._fault(span.start, f"the tensor {name}, whose numbers lie in another file")
        if kind not in _TYPES:
            raise self._fault(span.start, f"the tensor {name} of type {kind}, which isn't read")
        size = math.prod(shape) * int(_TYPES[kind][-1])
        if size != len(raw):
            raise self._fault(
                span.start, f"the tensor {name} of {len(raw):,} bytes that should be {size:,}: {shape}"
            )
        values = np.frombuffer(self._content, _TYPES[kind], math.prod(shape), raw.start if raw else 0)
        return name, torch.from_numpy(values.reshape(shape).astype(_TYPES[kind][1:]))

    def _messages(self, span: range, wanted: int) -> Iterator[range]:
        for number, value in self._fields(span):
            if number == wanted:
                if isinstance(value, int):
                    raise self._fault(span.start, f"a number in the place of field {wanted}")
                yield value

    def _fields(self, span: range) -> Iterator[tuple[int, int | range]]:
        """Give the fields of a message: number, and value or, of what has a length, where it lies."""
        place = span.start
        while place < span.stop:
            key, begin = self._whole(place, span.stop)
            number, kind = key >> 3, key & 7
            if kind == 0:
                value, place = self._whole(begin, span.stop)
                yield number, value
                continue
            size, begin = self._whole(begin, span.stop) if kind == 2 else ({1: 8, 5: 4}.get(kind, -1), begin)
            if size < 0 or not number:
                raise self._fault(place, f"field {number} of kind {kind}, which there isn't")
            if size > span.stop - begin:
                raise self._fault(
                    begin,
                    f"{size:,} bytes are due, and {span.stop - begin:,} are left: it is cut off or damaged",
                )
            yield number, range(begin, begin + size)
            place = begin + size

    def _wholes(self, span: range) -> Iterator[int]:
        place = span.start
        while place < span.stop:
            value, place = self._whole(place, span.stop)
            yield value

    def _whole(self, place: int, stop: int) -> tuple[int, int]:
        """Read a whole number of seven bits a byte; return it and the place behind it."""
        value = 0
        for shift in range(0, 70, 7):
            if place >= stop:
                break
            byte = self._content[place]
            value, place = value | (byte & 0x7F) << shift, place + 1
            if byte < 0x80:
                return value, place
        raise self._fault(place, "no end of a whole number")

    def _fault(self, place: int, what: str) -> WeightsFormatError:
        return WeightsFormatError(
            f"{self._name} isn't an ONNX model that can be read: at byte {place:,}, {what}"
        )
