"""StyleGAN3's schedule against the table of the published configuration."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from comface_bench.comface.synthesis.stylegan3.network import StyleGan3Network
from comface_bench.comface.synthesis.stylegan3.schedule import StyleGan3Shape
from comface_bench.core.errors import WeightsFormatError

# Channels in and out, size in and out, rate, cutoff, up and down, pads, of FFHQ at 1024 pixels.
PUBLISHED = [
    ((1024, 1024), (36, 36), 16, 2.0, (2, 2), (11, 10)),
    ((1024, 1024), (36, 36), 16, 3.17, (2, 2), (11, 10)),
    ((1024, 1024), (36, 52), 32, 5.04, (4, 2), (-2, -5)),
    ((1024, 1024), (52, 52), 32, 8.0, (2, 2), (11, 10)),
    ((1024, 1024), (52, 84), 64, 12.70, (4, 2), (-2, -5)),
    ((1024, 1024), (84, 148), 128, 20.16, (4, 2), (-2, -5)),
    ((1024, 1024), (148, 148), 128, 32.0, (2, 2), (11, 10)),
    ((1024, 645), (148, 276), 256, 50.80, (4, 2), (-2, -5)),
    ((645, 406), (276, 276), 256, 80.63, (2, 2), (11, 10)),
    ((406, 256), (276, 532), 512, 128.0, (4, 2), (-2, -5)),
    ((256, 161), (532, 1044), 1024, 203.19, (4, 2), (-2, -5)),
    ((161, 102), (1044, 1044), 1024, 322.54, (2, 2), (11, 10)),
    ((102, 64), (1044, 1044), 1024, 512.0, (2, 2), (11, 10)),
    ((64, 64), (1044, 1024), 1024, 512.0, (2, 2), (-9, -10)),
    ((64, 3), (1024, 1024), 1024, 512.0, (1, 1), (0, 0)),
]


def test_every_layer_is_as_published():
    plans = StyleGan3Shape.config_r().layers()
    found = [
        (
            (p.before.channels, p.after.channels),
            (p.before.size, p.after.size),
            p.after.rate,
            pytest.approx(p.after.cutoff, abs=0.005),
            (p.up, p.down),
            p.pads,
        )
        for p in plans
    ]
    assert found == PUBLISHED
    assert [p.name for p in plans[9:]] == [
        "L9_532_256",
        "L10_1044_161",
        "L11_1044_102",
        "L12_1044_64",
        "L13_1024_64",
        "L14_1024_3",
    ]
    assert [p.radial for p in plans] == [True] * 12 + [False] * 3
    assert [p.rgb for p in plans] == [False] * 14 + [True]
    # The leaky ReLU runs at the doubled rate, with six taps per sample of the lower one.
    assert [(p.rate, p.up_taps, p.down_taps) for p in (plans[3], plans[10])] == [(64, 12, 12), (2048, 24, 12)]


def test_bands_leave_room_for_transitions_but_where_they_are_critical():
    stages = StyleGan3Shape.config_r().stages()
    for index, stage in enumerate(stages):
        assert stage.cutoff + stage.half_width >= stage.rate / 2 - 1e-9
        assert (stage.cutoff == stage.rate / 2) == (index >= 12)
    # Where the stop band begins, in periods: 2^2.1 at first, 512 · 2^0.3 in the end.
    assert stages[0].cutoff + stages[0].half_width == 8
    assert stages[-1].cutoff + stages[-1].half_width == pytest.approx(512 * 2**0.3)


@pytest.mark.parametrize(
    ("shape", "parameters"),
    [
        (StyleGan3Shape.config_r(), 15_093_151),
        (replace(StyleGan3Shape.config_r(base=32768, most=512), kernel=3, radial=False), 22_313_167),
    ],
    ids=["R", "T"],
)
def test_the_published_sizes_are_met_exactly(shape, parameters):
    with torch.device("meta"):
        network = StyleGan3Network(shape)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert sum(p.numel() for p in network.mapping.parameters()) == 525_312
    assert (network.resolution, network.layers) == (1024, 16)
    assert StyleGan3Shape.of(network.state_dict()) == shape


def test_names_and_shapes_are_those_of_the_published_file():
    with torch.device("meta"):
        network = StyleGan3Network()
    expected = {
        "mapping.fc0.weight": (512, 512),
        "mapping.fc0.bias": (512,),
        "mapping.fc1.weight": (512, 512),
        "mapping.fc1.bias": (512,),
        "mapping.w_avg": (512,),
        "synthesis.input.weight": (1024, 1024),
        "synthesis.input.affine.weight": (4, 512),
        "synthesis.input.affine.bias": (4,),
        "synthesis.input.transform": (3, 3),
        "synthesis.input.freqs": (1024, 2),
        "synthesis.input.phases": (1024,),
    }
    for index, ((before, after), (_, size), _, _, (up, down), _) in enumerate(PUBLISHED):
        name = f"synthesis.L{index}_{size}_{after}"
        expected |= {
            f"{name}.weight": (after, before, 1, 1),
            f"{name}.bias": (after,),
            f"{name}.magnitude_ema": (),
            f"{name}.affine.weight": (before, 512),
            f"{name}.affine.bias": (before,),
        }
        if index < 14:
            expected[f"{name}.up_filter"] = (6 * up,)
            expected[f"{name}.down_filter"] = (6 * down,) * (2 if index < 12 else 1)
    assert len(expected) == 114
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == expected


def test_sizes_are_read_off_a_state_dict(small, small_t):
    for network in (small, small_t):
        assert StyleGan3Shape.of(network.state_dict()) == network.shape
    for left_out in ("mapping.w_avg", "synthesis.L2_52_8.weight"):
        with pytest.raises(WeightsFormatError, match="no StyleGAN3"):
            StyleGan3Shape.of({name: t for name, t in small.state_dict().items() if name != left_out})
    odd = {name.replace("L5_32", "L5_48"): tensor for name, tensor in small.state_dict().items()}
    with pytest.raises(WeightsFormatError, match="48 pixels, which is no power of 2"):
        StyleGan3Shape.of(odd)
