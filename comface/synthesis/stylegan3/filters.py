"""The low-pass filters that StyleGAN3 is designed with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import signal, special

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from comface_bench.comface.synthesis.stylegan3.schedule import LayerPlan


def design_lowpass(taps: int, cutoff: float, half_width: float, rate: float) -> NDArray[np.float64]:
    """Design a filter for one axis: a sinc under a Kaiser window.

    Args:
        taps: Length, even.
        cutoff: Middle of the transition, in the units of `rate`.
        half_width: Half of the transition.
        rate: Samples per unit of length.

    Returns:
        Shape (taps,), symmetric, of sum 1.
    """
    return np.asarray(signal.firwin(taps, cutoff, width=2 * half_width, fs=rate))


def design_radial(taps: int, cutoff: float, half_width: float, rate: float) -> NDArray[np.float64]:
    """Design a filter whose pass band is a disc: a jinc under a Kaiser window along each axis.

    Args:
        taps: Length along each axis, even.
        cutoff: Middle of the transition, in the units of `rate`.
        half_width: Half of the transition.
        rate: Samples per unit of length.

    Returns:
        Shape (taps, taps), of sum 1.
    """
    places = (np.arange(taps) - (taps - 1) / 2) / rate
    radius = np.hypot(places[:, None], places[None, :])
    # Never 0: with an even number of taps none lies in the middle.
    jinc = special.j1(2 * np.pi * cutoff * radius) / (np.pi * radius)
    window = np.kaiser(taps, signal.kaiser_beta(signal.kaiser_atten(taps, 4 * half_width / rate)))
    found = jinc * np.outer(window, window)
    return np.asarray(found / found.sum())


def layer_filters(plan: LayerPlan) -> tuple[Tensor, Tensor]:
    """Design a layer's filters.

    Returns:
        The up filter, (up_taps,), and the down filter, (down_taps,) or (down_taps, down_taps); float32.
    """
    before, after = plan.before, plan.after
    down = design_radial if plan.radial else design_lowpass
    return (
        torch.tensor(design_lowpass(plan.up_taps, before.cutoff, before.half_width, plan.rate)).float(),
        torch.tensor(down(plan.down_taps, after.cutoff, after.half_width, plan.rate)).float(),
    )
