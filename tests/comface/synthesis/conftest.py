from __future__ import annotations

import importlib.util

import pytest
import torch


@pytest.fixture(scope="module")
def reference(request):
    """The slow network in `reference.py` beside the test."""
    spec = importlib.util.spec_from_file_location("reference", request.path.with_name("reference.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def arrays():
    """Return a network's state dict in float64."""

    def arrays(network):
        return {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}

    return arrays


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
