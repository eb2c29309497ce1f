"""Fine-tuning: backbone and pair head trained together, one unit at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from comface_bench.core.errors import UnitError
from comface_bench.core.events import Event, Report
from comface_bench.core.unit import seed_for
from comface_bench.data.pairs import PairList
from comface_bench.engine.checkpoint import TrainingCheckpoint, seeded, train_epochs
from comface_bench.engine.encoder import Encoder, ImageSource, encode
from comface_bench.engine.heads import mean_loss, pair_loss, predict, score_pairs, start_head
from comface_bench.engine.jobs import Fitted, Job, Outcome, RunContext, check_finite
from comface_bench.engine.precision import Throughput, peak_memory_mb, reset_peak_memory
from comface_bench.engine.protocols.training import Training


def run(jobs: Sequence[Job], context: RunContext) -> list[Outcome | UnitError]:
    """Fine-tune one unit; the function of the protocols' cards."""
    (job,), protocol = jobs, context.protocol
    assert isinstance(protocol, Training)
    seed = seed_for("augment", job.task.card.data, job.fold, job.seed)
    source = context.images.with_views(protocol.augmentation, seed)
    return [
        run_finetune(job, context.encoder, protocol, source, context.report, context.checkpoint, context.key)
    ]


def run_finetune(
    job: Job,
    encoder: Encoder,
    protocol: Training,
    source: ImageSource,
    report: Report,
    checkpoint: Path,
    key: str,
) -> Outcome:
    """Train and test one unit, going on from its last saved epoch if there is one.

    Args:
        job: The unit.
        encoder: Freshly built; trained in place.
        protocol: With `trains` = `backbone`.
        source: Renders the images.
        report: Takes an event of every batch and epoch.
        checkpoint: File that epochs are saved in, and gone on from.
        key: Of this training: the unit's and the precision it runs in.

    Raises:
        UnitError: The loss left the finite numbers.
    """
    started = time.perf_counter()
    reset_peak_memory(source.machine)
    unit = _Unit(job, encoder, protocol, source, report)
    saved = TrainingCheckpoint(checkpoint, key)
    train_epochs(unit, protocol.epochs, saved, report, label=job.label, started=started)
    return unit.outcome(started)


class _Unit:
    """A unit in training; arguments as for `run_finetune`.

    Attributes:
        done: Epochs that are done.
    """

    def __init__(
        self, job: Job, encoder: Encoder, protocol: Training, source: ImageSource, report: Report
    ) -> None:
        self._job, self._encoder, self._protocol = job, encoder, protocol
        self._source, self._report = source, report
        device = source.machine.device
        encoder.to(device).requires_grad_()
        self._head = self._start().to(device).requires_grad_()
        weights = [*encoder.parameters(), self._head]
        self._optimizer = protocol.build_optimizer(weights)
        self._pairs = protocol.count_pairs(job.task.epoch_length(job.fold))
        self._speed = Throughput()
        self._curve: list[float] = []
        self._best, self._best_epoch = _snapshot(encoder, self._head), 0
        self._validation = job.task.pairs(job.fold, "validation")
        self.done, self._spent = 0, 0.0

    def _start(self) -> Tensor:
        job, protocol = self._job, self._protocol
        seed = seed_for("head", job.task.seed_name, job.fold, job.seed)
        own, width = self._encoder.own_head(job.task.card.target), self._encoder.measure(protocol.image_size)
        return start_head(protocol.head, protocol.head_start, own, width, seed)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state that `state` gave."""
        self._encoder.load_state_dict(state["model"])
        with torch.no_grad():
            self._head.copy_(state["head"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.done, self._spent, self._curve = state["epoch"], state["seconds"], state["curve"]
        self._best, self._best_epoch = state["best"], state["best_epoch"]
        self._speed = Throughput(state.get("images", 0), state.get("training_seconds", 0.0))

    def state(self, seconds: float) -> dict[str, Any]:
        """Return everything that the next epoch depends on.

        Args:
            seconds: Since this process began.
        """
        return {
            "epoch": self.done,
            "model": self._encoder.state_dict(),
            "head": self._head.detach(),
            "optimizer": self._optimizer.state_dict(),
            "best": self._best,
            "best_epoch": self._best_epoch,
            "curve": self._curve,
            "seconds": self._spent + seconds,
            "images": self._speed.images,
            "training_seconds": self._speed.seconds,
        }

    def train(self, epoch: int) -> None:
        """Train for an epoch.

        Raises:
            UnitError: The loss left the finite numbers.
        """
        job, count = self._job, self._pairs
        self._protocol.set_rate(self._optimizer, epoch)
        with self._speed.measure(2 * count):
            pairs = job.task.draw(job.fold, job.seed, epoch, count)
            stage = f"epoch {epoch}"
            self._report(Event("stage", stage, fold=job.fold, seed=job.seed, epoch=epoch, total=len(pairs)))
            self._encoder.train()
            dropout = seed_for("dropout", f"{job.task.seed_name}/epoch {epoch}", job.fold, job.seed)
            with seeded(dropout, self._source.machine.device):
                self._train_batches(pairs, epoch, stage)
        self.done = epoch

    def _train_batches(self, pairs: PairList, epoch: int, stage: str) -> None:
        size = self._protocol.batch_size
        for start in range(0, len(pairs), size):
            loss = self._step(pairs, start, epoch)
            check_finite(loss, self._job.label, epoch)
            count = min(size, len(pairs) - start)
            self._report(Event("progress", stage, epoch=epoch, amount=count, total=len(pairs), value=loss))

    def _step(self, pairs: PairList, start: int, epoch: int) -> float:
        protocol, batch = self._protocol, slice(start, start + self._protocol.batch_size)
        rows = np.concatenate([pairs.x[batch], pairs.y[batch]])
        half = len(rows) // 2
        images = self._source.augmented(rows, view_numbers(epoch, start, half, protocol))
        with self._source.machine.autocast():
            features = self._encoder.encode_checked(images)
        predicted = predict(protocol.head, self._head, features[:half], features[half:])
        target = torch.from_numpy(pairs.target[batch]).to(predicted)
        loss = pair_loss(protocol.loss, predicted, target).mean()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return float(loss.detach())

    def validate(self, epoch: int) -> float:
        """Return the validation loss, and keep the network if no epoch before was as good.

        Raises:
            UnitError: The loss left the finite numbers.
        """
        predicted = self._evaluate(self._head.detach(), self._validation, "validation", epoch)
        loss = mean_loss(self._protocol.loss, predicted, self._validation.target)
        check_finite(loss, self._job.label, epoch)
        if loss < min(self._curve, default=float("inf")):
            self._best, self._best_epoch = _snapshot(self._encoder, self._head), epoch
        self._curve.append(loss)
        return loss

    def _evaluate(
        self, head: Tensor, pairs: PairList, part: str, epoch: int
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Score pairs, and report how many images are encoded; they don't count as pairs of the epoch."""
        done = 0

        def tick(count: int) -> None:
            nonlocal done
            done += count
            self._report(Event("progress", part, epoch=epoch, done=done))

        return evaluate(self._encoder, head, pairs, self._source, self._protocol, tick)

    def outcome(self, started: float) -> Outcome:
        """Test the best network.

        Args:
            started: Time of `time.perf_counter` when this process began with the unit.
        """
        job, best = self._job, self._best
        self._encoder.load_state_dict(best["model"])
        pairs = job.task.pairs(job.fold, "test")
        predicted = self._evaluate(best["head"], pairs, "test", self._protocol.epochs)
        seconds = self._spent + time.perf_counter() - started
        memory = peak_memory_mb(self._source.machine)
        facts: dict[str, str | int | float | bool | None] = {
            "pairs_per_epoch": self._pairs,
            "images_per_second": self._speed.per_second,
        }
        fitted = Fitted(best["head"].cpu(), self._protocol.head, backbone=best["model"])
        return Outcome(predicted, self._best_epoch, self._curve, seconds, memory, facts, fitted)


def evaluate(
    encoder: Encoder,
    weight: Tensor,
    pairs: PairList,
    source: ImageSource,
    protocol: Training,
    tick: Callable[[int], None] | None = None,
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Score pairs in eval mode, encoding each of their images once, `tick` as in `encode`; float64 (n,)."""
    encoder.eval()

    def gather(rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Tensor:
        return encode(encoder, source.plain, rows, source.machine, tick)

    scores = score_pairs(protocol.head, weight.cpu()[None], gather, pairs.x, pairs.y)
    return scores.reshape(len(pairs))


def view_numbers(
    epoch: int, start: int, count: int, protocol: Training
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Number the views of a batch's images: first those of x, then those of y, int64 (2 · count,).

    With `views` = `pair` no two images of a run share a number, so x and y, and one image in two
    pairs, draw independently. Otherwise all images of an epoch share one.
    """
    if protocol.views != "pair":
        return np.full(2 * count, protocol.shared_view(epoch), dtype=np.int64)
    positions = 2 * np.arange(start, start + count, dtype=np.int64)
    return (np.int64(epoch) << 32) + np.concatenate([positions, positions + 1])


def _snapshot(encoder: Encoder, head: Tensor) -> dict[str, Any]:
    copied = {name: tensor.detach().clone() for name, tensor in encoder.state_dict().items()}
    return {"model": copied, "head": head.detach().clone()}
