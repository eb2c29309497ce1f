from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comface_bench.core.digest import canonical_json, digest, digest_file

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@dataclass(frozen=True)
class Point:
    x: int
    inner: object = None


def test_canonical_form():
    value = {"b": (1, 2.5), "a": "ü", "c": None, "d": Point(1, Point(2))}
    expected = r'{"a":"\u00fc","b":[1,2.5],"c":null,"d":{"inner":{"inner":null,"x":2},"x":1}}'
    assert canonical_json(value) == expected
    assert digest(value) == hashlib.sha256(expected.encode()).hexdigest()


@given(PLAIN)
def test_canonical_form_is_json_of_the_value(value):
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(max_size=4), st.integers(), min_size=2))
def test_the_order_of_keys_does_not_matter(value):
    assert digest(value) == digest(dict(reversed(value.items())))


def test_sets_are_sorted():
    assert canonical_json({"a": {"y", "x"}}) == '{"a":["x","y"]}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, float("-inf")]])
def test_numbers_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)


@pytest.mark.parametrize("value", [Path("a"), b"a", object(), Point])
def test_what_has_no_canonical_form_is_refused(value):
    with pytest.raises(TypeError, match="no canonical form"):
        canonical_json({"key": value})


def test_whole_numbers_and_fractions_differ():
    assert digest(1) != digest(1.0)


def test_files_are_hashed_by_their_bytes(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc" * 100_000)
    assert digest_file(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()
