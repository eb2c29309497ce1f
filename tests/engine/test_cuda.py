"""The engine on a GPU against the CPU; its small twins are the other tests of this folder."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from comface_bench.core.events import ignore
from comface_bench.core.protocol import Protocol
from comface_bench.data.task import Task
from comface_bench.engine.encoder import Encoder, ImageSource
from comface_bench.engine.feature_store import FeatureStore
from comface_bench.engine.finetune import run_finetune
from comface_bench.engine.jobs import Job, Outcome
from comface_bench.engine.linear import run_linear
from comface_bench.engine.precision import choose_machine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]

MakeEncoder = Callable[[], Encoder]
MakeProtocol = Callable[..., Protocol]


@pytest.fixture
def on_gpu(source: ImageSource) -> ImageSource:
    return dataclasses.replace(source, machine=choose_machine("cuda", "float32"))


def test_linear_on_a_gpu_equals_the_cpu(
    task: Task,
    source: ImageSource,
    on_gpu: ImageSource,
    make_encoder: MakeEncoder,
    make_protocol: MakeProtocol,
) -> None:
    jobs = [Job(task, fold, 0, "") for fold in range(4)]
    protocol = make_protocol("linear")
    expected = run_linear(jobs, FeatureStore(make_encoder(), source), protocol, ignore)
    found = run_linear(jobs, FeatureStore(make_encoder().to("cuda"), on_gpu), protocol, ignore)
    for one, other in zip(expected, found, strict=True):
        assert isinstance(one, Outcome)
        assert isinstance(other, Outcome)
        assert np.allclose(one.predictions, other.predictions, rtol=1e-3, atol=1e-3)


def test_fine_tuning_on_a_gpu_lowers_the_validation_loss_and_resumes(
    task: Task,
    on_gpu: ImageSource,
    make_encoder: MakeEncoder,
    make_protocol: MakeProtocol,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("comface_bench.engine.checkpoint.SAVE_INTERVAL_S", 0.0)
    protocol = make_protocol("finetune", epochs=6, pairs_per_epoch=120, augmentation="none")
    job = Job(task, 0, 0, "unit")
    outcome = run_finetune(job, make_encoder(), protocol, on_gpu, ignore, tmp_path / "unit.pt", "key")
    assert min(outcome.validation_curve) < 0.7 * outcome.validation_curve[0]
    again = run_finetune(job, make_encoder(), protocol, on_gpu, ignore, tmp_path / "unit.pt", "key")
    assert again.validation_curve == outcome.validation_curve, "nothing is left to train"
    assert np.allclose(again.predictions, outcome.predictions, rtol=1e-3, atol=1e-3)
