"""Malformed tables, of anyone's (`csv:FILE`) and of weights (Edema): refused, with file and line."""

from __future__ import annotations

import shutil

import pytest

PLAIN = "Write decimals with a point, and put quotes around cells that hold a comma."
AS_COMMAS = "Save it as CSV with commas between cells, and points in decimals."
UNKNOWN = "Leave the cell empty if it is unknown."
FILL_IN = "Fill it in, or take the row out."
PUT_THERE = "Put it there, or take the row out."
KEPT_INSIDE = "Name it relative to {root}."
CHECKED = "or write yes in a column `checked` if it is right."
HEADER = "image,patient,day,phase,weight_kg"


def replace(old, new, file="faces.csv"):
    """Write something else in place of a text that stands in the table."""

    def spoil(root, draw):
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new, 1))

    return spoil


def append(row, file="faces.csv"):
    def spoil(root, draw):
        with (root / file).open("a") as table:
            table.write(row + "\n")

    return spoil


def keep_pre(root, draw):
    path = root / "manifest.csv"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if ",post," not in line))


# Line 2 is P1/0.png, line 3 P1/1.png; the last is line 13.
TABLE = {
    "a text among the numbers": (
        replace("post,2", "post,two"),
        "faces.csv:3",
        "pain is 'two', not a number",
        f"Write a number such as 60.5, without a unit. {UNKNOWN}",
    ),
    "a decimal comma": (
        replace("post,2", 'post,"2,5"'),
        "faces.csv:3",
        "pain is '2,5', not a number",
        f"Write decimals with a point: 2.5 {UNKNOWN}",
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
    "a cell too few": (replace(",post,2", ",post"), "faces.csv:3", "4 cells, but the header has 5", PLAIN),
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
        "The header is image,subject; here it is image,person,session,phase,pain",
    ),
    "a column twice": (
        replace("phase", "subject"),
        "faces.csv:1",
        "column subject stands twice",
        "Take one of them out, or rename it.",
    ),
}
"""Where, message and remedy of each; `faces.csv:LINE` stands in the data set's folder."""


# Line 2 is patient P1, day 1, pre, 51 kg; line 3 post, 50 kg; the next two are day 2.
EDEMA = {
    "grams": (
        replace("51\n", "51000\n", "manifest.csv"),
        ":2",
        "weight_kg is 51000: grams, not kilograms",
        "Divide it by 1000: 51",
    ),
    "a column of grams": (
        replace("weight_kg", "weight_g", "manifest.csv"),
        ":1",
        "the column of weights is weight_g, not weight_kg",
        "Divide the grams by 1000, and call the column weight_kg.",
    ),
    "a column of pounds": (
        replace("weight_kg", "weight_lbs", "manifest.csv"),
        ":1",
        "the column of weights is weight_lbs, not weight_kg",
        "Divide the pounds by 2.2046, and call the column weight_kg.",
    ),
    "pounds in one row": (
        replace("51\n", "112.4\n", "manifest.csv"),
        ":2",
        "P1 weighs 112.4 kg here and 50 kg in line 3, 2.2 times as much: pounds?",
        f"Divide pounds by 2.2046, {CHECKED}",
    ),
    "heavier after treatment": (
        replace(
            "pre,51\nimages/P1_1_post.jpg,P1,1,post,50",
            "post,51\nimages/P1_1_post.jpg,P1,1,pre,50",
            "manifest.csv",
        ),
        ":2",
        "P1, day 1: 50 kg before treatment and 51 kg after it, which is more",
        f"Swap pre and post if they were mistaken, {CHECKED}",
    ),
    "a digit lost": (
        replace("51\n", "61\n", "manifest.csv"),
        ":3",
        "P1, day 1: 61 kg before treatment and 50 kg after it, a change of 18.0%",
        f"Correct the wrong weight or day, {CHECKED}",
    ),
    "two weights": (
        append("images/P1_1_more.jpg,P1,1,pre,51.5", "manifest.csv"),
        ":18",
        "P1, day 1, pre: 51.5 kg here and 51 kg in line 2",
        f"A patient has one weight a phase: correct one, give another day, {CHECKED}",
    ),
    "no weight": (replace("pre,51\n", "pre,\n", "manifest.csv"), ":2", "weight_kg is empty", FILL_IN),
    "a weight of 0": (
        replace("pre,51\n", "pre,0\n", "manifest.csv"),
        ":2",
        "weight_kg is 0, not above 0",
        "Correct it, or take the row out.",
    ),
    "a unit behind the number": (
        replace("pre,51\n", "pre,51 kg\n", "manifest.csv"),
        ":2",
        "weight_kg is '51 kg', not a number",
        "Write a number such as 60.5, without a unit.",
    ),
    "another phase": (
        replace("pre,51", "before,51", "manifest.csv"),
        ":2",
        "phase is 'before', not pre or post",
        "pre is before treatment, post after it.",
    ),
    "no patient of both phases": (
        keep_pre,
        "",
        "no patient has images of both phases, so nothing can be tested",
        "Testing takes pre/post pairs: add the other phase of at least some patients.",
    ),
    "a way out by ..": (
        replace("images/P1_1_pre.jpg", "images/../../Edema-A/images/P1_1_pre.jpg", "manifest.csv"),
        ":2",
        "images/../../Edema-A/images/P1_1_pre.jpg leaves the data root",
        KEPT_INSIDE,
    ),
    "another version": (
        lambda root, draw: (root / "manifest.csv").write_text(
            "# comface-bench edema 2\n" + (root / "manifest.csv").read_text()
        ),
        ":1",
        "this is 'edema 2', not version 1 of edema",
        "Write the file as docs/datasets/edema.md shows, and its first line as # comface-bench edema 1",
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_tables_refused(lay_out, refuse, draw_image, name):
    root = lay_out("table")
    spoil, where, message, remedy = TABLE[name]
    spoil(root, draw_image)
    refuse(root, [(f"{{root}}/{where}", message, remedy)], "-o", "target=pain")


@pytest.mark.parametrize("name", EDEMA)
def test_weights_refused(lay_out, refuse, draw_image, name):
    root = lay_out("Edema-A")
    draw_image(root / "images" / "P1_1_more.jpg", seed=99)
    spoil, line, message, remedy = EDEMA[name]
    spoil(root, draw_image)
    refuse(root, [(f"{{root}}/manifest.csv{line}", message, remedy)])


def empty(path):
    path.unlink()
    path.mkdir()


HINT = "Name a CSV file, as in: comface-bench data check csv:FILE"
HOW = "Write a CSV file with the columns image, subject and a label; docs/datasets/csv.md shows it."
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
        "Say which to estimate: -o target=pain",
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
    stop(root, message, "Columns of numbers: pain; decimals are written with a point.", "-o", "target=phase")


def test_pairs_of_phases_need_the_column(lay_out, stop):
    root = lay_out("table")
    replace(",phase,", ",group,")(root, None)
    message = "pairs=pre-post needs the column phase, which {root}/faces.csv lacks"
    hint = "Add it, or take all pairs within a subject: -o pairs=all"
    stop(root, message, hint, "-o", "pairs=pre-post")


def test_an_edema_set_without_its_table_is_told_which_file_may_be_meant(lay_out, stop):
    root = lay_out("Edema-A")
    (root / "manifest.csv").rename(root / "Weights.CSV")
    stop(
        root,
        "{root}/manifest.csv doesn't exist",
        f"Rename Weights.CSV to manifest.csv; its header is {HEADER}",
    )


def test_a_table_of_nothing_but_a_header_has_no_images(lay_out, stop):
    root = lay_out("Edema-A")
    (root / "manifest.csv").write_text(HEADER + "\n")
    stop(
        root,
        "Edema-A: no images under {root}",
        "Put them there, or point --data at the folder that holds them.",
    )


@pytest.mark.parametrize("letter", "AB")
def test_both_sets_of_a_task_are_looked_over(lay_out, check, letter):
    root = lay_out("Edema-A")
    shutil.copytree(root, root.parent / "Edema-B")
    spoiled = root.parent / f"Edema-{letter}"
    replace("51\n", "51000\n", "manifest.csv")(spoiled, None)
    seen = check(root, task="edema-a2b")
    assert seen.status == 2
    assert [one["where"] for one in seen.found["problems"]] == [f"{spoiled}/manifest.csv:2"]
