"""Malformed tables of anyone's (`csv:FILE`): refused, with file and line."""

from __future__ import annotations

import pytest

PLAIN = "Write decimals with a point, and put quotes around cells that hold a comma."
FEWER = "Fill the row up: an empty cell has its separator, too."
AS_COMMAS = "Save it as CSV with commas between cells, and points in decimals."
UNKNOWN = "Leave the cell empty if it is unknown."
FILL_IN = "Fill it in, or take the row out."
PUT_THERE = "Put it there, or take the row out."
KEPT_INSIDE = "Name it relative to {root}."


def replace(old, new):
    """Write something else in place of a text that stands in the table."""

    def spoil(root, draw):
        text = (root / "faces.csv").read_text()
        assert old in text
        (root / "faces.csv").write_text(text.replace(old, new, 1))

    return spoil


def append(row):
    def spoil(root, draw):
        with (root / "faces.csv").open("a") as table:
            table.write(row + "\n")

    return spoil


# Line 2 is P1/0.png, line 3 P1/1.png; the last is line 13.
TABLE = {
    "a text among the numbers": (
        replace("post,2", "post,two"),
        "faces.csv:3",
        "pain is 'two', not a number",
        f"Write a number such as 60.5, without a unit. {UNKNOWN}",
    ),
    "a decimal comma": (
        replace("post,2\nP1/2.png,P1,day 2,post,4", 'post,"2,5"\nP1/2.png,P1,day 2,post,4.5'),
        "faces.csv:3",
        "pain is '2,5', not a number",
        f"Write decimals with a point: 2.5 {UNKNOWN}",
    ),
    "thousands set apart": (
        replace("post,2", 'post,"1,031"'),
        "faces.csv:3",
        "pain is '1,031', which is 1031 or 1.031",
        f"Write 1031 or 1.031, whichever it is. {UNKNOWN}",
    ),
    "nan": (
        replace("post,2", "post,nan"),
        "faces.csv:3",
        "pain is 'nan', not a number",
        f"Write a number such as 60.5, without a unit. {UNKNOWN}",
    ),
    "a number beyond all measure": (
        replace("post,2", "post,1e99"),
        "faces.csv:3",
        "pain is 1e+99, not within -1e+09 to 1e+09",
        "Correct the label, or take the image out.",
    ),
    "a number that is infinite": (
        replace("post,2", "post,1e999"),
        "faces.csv:3",
        "pain is inf, not a finite number",
        UNKNOWN,
    ),
    "a cell too many": (replace("post,2", "post,2,5"), "faces.csv:3", "6 cells, but the header has 5", PLAIN),
    "a cell too few": (replace(",post,2", ",post"), "faces.csv:3", "4 cells, but the header has 5", FEWER),
    "no subject": (replace("P1/1.png,P1", "P1/1.png,"), "faces.csv:3", "subject is empty", FILL_IN),
    "no session": (replace("day 1", ""), "faces.csv:3", "session is empty", FILL_IN),
    "no image": (replace("P1/1.png,", ","), "faces.csv:3", "image is empty", FILL_IN),
    "another phase": (
        replace("pre", "during"),
        "faces.csv:2",
        "phase is 'during', not pre or post",
        "Write pre, post or nothing; other groups are sessions.",
    ),
    "backslashes": (
        replace("P1/1.png", "P1\\1.png"),
        "faces.csv:3",
        "image P1\\1.png has backslashes",
        "Write it with forward slashes: P1/1.png",
    ),
    "an image that isn't there": (
        replace("P1/1.png", "P1/9.png"),
        "faces.csv:3",
        "P1/9.png isn't a file under {root}",
        PUT_THERE,
    ),
    "an image that is a folder": (
        replace("P1/1.png", "P1"),
        "faces.csv:3",
        "P1 isn't a file under {root}",
        PUT_THERE,
    ),
    "an image twice": (
        append("P1/1.png,P1,day 2,post,3"),
        "faces.csv:14",
        "P1/1.png stands twice",
        "One row an image; crop each face into an image of its own.",
    ),
    "one image under two names": (
        replace("P1/1.png", "./P1/1.png"),
        "faces.csv:3",
        "image './P1/1.png' is written plainly as 'P1/1.png'",
        "Write it so.",
    ),
    "a way out by ..": (
        replace("P1/1.png", "../table/P1/1.png"),
        "faces.csv:3",
        "../table/P1/1.png leaves the data root",
        KEPT_INSIDE,
    ),
    "a way out by an absolute name": (
        replace("P1/1.png", "/etc/hostname"),
        "faces.csv:3",
        "/etc/hostname leaves the data root",
        KEPT_INSIDE,
    ),
    "an open quote": (
        replace("post,2", 'post,"2'),
        "faces.csv:3",
        "not CSV: unexpected end of data",
        "Close the quotes of this row; a quote is doubled.",
    ),
    "Latin letters of another encoding": (
        lambda root, draw: (root / "faces.csv").write_bytes(
            (root / "faces.csv").read_bytes().replace(b"day 1", b"d\xe9j\xe0", 1)
        ),
        "faces.csv:3",
        "not UTF-8 text",
        "Save it as CSV in UTF-8.",
    ),
    "UTF-16": (
        lambda root, draw: (root / "faces.csv").write_text(
            (root / "faces.csv").read_text(), encoding="utf-16"
        ),
        "faces.csv:1",
        "not UTF-8 text",
        "Save it as CSV in UTF-8.",
    ),
    "semicolons": (
        lambda root, draw: (root / "faces.csv").write_text(
            (root / "faces.csv").read_text().replace(",", ";")
        ),
        "faces.csv:1",
        "the cells are separated by ';', not by commas",
        AS_COMMAS,
    ),
    "tabs": (
        lambda root, draw: (root / "faces.csv").write_text(
            (root / "faces.csv").read_text().replace(",", "\t")
        ),
        "faces.csv:1",
        "the cells are separated by tabs, not by commas",
        AS_COMMAS,
    ),
    "an empty file": (
        lambda root, draw: (root / "faces.csv").write_text(""),
        "faces.csv:1",
        "no column image, subject",
        "The header is image,subject; here it is empty",
    ),
    "no column of subjects": (
        replace("subject", "person"),
        "faces.csv:1",
        "no column subject",
        "The header is image,subject; here it is image,person,session,phase,pain:"
        " rename what holds the missing ones, or add them.",
    ),
    "a column twice": (
        replace("phase", "subject"),
        "faces.csv:1",
        "column subject stands twice",
        "Take one of them out, or rename it.",
    ),
}
"""Change, place, message and remedy of each; `faces.csv:LINE` stands in the data set's folder."""


@pytest.mark.parametrize("name", TABLE)
def test_tables_refused(lay_out, refuse, draw_image, name):
    root = lay_out("table")
    spoil, where, message, remedy = TABLE[name]
    spoil(root, draw_image)
    refuse(root, [(f"{{root}}/{where}", message, remedy)], "-o", "target=pain")


def empty(path):
    path.unlink()
    path.mkdir()


HINT = "Name a CSV file, as in: comface-bench data check csv:FILE"
HOW = "Write a CSV file with the columns image, subject and a label; see docs/datasets/csv.md."
STOPPED = {
    "a csv that is a folder": (
        empty,
        "task csv:faces.csv needs {root}/faces.csv, which is a folder",
        f"{HINT}\n{HOW}",
    ),
    "no such csv": (
        lambda path: path.unlink(),
        "task csv:faces.csv needs {root}/faces.csv, which doesn't exist",
        f"{HINT}\n{HOW}",
    ),
    "header only": (
        lambda path: path.write_text("image,subject,pain\n"),
        "{root}/faces.csv has no column of numbers",
        "Add the quantity whose change is to be estimated.",
    ),
    "no label": (
        lambda path: path.write_text("image,subject,name\nP1/0.png,P1,x\n"),
        "{root}/faces.csv has no column of numbers",
        "Add the quantity whose change is to be estimated.",
    ),
    "several labels and no target": (
        lambda path: path.write_text("image,subject,pain,age\nP1/0.png,P1,1,2\n"),
        "{root}/faces.csv has several labels: pain, age",
        "Say which to estimate: -o target=pain or -o target=age",
    ),
}


@pytest.mark.parametrize("name", STOPPED)
def test_a_table_without_anything_to_estimate(lay_out, stop, name):
    root = lay_out("table")
    spoil, message, hint = STOPPED[name]
    spoil(root / "faces.csv")
    stop(root, message, hint)


def test_a_column_without_numbers_is_no_target(lay_out, stop):
    root = lay_out("table")
    message = "column phase of {root}/faces.csv holds no number"
    stop(root, message, "Columns of numbers: pain", "-o", "target=phase")


def test_pairs_of_phases_need_the_column(lay_out, stop):
    root = lay_out("table")
    replace(",phase,", ",group,")(root, None)
    message = "pairs=pre-post needs the column phase, which {root}/faces.csv lacks"
    hint = "Add it, or take all pairs within a subject: -o pairs=all"
    stop(root, message, hint, "-o", "pairs=pre-post")
