from __future__ import annotations

from dataclasses import replace

import pytest

from comface_bench.comface.synthesis.stylegan3.network import StyleGan3Network, draw_weights
from comface_bench.comface.synthesis.stylegan3.schedule import StyleGan3Shape

SMALL = StyleGan3Shape.config_r(32, base=128, most=8, depth=5)
"""32 pixels; 7 codes; layers that double, stay and crop, with radial and plain filters."""


@pytest.fixture(scope="session")
def small():
    """A small network of configuration R with random weights; not to be changed."""
    network = StyleGan3Network(SMALL)
    draw_weights(network, 0)
    return network


@pytest.fixture(scope="session")
def small_t():
    """One of configuration T, with kernels of 3 × 3 and plain filters everywhere."""
    network = StyleGan3Network(replace(SMALL, kernel=3, radial=False, latent=16))
    draw_weights(network, 1)
    return network
