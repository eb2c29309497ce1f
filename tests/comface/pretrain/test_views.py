"""Views of a batch: what the settings say, whichever way the batch is cut up."""

import dataclasses

import numpy as np
import torch

from comface_bench.comface.pretrain.degradation import degrade
from comface_bench.comface.pretrain.loader import Batch, augmented_images, plain_images
from comface_bench.core.augmentation import TABLE_E
from comface_bench.core.card import IMAGENET
from comface_bench.data import augment
from comface_bench.data.augment import render
from comface_bench.engine.precision import choose_machine

MACHINE = choose_machine("cpu", "float32")


def batch(count=10):
    images = torch.randint(0, 256, (count, 3, 40, 40), dtype=torch.uint8, generator=torch.manual_seed(0))
    return Batch(None, images, np.arange(count, dtype=np.uint64))


def normalise(images):
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET.mean, IMAGENET.std))
    return (images - mean) / std


def test_views_are_the_augmentation_then_the_degradation(settings):
    settings = dataclasses.replace(settings, augmentation="table-e", degradation="photograph", seed=3)
    epochs = np.full(10, 2, np.int64)
    shown = render(batch().images, TABLE_E, 3, batch().keys, epochs, 32)
    assert torch.allclose(
        augmented_images(batch(), dataclasses.replace(settings, degradation="none"), 2, 32, MACHINE),
        normalise(shown),
        atol=1e-6,
    )
    worn = normalise(degrade(shown.clone(), 3, batch().keys, epochs))
    assert torch.allclose(augmented_images(batch(), settings, 2, 32, MACHINE), worn, atol=1e-5)
    assert not torch.allclose(worn, normalise(shown), atol=0.1)


def test_pieces_make_no_difference(settings, monkeypatch):
    settings = dataclasses.replace(settings, degradation="photograph")
    whole = augmented_images(batch(), settings, 1, 24, MACHINE)
    assert whole.is_contiguous(memory_format=torch.channels_last)
    monkeypatch.setattr(augment, "_CPU_BATCH", 3)
    assert torch.allclose(augmented_images(batch(), settings, 1, 24, MACHINE), whole, atol=1e-5)


def test_plain_images_are_only_resized():
    assert torch.allclose(plain_images(batch(), 40, MACHINE), normalise(batch().images / 255), atol=1e-6)
