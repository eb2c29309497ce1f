"""Tables of studies as Markdown, LaTeX, JSON and SVG."""

from __future__ import annotations

import dataclasses
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
from markdown_it import MarkdownIt

from comface_bench.core.errors import MissingExtraError
from comface_bench.leaderboards import study_figure
from comface_bench.leaderboards.document import MARKS
from comface_bench.leaderboards.paper import PaperValue
from comface_bench.leaderboards.study import (
    StudyCell,
    StudyColumn,
    StudyRow,
    StudyTable,
    read_intervals,
    study_json,
    study_latex,
    study_markdown,
)

COLUMNS = (StudyColumn("age", "mae", "years", False), StudyColumn("edema-a", "acc", "kg", False))
LACKING = StudyCell(missing="no data: Edema-A", hint="ask | its owners")


def row(label, *cells, method=None, group="Scratch", x="", line=""):
    return StudyRow(label, method or label, group, "ResNet-18", x, line or label, 12.0, cells)


def made(*rows, **facts):
    plain = {"name": "own", "title": "Own & $1", "summary": "A question.", "letter": "", "axis": ""}
    plain |= {"notes": ("A note.",), "command": "comface-bench study own", "columns": COLUMNS, "marks": ()}
    return StudyTable(rows=rows, **plain | facts)


@pytest.fixture
def table():
    return made(
        row(
            "first_one",
            StudyCell(8.1234, 7.5, 8.75, True, " ‡", "d1", PaperValue(8.98, "N")),
            StudyCell(0.8125, 0.75, 0.875, True, "", "d1", PaperValue(0.886, "M")),
        ),
        row("second", StudyCell(7.25, None, None, False, " †", "d2"), LACKING),
        row(
            "third ≥ 2", StudyCell(9.0, 8.5, 9.5, True, "", "d3"), StudyCell(0.9, None, None, True, "", "d3")
        ),
        marks=(MARKS["idle"],),
    )


def read_rows(page):
    """The rows of a page's first table, as CommonMark reads them, without what stands beneath a value."""
    html = MarkdownIt("commonmark").enable("table").render(page)
    first = html.partition("<table>")[2].partition("</table>")[0]
    cells = [re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", line, re.S) for line in first.split("</tr>")]
    return [[re.sub(r"<br>.*|<[^>]+>", "", cell) for cell in line] for line in cells if line]


def test_a_page_has_ours_the_papers_and_what_is_missing(table):
    page = study_markdown(table, "own.svg")
    header, first, second, third = read_rows(page)
    assert header == [
        "Row", "Backbone", "age, MAE (years) ↓", "paper", "edema-a, Acc. (%) ↑", "paper", "Time",
    ]  # fmt: skip
    assert first == ["first_one", "ResNet-18", "8.123 ‡", "8.980", "81.2", "88.6", "12 s"]
    assert second == ["second", "ResNet-18", "7.250 †", "—", "— 1", "—", "12 s"]
    assert third[2:5:2] == ["9.000", "90.0"]
    assert "**8.123** ‡<br><sub>[7.500, 8.750]</sub>" in page  # second is better, but incomplete
    assert "**90.0**" in page
    assert "1. second, edema-a: no data&#58; Edema-A" in page
    assert "       ask | its owners" in page
    assert "Table M, N, beside the same method" in page
    assert "![Own &amp; \\$1](own.svg)" in page
    assert f"- ‡ {MARKS['idle'].meaning}" in page
    assert "- A note." in page
    assert "Other data" not in page


def test_an_incomplete_value_is_never_the_best(table):
    first, second, third = table.rows
    alike = dataclasses.replace(second.cells[0], value=8.1234)
    second = dataclasses.replace(second, cells=(alike, second.cells[1]))
    page = study_markdown(dataclasses.replace(table, rows=(first, second, third)))
    assert page.count("8.123") == 2
    assert page.count("**8.123**") == 1


def test_faces_that_ship_stand_apart_from_what_the_supplement_prints():
    columns = (StudyColumn("synth-age", "mae", "years", True),)
    page = study_markdown(made(row("a", StudyCell(8.0, record="d")), columns=columns, letter="N"))
    header, values = read_rows(page)
    assert header == ["Row", "Backbone", "synth-age, MAE (years) ↓", "Time"]
    assert values[2] == "8.000"
    ours, _, theirs = page.partition("## The supplement's Table N, of other data")
    assert "8.980" not in ours
    assert "| Scratch | 8.980 | 0.514 |" in theirs
    assert "Other data: synth-age" in ours
    assert "% synth-*: rendered faces" in study_latex(
        made(row("a", StudyCell(8.0, record="d")), columns=columns)
    )


def test_methods_of_several_groups_stand_under_them():
    cell = StudyCell(8.0, record="d")
    table = made(
        row("a", cell, cell), row("b", cell, cell, group="Other"), row("c", cell, cell, group="Other")
    )
    assert [line[0] for line in read_rows(study_markdown(table))] == [
        "Method",
        "Scratch",
        "a",
        "Other",
        "b",
        "c",
    ]
    assert study_latex(table).count("multicolumn") == 2
    twice = dataclasses.replace(table, rows=(*table.rows, row("d", cell, cell, method="a")))
    assert "multicolumn" not in study_latex(twice)


def test_latex_has_the_same_numbers(table):
    lines = study_latex(table).splitlines()
    assert lines[0] == "% comface-bench study own"
    assert lines[1] == r"\begin{tabular}{lrrrr}"
    rows = [line.removesuffix(r" \\").split(" & ") for line in lines if " & " in line]
    assert rows[1] == [r"first\_one", r"\textbf{8.123}", r"\textit{8.980}", "81.2", r"\textit{88.6}"]
    assert rows[2] == ["second", r"7.250$^\dagger$", "---", "---", "---"]
    assert rows[3] == [r"third $\geq$ 2", "9.000", "---", r"\textbf{90.0}", "---"]


def test_a_file_for_programs_keeps_values_and_intervals(table):
    text = study_json(table)
    facts = json.loads(text)
    assert facts["rows"][0]["cells"][0] == {
        "task": "age",
        "metric": "mae",
        "other_data": False,
        "value": 8.1234,
        "low": 7.5,
        "high": 8.75,
        "complete": True,
        "record": "d1",
        "paper": 8.98,
        "paper_table": "N",
    }
    assert facts["rows"][1]["cells"][1]["missing"] == "no data: Edema-A"
    known = read_intervals(text)
    assert known["d1", "mae"] == (7.5, 8.75)
    assert known["d2", "mae"] == (None, None)
    for broken in ("", "3", "{}", '{"rows": [{"cells": [{"record": 1}]}]}'):
        assert read_intervals(broken) == {}


def texts(svg):
    return {
        "".join(one.itertext())
        for one in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    }


def test_a_figure_has_a_panel_for_each_column_and_a_name_for_each_row(table):
    pytest.importorskip("matplotlib")
    svg = study_figure.draw_study(table)
    assert {"age, MAE (years) ↓", "edema-a, Acc. (%) ↑", "first_one", "second", "third ≥ 2"} <= texts(svg)
    assert svg == study_figure.draw_study(table)
    moved = dataclasses.replace(table.rows[0].cells[0], value=8.5)
    other = dataclasses.replace(table.rows[0], cells=(moved, table.rows[0].cells[1]))
    assert svg != study_figure.draw_study(dataclasses.replace(table, rows=(other, *table.rows[1:])))


def test_a_figure_with_an_axis_has_a_line_for_each_method():
    pytest.importorskip("matplotlib")
    rows = [
        row(f"{line} {x}", StudyCell(value, value - 1, value + 1, True, record="d"), LACKING, x=x, line=line)
        for line, value in (("one", 3.0), ("two", 4.0))
        for x in ("auto", "560", "1600")
    ]
    svg = study_figure.draw_study(made(*rows, axis="pairs_per_epoch"))
    assert {"one", "two", "auto", "560", "1600", "pairs_per_epoch"} <= texts(svg)
    assert study_figure._ordered({"auto", "1600", "560"}) == ["560", "1600", "auto"]


def test_without_matplotlib_it_says_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match="the figure needs matplotlib") as raised:
        study_figure.require_matplotlib()
    assert "--no-figure" in raised.value.hint


def test_what_was_taught_what_is_asked_is_never_the_best():
    def cells(*values, apart=False):
        return [StudyCell(value, record="d", complete=True, apart=apart) for value in values]

    rows = [
        row("taught", *cells(1.0, 0.99, apart=True)),
        row("a", *cells(8.0, 0.8)),
        row("b", *cells(9.0, 0.7)),
    ]
    page, latex = study_markdown(made(*rows)), study_latex(made(*rows))
    assert "1.000" in page and "**1.000**" not in page and "**99.0**" not in page
    assert "**8.000**" in page and "**80.0**" in page
    assert r"\textbf{8.000}" in latex and r"\textbf{1.000}" not in latex
    # Nor where it prints the best one's digits.
    equal = [row("taught", *cells(8.0, 0.8, apart=True)), *rows[1:]]
    assert study_markdown(made(*equal)).count("**8.000**") == 1
    assert study_latex(made(*equal)).count(r"\textbf{8.000}") == 1
