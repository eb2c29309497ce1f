from __future__ import annotations

import pytest
import torch

from comface_bench.core.errors import UsageError
from comface_bench.engine.precision import choose_machine


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine with two GPUs, as far as choosing goes; gives the indices that were set."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    # As torch itself does: a device without a number isn't one.
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: chosen.append(device.index + 0))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    return chosen


@pytest.mark.parametrize(("asked", "index"), [("auto", 1), ("cuda", 1), ("cuda:0", 0)])
def test_a_gpu_gets_a_number(two_gpus, asked, index):
    machine = choose_machine(asked)
    assert (machine.device, two_gpus) == (torch.device("cuda", index), [index])
    assert machine.precision == "bfloat16"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_similarities_and_heads_are_never_in_tf32(two_gpus, precision):
    choose_machine("cuda", precision)
    assert torch.backends.cuda.matmul.allow_tf32 is False
    assert torch.backends.cudnn.allow_tf32 is (precision != "float32")


@pytest.mark.parametrize("asked", ["cuda:2", "tpu", "mps"])
def test_a_device_that_is_not_there_is_said(two_gpus, asked):
    with pytest.raises(UsageError, match=asked):
        choose_machine(asked)
