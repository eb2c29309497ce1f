"""Bootstrap by subject against repeated rows, SciPy, closed forms and a simulation of its coverage."""

import math
import sys
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from comface_bench.core.errors import UnknownNameError
from comface_bench.results.predictions import Prediction, unit_text
from comface_bench.results.record import summarise
from comface_bench.stats.bootstrap import Resamples, interval_of, score
from comface_bench.stats.metrics import METRICS, compute_metrics, no_change_baseline
from comface_bench.stats.predictions import ALL_FOLDS, Part, PredictionSet
from comface_bench.stats.weighted import is_resampled, matmul, needed_sums, reason_of, weighted_metrics

NAMES = [name for name in METRICS if is_resampled(name)]


def make_rows(subject, y, yhat, fold=None, seed=0):
    folds = [0] * len(y) if fold is None else fold
    columns = zip(subject, folds, y, yhat, strict=True)
    return [
        Prediction(f"p{i}", int(s), int(f), seed, float(a), float(b))
        for i, (s, f, a, b) in enumerate(columns)
    ]


def answers_of(subject, y, yhat, aggregate="pooled"):
    return PredictionSet.of(make_rows(subject, y, yhat), aggregate)


def repeated(rows, subjects, weights):
    """Repeat each row as often as its subject is drawn."""
    times = dict(zip(subjects, weights, strict=True))
    return [row for row in rows for _ in range(int(times[row.subject]))]


def looped(rows, subjects, weights, aggregate, name):
    """The metric of the repeated rows by its definition: a mean over parts, None if one has no value."""
    parts = {}
    for row in rows:
        parts.setdefault((row.seed if aggregate == "pooled" else (row.fold, row.seed)), []).append(row)
    values = []
    for part in parts.values():
        again = repeated(part, subjects, weights)
        y, yhat = [row.y for row in again], [row.yhat for row in again]
        values.append(compute_metrics(y, yhat, [name])[name].value)
    return None if None in values else math.fsum(values) / len(values)


def interval_by_loop(subject, y, yhat, name, size, seed):
    """Percentiles over resampled subjects, with nothing of the product but the metric itself."""
    rng = np.random.default_rng(seed)
    of = [np.flatnonzero(subject == number) for number in np.unique(subject)]
    values = []
    for _ in range(size):
        rows = np.concatenate([of[k] for k in rng.integers(0, len(of), len(of))])
        values.append(compute_metrics(y[rows], yhat[rows], [name])[name].value)
    return np.quantile(values, [0.025, 0.975]), np.std(values)


@pytest.mark.parametrize("aggregate", ["pooled", "fold-mean"])
@pytest.mark.parametrize("kind", ["plain", "ties", "offset", "constant subjects", "few pairs"])
def test_every_resample_equals_the_metrics_of_the_repeated_rows(kind, aggregate):
    rng = np.random.default_rng([3, *kind.encode()])
    for subjects in (1, 2, 3, 6, 11):
        rows, size = [], {"few pairs": 3}.get(kind, 25)
        for seed in (0, 4):
            subject = rng.integers(0, subjects, size=size * 2) + 5
            y = rng.normal(size=len(subject))
            yhat = 0.5 * y + rng.normal(size=len(subject))
            if kind == "ties":
                y, yhat = np.round(y), np.round(yhat)
            if kind == "offset":
                y, yhat = y + 1e6, yhat * 1e-3 - 1e4
            if kind == "constant subjects":
                yhat = np.where(subject % 2, 1.5, subject // 4)
            rows += make_rows(subject, y, yhat, subject % 2, seed)
        given_answers = PredictionSet.of(rows, aggregate)
        resamples = Resamples.draw(given_answers.subjects, kind, 40)
        draws = score({"m": given_answers}, NAMES, resamples)
        for name in NAMES:
            expected = [looped(rows, resamples.subjects, w, aggregate, name) for w in resamples.counts]
            found = draws[name].draws["m"]
            assert [value is None for value in expected] == np.isnan(found).tolist()
            defined = [value for value in expected if value is not None]
            np.testing.assert_allclose(found[~np.isnan(found)], defined, rtol=1e-10, atol=1e-10)
            ones = looped(rows, resamples.subjects, [1] * len(given_answers.subjects), aggregate, name)
            assert draws[name].values["m"].value == (
                None if ones is None else pytest.approx(ones, rel=1e-12, abs=1e-12)
            )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), *[st.floats(-9, 9) | st.integers(-2, 2)] * 2), min_size=2, max_size=25
    ),
    st.integers(-900, 900),
    st.lists(st.integers(0, 3), min_size=4, max_size=4),
)
def test_any_numbers_at_any_scale(table, exponent, weights):
    subject, y, yhat = (np.array(column, dtype=float) for column in zip(*table, strict=True))
    # Below this a square of a difference has no digits left at that scale, in any order of summing.
    y, yhat = np.round(y, 6), np.round(yhat, 6)
    y, yhat = np.ldexp(y, exponent), np.ldexp(yhat, exponent)
    rows = make_rows(subject, y, yhat)
    given_answers = PredictionSet.of(rows, "pooled")
    row = np.array([[weights[number] for number in given_answers.subjects]], dtype=float)
    found = weighted_metrics(given_answers, row, NAMES)
    for name in NAMES:
        expected = looped(rows, given_answers.subjects, row[0], "pooled", name)
        value = found[name][0]
        if expected is None:
            assert np.isnan(value)
            assert reason_of(given_answers, row[0], name)
        else:
            # Correlations: rounding of the data is amplified where one variable hardly varies.
            assert value == pytest.approx(expected, rel=1e-9, abs=0 if METRICS[name].has_unit else 1e-8)


@pytest.mark.parametrize("shape", [(1, 1, 1), (0, 4, 3), (7, 5, 9), (3000, 120, 700), (2, 40000, 3)])
def test_products_in_pieces(shape):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=shape[:2]), rng.normal(size=shape[1:])
    np.testing.assert_allclose(matmul(a, b), a @ b, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("aggregate", ["pooled", "fold-mean"])
def test_values_are_those_of_the_records_summary(aggregate):
    rng = np.random.default_rng(8)
    units, texts, rows = {}, {}, []
    # Fold 2 lacks seed 1, so neither counts it; fold 1 of seed 1 was run twice as long, which doesn't matter.
    for fold, seed in [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)]:
        y = rng.normal(size=12)
        yhat = y + rng.normal(size=12)
        own = make_rows(np.arange(12) // 4 + 3 * fold, y, yhat, [fold] * 12, seed)
        rows += own
        metrics, constant = compute_metrics(y, yhat, NAMES), no_change_baseline(y, NAMES)
        units[fold, seed] = SimpleNamespace(metrics=metrics, constant=constant)
        texts[fold, seed] = unit_text(own)
    task = SimpleNamespace(metrics=NAMES, folds=3, aggregate=aggregate)
    for failures in ({}, {(0, 7): "failed"}):
        summary = summarise(task, units, failures, texts)
        found = PredictionSet.of(rows, aggregate, summary.seeds).metrics(NAMES)
        expected = summary.pooled if aggregate == "pooled" else summary.fold_mean
        assert {name: value.value for name, value in found.items()} == pytest.approx(
            {name: value.value for name, value in expected.items()}, abs=1e-14
        )


def test_draws_are_the_same_everywhere():
    drawn = Resamples.draw([9, 4, 7, 4], "DISFA", 4)
    assert drawn.subjects == (4, 7, 9)
    # Pinned: another numpy, another machine, the same pages.
    assert drawn.counts.tolist() == [[0, 2, 1], [1, 1, 1], [0, 3, 0], [0, 2, 1]]
    assert not np.array_equal(Resamples.draw([4, 7, 9], "age", 50).counts[:4], drawn.counts)
    many = Resamples.draw(range(20), "many", 20000).counts
    assert (many.sum(axis=1) == 20).all()
    np.testing.assert_allclose(many.mean(axis=0), 1, atol=0.04)
    np.testing.assert_allclose(many.var(axis=0), 1 - 1 / 20, atol=0.06)
    with pytest.raises(ValueError, match="no subject"):
        Resamples.draw([], "none")


def test_the_error_of_a_mean_has_a_closed_form():
    rng = np.random.default_rng(1)
    y = rng.normal(size=50)
    given_answers = answers_of(np.arange(50), y, y + np.abs(rng.normal(size=50)))
    scores = score({"m": given_answers}, ["mae"], Resamples.draw(range(50), "closed", 20000))
    (part,) = given_answers.parts.values()
    expected = np.std(part.yhat - part.y) / math.sqrt(50)
    assert scores["mae"].interval("m").error == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("name", ["mae", "pearson", "icc31"])
@pytest.mark.parametrize("bca", [False, True])
def test_one_pair_a_subject_is_scipys_bootstrap(name, bca):
    rng = np.random.default_rng(6)
    y = rng.normal(size=40)
    yhat = y + rng.standard_t(3, size=40)
    scores = score({"m": answers_of(np.arange(40), y, yhat)}, [name], Resamples.draw(range(40), "d", 9999))
    found = scores[name].interval("m", bca=bca)
    reference = stats.bootstrap(
        (y, yhat),
        lambda a, b: compute_metrics(a, b, [name])[name].value,
        paired=True,
        vectorized=False,
        n_resamples=1999,
        method="BCa" if bca else "percentile",
        rng=np.random.default_rng(0),
    )
    assert found.error == pytest.approx(reference.standard_error, rel=0.06)
    tolerance = 0.22 * reference.standard_error  # three standard errors of both ends' Monte Carlo error
    assert found.low == pytest.approx(reference.confidence_interval.low, abs=tolerance)
    assert found.high == pytest.approx(reference.confidence_interval.high, abs=tolerance)


def test_pairs_of_a_subject_stay_together():
    rng = np.random.default_rng(9)
    subject = np.repeat(np.arange(15), rng.integers(1, 30, 15))
    y = rng.normal(size=len(subject))
    yhat = rng.normal(0.6, 0.4, 15)[subject] * y + rng.normal(0, 0.5, len(subject))
    for name in ("pearson", "ccc"):
        found = score({"m": answers_of(subject, y, yhat)}, [name], Resamples.draw(range(15), "d", 4000))[name]
        (low, high), error = interval_by_loop(subject, y, yhat, name, 1500, 3)
        interval = found.interval("m")
        assert interval.error == pytest.approx(error, rel=0.08)
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.25 * error)


def simulate(rng, subjects, pairs):
    """Draw errors and slopes that differ between people; return them with the population's MAE and r."""
    subject = np.repeat(np.arange(subjects), pairs)
    y = rng.choice([-1.0, 1.0], size=len(subject))
    error = 4 + rng.normal(size=subjects)[subject] + 0.5 * rng.normal(size=len(subject))
    slope = rng.normal(1, 0.5, subjects)[subject]
    return subject, y, y + error, slope * y + rng.normal(size=len(subject)), (4.0, 1 / math.sqrt(2.25))


def covers(rng, number, name, *, by_pair):
    subject, y, far, close, truths = simulate(rng, 60, 20)
    yhat, truth = (far, truths[0]) if name == "mae" else (close, truths[1])
    unit = np.arange(len(y)) if by_pair else subject
    given_answers = PredictionSet(tuple(range(unit[-1] + 1)), {(ALL_FOLDS, 0): Part(unit, y, yhat)}, 0)
    resamples = Resamples.draw(given_answers.subjects, f"simulation {number}", 300)
    interval = score({"m": given_answers}, [name], resamples)[name].interval("m")
    return interval.low <= truth <= interval.high


@pytest.mark.parametrize("name", ["mae", "pearson"])
def test_coverage(name):
    rng = np.random.default_rng(17)
    assert 0.92 <= np.mean([covers(rng, number, name, by_pair=False) for number in range(600)]) <= 0.97
    # Were pairs drawn instead of people, the interval would be far too short.
    assert np.mean([covers(rng, number, name, by_pair=True) for number in range(60)]) < 0.85


def icc_by_anova(table):
    """ICC(3,1) of raters in columns, from the mean squares between targets and of the residual."""
    targets, raters = table.shape
    grand, rows, columns = table.mean(), table.mean(axis=1), table.mean(axis=0)
    between = raters * np.sum((rows - grand) ** 2) / (targets - 1)
    residual = np.sum((table - rows[:, None] - columns + grand) ** 2) / ((targets - 1) * (raters - 1))
    return (between - residual) / (between + (raters - 1) * residual)


def test_shrout_and_fleiss():
    # Psychological Bulletin 86, 1979, Table 2: six targets by four judges, of whom ICC(3,1) is .71.
    judges = np.array(
        [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float
    )
    assert round(icc_by_anova(judges), 2) == 0.71
    for a, b in combinations(range(4), 2):
        found = weighted_metrics(answers_of(np.arange(6), judges[:, a], judges[:, b]), np.ones((1, 6)), NAMES)
        assert found["icc31"][0] == pytest.approx(icc_by_anova(judges[:, [a, b]]), abs=1e-14)


def test_anscombe():
    # American Statistician 27, 1973: the four sets share r = 0.816 to three decimals.
    x = np.array([10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5.0])
    y = np.array([8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68])
    found = weighted_metrics(answers_of(np.arange(11), x, y), np.ones((1, 11)), ["pearson"])
    assert found["pearson"][0] == pytest.approx(0.81642, abs=5e-6)


def test_constant_prediction_has_no_interval_but_an_error_has():
    y = np.arange(12.0)
    scores = score({"m": answers_of(np.arange(12) // 3, y, 0 * y)}, NAMES, Resamples.draw(range(4), "d", 100))
    for name in ("pearson", "ccc", "icc31"):
        interval = scores[name].interval("m")
        assert (interval.low, interval.high, interval.error) == (None, None, None)
        assert interval.reason == "constant prediction"
    assert scores["mae"].interval("m").low < scores["mae"].values["m"].value


def test_resamples_without_a_value_are_left_out_while_they_are_few():
    rng = np.random.default_rng(4)
    subject, y = np.repeat(np.arange(8), 5), rng.normal(size=40)
    # Only one person's predictions vary: (7/8)^8 = 34 % of the resamples lack that person.
    lone = score({"m": answers_of(subject, y, np.where(subject == 2, y, 0))}, ["pearson"], draw(8))["pearson"]
    interval = lone.interval("m")
    assert interval.low is None
    assert interval.reason == f"no value in {interval.without} of 2000 resamples: constant prediction"
    assert interval.without == np.isnan(lone.draws["m"]).sum() == pytest.approx(687, abs=65)
    # Three people's do: (5/8)^8 = 2.3 %.
    few = score({"m": answers_of(subject, y, np.where(subject < 3, y, 0))}, ["pearson"], draw(8))["pearson"]
    assert 20 < few.interval("m").without < 80
    assert few.interval("m").low == pytest.approx(np.nanquantile(few.draws["m"], 0.025))


def draw(subjects):
    return Resamples.draw(range(subjects), "degenerate")


def test_one_subject_has_no_interval():
    scores = score({"m": answers_of([3, 3, 3], [1, 2, 3], [1, 2, 4])}, NAMES, Resamples.draw([3], "d", 10))
    assert scores["mae"].values["m"].value == pytest.approx(1 / 3)
    assert scores["mae"].interval("m").reason == "one subject"
    assert scores["mae"].interval("m", bca=True).reason == "one subject"


def test_a_method_without_some_folds_is_scored_on_the_others():
    rows = make_rows(np.repeat(np.arange(6), 4), np.arange(24), np.arange(24) % 7, np.repeat([0, 1, 2], 8))
    whole, partial = PredictionSet.of(rows, "pooled"), PredictionSet.of(rows[:16], "pooled")
    assert partial.subjects == (0, 1, 2, 3)
    assert whole.pairs != partial.pairs
    resamples = Resamples.draw(whole.subjects, "folds", 500)
    scores = score({"whole": whole, "partial": partial}, ["mae"], resamples)["mae"]
    assert scores.interval("partial").without == np.sum(resamples.counts[:, :4].sum(axis=1) == 0)
    assert scores.interval("partial").low is not None
    with pytest.raises(ValueError, match="subject 4"):
        score({"whole": whole}, ["mae"], Resamples.draw(partial.subjects, "folds", 5))


def test_pairs_are_the_same_in_any_order_and_for_any_seed():
    rows = make_rows([1, 1, 2, 2], [1, 2, 3, 4], [0, 0, 1, 1])
    again = [row._replace(seed=5, yhat=9.0) for row in rows[::-1]]
    assert PredictionSet.of(rows, "pooled").pairs == PredictionSet.of(again, "pooled").pairs
    other = [rows[0]._replace(y=7.0), *rows[1:]]
    assert PredictionSet.of(rows, "pooled").pairs != PredictionSet.of(other, "pooled").pairs
    with pytest.raises(ValueError, match="no prediction"):
        PredictionSet.of([], "pooled")


def test_no_correction_leaves_the_percentiles():
    draws = np.array([1.0, 1.0, 2.0, 3.0] * 10)
    assert interval_of(draws, 0.5).low == np.quantile(draws, 0.25)
    y = np.arange(4.0)
    same = score({"m": answers_of(np.arange(4), y, y + 1)}, ["mae"], Resamples.draw(range(4), "d", 50))["mae"]
    assert same.interval("m", bca=True) == same.interval("m")
    assert (same.interval("m").low, same.interval("m").high, same.interval("m").error) == (1, 1, 0)


def test_unknown_metric():
    with pytest.raises(UnknownNameError):
        score({"m": answers_of([1, 2], [1, 2], [1, 2])}, ["r2"], Resamples.draw([1, 2], "d", 5))


def test_a_metric_without_a_resampled_form_is_refused_and_no_plugin_is_loaded_for_that(tmp_path, monkeypatch):
    (tmp_path / "greedy.py").write_text("raise SystemExit('loaded')")
    (tmp_path / "greedy-1.0.dist-info").mkdir()
    (tmp_path / "greedy-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: greedy\nVersion: 1.0\n"
    )
    (tmp_path / "greedy-1.0.dist-info" / "entry_points.txt").write_text(
        "[comface_bench.metrics]\ngreedy = greedy\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnknownNameError, match="'none' isn't resampled") as caught:
        needed_sums(["none"])
    assert "mae" in caught.value.hint
    assert "greedy" not in sys.modules
