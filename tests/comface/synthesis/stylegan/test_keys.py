"""StyleGAN's TensorFlow variables under their new names, and loading either kind of file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from comface_bench.comface.synthesis.stylegan.generator import from_tensorflow, load_network
from comface_bench.comface.synthesis.stylegan.network import Shape, StyleGanNetwork, draw_weights
from comface_bench.core.errors import WeightsFormatError


@pytest.fixture(scope="module")
def network():
    """128 pixels, so that the published resolutions of both kinds of up-layers are there."""
    network = StyleGanNetwork(Shape((6, 5, 5, 4, 3, 2), latent=8))
    draw_weights(network, 0)
    return network


def to_tensorflow(state):
    """Write a state dict as TensorFlow has it, by the table of the facts."""
    blocks, found = 6, {}
    found["dlatent_avg"] = state["truncation.w_avg"]
    found["synthesis/lod"] = state["synthesis.lod"]
    found["synthesis/4x4/Const/const"] = state["synthesis.layer0.first_layer"]
    for i in range(8):
        found[f"mapping/Dense{i}/weight"] = state[f"mapping.dense{i}.linear.weight"].T
        found[f"mapping/Dense{i}/bias"] = state[f"mapping.dense{i}.wscale.bias"]
    names = ["4x4/Const", "4x4/Conv"]
    for size in (8, 16, 32, 64, 128):
        names += [f"{size}x{size}/Conv0_up", f"{size}x{size}/Conv1"]
    for i, name in enumerate(names):
        layer, name = f"synthesis.layer{i}", f"synthesis/{name}"
        if i == 10:
            found[f"{name}/weight"] = state[f"{layer}.weight"]
        elif i:
            # (out, in, 3, 3) → (3, 3, in, out)
            found[f"{name}/weight"] = torch.from_numpy(
                np.moveaxis(state[f"{layer}.conv.weight"].numpy(), (0, 1), (3, 2)).copy()
            )
        found[f"{name}/Noise/weight"] = state[f"{layer}.epilogue.apply_noise.weight"]
        found[f"synthesis/noise{i}"] = state[f"{layer}.epilogue.apply_noise.noise"]
        found[f"{name}/bias"] = state[f"{layer}.epilogue.bias"]
        found[f"{name}/StyleMod/weight"] = state[f"{layer}.epilogue.style_mod.dense.linear.weight"].T
        found[f"{name}/StyleMod/bias"] = state[f"{layer}.epilogue.style_mod.dense.wscale.bias"]
    for i in range(blocks):
        theirs = f"synthesis/ToRGB_lod{5 - i}"
        found[f"{theirs}/weight"] = torch.from_numpy(
            np.moveaxis(state[f"synthesis.output{i}.conv.weight"].numpy(), (0, 1), (3, 2)).copy()
        )
        found[f"{theirs}/bias"] = state[f"synthesis.output{i}.bias"]
    return found


def test_every_variable_finds_its_place(network):
    state = network.state_dict()
    variables = to_tensorflow(state) | {"lod": torch.tensor(0.0)}
    assert variables["synthesis/16x16/Conv0_up/weight"].shape == (3, 3, 5, 5)
    assert variables["synthesis/ToRGB_lod0/weight"].shape == (1, 1, 2, 3)
    found = from_tensorflow(variables)
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(found[name], tensor), name
        assert found[name].is_contiguous()


def test_both_kinds_of_files_give_the_same_images(network, tmp_path):
    state = network.state_dict()
    codes = torch.randn(1, network.layers, 8)
    with torch.inference_mode():
        expected = network.synthesis(codes)
        for tensors in (state, to_tensorflow(state), state | {"truncation.truncation": torch.ones(1, 12, 1)}):
            loaded = load_network(tensors, tmp_path / "a.pkl")
            assert loaded.shape == network.shape
            assert torch.equal(loaded.synthesis(codes), expected)
            assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"synthesis/8x8/Conv1/bias": None}, "lacks 1: synthesis.layer3.epilogue.bias"),
        ({"synthesis/noise4": None}, "lacks 1: synthesis.layer4.epilogue.apply_noise.noise"),
        ({"synthesis/256x256/Conv1/bias": torch.ones(2)}, "has unknown 1: synthesis/256x256/Conv1/bias"),
        ({"synthesis/8x8/Conv1/weight": torch.ones(3)}, "synthesis/8x8/Conv1/weight has the wrong number"),
        ({"synthesis/8x8/Conv1/bias": torch.ones(4)}, "has the wrong shape of 1"),
        ({"dlatent_avg": None}, "no StyleGAN"),
        ({"synthesis/lod": torch.tensor(2.0)}, "level of detail is 2.0"),
    ],
)
def test_files_of_other_networks_are_refused(network, tmp_path, change, said):
    variables = to_tensorflow(network.state_dict()) | change
    variables = {name: tensor for name, tensor in variables.items() if tensor is not None}
    with pytest.raises(WeightsFormatError, match=said):
        load_network(variables, tmp_path / "a.pkl")
