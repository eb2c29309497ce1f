"""Two local workers against one, on small units.

    python timings/workers.py [--pairs 3] [--units 12]

Runs twelve units of `quick` (an untrained ResNet-18 on synth-age, 32 pixels, two epochs of 96 pairs) by one
worker on all cores and by two workers on half of them each, in turn, each into a new results folder; start of
the workers included. Prints the seconds of each pair, and the median of their ratios. Images are decoded
before.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from comface_bench.execute.plan import Request
from comface_bench.execute.sweep import make_sweep
from comface_bench.execute.workers import run_batches


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--units", type=int, default=12)
    wanted = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COMFACE_CACHE"] = f"{folder}/cache"
        measure(1, 1, Path(folder) / "warm-up")
        for pair in range(wanted.pairs):
            # Whoever is second must not always be the same: other work on the machine comes and goes.
            order = (1, 2) if pair % 2 == 0 else (2, 1)
            seconds = {jobs: measure(jobs, wanted.units, Path(folder) / f"{pair}-{jobs}") for jobs in order}
            ratios.append(seconds[1] / seconds[2])
            print(f"one worker {seconds[1]:.1f} s, two {seconds[2]:.1f} s: {ratios[-1]:.2f}", flush=True)
    cores = len(os.sched_getaffinity(0))
    print(
        f"two workers are {statistics.median(ratios):.2f} times as fast as one on {cores} cores; at least 1.7"
    )


def measure(jobs: int, units: int, results: Path) -> float:
    request = Request(
        methods=["scratch+backbone=resnet18"],
        tasks=["synth-age"],
        protocol="quick",
        options={"epochs": "2", "image_size": "32", "pairs_per_epoch": "96"},
        results=results,
        seeds=range(-(-units // 4)),
        device="cpu",
    )
    batches = make_sweep([request]).batches[:units]
    start = time.perf_counter()
    outcomes = run_batches(batches, jobs=jobs, report=lambda _: None)
    seconds = time.perf_counter() - start
    assert sum(len(outcome.done) for outcome in outcomes) == units, outcomes
    return seconds


if __name__ == "__main__":
    main()
