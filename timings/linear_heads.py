"""Training steps of `linear`'s heads a second, against heads that each read their own pairs.

    python timings/linear_heads.py

36 heads (twelve targets, three folds) on generated features of DISFA's size, batches of 16 pairs, one thread.
The other form is what one writes first, and what `linear` had: features of each head's pairs gathered by
themselves, one product and sum over (heads, pairs, D), autograd, and the same optimiser. Prints steps in a
second of processor time, and their ratio.
"""

import time

import torch
from disfa_passes import make_tasks
from linear_memory import make_store

from comface_bench.core.protocol import resolve_protocol
from comface_bench.engine.heads import pair_loss, predict
from comface_bench.engine.jobs import Job
from comface_bench.engine.linear import _Heads
from comface_bench.engine.protocols.training import Training

STEPS = 600


def main() -> None:
    jobs = [Job(task, fold, 0, "") for task in make_tasks() for fold in range(len(task.folds))]
    options = {"augmentation": "none", "pairs_per_epoch": str(16 * STEPS)}
    protocol = resolve_protocol("linear", "expression", options)
    assert isinstance(protocol, Training)
    for width in (512, 2048):
        heads = _Heads(jobs, make_store(len(jobs[0].task.table), width, None), protocol)
        heads.train(1)  # encodes
        ours = _seconds(lambda heads=heads: heads.train(1))
        other = _seconds(lambda width=width: _train_apart(jobs, width, protocol))
        print(
            f"D = {width}: {STEPS / ours:,.0f} steps/s, apart {STEPS / other:,.0f},"
            f" {other / ours:.1f} times as fast"
        )


def _train_apart(jobs: list[Job], width: int, protocol: Training) -> None:
    """Train heads on the pairs of as many jobs; which features they read makes no difference to the time."""
    drawn = [job.task.draw(job.fold, job.seed, 1, 16 * STEPS) for job in jobs]
    table = torch.randn(10_000, width)
    x, y = (torch.stack([torch.from_numpy(getattr(pairs, side)) for pairs in drawn]) for side in "xy")
    target = torch.stack([torch.from_numpy(pairs.target).float() for pairs in drawn])
    weights = (torch.randn(len(jobs), width) / width**0.5).requires_grad_()
    optimizer = protocol.build_optimizer([weights])
    for start in range(0, x.shape[1], 16):
        batch = slice(start, start + 16)
        first, second = table[x[:, batch] % 10_000], table[y[:, batch] % 10_000]
        predicted = predict(protocol.head, weights.unsqueeze(1), first, second)
        loss = pair_loss(protocol.loss, predicted, target[:, batch]).mean(dim=1).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _seconds(work) -> float:  # type: ignore[no-untyped-def]
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
