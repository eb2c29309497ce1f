from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from comface_bench.comface.synthesis.stylegan3.network import StyleGan3Network, draw_weights
from comface_bench.comface.synthesis.stylegan3.schedule import StyleGan3Shape

SMALL = StyleGan3Shape.config_r(32, base=128, most=8, depth=5)
"""32 pixels; 7 codes; layers that double, stay and crop, with radial and plain filters."""


@pytest.fixture(scope="session")
def reference():
    spec = importlib.util.spec_from_file_location("reference", Path(__file__).with_name("reference.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
