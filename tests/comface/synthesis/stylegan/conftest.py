from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from comface_bench.comface.synthesis.stylegan.network import StyleGanNetwork, StyleGanShape, draw_weights

SMALL = StyleGanShape((10, 8, 6, 4), latent=512, fused_from=16)
"""32 pixels; up-layers of both kinds."""


@pytest.fixture(scope="session")
def reference():
    spec = importlib.util.spec_from_file_location("reference", Path(__file__).with_name("reference.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def small():
    """A small network with random weights; not to be changed."""
    network = StyleGanNetwork(SMALL)
    draw_weights(network, 0)
    return network


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
