"""Which images a corpus holds, and the paper's accounting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comface_bench.comface.corpus.plan import CorpusPlan, disjoint_pairs, paper_plans
from comface_bench.core.errors import UsageError

CELEBA = tuple(f"attribute-{number}" for number in range(40))


def test_accounting_of_the_paper():
    """Supplement, A.1: 50,000 × 3 × 100 and 5,000 × 40 × 100 images, 250,000 identities, 350,000 records."""
    plans = paper_plans(CELEBA)
    v1, v3 = plans["stylegan"], plans["stylegan3"]
    assert v1.training_images == 15_000_000
    assert v3.training_images == 20_000_000
    assert v1.records + v3.records == 350_000
    assert v1.alphas == 100 and 0.0 not in v1.record(0).alphas
    assert v3.alphas == 101 and 0.0 in v3.record(0).alphas
    assert [v1.record(number).identity for number in (0, 1, 2, 3)] == [0, 0, 0, 1]
    assert v1.record(v1.records - 1).identity == 49_999
    assert v3.record(v3.records - 1).identity == 199_999
    for plan in plans.values():
        pairs = disjoint_pairs(np.array(plan.record(7).alphas), np.random.default_rng(0))
        assert len(pairs) == 50


def test_a_grid_is_that_of_the_paper():
    grid = CorpusPlan(0, ("age",), 1).grid
    assert len(grid) == 101 and grid[0] == -5.0 and grid[-1] == 5.0
    assert np.allclose(np.diff(grid), 0.1)


@given(st.integers(0, 5), st.integers(2, 100), st.booleans(), st.integers(0, 30))
def test_drawn_alphas_reach_from_end_to_end(seed, alphas, zero, number):
    plan = CorpusPlan(seed, ("age", "smile"), 20, alphas=alphas, zero=zero)
    drawn = plan.record(number).alphas
    assert drawn == plan.record(number).alphas
    assert len(set(drawn)) == alphas and list(drawn) == sorted(drawn)
    assert set(drawn) <= set(plan.grid)
    assert drawn[0] <= -5 + 10 / alphas + 0.11 and drawn[-1] >= 5 - 10 / alphas - 0.11


def test_records_of_a_longer_corpus_are_the_same():
    short, long = CorpusPlan(1, ("age", "smile"), 3, alphas=4), CorpusPlan(1, ("age", "smile"), 9, alphas=4)
    assert list(short.stretch(0, 99)) == list(long.stretch(0, 6))
    drawn = {long.record(number).alphas for number in range(18)}
    assert len(drawn) > 15


@pytest.mark.parametrize(
    "wrong",
    [
        {"attributes": ()},
        {"attributes": ("age", "age")},
        {"identities": 0},
        {"seed": -1},
        {"seed": 2**128},
        {"first": -1},
        {"first": 2**63},
        {"alphas": 1},
        {"alphas": 102},
        {"alphas": 101, "zero": False},
    ],
)
def test_a_plan_out_of_range(wrong):
    with pytest.raises(UsageError):
        CorpusPlan(**({"seed": 0, "attributes": ("age",), "identities": 1} | wrong))


def test_a_plan_comes_back_from_json():
    plan = CorpusPlan(2, ("age", "smile"), 7, shared=True, alphas=9, zero=False, first=5)
    assert CorpusPlan.from_json(plan.as_json()) == plan


@given(st.integers(2, 101), st.integers(0, 99), st.floats(0, 4), st.floats(0, 6))
def test_pairs_are_disjoint_and_keep_to_the_span(count, seed, low, width):
    alphas = np.linspace(-5, 5, count).astype(np.float32)
    pairs = disjoint_pairs(alphas, np.random.default_rng(seed), (low, low + width))
    assert len(np.unique(pairs)) == pairs.size
    change = np.abs(alphas[pairs[:, 0]] - alphas[pairs[:, 1]])
    assert ((change >= low - 1e-4) & (change <= low + width + 1e-4)).all()
    if not pairs.size:
        every = np.abs(alphas[:, None] - alphas)[~np.eye(count, dtype=bool)]
        assert not ((every >= low) & (every <= low + width)).any()


def test_either_image_of_a_pair_may_be_first():
    alphas, random = np.linspace(-5, 5, 100), np.random.default_rng(0)
    signs = [
        np.sign(np.diff(alphas[disjoint_pairs(alphas, random, (0, 3))], axis=1)).mean() for _ in range(50)
    ]
    assert abs(np.mean(signs)) < 0.1
