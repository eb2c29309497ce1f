"""Members of a package by their names, sizes and kinds."""

import gzip
import io
import os
import pickle
import tempfile
import zlib
from pathlib import Path

import pytest

from comface_bench.submission import package as contents

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
    found = made.told(made.check({**made.members, name: b"{}"}))
    assert reason in found
    assert len(found.splitlines()) <= 2, "one finding a name, and the missing predictions"


def test_what_a_package_must_hold(made):
    def without(*names):
        return made.told(made.check({name: data for name, data in made.members.items() if name not in names}))

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
    assert reason in made.told(made.check({**made.members, JSON: data}))
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
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_predictions_that_are_something_else(made, data, reason):
    assert reason in made.told(made.check({**made.members, TABLE: data}))
    assert not EXECUTED.exists()


def test_predictions_are_unpacked_no_further_than_the_cap(made, monkeypatch):
    size = len(zlib.decompress(made.members[TABLE], 31))
    monkeypatch.setattr(contents, "UNPACKED_BYTES", size)
    assert made.check(made.members).ok
    monkeypatch.setattr(contents, "UNPACKED_BYTES", size - 1)
    assert "unpacks to more than" in made.told(made.check(made.members))
    monkeypatch.undo()
    monkeypatch.setattr(contents, "TOTAL_BYTES", size - 1)
    assert "all predictions unpack to more than" in made.told(made.check(made.members))
