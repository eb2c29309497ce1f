"""The ledger of digests: kept whole, by many processes, and never silently lost."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import multiprocessing

import pytest

from comface_bench.core.errors import WeightsFormatError
from comface_bench.core.ledger import KnownDigest, digest_weights, make_note, read_ledger, write_note

NOTE = KnownDigest("ab" * 32, "m", "2026-01-01T00:00:00+00:00", 3, 4)


def test_digests_are_those_of_the_bytes(tmp_path):
    path = tmp_path / "a"
    for content in (b"", b"abc" * 1_000_000):
        path.write_bytes(content)
        assert digest_weights(path) == (hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest())


def test_there_and_back(tmp_path):
    assert read_ledger(tmp_path) == {}
    write_note(tmp_path, "m/b.pth", NOTE)
    write_note(tmp_path, "a.pth", dataclasses.replace(NOTE, published="md5:12"))
    write_note(tmp_path, "m/b.pth", dataclasses.replace(NOTE, size=5))
    expected = {
        "a.pth": dataclasses.replace(NOTE, published="md5:12"),
        "m/b.pth": dataclasses.replace(NOTE, size=5),
    }
    assert read_ledger(tmp_path) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["digests.json"]
    assert list(json.loads((tmp_path / "digests.json").read_text())) == ["a.pth", "m/b.pth"]


def test_a_note_is_of_a_file_while_it_stays(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    note = make_note(path, "m")
    assert note.is_of(path)
    assert (note.size, note.sha256) == (3, hashlib.sha256(b"abc").hexdigest())
    path.write_bytes(b"abcd")
    assert not note.is_of(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"a": 3}', '{"a": {"sha256": "x"}}', '{"a": {"unknown": 1}}', "\udcff"]
)
def test_a_malformed_ledger_is_named_with_the_way_out(tmp_path, text):
    (tmp_path / "digests.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(WeightsFormatError, match=r"digests\.json is malformed") as caught:
        read_ledger(tmp_path)
    assert "weights verify all" in caught.value.hint
    with pytest.raises(WeightsFormatError):
        write_note(tmp_path, "a", NOTE)
    assert (tmp_path / "digests.json").read_bytes() == text.encode("utf-8", "surrogateescape")


def test_a_folder_that_is_gone_is_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="digest of a can't be noted"):
        write_note(tmp_path / "nothing", "a", NOTE)


def write_some(folder, number):
    for index in range(20):
        write_note(folder, f"{number}-{index}", NOTE)


def test_many_processes_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        list(pool.map(write_some, [tmp_path] * 2, range(2)))
    assert len(read_ledger(tmp_path)) == 40
