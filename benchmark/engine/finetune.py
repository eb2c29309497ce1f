"""Fine-tuning: backbone and pair head trained together, one unit at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from comface_bench.core.events import Event, Report
from comface_bench.core.protocol import Protocol
from comface_bench.core.seeds import seed_for
from comface_bench.data.pairs import PairList
from comface_bench.data.task import Task
from comface_bench.engine.checkpoint import TrainingState, load_state, save_state
from comface_bench.engine.encoder import Encoder
from comface_bench.engine.features import ImageSource, encode
from comface_bench.engine.heads import draw_head, pair_loss, predict
from comface_bench.engine.outcome import Outcome, check_finite, peak_memory_mb, score_pairs

SAVE_INTERVAL_S = 20.0
"""Seconds between two saved epochs: what a kill can cost, beside the epoch in progress."""


@dataclass(frozen=True)
class FineTuneJob:
    """A unit to fine-tune.

    Attributes:
        key: The unit's key; a checkpoint of another key is never resumed.
        checkpoint: Where epochs are saved.
    """

    task: Task
    fold: int
    seed: int
    key: str
    label: str
    checkpoint: Path


def run_finetune(
    job: FineTuneJob, encoder: Encoder, protocol: Protocol, source: ImageSource, report: Report
) -> Outcome:
    """Train and test one unit, going on from its last saved epoch if there is one.

    Args:
        job: The unit.
        encoder: Freshly built; trained in place.
        protocol: With `trains` = `backbone`.
        source: Renders the images.
        report: Told of every batch and epoch.

    Raises:
        UnitError: The loss left the finite numbers.
    """
    started = saved = time.perf_counter()
    machine = source.machine
    encoder.to(machine.device).requires_grad_()
    head = _start(job, encoder, protocol).to(machine.device).requires_grad_()
    optimizer = torch.optim.Adam([*encoder.parameters(), head], lr=protocol.learning_rate, fused=True)
    state = load_state(job.checkpoint, job.key)
    if state is None:
        state = TrainingState(0, {}, head, {}, _snapshot(encoder, head), 0, [], 0.0)
    else:
        encoder.load_state_dict(state.model)
        with torch.no_grad():
            head.copy_(state.head)
        optimizer.load_state_dict(state.optimizer)
        report(Event("notice", f"{job.label}: going on after epoch {state.epoch}"))
    validation = job.task.pairs(job.fold, "validation")
    spent = state.seconds
    for epoch in range(state.epoch + 1, protocol.epochs + 1):
        pairs = job.task.draw(job.fold, job.seed, epoch, protocol.pairs_per_epoch)
        report(Event("stage", f"epoch {epoch}", fold=job.fold, seed=job.seed, epoch=epoch, total=len(pairs)))
        encoder.train()
        for start in range(0, len(pairs), protocol.batch_size):
            loss = _step(encoder, head, optimizer, source, pairs, start, epoch, protocol)
            check_finite(loss, job.label, epoch)
            done = min(protocol.batch_size, len(pairs) - start)
            report(
                Event("progress", f"epoch {epoch}", epoch=epoch, amount=done, total=len(pairs), value=loss)
            )
        predicted = evaluate(encoder, head.detach(), validation, source, protocol)
        target = torch.from_numpy(validation.target)
        validation_loss = float(pair_loss(protocol.loss, torch.from_numpy(predicted), target).mean())
        check_finite(validation_loss, job.label, epoch)
        if validation_loss < min(state.curve, default=float("inf")):
            state.best, state.best_epoch = _snapshot(encoder, head), epoch
        state.curve.append(validation_loss)
        state.epoch, state.model, state.head = epoch, encoder.state_dict(), head.detach()
        state.optimizer = optimizer.state_dict()
        state.seconds = spent + time.perf_counter() - started
        if time.perf_counter() - saved >= SAVE_INTERVAL_S:
            save_state(state, job.checkpoint, job.key)
            saved = time.perf_counter()
        report(Event("epoch", epoch=epoch, total=protocol.epochs, value=validation_loss))
    encoder.load_state_dict(state.best["model"])
    predicted = evaluate(encoder, state.best["head"], job.task.pairs(job.fold, "test"), source, protocol)
    return Outcome(
        predicted,
        state.best_epoch,
        state.curve,
        spent + time.perf_counter() - started,
        peak_memory_mb(machine),
    )


def evaluate(
    encoder: Encoder, weight: Tensor, pairs: PairList, source: ImageSource, protocol: Protocol
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Score pairs in eval mode, encoding each of their images once; float64 (n,)."""
    encoder.eval()
    rows, places = np.unique(np.concatenate([pairs.x, pairs.y]), return_inverse=True)
    features = encode(encoder, source.plain, rows, source.machine)
    x, y = places[: len(pairs)], places[len(pairs) :]
    return score_pairs(protocol.head, weight.cpu(), features, x, y)


def _start(job: FineTuneJob, encoder: Encoder, protocol: Protocol) -> Tensor:
    if protocol.head_start == "pretrained":
        assert encoder.head_weight is not None
        return encoder.head_weight.detach().float().clone()
    feature_dim = encoder.measure(protocol.image_size)
    return draw_head(protocol.head, feature_dim, seed_for("head", job.task.card.name, job.fold, job.seed))


def _step(
    encoder: Encoder,
    head: Tensor,
    optimizer: torch.optim.Optimizer,
    source: ImageSource,
    pairs: PairList,
    start: int,
    epoch: int,
    protocol: Protocol,
) -> float:
    batch = slice(start, start + protocol.batch_size)
    rows = np.concatenate([pairs.x[batch], pairs.y[batch]])
    half = len(rows) // 2
    images = source.augmented(rows, view_numbers(epoch, start, half, protocol))
    with source.machine.autocast():
        features = encoder(images)
    predicted = predict(protocol.head, head, features[:half], features[half:])
    target = torch.from_numpy(pairs.target[batch]).to(predicted)
    loss = pair_loss(protocol.loss, predicted, target).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())


def view_numbers(
    epoch: int, start: int, count: int, protocol: Protocol
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Number the views of a batch's images: first those of x, then those of y, int64 (2 · count,).

    With `views` = `pair` no two images of a run share a number, so x and y, and one image in two
    pairs, draw independently. With `views` = `epoch` all images of an epoch share its number.
    """
    if protocol.views == "epoch":
        return np.full(2 * count, epoch, dtype=np.int64)
    positions = 2 * np.arange(start, start + count, dtype=np.int64)
    return (np.int64(epoch) << 32) + np.concatenate([positions, positions + 1])


def _snapshot(encoder: Encoder, head: Tensor) -> dict[str, Any]:
    copied = {name: tensor.detach().clone() for name, tensor in encoder.state_dict().items()}
    return {"model": copied, "head": head.detach().clone()}
