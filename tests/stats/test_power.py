"""Minimum detectable differences."""

import numpy as np
import pytest

from comface_bench.stats.answers import ALL_FOLDS, Answers, Part
from comface_bench.stats.bootstrap import Resamples, score
from comface_bench.stats.paired import difference
from comface_bench.stats.power import detectable, detectable_difference


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
        str(index): Answers(
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
    one = {name: Answers((3,), {(ALL_FOLDS, 0): part}, 1) for name in "ab"}
    assert (
        detectable_difference(score(one, ["mae"], Resamples.draw([3], "d", 9))["mae"]).reason == "one subject"
    )
