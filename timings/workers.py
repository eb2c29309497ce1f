"""Two local workers against one, on small units.

    python timings/workers.py [--pairs 3] [--units 12]

Runs units of `quick` (an untrained ResNet-18 on synth-age, 32 pixels, two epochs of 96 pairs) by two workers
with half of the cores each, by one that has all of them, and by one that has as many as each of the two; in
turn, each into a new results folder. Images are decoded before. Prints the seconds of each by the clock, the
workers' start included, from the begin of the first unit, and of the processor; and medians of the ratios to
two workers. The clock measures other programs of the machine, too. Processor time doesn't: for workers with
half of the cores each, which never wait for each other, it says what a quiet machine's clock would.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from comface_bench.core.processes import divide_cores
from comface_bench.execute.plan import Request
from comface_bench.execute.sweep import make_sweep
from comface_bench.execute.workers import News, run_batches


class Seconds(NamedTuple):
    """What one run took: by the clock, from the first unit's begin, and of the processor for each worker."""

    clock: float
    units: float
    processor: float


ARMS = {"two": (2, 1), "one": (1, 1), "one on half of the cores": (1, 2)}
"""Workers, and how many parts the cores are divided into of which they have one."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--units", type=int, default=12)
    wanted = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COMFACE_CACHE"] = f"{folder}/cache"
        measure("one", 1, Path(folder) / "warm-up")
        for number in range(wanted.pairs):
            # Whoever is second must not always be the same: other work on the machine comes and goes.
            order = list(ARMS) if number % 2 == 0 else list(reversed(ARMS))
            rounds.append(
                {arm: measure(arm, wanted.units, Path(folder) / f"{number}-{arm}") for arm in order}
            )
            for arm, took in rounds[-1].items():
                print(
                    f"{arm}: {took.clock:.1f} s, {took.units:.1f} s without the start,"
                    f" {took.processor:.1f} s of processor time for each worker",
                    flush=True,
                )
    ratios: dict[str, Callable[[Seconds], float]] = {
        "by the clock": lambda took: took.clock,
        "without the start": lambda took: took.units,
        "of processor time for each worker": lambda took: took.processor,
    }
    for arm in list(ARMS)[1:]:
        for what, of in ratios.items():
            ratio = statistics.median(of(each[arm]) / of(each["two"]) for each in rounds)
            print(f"{arm} / two, {what}: {ratio:.2f}")


def measure(arm: str, units: int, results: Path) -> Seconds:
    jobs, parts = ARMS[arm]
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
    began: list[float] = []

    def note(news: News) -> None:
        if news.event is None and news.result is None:
            began.append(time.perf_counter())

    before, start = processor_seconds(), time.perf_counter()
    with divide_cores(parts)[0].held():
        outcomes = run_batches(batches, jobs=jobs, report=note)
    end = time.perf_counter()
    assert sum(len(outcome.done) for outcome in outcomes) == units, outcomes
    return Seconds(end - start, end - began[0], (processor_seconds() - before) / jobs)


def processor_seconds() -> float:
    """Return user and system seconds of the processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
