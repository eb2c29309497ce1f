from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comface_bench.core.problems import ProblemList
from comface_bench.tasks.formats.files import listed
from comface_bench.tasks.formats.numbers import ColumnNumbers, parse_number
from comface_bench.tasks.formats.table import read_table


def read(path, content, **how):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    problems = ProblemList()
    return read_table(path, ("subject_id",), problems), problems.found


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
    read_table(tmp_path, (), problems)
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
    assert (
        problem.remedy
        == "The header is a,c,d; here it is a,b: rename what holds the missing ones, or add them."
    )


def test_a_file_without_a_header_is_told_to_get_one(path):
    table, _ = read(path, "x.png,P1,30\ny.png,P1,31\n")
    problems = ProblemList()
    table.check_columns(("image", "subject"), problems)
    assert problems.found[0].remedy.endswith("which looks like a row: write the header above it.")


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


COLUMNS = [
    # Commas and points that tell by themselves or by the column they are in.
    (["60,5", "61"], [60.5, 61.0]),
    (["60,5", "1,031"], [60.5, 1.031]),
    (["0,125", "1,031"], [0.125, 1.031]),
    (["1234,567"], [1234.567]),
    (["1.031,5", "1.204", "12"], [1031.5, 1204.0, 12.0]),
    (["1.204.031", "60,5"], [1204031.0, 60.5]),
    (["1,031.5", "1,204", "998", "0.5"], [1031.5, 1204.0, 998.0, 0.5]),
    (["1,204,031", "998"], [1204031.0, 998.0]),
    (["-1,5", "+2,25"], [-1.5, 2.25]),
    (["1 031", "1\u00a0031,5"], [1031.0, 1031.5]),
    (["1\u202f204", "1’031.5", "1'000'000"], [1204.0, 1031.5, 1000000.0]),
    (["６０．５", "−3"], [60.5, -3.0]),
    # Plain numbers stay what they are.
    (["1.031", "60.5", "1e3"], [1.031, 60.5, 1000.0]),
    (["high", "60,5", ""], [None, 60.5, None]),
    # What can't be told, or contradicts the others, isn't read.
    (["1,031", "998"], [None, 998.0]),
    (["60,5", "61.5"], [None, 61.5]),
    (["60,5", "1.031"], [None, None]),
    (["60,5", "1,031.5"], [None, None]),
    (["61.5", "1,031"], [61.5, None]),
    (["1,5e3"], [None]),
    (["12 34", "1,03,100", "²", "½"], [None, None, None, None]),
]


@pytest.mark.parametrize(("cells", "values"), COLUMNS, ids=[" ".join(row[0]) for row in COLUMNS])
def test_a_column_tells_how_its_numbers_are_read(cells, values):
    numbers = ColumnNumbers(cells)
    assert [numbers.parse(text) for text in cells] == values
    # The order of rows decides nothing.
    assert [ColumnNumbers(cells[::-1]).parse(text) for text in cells] == values


def test_points_tell_nothing_where_cells_are_not_separated_by_commas():
    assert [ColumnNumbers(["1.031", "2.500"], ";").parse(text) for text in ("1.031", "2.500")] == [None, None]
    assert ColumnNumbers(["1.031", "0.125"], ";").parse("1.031") == 1.031
    assert ColumnNumbers(["1.031", "61.5"], ";").parse("1.031") == 1.031
    assert ColumnNumbers(["1.031,5", "1.031"], ";").parse("1.031") == 1031


GENERAL = ("not a number", "Write a number such as 60.5, without a unit.")


@pytest.mark.parametrize(
    ("cells", "what", "remedy"),
    [
        (["1,031"], "which is 1031 or 1.031", "Write 1031 or 1.031, whichever it is."),
        (["1.031", "60,5"], "which is 1031 or 1.031", "Write 1031 or 1.031, whichever it is."),
        (["60,5", "61.5"], "not a number", "Write decimals with a point: 60.5"),
        (["1,031.5", "60,5"], "not a number", "Write thousands without a comma: 1031.5"),
        (["1.060,5", "61.5"], "not a number", "Write decimals with a point: 1060.5"),
        (["60.5 kg"], *GENERAL),
        (["nan"], *GENERAL),
    ],
    ids=str,
)
def test_what_cannot_be_read_comes_with_what_to_write(cells, what, remedy):
    assert ColumnNumbers(cells).parse(cells[0]) is None
    assert ColumnNumbers(cells).mistake(cells[0]) == (what, remedy)


@given(st.floats(-1e6, 1e6).map(lambda value: round(value, 3)), st.sampled_from("pcPCsS"))
def test_a_written_number_is_read_back_or_refused(value, form):
    """Plain or grouped, with point or comma: never another number."""
    text = f"{value:,.3f}".rstrip("0").rstrip(".")
    text = {
        "p": text.replace(",", ""),
        "c": text.replace(",", "").replace(".", ","),
        "P": text,
        "C": text.translate(str.maketrans(",.", ".,")),
        "s": text.replace(",", " "),
        "S": text.replace(",", "'").replace(".", ","),
    }[form]
    found = ColumnNumbers([text]).parse(text)
    # One grouped whole number of a German table is a plain decimal here: decimals have points.
    assert found in (None, value) or (form == "C" and "," not in text)


def test_a_line_that_states_the_separator_is_no_header(path):
    for first in ("sep=;", '"sep=;"', "SEP=;;", "\ufeffsep=;"):
        table, problems = read(path, f"{first}\r\na;b\r\n1,5;x\r\n2;y\r\n")
        assert not problems
        assert table.header == ("a", "b")
        assert (table.top, table.lines[0].where) == (f"{path}:2", f"{path}:3")
        assert table.numbers("a").parse("1,5") == 1.5
    assert read(path, "sep=,\n" + CLEAN)[0].header == ("a", "b")
    table, problems = read(path, "sep=\t\n# comface-bench edema 1\t\na\tb\n1\t2\n")
    assert (table.mark, table.top, len(table.lines)) == ("# comface-bench edema 1", f"{path}:3", 1)


def test_a_stated_separator_that_is_wrong_is_named(path):
    _, (problem,) = read(path, "sep=;\na,b\n1,2\n")
    assert (problem.where, problem.message) == (
        f"{path}:2",
        "the cells are separated by commas, not by ';'",
    )
    assert problem.remedy == "Take out the line sep=;, or correct it."


def test_row_numbers_without_a_heading_are_left_out(path):
    table, problems = read(path, '"a","b"\n"1",5,x\n"2",6,y\n')
    assert not problems
    assert [(line["a"], line["b"]) for line in table.lines] == [("5", "x"), ("6", "y")]
    # Not everywhere: these are numbers with decimal commas.
    _, problems = read(path, "a,b\n1,5,x\n60,5,y\n")
    assert [problem.message for problem in problems] == 2 * ["3 cells, but the header has 2"]


def test_known_words_are_read_in_any_case(path):
    for word in ("Subject_ID", "SUBJECT ID", "subject id"):
        assert read(path, f"{word},Other\n1,2\n")[0].header == ("subject_id", "Other")
    _, (problem,) = read(path, "Subject ID,subject_id\n1,2\n")
    assert problem.message == "column subject_id stands twice"


def test_empty_cells_behind_the_last_column_do_not_count(path):
    table, problems = read(path, "a,b\n1,x,,\n2,y\n")
    assert not problems
    assert len(table.lines) == 2


def test_long_lists_are_cut():
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(n) for n in range(13)], most=2) == "0, 1 and 11 more"
