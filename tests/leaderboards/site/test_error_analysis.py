"""Statistics of predictions for plots, against plain loops."""

import math
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comface_bench.leaderboards.site.error_analysis import (
    draw_points,
    error_by_size,
    error_by_subject,
    gather,
    round_step,
)
from comface_bench.stats.predictions import Columns


def columns(rows):
    subjects, y, yhat = zip(*rows, strict=True)
    return Columns([str(i) for i in range(len(rows))], list(subjects), list(y), list(yhat))


def some(count, seed=1, digits=3):
    rng = random.Random(seed)
    return [(rng.randrange(7), round(rng.gauss(0, 4), digits), rng.gauss(0, 4)) for _ in range(count)]


def test_gather_keeps_order_and_all_parts():
    rows = some(9)
    found = gather([columns(rows[:4]), columns(rows[4:])])
    assert list(zip(found.subject, found.y, found.yhat, strict=True)) == rows
    with pytest.raises(ValueError, match="no predictions"):
        gather([])


@pytest.mark.parametrize(("count", "drawn"), [(5, 5), (600, 600), (601, 600), (1999, 600)])
def test_points_are_drawn_at_even_steps(count, drawn):
    rows = some(count)
    points = draw_points(gather([columns(rows)]))
    assert len(points.y) == drawn
    places = [[row[1:] for row in rows].index(one) for one in zip(points.y, points.yhat, strict=True)]
    steps = {after - before for before, after in pairwise(places)}
    assert places[0] == 0
    assert steps <= {count // drawn, count // drawn + 1}


def test_error_by_size_of_many_sizes():
    rows = some(500)
    bins = error_by_size(gather([columns(rows)]))
    assert sum(one.pairs for one in bins) == 500
    for one in bins:
        inside = [(y, yhat) for _, y, yhat in rows if one.low <= abs(y) < one.high]
        assert one.pairs == len(inside)
        assert one.error == pytest.approx(sum(abs(y - yhat) for y, yhat in inside) / len(inside))
        assert one.baseline == pytest.approx(sum(abs(y) for y, _ in inside) / len(inside))
        assert one.high - one.low == pytest.approx(2)


def test_few_sizes_have_a_bin_each():
    rows = [(0, 0.0, 0.5), (0, -2.0, 1.0), (1, 2.0, 2.0), (1, 5.0, 1.0)]
    bins = error_by_size(gather([columns(rows)]))
    assert [(one.low, one.high, one.pairs, one.error, one.baseline) for one in bins] == [
        (0, 0, 1, 0.5, 0),
        (2, 2, 2, 1.5, 2),
        (5, 5, 1, 4, 5),
    ]


def test_a_size_has_one_bin_however_its_difference_was_rounded():
    small = [60.1 - 60.0, 70.1 - 70.0, 0.1]
    assert len(set(small)) == 3
    (only,) = error_by_size(gather([columns([(0, y, 0.0) for y in small])]))
    assert (only.low, only.high, only.pairs) == (0.1, 0.1, 3)
    many = [60 + number / 10 - 60 for number in range(12)]
    bins = error_by_size(gather([columns([(0, y, 0.0) for y in many])]))
    assert [(round(one.low, 9), one.pairs) for one in bins] == [(low / 10, 2) for low in (0, 2, 4, 6, 8, 10)]


def test_error_by_subject_goes_from_small_to_large():
    rows = some(60)
    found = error_by_subject(gather([columns(rows)]))
    assert [one.error for one in found] == sorted(one.error for one in found)
    assert {one.subject for one in found} == {row[0] for row in rows}
    for one in found:
        own = [(y, yhat) for subject, y, yhat in rows if subject == one.subject]
        assert one.pairs == len(own)
        assert one.error == pytest.approx(sum(abs(y - yhat) for y, yhat in own) / len(own))
        assert one.baseline == pytest.approx(sum(abs(y) for y, _ in own) / len(own))


@given(st.floats(1e-300, 1e300), st.integers(1, 10))
def test_steps_are_round_and_as_many_as_asked(span, parts):
    step = round_step(span, parts)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - factor) for factor in (1, 2, 5, 10)) < 1e-6
    assert parts / 2.6 <= span / step <= parts * 1.01


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=9, max_size=40))
def test_any_finite_change_has_a_bin(values):
    rows = [(0, value, 0.0) for value in values]
    bins = error_by_size(gather([columns(rows)]))
    assert sum(one.pairs for one in bins) == len(values)
    assert len(bins) <= 61
    assert all(np.isfinite(one.low) for one in bins)
