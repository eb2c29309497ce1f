"""Filters against scipy and numpy; the filtered leaky ReLU against its definition, direct and by scipy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import signal, special

from comface_bench.comface.synthesis.stylegan3.filters import (
    design_lowpass,
    design_radial,
    filtered_leaky_relu,
    layer_filters,
    tile_axis,
)
from comface_bench.comface.synthesis.stylegan3.schedule import StyleGan3Shape

PLANS = [plan for plan in StyleGan3Shape.config_r().layers() if not plan.rgb]


def kaiser(taps, half_width, rate):
    """Kaiser's window by his formulae of 1974: ripple from the transition's width, shape from the ripple."""
    attenuation = 2.285 * (taps - 1) * np.pi * 2 * half_width / (rate / 2) + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation > 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0.0
    n = 2 * np.arange(taps) / (taps - 1) - 1
    return special.i0(beta * np.sqrt(1 - n**2)) / special.i0(beta)


def lowpass(taps, cutoff, half_width, rate):
    n = np.arange(taps) - (taps - 1) / 2
    found = np.sinc(2 * cutoff * n / rate) * kaiser(taps, half_width, rate)
    return found / found.sum()


def radial(taps, cutoff, half_width, rate):
    found = np.empty((taps, taps))
    window = kaiser(taps, half_width, rate)
    for i in range(taps):
        for j in range(taps):
            r = np.sqrt((i - (taps - 1) / 2) ** 2 + (j - (taps - 1) / 2) ** 2) / rate
            found[i, j] = special.j1(2 * np.pi * cutoff * r) / (np.pi * r) * window[i] * window[j]
    return found / found.sum()


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_each_layers_filters_are_the_designed_ones(plan):
    up, down = layer_filters(plan)
    before, after = plan.before, plan.after
    assert up.dtype == down.dtype == torch.float32
    rate = 2 * max(before.rate, after.rate)
    up_taps, down_taps = 6 * rate // before.rate, 6 * rate // after.rate
    scipys = signal.firwin(up_taps, before.cutoff, width=2 * before.half_width, fs=rate)
    assert np.abs(up.numpy() - scipys).max() < 1e-7
    assert np.abs(up.numpy() - lowpass(up_taps, before.cutoff, before.half_width, rate)).max() < 1e-7
    if plan.index < 12:
        expected = radial(down_taps, after.cutoff, after.half_width, rate)
    else:
        expected = lowpass(down_taps, after.cutoff, after.half_width, rate)
    assert down.shape == expected.shape
    assert np.abs(down.numpy() - expected).max() < 1e-7


def test_filters_are_symmetric_and_keep_the_mean():
    for taps in (12, 24):
        line, disc = (design(taps, 5.0, 3.0, 64) for design in (design_lowpass, design_radial))
        assert line.sum() == pytest.approx(1)
        assert disc.sum() == pytest.approx(1)
        assert np.allclose(line, line[::-1])
        assert np.allclose(disc, disc.T)
        assert np.allclose(disc, disc[::-1, ::-1])


def test_a_radial_filter_treats_directions_alike_and_a_plain_one_doesnt():
    rate, cutoff, half_width = 128.0, 20.0, 12.0

    def response(filter_, angle):
        """Gain of a wave past the cutoff that runs at this angle."""
        n = (np.arange(12) - 5.5) / rate
        f = cutoff + half_width / 2
        phase = 2 * np.pi * f * (np.cos(angle) * n[None, :] + np.sin(angle) * n[:, None])
        return float((filter_ * np.cos(phase)).sum())

    disc = design_radial(12, cutoff, half_width, rate)
    line = design_lowpass(12, cutoff, half_width, rate)
    angles = np.linspace(0, np.pi / 4, 7)
    spread = np.ptp([response(disc, angle) for angle in angles])
    assert spread < 0.2 * np.ptp([response(np.outer(line, line), angle) for angle in angles])


SHAPES = {
    "R 32": StyleGan3Shape.config_r(32, base=128, most=8, depth=5),
    "T 32": StyleGan3Shape(
        StyleGan3Shape.config_r(32, base=128, most=8, depth=5).channels, 32, kernel=3, radial=False
    ),
}
SMALL_PLANS = [
    pytest.param(plan, id=f"{name} {plan.name}")
    for name, shape in SHAPES.items()
    for plan in shape.layers()
    if not plan.rgb
]


def draw(plan, channels=3, images=2, scale=1.0):
    random = torch.Generator().manual_seed(plan.index)
    size = plan.inner_size
    return torch.randn(images, channels, size, size, generator=random) * scale


@pytest.mark.parametrize("plan", SMALL_PLANS)
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
@pytest.mark.parametrize(
    "plan", [p for p in StyleGan3Shape.config_r().layers() if not p.rgb], ids=lambda p: p.name
)
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
                shape = replace(StyleGan3Shape.config_r(resolution, depth=depth), kernel=kernel)
                for plan in shape.layers()[:-1]:
                    assert all(min(span.low, span.high) >= 0 for span in tile_axis(plan, 64)), plan
