"""The one form of a package, and zip files that aren't in it; most are made by `zipfile` itself."""

import contextlib
import io
import stat
import struct
import time
import tracemalloc
import warnings
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comface_bench.submission import package as archive
from comface_bench.submission.package import ArchiveError, read_archive, write_archive

MEMBERS = {"a/b/c.json": b"{}\n", "submission.toml": b"schema = 1\n"}


def zipped(members=None, method=zipfile.ZIP_STORED, change=None, comment=b""):
    """What another tool would write."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that stand twice
        for name, data in members or MEMBERS.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = method
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            if change:
                change(entry)
            file.writestr(entry, data)
        file.comment = comment
    return buffer.getvalue()


def refusal(data):
    with pytest.raises(ArchiveError) as caught:
        read_archive(data)
    return f"{caught.value.place}: {caught.value.message}"


def test_one_form():
    data = write_archive(MEMBERS)
    assert data == write_archive(dict(reversed(MEMBERS.items()))) == zipped()
    assert read_archive(data) == MEMBERS
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert file.testzip() is None
        assert {name: file.read(name) for name in file.namelist()} == MEMBERS


@given(st.dictionaries(st.text("abc/.XY", min_size=1, max_size=8), st.binary(max_size=50), max_size=5))
def test_round_trip(members):
    lower = {name.lower() for name in members}
    if len(lower) < len(members) or any(name.endswith("/") for name in members):
        return
    assert read_archive(write_archive(members)) == members


def test_names_twice_and_in_two_cases():
    assert "stands twice" in refusal(zipped([("a", b"1"), ("a", b"2")]))
    assert "upper and lower case" in refusal(zipped([("A/b", b"1"), ("a/b", b"2")]))


def test_links_folders_and_devices():
    def become(mode):
        return lambda entry: setattr(entry, "external_attr", (mode | 0o777) << 16)

    assert "a link" in refusal(zipped(change=become(stat.S_IFLNK)))
    assert "no plain file" in refusal(zipped(change=become(stat.S_IFIFO)))
    assert "no plain file" in refusal(zipped(change=become(stat.S_IFDIR)))


def test_encrypted():
    data = bytearray(write_archive(MEMBERS))
    directory = data.index(b"PK\x01\x02")
    data[directory + 8] |= 1
    assert "a/b/c.json: encrypted" in refusal(bytes(data))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed(method):
    assert "compressed" in refusal(zipped([("a", b"0" * 1000)], method))


def test_extra_fields_comments_and_bytes_around():
    def extra(entry):
        entry.extra = struct.pack("<HH4s", 0x5455, 4, b"home")

    def remark(entry):
        entry.comment = b"by alice"

    assert "extra field" in refusal(zipped(change=extra))
    assert "comment" in refusal(zipped(change=remark))
    assert "comment" in refusal(zipped(comment=b"by alice"))
    good = write_archive(MEMBERS)
    assert "not a zip file" in refusal(b"#!/bin/sh\n" + good)
    assert "bytes behind it" in refusal(good + b"more")
    gap = good.index(b"PK\x01\x02")
    assert refusal(good[:gap] + b"hidden" + good[gap:])
    other_date = zipped(change=lambda entry: setattr(entry, "date_time", (2026, 1, 2, 3, 4, 6)))
    assert "headers" in refusal(other_date)


def test_a_local_header_that_says_otherwise():
    data = bytearray(write_archive(MEMBERS))
    place = data.index(b"a/b/c.json")
    data[place : place + 10] = b"../../etc!"
    assert "contradict" in refusal(bytes(data))
    data = bytearray(write_archive(MEMBERS))
    data[data.index(b"{}\n")] ^= 1
    assert "contradict" in refusal(bytes(data)), "the checksum no longer fits"


def test_names_outside_ascii():
    assert "isn't ASCII" in refusal(zipped([("a\u202eb", b"")]))


def overlapping(count, kernel=b"0" * 2**20):
    """A bomb of overlapping members: every entry of the directory points at the same bytes."""
    name = b"a0000"
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 33, 0, len(kernel), len(kernel), 5, 0)
    body = local + name + kernel
    entries = b"".join(
        struct.pack(
            "<4s6H3I5H2I",
            *(b"PK\x01\x02", 0x314, 20, 0, 0, 0, 33, 0, len(kernel), len(kernel), 5, 0, 0, 0, 0),
            *(0o100644 << 16, 0),
        )
        + b"a%04d" % number
        for number in range(count)
    )
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(entries), len(body), 0)
    return body + entries + end


def test_bombs_are_refused_quickly_and_without_memory():
    bombs = [
        zipped([("a", bytes(10**7))], zipfile.ZIP_DEFLATED),
        zipped([("a.zip", zipped([("b", bytes(10**7))], zipfile.ZIP_DEFLATED))], zipfile.ZIP_DEFLATED),
        overlapping(200),
        overlapping(60_000),
    ]
    tracemalloc.start()
    start = time.perf_counter()
    reasons = [refusal(bomb) for bomb in bombs]
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [reason.split(": ")[1].split()[0].strip(";") for reason in reasons] == [
        "compressed",
        "compressed",
        "overlaps",
        "60000",
    ]
    assert seconds < 1
    assert peak < 10 * 2**20


def test_too_big_or_too_many(monkeypatch):
    assert "members" in refusal(write_archive({f"m{number}": b"" for number in range(202)}))
    monkeypatch.setattr(archive, "PACKAGE_BYTES", 100)
    assert "bigger than 100 bytes" in refusal(write_archive(MEMBERS))


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\x03\x04" + bytes(40), b"PK\x05\x06" + b"\xff" * 18])
def test_no_zip(data):
    assert refusal(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_read(data):
    with contextlib.suppress(ArchiveError):
        assert write_archive(read_archive(data)) == data


@given(st.data())
def test_any_change_of_a_byte_is_refused_or_changes_a_member(data):
    good = write_archive(MEMBERS)
    place = data.draw(st.integers(0, len(good) - 1))
    changed = bytearray(good)
    changed[place] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ArchiveError):
        assert read_archive(bytes(changed)) != MEMBERS
