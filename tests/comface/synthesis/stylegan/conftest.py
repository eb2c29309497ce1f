from __future__ import annotations

import pytest

from comface_bench.comface.synthesis.stylegan.network import StyleGanNetwork, StyleGanShape, draw_weights

SMALL = StyleGanShape((10, 8, 6, 4), latent=512, fused_from=16)
"""32 pixels; up-layers of both kinds."""


@pytest.fixture(scope="session")
def small():
    """A small network with random weights; not to be changed."""
    network = StyleGanNetwork(SMALL)
    draw_weights(network, 0)
    return network
