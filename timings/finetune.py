"""A step of fine-tuning against the bare step on tensors in memory.

    python timings/finetune.py [size, 112] [seconds of processor time, 40]

A step draws its views from stored images, augments them as Table C says, encodes, scores pairs, and takes a
step of Adam; the bare one does the same forward and backward passes and the same step of Adam on images that
are ready. ResNet-18, untrained, 32 pairs. Both take turns on one core, so that a busy machine slows them
alike; the ratio is of the least processor times, and of the medians.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from comface_bench.core.card import AUGMENTATIONS
from comface_bench.core.events import ignore
from comface_bench.core.protocol import resolve_protocol
from comface_bench.data.augment import image_key
from comface_bench.data.image_store import open_image_store
from comface_bench.data.task import load_task
from comface_bench.engine.encoder import Encoder, ImageSource, load_method
from comface_bench.engine.finetune import _Unit
from comface_bench.engine.heads import pair_loss, predict, start_head
from comface_bench.engine.jobs import Job
from comface_bench.engine.precision import Machine, choose_machine
from comface_bench.engine.protocols.training import Training

PAIRS = 32


def main() -> None:
    size, seconds = (int(word) for word in [*sys.argv[1:3], 112, 40][:2])
    protocol = resolve_protocol("finetune", "expression", {"image_size": str(size), "batch_size": str(PAIRS)})
    assert isinstance(protocol, Training)
    machine, task = choose_machine("cpu"), load_task("synth-au12")
    with tempfile.TemporaryDirectory() as cache:
        store = open_image_store(task.table, size + -(-size // 7), cache=Path(cache))
        keys = np.array([image_key(name) for name in store.names], dtype=np.uint64)
        source = ImageSource(store, keys, size, AUGMENTATIONS[protocol.augmentation], 1, machine)
        pairs = task.draw(0, 0, 1, PAIRS)
        unit = _Unit(Job(task, 0, 0, ""), build(), protocol, source, ignore)
        ready = torch.rand(2 * PAIRS, 3, size, size).contiguous(memory_format=torch.channels_last)
        target = torch.from_numpy(pairs.target).float()
        bare = make_bare(build(), protocol, machine, ready, target)
        spent: dict[str, list[float]] = {"whole": [], "bare": []}
        began = time.process_time()
        while time.process_time() - began < seconds or len(spent["bare"]) < 5:
            spent["whole"].append(measure(lambda: unit._step(pairs, 0, 1)))
            spent["bare"].append(measure(bare))
    print(f"ResNet-18, {size} pixels, {PAIRS} pairs, {machine.precision}, {len(spent['bare'])} steps of each")
    for name, of in (("least", min), ("median", statistics.median)):
        whole, alone = (of(values[1:]) for values in spent.values())  # the first ones choose kernels
        print(f"{name}: whole {1e3 * whole:.0f} ms, bare {1e3 * alone:.0f} ms: {whole / alone:.3f} (bar 1.1)")


def build() -> Encoder:
    """Build an untrained ResNet-18 in training mode."""
    encoder = load_method("scratch+backbone=resnet18")
    encoder.train().requires_grad_()
    return encoder


def make_bare(
    encoder: Encoder, protocol: Training, machine: Machine, images: torch.Tensor, target: torch.Tensor
) -> Callable[[], None]:
    """Return the step that neither draws nor augments."""
    head = start_head(protocol.head, "scratch", None, 512, 0).requires_grad_()
    optimizer = protocol.build_optimizer([*encoder.parameters(), head])
    half = len(target)

    def step() -> None:
        with machine.autocast():
            features = encoder.encode_checked(images)
        predicted = predict(protocol.head, head, features[:half], features[half:])
        optimizer.zero_grad(set_to_none=True)
        pair_loss(protocol.loss, predicted, target).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def measure(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
