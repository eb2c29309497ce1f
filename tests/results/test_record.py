"""A record's summary, from its units and their predictions."""

import numpy as np
import pytest
from scipy import stats

from comface_bench.results.predictions import unit_text
from comface_bench.results.record import summarise


def summary_of(made, places, failures=(), **header):
    units, texts = {}, {}
    for fold, seed in places:
        unit, rows = made.run(fold, seed)
        units[fold, seed], texts[fold, seed] = unit, unit_text(rows)
    failed = {(fold, seed): made.failure(fold, seed) for fold, seed in failures}
    return summarise(made.header(**header)[0], units, failed, texts)


def test_pooled_is_per_seed_and_fold_mean_per_unit(made):
    places = [(fold, seed) for seed in (0, 7) for fold in range(4)]
    summary = summary_of(made, places)
    pooled_r, pooled_mae, constant, unit_r = [], [], [], []
    for seed in (0, 7):
        rows = [row for fold in range(4) for row in made.rows(fold, seed)]
        y, yhat = np.array([r.y for r in rows]), np.array([r.yhat for r in rows])
        pooled_r.append(stats.pearsonr(y, yhat).statistic)
        pooled_mae.append(np.abs(y - yhat).mean())
        constant.append(np.abs(y).mean())
        for fold in range(4):
            rows = made.rows(fold, seed)
            unit_r.append(stats.pearsonr([r.y for r in rows], [r.yhat for r in rows]).statistic)
    assert summary.pooled["pearson"].value == pytest.approx(np.mean(pooled_r), abs=1e-13)
    assert summary.pooled["mae"].value == pytest.approx(np.mean(pooled_mae), abs=1e-13)
    assert summary.constant["mae"].value == pytest.approx(np.mean(constant), abs=1e-13)
    assert summary.constant["pearson"].reason == "constant prediction"
    assert summary.fold_mean["pearson"].value == pytest.approx(np.mean(unit_r), abs=1e-13)
    assert summary.complete
    assert (summary.folds_done, summary.seeds) == ([0, 1, 2, 3], [0, 7])
    assert (summary.n_pairs, summary.n_subjects) == (24, 12)


def test_constant_of_a_fold_mean_task_is_the_mean_over_units(made):
    summary = summary_of(made, [(0, 0), (1, 0)], aggregate="fold-mean")
    expected = np.mean([np.mean([abs(row.y) for row in made.rows(fold, 0)]) for fold in (0, 1)])
    assert summary.constant["mae"].value == pytest.approx(expected, abs=1e-13)


def test_what_is_missing_makes_a_summary_incomplete(made):
    one_seed = [(fold, 0) for fold in range(4)]
    assert summary_of(made, one_seed).complete
    assert not summary_of(made, one_seed[:3]).complete
    assert not summary_of(made, one_seed[:3], failures=[(3, 0)]).complete
    two = summary_of(made, [*one_seed, (0, 1)])
    assert not two.complete
    assert two.folds_done == [0]
    assert summary_of(made, one_seed, failures=[(0, 1)]).folds_done == []


def test_nothing_done_says_so(made):
    summary = summary_of(made, [], failures=[(0, 0)])
    assert {value.reason for value in summary.pooled.values()} == {"no finished unit"}
    assert {value.reason for value in summary.fold_mean.values()} == {"no finished unit"}
    assert (summary.n_pairs, summary.folds_done, summary.complete) == (0, [], False)


def test_one_unit_without_a_correlation_leaves_the_mean_without_one(made):
    rows = [row._replace(yhat=0.5) for row in made.rows(0, 0)]
    other = made.rows(1, 0)
    units = {(0, 0): made.unit(0, 0, rows), (1, 0): made.unit(1, 0, other)}
    texts = {(0, 0): unit_text(rows), (1, 0): unit_text(other)}
    summary = summarise(made.header()[0], units, {}, texts)
    assert summary.fold_mean["pearson"].reason == "constant prediction"
    assert summary.pooled["pearson"].value is not None


def test_seeds_of_different_folds_are_compared_on_the_folds_they_share(made):
    """Seed 0 has both folds, seed 1 only fold 0: all numbers are of fold 0."""
    mixed = summary_of(made, [(0, 0), (1, 0), (0, 1)])
    shared = summary_of(made, [(0, 0), (0, 1)])
    assert mixed.folds_done == [0]
    assert mixed == shared
    apart = summary_of(made, [(0, 0), (1, 1)])
    assert apart.folds_done == []
    assert apart.n_pairs == 12
