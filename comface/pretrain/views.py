"""From a batch's bytes to what a backbone takes, on its device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from comface_bench.comface.pretrain.degradation import degrade
from comface_bench.comface.pretrain.settings import AUGMENTATIONS
from comface_bench.core.card import IMAGENET
from comface_bench.data.augment import render, resize

if TYPE_CHECKING:
    from torch import Tensor

    from comface_bench.comface.pretrain.loader import Batch
    from comface_bench.comface.pretrain.settings import Settings
    from comface_bench.engine.precision import Machine


def augmented_images(batch: Batch, settings: Settings, epoch: int, size: int, machine: Machine) -> Tensor:
    """Render one view of each image, a function of settings, image and epoch.

    Returns:
        Normalised images, float32 (2N, 3, size, size), channels last.
    """
    images = _send(batch, machine)
    views = np.full(len(images), epoch, np.int64)
    rendered = render(images, AUGMENTATIONS[settings.augmentation], settings.seed, batch.keys, views, size)
    if settings.degradation == "photograph":
        rendered = degrade(rendered, settings.seed, batch.keys, views)
    return _normalise(rendered)


def plain_images(batch: Batch, size: int, machine: Machine) -> Tensor:
    """Resize images and do nothing else; result as of `augmented_images`."""
    return _normalise(resize(_send(batch, machine), size))


def _send(batch: Batch, machine: Machine) -> Tensor:
    return batch.images.to(machine.device, non_blocking=True)


def _normalise(images: Tensor) -> Tensor:
    mean, std = (
        torch.tensor(values, device=images.device).view(1, 3, 1, 1)
        for values in (IMAGENET.mean, IMAGENET.std)
    )
    return images.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)
