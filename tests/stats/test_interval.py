"""Intervals by measured errors: against brute force, and their coverage."""

import numpy as np
import pytest

from comface_bench.stats.interval import NEAREST, MeasuredErrors


def make(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Estimates, and true changes whose errors grow with them and lean to one side."""
    random = np.random.default_rng(seed)
    estimate = random.normal(0, 10, n)
    return estimate + (random.exponential(1, n) - 1) * (0.5 + np.abs(estimate)), estimate


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("count", [3, NEAREST, 517, 4000])
def test_errors_are_those_of_the_nearest_estimates(count: int, both_ways: bool) -> None:
    y, estimate = make(count, 1)
    subjects = [place % 7 for place in range(count)]
    measured = MeasuredErrors(y, estimate, subjects, both_ways)
    points, errors = estimate, y - estimate
    numbers = np.arange(count)
    if both_ways:
        points, errors = np.append(points, -points), np.append(errors, -errors)
        numbers = np.append(numbers, numbers)
    size = min(max(NEAREST, count // 10), len(points))
    for at in (-40.0, -3.3, 0.1, 12.0, 99.0):
        near = np.argsort(np.abs(points - at))[:size]
        ordered, found = np.sort(errors[near]), measured.near(at, 0.9)
        rank = int((size + 1) * 0.05)
        expected = (ordered[max(rank, 1) - 1], ordered[min(size + 1 - rank, size) - 1])
        assert (found.low, found.high) == pytest.approx(expected)
        assert found.pairs == len(set(numbers[near]))
        assert found.people == len({subjects[number] for number in numbers[near]})
    assert measured.largest == pytest.approx(np.abs(estimate).max())


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_intervals_cover_as_often_as_they_say_at_small_and_large_changes(level: float) -> None:
    measured = MeasuredErrors(*make(4000, 2), [0] * 4000)
    y, estimate = make(4000, 3)
    found = [measured.near(one, level) for one in estimate]
    inside = np.array(
        [one.low <= true - at <= one.high for one, true, at in zip(found, y, estimate, strict=True)]
    )
    large = np.abs(estimate) > 10
    for some in (large, ~large):
        assert inside[some].mean() == pytest.approx(level, abs=0.04)
    widths = np.array([one.high - one.low for one in found])
    assert widths[large].mean() > 2 * widths[~large].mean()


@pytest.mark.parametrize(("pairs", "level", "rank"), [(2190, 0.9, 11), (2090, 0.8, 21), (2390, 0.95, 6)])
def test_ranks_are_whole_where_they_should_be(pairs: int, level: float, rank: int) -> None:
    """Of 219 errors, 220 · 0.05 = 11 ranks lie outside on either side."""
    found = MeasuredErrors(np.arange(pairs), np.zeros(pairs), [0] * pairs).near(0.0, level)
    size = pairs // 10
    assert (found.pairs, found.high - found.low) == (size, size + 1 - 2 * rank)


def test_exchanged_estimates_have_exchanged_intervals() -> None:
    measured = MeasuredErrors(*make(900, 4), [0] * 900, both_ways=True)
    one, other = measured.near(6.0, 0.95), measured.near(-6.0, 0.95)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_too_few_pairs_give_all_their_errors() -> None:
    found = MeasuredErrors([1.0, 4.0], [0.0, 0.0], [3, 4]).near(0.0, 0.95)
    assert (found.low, found.high, found.pairs, found.people) == (1.0, 4.0, 2, 2)
