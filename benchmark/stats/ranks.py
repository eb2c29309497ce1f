"""Ranks of methods across tasks, and how sure they are."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.stats.bootstrap import LEVEL, Interval, Scores, generator, interval_of
from comface_bench.stats.metrics import METRICS, MetricValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

FEWEST_TASKS = 6
FEWEST_METHODS = 3
FEWEST_TO_CORRELATE = 4
"""Methods: three have six orders, so that a perfect agreement would say nothing."""
_ALL_ORDERS_UP_TO, _ORDERS = 8, 9999


@dataclasses.dataclass(frozen=True)
class Standing:
    """A method's standing over all tasks.

    Attributes:
        ranks: Its rank on each task among the methods that have all of them, 1 the best; ties share the
            mean of their ranks. Empty if the method is left out.
        mean_rank: Mean over groups of the mean over each one's tasks; None if the method is left out.
        mean_rank_interval: Of the mean rank, over resamples of subjects.
        rank: Rank of the mean rank, from 1; ties share the mean.
        rank_low, rank_high: Ends of the rank's interval, outwards to whole ranks.
        borda: Borda count: over all tasks, methods that it beats, ties counted half.
        missing: Tasks for which it has no value or was scored on other pairs than most, which leaves it out.
        group_ranks: Mean rank over each group's tasks, by group; empty if the method is left out.
    """

    ranks: Mapping[str, float]
    mean_rank: float | None
    mean_rank_interval: Interval
    rank: float | None
    rank_low: int | None
    rank_high: int | None
    borda: float | None
    missing: tuple[str, ...] = ()
    group_ranks: Mapping[str, float] = dataclasses.field(default_factory=dict)


def rank_methods(
    scores: Mapping[str, Scores], level: float = LEVEL, groups: Mapping[str, str] | None = None
) -> dict[str, Standing]:
    """Rank methods over tasks: each group of tasks counts the same, and within it each task.

    Tasks of one data set vary together over resamples, as their subjects are drawn together; tasks of
    different data sets vary independently.

    Args:
        scores: One metric of each task, by task; it may differ between tasks.
        level: Confidence level of the intervals, in (0, 1).
        groups: Group of each task; one for all by default, so that each task counts the same.

    Returns:
        By method: those that have all tasks by mean rank, then the others as they come.

    Raises:
        ValueError: There is no task, or tasks have different numbers of resamples.
    """
    if len({len(draws) for task in scores.values() for draws in task.draws.values()}) > 1:
        raise ValueError("tasks have different numbers of resamples")
    if not scores:
        raise ValueError("no task to rank on")
    names = list(dict.fromkeys(name for task in scores.values() for name in task.values))
    usual = {task: _usual_pairs(scored) for task, scored in scores.items()}
    missing = {
        name: tuple(
            task
            for task, scored in scores.items()
            if name not in scored.values
            or scored.values[name].value is None
            or scored.pairs[name] != usual[task]
        )
        for name in names
    }
    ranked = [name for name in names if not missing[name]]
    standings = _standings(scores, ranked, level, _Groups(scores, groups)) if ranked else {}
    return standings | {name: unranked(missing[name]) for name in names if missing[name]}


def unranked(missing: Iterable[str]) -> Standing:
    """Return the standing of a method that misses tasks."""
    interval = Interval(None, None, None, "a task is missing")
    return Standing({}, None, interval, None, None, None, None, tuple(missing))


def shared_ranks(values: Vector, *, higher_is_better: bool) -> Vector:
    """Rank along the first axis from 1, the best; ties share the mean of their ranks.

    Args:
        values: Shape (methods, ...); where one is NaN, all ranks of its column are.
        higher_is_better: Direction.
    """
    columns = (-values if higher_is_better else values).reshape(len(values), -1).T
    order = np.argsort(columns, axis=1)
    ascending = np.take_along_axis(columns, order, axis=1)
    # Equal values stand side by side: each takes the mean of the first and the last place of its run.
    place = np.arange(1, len(values) + 1)
    edge = np.ones((len(columns), 1), dtype=bool)
    changes = ascending[:, 1:] != ascending[:, :-1]
    first = np.maximum.accumulate(np.where(np.hstack([edge, changes]), place, 0), axis=1)
    ends = np.where(np.hstack([changes, edge]), place, len(values))
    last = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty(columns.shape)
    np.put_along_axis(ranks, order, (first + last) / 2, axis=1)
    ranks[np.isnan(columns).any(axis=1)] = np.nan
    return ranks.T.reshape(values.shape)


def friedman(standings: Mapping[str, Standing]) -> MetricValue:
    """Return p of Friedman's test that all ranked methods are equally good, corrected for ties.

    There is none for fewer than 6 tasks or 3 methods. Tasks count as independent; where they share people,
    as action units do, p is too small.
    """
    table = _table(standings)
    reason = _too_few(table)
    if reason:
        return MetricValue(None, reason)
    tasks, methods = table.shape
    mean = (methods + 1) / 2
    # Ties shrink the spread within tasks, which the statistic is measured by.
    within = float(np.sum((table - mean) ** 2)) / (tasks * (methods - 1))
    if within == 0:
        return MetricValue(None, "all methods are tied on every task")
    statistic = tasks * float(np.sum((table.mean(axis=0) - mean) ** 2)) / within
    from scipy.special import chdtrc

    return MetricValue(float(chdtrc(methods - 1, statistic)))


def critical_difference(
    standings: Mapping[str, Standing], level: float = LEVEL, groups: Mapping[str, str] | None = None
) -> MetricValue:
    """Return Nemenyi's critical difference: mean ranks that differ by less may be equal (Demšar 2006).

    Where tasks weigh differently, as in groups of different sizes, they count as that number of tasks of one
    weight whose mean varies as much, 1 / Σ weight². There is none for fewer than 6 of them or 3 methods.

    Args:
        standings: As `rank_methods` gives them.
        level: 1 minus the probability of calling equal methods different, in (0, 1).
        groups: As they were given to `rank_methods`.
    """
    table = _table(standings)
    reason = _too_few(table)
    if reason:
        return MetricValue(None, reason)
    methods = table.shape[1]
    tasks = _Groups(next(one.ranks for one in standings.values() if one.ranks), groups).equal_tasks
    if tasks < FEWEST_TASKS:
        return MetricValue(None, f"tasks of unlike weight, worth fewer than {FEWEST_TASKS} of one weight")
    from scipy.stats import studentized_range

    range_quantile = float(studentized_range.ppf(level, methods, np.inf))
    return MetricValue(range_quantile / math.sqrt(2) * math.sqrt(methods * (methods + 1) / (6 * tasks)))


@dataclasses.dataclass(frozen=True)
class RankCorrelation:
    """Agreement of two orders of the same methods.

    Attributes:
        spearman: Correlation of ranks, ties sharing their mean.
        spearman_interval: Over resamples of the people behind both orders; the methods are fixed.
        kendall: Kendall's tau-b.
        kendall_interval: Likewise.
        p: Share of all orders of so many methods that agree or disagree as much by Spearman; None where a
            correlation has no value.
    """

    spearman: MetricValue
    spearman_interval: Interval
    kendall: MetricValue
    kendall_interval: Interval
    p: float | None


def correlate_ranks(first: Vector, second: Vector, level: float = LEVEL) -> RankCorrelation:
    """Correlate two orders of the same methods.

    Both are drawn again in each resample, so the interval says how much depends on the people tested; what
    other methods would do it can't say, which is what p is for. People drawn anew shuffle near methods, so
    resampled correlations are lower on average than that of the orders themselves.

    Args:
        first: What methods are ordered by, shape (n, 1 + R): the value, then the resampled ones, NaN where a
            resample has none.
        second: Likewise, of other people, better in the same direction.
        level: Confidence level of the intervals, in (0, 1).
    """
    ranks = [shared_ranks(values, higher_is_better=False) for values in (first, second)]
    spearman, spearman_interval = _with_interval(_pearson_by_column(*ranks), level)
    kendall, kendall_interval = _with_interval(_kendall_by_column(*ranks), level)
    p = None if spearman.value is None else _share_of_orders(ranks[0][:, 0], ranks[1][:, 0], spearman.value)
    return RankCorrelation(spearman, spearman_interval, kendall, kendall_interval, p)


def _with_interval(found: Vector, level: float) -> tuple[MetricValue, Interval]:
    value, draws = float(found[0]), found[1:]
    if math.isnan(value):
        reason = "all methods are tied"
        return MetricValue(None, reason), Interval(None, None, None, reason)
    return MetricValue(value), interval_of(draws, level)


def _pearson_by_column(first: Vector, second: Vector) -> Vector:
    """Return Pearson's r of each column, shape (columns,); NaN where one doesn't vary."""
    one, other = (values - values.mean(axis=0) for values in (first, second))
    spread = np.sqrt((one**2).sum(axis=0) * (other**2).sum(axis=0))
    return _divide((one * other).sum(axis=0), spread)


def _kendall_by_column(first: Vector, second: Vector) -> Vector:
    """Return Kendall's tau-b of each column, shape (columns,); NaN where one doesn't vary."""
    above, below = np.triu_indices(len(first), 1)
    one, other = (np.sign(values[above] - values[below]) for values in (first, second))
    untied = np.sqrt((one**2).sum(axis=0) * (other**2).sum(axis=0))
    return _divide((one * other).sum(axis=0), untied)


def _divide(numerators: Vector, denominators: Vector) -> Vector:
    quotients = np.full(len(numerators), np.nan)
    np.divide(numerators, denominators, out=quotients, where=denominators > 0)
    return quotients


def _share_of_orders(first: Vector, second: Vector, value: float) -> float:
    """Return the share of orders of methods with a correlation of ranks as far from 0 as `value`."""
    count = len(first)
    if exact := count <= _ALL_ORDERS_UP_TO:
        orders = np.array(list(itertools.permutations(range(count))))
    else:
        raw = generator("orders of methods", str(count)).random_raw((_ORDERS, count))
        orders = np.argsort(raw, axis=1, kind="stable")
    found = _pearson_by_column(np.repeat(first[:, None], len(orders), axis=1), second[orders].T)
    as_far = int(np.count_nonzero(np.abs(found) >= abs(value) - 1e-12))
    return as_far / len(orders) if exact else (as_far + 1) / (len(orders) + 1)


class _Groups:
    """Tasks by group, and means in which each group counts the same.

    Args:
        tasks: In the order that tables of ranks have.
        groups: Group of each; one for all if None.
    """

    def __init__(self, tasks: Iterable[str], groups: Mapping[str, str] | None) -> None:
        self._of = ["" if groups is None else groups[task] for task in tasks]
        self._sizes = Counter(self._of)

    @property
    def equal_tasks(self) -> float:
        """Number of tasks of one weight whose mean rank varies as much."""
        return float(len(self._sizes) ** 2 / sum(Fraction(1, size) for size in self._sizes.values()))

    def mean(self, ranks: Sequence[Vector]) -> Vector:
        """Return the mean over groups of the means within them; shapes are those of one task's ranks.

        Ranks are halves of whole numbers, and the weights are whole: sums are exact, so that equal means
        compare as equal.
        """
        common = math.lcm(*self._sizes.values())
        weighed = (rank * (common // self._sizes[name]) for rank, name in zip(ranks, self._of, strict=True))
        total: Vector = np.sum(list(weighed), axis=0)
        return total / (common * len(self._sizes))

    def means(self, ranks: Sequence[Vector]) -> dict[str, Vector]:
        """Return the mean over the tasks of each group."""
        pairs = list(zip(ranks, self._of, strict=True))
        return {
            group: np.mean([rank for rank, name in pairs if name == group], axis=0) for group in self._sizes
        }


def _standings(
    scores: Mapping[str, Scores], ranked: Sequence[str], level: float, groups: _Groups
) -> dict[str, Standing]:
    ranks, draws = {}, []
    for task, scored in scores.items():
        higher = METRICS[scored.metric].higher_is_better
        values = np.array([scored.values[name].value for name in ranked], dtype=np.float64)
        ranks[task] = shared_ranks(values, higher_is_better=higher)
        resampled = np.stack([scored.draws[name] for name in ranked])
        draws.append(shared_ranks(resampled, higher_is_better=higher))
    means, within = groups.mean(list(ranks.values())), groups.means(list(ranks.values()))
    mean_draws = groups.mean(draws)
    overall = shared_ranks(means, higher_is_better=False)
    overall_draws = shared_ranks(mean_draws, higher_is_better=False)
    found = {}
    for index in np.argsort(means, kind="stable"):
        interval = interval_of(overall_draws[index], level)
        found[ranked[index]] = Standing(
            ranks={task: float(column[index]) for task, column in ranks.items()},
            mean_rank=float(means[index]),
            mean_rank_interval=interval_of(mean_draws[index], level),
            rank=float(overall[index]),
            rank_low=None if interval.low is None else math.floor(interval.low),
            rank_high=None if interval.high is None else math.ceil(interval.high),
            borda=float(sum(len(ranked) - column[index] for column in ranks.values())),
            group_ranks={group: float(column[index]) for group, column in within.items()},
        )
    return found


def _usual_pairs(scored: Scores) -> str | None:
    return Counter(scored.pairs.values()).most_common(1)[0][0] if scored.pairs else None


def _table(standings: Mapping[str, Standing]) -> Vector:
    """Return ranks, shape (tasks, methods), of the methods that have all tasks."""
    return np.array([list(one.ranks.values()) for one in standings.values() if one.ranks]).T


def _too_few(table: Vector) -> str | None:
    if not table.size or table.shape[1] < FEWEST_METHODS:
        return f"fewer than {FEWEST_METHODS} methods have all tasks"
    if table.shape[0] < FEWEST_TASKS:
        return f"fewer than {FEWEST_TASKS} tasks"
    return None
