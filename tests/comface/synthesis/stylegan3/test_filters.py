"""StyleGAN3's filters against scipy's design and against one written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import signal, special

from comface_bench.comface.synthesis.stylegan3.filters import design_lowpass, design_radial, layer_filters
from comface_bench.comface.synthesis.stylegan3.schedule import Shape

PLANS = [plan for plan in Shape.config_r().layers() if not plan.rgb]


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
