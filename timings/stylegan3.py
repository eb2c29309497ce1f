"""Seconds per image of StyleGAN3-R against the form that its paper defines, in one run; peak memory.

Weights are random. The reference (in the tests) stuffs zeros in, pads, filters at the full rate and drops
what isn't kept; both compute in float32 on one core, and the difference of their images is printed. Seconds
are those that the core works, whatever else it has to do. At 1024 pixels ours is timed alone; the ratio is
that of a network of 256 pixels with the same channels at its end, since the reference would take 8 GB.

Run: python timings/stylegan3.py [images at 1024 pixels]
"""

from __future__ import annotations

import importlib.util
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from comface_bench.comface.synthesis.stylegan3.filters import filtered_leaky_relu, layer_filters
from comface_bench.comface.synthesis.stylegan3.network import StyleGan3Network, draw_weights
from comface_bench.comface.synthesis.stylegan3.schedule import StyleGan3Shape

REFERENCE = Path(__file__).parents[1] / "tests" / "comface" / "synthesis" / "stylegan3" / "reference.py"
ROUNDS = 2


def load_reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", REFERENCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def multiplications(shape: StyleGan3Shape) -> tuple[float, float, float]:
    """Return multiply-adds of an image's convolutions, and of its filters directly and as we do them."""
    convolutions = direct = ours = 0.0
    for plan in shape.layers():
        channels = plan.after.channels
        convolutions += plan.kernel**2 * plan.before.channels * channels * plan.inner_size**2
        if plan.rgb:
            continue
        # At the full rate: what the down filter meets, and what the two axes of the up filter make.
        low, high = plan.pads
        padded = plan.inner_size * plan.up + low + high
        full = padded - plan.up_taps + 1
        kept = plan.after.size
        direct += channels * plan.up_taps * (full * padded + full**2)
        ours += channels * plan.up_taps / plan.up * (full * plan.inner_size + full**2)
        if plan.radial:
            direct += channels * plan.down_taps**2 * (full - plan.down_taps + 1) ** 2
            ours += channels * plan.down_taps**2 * kept**2
        else:
            rest = full - plan.down_taps + 1
            direct += channels * plan.down_taps * (rest * full + rest**2)
            ours += channels * plan.down_taps * (kept * full + kept**2)
    return convolutions, direct, ours


def compare(ours: Callable[[], Tensor], theirs: Callable[[], Tensor]) -> str:
    """Time both in turn, and say how they differ."""
    first, second = ours(), theirs()
    difference = float((first - second).abs().max() / second.abs().max())
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for work, taken in zip((ours, theirs), times, strict=True):
            start = time.process_time()
            work()
            taken.append(time.process_time() - start)
    fast, slow = (statistics.median(taken) for taken in times)
    return f"{fast:.2f} s, reference {slow:.2f} s, ratio {slow / fast:.1f}, difference {difference:.0e}"


def draw(shape: StyleGan3Shape) -> tuple[StyleGan3Network, Tensor]:
    network = StyleGan3Network(shape)
    draw_weights(network, 0)
    w = network.mapping(torch.randn(1, shape.latent, generator=torch.Generator().manual_seed(0)))
    return network, w[:, None].expand(1, network.layers, shape.latent)


def peak() -> float:
    """Return the process's largest memory so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    convolutions, direct, ours = (number / 1e9 for number in multiplications(StyleGan3Shape.config_r()))
    print(f"1024 pixels: {convolutions:.0f} GMAC convolutions, {ours:.0f} filters ({direct:.0f} directly)")
    network, codes = draw(StyleGan3Shape.config_r())
    before, times = peak(), []
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
        start = time.process_time()
        network.synthesis(codes)
        times.append(time.process_time() - start)
    print(f"1024 pixels, 1 core: {statistics.median(times):.1f} s per image")
    print(f"peak memory: {peak():.1f} GB, {before:.1f} GB before the first image")

    reference = load_reference()
    network, codes = draw(StyleGan3Shape.config_r(256, base=16384))
    told = compare(
        lambda: network.synthesis(codes), lambda: reference.direct_synthesis(network, codes).contiguous()
    )
    print(f"256 pixels, an image: {told}")
    for plan in StyleGan3Shape.config_r().layers()[7:12:4]:
        filters = layer_filters(plan)
        size = plan.inner_size
        x = torch.randn(1, 16, size, size).contiguous(memory_format=torch.channels_last)
        told = compare(
            lambda x=x, plan=plan, filters=filters: filtered_leaky_relu(x, plan, *filters),
            lambda x=x, plan=plan, filters=filters: reference.direct_filtered_leaky_relu(
                x, plan.up, plan.down, plan.pads, *filters
            ),
        )
        print(f"filtered leaky ReLU of {plan.name}, 16 channels: {told}")


if __name__ == "__main__":
    main()
