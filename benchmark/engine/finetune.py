"""Fine-tuning: backbone and pair head trained together, one unit at a time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from comface_bench.core.errors import UnitError
from comface_bench.core.events import Event, Report
from comface_bench.core.unit import seed_for
from comface_bench.data.pairs import PairList
from comface_bench.engine.checkpoint import Checkpoint
from comface_bench.engine.encoder import Encoder, ImageSource, encode
from comface_bench.engine.heads import mean_loss, pair_loss, predict, score_pairs, start_head
from comface_bench.engine.jobs import Job, Outcome, RunContext, check_finite
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
    machine = source.machine
    reset_peak_memory(machine)
    encoder.to(machine.device).requires_grad_()
    seed = seed_for("head", job.task.seed_name, job.fold, job.seed)
    width = encoder.measure(protocol.image_size)
    head = start_head(protocol.head, protocol.head_start, encoder.own_head(job.task.card.target), width, seed)
    head = head.to(machine.device).requires_grad_()
    optimizer = torch.optim.Adam([*encoder.parameters(), head], lr=protocol.learning_rate, fused=True)
    saved = Checkpoint(checkpoint, key)
    done, spent, curve, speed = 0, 0.0, [], Throughput()
    best, best_epoch = _snapshot(encoder, head), 0
    if (state := saved.load()) is not None:
        encoder.load_state_dict(state["model"])
        with torch.no_grad():
            head.copy_(state["head"])
        optimizer.load_state_dict(state["optimizer"])
        done, spent, curve = state["epoch"], state["seconds"], state["curve"]
        best, best_epoch = state["best"], state["best_epoch"]
        speed = Throughput(state.get("images", 0), state.get("training_seconds", 0.0))
        report(Event("notice", f"{job.label}: going on after epoch {done}"))
    validation = job.task.pairs(job.fold, "validation")
    for epoch in range(done + 1, protocol.epochs + 1):
        with speed.measure(2 * protocol.pairs_per_epoch):
            _train_epoch(job, encoder, head, optimizer, source, epoch, protocol, report)
        predicted = evaluate(encoder, head.detach(), validation, source, protocol)
        loss = mean_loss(protocol.loss, predicted, validation.target)
        check_finite(loss, job.label, epoch)
        if loss < min(curve, default=float("inf")):
            best, best_epoch = _snapshot(encoder, head), epoch
        curve.append(loss)
        saved.save(
            {
                "epoch": epoch,
                "model": encoder.state_dict(),
                "head": head.detach(),
                "optimizer": optimizer.state_dict(),
                "best": best,
                "best_epoch": best_epoch,
                "curve": curve,
                "seconds": spent + time.perf_counter() - started,
                "images": speed.images,
                "training_seconds": speed.seconds,
            }
        )
        report(Event("epoch", epoch=epoch, total=protocol.epochs, value=loss))
    encoder.load_state_dict(best["model"])
    predicted = evaluate(encoder, best["head"], job.task.pairs(job.fold, "test"), source, protocol)
    seconds = spent + time.perf_counter() - started
    facts: dict[str, str | int | float | bool | None] = {"images_per_second": speed.per_second}
    return Outcome(predicted, best_epoch, curve, seconds, peak_memory_mb(machine), facts)


def evaluate(
    encoder: Encoder, weight: Tensor, pairs: PairList, source: ImageSource, protocol: Training
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Score pairs in eval mode, encoding each of their images once; float64 (n,)."""
    encoder.eval()
    rows, places = np.unique(np.concatenate([pairs.x, pairs.y]), return_inverse=True)
    features = encode(encoder, source.plain, rows, source.machine)
    x, y = places[: len(pairs)], places[len(pairs) :]
    return score_pairs(protocol.head, weight.cpu(), features, x, y)


def _train_epoch(
    job: Job,
    encoder: Encoder,
    head: Tensor,
    optimizer: torch.optim.Optimizer,
    source: ImageSource,
    epoch: int,
    protocol: Training,
    report: Report,
) -> None:
    pairs = job.task.draw(job.fold, job.seed, epoch, protocol.pairs_per_epoch)
    stage = f"epoch {epoch}"
    report(Event("stage", stage, fold=job.fold, seed=job.seed, epoch=epoch, total=len(pairs)))
    encoder.train()
    # Dropout and its like draw from torch's own generators: seeded anew each epoch, they are the same
    # whether a unit was interrupted or not.
    device = source.machine.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed_for("dropout", f"{job.task.seed_name}/epoch {epoch}", job.fold, job.seed))
        for start in range(0, len(pairs), protocol.batch_size):
            loss = _step(encoder, head, optimizer, source, pairs, start, epoch, protocol)
            check_finite(loss, job.label, epoch)
            count = min(protocol.batch_size, len(pairs) - start)
            report(Event("progress", stage, epoch=epoch, amount=count, total=len(pairs), value=loss))


def _step(
    encoder: Encoder,
    head: Tensor,
    optimizer: torch.optim.Optimizer,
    source: ImageSource,
    pairs: PairList,
    start: int,
    epoch: int,
    protocol: Training,
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
    epoch: int, start: int, count: int, protocol: Training
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
