"""Linear evaluation: a frozen backbone, and all heads trained together on shared features.

Each (image, view) is encoded once for all folds, seeds and targets of a data set. Adam works element
by element and the heads' losses are separate, so training them in one batch gives what training
each alone gives.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from comface_bench.core.errors import UnitError
from comface_bench.core.events import Event, Report
from comface_bench.core.unit import seed_for
from comface_bench.data.pairs import PairList
from comface_bench.engine.checkpoint import TrainingCheckpoint
from comface_bench.engine.feature_store import Features, FeatureStore
from comface_bench.engine.heads import mean_loss, pair_loss, predict, score_pairs, start_head
from comface_bench.engine.jobs import Job, Outcome, RunContext, check_finite
from comface_bench.engine.precision import peak_memory_mb, reset_peak_memory
from comface_bench.engine.protocols.training import Training

if TYPE_CHECKING:
    from numpy.typing import NDArray


def run(jobs: Sequence[Job], context: RunContext) -> list[Outcome | UnitError]:
    """Train the heads of units that share a method and a data set; the function of the protocol's card."""
    protocol = context.protocol
    assert isinstance(protocol, Training)
    # One seed for all folds and repetitions, so that they share each view.
    seed = seed_for("augment", jobs[0].task.card.data)
    features = context.features.with_views(protocol.augmentation, seed)
    return run_linear(jobs, features, protocol, context.report, context.checkpoint, context.key)


def run_linear(
    jobs: Sequence[Job],
    features: FeatureStore,
    protocol: Training,
    report: Report,
    checkpoint: Path | None = None,
    key: str = "",
) -> list[Outcome | UnitError]:
    """Train and test the heads of several units that share encoder, data set and protocol.

    Args:
        jobs: The units; their tasks share one manifest.
        features: Of a frozen encoder, left bit for bit as it was; their numbered views are the protocol's.
        protocol: With `trains` = `head`.
        report: Takes an event of every epoch.
        checkpoint: File that epochs are saved in, and gone on from; None saves nothing.
        key: Of this training, all units and the precision together.

    Returns:
        An outcome for each job in order; a `UnitError` where a head's loss left the finite numbers.

    Raises:
        UnitError: The frozen backbone changed.
    """
    started = time.perf_counter()
    reset_peak_memory(features.images.machine)
    heads = _Heads(jobs, features, protocol)
    saved = TrainingCheckpoint(checkpoint, key) if checkpoint is not None else None
    if saved is not None and (state := saved.load()) is not None:
        heads.restore(state)
        report(Event("notice", f"going on after epoch {heads.done}"))
    for epoch in range(heads.done + 1, protocol.epochs + 1):
        heads.train(epoch)
        heads.validate(epoch)
        if saved is not None:
            saved.save(heads.state(time.perf_counter() - started))
        losses = [curve[-1] for curve in heads.curves]
        report(Event("epoch", epoch=epoch, total=protocol.epochs, value=float(np.mean(losses))))
    features.check_frozen()
    return heads.outcomes(time.perf_counter() - started)


class _Heads:
    """The heads of a linear run, trained side by side; arguments as for `run_linear`.

    Attributes:
        done: Epochs that are done.
        curves: Validation loss of each head after each epoch.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        features: FeatureStore,
        protocol: Training,
    ) -> None:
        self._jobs, self._features, self._protocol = jobs, features, protocol
        self._validation = [job.task.pairs(job.fold, "validation") for job in jobs]
        self._test = [job.task.pairs(job.fold, "test") for job in jobs]
        self._plain = self._require([*self._validation, *self._test], "plain", "encoding")
        self._lengths = [protocol.count_pairs(job.task.epoch_length(job.fold)) for job in jobs]
        starts = [self._start(job) for job in jobs]
        self._batches = [
            _HeadBatch([place for place, own in enumerate(self._lengths) if own == length], starts, protocol)
            for length in dict.fromkeys(self._lengths)
        ]
        self._best = self._weights()
        self._best_epoch = [0] * len(jobs)
        self.curves: list[list[float]] = [[] for _ in jobs]
        self.done, self._spent = 0, 0.0

    def _start(self, job: Job) -> Tensor:
        seed = seed_for("head", job.task.seed_name, job.fold, job.seed)
        own, width = self._features.encoder.own_head(job.task.card.target), self._plain.width
        return start_head(self._protocol.head, self._protocol.head_start, own, width, seed)

    def _require(self, lists: Sequence[PairList], view: int | Literal["plain"], stage: str) -> Features:
        rows = np.concatenate([rows for pairs in lists for rows in (pairs.x, pairs.y)])
        return self._features.require(rows, view, stage)

    def _weights(self) -> list[Tensor]:
        """Return a copy of each head's weight, in the order of the jobs."""
        found = {
            place: weight.detach().clone()
            for batch in self._batches
            for place, weight in zip(batch.places, batch.weights, strict=True)
        }
        return [found[place] for place in range(len(self._jobs))]

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state that `state` gave."""
        for batch, saved in zip(self._batches, state["batches"], strict=True):
            batch.restore(saved)
        self._best, self._best_epoch, self.curves = state["best"], state["best_epoch"], state["curves"]
        self.done, self._spent = state["epoch"], state["seconds"]
        self._features.encoded.images += state.get("images", 0)
        self._features.encoded.seconds += state.get("encoding_seconds", 0.0)

    def state(self, seconds: float) -> dict[str, Any]:
        """Return everything that the next epoch depends on.

        Args:
            seconds: Since this process began.
        """
        return {
            "epoch": self.done,
            "batches": [batch.state() for batch in self._batches],
            "best": self._best,
            "best_epoch": self._best_epoch,
            "curves": self.curves,
            "seconds": self._spent + seconds,
            "images": self._features.encoded.images,
            "encoding_seconds": self._features.encoded.seconds,
        }

    def train(self, epoch: int) -> None:
        """Train all heads for an epoch on the views of its pairs."""
        drawn = [
            job.task.draw(job.fold, job.seed, epoch, length)
            for job, length in zip(self._jobs, self._lengths, strict=True)
        ]
        views = self._require(drawn, epoch, f"encoding views of epoch {epoch}")
        for batch in self._batches:
            batch.train(epoch, views, [drawn[place] for place in batch.places], self._protocol)
        self.done = epoch

    def validate(self, epoch: int) -> None:
        """Note each head's validation loss, and its weight if no epoch before was as good."""
        weights = self._weights()
        for number, pairs in enumerate(self._validation):
            weight, curve = weights[number], self.curves[number]
            predicted = _score(self._plain, weight, pairs, self._protocol)
            loss = mean_loss(self._protocol.loss, predicted, pairs.target)
            if loss < min(curve, default=float("inf")):
                self._best[number], self._best_epoch[number] = weight, epoch
            curve.append(loss)

    def outcomes(self, seconds: float) -> list[Outcome | UnitError]:
        """Test the best weight of each head.

        Args:
            seconds: Since this process began.
        """
        share = (self._spent + seconds) / len(self._jobs)
        return [self._outcome(number, share) for number in range(len(self._jobs))]

    def _outcome(self, number: int, seconds: float) -> Outcome | UnitError:
        curve = self.curves[number]
        try:
            for epoch, loss in enumerate(curve, start=1):
                check_finite(loss, self._jobs[number].label, epoch)
        except UnitError as error:
            return error
        predicted = _score(self._plain, self._best[number], self._test[number], self._protocol)
        facts: dict[str, str | int | float | bool | None] = {
            "units_sharing_features": len(self._jobs),
            "pairs_per_epoch": self._lengths[number],
            "images_per_second": self._features.encoded.per_second,
        }
        memory = peak_memory_mb(self._features.images.machine)
        return Outcome(predicted, self._best_epoch[number], curve, seconds, memory, facts)


def _score(features: Features, weight: Tensor, pairs: PairList, protocol: Training) -> NDArray[np.float64]:
    """Score pairs; each image's features are fetched once."""
    rows, places = np.unique(np.concatenate([pairs.x, pairs.y]), return_inverse=True)
    x, y = np.split(places, 2)
    return score_pairs(protocol.head, weight, features.gather(rows), x, y)


class _HeadBatch:
    """Heads whose epochs are of one length, trained in one batch.

    An optimiser moves every weight that it has at each step, so heads with fewer pairs need one of their own.

    Args:
        places: Numbers of these heads among all heads.
        starts: The weight that each of all heads starts from.
        protocol: Says how they are trained.

    Attributes:
        places: As given.
        weights: (number of these heads, inputs).
    """

    def __init__(self, places: Sequence[int], starts: Sequence[Tensor], protocol: Training) -> None:
        self.places = places
        self.weights = torch.stack([starts[place] for place in places]).requires_grad_()
        self._optimizer = protocol.build_optimizer([self.weights])

    def state(self) -> dict[str, Any]:
        """Return what the next epoch depends on."""
        return {"weights": self.weights.detach(), "optimizer": self._optimizer.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state that `state` gave."""
        with torch.no_grad():
            self.weights.copy_(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])

    def train(self, epoch: int, views: Features, drawn: Sequence[PairList], protocol: Training) -> None:
        """Train the heads for an epoch, each on the pairs drawn for it."""
        protocol.set_rate(self._optimizer, epoch)
        x = np.stack([pairs.x for pairs in drawn])
        y = np.stack([pairs.y for pairs in drawn])
        target = torch.from_numpy(np.stack([pairs.target for pairs in drawn])).float()
        for start in range(0, x.shape[1], protocol.batch_size):
            batch = slice(start, start + protocol.batch_size)
            first, second = (
                views.gather(rows[:, batch].ravel()).view(len(drawn), -1, views.width) for rows in (x, y)
            )
            predicted = predict(protocol.head, self.weights.unsqueeze(1), first, second)
            # The mean over each head's own pairs, summed over heads: gradients of heads are separate.
            loss = pair_loss(protocol.loss, predicted, target[:, batch]).mean(dim=1).sum()
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
