from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comface_bench.core.digest import canonical_json, digest, digest_content, digest_file

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


def stored(tensors: dict[str, tuple[str, list[int], bytes]], **metadata: str) -> bytes:
    """Write a safetensors file by hand, its tensors in the order given."""
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


A, B, EMPTY = ("F32", [1], b"abcd"), ("U8", [3], b"efg"), ("F16", [0, 2], b"")


def content_of(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    found = digest_content(path)
    assert found.bytes == hashlib.sha256(data).hexdigest()
    return found.content


def test_the_content_of_safetensors_is_names_types_shapes_and_numbers(tmp_path):
    path = tmp_path / "named as a torch file.pth"
    first = content_of(path, stored({"a": A, "b": B, "c": EMPTY}))
    assert first != hashlib.sha256(path.read_bytes()).hexdigest()
    same = [
        stored({"b": B, "c": EMPTY, "a": A}),
        stored({"a": A, "b": B, "c": EMPTY}, format="pt"),
        stored({"a": A, "b": B, "c": EMPTY}, conversion="of another file", format="np"),
    ]
    assert {content_of(path, data) for data in same} == {first}
    others = [
        stored({"x": A, "b": B, "c": EMPTY}),
        stored({"a": ("I32", [1], A[2]), "b": B, "c": EMPTY}),
        stored({"a": ("F32", [1, 1], A[2]), "b": B, "c": EMPTY}),
        stored({"a": ("F32", [1], b"abce"), "b": B, "c": EMPTY}),
        stored({"a": A, "b": B}),
        # Facts that a method may read, as ComFace does.
        stored({"a": A, "b": B, "c": EMPTY}, comface="{}"),
        stored({"a": A, "b": B, "c": EMPTY}, comface="[]"),
    ]
    assert len({content_of(path, data) for data in others} | {first}) == len(others) + 1


def raw(header: str, data: bytes = b"abcd") -> bytes:
    return len(header).to_bytes(8, "little") + header.encode() + data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"abc",
        b"\xff" * 40,
        stored({"a": A}) + b"more",
        stored({"a": A})[:-1],
        raw('{"a":{"dtype":"F32","shape":[1],"data_offsets":[1,4]}}'),
        raw(
            '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}'
        ),
        raw(
            '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
        ),
        raw('{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}'),
        raw('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4.0]}}'),
        raw('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}'),
        raw('{"a":3}'),
        raw("[]"),
        raw("{" * 5000),
    ],
)
def test_the_content_of_any_other_file_is_its_bytes(tmp_path, data):
    assert content_of(tmp_path / "a.safetensors", data) == hashlib.sha256(data).hexdigest()
