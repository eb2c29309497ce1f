"""Loading StyleGAN3's checkpoints strictly."""

from __future__ import annotations

import pytest
import torch

from comface_bench.comface.synthesis.stylegan3.generator import check_filters, load_network
from comface_bench.core.errors import WeightsFormatError


@pytest.mark.parametrize("which", ["small", "small_t"])
def test_a_state_dict_gives_the_network_back(which, request, tmp_path):
    network = request.getfixturevalue(which)
    loaded = load_network(network.state_dict(), tmp_path / "a.pkl")
    assert loaded.shape == network.shape
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    codes = torch.randn(1, network.layers, network.shape.latent)
    with torch.inference_mode():
        assert torch.equal(loaded.synthesis(codes), network.synthesis(codes))


@pytest.mark.parametrize("stored", [torch.full((3, 3), 0.3), torch.ones(8, 3, 3), None])
def test_the_stored_transform_is_not_taken_over(small, tmp_path, stored):
    turned = small.state_dict()
    turned.pop("synthesis.input.transform")
    if stored is not None:
        turned["synthesis.input.transform"] = stored
    loaded = load_network(turned, tmp_path / "a.pkl")
    assert torch.equal(loaded.synthesis.input.transform, torch.eye(3))


def test_stored_filters_are_the_ones_used(small, tmp_path):
    name = "synthesis.L1_36_8.down_filter"
    near = small.state_dict()[name] + 5e-6
    loaded = load_network(small.state_dict() | {name: near}, tmp_path / "a.pkl")
    assert torch.equal(loaded.state_dict()[name], near)
    check_filters(loaded)


STRANGE = {
    "synthesis.L1_36_8.down_filter": (1e-4, r"L1_36_8\.down_filter differs from the design .* 1\.0e-04"),
    "synthesis.L2_52_8.up_filter": (2e-5, r"L2_52_8\.up_filter differs"),
    "synthesis.L3_52_4.down_filter": (float("nan"), r"L3_52_4\.down_filter differs"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_filters_of_another_design_are_refused(small, tmp_path, name):
    offset, said = STRANGE[name]
    changed = small.state_dict()[name].clone()
    changed[(3,) * changed.dim()] += offset
    with pytest.raises(WeightsFormatError, match=said):
        load_network(small.state_dict() | {name: changed}, tmp_path / "a.pkl")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"synthesis.L3_52_4.bias": None}, r"a\.pkl doesn't fit .* lacks 1: synthesis\.L3_52_4\.bias$"),
        ({"synthesis.input.freqs": None}, r"lacks 1: synthesis\.input\.freqs$"),
        ({"synthesis.L1_36_8.magnitude_ema": None}, r"lacks 1: synthesis\.L1_36_8\.magnitude_ema$"),
        ({"mapping.embed.weight": torch.ones(2)}, r"has unknown 1: mapping\.embed\.weight$"),
        ({"mapping.fc2.bias": torch.ones(2)}, r"has unknown 1: mapping\.fc2\.bias$"),
        ({"synthesis.L1_36_8.down_filter": torch.ones(12)}, r"L1_36_8\.down_filter \(12,\) instead of"),
        ({"synthesis.L4_32_4.weight": torch.ones(5, 4, 1, 1)}, r"lacks 7: synthesis\.L4_32_5\."),
        ({"mapping.w_avg": None}, "no StyleGAN3"),
    ],
)
def test_files_of_other_networks_are_refused(small, tmp_path, change, said):
    tensors = {name: tensor for name, tensor in (small.state_dict() | change).items() if tensor is not None}
    with pytest.raises(WeightsFormatError, match=said):
        load_network(tensors, tmp_path / "a.pkl")
