import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from comface_bench.data.uniforms import image_key, uniforms

WORD = (1 << 64) - 1


def one_by_one(seed: int, key: int, view: int, slots: int) -> list[float]:
    """The documented generator in plain Python integers."""

    def mix(word: int) -> int:
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & WORD
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & WORD
        return word ^ (word >> 31)

    golden = 0x9E3779B97F4A7C15
    stream = mix(mix(mix((seed + golden) & WORD) ^ key) ^ (view & WORD))
    return [(mix((stream + (slot + 1) * golden) & WORD) >> 11) / 2**53 for slot in range(slots)]


@given(
    seed=st.integers(0, 2**63 - 1),
    addresses=st.lists(st.tuples(st.integers(0, WORD), st.integers(-(2**63), 2**63 - 1)), max_size=8),
    slots=st.integers(0, 5),
)
def test_numbers_are_a_pure_function_of_their_address(seed, addresses, slots):
    keys = np.array([key for key, _ in addresses], dtype=np.uint64)
    views = np.array([view for _, view in addresses], dtype=np.int64)
    drawn = uniforms(seed, keys, views, slots)
    assert drawn.shape == (len(addresses), slots)
    assert drawn.dtype == np.float64
    assert drawn.tolist() == [one_by_one(seed, key, view, slots) for key, view in addresses]


def test_known_values():
    # Pins the stream: other numbers would change every published record.
    drawn = uniforms(7, np.array([image_key("a/b.jpg")], dtype=np.uint64), np.array([3]), 2)
    assert image_key("a/b.jpg") == 0x67ED673B4D9FCCAE
    assert drawn[0].tolist() == [0.3430458797954302, 0.6188324751268413]


def test_more_slots_keep_the_first():
    keys, views = np.arange(5, dtype=np.uint64), np.arange(5)
    np.testing.assert_array_equal(uniforms(1, keys, views, 9)[:, :4], uniforms(1, keys, views, 4))


@pytest.mark.parametrize("axis", ["seed", "key", "view", "slot"])
def test_neighbours_are_uniform_and_independent(axis):
    count, zeros = 20_000, np.zeros(20_000, dtype=np.int64)
    numbers = np.arange(count)
    drawn = {
        "seed": lambda: np.array(
            [uniforms(seed, zeros[:1].astype(np.uint64), zeros[:1], 1) for seed in numbers]
        ),
        "key": lambda: uniforms(5, numbers.astype(np.uint64), zeros, 1),
        "view": lambda: uniforms(5, zeros.astype(np.uint64), numbers, 1),
        "slot": lambda: uniforms(5, zeros[:1].astype(np.uint64), zeros[:1], count),
    }[axis]().ravel()
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert stats.kstest(drawn, "uniform").pvalue > 1e-3
    for lag in (1, 2, 3, 16, 256):
        assert abs(np.corrcoef(drawn[:-lag], drawn[lag:])[0, 1]) < 4 / np.sqrt(count)
    pairs = np.histogram2d(drawn[:-1:2], drawn[1::2], bins=10, range=[[0, 1], [0, 1]])[0]
    assert stats.chisquare(pairs.ravel()).pvalue > 1e-3


def test_key_and_view_are_not_interchangeable():
    values = uniforms(
        0, np.repeat(np.arange(100, dtype=np.uint64), 100), np.tile(np.arange(100), 100), 1
    ).ravel()
    assert len(np.unique(values)) == 10_000
