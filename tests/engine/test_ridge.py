"""The ridge solution over pairs against one that lists every pair."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comface_bench.data.pairs import PairGroup
from comface_bench.engine.ridge import (
    STRENGTHS,
    compress,
    mean_pair_errors,
    pair_moments,
    solve_ridge,
)


def listed(groups):
    """All pairs, one by one: (x, y) rows."""
    pairs = []
    for group in groups:
        if group.second is None:
            pairs += itertools.combinations(group.first, 2)
        else:
            pairs += itertools.product(group.first, group.second)
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def explicit_ridge(features, labels, groups, fractions):
    """The textbook solution from listed differences."""
    pairs = listed(groups)
    d = features[pairs[:, 1]] - features[pairs[:, 0]]
    t = labels[pairs[:, 1]] - labels[pairs[:, 0]]
    moment = d.T @ d
    largest = np.linalg.eigvalsh(moment)[-1]
    eye = np.eye(features.shape[1])
    return np.stack([np.linalg.solve(moment + largest * f * eye, d.T @ t) for f in fractions])


@st.composite
def data_sets(draw):
    """Random images of a few subjects, by either pair rule; some with one image, equal images or labels."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    width = draw(st.integers(1, 12))
    targets = draw(st.integers(1, 3))
    groups, row = [], 0
    for _ in range(draw(st.integers(2, 5))):
        n = draw(st.integers(1, 6))
        first = np.arange(row, row + n)
        row += n
        second = None
        if draw(st.booleans()):
            m = draw(st.integers(1, 4))
            second = np.arange(row, row + m)
            row += m
        groups.append(PairGroup(first, second))
    features = random.normal(size=(row, width)) + draw(st.sampled_from([0.0, 50.0]))
    labels = random.normal(size=(row, targets))
    if row > 3 and draw(st.booleans()):
        features[1] = features[0]
    if draw(st.booleans()):
        labels[:, 0] = 3.0
    return features, labels, groups


FRACTIONS = (1e-4, 1e-2, 1.0)


@given(data_sets())
@settings(max_examples=150, deadline=None)
def test_solution_equals_that_of_listed_pairs(data):
    features, labels, groups = data
    pairs = listed(groups)
    if not len(pairs) or not np.abs(features[pairs[:, 0]] - features[pairs[:, 1]]).max() > 0:
        with pytest.raises(ValueError, match="equal features"):
            solve_ridge(pair_moments(features, labels, groups), FRACTIONS)
        return
    expected = explicit_ridge(features, labels, groups, FRACTIONS)
    found = solve_ridge(pair_moments(features, labels, groups), FRACTIONS)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


@given(data_sets())
@settings(max_examples=100, deadline=None)
def test_error_equals_that_of_listed_pairs(data):
    _, labels, groups = data
    pairs = listed(groups)
    if not len(pairs):
        with pytest.raises(ValueError, match="no pair"):
            mean_pair_errors(labels, groups)
        return
    expected = np.abs(labels[pairs[:, 1]] - labels[pairs[:, 0]]).mean(axis=0)
    np.testing.assert_allclose(mean_pair_errors(labels, groups), expected, rtol=1e-12, atol=1e-12)


@given(data_sets())
@settings(max_examples=60, deadline=None)
def test_a_part_left_out_is_a_difference_of_sums(data):
    features, labels, groups = data
    whole, part = pair_moments(features, labels, groups), pair_moments(features, labels, groups[:1])
    rest = whole - part
    expected = pair_moments(features, labels, groups[1:])
    scale = np.abs(whole.features).max() + 1
    np.testing.assert_allclose(rest.features, expected.features, atol=1e-12 * scale)
    np.testing.assert_allclose(rest.labels, expected.labels, atol=1e-12 * scale)


@pytest.mark.parametrize("width", [3, 40])
def test_compressed_features_give_the_same_estimates(width):
    random = np.random.default_rng(1)
    features, labels = random.normal(size=(20, width)), random.normal(size=(20, 2))
    groups = [PairGroup(np.arange(0, 6)), PairGroup(np.arange(6, 12), np.arange(12, 15))]
    plain = solve_ridge(pair_moments(features, labels, groups), STRENGTHS)
    small, basis = compress(features)
    assert (basis is None) == (width <= 20)
    solved = solve_ridge(pair_moments(small, labels, groups), STRENGTHS)
    np.testing.assert_allclose(small @ solved, features @ plain, rtol=1e-8, atol=1e-8)
    if basis is not None:
        np.testing.assert_allclose(basis @ solved, plain, rtol=1e-7, atol=1e-8)


def test_the_moments_of_many_equal_images_do_not_lose_digits():
    features = np.full((50, 4), 1e6) + np.random.default_rng(0).normal(size=(50, 4))
    labels = features[:, :1].copy()
    group = [PairGroup(np.arange(50))]
    expected = explicit_ridge(features - 1e6, labels - 1e6, group, (1e-9,))
    found = solve_ridge(pair_moments(features, labels, group), (1e-9,))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)
