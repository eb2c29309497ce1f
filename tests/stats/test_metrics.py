"""Metrics against SciPy, textbook numbers and plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from comface_bench.core.errors import UnknownNameError
from comface_bench.stats.metrics import (
    METRICS,
    MetricValue,
    compute_metrics,
    describe_metric,
    no_change_baseline,
)

CORRELATIONS = ["pearson", "spearman", "ccc", "icc31"]


def value(name, y, yhat):
    return compute_metrics(y, yhat, [name])[name].value


def reason(name, y, yhat):
    result = compute_metrics(y, yhat, [name])[name]
    assert result.value is None
    return result.reason


def icc31_by_anova(y, yhat):
    """Two-way analysis of variance written out: rows are pairs, columns the two raters."""
    table = [[float(a), float(b)] for a, b in zip(y, yhat, strict=True)]
    n, k = len(table), 2
    grand = sum(map(sum, table)) / (n * k)
    rows = [sum(row) / k for row in table]
    columns = [sum(row[j] for row in table) / n for j in range(k)]
    between = k * sum((row - grand) ** 2 for row in rows) / (n - 1)
    error = sum((table[i][j] - rows[i] - columns[j] + grand) ** 2 for i in range(n) for j in range(k)) / (
        (n - 1) * (k - 1)
    )
    return (between - error) / (between + (k - 1) * error)


def ccc_by_loop(y, yhat):
    n = len(y)
    mx, my = math.fsum(y) / n, math.fsum(yhat) / n
    vx = math.fsum((a - mx) ** 2 for a in y) / n
    vy = math.fsum((b - my) ** 2 for b in yhat) / n
    cov = math.fsum((a - mx) * (b - my) for a, b in zip(y, yhat, strict=True)) / n
    return 2 * cov / (vx + vy + (mx - my) ** 2)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [False, True])
def test_random_vectors_agree_with_the_references(seed, ties):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=57)
    yhat = 0.4 * y + rng.normal(size=57) + 0.3
    if ties:
        y, yhat = np.round(y), np.round(yhat)
    assert value("pearson", y, yhat) == pytest.approx(stats.pearsonr(y, yhat).statistic, abs=1e-13)
    assert value("spearman", y, yhat) == pytest.approx(stats.spearmanr(y, yhat).statistic, abs=1e-13)
    assert value("ccc", y, yhat) == pytest.approx(ccc_by_loop(y, yhat), abs=1e-13)
    assert value("icc31", y, yhat) == pytest.approx(icc31_by_anova(y, yhat), abs=1e-13)
    assert value("mae", y, yhat) == pytest.approx(math.fsum(abs(y - yhat)) / 57, abs=1e-13)
    assert value("rmse", y, yhat) == pytest.approx(math.sqrt(math.fsum((y - yhat) ** 2) / 57), abs=1e-13)
    signed = [(a, b) for a, b in zip(y, yhat, strict=True) if a != 0]
    assert value("acc", y, yhat) == sum(a * b > 0 for a, b in signed) / len(signed)


def test_icc_of_the_published_example():
    # Shrout and Fleiss 1979, Table 2: six targets, four judges; ICC(3,1) of all four is 0.71. Two judges are
    # what this metric covers, so its loop is checked on all four and the metric on the first two.
    judges = np.array(
        [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
    )
    n, k = judges.shape
    grand = judges.mean()
    rows = k * ((judges.mean(1) - grand) ** 2).sum() / (n - 1)
    residual = judges - judges.mean(1, keepdims=True) - judges.mean(0, keepdims=True) + grand
    error = (residual**2).sum() / ((n - 1) * (k - 1))
    assert (rows - error) / (rows + (k - 1) * error) == pytest.approx(0.71, abs=5e-3)
    assert value("icc31", judges[:, 0], judges[:, 1]) == pytest.approx(
        icc31_by_anova(judges[:, 0], judges[:, 1]), abs=1e-14
    )


def test_ccc_by_hand():
    # Means 2 and 3, variances 2/3, covariance 2/3: 2·(2/3) / (2/3 + 2/3 + 1) = 4/7.
    assert value("ccc", [1, 2, 3], [2, 3, 4]) == pytest.approx(4 / 7, abs=1e-15)
    # A shift leaves consistency at 1, a stretch by 2 takes it to 2·2/(1 + 4) = 0.8.
    assert value("icc31", [1, 2, 3], [2, 3, 4]) == pytest.approx(1, abs=1e-15)
    assert value("icc31", [1, 2, 3], [2, 4, 6]) == pytest.approx(0.8, abs=1e-15)


@pytest.mark.parametrize("name", CORRELATIONS)
def test_degenerate_input_has_a_reason(name):
    assert reason(name, [1, 2, 3], [0.1, 0.1, 0.1]) == "constant prediction"
    assert reason(name, [0.1, 0.1, 0.1], [1, 2, 3]) == "constant target"
    assert reason(name, [1], [2]) == "fewer than 2 pairs"
    assert reason(name, [], []) == "fewer than 2 pairs"


def test_no_pair_and_no_signed_pair():
    assert reason("mae", [], []) == reason("rmse", [], []) == "no pair"
    assert reason("acc", [0, 0], [1, -1]) == reason("acc", [], []) == "no pair with a change"


def test_a_predicted_zero_is_wrong_and_a_true_zero_is_left_out():
    assert value("acc", [1, -1, 2, 0], [0, -3, 1, 5]) == pytest.approx(2 / 3)


def test_no_change_baseline():
    names = list(METRICS)
    answer = no_change_baseline([3, -1, 0], names)
    assert list(answer) == names
    assert answer["mae"].value == pytest.approx(4 / 3)
    assert answer["acc"].value == 0
    assert {answer[name].reason for name in CORRELATIONS} == {"constant prediction"}


@pytest.mark.parametrize("name", list(METRICS))
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_input_that_is_not_finite_is_refused(name, bad):
    with pytest.raises(ValueError, match="finite"):
        compute_metrics([1, 2], [1, bad], [name])
    with pytest.raises(ValueError, match="finite"):
        compute_metrics([bad, 2], [1, 2], [name])


def test_shapes_and_names_are_checked():
    with pytest.raises(ValueError, match="yhat 3"):
        compute_metrics([1, 2], [1, 2, 3], ["mae"])
    with pytest.raises(ValueError, match="shape"):
        compute_metrics([[1, 2]], [[1, 2]], ["mae"])
    with pytest.raises(UnknownNameError, match="mea"):
        compute_metrics([1], [1], ["mea"])


def test_a_metric_value_is_a_number_or_a_reason():
    for bad in ((None, None), (1.0, "why"), (math.nan, None), (math.inf, None)):
        with pytest.raises(ValueError):
            MetricValue(*bad)


@pytest.mark.parametrize("offset", [0, 1e6, 1e12, -1e15])
@pytest.mark.parametrize("exponent", [-900, -30, 0, 30, 900])
def test_offset_and_scale_change_nothing(offset, exponent):
    # Multiples of 1/8 on an offset below 2**50 and a power of two as scale: the inputs stay exact.
    rng = np.random.default_rng(3)
    y, noise = rng.integers(-40, 40, 30) / 8, rng.integers(-9, 9, 30) / 8
    for name in CORRELATIONS:
        plain = value(name, y, y + noise)
        moved = value(name, np.ldexp(y + offset, exponent), np.ldexp(y + noise + offset, exponent))
        assert moved == pytest.approx(plain, abs=1e-12)


def test_extremes_of_float64():
    big = np.finfo(float).max
    assert value("pearson", [big, -big, 0], [1, -1, 0]) == pytest.approx(1)
    assert value("rmse", [big / 2, 0], [0, 0]) == pytest.approx(big / 2 / math.sqrt(2))
    assert value("mae", [big, big, big], [0, 0, 0]) == big
    assert reason("mae", [big], [-big]) == "beyond the range of float64"
    assert value("pearson", [0, 5e-324, 1e-323], [0, 1, 2]) == pytest.approx(1)


vectors = st.integers(2, 40).flatmap(
    lambda n: st.tuples(*[st.lists(st.floats(-1e6, 1e6, width=32), min_size=n, max_size=n)] * 2)
)


@settings(max_examples=200, deadline=None)
@given(vectors)
def test_every_value_is_finite_in_range_and_symmetric(pair):
    y, yhat = pair
    forward = compute_metrics(y, yhat, METRICS)
    swapped = compute_metrics(yhat, y, METRICS)
    mirrored = compute_metrics(np.negative(y), np.negative(yhat), METRICS)
    for name, result in forward.items():
        if result.value is None:
            assert result.reason
            continue
        low, high = (-1, 1) if name in CORRELATIONS else (0, 1) if name == "acc" else (0, math.inf)
        assert low - 1e-12 <= result.value <= high + 1e-12
        assert mirrored[name].value == pytest.approx(result.value, rel=1e-9, abs=1e-9)
        if name != "acc":
            assert swapped[name].value == pytest.approx(result.value, rel=1e-9, abs=1e-9)


def test_metrics_in_words():
    assert describe_metric("mae", MetricValue(1.25), "kg") == ("MAE", "1.250 kg")
    assert describe_metric("mae", MetricValue(1.25)) == ("MAE", "1.250")
    assert describe_metric("acc", MetricValue(0.5), "kg") == ("Acc.", "50.0 %")
    assert describe_metric("pearson", MetricValue(None, "constant"), "kg") == ("r", "—")
    # Of a plugin that isn't loaded.
    assert describe_metric("close_by", MetricValue(0.123456), "kg") == ("close_by", "0.1235")


def test_cards_show_themselves_in_a_line():
    assert repr(METRICS["mae"]) == "<MetricCard mae: MAE, lower is better>"
