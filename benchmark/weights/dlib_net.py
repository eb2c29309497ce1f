"""Reading a network that dlib has written (`dlib::serialize`), such as its face recogniser: tensors, as data.

The file is a nest of C++ templates, written from the outside in: version numbers of every layer from the loss
to the input, then the layers' contents from the input to the loss. A whole number is a byte that counts its
bytes (its highest bit is the sign), then those; a floating-point number is two of them, mantissa and exponent
of 2; arrays are float32. Behind each layer stand buffers of training, which a cleaned network leaves empty.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.errors import WeightsFormatError

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST = 1 << 30
_LONGEST_NAME = 64
_INPUT = "input_rgb_image_sized"
_WITHOUT_TENSORS = {"relu_": 0, "add_prev_": 0, "max_pool_2": 6, "avg_pool_2": 6}
"""Layers that have none → how many whole numbers they have: window, strides and padding."""


def is_dlib(head: bytes) -> bool:
    """Return whether a file begins as dlib's networks do: two versions, then the name of the loss."""
    return head.startswith(b"\x01\x01\x01") and head[4:9] == b"loss_"


def read_dlib(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a network that dlib has written.

    Args:
        path: The file (`.dat`).

    Returns:
        Name → tensor, float32, from the input to the loss. The n-th convolution, counted from 0, is
        `con_n.filters` (made, given, height, width) and `con_n.biases` (made); the n-th affine layer
        `affine_n.gamma` and `affine_n.beta`; the n-th fully connected one `fc_n.weights` (given, made).

    Raises:
        WeightsFormatError: It is no such file, has layers that aren't known, or is cut off; the message names
            the byte.
    """
    if path.stat().st_size > _LARGEST:
        raise WeightsFormatError(f"{path.name} is too large to be read: {path.stat().st_size:,} bytes")
    return _Reader(path).read()


class _Reader:
    """A file and the place that has been reached in it."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._content = path.read_bytes()
        self._place = 0

    def read(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        counts: Counter[str] = Counter()
        for number in range(self._open()):
            kind, parts = self._layer()
            for part, tensor in parts.items():
                tensors[f"{kind}_{counts[kind]}.{part}"] = tensor
            counts[kind] += 1
            self._buffers()
            if number == 0:
                self._whole()  # How many samples an image gives.
        if left := len(self._content) - self._place:
            raise self._fault(f"{left:,} bytes more than its layers have")
        return tensors

    def _open(self) -> int:
        """Pass by the loss, the versions and the input; return how many layers follow."""
        self._whole()
        loss = self._text()
        if loss != "loss_metric_2":
            raise self._fault(f"the loss {loss}, which isn't known")
        self._fractions(2)
        layers = 0
        while True:
            before = self._place
            version = self._whole()
            if not 1 <= version <= 3:
                self._place = before
                break
            # Marks and jumps of shortcuts are of version 1, and nothing of them follows.
            layers += version > 1
        name = self._text()
        if name != _INPUT:
            raise self._fault(f"the input {name}, which isn't known")
        self._fractions(3)  # The mean colour.
        self._wholes(2)  # Height and width.
        return layers

    def _layer(self) -> tuple[str, dict[str, Tensor]]:
        name = self._text()
        if name in _WITHOUT_TENSORS:
            self._wholes(_WITHOUT_TENSORS[name])
            return name.strip("_"), {}
        if name == "con_4":
            numbers = self._numbers()
            self._wholes(7)
            filters, biases = self._view(), self._view()
            self._fractions(4)
            return "con", self._split(numbers, filters=filters, biases=(biases[1],))
        if name == "affine_":
            numbers = self._numbers()
            gamma, beta = self._view(), self._view()
            self._whole()
            return "affine", self._split(numbers, gamma=(gamma[1],), beta=(beta[1],))
        if name == "fc_2":
            self._wholes(2)
            numbers = self._numbers()
            weights, biases = self._view(), self._view()
            if math.prod(biases):
                raise self._fault("a fully connected layer with biases, which isn't known")
            self._whole()
            self._fractions(4)
            return "fc", self._split(numbers, weights=weights[:2])
        raise self._fault(f"the layer {name}, which isn't known")

    def _split(self, numbers: Tensor, **shapes: tuple[int, ...]) -> dict[str, Tensor]:
        import torch

        sizes = [math.prod(shape) for shape in shapes.values()]
        if sum(sizes) != len(numbers):
            raise self._fault(f"a layer of {len(numbers):,} numbers that should be {sum(sizes):,}")
        parts = zip(shapes.items(), torch.split(numbers, sizes), strict=True)
        return {name: part.reshape(shape).clone() for (name, shape), part in parts}

    def _buffers(self) -> None:
        """Pass by what follows a layer: three switches, two gradients and an output."""
        switches = self._take(3)
        if set(switches) - set(b"01"):
            raise self._fault("something else than three switches behind a layer")
        for _ in range(3):
            self._numbers()

    def _numbers(self) -> Tensor:
        """Read an array: version, four sides, numbers."""
        import numpy as np
        import torch

        if (version := self._whole()) != 2:
            raise self._fault(f"an array of version {version}")
        size = math.prod(self._sides())
        return torch.from_numpy(np.frombuffer(self._take(4 * size), "<f4").astype(np.float32))

    def _view(self) -> tuple[int, ...]:
        """Read how a part of an array is to be seen: version, four sides."""
        if (version := self._whole()) != 1:
            raise self._fault(f"a view of version {version}")
        return self._sides()

    def _sides(self) -> tuple[int, ...]:
        sides = tuple(self._whole() for _ in range(4))
        if min(sides) < 0:
            raise self._fault(f"an array with the sides {sides}")
        return sides

    def _text(self) -> str:
        size = self._whole()
        if not 0 < size <= _LONGEST_NAME:
            raise self._fault(f"a name of {size:,} bytes")
        text = self._take(size)
        if not all(33 <= byte < 127 for byte in text):
            raise self._fault(f"something else than a name: {text!r}")
        return text.decode("ascii")

    def _fractions(self, count: int) -> None:
        self._wholes(2 * count)

    def _wholes(self, count: int) -> None:
        for _ in range(count):
            self._whole()

    def _whole(self) -> int:
        head = self._take(1)[0]
        if not 1 <= (count := head & 0x0F) <= 8 or head & 0x70:
            raise self._fault(f"something else than a whole number: {head:#04x}")
        value = int.from_bytes(self._take(count), "little")
        return -value if head & 0x80 else value

    def _take(self, size: int) -> bytes:
        left = len(self._content) - self._place
        if size > left:
            raise self._fault(
                f"{size:,} bytes are due, and {left:,} are left: the file is cut off or damaged"
            )
        self._place += size
        return self._content[self._place - size : self._place]

    def _fault(self, what: str) -> WeightsFormatError:
        return WeightsFormatError(
            f"{self._name} isn't a network of dlib that can be read: at byte {self._place:,}, {what}"
        )
