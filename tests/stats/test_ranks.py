"""Ranks across tasks against SciPy, published tables and by hand."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from comface_bench.stats.bootstrap import Scores
from comface_bench.stats.metrics import MetricValue
from comface_bench.stats.ranks import (
    correlate_ranks,
    critical_difference,
    friedman,
    rank_methods,
    shared_ranks,
)


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


# Groups of tasks.


def loop_over_groups(table, groups):
    """Mean over groups of the mean rank within each, rank by rank; `table` is tasks × methods."""
    found = []
    for method in range(len(table[0])):
        means = []
        for group in sorted(set(groups)):
            total, count = 0.0, 0
            for values, own in zip(table, groups, strict=True):
                if own == group:
                    below = sum(1.0 for value in values if value < values[method])
                    same = sum(1.0 for value in values if value == values[method])
                    total, count = total + below + (same + 1.0) / 2.0, count + 1
            means.append(total / count)
        found.append((sum(means) / len(means), means))
    return found


@pytest.mark.parametrize("higher_is_better", [False, True])
def test_groups_count_the_same_as_a_plain_loop_says(higher_is_better):
    rng = np.random.default_rng(11)
    groups = ["u"] * 7 + ["v"] * 3 + ["w"]
    values = rng.integers(0, 5, size=(11, 4)).astype(float)
    draws = rng.integers(0, 5, size=(11, 4, 60)).astype(float)
    order = rng.permutation(11)
    metric, sign = ("pearson", -1) if higher_is_better else ("mae", 1)
    scores = {f"t{t}": make_scores(values[t].tolist(), list(draws[t]), metric) for t in order}
    found = rank_methods(scores, groups={f"t{t}": groups[t] for t in range(11)})
    overall = loop_over_groups((sign * values).tolist(), groups)
    resampled = np.array(
        [[mean for mean, _ in loop_over_groups((sign * draws[..., r]).tolist(), groups)] for r in range(60)]
    )
    assert sorted(found) == ["a", "b", "c", "d"]
    for index, name in enumerate("abcd"):
        standing, (mean, within) = found[name], overall[index]
        assert standing.mean_rank == pytest.approx(mean, abs=1e-12)
        assert standing.group_ranks == pytest.approx(dict(zip("uvw", within, strict=True)), abs=1e-12)
        ends = np.quantile(resampled[:, index], [0.025, 0.975])
        interval = standing.mean_rank_interval
        assert (interval.low, interval.high) == pytest.approx(tuple(ends), abs=1e-12)
        assert interval.error == pytest.approx(resampled[:, index].std(ddof=1), rel=1e-9)
    places = stats.rankdata(np.round([mean for mean, _ in overall], 9))
    assert [found[name].rank for name in "abcd"] == places.tolist()


def test_twelve_tasks_of_one_group_do_not_outvote_two_others():
    """a is best on twelve action units, b on age and on weight."""
    scores = {f"au{k}": make_scores([1.0, 2.0]) for k in range(12)}
    scores |= {"age": make_scores([2.0, 1.0]), "weight": make_scores([2.0, 1.0])}
    alone = rank_methods(scores)
    assert list(alone) == ["a", "b"]
    assert [one.mean_rank for one in alone.values()] == [16 / 14, 26 / 14]
    assert all(set(one.group_ranks) == {""} for one in alone.values())
    groups = dict.fromkeys(scores, "expression") | {"age": "age", "weight": "weight"}
    shared = rank_methods(scores, groups=groups)
    assert list(shared) == ["b", "a"]
    assert [one.mean_rank for one in shared.values()] == [4 / 3, 5 / 3]
    assert shared["a"].group_ranks == {"expression": 1, "age": 2, "weight": 2}
    assert (shared["b"].rank, shared["b"].rank_low, shared["b"].rank_high) == (1, 1, 1)
    assert (shared["b"].mean_rank_interval.low, shared["b"].mean_rank_interval.high) == (4 / 3, 4 / 3)
    assert shared["a"].borda == alone["a"].borda == 12


def test_groups_of_one_size_count_as_tasks_do():
    rng = np.random.default_rng(5)
    scores = {
        f"t{k}": make_scores(rng.normal(size=3).tolist(), list(rng.normal(size=(3, 50)))) for k in range(8)
    }
    plain = rank_methods(scores)
    paired = rank_methods(scores, groups={f"t{k}": str(k % 2) for k in range(8)})
    for name, one in plain.items():
        assert (paired[name].mean_rank, paired[name].rank) == (one.mean_rank, one.rank)
        assert paired[name].mean_rank_interval == one.mean_rank_interval


def test_equal_means_over_groups_share_a_place_though_their_quotients_round_apart():
    rng = np.random.default_rng(8)
    groups = ["u"] * 3 + ["v"] * 6 + ["w"] * 3
    ties = rounded_apart = 0
    for _ in range(60):
        table = rng.permuted(np.tile(np.arange(1.0, 6.0), (12, 1)), axis=1)
        found = rank_methods(
            {str(k): make_scores(row.tolist(), size=2) for k, row in enumerate(table)},
            groups={str(k): group for k, group in enumerate(groups)},
        )
        exact = [
            sum(sum(map(Fraction, table[np.array(groups) == g, m])) / groups.count(g) for g in "uvw")
            for m in range(5)
        ]
        order = {value: place for place, value in enumerate(sorted(set(exact)))}
        places = stats.rankdata([order[value] for value in exact])
        assert [found[name].rank for name in "abcde"] == places.tolist()
        ties += len(set(exact)) < 5
        naive = [mean for mean, _ in loop_over_groups(table.tolist(), groups)]
        rounded_apart += len(set(naive)) > len(set(exact))
    assert ties > 20
    assert rounded_apart > 0, "as means of means some of these ties would be lost"


def test_a_method_that_misses_a_task_of_a_group_stays_out():
    scores = {
        "au1": make_scores([1.0, 2.0, 0.5]),
        "au2": make_scores([1.0, 2.0]),
        "age": make_scores([2.0, 1.0]),
    }
    found = rank_methods(scores, groups={"au1": "expression", "au2": "expression", "age": "age"})
    assert (found["c"].missing, found["c"].mean_rank, found["c"].group_ranks) == (("au2", "age"), None, {})
    assert found["a"].mean_rank == found["b"].mean_rank == 1.5


def test_the_critical_difference_is_of_the_tasks_weights():
    """Simulated: the difference of two mean ranks of equal methods has the variance that it is made of."""
    rng = np.random.default_rng(2)
    table = rng.normal(size=(18, 4))
    standings = standings_of(table.tolist())
    halves = {str(k): "u" if k < 12 else "v" for k in range(18)}
    expected = 2.569 * np.sqrt(4 * 5 / (6 * 16))  # Demšar's q for four methods; 4 / (1/12 + 1/6) = 16 tasks.
    assert critical_difference(standings, groups=halves).value == pytest.approx(expected, rel=5e-4)
    ranks = np.argsort(np.argsort(rng.normal(size=(4000, 18, 4)), axis=2), axis=2)
    means = (ranks[:, :12].mean(axis=1) + ranks[:, 12:].mean(axis=1)) / 2
    assert (means[:, 0] - means[:, 1]).var() == pytest.approx(4 * 5 / (6 * 16), rel=0.1)
    unlike = {str(k): "u" if k < 16 else str(k) for k in range(18)}
    assert "worth fewer than 6 of one weight" in critical_difference(standings, groups=unlike).reason


def test_correlations_of_ranks_are_scipys():
    draw = np.random.default_rng(0)
    for count in (4, 7, 12):
        # Few distinct values, so that there are ties.
        first, second = (draw.integers(0, 5, (count, 30)).astype(float) for _ in range(2))
        first[0], second[0] = 9, 9
        found = correlate_ranks(first, second)
        for column in range(30):
            one = correlate_ranks(first[:, column : column + 1], second[:, column : column + 1])
            expected = stats.spearmanr(first[:, column], second[:, column]).statistic
            assert one.spearman.value == pytest.approx(expected)
            expected = stats.kendalltau(first[:, column], second[:, column]).statistic
            assert one.kendall.value == pytest.approx(expected)
        resampled = [stats.spearmanr(first[:, i], second[:, i]).statistic for i in range(1, 30)]
        assert found.spearman_interval.low == pytest.approx(np.quantile(resampled, 0.025))
        resampled = [stats.kendalltau(first[:, i], second[:, i]).statistic for i in range(1, 30)]
        assert found.kendall_interval.high == pytest.approx(np.quantile(resampled, 0.975))


def test_the_share_of_orders_is_that_of_a_permutation_test():
    first = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    second = np.array([2.0, 1.0, 3.0, 5.0, 4.0])
    expected = stats.permutation_test(
        (second,),
        lambda x: stats.spearmanr(first, x).statistic,
        permutation_type="pairings",
        vectorized=False,
    )
    assert correlate_ranks(first[:, None], second[:, None]).p == pytest.approx(expected.pvalue)
    # Four methods in the same order: two of 24 orders are as extreme.
    assert correlate_ranks(first[:4, None], first[:4, None]).p == pytest.approx(2 / 24)
    many = np.arange(12.0)[:, None]
    assert correlate_ranks(many, many).p == pytest.approx(1 / 10_000)


def test_a_correlation_of_equal_ranks_has_no_value():
    flat, rising = np.ones((4, 3)), np.arange(12.0).reshape(4, 3)
    found = correlate_ranks(flat, rising)
    assert (found.spearman.value, found.kendall.value, found.p) == (None, None, None)
    assert found.spearman.reason == "all methods are tied"
    lost = rising.copy()
    lost[2, 1:] = np.nan
    found = correlate_ranks(rising, lost)
    assert found.spearman.value == 1.0
    assert found.spearman_interval.low is None
