from __future__ import annotations

import os
import platform

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


@pytest.mark.parametrize("asked", ["cuda:2", "cuda:99", "cuda:4294967296", "tpu", "mps"])
def test_a_device_that_is_not_there_is_said(two_gpus, asked):
    with pytest.raises(UsageError, match=asked):
        choose_machine(asked)


_FAULTS = """
import resource, sys
from comface_bench.engine.precision import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        block = bytes([1]) * (48 << 20)
        del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), keep_freed_memory(), faults(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_used_again(fork):
    """Blocks as large as a step's maps: cleared by the kernel each time, then not any more."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("GLIBC", "MALLOC"))}
    before, kept, _, after = fork(["-c", _FAULTS], bare).communicate(timeout=120)[0].split()
    assert kept == "True"
    assert int(after) < 0.05 * int(before)
    tuned = bare | {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=50331648"}
    said = fork(["-c", _FAULTS], tuned).communicate(timeout=120)[0].split()
    assert said[1] == "False"
