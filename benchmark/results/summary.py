"""A record's summary, from its units and their predictions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from comface_bench.results.schema import Summary
from comface_bench.stats.answers import counted_folds
from comface_bench.stats.metrics import MetricValue, compute_metrics, constant_answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comface_bench.results.predictions import Place
    from comface_bench.results.schema import Failure, TaskInfo, UnitResult



def summarise(
    task: TaskInfo,
    units: Mapping[Place, UnitResult],
    failures: Mapping[Place, Failure],
    texts: Mapping[Place, str],
) -> Summary:
    """Take units together.

    Where seeds have different folds, only the folds that every seed has are counted, so that all numbers
    of a summary are of the same pairs; if there is none in common, all units are.

    Args:
        task: Names the metrics, the number of folds and which aggregate counts.
        units: Finished units by (fold, seed).
        failures: Failed units by (fold, seed).
        texts: The canonical prediction lines of each finished unit.
    """
    seeds = sorted({seed for _, seed in (*units, *failures)})
    done = counted_folds(units, seeds)
    units = {place: unit for place, unit in units.items() if place[0] in done} or units
    columns = {place: _columns(texts[place]) for place in units}
    pooled, constant = [], []
    for seed in sorted({seed for _, seed in units}):
        parts = [columns[place] for place in sorted(units) if place[1] == seed]
        y = [value for part in parts for value in part.y]
        yhat = [value for part in parts for value in part.yhat]
        pooled.append(compute_metrics(y, yhat, task.metrics))
        constant.append(constant_answer(y, task.metrics))
    if task.aggregate == "fold-mean":
        constant = [dict(units[place].constant) for place in sorted(units)]
    return Summary(
        pooled=_mean(task.metrics, pooled),
        fold_mean=_mean(task.metrics, [units[place].metrics for place in sorted(units)]),
        constant=_mean(task.metrics, constant),
        n_pairs=len({pair for part in columns.values() for pair in part.pairs}),
        n_subjects=len({subject for part in columns.values() for subject in part.subjects}),
        folds_done=done,
        seeds=seeds,
        complete=len(done) == task.folds and not failures,
    )


class _Columns(NamedTuple):
    pairs: tuple[str, ...]
    subjects: tuple[str, ...]
    y: list[float]
    yhat: list[float]


def _columns(text: str) -> _Columns:
    pairs, subjects, _, _, y, yhat = zip(*(line.split(",") for line in text.splitlines()), strict=True)
    return _Columns(pairs, subjects, [float(value) for value in y], [float(value) for value in yhat])


def _mean(names: Sequence[str], parts: Sequence[Mapping[str, MetricValue]]) -> dict[str, MetricValue]:
    """Average each metric; one part without a value leaves the mean without one, for the same reason."""
    means = {}
    for name in names:
        values = [part[name] for part in parts]
        missing = next((value.reason for value in values if value.value is None), None)
        if missing is not None or not values:
            means[name] = MetricValue(None, missing or "no finished unit")
        else:
            means[name] = MetricValue(math.fsum(value.value or 0.0 for value in values) / len(values))
    return means
