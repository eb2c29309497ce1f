from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comface_bench.core.problems import ProblemList
from comface_bench.tasks.formats.files import listed
from comface_bench.tasks.formats.table import number_remedy, parse_number, read_table


def read(path, content, **how):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    problems = ProblemList()
    return read_table(path, problems), problems.found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "t.csv"


CLEAN = "a,b\n1,x\n2,y\n"


@pytest.mark.parametrize(
    "content",
    [
        CLEAN,
        CLEAN.replace("\n", "\r\n"),
        CLEAN.replace("\n", "\r"),
        "\ufeff" + CLEAN,
        CLEAN.rstrip("\n"),
        CLEAN + "\n \n,\n\r\n",
        " a , b\n1,  x\n 2,y \n",
        'a,"b"\n"1",x\n2,"y"\n',
        "a,b,\n1,x,\n2,y,\n",
    ],
    ids=repr,
)
def test_files_as_people_have_them_read_alike(path, content):
    table, problems = read(path, content)
    assert not problems
    assert table.header == ("a", "b")
    assert [(line["a"], line["b"]) for line in table.lines] == [("1", "x"), ("2", "y")]
    assert [line.where for line in table.lines] == [f"{path}:2", f"{path}:3"]


def test_lines_are_those_of_the_file(path):
    table, problems = read(path, 'a,b\n\n"1\n1",x\n2,"y, ""z"""\n\n3,\n4\n')
    assert [(line.where.rpartition(":")[2], line["a"], line["b"]) for line in table.lines] == [
        ("3", "1\n1", "x"),
        ("5", "2", 'y, "z"'),
        ("7", "3", ""),
    ]
    (problem,) = problems
    assert (problem.where, problem.message) == (f"{path}:8", "1 cells, but the header has 2")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r", ",,\n"])
def test_a_mark_is_no_row_and_keeps_the_line_numbers(path, ending):
    table, problems = read(path, f"# comface-bench edema 1{ending}" + CLEAN)
    assert not problems
    assert table.mark == "# comface-bench edema 1"
    assert (table.header, table.top) == (("a", "b"), f"{path}:2")
    assert table.lines[0].where == f"{path}:3"


@pytest.mark.parametrize(
    ("content", "line", "message", "remedy"),
    [
        ("a;b\n1;2\n", ":1", "the cells are separated by ';', not by commas", "Save it as CSV with commas"),
        (
            "a\tb\n1\t2\n",
            ":1",
            "the cells are separated by tabs, not by commas",
            "Save it as CSV with commas",
        ),
        ("a|b\n", ":1", "the cells are separated by '|', not by commas", "Save it as CSV with commas"),
        ("a,b,a\n1,2,3\n", ":1", "column a stands twice", "Take one of them out, or rename it."),
        ("a,b\n1,2\n1,2,3\n", ":3", "3 cells, but the header has 2", "Write decimals with a point, and put"),
        ('a,b\n1,2\n"1,2\n3,4\n', ":3", "not CSV: unexpected end of data", "Close the quotes of this row"),
        ('a,b\n"1"x,2\n', ":2", "not CSV: ',' expected after '\"'", "Close the quotes of this row"),
        ("a,b\n1,ä\n".encode("latin-1"), ":2", "not UTF-8 text", "Save it as CSV in UTF-8."),
        (CLEAN.encode("utf-16"), ":1", "not UTF-8 text", "Save it as CSV in UTF-8."),
    ],
    ids=repr,
)
def test_what_cannot_be_read_is_reported_with_its_line(path, content, line, message, remedy):
    _, (problem, *more) = read(path, content)
    assert not more
    assert problem.where == f"{path}{line}"
    assert problem.message == message
    assert problem.remedy.startswith(remedy)


def test_a_folder_cannot_be_read(tmp_path):
    problems = ProblemList()
    read_table(tmp_path, problems)
    assert [problem.message for problem in problems.found] == ["can't be read: Is a directory"]


def test_good_rows_before_an_open_quote_are_kept(path):
    table, _ = read(path, 'a,b\n1,x\n"2,y\n')
    assert [line["a"] for line in table.lines] == ["1"]


def test_missing_columns_are_named_with_those_that_are_there(path):
    table, _ = read(path, CLEAN)
    problems = ProblemList()
    table.check_columns(("a", "c", "d"), problems)
    (problem,) = problems.found
    assert (problem.where, problem.message) == (f"{path}:1", "no column c, d")
    assert problem.remedy == "The header is a,c,d; here it is a,b"


def test_a_file_that_cannot_be_read_is_not_said_to_lack_columns(path):
    table, found = read(path, "a;b\n")
    problems = ProblemList()
    problems.add("x", found[0].message)
    table.check_columns(("a",), problems)
    assert len(problems) == 1


CELL = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8
)  # the csv module itself leaves a lone CR unquoted


@given(st.lists(st.tuples(CELL, CELL, CELL), max_size=6), st.sampled_from(["\n", "\r\n"]))
@settings(max_examples=60)
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, rows, ending):
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator=ending)
    writer.writerows([("a", "b", "c"), *rows])
    table, problems = read(tmp_path_factory.mktemp("t") / "t.csv", buffer.getvalue())
    assert not problems
    expected = [tuple(cell.strip() for cell in row) for row in rows]
    assert [(line["a"], line["b"], line["c"]) for line in table.lines] == [
        row for row in expected if any(row)
    ]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("60.5", 60.5),
        ("-3", -3.0),
        ("+.5", 0.5),
        ("6.", 6.0),
        ("1e3", 1000.0),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("1_0", None),
        ("1,5", None),
        ("60.5 kg", None),
        ("٣", None),
        ("0x10", None),
        (".", None),
    ],
)
def test_numbers(text, number):
    assert parse_number(text) == number


def test_remedies_for_what_is_no_number():
    assert number_remedy("60,5") == "Write decimals with a point: 60.5"
    assert (
        number_remedy("1.060,5") == number_remedy("60.5 kg") == "Write a number such as 60.5, without a unit."
    )


def test_long_lists_are_cut():
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(n) for n in range(13)], most=2) == "0, 1 and 11 more"
