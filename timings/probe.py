"""`probe`'s ridge at DISFA's size against the form that lists pairs, on the same generated features.

    python timings/probe.py [D]

130,814 images of 27 subjects with 512 features (or D), 12 targets, 3 folds, all strengths. The other form
adds up the outer products of listed differences; it is measured on a million pairs and scaled to all pairs
of the folds' training parts. Prints both times, their ratio, and the peak of the process's memory.
"""

import resource
import sys
import time
from types import SimpleNamespace

import numpy as np

from comface_bench.core.protocol import resolve_protocol
from comface_bench.data.pairs import PairGroup
from comface_bench.data.splits import PARTS
from comface_bench.engine.jobs import Job
from comface_bench.engine.probe import solve_jobs
from comface_bench.tasks.formats.disfa import LABEL_LINES

TARGETS, FOLDS, LISTED = 12, 3, 1_000_000


def main(width: int) -> None:
    random = np.random.default_rng(0)
    counts = list(LABEL_LINES.values())
    ends = np.cumsum(counts)
    rows = [np.arange(end - count, end) for count, end in zip(counts, ends, strict=True)]
    features = random.standard_normal((ends[-1], width))
    sampler = SimpleNamespace(groups=lambda subjects, _: [PairGroup(rows[s]) for s in subjects])
    card = SimpleNamespace(train_pairs="all", test_pairs="all")
    folds = [_fold(number, len(rows)) for number in range(FOLDS)]
    labels = random.integers(0, 6, (TARGETS, ends[-1])).astype(np.float64)
    tasks = [SimpleNamespace(card=card, sampler=sampler, folds=folds, labels=target) for target in labels]
    jobs = [Job(task, fold, 0, "") for task in tasks for fold in range(FOLDS)]  # type: ignore[arg-type]
    start = time.perf_counter()
    solve_jobs(jobs, features, np.arange(ends[-1]), resolve_protocol("probe", "expression"))
    ours = time.perf_counter() - start
    pairs = sum(counts[s] * (counts[s] - 1) // 2 for fold in folds for s in fold.train)
    listed = _seconds_for_listed(features, labels, counts[0]) * pairs / LISTED
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{ours:.1f} s for {len(jobs)} units")
    print(f"{listed / 3600:.1f} h for {pairs:,} listed pairs, {listed / ours:,.0f} times as long")
    print(f"peak memory {memory:.2f} GB")


def _fold(number: int, subjects: int) -> SimpleNamespace:
    parts = {
        part: [s for s in range(subjects) if (s + number) % 3 == place] for place, part in enumerate(PARTS)
    }
    return SimpleNamespace(**parts)


def _seconds_for_listed(features, labels, count: int) -> float:  # type: ignore[no-untyped-def]
    """Add up a million pairs of one subject in pieces, features and targets."""
    i, j = np.triu_indices(count, 1)
    total, right = np.zeros((features.shape[1],) * 2), np.zeros((features.shape[1], TARGETS))
    start = time.perf_counter()
    for piece in range(0, LISTED, 10_000):
        x, y = i[piece : piece + 10_000], j[piece : piece + 10_000]
        difference = features[y] - features[x]
        total += difference.T @ difference
        right += difference.T @ (labels[:, y] - labels[:, x]).T
    return time.perf_counter() - start


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 512)
