"""The restricted pickle reader, against the real one, and against pickles that mean harm."""

from __future__ import annotations

import argparse
import collections
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.read import BlockedGlobalError, read_tensors

ARRAYS = {
    "conv1.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 7.5,
    "columns": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    "half": np.array([1.5, -2], dtype=np.float16),
    "swapped": np.arange(5, dtype=">f4"),
    "steps": np.array(7, dtype=np.int64),
    "long": np.arange(300, dtype=np.float32),
    "bytes": np.arange(256).astype(np.uint8),
}


def old_core(data: bytes) -> bytes:
    """Name numpy's core as numpy 1 did."""
    return data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def python2(arrays, protocol: int) -> bytes:
    """Write arrays as Python 2 with numpy 1 did: its one type for text and bytes, in both protocols."""
    text = protocol == 0

    def string(value: bytes) -> bytes:
        if text:
            return b"S" + repr(value)[1:].encode() + b"\n"
        return b"T" + struct.pack("<i", len(value)) + value

    def number(value: int) -> bytes:
        return b"I%d\n" % value if text else b"J" + struct.pack("<i", value)

    def array(value: np.ndarray) -> bytes:
        shape = b"(" + b"".join(map(number, value.shape)) + b"t"
        by_columns = not value.flags.c_contiguous
        kind = b"cnumpy\ndtype\n(" + string(value.dtype.str[1:].encode()) + number(0) + number(1) + b"tR"
        order = string(value.dtype.str[:1].encode())
        kind += b"(" + number(3) + order + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
        start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + number(0) + b"t" + string(b"b")
        content = string(value.tobytes(order="F" if by_columns else "C"))
        state = b"(" + number(1) + shape + kind + (b"I01\n" if by_columns else b"I00\n") + content + b"t"
        return start + b"tR" + state + b"b"

    entries = b"".join(string(name.encode()) + array(value) + b"s" for name, value in arrays.items())
    return (b"(d" if text else b"\x80\x02}") + entries + b"."


FILES = {f"protocol {protocol}": pickle.dumps(ARRAYS, protocol) for protocol in range(5)}
FILES |= {f"numpy 1, protocol {protocol}": old_core(pickle.dumps(ARRAYS, protocol)) for protocol in range(4)}
FILES |= {f"python 2, protocol {protocol}": python2(ARRAYS, protocol) for protocol in (0, 2)}
FILES |= {"ordered": pickle.dumps(collections.OrderedDict(ARRAYS), 2)}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.filterwarnings("ignore:numpy.core")
def test_arrays_are_what_the_real_reader_makes_of_them(tmp_path, kind):
    path = tmp_path / "resnet50_scratch_weight.pkl"
    path.write_bytes(FILES[kind])
    real = pickle.loads(FILES[kind], encoding="latin1")
    found = read_tensors(path)
    assert list(found) == list(real) == list(ARRAYS)
    for name, array in real.items():
        assert np.array_equal(array, ARRAYS[name])
        assert found[name].numpy().dtype == array.dtype.newbyteorder("=")
        assert found[name].shape == array.shape
        assert np.array_equal(found[name].numpy(), array), name
    found["steps"] += 1  # Its own memory, writable.


def test_what_lies_beside_a_container_is_left(tmp_path):
    path = tmp_path / "a.pkl"
    args = argparse.Namespace(lr=np.float64(0.1), steps=[1, 2])
    path.write_bytes(pickle.dumps({"args": args, "model": ARRAYS, "best": np.float32(3)}, 2))
    assert list(read_tensors(path)) == list(ARRAYS)


class Shell:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("where", ["alone", "entry", "beside", "key", "namespace", "array"])
def test_code_never_runs(tmp_path, protocol, where):
    mark, path = tmp_path / "ran", tmp_path / "evil.pkl"
    shell = Shell(mark)
    content = {
        "alone": shell,
        "entry": {"a": np.ones(2), "b": shell},
        "beside": {"model": {"a": np.ones(2)}, "log": [shell]},
        "key": {("a", shell): np.ones(2)},
        "namespace": {"model": {"a": np.ones(2)}, "args": argparse.Namespace(x=shell)},
        "array": {"a": np.array([shell], dtype=object)},
    }[where]
    path.write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(WeightsFormatError) as caught:
        read_tensors(path)
    assert not mark.exists()
    if where in ("alone", "entry", "beside", "key") and protocol < 5:
        assert isinstance(caught.value, BlockedGlobalError)
        assert caught.value.name == "posix.system"
    # The file is as harmful as it was meant to be.
    pickle.loads(path.read_bytes())
    assert mark.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",
        b"(S'1'\nibuiltins\neval\n.",  # INST
        b"(cbuiltins\neval\nS'1'\no.",  # OBJ
        b"cposix\nsystem\n.",
        b"cnumpy\nload\n.",
        b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.",
        b"ctorch.serialization\nload\n.",
    ],
)
def test_globals_in_every_instruction_are_refused(tmp_path, data):
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(WeightsFormatError):
        read_tensors(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    ("name", "hostile"), [("posix.system", True), ("builtins.eval", True), ("omegaconf.Dict", False)]
)
def test_the_blocked_name_is_reported_with_what_can_be_done(tmp_path, name, hostile):
    module, _, function = name.rpartition(".")
    (tmp_path / "a.pkl").write_bytes(f"c{module}\n{function}\n.".encode())
    with pytest.raises(BlockedGlobalError, match=f"would have to run {name}\n") as caught:
        read_tensors(tmp_path / "a.pkl")
    assert (caught.value.name, caught.value.hostile) == (name, hostile)
    assert ("weights convert" in caught.value.hint) == (not hostile)


def stored(shape=(2,), code="f4", order="<", data=b"\0" * 8, fields=(None, None, None)):
    """A pickle of one array, whose parts may contradict each other."""

    class Type:
        def __reduce__(self):
            return np.dtype, (code, False, True), (3, order, *fields, -1, -1, 0)

    class Array:
        def __reduce__(self):
            start = np.zeros(0).__reduce__()
            return start[0], start[1], (1, shape, Type(), False, data)

    # Written in the file as what it is made by, which is all that the reader sees.
    return pickle.dumps({"a": Array()}, 2)


@pytest.mark.parametrize(
    "facts",
    [
        {"shape": (3,)},
        {"shape": (1,)},
        {"shape": (-2,)},
        {"shape": (-1, -2)},
        {"shape": (10**12,)},
        {"shape": (2**32, 2**32)},
        {"shape": (2**62, 4)},
        {"shape": (10**4000,)},
        {"shape": (1,) * 60 + (2,)},
        {"shape": (2.0,)},
        {"shape": (True, 2)},
        {"shape": [2]},
        {"shape": "2"},
        {"shape": None},
        {"code": "O8"},
        {"code": "O"},
        {"code": "V4"},
        {"code": "S4"},
        {"code": "M8"},
        {"code": "c8"},
        {"code": "f4,f4"},
        {"code": ["f4"]},
        {"code": "f8"},
        {"order": "x"},
        {"order": None},
        {"fields": (("f4", (2,)), None, None)},
        {"fields": (None, ("x",), {"x": 1})},
        {"data": b""},
        {"data": [0, 0]},
        {"data": "\u20ac\u20ac"},
        {"data": None},
    ],
    ids=repr,
)
def test_arrays_that_contradict_themselves_are_refused_before_memory_is_taken(tmp_path, facts):
    path = tmp_path / "a.pkl"
    path.write_bytes(stored())
    assert torch.equal(read_tensors(path)["a"], torch.zeros(2))
    path.write_bytes(stored(**facts))
    tracemalloc.start()
    try:
        with pytest.raises(WeightsFormatError, match=r"^a\.pkl"):
            read_tensors(path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("memo", b"\x80\x02}r\xff\xff\xff\x7f."),
        ("bytes", b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc."),
        ("bytearray", b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"abc."),
        ("frame", b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"}."),
        ("long", b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"."),
        ("digits", b"I" + b"9" * 100_000 + b"\n."),
        ("deep", b"(" * 50_000 + b"l" * 50_000 + b"."),
        # Each tuple holds the one before twice; hashing the last would take 2⁶⁰ steps.
        ("tuples", b"}()q\x00" + b"h\x00\x86q\x00" * 60 + b"Nu."),
        ("tuples, one by one", b"})q\x00" + b"h\x00\x86q\x00" * 60 + b"Ns."),
        ("tuples, protocol 0", b"()q\x00" + b"h\x00\x86q\x00" * 60 + b"Nd."),
    ],
)
def test_small_files_that_ask_for_much_are_refused_at_once(tmp_path, name, data):
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        try:
            read_tensors(path)
        except WeightsFormatError:
            pass
        else:
            pytest.fail("it holds no tensor")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_the_real_reader_takes_the_memory_that_a_file_asks_for():
    # What the test above would see if the compiled reader were used: the memo alone takes 8 bytes an entry.
    tracemalloc.start()
    pickle.loads(b"\x80\x02}r\x00\x00\x40\x00.")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak > 20_000_000


def test_state_cannot_change_what_makes_things(tmp_path):
    # A slot state would set attributes of the maker itself, for all files that follow.
    path = tmp_path / "a.pkl"
    for target in (b"cnumpy.core.multiarray\n_reconstruct\n", b"c_codecs\nencode\n", b"cnumpy\ndtype\n"):
        path.write_bytes(target + b"(N}S'__setstate__'\nI1\nstb.")
        with pytest.raises(WeightsFormatError):
            read_tensors(path)
        path.write_bytes(stored())
        assert read_tensors(path)["a"].shape == (2,)


SEEDS = [*FILES.values(), pickle.dumps({"args": argparse.Namespace(a=np.float32(1)), "model": ARRAYS}, 2)]


def assert_tensors_or_refused(path, data):
    path.write_bytes(data)
    try:
        found = read_tensors(path)
    except WeightsFormatError as error:
        assert path.name in error.message
    else:
        assert found
        for name, tensor in found.items():
            assert type(name) is str
            assert type(tensor) is torch.Tensor
            assert tensor.numel() * tensor.element_size() <= len(data)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_pickles_give_tensors_or_an_error(tmp_path_factory, data):
    whole = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        change = data.draw(st.sampled_from(["set", "cut", "drop", "insert"]))
        if change == "set":
            whole[at] = data.draw(st.integers(0, 255))
        elif change == "cut":
            del whole[max(at, 1) :]
        elif change == "drop":
            del whole[at : at + data.draw(st.integers(1, 20))]
        else:
            whole[at:at] = data.draw(st.binary(max_size=12))
        if not whole:
            return
    assert_tensors_or_refused(tmp_path_factory.mktemp("fuzz") / "a.pkl", bytes(whole))


_CODES = [value for name, value in vars(pickle).items() if name.isupper() and isinstance(value, bytes)]
_NAMES = [b"numpy\nndarray\n", b"numpy\ndtype\n", b"_codecs\nencode\n", b"collections\nOrderedDict\n"]
_NAMES += [
    b"numpy.core.multiarray\n_reconstruct\n",
    b"argparse\nNamespace\n",
    b"posix\nsystem\n",
    b"os\n_exit\n",
]
_STEPS = st.one_of(
    st.sampled_from([code for code in _CODES if len(code) == 1]),
    st.sampled_from([b"c" + name for name in _NAMES]),
    st.sampled_from(
        [b"S'f4'\n", b"S'a'\n", b"I3\n", b"K\x02", b")", b"}", b"N", b"(", b"tR", b"b", b"s", b"u"]
    ),
    st.binary(max_size=4),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_STEPS, max_size=25))
def test_any_program_of_instructions_gives_tensors_or_an_error(tmp_path_factory, steps):
    assert_tensors_or_refused(tmp_path_factory.mktemp("fuzz") / "a.pkl", b"".join(steps) + b".")
