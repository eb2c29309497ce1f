"""Anyone's manifest: which columns are labels, what is refused with line and remedy, and what is reported."""

from __future__ import annotations

import dataclasses

import pytest

from comface_bench.core.problems import Note, ProblemList
from comface_bench.tasks.formats.csv_file import KNOWN, label_columns, read_csv_file
from comface_bench.tasks.formats.table import read_table


@pytest.fixture
def path(tmp_path):
    return tmp_path / "faces.csv"


def read(path, text):
    """Good rows, notes and problems of a file with that text."""
    path.write_bytes(text.encode())
    rows, notes, problems = [], [], ProblemList()
    with problems.collect():
        for item in read_csv_file(path):
            if isinstance(item, Note):
                notes.append(item.text)
            else:
                rows.append(item)
    return rows, notes, [dataclasses.astuple(problem) for problem in problems.found]


def test_rows_carry_everything(path):
    rows, notes, problems = read(
        path,
        "pain,image,subject,session,phase,mood\n3,a.jpg,s1,1,Pre,\n-4.5,b.jpg,s1,2,POST,1e1\n",
    )
    assert (notes, problems) == ([], [])
    assert rows == [
        {"image": "a.jpg", "subject": "s1", "session": "1", "phase": "pre", "pain": 3.0, "mood": None,
         "where": f"{path}:2"},
        {"image": "b.jpg", "subject": "s1", "session": "2", "phase": "post", "pain": -4.5, "mood": 10.0,
         "where": f"{path}:3"},
    ]  # fmt: skip


def test_session_and_phase_may_be_left_out(path):
    rows, _, problems = read(path, "image,subject,pain\na.jpg,s1,3\n")
    assert problems == []
    assert (rows[0]["session"], rows[0]["phase"]) == (None, None)


CLEAN = "image,subject,pain\na.jpg,s1,3\nb.jpg,s1,4\n"


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + CLEAN,
        CLEAN.replace("\n", "\r\n"),
        CLEAN + "\n,,\n",
        CLEAN.replace("s1", '"s1"'),
        CLEAN.replace(",3", ", 3.0 "),
        "subject,pain,image\ns1,3,a.jpg\ns1,4,b.jpg\n",
    ],
    ids=repr,
)
def test_files_as_people_have_them_read_alike(path, text):
    assert read(path, text) == read(path, CLEAN)


def test_columns_without_a_number_are_reported_and_not_read(path):
    rows, notes, problems = read(path, "image,subject,pain,name,empty,\na.jpg,s1,3,Ann,,\nb.jpg,s1,4,n/a,,\n")
    assert problems == []
    assert notes == ["columns of faces.csv that hold no number and aren't read: name, empty"]
    assert not {"name", "empty"} & set(rows[0])


def test_labels_are_columns_with_a_number(path):
    path.write_text("image,subject,session,phase,a,b,c,d\n1,1,1,,1,x,,nan\n2,2,2,,x,y,,inf\n")
    assert list(label_columns(read_table(path, KNOWN, ProblemList()))) == ["a"]


def test_subjects_without_a_pair_are_reported(path):
    assert read(path, CLEAN + "c.jpg,s2,1\nd.jpg,s3,1\n")[1] == [
        "subjects with one image, who have no pair: 2 (s2, s3)"
    ]


HEADER = "image,subject,session,phase,pain"
GOOD = "a.jpg,s1,1,pre,3"
UNKNOWN = "Leave the cell empty if it is unknown."
NO_NUMBER = f"Write a number such as 60.5, without a unit. {UNKNOWN}"
FILL = "Fill it in, or take the row out."
PHASE = "Write pre, post or nothing; other groups are sessions."
ROWS = [
    ("b.jpg,s1,1,pre,high", "pain is 'high', not a number", NO_NUMBER),
    ("b.jpg,s1,1,pre,nan", "pain is 'nan', not a number", NO_NUMBER),
    ("b.jpg,s1,1,pre,NA", "pain is 'NA', not a number", NO_NUMBER),
    (
        'b.jpg,s1,1,pre,"1,031"',
        "pain is '1,031', which is 1031 or 1.031",
        f"Write 1031 or 1.031, whichever it is. {UNKNOWN}",
    ),
    ("b.jpg,s1,1,during,3", "phase is 'during', not pre or post", PHASE),
    (",s1,1,pre,3", "image is empty", FILL),
    ("b.jpg,,1,pre,3", "subject is empty", FILL),
    ("b.jpg,s1,,pre,3", "session is empty", FILL),
    (",,,pre,3", "image, subject, session is empty", FILL),
    ("x\\b.jpg,s1,1,pre,3", "image x\\b.jpg has backslashes", "Write it with forward slashes: x/b.jpg"),
    (
        "b.jpg,s1,1,pre,3,5",
        "6 cells, but the header has 5",
        "Write decimals with a point, and put quotes around cells that hold a comma.",
    ),
]


@pytest.mark.parametrize(("bad", "message", "remedy"), ROWS, ids=[row[0] for row in ROWS])
def test_malformed_rows_are_named_and_the_others_read(path, bad, message, remedy):
    rows, _, problems = read(path, f"{HEADER}\n{GOOD}\n\n{bad}\n")
    assert problems == [(f"{path}:4", message, remedy)]
    assert [row["image"] for row in rows] == ["a.jpg"]


RENAME = "rename what holds the missing ones, or add them."
HEADERS = [
    (
        "image,pain\na.jpg,3\n",
        "no column subject",
        f"The header is image,subject; here it is image,pain: {RENAME}",
    ),
    ("", "no column image, subject", "The header is image,subject; here it is empty"),
    (
        "image;subject;pain\na.jpg;s1;3\n",
        "the cells are separated by ';', not by commas",
        "Save it as CSV with commas between cells, and points in decimals.",
    ),
    (
        "image,subject,pain,pain\na.jpg,s1,3,4\n",
        "column pain stands twice",
        "Take one of them out, or rename it.",
    ),
    ("image,subject,where\na.jpg,s1,3\n", "no label can be called 'where'", "Rename the column."),
]


@pytest.mark.parametrize(("text", "message", "remedy"), HEADERS, ids=[row[0] for row in HEADERS])
def test_headers_that_cannot_be_taken_are_named(path, text, message, remedy):
    assert read(path, text)[2] == [(f"{path}:1", message, remedy)]


def test_all_problems_are_reported_at_once(path):
    _, _, problems = read(path, f"{HEADER}\n{GOOD}\nb.jpg,,1,x,y\n,s1,1,pre,z\n")
    assert [(where.rpartition(":")[2], message) for where, message, _ in problems] == [
        ("3", "subject is empty"),
        ("3", "phase is 'x', not pre or post"),
        ("3", "pain is 'y', not a number"),
        ("4", "image is empty"),
        ("4", "pain is 'z', not a number"),
    ]
