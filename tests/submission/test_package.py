"""The form of a package: archive, members, texts and note. Each kind of attack is refused by name."""

import contextlib
import gzip
import io
import os
import pickle
import re
import stat
import struct
import tempfile
import time
import tracemalloc
import warnings
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comface_bench.submission import package
from comface_bench.submission.package import (
    ArchiveError,
    name_problem,
    read_archive,
    write_archive,
    write_note,
)

MEMBERS = {"a/b/c.json": b"{}\n", "submission.toml": b"schema = 1\n"}


def zipped(members=None, method=zipfile.ZIP_STORED, change=None, comment=b""):
    """A package as another tool would write it."""
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
    start = time.process_time()
    reasons = [refusal(bomb) for bomb in bombs]
    seconds = time.process_time() - start
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
    monkeypatch.setattr(package, "PACKAGE_BYTES", 100)
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


TABLE = "synth-age/linear/my-net.predictions.csv.gz"
JSON = "synth-age/linear/my-net.json"
NOTE = "submission.toml"
HEADER = b"pair_id,subject,fold,seed,y,yhat\n"
EXECUTED = Path(tempfile.gettempdir()) / f"executed-{os.getpid()}"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../linear/my-net.json", "out of the folder"),
        ("synth-age/../../my-net.json", "out of the folder"),
        ("/synth-age/linear/my-net.json", "out of the folder"),
        ("synth-age\\linear\\my-net.json", "out of the folder"),
        ("C:/linear/my-net.json", "out of the folder"),
        ("synth-age/linear/con.json", "device"),
        ("synth-age/Aux.x/my-net.json", "device"),
        ("synth-age/linear/.my-net.json", "can't name"),
        ("synth-age/linear/my net.json", "can't name"),
        ("synth-age/linear/<script>.json", "can't name"),
        ("synth-age//my-net.json", "can't name"),
        ("synth-age/linear/a\nb.json", "U+000A"),
        ("synth-age/my-net.json", "isn't submission.toml"),
        ("synth-age/linear/deeper/my-net.json", "isn't submission.toml"),
        ("synth-age/linear/my-net.pkl", "isn't submission.toml"),
        ("synth-age/linear/my-net.py", "isn't submission.toml"),
        ("README.md", "isn't submission.toml"),
        ("synth-age/linear/" + "a" * 240 + ".json", "a path of"),
    ],
)
def test_names_of_members(made, name, reason):
    found = made.messages(made.check({**made.members, name: b"{}"}))
    assert reason in found
    assert len(found.splitlines()) <= 2, "one finding a name, and the missing predictions"


def test_what_a_package_must_hold(made):
    def without(*names):
        kept = {name: data for name, data in made.members.items() if name not in names}
        return made.messages(made.check(kept))

    assert without(NOTE) == "submission.toml: isn't there"
    assert without(TABLE) == f"{JSON}: has no predictions beside it"
    assert "predictions without their record" in without(JSON)
    assert "holds no record" in without(JSON, TABLE)


def packed(data, mtime=0, filename=""):
    buffer = io.BytesIO()
    with gzip.GzipFile(filename=filename, mode="wb", fileobj=buffer, mtime=mtime) as stream:
        stream.write(data)
    return buffer.getvalue()


class Evil:
    def __reduce__(self):
        return (os.system, (f"touch {EXECUTED}",))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pickle.dumps(Evil()), "a pickle"),
        (b"PK\x03\x04" + bytes(50), "a zip file"),
        (b"\x7fELF" + bytes(50), "a program"),
        (b"#!/bin/sh\n", "a script"),
        (b"\x89PNG\r\n", "an image"),
        (b"<html></html>", "HTML or XML"),
        (b"\xff\xfe{\x00}\x00", "isn't ASCII"),
        ('{"a": "\u00e9"}'.encode(), "isn't ASCII"),
        (b"{", "no JSON"),
        (b"[" * 5000, "nested too deeply"),
        (b"[" * 50 + b"]" * 50, "nested more than 12 deep"),
        (b'{"a":' * 900 + b"1" + b"}" * 900, "nested more than 12 deep"),
        (b"1" * 5000, "no JSON"),
        (b"[]", "no object"),
        (b"{}", "Field required"),
        (b'"' + b"a" * 5_000_000 + b'"', "bytes; at most"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_records_that_are_something_else(made, data, reason):
    assert reason in made.messages(made.check({**made.members, JSON: data}))
    assert not EXECUTED.exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pickle.dumps(Evil()), "isn't a plain gzip file"),
        (packed(b"pair_id", mtime=5), "isn't a plain gzip file"),
        (packed(b"pair_id", filename="alice.csv"), "isn't a plain gzip file"),
        (packed(pickle.dumps(Evil())), "isn't a table"),
        (packed(b"x" * 100)[:20], "isn't a table"),
        (packed(bytes(3 * 10**7)), "times its size"),
        (packed(HEADER + b"1-2-3" * 10**6), "times its size"),
        (packed(HEADER)[:10] + b"not deflated", "not a whole gzip file"),
        (packed(HEADER)[:-3], "not one whole gzip file"),
        # Whoever reads the table would read on, beyond the cap.
        (packed(HEADER) + packed(bytes(3 * 10**7)), "bytes behind it"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_predictions_that_are_something_else(made, data, reason):
    assert reason in made.messages(made.check({**made.members, TABLE: data}))
    assert not EXECUTED.exists()


def test_predictions_are_unpacked_no_further_than_the_cap(made, monkeypatch):
    size = len(zlib.decompress(made.members[TABLE], 31))
    monkeypatch.setattr(package, "UNPACKED_BYTES", size)
    assert made.check(made.members).ok
    monkeypatch.setattr(package, "UNPACKED_BYTES", size - 1)
    assert "unpacks to more than" in made.messages(made.check(made.members))
    monkeypatch.undo()
    monkeypatch.setattr(package, "TOTAL_BYTES", size - 1)
    assert "all predictions unpack to more than" in made.messages(made.check(made.members))


HOSTILE = {
    "<script>alert(1)</script>": "U+003C",
    "a|b": "U+007C",
    "a`b": "U+0060",
    "a\u202eb": "U+202E",
    "a\u2066b": "U+2066",
    "a\u200bb": "U+200B",
    "=cmd()": "formula",
    "@sum": "U+0040",
    "-1+1": "formula",
    "+1": "formula",
    "a\x1b[31mb": "U+001B",
    "a\rb": "U+000D",
    "\\input{x}": "U+005C",
    "$x$": "U+0024",
    "a_{b}": "U+007B",
    "[a](https://b.c)": "U+005B",
    "![a](b)": "U+0021",
    "#1": "U+0023",
    "sсratch": "U+0441",
    "ｃomface": "U+FF43",
    "\ud800": "U+D800",
    "/etc/passwd": "path",
    "a, ~/x": "U+007E",
    "../x": "path",
    "of home/alice/x": "path",
    "C:/x": "path",
    "file:x": "path",
    "a" * 500: "500 characters",
}


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_texts_in_records(made, text):
    place = ("method.name", "task.unit", "method.card.backbone", "environment.cpu", "units.0.details.device")[
        len(text) % 5
    ]
    report = made.check(made.forge(made.members, made.put(place, text)))
    assert any(place in finding.place and HOSTILE[text] in finding.message for finding in report.findings)
    assert_harmless(report.markdown(), text)
    made.messages(report)


def test_hostile_keys_in_records(made):
    found = made.messages(made.check(made.forge(made.members, made.put("method.card.<img src=x>", 1))))
    assert "U+003C" in found


@pytest.mark.parametrize("text", [*HOSTILE, "a b", "a//b", "a/", ".a", "", "a" * 121], ids=ascii)
def test_hostile_names(made, text):
    """Were they to get by the rule on texts, they are no names either."""
    assert name_problem(text)


def assert_harmless(page, text):
    """Nothing in a summary is Markdown or HTML but what the summary itself is made of."""
    assert page.isascii()
    cells = re.findall(r"<code>(.*?)</code>", page)
    assert cells
    for cell in cells:
        assert re.fullmatch(r"(?:[A-Za-z0-9 -]|&#\d{2,3};)*", cell)
    rest = re.sub(r"<code>.*?</code>", "", page)
    assert not re.search(r"<[^u]|`|\[|\]|@|http|\\", rest)
    if len(text) > 3:
        assert text not in page


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"description": ""}, "description"),
        ({"description": "a" * 301}, "description"),
        ({"description": "see <b>"}, "description"),
        ({"description": "mail me: a@b.org"}, "description"),
        ({"licence": "=1+1"}, "licence"),
        ({"code": "http://example.org/x"}, "code"),
        ({"code": "javascript:alert(1)"}, "code"),
        ({"code": "https://user:word@example.org/x"}, "code"),
        ({"code": "https://example.org:99/x"}, "code"),
        ({"code": "https://127.0.0.1/x"}, "code"),
        ({"code": "https://localhost/x"}, "code"),
        ({"code": "https://xn--e1afmkfd.com/x"}, "code"),
        ({"code": "https://exаmple.org/"}, "code"),
        ({"code": "https://example.org/x?y=<z>"}, "code"),
        ({"code": "https://example.org/a b"}, "code"),
        ({"code": "https://example.org/" + "a" * 300}, "code"),
        ({"weights": "ftp://example.org"}, "weights"),
        ({"code": ""}, "code"),
        ({"training_data": ()}, "training_data"),
        ({"training_data": ("none", "VGGFace2")}, "training_data"),
        ({"training_data": ("a|b", "VGGFace2")}, "training_data"),
        ({"training_data": ("x" * 61, "VGGFace2")}, "training_data"),
        ({"method": "other-net"}, "method.name"),
        ({"training_data": ("none",)}, "method.card.trained_on"),
    ],
)
def test_notes(made, changes, field):
    report = made.check({**made.members, NOTE: write_note(made.note(**changes)).encode()})
    assert field in {finding.place for finding in report.findings}
    made.messages(report)
    assert_harmless(report.markdown(), str(changes))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace("schema = 1", "schema = 2"), "schema"),
        (lambda text: text + "# from alice\n", "not written as"),
        (lambda text: text + 'contact = "a@b.org"\n', "contact"),
        (lambda text: text.replace('licence = "Apache-2.0"\n', ""), "licence"),
        (lambda text: text.replace('"Apache-2.0"', "1"), "texts"),
        (lambda text: "x = " + "[" * 3000, "no TOML"),
        (lambda text: text + "#" * 9000, "bytes; at most"),
        (lambda text: "", "schema"),
    ],
)
def test_notes_of_another_form(made, change, reason):
    text = change(made.members[NOTE].decode())
    assert reason in made.messages(made.check({**made.members, NOTE: text.encode()}))
