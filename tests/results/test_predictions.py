"""Prediction files: exact, deterministic, strict."""

import gzip
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comface_bench.core.errors import ResultError
from comface_bench.results.predictions import (
    HEADER,
    Prediction,
    digest_rows,
    encode,
    read_predictions,
    read_texts,
    unit_text,
)

finite = st.floats(allow_nan=False, allow_infinity=False)
rows_of_a_unit = st.lists(
    st.tuples(st.text("0123456789-", min_size=1, max_size=9), st.integers(0, 99), finite, finite),
    min_size=1,
    max_size=20,
    unique_by=lambda row: row[0],
)


def write(path, text):
    path.write_bytes(gzip.compress(text.encode()))
    return path


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.tuples(st.integers(0, 5), st.integers(0, 3)), rows_of_a_unit, max_size=5))
def test_round_trip_is_exact(tmp_path_factory, drawn):
    units = {
        place: [Prediction(p, s, *place, y, yhat) for p, s, y, yhat in rows] for place, rows in drawn.items()
    }
    path = tmp_path_factory.mktemp("p") / "p.csv.gz"
    path.write_bytes(encode({place: unit_text(rows) for place, rows in units.items()}))
    back = read_predictions(path)
    expected = [
        row
        for place in sorted(units, key=lambda place: (place[1], place[0]))
        for row in sorted(units[place], key=lambda row: row.subject)
    ]
    assert [tuple(map(repr, row)) for row in back] == [tuple(map(repr, row)) for row in expected]
    assert {place: digest_rows(rows) for place, rows in units.items()} == {
        place: digest_rows([row for row in back if (row.fold, row.seed) == place]) for place in units
    }
    assert read_texts(path) == {place: unit_text(rows) for place, rows in units.items()}


def test_bytes_depend_on_nothing_but_the_rows(made):
    texts = {(fold, 0): unit_text(made.rows(fold, 0)) for fold in (0, 1)}
    data = encode(texts)
    assert data == encode(dict(reversed(texts.items())))
    assert data[3] == 0, "no file name in the header"
    assert data[4:8] == bytes(4), "no time in the header"


def test_digest_sees_every_field_and_the_last_bit():
    rows = [Prediction("1-2", 3, 0, 0, 1.0, 0.1)]
    changed = [
        Prediction("1-3", 3, 0, 0, 1.0, 0.1),
        Prediction("1-2", 4, 0, 0, 1.0, 0.1),
        Prediction("1-2", 3, 1, 0, 1.0, 0.1),
        Prediction("1-2", 3, 0, 1, 1.0, 0.1),
        Prediction("1-2", 3, 0, 0, math.nextafter(1.0, 2), 0.1),
        Prediction("1-2", 3, 0, 0, 1.0, math.nextafter(0.1, 1)),
    ]
    assert len({digest_rows(rows), *(digest_rows([row]) for row in changed)}) == 7


@pytest.mark.parametrize(
    "rows",
    [
        [Prediction("a", 0, 0, 0, math.nan, 0.0)],
        [Prediction("a", 0, 0, 0, 0.0, math.inf)],
        [Prediction("a,b", 0, 0, 0, 0.0, 0.0)],
        [Prediction("../x", 0, 0, 0, 0.0, 0.0)],
        [Prediction("", 0, 0, 0, 0.0, 0.0)],
        [Prediction("a", -1, 0, 0, 0.0, 0.0)],
        [Prediction("a", 0, 0, 0, 0.0, 0.0), Prediction("a", 0, 0, 0, 0.0, 0.0)],
        [Prediction("a", 0, 0, 0, 0.0, 0.0), Prediction("b", 0, 1, 0, 0.0, 0.0)],
    ],
)
def test_rows_that_cannot_be_stored(rows):
    with pytest.raises(ResultError):
        unit_text(rows)


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("1-2,3,0,0,1.0", ":2: 5 columns"),
        ("1-2,3,0,0,1.0,2.0,3.0", ":2: 7 columns"),
        ("1-2,3,0,0,nan,2.0", ":2: 'nan'"),
        ("1-2,3,0,0,1.0,inf", ":2: 'inf'"),
        ("1-2,3,0,0,1.0,x", ":2: 'x' is no number"),
        ("1-2,3,0,0,1.00,2.0", ":2: '1.00'"),
        ("1-2,3,00,0,1.0,2.0", ":2: subject, fold or seed"),
        ("1-2,-3,0,0,1.0,2.0", ":2: subject, fold or seed"),
        ("=1,3,0,0,1.0,2.0", ":2: '=1' is no pair id"),
        ("1-2,3,1,0,1.0,2.0\n1-2,3,0,0,1.0,2.0", ":3: out of order"),
    ],
)
def test_lines_that_are_refused(tmp_path, line, where):
    path = write(tmp_path / "p.csv.gz", f"{HEADER}\n{line}\n")
    with pytest.raises(ResultError, match=where):
        read_predictions(path)


def test_files_that_are_refused(tmp_path):
    path = tmp_path / "p.csv.gz"
    whole = gzip.compress(f"{HEADER}\n1-2,3,0,0,1.0,2.0\n".encode())
    cases = {
        b"plain text": "gzip",
        whole[:-9]: "gzip",
        gzip.compress(b"id,y\n"): "header",
        gzip.compress(b""): "header",
        gzip.compress(f"{HEADER}\n1-2,3,0,0,1.0,2.0".encode()): "cut short",
        gzip.compress(f"{HEADER}\n\xe9,3,0,0,1.0,2.0\n".encode("latin-1")): "ASCII",
    }
    for data, message in cases.items():
        path.write_bytes(data)
        for read in (read_predictions, read_texts):
            with pytest.raises(ResultError, match=message):
                read(path)
    path.unlink()
    with pytest.raises(ResultError, match="no such file"):
        read_texts(path)


def test_a_bomb_is_refused(tmp_path):
    path = write(tmp_path / "p.csv.gz", HEADER + "\n" + "0" * 10_000)
    with pytest.raises(ResultError, match="more than 5000 bytes"):
        read_texts(path, limit=5000)
