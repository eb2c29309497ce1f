"""leaderboard.csv read back: numbers are numbers, and no text is a formula."""

import csv
import dataclasses
import io
from pathlib import Path

import pytest

from comface_bench.leaderboards.document import Document
from comface_bench.leaderboards.pages import read_entries
from comface_bench.leaderboards.spreadsheet import (
    HEADER,
    leaderboard_csv,
    number_cell,
    records_csv,
    text_cell,
)


def read(document):
    return list(csv.DictReader(io.StringIO(leaderboard_csv(document))))


def test_one_line_for_each_record_and_metric(golden):
    rows = read(golden)
    expected = [
        (board.task, board.protocol, row.entry.method, name)
        for board in golden.boards
        for row in board.rows
        for name in board.metrics
    ]
    assert [(row["task"], row["protocol"], row["method"], row["metric"]) for row in rows] == expected
    assert all(tuple(row) == HEADER for row in rows), "no row has more cells than the heading"


def test_numbers_are_the_documents(golden):
    rows = {(row["task"], row["method"], row["metric"]): row for row in read(golden)}
    board = next(board for board in golden.boards if board.task == "age")
    farl = next(row for row in board.rows if row.entry.method == "farl")
    cell, found = farl.cells["mae"], rows["age", "farl", "mae"]
    for heading, value in [
        ("value", cell.value.value),
        ("low", cell.interval.low),
        ("high", cell.interval.high),
        ("fold_mean", cell.fold_mean.value),
        ("constant", farl.entry.baseline["mae"].value),
        ("best_difference", cell.to_best.difference.value),
        ("best_low", cell.to_best.difference.interval.low),
        ("best_high", cell.to_best.difference.interval.high),
        ("best_p", cell.to_best.p.value),
        ("comface_difference", cell.to_comface.difference.value),
        ("comface_p", cell.to_comface.p.value),
        ("paper", 5.249),
    ]:
        assert float(found[heading]) == pytest.approx(value, rel=1e-9), heading
    assert (found["place"], found["tied"], found["best"], found["paper_table"]) == (
        "2",
        "false",
        "comface",
        "N",
    )
    best = rows["age", "comface", "mae"]
    assert (best["place"], best["tied"], best["best_difference"]) == ("1", "true", "")
    incomplete = rows["age", "timm/vit", "mae"]
    assert (incomplete["place"], incomplete["complete"], incomplete["failures"]) == ("", "false", "1")
    submitted = rows["disfa-au6", "timm/vit", "mae"]
    assert (submitted["kind"], submitted["images_per_second"]) == ("submitted", "360")
    assert (submitted["overlap"], submitted["trained_on"]) == ("DISFA", "DISFA, Others")
    assert rows["synth-age", "timm/vit", "pearson"]["value"] == ""


HOSTILE = [
    "=cmd()",
    "+cmd",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "  =1",
    "\r\n=1",
    "\uff1d1+1",
    'a"b,c\nd',
    "'quoted'",
    "<script>",
    "abc\u202edef",
    "\x00",
    "|",
    "`x`",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_stays_in_its_cell_and_is_no_formula(name, document):
    board = document.boards[0]
    row = board.rows[0]
    texts = dict.fromkeys(["task", "protocol", "method", "group", "target", "unit", "data", "split"], name)
    entry = dataclasses.replace(row.entry, **texts, trained_on=(name,), licence=name)
    row = dataclasses.replace(row, entry=entry)
    board = dataclasses.replace(board, rows=(row,), best={"mae": name})
    found = read(Document((board,), ()))
    assert len(found) == 3
    for line in found:
        assert tuple(line) == HEADER
        shown = {line[heading] for heading in [*texts, "trained_on", "licence"]}
        assert len(shown) == 1
        (cell,) = shown
        assert cell.isprintable()
        assert cell.lstrip()[0] not in "=+-@\t\r\uff1d"
        assert float(line["value"]) > 0


def test_every_column_is_explained():
    page = (Path(__file__).parents[2] / "docs" / "leaderboards.md").read_text(encoding="utf-8")
    assert [column for column in HEADER if f"`{column}`" not in page] == []


def test_plain_text_and_numbers_are_left_alone():
    for name in ("timm/vit_base", "scratch+backbone=resnet18", "größe 顔", "a-b", "csv:FILE"):
        assert text_cell(name) == name
    assert text_cell("-1") == "'-1"
    assert [number_cell(value) for value in (-0.25, None, 1.0, -0.0, 1 / 3)] == [
        "-0.25",
        "",
        "1",
        "0",
        "0.3333333333",
    ]


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_of_records_has_a_line_for_each_with_all_digits(filled):
    entries = read_entries(filled)
    rows = rows_of(records_csv(entries))
    assert len(rows) == len(entries) == 8
    for row, entry in zip(rows, entries, strict=True):
        assert (row["task"], row["protocol"], row["method"]) == (entry.task, entry.protocol, entry.method)
        assert float(row["mae"]) == entry.metrics["mae"].value
        assert row["complete"] == str(entry.complete).lower()
        assert row["constant_pearson"] == "", "no answer, no number"
    assert [row["failures"] for row in rows if row["method"] == "timm/vit"] == ["1", "0"]


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-2", "@SUM(A1)", "\t=1+1", ' "=1"', "a,b\nc", "\u202e=x"])
def test_csv_of_records_holds_no_formula_and_no_hidden_character(filled, name):
    entry = dataclasses.replace(read_entries(filled)[0], group=name)
    (row,) = rows_of(records_csv([entry]))
    assert not row["group"].lstrip(" \t").startswith(("=", "+", "-", "@"))
    assert row["group"].isprintable()
    assert len(records_csv([entry]).splitlines()) == 2
