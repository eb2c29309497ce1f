from __future__ import annotations

import os
import pickle
import random
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.read import read_tensors
from comface_bench.weights.strict import load_strictly

# Torch remarks on the pickle protocol of files that aren't its own.
pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "a.steps": torch.tensor(3), "b": torch.ones(1).half()}


def save(path, content, legacy=False):
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
        assert found[name].dtype == tensor.dtype


def test_safetensors(tmp_path):
    save_file(TENSORS, tmp_path / "a.safetensors")
    found = read_tensors(tmp_path / "a.safetensors")
    assert_same({name: found[name] for name in TENSORS}, TENSORS)
    assert len(found) == len(TENSORS)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("ending", [".pth", ".pt", ".bin", ""])
def test_torch_files(tmp_path, legacy, ending):
    assert_same(read_tensors(save(tmp_path / f"a{ending}", OrderedDict(TENSORS), legacy)), TENSORS)


@pytest.mark.parametrize("wrap", [("state_dict",), ("model",), ("state_dict", "model")], ids=str)
def test_containers_are_unwrapped_and_what_lies_beside_is_left(tmp_path, wrap):
    content = TENSORS
    for name in reversed(wrap):
        content = {"epoch": 3, name: content, "arch": "resnet50", "optimizer": {"lr": 0.1}}
    assert_same(read_tensors(save(tmp_path / "a.pth", content)), TENSORS)


def test_a_tensor_may_be_called_model(tmp_path):
    content = {"model": torch.ones(2)}
    assert_same(read_tensors(save(tmp_path / "a.pth", content)), content)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"a": torch.ones(1), "epoch": 3}, "entry 'epoch' is no tensor"),
        ({"a": [torch.ones(1)]}, "entry 'a' is no tensor"),
        ({3: torch.ones(1)}, "entry 3 is no tensor"),
        ({}, "holds no state dict"),
        ({"state_dict": {}}, "holds no state dict"),
        (torch.ones(3), "holds no state dict"),
        ([torch.ones(3)], "holds no state dict"),
    ],
)
def test_anything_but_tensors_by_name_is_refused(tmp_path, content, told):
    with pytest.raises(WeightsFormatError) as caught:
        read_tensors(save(tmp_path / "a.pth", content))
    assert caught.value.message.startswith("a.pth")
    assert told in caught.value.message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_values_that_are_not_finite_are_refused(tmp_path, value, dtype):
    broken = torch.ones(5, dtype=dtype)
    broken[3] = value
    with pytest.raises(WeightsFormatError, match=r"a\.pth: b holds values that aren't finite"):
        read_tensors(save(tmp_path / "a.pth", {"a": torch.ones(1), "b": broken}))


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.6, 0.9, 0.999])
def test_truncated_files_are_refused(tmp_path, kind, share):
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth")
    content = {"a": torch.ones(500), "b": torch.zeros(500)}
    save_file(content, path) if kind == "safetensors" else save(path, content, legacy=kind == "legacy")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(WeightsFormatError, match="can't be read as plain tensors"):
        read_tensors(path)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "content",
    [
        b"<html>not found</html>",
        b"\x80\x02}q\x00.",
        b"\x00" * 64,
        b"PK\x03\x04nonsense",
        b"version https://git-lfs",
    ],
)
def test_other_files_are_refused(tmp_path, ending, content):
    path = tmp_path / f"a{ending}"
    path.write_bytes(content)
    with pytest.raises(WeightsFormatError, match=r"^a\."):
        read_tensors(path)


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_damaged_files_are_read_or_refused_and_never_anything_else(tmp_path, kind):
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth")
    content = {"a": torch.ones(50), "b": torch.zeros(3, 4)}
    save_file(content, path) if kind == "safetensors" else save(path, content, legacy=kind == "legacy")
    whole, chance, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[chance.randrange(min(len(whole), 700))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            read_tensors(path)
        except WeightsFormatError:
            refused += 1
    assert refused > 100


class Shell:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle", "inside"])
def test_code_in_a_file_never_runs(tmp_path, how):
    mark, path = tmp_path / "ran", tmp_path / "evil.pth"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Shell(mark)))
    else:
        save(
            path,
            {"state_dict": {"a": torch.ones(1)}, "x": Shell(mark)} if how == "inside" else Shell(mark),
            how == "legacy",
        )
    with pytest.raises(WeightsFormatError) as caught:
        read_tensors(path)
    assert not mark.exists()
    assert "never loaded" in caught.value.hint
    # The file is as harmful as it was meant to be.
    torch.load(path, weights_only=False) if how != "pickle" else pickle.loads(path.read_bytes())
    assert mark.exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsFormatError, match=r"nothing\.pth can't be read"):
        read_tensors(tmp_path / "nothing.pth")


@pytest.fixture
def network():
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 1), norm=nn.BatchNorm2d(4)))


def fitting(network):
    return {name: torch.full_like(tensor, 7) for name, tensor in network.state_dict().items()}


def test_everything_is_loaded(network, tmp_path):
    load_strictly(network, fitting(network), tmp_path / "a.pth")
    assert all((tensor == 7).all() for tensor in network.state_dict().values())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"conv.bias": None}, "lacks 1: conv.bias"),
        ({"extra.weight": torch.ones(1)}, "has unknown 1: extra.weight"),
        (
            {"conv.weight": torch.ones(4, 1, 1, 1)},
            "the wrong shape of 1: conv.weight (4, 1, 1, 1) instead of (4, 3, 1, 1)",
        ),
        (
            {"norm.running_mean": None, "norm.mean": torch.ones(4)},
            "lacks 1: norm.running_mean; has unknown 1: norm.mean",
        ),
        ({f"x{number}": torch.ones(1) for number in range(5)}, "has unknown 5: x0, x1, x2 …"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(network, tmp_path, change, told):
    tensors = {name: tensor for name, tensor in (fitting(network) | change).items() if tensor is not None}
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(WeightsFormatError) as caught:
        load_strictly(network, tensors, tmp_path / "a.pth")
    assert caught.value.message.startswith("a.pth doesn't fit the network: it ")
    assert told in caught.value.message
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_prefixes_are_dropped_on_purpose_only(network, tmp_path):
    tensors = fitting(network) | {"fc.weight": torch.ones(1), "fc.bias": torch.ones(1)}
    load_strictly(network, tensors, tmp_path / "a.pth", dropped=("fc.",))
    with pytest.raises(WeightsFormatError, match=r"has unknown 1: fc\.bias"):
        load_strictly(network, tensors, tmp_path / "a.pth", dropped=("fc.w",))


def test_what_is_dropped_is_not_loaded(network, tmp_path):
    with pytest.raises(WeightsFormatError, match="lacks 2: conv"):
        load_strictly(network, fitting(network), tmp_path / "a.pth", dropped=("conv.",))


def test_a_counter_that_old_files_lack_may_be_missing(network, tmp_path):
    tensors = fitting(network)
    del tensors["norm.num_batches_tracked"]
    load_strictly(network, tensors, tmp_path / "a.pth")
    assert network.norm.num_batches_tracked == 0
    assert (network.norm.running_mean == 7).all()


def test_half_precision_becomes_the_networks_own(network, tmp_path):
    halves = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in fitting(network).items()
    }
    load_strictly(network, halves, tmp_path / "a.pth")
    assert network.conv.weight.dtype == torch.float32
