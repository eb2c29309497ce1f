"""The forward passes that `timings/disfa_passes.py` computes are those that a hook on a backbone counts."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from comface_bench.core.card import NO_AUGMENTATION
from comface_bench.core.events import ignore
from comface_bench.core.protocol import resolve_protocol
from comface_bench.data.augment import image_key
from comface_bench.data.image_store import open_image_store
from comface_bench.data.task import load_task
from comface_bench.engine.encoder import Encoder, ImageSource
from comface_bench.engine.feature_store import FeatureStore
from comface_bench.engine.jobs import Job
from comface_bench.engine.linear import run_linear
from comface_bench.engine.precision import Machine
from comface_bench.engine.protocols.training import Training

SCRIPT = Path(__file__).parents[2] / "timings" / "disfa_passes.py"
SUBJECTS = ("SN001", "SN002", "SN003", "SN004", "SN005")


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("disfa_passes", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def jobs(make_disfa: Callable[..., Path], tmp_path: Path) -> list[Job]:
    frames = range(1, 13)
    make_disfa(tmp_path / "data" / "DISFA", SUBJECTS, frames, lines=len(frames))
    names = [f"disfa-au{unit}+split=leave-one-out" for unit in (1, 12, 26)]
    tasks = [load_task(name, tmp_path / "data") for name in names]
    return [Job(task, fold, 0, f"fold {fold}") for task in tasks for fold in range(3)]


@pytest.fixture
def source(jobs: list[Job], tmp_path: Path) -> ImageSource:
    store = open_image_store(jobs[0].task.table, 18, cache=tmp_path / "images")
    keys = np.array([image_key(name) for name in store.names], dtype=np.uint64)
    return ImageSource(store, keys, 16, NO_AUGMENTATION, 0, Machine(torch.device("cpu"), "float32"))


@contextmanager
def counted(encoder: Encoder) -> Iterator[list[int]]:
    passed = [0]

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: object) -> None:
        passed[0] += len(inputs[0])

    handle = encoder.backbone.register_forward_hook(count)
    yield passed
    handle.remove()


def train_literally(jobs: list[Job], encoder: Encoder, protocol: Training, source: ImageSource) -> None:
    """Send each image of each pair through the backbone, where it is needed and as often."""
    for job in jobs:
        for epoch in range(1, protocol.epochs + 1):
            length = protocol.count_pairs(job.task.epoch_length(job.fold))
            drawn = job.task.draw(job.fold, job.seed, epoch, length)
            for start in range(0, length, protocol.batch_size):
                for rows in (drawn.x, drawn.y):
                    some = rows[start : start + protocol.batch_size]
                    encoder(source.augmented(some, np.full(len(some), protocol.shared_view(epoch))))
            pairs = job.task.pairs(job.fold, "validation")
            encoder(source.plain(np.concatenate([pairs.x, pairs.y])))
        pairs = job.task.pairs(job.fold, "test")
        encoder(source.plain(np.concatenate([pairs.x, pairs.y])))


@pytest.mark.parametrize(
    "options",
    [
        {"pairs_per_epoch": "9"},
        {"pairs_per_epoch": "auto"},
        {"pairs_per_epoch": "auto", "views": "2"},
        {"pairs_per_epoch": "9", "augmentation": "none"},
        {"pairs_per_epoch": "9", "augmentation": "none", "views": "3"},
    ],
    ids=lambda options: "+".join(f"{key}={value}" for key, value in options.items()),
)
def test_a_hook_counts_the_passes_that_are_computed(
    script: Any,
    jobs: list[Job],
    source: ImageSource,
    make_encoder: Callable[[], Encoder],
    options: dict[str, str],
) -> None:
    protocol = resolve_protocol("linear", "expression", {"image_size": "16", "epochs": "5", **options})
    assert isinstance(protocol, Training)
    encoder = make_encoder().eval()
    views = source.with_views(protocol.augmentation, 3)
    with counted(encoder) as passed:
        run_linear(jobs, FeatureStore(encoder, views), protocol, ignore)
    assert passed[0] == script.count_shared(jobs, protocol)
    with counted(encoder) as passed, torch.inference_mode():
        train_literally(jobs, encoder, protocol, views)
    assert passed[0] == script.count_literal(jobs, protocol)
