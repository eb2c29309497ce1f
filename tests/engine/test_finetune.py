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
from comface_bench.data.task import Task
from comface_bench.engine import checkpoint, finetune
from comface_bench.engine.encoder import Encoder, ImageSource
from comface_bench.engine.finetune import run_finetune, view_numbers
from comface_bench.engine.jobs import Job

MakeEncoder = Callable[[], Encoder]
MakeProtocol = Callable[..., Protocol]


@pytest.fixture
def job(task: Task) -> Job:
    return Job(task, 0, 0, "unit")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "states" / "unit.pt"


def test_training_asks_nothing_of_the_values_of_its_own_images(
    job: Job,
    file: Path,
    source: ImageSource,
    make_encoder: MakeEncoder,
    make_protocol: MakeProtocol,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a GPU a look at the values waits for all that was asked of it before."""
    looks: list[torch.Tensor] = []
    monkeypatch.setattr("comface_bench.engine.encoder.check_images", looks.append)
    run_finetune(
        job,
        make_encoder(),
        make_protocol("finetune", epochs=1, pairs_per_epoch=10),
        source,
        ignore,
        file,
        "key",
    )
    assert looks == []


def test_two_runs_are_bit_equal(
    job: Job, file: Path, source: ImageSource, make_encoder: MakeEncoder, make_protocol: MakeProtocol
) -> None:
    protocol = make_protocol("finetune")
    first = run_finetune(job, make_encoder(), protocol, source, ignore, file, "key")
    file.unlink(missing_ok=True)
    second = run_finetune(job, make_encoder(), protocol, source, ignore, file, "key")
    assert np.array_equal(first.predictions, second.predictions)
    assert first.validation_curve == second.validation_curve


class KilledError(Exception):
    pass


@pytest.mark.parametrize("last", [1, 2, 3])
def test_a_unit_killed_after_an_epoch_goes_on_to_the_same_result(
    job: Job,
    file: Path,
    source: ImageSource,
    make_encoder: MakeEncoder,
    make_protocol: MakeProtocol,
    last: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoint, "SAVE_INTERVAL_S", 0.0)
    protocol = make_protocol("finetune")
    unbroken = run_finetune(job, make_encoder(), protocol, source, ignore, file, "key")
    file.unlink()

    def kill(event: Event) -> None:
        if event.kind == "epoch" and event.epoch == last:
            raise KilledError

    with pytest.raises(KilledError):
        run_finetune(job, make_encoder(), protocol, source, kill, file, "key")
    stages: list[Event] = []
    resumed = run_finetune(job, make_encoder(), protocol, source, stages.append, file, "key")
    trained = {event.epoch for event in stages if event.kind == "stage"}
    assert trained == set(range(last + 1, 4))
    assert np.array_equal(resumed.predictions, unbroken.predictions)
    assert resumed.validation_curve == unbroken.validation_curve
    assert resumed.best_epoch == unbroken.best_epoch


def test_images_per_second_are_those_of_training_steps_over_all_parts_of_a_run(
    job: Job,
    file: Path,
    source: ImageSource,
    make_encoder: MakeEncoder,
    make_protocol: MakeProtocol,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoint, "SAVE_INTERVAL_S", -1.0)
    protocol, clock, pace = make_protocol("finetune"), {"now": 0.0}, 10.0
    monkeypatch.setattr(time, "perf_counter", lambda: clock["now"])

    def told(event: Event) -> None:
        # A pair is two images; what follows an epoch takes a thousand seconds.
        clock["now"] += {"progress": 2 * event.amount / pace, "epoch": 1000.0}.get(event.kind, 0.0)
        if event.kind == "epoch" and event.epoch == 2 and pace == 10.0:
            raise KilledError

    def evaluate(*words: Any) -> Any:
        clock["now"] += 1000
        return real(*words)

    real = finetune.evaluate
    monkeypatch.setattr(finetune, "evaluate", evaluate)
    with pytest.raises(KilledError):
        run_finetune(job, make_encoder(), protocol, source, told, file, "key")
    pace = 40.0
    resumed = run_finetune(job, make_encoder(), protocol, source, told, file, "key")
    # Two epochs at 10 images a second and one at 40.
    assert resumed.details["images_per_second"] == pytest.approx(3 / (2 / 10 + 1 / 40), rel=0.005)
    untrained = dataclasses.replace(protocol, epochs=0)
    none = run_finetune(job, make_encoder(), untrained, source, ignore, file, "other")
    assert none.details["images_per_second"] is None


def test_evaluations_report_the_images_that_they_have_encoded(
    job: Job, file: Path, source: ImageSource, make_encoder: MakeEncoder, make_protocol: MakeProtocol
) -> None:
    told: list[Event] = []
    run_finetune(job, make_encoder(), make_protocol("finetune", epochs=1), source, told.append, file, "key")
    quiet = [event for event in told if event.kind == "progress" and not event.amount]
    assert [event.text for event in quiet] == ["validation", "test"]
    for event in quiet:
        pairs = job.task.pairs(job.fold, event.text)
        assert event.done == len(np.unique([pairs.x, pairs.y]))


def test_a_state_of_another_unit_or_a_broken_one_is_not_resumed(
    job: Job,
    file: Path,
    source: ImageSource,
    make_encoder: MakeEncoder,
    make_protocol: MakeProtocol,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoint, "SAVE_INTERVAL_S", 0.0)
    protocol = make_protocol("finetune", epochs=1)
    run_finetune(job, make_encoder(), protocol, source, ignore, file, "key")
    stages: list[Event] = []
    run_finetune(job, make_encoder(), protocol, source, stages.append, file, "another key")
    assert [event.epoch for event in stages if event.kind == "stage"] == [1]
    file.write_bytes(file.read_bytes()[:100])
    stages.clear()
    run_finetune(job, make_encoder(), protocol, source, stages.append, file, "another key")
    assert [event.epoch for event in stages if event.kind == "stage"] == [1]


def test_no_two_images_of_a_run_share_a_view(make_protocol: MakeProtocol) -> None:
    protocol = make_protocol("finetune")
    numbers = np.concatenate(
        [view_numbers(epoch, start, 5, protocol) for epoch in (1, 2, 3) for start in range(0, 50, 5)]
    )
    assert len(np.unique(numbers)) == len(numbers)
    shared = make_protocol("finetune", views="epoch")
    assert set(view_numbers(2, 0, 5, shared)) == {2}
    rounds = make_protocol("finetune", views=3)
    assert [set(view_numbers(epoch, 5, 4, rounds)) for epoch in (1, 3, 4, 5)] == [{1}, {3}, {1}, {2}]


def test_a_loss_that_is_not_finite_stops_the_unit(
    job: Job, file: Path, source: ImageSource, make_encoder: MakeEncoder, make_protocol: MakeProtocol
) -> None:
    encoder = make_encoder()
    with torch.no_grad():
        next(encoder.backbone.parameters()).fill_(float("nan"))
    with pytest.raises(UnitError, match="epoch 1"):
        run_finetune(job, encoder, make_protocol("finetune"), source, ignore, file, "key")


def test_training_lowers_the_validation_loss(
    job: Job, file: Path, source: ImageSource, make_encoder: MakeEncoder, make_protocol: MakeProtocol
) -> None:
    protocol = make_protocol("finetune", epochs=8, pairs_per_epoch=120, augmentation="none")
    outcome = run_finetune(job, make_encoder(), protocol, source, ignore, file, "key")
    pairs = job.task.pairs(0, "test")
    assert np.abs(outcome.predictions - pairs.target).mean() < 0.5 * np.abs(pairs.target).mean()


def test_dropout_is_the_same_however_often_a_unit_is_interrupted(
    job: Job,
    file: Path,
    source: ImageSource,
    make_encoder: MakeEncoder,
    make_protocol: MakeProtocol,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoint, "SAVE_INTERVAL_S", 0.0)

    def dropping() -> Encoder:
        encoder = make_encoder()
        encoder.backbone = torch.nn.Sequential(encoder.backbone, torch.nn.Dropout(0.5))
        return encoder

    protocol = make_protocol("finetune")
    torch.manual_seed(1)
    unbroken = run_finetune(job, dropping(), protocol, source, ignore, file, "key")
    file.unlink()

    def kill(event: Event) -> None:
        if event.kind == "epoch" and event.epoch == 1:
            raise KilledError

    torch.manual_seed(2)
    with pytest.raises(KilledError):
        run_finetune(job, dropping(), protocol, source, kill, file, "key")
    resumed = run_finetune(job, dropping(), protocol, source, ignore, file, "key")
    assert np.array_equal(resumed.predictions, unbroken.predictions)
