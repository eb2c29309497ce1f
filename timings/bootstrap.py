"""A board's statistics against a plain loop that repeats rows and computes every metric again.

12 methods on 14 tasks with 2,000 resamples: 12 action units of DISFA's size (27 people, 1,000 pairs each),
age of FG-NET's (82 people, 5,808 pairs) and weight of 40 patients. Both ways give the same numbers
(tests/stats/test_bootstrap.py). Run: python timings/bootstrap.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from comface_bench.stats.bootstrap import Resamples, Scores, score
from comface_bench.stats.metrics import compute_metrics
from comface_bench.stats.predictions import ALL_FOLDS, Part, PredictionSet
from comface_bench.stats.ranks import critical_difference, friedman, rank_methods
from comface_bench.stats.significance import (
    Swaps,
    best_method,
    detectable_difference,
    differences,
    holm,
    swap_tests,
)

METHODS = 12
LOOPED = 4
FACE = ("pearson", "mae", "rmse", "ccc", "icc31")
WEIGHT = ("mae", "pearson", "acc", "rmse", "ccc", "icc31")


def make_task(seed: int, sizes: np.ndarray, levels: int | None = None) -> dict[str, PredictionSet]:
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(len(sizes)), sizes)
    y = rng.normal(size=subject.size)
    if levels is not None:
        y = np.clip(np.round(y * 1.5), -levels, levels)
    answers = {}
    for method in range(METHODS):
        slope = 0.4 + 0.02 * method + rng.normal(0, 0.2, len(sizes))
        yhat = slope[subject] * y + rng.normal(size=subject.size)
        answers[f"method-{method}"] = PredictionSet(
            tuple(range(len(sizes))), {(ALL_FOLDS, 0): Part(subject, y, yhat)}, seed
        )
    return answers


def make_tasks() -> list[tuple[str, dict[str, PredictionSet], tuple[str, ...]]]:
    tasks = [("DISFA", make_task(au, np.full(27, 1000), 5), FACE) for au in range(12)]
    pairs = np.random.default_rng(0).multinomial(5808 - 82, np.full(82, 1 / 82)) + 1
    tasks.append(("FG-NET", make_task(12, pairs), FACE))
    tasks.append(("Edema-A", make_task(13, np.full(40, 12)), WEIGHT))
    return tasks


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def loop(answers: PredictionSet, counts: np.ndarray, names: tuple[str, ...]) -> None:
    for row in counts:
        for part in answers.parts.values():
            times = row[part.subject].astype(int)
            compute_metrics(np.repeat(part.y, times), np.repeat(part.yhat, times), names)


def main() -> None:
    tasks, spent, plain = make_tasks(), {}, 0.0
    primary: dict[str, Scores] = {}
    for index, (data, answers, names) in enumerate(tasks):
        subjects = answers["method-0"].subjects
        resamples = Resamples.draw(subjects, data)
        start = time.perf_counter()
        scores = score(answers, names, resamples)
        spent[f"intervals, {data}"] = spent.get(f"intervals, {data}", 0) + time.perf_counter() - start
        start = time.perf_counter()
        for scored in scores.values():
            best = best_method(scored) or ""
            for method in answers:
                scored.interval(method)
            differences(scored, best)
            differences(scored, "method-11")
            detectable_difference(scored)
        spent["differences"] = spent.get("differences", 0) + time.perf_counter() - start
        start = time.perf_counter()
        swaps = Swaps.draw(subjects, data)
        for tested in swap_tests(answers, names[:3], best_method(scores[names[0]]) or "", swaps).values():
            holm(tested)
        spent["swap tests"] = spent.get("swap tests", 0) + time.perf_counter() - start
        primary[f"{data}-{index}"] = scores[names[0]]
        few = resamples.counts[:LOOPED]
        one = seconds(lambda: loop(answers["method-0"], few, names))  # noqa: B023
        plain += one / LOOPED * len(resamples.counts) * METHODS
    start = time.perf_counter()
    standings = rank_methods(primary)
    friedman(standings), critical_difference(standings)
    spent["ranks"] = time.perf_counter() - start
    for what, took in spent.items():
        print(f"{what:20} {took:6.2f} s")
    intervals = sum(took for what, took in spent.items() if what.startswith("intervals"))
    print(f"{'all':20} {sum(spent.values()):6.2f} s")
    print(f"intervals: a plain loop takes {plain / intervals:.0f} times as long")


if __name__ == "__main__":
    main()
