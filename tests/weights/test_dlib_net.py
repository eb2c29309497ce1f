"""Networks that dlib writes: a small one, written here byte by byte, and what is refused."""

from __future__ import annotations

import contextlib
import struct

import pytest
import torch

from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.convert import convert_weights
from comface_bench.weights.dlib_net import read_dlib
from comface_bench.weights.read import read_tensors


@pytest.fixture
def small(write_dlib, tmp_path):
    """A network of two convolutions and one fully connected layer, and its file."""
    stream = torch.Generator().manual_seed(0)
    layers = [
        ("con", torch.randn(4, 3, 7, 7, generator=stream), torch.randn(4, generator=stream)),
        ("affine", torch.randn(4, generator=stream), torch.randn(4, generator=stream)),
        ("relu",),
        ("max_pool",),
        ("con", torch.randn(2, 4, 3, 3, generator=stream), torch.randn(2, generator=stream)),
        ("affine", torch.randn(2, generator=stream), torch.randn(2, generator=stream)),
        ("add_prev",),
        ("avg_pool",),
        ("fc", torch.randn(2, 3, generator=stream)),
    ]
    return layers, write_dlib(tmp_path / "net.dat", layers)


def test_tensors_are_what_was_written(small):
    layers, path = small
    found = read_tensors(path)
    assert list(found) == [
        *("con_0.filters", "con_0.biases", "affine_0.gamma", "affine_0.beta"),
        *("con_1.filters", "con_1.biases", "affine_1.gamma", "affine_1.beta", "fc_0.weights"),
    ]
    written = [tensor for _, *tensors in layers for tensor in tensors]
    assert all(torch.equal(one, other) for one, other in zip(found.values(), written, strict=True))


def test_it_converts(small):
    converted = convert_weights(small[1])
    assert converted.path.name == "net.safetensors"
    assert read_tensors(converted.path).keys() == read_tensors(small[1]).keys()


def test_every_truncation_is_refused(small):
    content = small[1].read_bytes()
    for end in range(len(content)):
        if end > 800 and end % 37:
            continue  # Inside numbers, one place is like another.
        small[1].write_bytes(content[:end])
        with pytest.raises(WeightsFormatError, match=r"net\.dat isn't a network of dlib .*: at byte"):
            read_dlib(small[1])
    small[1].write_bytes(content + b"\0")
    with pytest.raises(WeightsFormatError, match="1 bytes more than its layers have"):
        read_dlib(small[1])


def test_every_byte_of_the_structure_is_read_or_refused(small):
    """No damage makes anything but a network or the error."""
    content = bytearray(small[1].read_bytes())
    for place in [*range(400), *range(400, len(content), 101)]:
        for value in (0, 0x7F, 0x88, 0xFF):
            damaged = bytearray(content)
            damaged[place] = value
            small[1].write_bytes(damaged)
            with contextlib.suppress(WeightsFormatError):
                read_dlib(small[1])


REPLACED = {
    "another layer": (b"\x01\x07affine_", b"\x01\x07bn_con2", "the layer bn_con2, which isn't known"),
    "another loss": (b"loss_metric_2", b"loss_other_12", "the loss loss_other_12, which isn't known"),
    "another input": (b"input_rgb_image_sized", b"input_grayscale_image", "the input input_grayscale_image"),
    "a huge array": (
        b"\x01\x02\x02" + struct.pack("<H", 592),
        b"\x01\x02\x02" + struct.pack("<H", 65_535),
        "bytes are due, and",
    ),
    "biases of another number": (
        b"\x01\x01\x01\x01\x01\x04\x01\x01",
        b"\x01\x01\x01\x01\x01\x05\x01\x01",
        "a layer of 592 numbers that should be 593",
    ),
}


@pytest.mark.parametrize("fault", REPLACED)
def test_what_isnt_known_is_named(small, fault):
    old, new, told = REPLACED[fault]
    content = small[1].read_bytes()
    assert old in content
    small[1].write_bytes(content.replace(old, new, 1))
    with pytest.raises(WeightsFormatError, match=f"at byte [0-9,]+, .*{told}"):
        read_dlib(small[1])
