"""Loading strictly: every tensor fits a key and every key gets one, or nothing changes."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.strict import load_strictly


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
