"""The filtered leaky ReLU in its fast form against its definition, direct and by scipy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from comface_bench.comface.synthesis.stylegan3.filters import filtered_leaky_relu, layer_filters, tile_axis
from comface_bench.comface.synthesis.stylegan3.schedule import Shape

SHAPES = {
    "R 32": Shape.config_r(32, base=128, most=8, depth=5),
    "T 32": Shape(Shape.config_r(32, base=128, most=8, depth=5).channels, 32, kernel=3, radial=False),
}
PLANS = [
    pytest.param(plan, id=f"{name} {plan.name}")
    for name, shape in SHAPES.items()
    for plan in shape.layers()
    if not plan.rgb
]


def draw(plan, channels=3, images=2, scale=1.0):
    random = torch.Generator().manual_seed(plan.index)
    size = plan.inner_size
    return torch.randn(images, channels, size, size, generator=random) * scale


@pytest.mark.parametrize("plan", PLANS)
def test_the_fast_form_equals_the_definition(plan, reference, monkeypatch):
    # Filters without any symmetry: nothing may be turned around.
    random = torch.Generator().manual_seed(9)
    up = torch.randn(plan.up_taps, generator=random)
    down = torch.randn((plan.down_taps,) * (2 if plan.radial else 1), generator=random)
    for filters in (layer_filters(plan), (up, down)):
        x = draw(plan)
        direct = reference.direct_filtered_leaky_relu(x.double(), plan.up, plan.down, plan.pads, *filters)
        slow = np.stack(
            [
                reference.filtered_leaky_relu(
                    image.double().numpy(),
                    plan.up,
                    plan.down,
                    plan.pads,
                    *(f.double().numpy() for f in filters),
                )
                for image in x
            ]
        )
        assert slow.shape == (2, 3, plan.after.size, plan.after.size)
        assert np.abs(direct.numpy() - slow).max() < 1e-12 * np.abs(slow).max()
        for side, group in ((64, 64), (17, 2)):
            monkeypatch.setattr("comface_bench.comface.synthesis.stylegan3.filters._SIDES", {"cpu": side})
            monkeypatch.setattr("comface_bench.comface.synthesis.stylegan3.filters._GROUP", group)
            exact = filtered_leaky_relu(x.double(), plan, *filters).numpy()
            assert np.abs(exact - slow).max() < 1e-12 * np.abs(slow).max()
            found = filtered_leaky_relu(x, plan, *filters).numpy()
            assert found.dtype == np.float32
            assert np.abs(found - slow).max() < 1e-5 * np.abs(slow).max()


def test_features_are_clamped_between_the_filters(reference):
    plan = SHAPES["R 32"].layers()[2]
    filters = layer_filters(plan)
    x = draw(plan, scale=300.0)
    direct = reference.direct_filtered_leaky_relu(x, plan.up, plan.down, plan.pads, *filters)
    found = filtered_leaky_relu(x, plan, *filters)
    assert (found - direct).abs().max() < 1e-5 * direct.abs().max()
    assert 200 < found.max() < 350
    # What is too small to be clamped doubles with its cause; this doesn't.
    assert not torch.allclose(filtered_leaky_relu(2 * x, plan, *filters), 2 * found, rtol=0.1)


def test_results_may_be_written_into_given_memory():
    plan = SHAPES["R 32"].layers()[2]
    filters = layer_filters(plan)
    x = draw(plan)
    out = torch.full((2, 3, plan.after.size, plan.after.size), torch.nan)
    assert filtered_leaky_relu(x, plan, *filters, out) is out
    assert torch.equal(out, filtered_leaky_relu(x, plan, *filters))


@pytest.mark.parametrize("side", [1, 7, 64, 4096])
@pytest.mark.parametrize("plan", [p for p in Shape.config_r().layers() if not p.rgb], ids=lambda p: p.name)
def test_parts_of_an_axis_cover_it_and_never_more_than_they_need(plan, side):
    spans = tile_axis(plan, side)
    covered = [index for span in spans for index in range(span.target.start, span.target.stop)]
    assert covered == list(range(plan.after.size))
    for span in spans:
        samples = span.source.stop - span.source.start
        raised = (samples - 1) * plan.up + plan.up_taps - span.low - span.high
        assert raised == (span.target.stop - span.target.start - 1) * plan.down + plan.down_taps
        assert min(span.low, span.high) >= 0
        assert 0 <= span.source.start < span.source.stop <= plan.inner_size
        # One sample less on either side would not do.
        if span.source.start > 0:
            assert span.low < plan.up_taps
        if span.source.stop < plan.inner_size:
            assert span.high < plan.up_taps


def test_no_schedule_pads_by_more_than_a_filter_reaches():
    for resolution in (16, 32, 128, 512, 2048):
        for depth in (3, 4, 7, 14, 20):
            for kernel in (1, 3):
                for plan in replace(Shape.config_r(resolution, depth=depth), kernel=kernel).layers()[:-1]:
                    assert all(min(span.low, span.high) >= 0 for span in tile_axis(plan, 64)), plan
