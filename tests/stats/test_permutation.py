"""Permutation tests by subject against SciPy's, an enumeration by hand and their level."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from comface_bench.stats.answers import ALL_FOLDS, Answers, Part
from comface_bench.stats.metrics import MetricValue, compute_metrics
from comface_bench.stats.paired import OTHER_PAIRS
from comface_bench.stats.permutation import Swaps, holm, swap_test, swap_tests


def answers_of(subject, y, *predictions, pairs=1):
    """Put predictions of several seeds into one method's answers."""
    subjects = tuple(range(int(max(subject)) + 1))
    parts = {(ALL_FOLDS, seed): Part(subject, y, yhat) for seed, yhat in enumerate(predictions)}
    return Answers(subjects, parts, pairs)


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


def test_equally_good_methods_are_told_apart_as_often_as_promised():
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
    later = Answers(ours.subjects, {(ALL_FOLDS, 3): part}, 1)
    assert p_of(ours, later, "mae", swaps).reason == "no seed in common"
    # Seeds that only one of them has don't count.
    both = Answers(ours.subjects, {(ALL_FOLDS, 0): part, (ALL_FOLDS, 3): Part(subject, y, y)}, 1)
    alone = Answers(ours.subjects, {(ALL_FOLDS, 0): part}, 1)
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
