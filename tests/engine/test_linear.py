import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from comface_bench.core.errors import UnitError
from comface_bench.core.events import Event, ignore
from comface_bench.core.protocol import Protocol
from comface_bench.data.pairs import PairList
from comface_bench.data.task import Task
from comface_bench.engine import checkpoint, linear
from comface_bench.engine.encoder import Encoder, ImageSource
from comface_bench.engine.feature_store import Features, FeatureStore
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


def test_heads_that_share_pairs_equal_heads_that_are_trained_alone(
    task: Task,
    source: ImageSource,
    make_encoder: MakeEncoder,
    make_protocol: MakeProtocol,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def aimed(target: str, labels: np.ndarray) -> Task:
        table = dataclasses.replace(task.table, labels={target: labels})
        card = dataclasses.replace(task.card, name=target, target=target)
        return Task(card, task.chosen, table, task.split)

    def draw(own: Task, *place: int) -> PairList:
        drawn.append((own.card.name, *place))
        return draw_plainly(own, *place)

    ages = task.labels
    lacking = np.where(np.isin(np.arange(len(ages)), (5, 6)), np.nan, ages)
    tasks = [aimed("one", ages), aimed("two", 90 - 0.5 * ages), aimed("three", lacking)]
    jobs = [Job(each, fold, seed, "") for each in tasks for fold in (0, 1) for seed in (0, 1)]
    protocol = make_protocol("linear", pairs_per_epoch="auto")
    # Folds whose epochs differ in length take different numbers of steps.
    assert len({each.epoch_length(fold) for each in tasks for fold in (0, 1)}) > 1
    alone = [run_linear([job], FeatureStore(make_encoder(), source), protocol, ignore)[0] for job in jobs]
    drawn: list[tuple[object, ...]] = []
    draw_plainly = Task.draw
    monkeypatch.setattr(Task, "draw", draw)
    together = run_linear(jobs, FeatureStore(make_encoder(), source), protocol, ignore)
    for one, other in zip(alone, together, strict=True):
        assert isinstance(one, Outcome)
        assert isinstance(other, Outcome)
        assert np.allclose(one.predictions, other.predictions, rtol=1e-4, atol=1e-4)
        assert one.details["pairs_per_epoch"] == other.details["pairs_per_epoch"]
    # `two` trains on the pairs of `one`; `three` lacks two images and has draws of its own.
    assert [name for name, *_ in drawn].count("three") == 3 * 4
    assert len(drawn) == 2 * 3 * 4


class Asked(FeatureStore):
    """A store that notes which views it is asked for, and at most how many bytes are gathered at once."""

    def __init__(self, encoder: Encoder, images: ImageSource) -> None:
        super().__init__(encoder, images)
        self.views: list[int | str] = []
        self.largest = 0

    def require(self, rows: np.ndarray, view: Any, stage: str) -> Features:
        found = super().require(rows, view, stage)
        gather = found.gather

        def noted(rows: np.ndarray) -> torch.Tensor:
            values = gather(rows)
            self.largest = max(self.largest, 4 * values.numel())
            return values

        found.gather = noted  # type: ignore[method-assign]
        self.views.append(view)
        return found


@pytest.mark.parametrize(
    ("options", "views"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"views": 2}, [1, 2, 1, 2, 1]),
        ({"views": 1}, [1, 1, 1, 1, 1]),
    ],
    ids=str,
)
def test_epochs_train_on_the_views_that_the_protocol_names(
    task: Task,
    source: ImageSource,
    make_encoder: MakeEncoder,
    make_protocol: MakeProtocol,
    options: dict[str, object],
    views: list[int],
) -> None:
    asked = Asked(make_encoder(), source)
    run_linear([Job(task, 0, 0, "")], asked, make_protocol("linear", epochs=5, **options), ignore)
    assert asked.views == ["plain", *views]


@pytest.mark.parametrize("length", ["auto", "2000"])
def test_features_are_read_a_bounded_portion_at_a_time(
    task: Task,
    source: ImageSource,
    make_encoder: MakeEncoder,
    make_protocol: MakeProtocol,
    length: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = run_linear(
        [Job(task, 0, 0, "")],
        FeatureStore(make_encoder(), source),
        make_protocol("linear", pairs_per_epoch=length),
        ignore,
    )
    monkeypatch.setattr(linear, "_PORTION_BYTES", 1000)
    asked = Asked(make_encoder(), source)
    found = run_linear([Job(task, 0, 0, "")], asked, make_protocol("linear", pairs_per_epoch=length), ignore)
    # Evaluation reads at most 64 images of 8 features here.
    assert 0 < asked.largest <= max(1000, 4 * 8 * 64)
    assert np.array_equal(expected[0].predictions, found[0].predictions)  # type: ignore[union-attr]


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
