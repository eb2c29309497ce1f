import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from comface_bench.core.errors import UnitError
from comface_bench.core.events import Event, ignore
from comface_bench.core.protocol import Protocol
from comface_bench.data.task import Task
from comface_bench.engine import checkpoint
from comface_bench.engine.encoder import Encoder, ImageSource
from comface_bench.engine.feature_store import FeatureStore
from comface_bench.engine.jobs import Job, Outcome
from comface_bench.engine.linear import run_linear

MakeEncoder = Callable[[], Encoder]
MakeProtocol = Callable[..., Protocol]


def run(
    task: Task, places: list[tuple[int, int]], encoder: Encoder, protocol: Protocol, source: ImageSource
) -> list[Outcome]:
    jobs = [Job(task, fold, seed, f"fold {fold}") for fold, seed in places]
    outcomes = run_linear(jobs, FeatureStore(encoder, source), protocol, ignore)
    assert all(isinstance(outcome, Outcome) for outcome in outcomes)
    return outcomes  # type: ignore[return-value]


def test_a_joint_run_equals_separate_runs(
    task: Task, source: ImageSource, make_encoder: MakeEncoder, make_protocol: MakeProtocol
) -> None:
    protocol = make_protocol("linear")
    places = [(fold, seed) for seed in (0, 1) for fold in range(4)]
    together = run(task, places, make_encoder(), protocol, source)
    for place, joint in zip(places, together, strict=True):
        (alone,) = run(task, [place], make_encoder(), protocol, source)
        assert np.allclose(joint.predictions, alone.predictions, rtol=1e-5, atol=1e-5)
        assert joint.best_epoch == alone.best_epoch


def test_two_runs_are_bit_equal(
    task: Task, source: ImageSource, make_encoder: MakeEncoder, make_protocol: MakeProtocol
) -> None:
    first, second = (
        run(task, [(2, 0)], make_encoder(), make_protocol("linear"), source)[0] for _ in range(2)
    )
    assert np.array_equal(first.predictions, second.predictions)
    assert first.validation_curve == second.validation_curve


def test_each_image_is_encoded_once_an_epoch(
    task: Task, source: ImageSource, make_encoder: MakeEncoder, make_protocol: MakeProtocol
) -> None:
    events: list[Event] = []
    jobs = [Job(task, fold, 0, "") for fold in range(4)]
    run_linear(
        jobs, FeatureStore(make_encoder(), source, events.append), make_protocol("linear"), events.append
    )
    for epoch in (1, 2, 3):
        encoded = sum(e.amount for e in events if e.kind == "progress" and e.epoch == epoch)
        assert encoded <= len(task.table)


def test_images_per_second_are_those_encoded_in_the_time_of_encoding(
    task: Task,
    source: ImageSource,
    make_encoder: MakeEncoder,
    make_protocol: MakeProtocol,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = {"now": 0.0}
    monkeypatch.setattr(time, "perf_counter", lambda: clock["now"])

    def told(event: Event) -> None:
        events.append(event)
        # Encoding ten images takes a second, and what else an epoch does takes a thousand.
        clock["now"] += event.amount / 10 if event.kind == "progress" else 1000

    events: list[Event] = []
    jobs = [Job(task, fold, 0, "") for fold in range(2)]
    for outcome in run_linear(
        jobs, FeatureStore(make_encoder(), source, told), make_protocol("linear"), told
    ):
        assert isinstance(outcome, Outcome)
        assert outcome.details["images_per_second"] == 10.0


class Drifting(torch.nn.Module):
    """A backbone that counts its calls in a buffer, even in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return images.mean((2, 3))


def test_a_frozen_backbone_that_changes_is_an_error(
    task: Task, source: ImageSource, make_protocol: MakeProtocol, make_encoder: MakeEncoder
) -> None:
    encoder = make_encoder()
    encoder.backbone = Drifting()
    with pytest.raises(UnitError, match="changed"):
        run_linear([Job(task, 0, 0, "")], FeatureStore(encoder, source), make_protocol("linear"), ignore)


def test_a_head_that_leaves_the_finite_numbers_fails_alone(
    task: Task, source: ImageSource, make_encoder: MakeEncoder, make_protocol: MakeProtocol
) -> None:
    encoder = make_encoder()
    with torch.no_grad():
        next(encoder.backbone.parameters()).fill_(float("inf"))
    (outcome,) = run_linear(
        [Job(task, 0, 0, "broken")], FeatureStore(encoder, source), make_protocol("linear"), ignore
    )
    assert isinstance(outcome, UnitError)
    assert "broken" in outcome.message


def test_head_start_b_begins_with_the_methods_own_head(
    task: Task, source: ImageSource, make_encoder: MakeEncoder, make_protocol: MakeProtocol
) -> None:
    import dataclasses

    encoder = make_encoder()
    encoder.head_weight = torch.arange(8.0)
    protocol = dataclasses.replace(make_protocol("linear", epochs=0), head_start="pretrained")
    (outcome,) = run(task, [(0, 0)], encoder, protocol, source)
    pairs = task.pairs(0, "test")
    with torch.no_grad():
        change = encoder(source.plain(pairs.y)) - encoder(source.plain(pairs.x))
    assert outcome.best_epoch == 0
    assert np.allclose(outcome.predictions, (change @ torch.arange(8.0)).numpy(), atol=1e-4)


class KilledError(Exception):
    pass


def test_heads_killed_after_an_epoch_go_on_to_the_same_result(
    task: Task,
    source: ImageSource,
    make_encoder: MakeEncoder,
    make_protocol: MakeProtocol,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoint, "SAVE_INTERVAL_S", 0.0)
    protocol, file = make_protocol("linear"), tmp_path / "states" / "heads.pt"
    jobs = [Job(task, fold, 0, "") for fold in range(2)]
    unbroken = run_linear(jobs, FeatureStore(make_encoder(), source), protocol, ignore)

    def kill(event: Event) -> None:
        if event.kind == "epoch" and event.epoch == 2:
            raise KilledError

    with pytest.raises(KilledError):
        run_linear(jobs, FeatureStore(make_encoder(), source), protocol, kill, file, "key")
    events: list[Event] = []
    resumed = run_linear(jobs, FeatureStore(make_encoder(), source), protocol, events.append, file, "key")
    assert [event.epoch for event in events if event.kind == "epoch"] == [3]
    for one, other in zip(unbroken, resumed, strict=True):
        assert isinstance(one, Outcome)
        assert isinstance(other, Outcome)
        assert np.array_equal(one.predictions, other.predictions)
        assert one.validation_curve == other.validation_curve
        assert one.details.keys() == other.details.keys()
    events.clear()
    run_linear(jobs, FeatureStore(make_encoder(), source), protocol, events.append, file, "another key")
    assert [event.epoch for event in events if event.kind == "epoch"] == [1, 2, 3]
