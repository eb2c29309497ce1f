"""`probe`'s ridge at DISFA's size against the form that lists pairs, on the same generated features.

    python timings/probe.py [D]

130,814 images of 27 subjects with 512 features (or D), 12 targets, 3 folds, all strengths. The other form
is that of a script: for each unit it adds up the products of listed differences and scores the listed
validation pairs under all strengths; it is measured on a million pairs and scaled to all pairs of all units.
Prints both times, their ratio, and the peak of the process's memory.
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
from comface_bench.engine.ridge import STRENGTHS
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
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    learning, validating = _seconds_for_listed(features, labels[0], counts[0])
    trained, validated = (TARGETS * _pairs(counts, folds, part) for part in ("train", "validation"))
    listed = (learning * trained + validating * validated) / LISTED
    print(f"{ours:.1f} s for {len(jobs)} units, peak memory {memory:.2f} GB")
    print(f"{listed / 3600:.1f} h unit by unit, {trained:,} pairs to learn from: {listed / ours:,.0f} times")


def _pairs(counts, folds, part: str) -> int:  # type: ignore[no-untyped-def]
    return sum(counts[s] * (counts[s] - 1) // 2 for fold in folds for s in getattr(fold, part))


def _fold(number: int, subjects: int) -> SimpleNamespace:
    parts = {
        part: [s for s in range(subjects) if (s + number) % 3 == place] for place, part in enumerate(PARTS)
    }
    return SimpleNamespace(**parts)


def _seconds_for_listed(features, labels, count: int) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """Seconds that one unit takes for a million pairs: to learn from them, and to validate all strengths."""
    i, j = np.triu_indices(count, 1)
    width = features.shape[1]
    total, right, weights = np.zeros((width, width)), np.zeros(width), np.zeros((width, len(STRENGTHS)))
    learning = validating = 0.0
    for piece in range(0, LISTED, 10_000):
        x, y = i[piece : piece + 10_000], j[piece : piece + 10_000]
        start = time.perf_counter()
        difference, target = features[y] - features[x], labels[y] - labels[x]
        total += difference.T @ difference
        right += difference.T @ target
        between = time.perf_counter()
        np.abs((features[y] - features[x]) @ weights - target[:, None]).sum(axis=0)
        validating += time.perf_counter() - between
        learning += between - start
    return learning, validating


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 512)
