"""Paired differences, permutation tests by subject, and detectable differences."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from comface_bench.stats.bootstrap import Interval, Resamples, score
from comface_bench.stats.metrics import MetricValue, compute_metrics
from comface_bench.stats.predictions import ALL_FOLDS, Part, PredictionSet
from comface_bench.stats.significance import (
    OTHER_PAIRS,
    PairedDifference,
    Swaps,
    best_method,
    detectable,
    detectable_difference,
    difference,
    differences,
    holm,
    swap_test,
    swap_tests,
)

SUBJECTS, PAIRS = 30, 12


def make_answers(**predictions):
    """Predictions by method, as functions of (rng, subject, y)."""
    rng = np.random.default_rng(5)
    subject = np.repeat(np.arange(SUBJECTS), PAIRS)
    y = rng.normal(size=len(subject))
    hard = rng.normal(size=SUBJECTS)[subject]
    return {
        name: PredictionSet(
            tuple(range(SUBJECTS)), {(ALL_FOLDS, 0): Part(subject, y, make(rng, y, hard))}, "1"
        )
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
    other = PredictionSet(answers["twin"].subjects, answers["twin"].parts, "2")
    scores = score(
        {"good": answers["good"], "twin": other}, ["mae"], Resamples.draw(range(SUBJECTS), "d", 20)
    )
    assert difference(scores["mae"], "twin", "good").reason == OTHER_PAIRS


def test_one_subject_has_a_difference_without_an_interval():
    parts = [Part(np.zeros(3, dtype=np.intp), np.arange(3.0), np.arange(3.0) + shift) for shift in (1, 3)]
    one = {
        name: PredictionSet((7,), {(ALL_FOLDS, 0): part}, "1") for name, part in zip("ab", parts, strict=True)
    }
    found = difference(score(one, ["mae"], Resamples.draw([7], "d", 9))["mae"], "b", "a")
    assert (found.value, found.interval.reason, found.tied) == (2, "one subject", None)


def test_an_end_that_is_zero_but_for_rounding_ties():
    for low, high, tied in ((1e-17, 0.2, True), (-0.2, -1e-17, True), (1e-9, 0.2, False), (0.0, 0.0, True)):
        assert PairedDifference(0.1, Interval(low, high, 0.1)).tied is tied


def answers_of(subject, y, *predictions, pairs="1"):
    """Put predictions of several seeds into one method's answers."""
    subjects = tuple(range(int(max(subject)) + 1))
    parts = {(ALL_FOLDS, seed): Part(subject, y, yhat) for seed, yhat in enumerate(predictions)}
    return PredictionSet(subjects, parts, pairs)


def draw_two(seed, subjects, pairs=1, gap=0.0):
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(subjects), pairs)
    y = rng.normal(size=len(subject))
    return (
        subject,
        y,
        y + rng.normal(0, 1, len(subject)),
        y + rng.normal(0, 1 + gap, len(subject)),
    )


def metric(y, yhat, name):
    return compute_metrics(y, yhat, [name])[name].value


def p_of(ours, theirs, name, swaps):
    return swap_test(ours, theirs, [name], swaps)[name]


@pytest.mark.parametrize("name", ["mae", "rmse", "pearson", "ccc", "icc31", "acc"])
def test_exact_p_is_that_of_scipy_for_one_pair_a_subject(name):
    subject, y, a, b = draw_two(3, 9, gap=1.5)
    found = p_of(answers_of(subject, y, a), answers_of(subject, y, b), name, Swaps.draw(range(9), "d"))
    reference = stats.permutation_test(
        (a, b),
        lambda first, second: metric(y, first, name) - metric(y, second, name),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=False,
    )
    # SciPy doubles the smaller tail; exchanging all reverses the sign, so both tails are equal.
    assert found.value == pytest.approx(reference.pvalue, abs=1e-12)


@pytest.mark.parametrize("name", ["mae", "pearson"])
def test_all_pairs_of_a_subject_and_all_seeds_are_exchanged_together(name):
    rng = np.random.default_rng(11)
    subject = np.repeat(np.arange(6), [1, 4, 2, 7, 3, 5])
    y = rng.normal(size=len(subject))
    ours = [y + rng.normal(size=len(y)) for _ in range(2)]
    theirs = [0.3 * y + rng.normal(size=len(y)) for _ in range(2)]

    def gap(flips):
        swap = np.array(flips, dtype=bool)[subject]
        sides = [
            np.mean([metric(y, np.where(swap, p, q), name) for p, q in zip(first, second, strict=True)])
            for first, second in ((theirs, ours), (ours, theirs))
        ]
        return sides[0] - sides[1]

    gaps = np.array([gap(flips) for flips in product([0, 1], repeat=6)])
    expected = np.mean(np.abs(gaps) >= abs(gaps[0]) - 1e-12)
    found = p_of(
        answers_of(subject, y, *ours), answers_of(subject, y, *theirs), name, Swaps.draw(range(6), "d")
    )
    assert found.value == expected
    assert 1 / 32 <= found.value <= 1


def test_drawn_swaps_come_close_to_all_of_them():
    subject, y, a, b = draw_two(5, 14, pairs=3, gap=0.6)
    first, second = answers_of(subject, y, a), answers_of(subject, y, b)
    exact = p_of(first, second, "mae", Swaps.draw(range(14), "d"))
    swaps = Swaps.draw(range(14), "d", exact_up_to=13)
    assert not swaps.exact
    assert swaps.flips.shape == (9999, 14)
    drawn = p_of(first, second, "mae", swaps)
    assert 0.01 < exact.value < 0.5
    assert drawn.value == pytest.approx(exact.value, abs=4 * np.sqrt(exact.value / 9999))
    # The mean error's test flips the sign of each subject's summed difference.
    sums = np.bincount(subject, np.abs(a - y) - np.abs(b - y))
    flipped = np.abs((1 - 2 * swaps.flips) @ sums)
    extreme = np.count_nonzero(flipped >= abs(sums.sum()) - 1e-10)
    assert drawn.value == (extreme + 1) / 10000


def test_p_never_is_zero():
    y = np.linspace(-1, 1, 40)
    good, bad = answers_of(np.arange(40), y, y), answers_of(np.arange(40), y, y + 5)
    assert p_of(good, bad, "mae", Swaps.draw(range(40), "d", 199)).value == 1 / 200
    few = Swaps.draw(range(8), "d")
    eight = [answers_of(np.arange(8), y[:8], y[:8] + shift) for shift in (0, 5)]
    assert p_of(*eight, "mae", few).value == 2 / 2**8
    assert p_of(eight[0], eight[0], "mae", few).value == 1


def test_equally_good_methods_are_distinguished_as_often_as_promised():
    swaps = Swaps.draw(range(20), "null", 199)
    ps = []
    for seed in range(300):
        subject, y, a, b = draw_two(seed, 20, pairs=4)
        ps.append(p_of(answers_of(subject, y, a), answers_of(subject, y, b), "mae", swaps).value)
    assert 0.02 < np.mean(np.array(ps) <= 0.05) < 0.085
    assert stats.kstest(ps, "uniform").pvalue > 0.001


def test_swaps_are_all_there_are_or_drawn_the_same_everywhere():
    listed = Swaps.draw([5, 3, 9], "any")
    assert listed.exact
    assert listed.subjects == (3, 5, 9)
    assert listed.flips.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]]
    assert Swaps.draw(range(16), "any").flips.shape == (2**15, 16)
    drawn = Swaps.draw(range(17), "DISFA", 5000)
    assert not drawn.exact
    np.testing.assert_allclose(drawn.flips.mean(axis=0), 0.5, atol=0.03)
    assert drawn.flips[0].tolist() == [0, 1, 1, 1, 0, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 0, 1]
    with pytest.raises(ValueError, match="no subject"):
        Swaps.draw([], "none")


def test_only_what_can_be_compared_is():
    subject, y, a, b = draw_two(1, 5, pairs=2)
    ours, swaps = answers_of(subject, y, a), Swaps.draw(range(5), "d")
    idle = answers_of(subject, y, 0 * y)
    assert p_of(ours, idle, "pearson", swaps).reason == "constant prediction"
    assert p_of(ours, idle, "mae", swaps).value is not None
    assert p_of(ours, answers_of(subject, y, b, pairs=2), "mae", swaps).reason == OTHER_PAIRS
    assert p_of(ours, ours, "mae", Swaps.draw(range(6), "d")).reason == OTHER_PAIRS
    part = Part(subject, y, b)
    later = PredictionSet(ours.subjects, {(ALL_FOLDS, 3): part}, "1")
    assert p_of(ours, later, "mae", swaps).reason == "no seed in common"
    # Seeds that only one of them has don't count.
    both = PredictionSet(ours.subjects, {(ALL_FOLDS, 0): part, (ALL_FOLDS, 3): Part(subject, y, y)}, "1")
    alone = PredictionSet(ours.subjects, {(ALL_FOLDS, 0): part}, "1")
    assert p_of(ours, both, "mae", swaps) == p_of(ours, alone, "mae", swaps)
    one = answers_of(subject[:2], y[:2], a[:2])
    assert p_of(one, one, "mae", Swaps.draw([0], "d")).reason == "one subject"


def test_all_methods_against_one():
    subject, y, a, b = draw_two(1, 8, gap=1)
    answers = {"a": answers_of(subject, y, a), "b": answers_of(subject, y, b)}
    swaps = Swaps.draw(range(8), "d")
    names = ["mae", "pearson"]
    assert swap_tests(answers, names, "a", swaps) == {
        name: {"b": p_of(answers["b"], answers["a"], name, swaps)} for name in names
    }


def test_holm_by_hand():
    values = {"a": MetricValue(0.01), "b": MetricValue(0.04), "c": MetricValue(0.03), "d": MetricValue(0.005)}
    values["e"] = MetricValue(None, "constant prediction")
    # 4 × 0.005 = 0.02; 3 × 0.01 = 0.03; 2 × 0.03 = 0.06; 1 × 0.04 is raised to 0.06.
    expected = {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02, "e": None}
    corrected = {name: value.value for name, value in holm(values).items()}
    assert corrected == pytest.approx(expected)
    assert holm({"a": MetricValue(0.7), "b": MetricValue(0.6)})["b"].value == 1
    assert holm({}) == {}


def test_textbook_factor():
    assert detectable(1.0) == pytest.approx(1.959964 + 0.841621, abs=1e-6)
    assert detectable(0.0) == 0
    assert detectable(2.0, significance=0.01, power=0.9) == pytest.approx(2 * (2.575829 + 1.281552), abs=1e-5)


def test_a_difference_of_that_size_is_found_four_times_in_five():
    subjects, trials = 60, 4000
    error = 1.5 / np.sqrt(subjects)
    rng = np.random.default_rng(0)
    means = rng.normal(detectable(error), 1.5, size=(trials, subjects)).mean(axis=1)
    assert np.mean(np.abs(means) > 1.959964 * error) == pytest.approx(0.8, abs=0.02)


def make_scores(spreads):
    rng = np.random.default_rng(1)
    y = rng.normal(size=50)
    answers = {
        str(index): PredictionSet(
            tuple(range(50)),
            {(ALL_FOLDS, 0): Part(np.arange(50), y, y + 3 + spread * rng.normal(size=50))},
            1,
        )
        for index, spread in enumerate(spreads)
    }
    return score(answers, ["mae"], Resamples.draw(range(50), "power", 4000))["mae"]


def test_the_median_pair_of_methods_speaks_for_the_task():
    scores = make_scores([0.1, 0.3, 0.9])
    errors = [difference(scores, a, b).interval.error for a, b in ("01", "02", "12")]
    assert detectable_difference(scores).value == pytest.approx(detectable(sorted(errors)[1]))
    # The closed form: the error of a mean of independent differences.
    assert errors[0] == pytest.approx(np.hypot(0.1, 0.3) / np.sqrt(50), rel=0.25)


def test_nothing_to_compare():
    assert detectable_difference(make_scores([1.0])).reason == "fewer than 2 methods"
    part = Part(np.zeros(2, dtype=np.intp), np.arange(2.0), np.ones(2))
    one = {name: PredictionSet((3,), {(ALL_FOLDS, 0): part}, "1") for name in "ab"}
    assert (
        detectable_difference(score(one, ["mae"], Resamples.draw([3], "d", 9))["mae"]).reason == "one subject"
    )
