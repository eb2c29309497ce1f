"""Linear evaluation: a frozen backbone, and all heads trained together on shared features.

Each (image, view) is encoded once for all folds, seeds and targets of a data set. Adam works element
by element and the heads' losses are separate, so training them in one batch gives what training
each alone gives.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from comface_bench.core.errors import UnitError
from comface_bench.core.events import Event, Report
from comface_bench.core.unit import seed_for
from comface_bench.data.pairs import PairList
from comface_bench.engine.checkpoint import Checkpoint
from comface_bench.engine.encoder import Encoder, ImageSource, encode, state_digest
from comface_bench.engine.heads import mean_loss, pair_loss, predict, score_pairs, start_head
from comface_bench.engine.jobs import Job, Outcome, RunContext, check_finite
from comface_bench.engine.precision import Throughput, peak_memory_mb, reset_peak_memory
from comface_bench.engine.protocols.training import Training


def run(jobs: Sequence[Job], context: RunContext) -> list[Outcome | UnitError]:
    """Train the heads of units that share a method and a data set; the function of the protocol's card."""
    protocol = context.protocol
    assert isinstance(protocol, Training)
    # One seed for all folds and repetitions, so that they share each view.
    source = context.images.with_views(protocol.augmentation, seed_for("augment", jobs[0].task.card.data))
    return run_linear(
        jobs, context.encoder, protocol, source, context.report, context.checkpoint, context.key
    )


def run_linear(
    jobs: Sequence[Job],
    encoder: Encoder,
    protocol: Training,
    source: ImageSource,
    report: Report,
    checkpoint: Path | None = None,
    key: str = "",
) -> list[Outcome | UnitError]:
    """Train and test the heads of several units that share encoder, data set and protocol.

    Args:
        jobs: The units; their tasks share one manifest.
        encoder: Frozen; left bit for bit as it was, which is checked.
        protocol: With `trains` = `head`.
        source: Renders the images.
        report: Told of every batch and epoch.
        checkpoint: File that epochs are saved in, and gone on from; None saves nothing.
        key: Of this training, all units and the precision together.

    Returns:
        An outcome for each job in order; a `UnitError` where a head's loss left the finite numbers.

    Raises:
        UnitError: The frozen backbone changed.
    """
    started = time.perf_counter()
    reset_peak_memory(source.machine)
    encoder.eval().requires_grad_(False)
    before = state_digest(encoder)
    validation = [job.task.pairs(job.fold, "validation") for job in jobs]
    test = [job.task.pairs(job.fold, "test") for job in jobs]
    speed = Throughput()
    plain = _SharedFeatures.encode([*validation, *test], encoder, source, None, report, speed)
    width = plain.values.shape[1]
    weights = torch.stack(
        [
            start_head(
                protocol.head,
                protocol.head_start,
                encoder.own_head(job.task.card.target),
                width,
                seed_for("head", job.task.seed_name, job.fold, job.seed),
            )
            for job in jobs
        ]
    ).requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=protocol.learning_rate)
    best = weights.detach().clone()
    best_epoch = [0] * len(jobs)
    curves: list[list[float]] = [[] for _ in jobs]
    done, spent = 0, 0.0
    saved = Checkpoint(checkpoint, key) if checkpoint is not None else None
    if saved is not None and (state := saved.load()) is not None:
        with torch.no_grad():
            weights.copy_(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
        best, best_epoch, curves = state["best"], state["best_epoch"], state["curves"]
        done, spent = state["epoch"], state["seconds"]
        speed.images += state.get("images", 0)
        speed.seconds += state.get("encoding_seconds", 0.0)
        report(Event("notice", f"going on after epoch {done}"))
    for epoch in range(done + 1, protocol.epochs + 1):
        drawn = [job.task.draw(job.fold, job.seed, epoch, protocol.pairs_per_epoch) for job in jobs]
        views = _SharedFeatures.encode(drawn, encoder, source, epoch, report, speed)
        _train_epoch(weights, optimizer, views, drawn, protocol)
        for number, pairs in enumerate(validation):
            weight = weights[number].detach()
            loss = mean_loss(protocol.loss, plain.score(weight, pairs, protocol), pairs.target)
            curves[number].append(loss)
            if loss < min(curves[number][:-1], default=float("inf")):
                best[number], best_epoch[number] = weight, epoch
        if saved is not None:
            saved.save(
                {
                    "epoch": epoch,
                    "weights": weights.detach(),
                    "optimizer": optimizer.state_dict(),
                    "best": best,
                    "best_epoch": best_epoch,
                    "curves": curves,
                    "seconds": spent + time.perf_counter() - started,
                    "images": speed.images,
                    "encoding_seconds": speed.seconds,
                }
            )
        losses = [curve[-1] for curve in curves]
        report(Event("epoch", epoch=epoch, total=protocol.epochs, value=float(np.mean(losses))))
    if state_digest(encoder) != before:
        raise UnitError(f"{encoder.name}: the frozen backbone changed while heads were trained")
    seconds = (spent + time.perf_counter() - started) / len(jobs)
    outcomes: list[Outcome | UnitError] = []
    for number, (job, pairs) in enumerate(zip(jobs, test, strict=True)):
        try:
            for epoch, loss in enumerate(curves[number], start=1):
                check_finite(loss, job.label, epoch)
        except UnitError as error:
            outcomes.append(error)
            continue
        predicted = plain.score(best[number], pairs, protocol)
        memory = peak_memory_mb(source.machine)
        facts: dict[str, str | int | float | bool | None] = {
            "units_sharing_features": len(jobs),
            "images_per_second": speed.per_second,
        }
        outcomes.append(Outcome(predicted, best_epoch[number], curves[number], seconds, memory, facts))
    return outcomes


class _SharedFeatures:
    """Features of the images that some pair lists use, each image encoded once."""

    def __init__(self, values: Tensor, place: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        self.values = values
        self.place = place

    @classmethod
    def encode(
        cls,
        lists: Sequence[PairList],
        encoder: Encoder,
        source: ImageSource,
        view: int | None,
        report: Report,
        speed: Throughput,
    ) -> _SharedFeatures:
        rows = np.unique(np.concatenate([rows for pairs in lists for rows in (pairs.x, pairs.y)]))
        place = np.full(len(source.keys), -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        stage = "encoding" if view is None else f"encoding views of epoch {view}"
        report(Event("stage", stage, epoch=view, total=len(rows)))

        def render(batch: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Tensor:
            if view is None:
                return source.plain(batch)
            return source.augmented(batch, np.full(len(batch), view, dtype=np.int64))

        def tick(count: int) -> None:
            report(Event("progress", stage, amount=count, total=len(rows), epoch=view))

        with speed.measure(len(rows)):
            values = encode(encoder, render, rows, source.machine, tick)
        return cls(values, place)

    def score(
        self, weight: Tensor, pairs: PairList, protocol: Training
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return score_pairs(protocol.head, weight, self.values, self.place[pairs.x], self.place[pairs.y])


def _train_epoch(
    weights: Tensor,
    optimizer: torch.optim.Optimizer,
    views: _SharedFeatures,
    drawn: Sequence[PairList],
    protocol: Training,
) -> None:
    x = torch.from_numpy(np.stack([views.place[pairs.x] for pairs in drawn]))
    y = torch.from_numpy(np.stack([views.place[pairs.y] for pairs in drawn]))
    target = torch.from_numpy(np.stack([pairs.target for pairs in drawn])).float()
    for start in range(0, x.shape[1], protocol.batch_size):
        batch = slice(start, start + protocol.batch_size)
        first, second = views.values[x[:, batch]], views.values[y[:, batch]]
        predicted = predict(protocol.head, weights.unsqueeze(1), first, second)
        # The mean over each head's own pairs, summed over heads: gradients of heads are separate.
        loss = pair_loss(protocol.loss, predicted, target[:, batch]).mean(dim=1).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
