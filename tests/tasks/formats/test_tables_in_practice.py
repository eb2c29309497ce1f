"""Tables as people really have them: each is read as it was meant, or refused at its line with what to do."""

from __future__ import annotations

import pytest

from comface_bench.core.errors import UsageError
from comface_bench.core.problems import DataProblemsError, Note
from comface_bench.tasks.csv_file import configure, make_card
from comface_bench.tasks.formats.csv_file import read_csv_file, read_csv_file_by_session
from comface_bench.tasks.formats.edema import read_edema

TRUE = {"a.png": ("P1", 1031.0), "b.png": ("P1", 998.5), "c.png": ("P2", 1204.25)}

READ = {
    "plain": "image,subject,steps\na.png,P1,1031\nb.png,P1,998.5\nc.png,P2,1204.25\n",
    "thousands by comma, as Excel shows them": (
        'image,subject,steps\na.png,P1,"1,031"\nb.png,P1,998.5\nc.png,P2,"1,204.25"\n'
    ),
    "decimal commas in quotes": (
        'image,subject,steps\na.png,P1,1031\nb.png,P1,"998,5"\nc.png,P2,"1204,25"\n'
    ),
    "German Excel with a sep= line": (
        "\ufeffsep=;\r\nimage;subject;steps\r\na.png;P1;1.031,00\r\nb.png;P1;998,5\r\nc.png;P2;1.204,25\r\n"
    ),
    "English Excel with a sep= line": (
        "sep=,\r\nimage,subject,steps\r\na.png,P1,1031\r\nb.png,P1,998.5\r\nc.png,P2,1204.25\r\n"
    ),
    "tabs with a sep= line": (
        "sep=\t\nimage\tsubject\tsteps\na.png\tP1\t1031\nb.png\tP1\t998.5\nc.png\tP2\t1204.25\n"
    ),
    "French thousands": (
        'image,subject,steps\na.png,P1,1\u202f031\nb.png,P1,"998,5"\nc.png,P2,"1\u202f204,25"\n'
    ),
    "Swiss thousands": "image,subject,steps\na.png,P1,1'031\nb.png,P1,998.5\nc.png,P2,1’204.25\n",
    "full-width digits": "image,subject,steps\na.png,P1,１０３１\nb.png,P1,998.5\nc.png,P2,１２０４．２５\n",
    "header in capitals": "IMAGE,SUBJECT,steps\na.png,P1,1031\nb.png,P1,998.5\nc.png,P2,1204.25\n",
    "header in title case, with blanks": (
        " Image , Subject ,steps\na.png,P1,1031\nb.png,P1,998.5\nc.png,P2,1204.25\n"
    ),
    "the index of pandas": (",image,subject,steps\n0,a.png,P1,1031\n1,b.png,P1,998.5\n2,c.png,P2,1204.25\n"),
    "the index of pandas, read and written again": (
        "Unnamed: 0.1,Unnamed: 0,image,subject,steps\n0,0,a.png,P1,1031\n1,3,b.png,P1,998.5\n"
        "2,9,c.png,P2,1204.25\n"
    ),
    "a column that numbers the rows": (
        "No.,image,subject,steps\n1,a.png,P1,1031\n2,b.png,P1,998.5\n3,c.png,P2,1204.25\n"
    ),
    "the row names of R": (
        '"image","subject","steps"\n"1","a.png","P1",1031\n"2","b.png","P1",998.5\n"3","c.png","P2",1204.25\n'
    ),
    "empty columns that Excel leaves behind": (
        "image,subject,steps,,\na.png,P1,1031,,\nb.png,P1,998.5,,\nc.png,P2,1204.25,,\n"
    ),
    "empty cells behind some rows": (
        "image,subject,steps\na.png,P1,1031,\nb.png,P1,998.5\nc.png,P2,1204.25,,\n"
    ),
    "old Macintosh lines and a byte-order mark": (
        "\ufeffimage,subject,steps\ra.png,P1,1031\rb.png,P1,998.5\rc.png,P2,1204.25\r"
    ),
    "a column of frames": (
        "image,subject,frame,steps\na.png,P1,12,1031\nb.png,P1,13,998.5\nc.png,P2,12,1204.25\n"
    ),
}

HALF = "Leave the cell empty if it is unknown."
# Table, line, message, remedy of the first problem.
REFUSED = {
    "thousands or decimals": (
        'image,subject,steps\na.png,P1,"1,031"\nb.png,P1,998\nc.png,P2,"1,204"\n',
        2,
        "steps is '1,031', which is 1031 or 1.031",
        f"Write 1031 or 1.031, whichever it is. {HALF}",
    ),
    "points in a table of semicolons": (
        "sep=;\nimage;subject;steps\na.png;P1;1.031\nb.png;P1;998\nc.png;P2;1.204\n",
        3,
        "steps is '1.031', which is 1031 or 1.031",
        f"Write 1031 or 1.031, whichever it is. {HALF}",
    ),
    "one decimal comma among points": (
        'image,subject,steps\na.png,P1,1031\nb.png,P1,"998,5"\nc.png,P2,1204.25\n',
        3,
        "steps is '998,5', not a number",
        f"Write decimals with a point: 998.5 {HALF}",
    ),
    "decimal commas without quotes": (
        "image,subject,steps\na.png,P1,1031\nb.png,P1,998,5\nc.png,P2,1204,25\n",
        3,
        "4 cells, but the header has 3",
        "Write decimals with a point, and put quotes around cells that hold a comma.",
    ),
    "a cell too few": (
        "image,subject,steps\na.png,P1,1031\nb.png,P1\n",
        3,
        "2 cells, but the header has 3",
        "Fill the row up: an empty cell has its separator, too.",
    ),
    "semicolons": (
        "image;subject;steps\na.png;P1;1031\n",
        1,
        "the cells are separated by ';', not by commas",
        "Save it as CSV with commas between cells, and points in decimals.",
    ),
    "a sep= line that isn't true": (
        "sep=;\nimage,subject,steps\na.png,P1,1031\n",
        2,
        "the cells are separated by commas, not by ';'",
        "Take out the line sep=;, or correct it.",
    ),
    "a German header": (
        "Bild,Person,Schritte\na.png,P1,1031\nb.png,P1,998.5\nc.png,P2,1204.25\n",
        1,
        "no column image, subject",
        "The header is image,subject; here it is Bild,Person,Schritte: rename what holds the missing ones, or"
        " add them.",
    ),
    "a Japanese header": (
        "画像,subject,歩数\na.png,P1,1031\n",
        1,
        "no column image",
        "The header is image,subject; here it is 画像,subject,歩数: rename what holds the missing ones,"
        " or add them.",
    ),
    "no header": (
        "a.png,P1,1031\nb.png,P1,998.5\n",
        1,
        "no column image, subject",
        "The header is image,subject; here it is a.png,P1,1031, which looks like a row: write the header"
        " above it.",
    ),
    "the same word in two cases": (
        "image,Image,subject,steps\na.png,x,P1,1031\n",
        1,
        "column image stands twice",
        "Take one of them out, or rename it.",
    ),
    "a date that a spreadsheet has made": (
        "image,subject,steps\na.png,P1,1031\nb.png,P1,5-Jan\n",
        3,
        "steps is '5-Jan', not a number",
        f"Write a number such as 60.5, without a unit. {HALF}",
    ),
    "an error of a spreadsheet": (
        "image,subject,steps\na.png,P1,1031\nb.png,P1,#DIV/0!\n",
        3,
        "steps is '#DIV/0!', not a number",
        f"Write a number such as 60.5, without a unit. {HALF}",
    ),
    "a percentage": (
        "image,subject,steps\na.png,P1,1031\nb.png,P1,60%\n",
        3,
        "steps is '60%', not a number",
        f"Write a number such as 60.5, without a unit. {HALF}",
    ),
}


def read(path, text, reader=read_csv_file):
    path.write_bytes(text.encode())
    rows, notes = [], []
    try:
        for item in reader(path):
            if isinstance(item, Note):
                notes.append(item.text)
            else:
                rows.append(item)
    except DataProblemsError as error:
        return rows, notes, error.problems
    return rows, notes, ()


@pytest.mark.parametrize("name", READ)
def test_tables_that_are_read(tmp_path, name):
    rows, _, problems = read(tmp_path / "t.csv", READ[name])
    assert problems == ()
    assert {row["image"]: (row["subject"], row["steps"]) for row in rows} == TRUE
    labels = {"image", "subject", "session", "phase", "frame", "where"}
    assert {column for row in rows for column in row} - labels == {"steps"}
    assert configure(make_card(f"csv:{tmp_path / 't.csv'}"), CHOSEN).target == "steps"


CHOSEN = {"pairs": "all", "family": "custom"}


@pytest.mark.parametrize("name", REFUSED)
def test_tables_that_are_refused(tmp_path, name):
    text, line, message, remedy = REFUSED[name]
    path = tmp_path / "t.csv"
    problem = read(path, text)[2][0]
    assert (problem.where, problem.message, problem.remedy) == (f"{path}:{line}", message, remedy)


@pytest.mark.parametrize("name", READ)
def test_what_is_not_read_plainly_is_noted(tmp_path, name):
    notes = [
        note for note in read(tmp_path / "t.csv", READ[name])[1] if "subjects with one image" not in note
    ]
    index = {"Unnamed: 0.1, Unnamed: 0": "read and written again", "No.": "numbers the rows"}
    for column, part in index.items():
        assert (f"columns of t.csv that number the rows and aren't read: {column}" in notes) == (part in name)
    commas = any(word in name for word in ("thousands", "decimal", "German", "full-width"))
    assert any(note.startswith("numbers of column steps of t.csv: ") for note in notes) == commas


def test_columns_of_such_names_that_do_not_number_the_rows_are_labels(tmp_path):
    path = tmp_path / "t.csv"
    rows, _, _ = read(path, "image,subject,no,id\na.png,P1,3,1.5\nb.png,P1,3,2.5\nc.png,P2,1,3.5\n")
    assert [(row["no"], row["id"]) for row in rows] == [(3, 1.5), (3, 2.5), (1, 3.5)]


def test_advice_on_the_target_can_be_followed(tmp_path):
    path = tmp_path / "t.csv"
    card = make_card(f"csv:{path}")
    path.write_text("index,image,subject,Größe,pain\n1,a.png,P1,1,2\n2,b.png,P1,2,3\n")
    with pytest.raises(UsageError, match="several labels: Größe, pain") as caught:
        configure(card, CHOSEN)
    assert caught.value.hint == "Say which to estimate: -o target=pain"
    with pytest.raises(UsageError, match=r"column index of .* numbers the rows") as caught:
        configure(card, {**CHOSEN, "target": "index"})
    assert caught.value.hint == "Columns of numbers: Größe, pain"
    path.write_text("image,subject,Größe,Body weight\na.png,P1,1,2\n")
    with pytest.raises(UsageError, match="several labels") as caught:
        configure(card, CHOSEN)
    assert caught.value.hint.startswith("Rename the one to estimate")


DAYS = "image,subject,session,phase,pain\n"
SESSIONS = {
    "the time of each image": (
        "a.png,P1,08:10,pre,1\nb.png,P1,12:20,post,2\n",
        "session is '08:10', a time of day, which only pre images of this person have"
        " (and 1 more such session)",
        "Write what the images before and after one treatment share: the day or number of the visit.",
    ),
    "the day and time of each image": (
        "a.png,P1,2026-01-05 08:10:33,pre,1\nb.png,P1,2026-01-05 12:20:01,post,2\n",
        "session is '2026-01-05 08:10:33', a time of day, which only pre images of this person have"
        " (and 1 more such session)",
        "Write what the images before and after one treatment share: the day alone, 2026-01-05.",
    ),
    "times in the English form": (
        "a.png,P1,1/5/2026 8:10 AM,pre,1\nb.png,P1,1/5/2026 12:20 PM,post,2\n",
        "session is '1/5/2026 8:10 AM', a time of day, which only pre images of this person have"
        " (and 1 more such session)",
        "Write what the images before and after one treatment share: the day alone, 1/5/2026.",
    ),
    "ISO times": (
        "a.png,P1,2026-01-05T08:10:33Z,pre,1\nb.png,P1,2026-01-05T12:20:01Z,post,2\n",
        "session is '2026-01-05T08:10:33Z', a time of day, which only pre images of this person have"
        " (and 1 more such session)",
        "Write what the images before and after one treatment share: the day alone, 2026-01-05.",
    ),
    "two spellings": (
        "a.png,P1,Day 1,pre,1\nb.png,P1,day 01,post,2\n",
        "session 'day 01' seems to be 'Day 1' ({path}:2) in another spelling",
        "Write each session of a person in one way.",
    ),
}


@pytest.mark.parametrize("name", SESSIONS)
def test_sessions_that_part_what_belongs_together(tmp_path, name):
    rows, message, remedy = SESSIONS[name]
    path = tmp_path / "t.csv"
    (problem,) = read(path, DAYS + rows, read_csv_file_by_session)[2]
    assert problem.where in (f"{path}:2", f"{path}:3")
    assert (problem.message, problem.remedy) == (message.format(path=path), remedy)
    # Where sessions decide nothing, they may be anything.
    assert read(path, DAYS + rows)[2] == ()
    chosen = {**CHOSEN, "pairs": "pre-post-same-day"}
    assert configure(make_card(f"csv:{path}"), chosen).read.endswith(":read_csv_file_by_session")
    (tmp_path / "manifest.csv").write_text(
        "image,patient,day,phase,weight_kg\n" + rows.replace(",1\n", ",61\n").replace(",2\n", ",60\n")
    )
    (problem,) = read(tmp_path / "x", "", lambda _: read_edema(tmp_path))[2]
    assert problem.message.endswith(message.partition("'")[2].format(path=tmp_path / "manifest.csv"))


@pytest.mark.parametrize(
    "rows",
    [
        "a.png,P1,08:10,pre,1\nb.png,P1,08:10,post,2\n",
        "a.png,P1,08:10,pre,1\nb.png,P1,08:10,post,2\nc.png,P1,17:00,pre,2\n",
        "a.png,P1,2026-01-05 00:00:00,pre,1\nb.png,P1,2026-01-05 00:00:00,post,2\n",
        "a.png,P1,2026-01-05 08:10,pre,1\nb.png,P1,2026-01-12 08:10,post,2\n",
        "a.png,P1,1,pre,1\nb.png,P1,11,post,2\nc.png,P2,01,pre,1\n",
        "a.png,P1,1.10,pre,1\nb.png,P1,1.11,post,2\n",
        "a.png,P1,08:10,,1\nb.png,P1,12:20,,2\n",
    ],
    ids=lambda rows: rows.replace("\n", " "),
)
def test_sessions_that_are_meant(tmp_path, rows):
    assert read(tmp_path / "t.csv", DAYS + rows, read_csv_file_by_session)[2] == ()


EDEMA = {
    "decimal commas": ('Image,Patient,Day,Phase,Weight_kg\na.jpg,P1,1,pre,"61,5"\nb.jpg,P1,1,post,"60,25"\n'),
    "German Excel": "sep=;\nimage;patient;day;phase;weight_kg\na.jpg;P1;1;pre;61,5\nb.jpg;P1;1;post;60,25\n",
    "its mark below": (
        "sep=;\n# comface-bench edema 1;;;;\nimage;patient;day;phase;weight_kg\n"
        "a.jpg;P1;1;pre;61,5\nb.jpg;P1;1;post;60,25\n"
    ),
    "the index of pandas": (
        ",image,patient,day,phase,weight kg\n0,a.jpg,P1,1,pre,61.5\n1,b.jpg,P1,1,post,60.25\n"
    ),
}


@pytest.mark.parametrize("name", EDEMA)
def test_tables_of_patients_that_are_read(tmp_path, name):
    rows, _, problems = read(tmp_path / "manifest.csv", EDEMA[name], lambda path: read_edema(path.parent))
    assert problems == ()
    assert [(row["image"], row["weight_kg"]) for row in rows] == [("a.jpg", 61.5), ("b.jpg", 60.25)]
