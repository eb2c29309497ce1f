"""Ranks across tasks against SciPy, published tables and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from comface_bench.stats.bootstrap import Scores
from comface_bench.stats.metrics import MetricValue
from comface_bench.stats.ranks import critical_difference, friedman, rank_methods, shared_ranks


def make_scores(values, draws=None, metric="mae", pairs=None, size=50):
    """Scores of methods a, b, c…; by default every resample is like the sample."""
    names = [chr(ord("a") + index) for index in range(len(values))]
    known = {n: MetricValue(None, "constant prediction") if v is None else MetricValue(v) for n, v in
             zip(names, values, strict=True)}  # fmt: skip
    if draws is None:
        draws = [np.full(size, np.nan if value is None else value) for value in values]
    return Scores(
        metric=metric,
        values=known,
        draws=dict(zip(names, draws, strict=True)),
        left_out={name: np.zeros(5) for name in names},
        pairs=dict.fromkeys(names, 1) if pairs is None else dict(zip(names, pairs, strict=True)),
        reasons={},
    )


def standings_of(table):
    return rank_methods({str(index): make_scores(row) for index, row in enumerate(table)})


def test_by_hand():
    found = rank_methods(
        {
            "error": make_scores([1.0, 2.0, 2.0, 3.0]),  # ranks 1, 2.5, 2.5, 4
            "r": make_scores([0.9, 0.5, 0.95, 0.1], metric="pearson"),  # ranks 2, 3, 1, 4
        }
    )
    assert list(found) == ["a", "c", "b", "d"]
    assert found["b"].ranks == {"error": 2.5, "r": 3.0}
    assert {name: one.mean_rank for name, one in found.items()} == {"a": 1.5, "c": 1.75, "b": 2.75, "d": 4}
    # Borda: a beats 3 and 2; c beats 1, ties with b, and beats 3.
    assert {name: one.borda for name, one in found.items()} == {"a": 5, "c": 4.5, "b": 2.5, "d": 0}
    assert {name: one.rank for name, one in found.items()} == {"a": 1, "c": 2, "b": 3, "d": 4}
    assert (found["a"].mean_rank_interval.low, found["a"].rank_low, found["a"].rank_high) == (1.5, 1, 1)


def test_equal_mean_ranks_share_a_rank():
    found = standings_of([[1.0, 2.0, 9.0], [2.0, 1.0, 9.0]])
    assert [one.rank for one in found.values()] == [1.5, 1.5, 3]
    assert (found["a"].rank_low, found["a"].rank_high) == (1, 2)


def test_a_method_without_a_task_stays_out():
    missing = make_scores([1.0, 2.0, None, 4.0])
    elsewhere = make_scores([1.0, 2.0, 3.0, 4.0], pairs=[1, 1, 1, 2])
    absent = make_scores([1.0, 2.0])
    full = make_scores([3.0, 1.0, 2.0, 0.5])
    found = rank_methods({"full": full, "missing": missing, "elsewhere": elsewhere, "absent": absent})
    assert found["c"].missing == ("missing", "absent")
    assert found["d"].missing == ("elsewhere", "absent")
    assert (found["c"].mean_rank, found["c"].borda, found["c"].rank, found["c"].ranks) == (
        None,
        None,
        None,
        {},
    )
    assert found["c"].mean_rank_interval.reason == "a task is missing"
    # The others are ranked among themselves: on `full`, a and b are 2nd and 1st, though c and d have values.
    assert found["a"].ranks == {"full": 2, "missing": 1, "elsewhere": 1, "absent": 1}
    assert found["a"].borda == 3
    only = rank_methods({"full": make_scores([None, None])})
    assert all(one.mean_rank is None for one in only.values())


def test_intervals_are_taken_over_resamples():
    rng = np.random.default_rng(0)
    # a beats b in 90 % of the resamples of each task, c is always last.
    a, b = np.zeros(2000), np.where(np.arange(2000) % 10, 1.0, -1.0)
    tasks = {
        str(index): make_scores([0.0, 1.0, 5.0], [a, rng.permutation(b), np.full(2000, 5.0)])
        for index in range(4)
    }
    found = rank_methods(tasks)
    mean_rank = 1 + rng.binomial(4, 0.1, size=2000) / 4
    interval = found["a"].mean_rank_interval
    assert (interval.low, interval.high) == tuple(np.quantile(mean_rank, [0.025, 0.975]))
    assert interval.error == pytest.approx(np.sqrt(4 * 0.1 * 0.9) / 4, rel=0.07)
    assert (found["c"].rank_low, found["c"].rank_high) == (3, 3)
    assert (found["a"].rank_low, found["a"].rank_high) == (1, 2)


def test_tasks_on_the_same_resamples_add_no_certainty():
    rng = np.random.default_rng(3)
    draws = [rng.normal(size=2000), 0.3 + rng.normal(size=2000)]
    one = rank_methods({"au1": make_scores([0.0, 0.3], draws)})
    same = rank_methods({f"au{index}": make_scores([0.0, 0.3], draws) for index in range(12)})
    apart = rank_methods(
        {f"au{k}": make_scores([0.0, 0.3], [rng.permutation(column) for column in draws]) for k in range(12)}
    )
    assert same["a"].mean_rank_interval == one["a"].mean_rank_interval
    assert apart["a"].mean_rank_interval.error < 0.4 * one["a"].mean_rank_interval.error


def test_resamples_without_a_value_are_left_out():
    draws = np.arange(100.0)
    draws[:4] = np.nan
    found = rank_methods({"t": make_scores([0.0, 1.0], [draws, draws + 1])})
    assert found["b"].mean_rank_interval.without == 4
    assert found["b"].mean_rank_interval.low == 2
    draws[:6] = np.nan
    found = rank_methods({"t": make_scores([0.0, 1.0], [draws, draws + 1])})
    assert (found["b"].mean_rank, found["b"].mean_rank_interval.low, found["b"].rank_low) == (2, None, None)


@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=6))
def test_shared_ranks_are_scipys(columns):
    values = np.array(columns, dtype=float).T
    assert shared_ranks(values, higher_is_better=False).tolist() == stats.rankdata(values, axis=0).tolist()
    assert shared_ranks(values, higher_is_better=True).tolist() == stats.rankdata(-values, axis=0).tolist()


@pytest.mark.parametrize("ties", [False, True])
def test_friedman_is_scipys(ties):
    table = np.random.default_rng(7).normal(size=(12, 5)) + np.linspace(0, 1, 5)
    table = np.round(table) if ties else table
    found = friedman(standings_of(table.tolist()))
    assert found.value == pytest.approx(stats.friedmanchisquare(*table.T).pvalue, rel=1e-10)
    assert 0 < found.value < 0.3


# Demšar (JMLR 7, 2006), Table 5(a): q at 0.05 for Nemenyi's test.
@pytest.mark.parametrize(("methods", "q"), [(3, 2.343), (5, 2.728), (8, 3.031), (10, 3.164)])
def test_nemenyis_critical_difference_is_demsars(methods, q):
    standings = standings_of(np.random.default_rng(1).normal(size=(14, methods)).tolist())
    expected = q * np.sqrt(methods * (methods + 1) / (6 * 14))
    assert critical_difference(standings).value == pytest.approx(expected, rel=5e-4)


def test_few_tasks_or_methods_have_no_test():
    five = standings_of(np.random.default_rng(1).normal(size=(5, 4)).tolist())
    assert friedman(five).reason == critical_difference(five).reason == "fewer than 6 tasks"
    two = standings_of(np.random.default_rng(1).normal(size=(9, 2)).tolist())
    assert friedman(two).reason == critical_difference(two).reason == "fewer than 3 methods have all tasks"
    none = rank_methods({"t": make_scores([None, None])})
    assert friedman(none).reason == "fewer than 3 methods have all tasks"
    tied = standings_of([[1.0, 1.0, 1.0]] * 6)
    assert friedman(tied).reason == "all methods are tied on every task"


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(ValueError, match="no task"):
        rank_methods({})
    with pytest.raises(ValueError, match="different numbers of resamples"):
        rank_methods({"a": make_scores([1.0], size=10), "b": make_scores([1.0], size=11)})
