"""ONNX models: initializers that were written here byte by byte, and what is refused."""

from __future__ import annotations

import contextlib

import pytest
import torch

from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.onnx import read_onnx
from comface_bench.weights.read import read_tensors

TENSORS = {
    "w": torch.arange(24.0).view(2, 3, 4) - 7.5,
    "counts": torch.tensor([3, -4]),
    "small": torch.tensor([-5], dtype=torch.int32),
    "one": torch.tensor(2.5),
    "none": torch.zeros(0, 3),
}


@pytest.fixture
def small(write_onnx, tmp_path):
    return write_onnx(tmp_path / "net.onnx", TENSORS)


def test_tensors_are_what_was_written(small):
    found = read_tensors(small)
    assert list(found) == list(TENSORS)
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_truncations_and_damage_end_in_the_error(small):
    content = small.read_bytes()
    for end in range(3, len(content) - 5):
        small.write_bytes(content[:end])
        with contextlib.suppress(WeightsFormatError):
            # A file that ends between the model's fields is one without a graph.
            assert not read_onnx(small)
    for place in range(len(content)):
        for value in (0, 0x7F, 0xFF):
            damaged = bytearray(content)
            damaged[place] = value
            small.write_bytes(damaged)
            with contextlib.suppress(WeightsFormatError):
                read_onnx(small)


FAULTS = {
    "cut off": (b"", b"", r"bytes are due, and [0-9,]+ are left"),
    "another type": (b"\x10\x07B\x06counts", b"\x10\x0bB\x06counts", "of type 11"),
    "another shape": (
        b"\x08\x02\x10\x07",
        b"\x08\x03\x10\x07",
        "tensor counts of 16 bytes that should be 24",
    ),
    "numbers elsewhere": (b"\x08\x02\x10\x07", b"\x70\x01\x10\x07", "whose numbers lie in another file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_isnt_read_is_named(small, fault):
    old, new, told = FAULTS[fault]
    content = small.read_bytes()
    assert old in content
    small.write_bytes(content.replace(old, new) if old else content[:-9])
    with pytest.raises(
        WeightsFormatError, match=rf"net\.onnx isn't an ONNX model .* at byte [0-9,]+, .*{told}"
    ):
        read_onnx(small)


def test_a_name_twice_is_refused(write_onnx, tmp_path):
    path = write_onnx(tmp_path / "net.onnx", {"a": torch.ones(1), "b": torch.ones(1)})
    path.write_bytes(path.read_bytes().replace(b"B\x01b", b"B\x01a"))
    with pytest.raises(WeightsFormatError, match="the tensor a a second time"):
        read_onnx(path)
