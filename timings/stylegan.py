"""Images/s of StyleGAN at 1024 pixels against the slow reference of its tests, as a ratio in one run.

Weights are random; both make the same image, whose difference is printed. The reference computes in
float64 and with nothing fused, on one core like ours. Run: python timings/stylegan.py
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

# Read when numpy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch

from comface_bench.comface.synthesis.stylegan.network import StyleGanNetwork, StyleGanShape, draw_weights

REFERENCE = Path(__file__).parents[1] / "tests" / "comface" / "synthesis" / "stylegan" / "reference.py"
ROUNDS = 5


def load_reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", REFERENCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def multiplications(shape: StyleGanShape) -> tuple[int, int]:
    """Return multiply-adds of an image's convolutions: as the authors compute it, and as we do."""
    theirs = ours = 0
    before = shape.channels[0]
    for index, channels in enumerate(shape.channels):
        pixels = (4 << index) ** 2
        if index:
            # 3 × 3 taps, or 4 × 4 at a quarter of the pixels.
            fused = 4 << index >= shape.fused_from
            theirs += (4 if fused else 9) * before * channels * pixels
            ours += 4 * before * channels * pixels
        theirs += 9 * channels**2 * pixels
        ours += 9 * channels**2 * pixels
        before = channels
    return theirs, ours


def seconds(work: Callable[[], object], rounds: int) -> float:
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    torch.set_num_threads(1)
    network = StyleGanNetwork()
    draw_weights(network, 0)
    reference = load_reference()
    codes = network.mapping(torch.randn(1, 512, generator=torch.Generator().manual_seed(0)))
    codes = codes[:, None].expand(1, network.layers, 512)
    published, computed = multiplications(network.shape)
    print(f"convolutions: {published / 1e9:.1f} GMAC as published, {computed / 1e9:.1f} here")

    with torch.inference_mode():
        image = network.synthesis(codes).numpy()
        ours = seconds(lambda: network.synthesis(codes), ROUNDS)
    tensors = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    start = time.perf_counter()
    slow = reference.synthesis(tensors, codes.double().numpy())
    theirs = time.perf_counter() - start
    print(f"largest difference: {np.abs(image - slow).max():.1e} of {np.abs(slow).max():.1f}")
    print(
        f"1024 pixels, 1 core: {1 / ours:.2f} images/s ({ours * 1e3:.0f} ms), "
        f"reference {1 / theirs:.3f} images/s, ratio {theirs / ours:.1f}"
    )


if __name__ == "__main__":
    main()
