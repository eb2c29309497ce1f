"""Linear evaluation: a frozen backbone, and all heads trained together on shared features.

Each (image, view) is encoded once for all folds, seeds and targets of a data set. Optimisers work element
by element and the heads' losses are separate, so training them together gives what training each alone
gives. Heads that train on the same pairs, as the targets of one fold do, read them once.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from comface_bench.core.errors import UnitError
from comface_bench.core.events import Event, Report
from comface_bench.core.unit import seed_for
from comface_bench.data.pairs import PairList
from comface_bench.engine.checkpoint import TrainingCheckpoint
from comface_bench.engine.feature_store import Features, FeatureStore
from comface_bench.engine.heads import HeadKind, join, loss_gradient, mean_loss, score_pairs, start_head
from comface_bench.engine.jobs import Fitted, Job, Outcome, RunContext, check_finite
from comface_bench.engine.precision import one_thread, peak_memory_mb, reset_peak_memory
from comface_bench.engine.protocols.training import Training

if TYPE_CHECKING:
    from numpy.typing import NDArray


_PORTION_BYTES = 1 << 23
"""Of pair features that are in memory at a time while heads are trained."""

_LAYOUT = "blocks"
"""Of a saved state; one of another layout isn't gone on from."""


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
    saved = TrainingCheckpoint(checkpoint, f"{key} {_LAYOUT}") if checkpoint is not None else None
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
        rows = [rows for pairs in (*self._validation, *self._test) for rows in (pairs.x, pairs.y)]
        self._plain = features.require(np.concatenate(rows), "plain", "encoding")
        self._lengths = [protocol.count_pairs(job.task.epoch_length(job.fold)) for job in jobs]
        self._blocks = [
            _Block(jobs, places, length, [[self._start(jobs[place]) for place in row] for row in places])
            for length, places in _arrange(jobs, self._lengths)
        ]
        self._optimizer = protocol.build_optimizer([block.weights for block in self._blocks])
        self._best = self._weights()
        self._best_epoch = [0] * len(jobs)
        self.curves: list[list[float]] = [[] for _ in jobs]
        self.done, self._spent = 0, 0.0
        self._rounds: dict[int, Features] = {}

    def _start(self, job: Job) -> Tensor:
        seed = seed_for("head", job.task.seed_name, job.fold, job.seed)
        own, width = self._features.encoder.own_head(job.task.card.target), self._plain.width
        return start_head(self._protocol.head, self._protocol.head_start, own, width, seed)

    def _weights(self) -> list[Tensor]:
        """Return a copy of each head's weight, in the order of the jobs."""
        found = {
            place: weight.detach().clone()
            for block in self._blocks
            for row, weights in zip(block.places, block.weights, strict=True)
            for place, weight in zip(row, weights, strict=True)
        }
        return [found[place] for place in range(len(self._jobs))]

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state that `state` gave."""
        with torch.no_grad():
            for block, weights in zip(self._blocks, state["weights"], strict=True):
                block.weights.copy_(weights)
        self._optimizer.load_state_dict(state["optimizer"])
        self._best, self._best_epoch, self.curves = state["best"], state["best_epoch"], state["curves"]
        self.done, self._spent = state["epoch"], state["seconds"]
        self._features.encoded.images += state["images"]
        self._features.encoded.seconds += state["encoding_seconds"]

    def state(self, seconds: float) -> dict[str, Any]:
        """Return everything that the next epoch depends on.

        Args:
            seconds: Since this process began.
        """
        return {
            "epoch": self.done,
            "weights": [block.weights.detach() for block in self._blocks],
            "optimizer": self._optimizer.state_dict(),
            "best": self._best,
            "best_epoch": self._best_epoch,
            "curves": self.curves,
            "seconds": self._spent + seconds,
            "images": self._features.encoded.images,
            "encoding_seconds": self._features.encoded.seconds,
        }

    @torch.no_grad()  # Gradients are written down.
    def train(self, epoch: int) -> None:
        """Train all heads for an epoch on the views of its pairs."""
        protocol, size = self._protocol, self._protocol.batch_size
        protocol.set_rate(self._optimizer, epoch)
        drawn = [block.draw(epoch) for block in self._blocks]
        views = self._require_views(np.concatenate([rows.ravel() for rows in drawn]), epoch)
        step_bytes = sum(4 * size * block.weights.shape[0] * block.weights.shape[2] for block in self._blocks)
        portion = size * max(1, _PORTION_BYTES // step_bytes)
        with one_thread():
            for start in range(0, max(self._lengths), portion):
                self._train_portion(views, [rows[..., start : start + portion] for rows in drawn])
        self.done = epoch

    def _train_portion(self, views: Features, drawn: Sequence[NDArray[np.int64]]) -> None:
        """Train all heads on some of the pairs of an epoch, read together; one array for each block."""
        protocol, size = self._protocol, self._protocol.batch_size
        parts = [
            block.read(views, rows, protocol.head) for block, rows in zip(self._blocks, drawn, strict=True)
        ]
        for first in range(0, max(target.shape[1] for _, target in parts), size):
            batch = slice(first, first + size)
            for block, (inputs, target) in zip(self._blocks, parts, strict=True):
                block.set_gradient(protocol, inputs[:, batch], target[:, batch])
            self._optimizer.step()

    def _require_views(self, rows: NDArray[np.int64], epoch: int) -> Features:
        view, shared = self._protocol.shared_view(epoch), isinstance(self._protocol.views, int)
        of = f"round {view} of {self._protocol.views}" if shared else f"epoch {epoch}"
        views = self._features.require(rows, view, f"encoding views of {of}")
        if shared:
            # Where nothing can be kept on disk, they stay in memory while somebody has them.
            self._rounds[view] = views
        return views

    def validate(self, epoch: int) -> None:
        """Note each head's validation loss, and its weight if no epoch before was as good."""
        weights = self._weights()
        for number, predicted in enumerate(self._score(weights, self._validation)):
            loss = mean_loss(self._protocol.loss, predicted, self._validation[number].target)
            if loss < min(self.curves[number], default=float("inf")):
                self._best[number], self._best_epoch[number] = weights[number], epoch
            self.curves[number].append(loss)

    def _score(self, weights: Sequence[Tensor], lists: Sequence[PairList]) -> list[NDArray[np.float64]]:
        """Score each head's pairs; heads that have the same pairs together."""
        together: dict[tuple[bytes, bytes], list[int]] = {}
        for number, pairs in enumerate(lists):
            together.setdefault((pairs.x.tobytes(), pairs.y.tobytes()), []).append(number)
        found: dict[int, NDArray[np.float64]] = {}
        for numbers in together.values():
            pairs, some = lists[numbers[0]], torch.stack([weights[number] for number in numbers])
            scores = score_pairs(self._protocol.head, some, self._plain.gather, pairs.x, pairs.y)
            found.update(zip(numbers, scores, strict=True))
        return [found[number] for number in range(len(lists))]

    def outcomes(self, seconds: float) -> list[Outcome | UnitError]:
        """Test the best weight of each head.

        Args:
            seconds: Since this process began.
        """
        share = (self._spent + seconds) / len(self._jobs)
        scores = self._score(self._best, self._test)
        return [self._outcome(number, predicted, share) for number, predicted in enumerate(scores)]

    def _outcome(self, number: int, predicted: NDArray[np.float64], seconds: float) -> Outcome | UnitError:
        curve = self.curves[number]
        try:
            for epoch, loss in enumerate(curve, start=1):
                check_finite(loss, self._jobs[number].label, epoch)
        except UnitError as error:
            return error
        facts: dict[str, str | int | float | bool | None] = {
            "units_sharing_features": len(self._jobs),
            "pairs_per_epoch": self._lengths[number],
            "images_per_second": self._features.encoded.per_second,
        }
        memory = peak_memory_mb(self._features.images.machine)
        fitted = Fitted(self._best[number], self._protocol.head, encoder=self._features.state)
        return Outcome(predicted, self._best_epoch[number], curve, seconds, memory, facts, fitted)


def _arrange(jobs: Sequence[Job], lengths: Sequence[int]) -> list[tuple[int, list[list[int]]]]:
    """Arrange jobs in blocks: an epoch's length, and a row of places for each draw of pairs, equally long."""
    draws: dict[Hashable, list[int]] = {}
    for place, job in enumerate(jobs):
        draws.setdefault((job.task.draw_identity(job.fold, job.seed), lengths[place]), []).append(place)
    blocks: dict[tuple[int, int], list[list[int]]] = {}
    for row in draws.values():
        blocks.setdefault((lengths[row[0]], len(row)), []).append(row)
    return [(length, places) for (length, _), places in blocks.items()]


class _Block:
    """Heads that are trained by one product of matrices: some draws of pairs, each for as many heads.

    Args:
        jobs: All jobs.
        places: Numbers of the jobs of each draw.
        length: Pairs of an epoch.
        starts: The weight that each of these heads starts from.

    Attributes:
        places: As given.
        weights: (draws, heads, inputs).
    """

    def __init__(
        self, jobs: Sequence[Job], places: list[list[int]], length: int, starts: list[list[Tensor]]
    ) -> None:
        self.places = places
        self._jobs = [[jobs[place] for place in row] for row in places]
        self._length = length
        self.weights = torch.stack([torch.stack(row) for row in starts]).requires_grad_()

    def draw(self, epoch: int) -> NDArray[np.int64]:
        """Draw an epoch's pairs: rows of x and y, (2, draws, pairs)."""
        drawn = [first.task.draw(first.fold, first.seed, epoch, self._length) for first, *_ in self._jobs]
        return np.stack([[pairs.x for pairs in drawn], [pairs.y for pairs in drawn]])

    def read(self, views: Features, rows: NDArray[np.int64], kind: HeadKind) -> tuple[Tensor, Tensor]:
        """Return inputs and true changes of pairs.

        Args:
            views: Features of the epoch's views.
            rows: (2, draws, n), as `draw` gives them.
            kind: Of the heads.

        Returns:
            Inputs, (draws, n, inputs), and changes, (draws, n, heads), both float32.
        """
        x, y = rows
        first, second = (views.gather(side.ravel()).view(*side.shape, views.width) for side in rows)
        target = [
            np.stack([job.task.labels[b] - job.task.labels[a] for job in row], axis=1)
            for row, a, b in zip(self._jobs, x, y, strict=True)
        ]
        return join(kind, first, second), torch.from_numpy(np.stack(target)).float()

    def set_gradient(self, protocol: Training, inputs: Tensor, target: Tensor) -> None:
        """Give the weights the gradient of a batch: of the mean over each head's own pairs.

        After the last of its pairs a block has none, and the optimiser leaves it alone.
        """
        self.weights.grad = (
            loss_gradient(protocol.loss, self.weights, inputs, target) if inputs.shape[1] else None
        )
