"""Differences on shared resamples."""

import numpy as np
import pytest

from comface_bench.stats.answers import ALL_FOLDS, Answers, Part
from comface_bench.stats.bootstrap import Interval, Resamples, score
from comface_bench.stats.metrics import compute_metrics
from comface_bench.stats.paired import OTHER_PAIRS, Difference, best_method, difference, differences

SUBJECTS, PAIRS = 30, 12


def make_answers(**predictions):
    """Predictions by method, as functions of (rng, subject, y)."""
    rng = np.random.default_rng(5)
    subject = np.repeat(np.arange(SUBJECTS), PAIRS)
    y = rng.normal(size=len(subject))
    hard = rng.normal(size=SUBJECTS)[subject]
    return {
        name: Answers(tuple(range(SUBJECTS)), {(ALL_FOLDS, 0): Part(subject, y, make(rng, y, hard))}, 1)
        for name, make in predictions.items()
    }


@pytest.fixture(scope="module")
def answers():
    return make_answers(
        good=lambda rng, y, hard: y + hard + 0.2 * rng.normal(size=len(y)),
        twin=lambda rng, y, hard: y + hard + 0.2 * rng.normal(size=len(y)),
        poor=lambda rng, y, hard: 0.5 * y + 1.2 * hard + 0.8 * rng.normal(size=len(y)),
        idle=lambda rng, y, hard: 0 * y,
    )


@pytest.fixture(scope="module")
def scores(answers):
    return score(answers, ["mae", "pearson"], Resamples.draw(range(SUBJECTS), "paired", 3000))


def test_a_difference_is_taken_on_the_same_people(answers, scores):
    found = difference(scores["mae"], "poor", "good")
    rng, by_hand = np.random.default_rng(0), []
    good, poor = (answers[name].parts[ALL_FOLDS, 0] for name in ("good", "poor"))
    for _ in range(1500):
        chosen = rng.integers(0, SUBJECTS, SUBJECTS)
        rows = (chosen[:, None] * PAIRS + np.arange(PAIRS)).ravel()
        values = [compute_metrics(p.y[rows], p.yhat[rows], ["mae"])["mae"].value for p in (poor, good)]
        by_hand.append(values[0] - values[1])
    assert found.value == pytest.approx(
        scores["mae"].values["poor"].value - scores["mae"].values["good"].value
    )
    assert found.interval.error == pytest.approx(np.std(by_hand), rel=0.08)
    low, high = np.quantile(by_hand, [0.025, 0.975])
    tolerance = 0.25 * np.std(by_hand)
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), abs=tolerance)
    # What both share, hard people, is no part of it.
    apart = np.hypot(*(scores["mae"].interval(name).error for name in ("poor", "good")))
    assert found.interval.error < 0.6 * apart


def test_ties(scores):
    assert difference(scores["mae"], "twin", "good").tied is True
    assert difference(scores["mae"], "poor", "good").tied is False
    found = differences(scores["mae"], "good")
    assert list(found) == ["twin", "poor", "idle"]
    assert found["poor"].value > 0
    assert difference(scores["mae"], "good", "good").interval.low == 0.0
    assert difference(scores["mae"], "good", "good").tied is True


def test_the_best_is_the_smallest_error_or_the_largest_correlation(scores):
    values = {name: scores["mae"].values[name].value for name in ("good", "twin", "poor")}
    assert best_method(scores["mae"], values) == min(values, key=values.get)
    values = {name: scores["pearson"].values[name].value for name in ("good", "twin", "poor")}
    assert best_method(scores["pearson"]) == max(values, key=values.get)
    assert best_method(scores["pearson"], ["poor", "idle"]) == "poor"
    assert best_method(scores["pearson"], ["idle"]) is None


def test_without_a_value_there_is_no_difference(scores):
    found = difference(scores["pearson"], "idle", "good")
    assert (found.value, found.tied, found.reason) == (None, None, "constant prediction")
    assert found.interval.reason == "constant prediction"
    assert difference(scores["pearson"], "good", "idle").reason == "constant prediction"


def test_methods_on_other_pairs_are_not_compared(answers):
    other = Answers(answers["twin"].subjects, answers["twin"].parts, 2)
    scores = score(
        {"good": answers["good"], "twin": other}, ["mae"], Resamples.draw(range(SUBJECTS), "d", 20)
    )
    assert difference(scores["mae"], "twin", "good").reason == OTHER_PAIRS


def test_one_subject_has_a_difference_without_an_interval():
    parts = [Part(np.zeros(3, dtype=np.intp), np.arange(3.0), np.arange(3.0) + shift) for shift in (1, 3)]
    one = {name: Answers((7,), {(ALL_FOLDS, 0): part}, 1) for name, part in zip("ab", parts, strict=True)}
    found = difference(score(one, ["mae"], Resamples.draw([7], "d", 9))["mae"], "b", "a")
    assert (found.value, found.interval.reason, found.tied) == (2, "one subject", None)


def test_an_end_that_is_zero_but_for_rounding_ties():
    for low, high, tied in ((1e-17, 0.2, True), (-0.2, -1e-17, True), (1e-9, 0.2, False), (0.0, 0.0, True)):
        assert Difference(0.1, Interval(low, high, 0.1)).tied is tied
