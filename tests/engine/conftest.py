"""A tiny data set, network and image source that every engine test shares."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from comface_bench.core.card import TABLE_C, Augmentation, Preprocess
from comface_bench.core.protocol import Protocol, resolve_protocol
from comface_bench.data.augment import image_key
from comface_bench.data.image_store import open_image_store
from comface_bench.data.task import Task, load_task
from comface_bench.engine.encoder import Encoder, ImageSource
from comface_bench.engine.precision import Machine

SIZE = 16


class TinyNet(nn.Module):
    """Two convolutions with batch norm, 8 features."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(
                nn.Conv2d(3, 8, 3, stride=2, bias=False),  # a bias before batch norm has no gradient
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.Conv2d(8, 8, 3, stride=2),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layers(images)
        return features


@pytest.fixture
def data(make_ages: Callable[..., Path], tmp_path: Path) -> Path:
    return make_ages(tmp_path / "data", subjects=12, ages=(3, 11, 24, 50), noise=60, quality=95)


@pytest.fixture
def task(data: Path) -> Task:
    return load_task("age+split=balanced-4", data)


@pytest.fixture
def augmentation() -> Augmentation:
    return TABLE_C


@pytest.fixture
def source(task: Task, augmentation: Augmentation, tmp_path: Path) -> ImageSource:
    store = open_image_store(task.table, SIZE + 3, cache=tmp_path / "cache")
    keys = np.array([image_key(name) for name in store.names], dtype=np.uint64)
    return ImageSource(store, keys, SIZE, augmentation, 7, Machine(torch.device("cpu"), "float32"))


@pytest.fixture
def make_encoder() -> Callable[[], Encoder]:
    return lambda: Encoder("tiny", TinyNet(), Preprocess())


@pytest.fixture
def make_protocol() -> Callable[..., Protocol]:
    def make(name: str, **overrides: object) -> Protocol:
        texts = {"epochs": "3", "pairs_per_epoch": "24", "batch_size": "5", "learning_rate": "0.01"}
        texts |= {key: str(value) for key, value in overrides.items()}
        return resolve_protocol(name, "age", {"image_size": str(SIZE), **texts})

    return make
