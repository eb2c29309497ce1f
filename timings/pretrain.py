"""A step of pre-training against the backbone's bare forward and backward on tensors in memory.

A step reads and decodes JPEGs, augments, contrasts, measures and optimises; the bare one does none of it.
Both take turns of ten steps in one process, so that a busy machine slows them alike.

Run: python timings/pretrain.py CORPUS [image size, 112] [pairs, 64] [seconds, 60] [device, auto]
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from pathlib import Path

import torch

from comface_bench.baselines.networks import build_backbone, feature_width
from comface_bench.comface.pretrain.distributed import ProcessGroup
from comface_bench.comface.pretrain.faces import FaceDataset
from comface_bench.comface.pretrain.folder import TrainingFolder
from comface_bench.comface.pretrain.loader import load_batches
from comface_bench.comface.pretrain.settings import Settings
from comface_bench.comface.pretrain.train import Trainer, split_batches
from comface_bench.engine.precision import Machine, choose_machine

BLOCK = 10
"""Steps of a kind in a row."""


def bare(backbone: torch.nn.Module, images: torch.Tensor, machine: Machine) -> None:
    """Forward and backward, nothing else."""
    with machine.autocast():
        features = backbone(images)
    features.float().square().mean().backward()
    backbone.zero_grad(set_to_none=True)


def main() -> None:
    corpus = Path(sys.argv[1])
    size, pairs, seconds = (int(word) for word in [*sys.argv[2:5], 112, 64, 60][:3])
    machine = choose_machine(sys.argv[5] if len(sys.argv) > 5 else "auto")
    settings = dataclasses.replace(
        Settings(), backbone="resnet18", image_size=size, batch_size=pairs, augmentation="table-b"
    )
    faces = FaceDataset([corpus], settings)
    alone = build_backbone("resnet18").to(machine.device).to(memory_format=torch.channels_last).train()
    images = torch.randn(2 * pairs, 3, size, size, device=machine.device)
    images = images.contiguous(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            faces,
            settings,
            TrainingFolder(Path(folder)),
            build_backbone("resnet18"),
            feature_width("resnet18"),
            machine,
            ProcessGroup(),
        )
        batches = split_batches(faces.draw(settings, 1, settings.curriculum[0]), pairs)
        loading = load_batches(faces, batches, threads=2)
        spent, blocks, began = {"bare": 0.0, "whole": 0.0}, -1, time.perf_counter()
        # In blocks, and with the loader idle in the bare ones but for the two batches that it is ahead.
        for first in range(0, len(batches) - BLOCK, BLOCK):
            if time.perf_counter() - began > seconds:
                break
            start = time.perf_counter()
            for whole in batches[first : first + BLOCK]:
                trainer._take(next(loading), whole, 1, size, 1e-4)
            wait(machine)
            middle = time.perf_counter()
            for _ in range(BLOCK):
                bare(alone, images, machine)
            wait(machine)
            blocks += 1
            if blocks:  # the first one chooses kernels
                spent["whole"] += middle - start
                spent["bare"] += time.perf_counter() - middle
        loading.close()
    steps = BLOCK * blocks
    rate = {name: 2 * pairs * steps / value for name, value in spent.items()}
    share = rate["whole"] / rate["bare"]
    print(f"ResNet-18, {size} pixels, {pairs} pairs, {machine.device}, {machine.precision}, {steps} steps")
    print(f"bare forward and backward: {rate['bare']:.0f} images/s")
    print(f"whole steps, loading included: {rate['whole']:.0f} images/s, {share:.3f} × bare")


def wait(machine: Machine) -> None:
    if machine.device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
