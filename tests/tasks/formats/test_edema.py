"""The Edema format, version 1: what is read, what is refused with line and remedy, and what is reported."""

from __future__ import annotations

import dataclasses
import itertools
import random
from pathlib import Path

import pytest

from comface_bench.core.errors import DataMissingError
from comface_bench.core.problems import DataProblemsError, Note, ProblemList
from comface_bench.data.manifest import Manifest
from comface_bench.tasks.formats.edema import Weighing, check_weight_column, read_edema

HEADER = "image,patient,day,phase,weight_kg"
ROW = {"image": "a.jpg", "patient": "P1", "day": "1", "phase": "pre", "weight_kg": "60.5"}


def write(root, *lines, ending="\n", mark=""):
    text = mark + ending.join(lines) + ending
    (root / "manifest.csv").write_bytes(text.encode())


NUMBER = itertools.count()


def line(**changed):
    """A row with an image of its own; cells that hold a comma are quoted."""
    cells = {**ROW, "image": f"{next(NUMBER)}.jpg", **changed}
    return ",".join(f'"{cell}"' if "," in cell else cell for cell in cells.values())


def pair(patient="P1", day="1", pre="60", post="58", **more):
    """Both rows of a treatment."""
    return [
        line(patient=patient, day=day, phase=phase, weight_kg=kg, **more)
        for phase, kg in (("pre", pre), ("post", post))
    ]


def read(root):
    """Good rows, notes and problems."""
    rows, notes, problems = [], [], ProblemList()
    with problems.collect():
        for item in read_edema(root):
            if isinstance(item, Note):
                notes.append(item.text)
            else:
                rows.append(item)
    return rows, notes, [dataclasses.astuple(problem) for problem in problems.found]


def test_rows_carry_everything(tmp_path, make_edema):
    rows, notes, problems = read(make_edema(tmp_path))
    assert (notes, problems) == ([], [])
    assert len(rows) == 8
    assert rows[0] == {
        "image": "images/P1_1_pre.jpg",
        "subject": "P1",
        "session": "1",
        "phase": "pre",
        "weight_kg": 51.0,
        "where": f"{tmp_path / 'manifest.csv'}:2",
    }
    assert rows[-1]["weight_kg"] == 52.0


@pytest.fixture(scope="module")
def clean(tmp_path_factory, make_edema):
    root = make_edema(tmp_path_factory.mktemp("edema"))
    return root, (root / "manifest.csv").read_text(), Manifest.from_rows("d", root, read_edema(root)).digest


def shuffled(text):
    header, *rows = text.splitlines()
    random.Random(1).shuffle(rows)
    return "\n".join([header, *rows])


def reordered(text):
    return "".join(",".join(reversed(line.split(","))) + "\n" for line in text.splitlines())


REPAIRS = {
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "BOM": lambda text: "\ufeff" + text,
    "no last line end": str.rstrip,
    "blank last lines": lambda text: text + "\n\n ,,,,\n",
    "blank lines between": lambda text: text.replace("\n", "\n\n"),
    "version": lambda text: "# comface-bench edema 1\n" + text,
    "version by a spreadsheet": lambda text: "# comface-bench edema 1,,,,\r\n" + text,
    "quotes": lambda text: text.replace("P1,", '"P1",'),
    "blanks": lambda text: text.replace(",", " , "),
    "capital phases": lambda text: text.replace(",pre", ",Pre").replace(",post", ",POST"),
    "more digits": lambda text: text.replace(",50\n", ",50.00\n"),
    "other order of rows": shuffled,
    "other order of columns": reordered,
    "checked": lambda text: text.replace("\n", ",\n").replace("weight_kg,\n", "weight_kg,checked\n"),
}


@pytest.mark.parametrize("repair", REPAIRS)
def test_files_as_people_have_them_give_the_clean_manifest(clean, repair):
    root, text, digest = clean
    changed = REPAIRS[repair](text)
    assert changed != text
    path = root / "manifest.csv"
    path.write_bytes(changed.encode())
    try:
        table = Manifest.from_rows("d", root, read_edema(root))
    finally:
        path.write_text(text)
    assert table.digest == digest
    assert table.notes == ()


def test_further_columns_are_reported_and_not_read(tmp_path):
    write(tmp_path, "note,weight_kg,phase,day,patient,image,sex", '"x, y",60.5,pre,1,P1,a.jpg,f')
    rows, notes, _ = read(tmp_path)
    assert (rows[0]["image"], rows[0]["subject"], rows[0]["weight_kg"]) == ("a.jpg", "P1", 60.5)
    assert not {"note", "sex"} & set(rows[0])
    assert notes[0] == "columns of manifest.csv that aren't read: note, sex"


RENAME = "rename what holds the missing ones, or add them."
# Header, line of the problem, its message and remedy.
HEADERS = [
    *(
        (
            ",".join(name for name in ROW if name != column),
            1,
            f"no column {column}",
            f"The header is {HEADER}; here it is "
            + f"{','.join(name for name in ROW if name != column)}: {RENAME}",
        )
        for column in ("image", "patient", "day", "phase", "weight_kg")
    ),
    ("", 1, "no column image, patient, day, phase, weight_kg", f"The header is {HEADER}; here it is empty"),
    (HEADER.replace(",", ";"), 1, "the cells are separated by ';', not by commas",
     "Save it as CSV with commas between cells, and points in decimals."),
    (HEADER.replace("_kg", "_g"), 1, "the column of weights is weight_g, not weight_kg",
     "Divide the grams by 1000, and call the column weight_kg."),
    (HEADER.replace("_kg", "_lb"), 1, "the column of weights is weight_lb, not weight_kg",
     "Divide the pounds by 2.2046, and call the column weight_kg."),
    (HEADER.replace("_kg", "_lbs"), 1, "the column of weights is weight_lbs, not weight_kg",
     "Divide the pounds by 2.2046, and call the column weight_kg."),
    (HEADER.replace("_kg", ""), 1, "the column of weights is weight, not weight_kg",
     "Make sure that it is in kilograms, and call the column weight_kg."),
    (HEADER + ",day", 1, "column day stands twice", "Take one of them out, or rename it."),
    ("# comface-bench edema 2\n" + HEADER, 1, "this is 'edema 2', not version 1 of edema",
     "Write the file as docs/datasets/edema.md shows, and its first line as # comface-bench edema 1"),
    ("# comface-bench\n" + HEADER, 1, "this is 'no', not version 1 of edema",
     "Write the file as docs/datasets/edema.md shows, and its first line as # comface-bench edema 1"),
]  # fmt: skip


@pytest.mark.parametrize(("header", "number", "message", "remedy"), HEADERS, ids=[row[0] for row in HEADERS])
def test_headers_that_cannot_be_taken_are_named(tmp_path, header, number, message, remedy):
    write(tmp_path, header)
    assert read(tmp_path)[2] == [(f"{tmp_path / 'manifest.csv'}:{number}", message, remedy)]


def test_pounds_and_a_missing_column_are_reported_together(tmp_path):
    write(tmp_path, "image,patient,phase,weight_lb")
    assert [message for _, message, _ in read(tmp_path)[2]] == [
        "the column of weights is weight_lb, not weight_kg",
        "no column day",
    ]


NO_NUMBER = "Write a number such as 60.5, without a unit."
NO_WEIGHT = "Write kilograms: grams are divided by 1000, pounds by 2.2046."
CELLS = "Write decimals with a point, and put quotes around cells that hold a comma."
FEWER = "Fill the row up: an empty cell has its separator, too."
FILL = "Fill it in, or take the row out."
ROWS = [
    (line(phase="during"), "phase is 'during', not pre or post", "pre is before treatment, post after it."),
    (line(weight_kg="heavy"), "weight_kg is 'heavy', not a number", NO_NUMBER),
    (line(weight_kg="60.5 kg"), "weight_kg is '60.5 kg', not a number", NO_NUMBER),
    (line(weight_kg="nan"), "weight_kg is 'nan', not a number", NO_NUMBER),
    ("a.jpg,P1,1,pre,60,5", "6 cells, but the header has 5", CELLS),
    ("a.jpg,P1,1,pre", "4 cells, but the header has 5", FEWER),
    ("a.jpg,P1,1,pre,60,,x", "7 cells, but the header has 5", CELLS),
    (line(weight_kg="0"), "weight_kg is 0, not above 0", "Correct it, or take the row out."),
    (line(weight_kg="-60"), "weight_kg is -60, not above 0", "Correct it, or take the row out."),
    (line(weight_kg="60500"), "weight_kg is 60500: grams, not kilograms", "Divide it by 1000: 60.5"),
    (line(weight_kg="6.05"), "weight_kg is 6.05; a patient weighs 10 to 400 kg", NO_WEIGHT),
    (line(weight_kg="605"), "weight_kg is 605; a patient weighs 10 to 400 kg", NO_WEIGHT),
    (line(weight_kg="6e9"), "weight_kg is 6e9; a patient weighs 10 to 400 kg", NO_WEIGHT),
    *((line(**{column: ""}), f"{column} is empty", FILL) for column in ROW),
    (line(image=" ", day=""), "image, day is empty", FILL),
    (
        line(image="images\\a.jpg"),
        "image images\\a.jpg has backslashes",
        "Write it with forward slashes: images/a.jpg",
    ),
    (
        'a.jpg,P"1,1,pre,"60',
        "not CSV: unexpected end of data",
        "Close the quotes of this row; a quote is doubled.",
    ),
]


@pytest.mark.parametrize(("bad", "message", "remedy"), ROWS, ids=[row[0] for row in ROWS])
def test_malformed_rows_are_named_and_the_others_read(tmp_path, bad, message, remedy):
    write(tmp_path, HEADER, *pair(), "", bad)
    rows, notes, problems = read(tmp_path)
    assert problems == [(f"{tmp_path / 'manifest.csv'}:5", message, remedy)]
    assert [row["weight_kg"] for row in rows] == [60, 58]
    assert notes == []


def test_all_problems_are_reported_at_once(tmp_path):
    write(
        tmp_path, HEADER, line(phase="x", weight_kg="y"), *pair(), line(patient=""), line(weight_kg="60500")
    )
    places = [(where.rpartition(":")[2], message) for where, message, _ in read(tmp_path)[2]]
    assert places == [
        ("2", "phase is 'x', not pre or post"),
        ("2", "weight_kg is 'y', not a number"),
        ("5", "patient is empty"),
        ("6", "weight_kg is 60500: grams, not kilograms"),
    ]
    with pytest.raises(DataProblemsError, match="and 3 more"):
        Manifest.from_rows("d", tmp_path, (row for row in read_edema(tmp_path) if isinstance(row, Note)))


def test_lines_are_right_behind_a_cell_of_two_lines(tmp_path):
    write(tmp_path, HEADER + ",note", pair()[0] + ',"two\nlines"', line(phase="x") + ",")
    assert [where.rpartition(":")[2] for where, *_ in read(tmp_path)[2]] == ["4"]


def test_checked_is_yes_or_nothing(tmp_path):
    write(tmp_path, HEADER + ",checked", *(row + ",No" for row in pair()), line() + ",perhaps")
    assert read(tmp_path)[2] == [
        (f"{tmp_path / 'manifest.csv'}:4", "checked is 'perhaps'", "Write yes, or leave the cell empty.")
    ]


def test_checked_does_not_silence_the_format(tmp_path):
    write(tmp_path, HEADER + ",checked", *(row + "," for row in pair()), line(weight_kg="605") + ",yes")
    assert [message for _, message, _ in read(tmp_path)[2]] == [
        "weight_kg is 605; a patient weighs 10 to 400 kg"
    ]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataMissingError, match=r"manifest\.csv doesn't exist") as caught:
        list(read_edema(tmp_path))
    assert caught.value.hint == f"Write it with the header {HEADER}"


def test_a_file_of_another_name_is_offered(tmp_path):
    (tmp_path / "Manifest.CSV").write_text(HEADER)
    with pytest.raises(DataMissingError) as caught:
        list(read_edema(tmp_path))
    assert caught.value.hint == f"Rename Manifest.CSV to manifest.csv; its header is {HEADER}"


@pytest.mark.parametrize(
    ("image", "reported"),
    [
        ("../a.jpg", "../a.jpg leaves the data root"),
        ("/a.jpg", "/a.jpg leaves the data root"),
        ("nothing.jpg", "nothing.jpg isn't a file under"),
    ],
)
def test_images_that_are_not_in_the_folder_are_refused_with_their_line(tmp_path, make_edema, image, reported):
    root = make_edema(tmp_path)
    with (root / "manifest.csv").open("a") as stream:
        stream.write(line(image=image, weight_kg="51", day="9") + "\n")
    with pytest.raises(DataProblemsError) as caught:
        Manifest.from_rows("d", root, read_edema(root))
    (problem,) = caught.value.problems
    assert problem.where == f"{root / 'manifest.csv'}:10"
    assert problem.message.startswith(reported)


def test_an_image_that_stands_twice_is_refused(tmp_path, make_edema):
    root = make_edema(tmp_path)
    path = root / "manifest.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(DataProblemsError, match=r"manifest\.csv:10: images/P1_1_pre\.jpg stands twice"):
        Manifest.from_rows("d", root, read_edema(root))


def test_patients_who_cannot_be_tested_are_reported(tmp_path):
    write(
        tmp_path,
        HEADER,
        *pair("P1"),
        line(patient="P2", day="1"),
        line(patient="P2", day="2"),
        line(patient="P3", phase="post"),
        line(patient="P4", phase="post", day="1"),
        line(patient="P4", phase="post", day="2"),
    )
    rows, notes, problems = read(tmp_path)
    assert (len(rows), problems) == (7, [])
    assert notes == [
        "patients with one image, who have no pair: 1 (P3)",
        "patients of one phase, who are trained on and can't be tested: 2 (P2 pre, P4 post)",
    ]


def test_a_set_of_one_phase_cannot_be_tested(tmp_path):
    write(tmp_path, HEADER, line(patient="P1"), line(patient="P2", phase="post"))
    assert read(tmp_path)[2] == [
        (
            str(tmp_path / "manifest.csv"),
            "no patient has images of both phases, so nothing can be tested",
            "Testing takes pre/post pairs: add the other phase of at least some patients.",
        )
    ]


def test_nothing_is_written(tmp_path, make_edema):
    root = make_edema(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in Path(root).rglob("*")}
    read(root)
    assert {path: path.stat().st_mtime_ns for path in Path(root).rglob("*")} == before


TABLE = Path("manifest.csv")
OR_CHECKED = "or write yes in a column `checked` if it is right"


def weighings(*cells, checked=()):
    """Rows from (patient, day, phase, kg); lines count from 2, and those of `checked` are."""
    return [
        Weighing(*cell, where=f"{TABLE}:{number}", checked=number in checked)
        for number, cell in enumerate(cells, start=2)
    ]


def found(*cells, checked=()):
    problems = ProblemList()
    check_weight_column(TABLE, weighings(*cells, checked=checked), problems)
    return [dataclasses.astuple(problem) for problem in problems.found]


def treatment(pre, post, patient="P1", day="1"):
    return (patient, day, "pre", pre), (patient, day, "post", post)


SANE = [
    treatment(60.0, 58.0),
    treatment(60.0, 60.0),
    (("P1", "1", "pre", 58.1), *[("P1", "1", "post", 58.1)] * 3),
    treatment(60.0, 54.0),  # 10 % exactly
    (*treatment(61.0, 60.0), *treatment(90.0, 88.0, day="2")),  # half as much again
    (("P1", "1", "pre", 60.0), ("P1", "1", "pre", 60.0), ("P1", "1", "post", 58.0)),
    (("P1", "1", "post", 61.0), ("P1", "2", "pre", 60.0)),  # heavier on another day
    (*treatment(60.0, 58.0), *treatment(132.0, 130.0, patient="P2")),  # two people differ
]


@pytest.mark.parametrize("cells", SANE, ids=str)
def test_sane_weights_pass(cells):
    assert found(*cells) == []


# Rows, line, message, remedy (before "or write yes").
ODD = [
    (
        treatment(58.0, 60.0),
        3,
        "P1, day 1: 58 kg before treatment and 60 kg after it, which is more",
        "Swap pre and post if they were mistaken, ",
    ),
    (
        (
            ("P1", "1", "pre", 58.5),
            ("P1", "1", "pre", 58.5),
            ("P1", "1", "post", 58.6),
            ("P1", "1", "post", 58.6),
        ),
        4,
        "P1, day 1: 58.5 kg before treatment and 58.6 kg after it, which is more",
        "Swap pre and post if they were mistaken, ",
    ),
    (
        treatment(60.0, 53.9),
        3,
        "P1, day 1: 60 kg before treatment and 53.9 kg after it, a change of 10.2%",
        "Correct the wrong weight or day, ",
    ),
    (
        treatment(60.0, 85.0),
        3,
        "P1, day 1: 60 kg before treatment and 85 kg after it, a change of 41.7%",
        "Correct the wrong weight or day, ",
    ),
    (
        (("P1", "1", "pre", 60.0), ("P1", "1", "pre", 60.2), ("P1", "1", "post", 58.0)),
        3,
        "P1, day 1, pre: 60.2 kg here and 60 kg in line 2",
        "A patient has one weight a phase: correct one, give another day, ",
    ),
    (
        treatment(60.0, 127.9),
        3,
        "P1 weighs 127.9 kg here and 60 kg in line 2, 2.2 times as much: pounds?",
        "Divide pounds by 2.2046, ",
    ),
    (
        (*treatment(60.0, 58.0), *treatment(132.3, 127.9, day="2")),
        4,
        "P1 weighs 132.3 kg here and 58 kg in line 3, 2.2 times as much: pounds?",
        "Divide pounds by 2.2046, ",
    ),
    (
        (*treatment(60.0, 58.0), *treatment(96.0, 95.0, day="2")),
        4,
        "P1 weighs 96 kg here and 58 kg in line 3",
        "Correct the wrong one, ",
    ),
]


@pytest.mark.parametrize(("cells", "number", "message", "remedy"), ODD, ids=[row[2] for row in ODD])
def test_odd_weights_are_reported_once_with_line_and_remedy(cells, number, message, remedy):
    assert found(*cells) == [(f"{TABLE}:{number}", message, f"{remedy}{OR_CHECKED}.")]


@pytest.mark.parametrize("cells", [row[0] for row in ODD], ids=[row[2] for row in ODD])
def test_a_checked_weight_is_left_alone(cells):
    lines = range(2, 2 + len(cells))
    assert found(*cells, checked=lines) == []


def test_checked_silences_its_own_row_only():
    cells = (*treatment(58.0, 60.0), *treatment(58.0, 60.0, day="2"))
    (problem,) = found(*cells, checked=(3,))
    assert problem[1].startswith("P1, day 2")


def test_every_odd_day_and_patient_is_reported():
    cells = [row for patient in ("P1", "P2") for day in ("1", "2") for row in treatment(58, 60, patient, day)]
    assert [message.partition(":")[0] for _, message, _ in found(*cells)] == [
        "P1, day 1",
        "P1, day 2",
        "P2, day 1",
        "P2, day 2",
    ]


def cohort(*weights):
    return [row for number, kg in enumerate(weights) for row in treatment(kg, kg - 1, patient=f"P{number}")]


def test_a_whole_cohort_in_pounds_is_seen():
    assert found(*cohort(110, 120, 130, 150, 180)) == [
        (
            str(TABLE),
            "half of the 5 patients weigh more than 120 kg: pounds?",
            f"Divide weight_kg by 2.2046, {OR_CHECKED}.",
        )
    ]


@pytest.mark.parametrize(
    "weights", [(150, 160, 170, 180), (60, 70, 80, 150, 160), (50, 55, 60, 65, 120)], ids=str
)
def test_few_or_some_heavy_patients_are_no_cohort_in_pounds(weights):
    assert found(*cohort(*weights)) == []


def test_a_checked_cohort_is_left_alone():
    cells = cohort(130, 140, 150, 160, 170)
    assert found(*cells, checked=range(2, 2 + len(cells))) == []
