from __future__ import annotations

import pytest

from comface_bench.core.problems import DataProblemsError, Note, Problem, ProblemList
from comface_bench.tasks.formats.disfa import read_disfa
from comface_bench.tasks.formats.disfa_exclusions import COLUMNS, Exclusion, read_exclusions

SUBJECTS = ("SN001", "SN029")
HEADER = "subject,first,last,reason"
ROW = 'Write rows like SN029,4330,4536,"reason"; ends are included.'


def read(root):
    problems = ProblemList()
    found = read_exclusions(root, SUBJECTS, problems)
    try:
        problems.raise_any()
    except DataProblemsError as error:
        return found, list(error.problems)
    return found, []


def test_the_list_that_ships_is_what_is_published(tmp_path):
    (found,), problems = read(tmp_path)
    assert not problems
    assert (found.subject, found.frames) == ("SN029", range(4330, 4537))
    assert len(found.frames) == 207
    assert "landmarks" in found.reason


def test_a_list_of_ones_own_replaces_it(tmp_path):
    text = f'\ufeff{HEADER}\r\nSN001,2,3,"blurred, twice"\r\n SN001 , 7 , 7 , one frame\r\n\r\n'
    (tmp_path / "exclude.csv").write_bytes(text.encode())
    assert read(tmp_path) == (
        [Exclusion("SN001", range(2, 4), "blurred, twice"), Exclusion("SN001", range(7, 8), "one frame")],
        [],
    )


def test_a_bare_header_excludes_nothing(tmp_path):
    (tmp_path / "exclude.csv").write_text(",".join(COLUMNS))
    assert read(tmp_path) == ([], [])


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("SN001,1,2", "3 cells, but the header has 4"),
        ("SN001,1,2,a,b", "5 cells, but the header has 4"),
        ("SN033,1,2,a", "no subject is called 'SN033'"),
        ("SN001,0,2,a", "first is '0', not a frame number from 1"),
        ("SN001,-1,2,a", "first is '-1', not a frame number from 1"),
        ("SN001,1,x,a", "last is 'x', not a frame number from 1"),
        ("SN001,1,2.5,a", "last is '2.5', not a frame number from 1"),
        ("SN001,1,,a", "last is '', not a frame number from 1"),
        ("SN001,3,2,a", "the range ends at 2, before it begins at 3"),
        ("SN001,1,2,", "the reason is empty"),
    ],
)
def test_malformed_rows_are_told_and_the_others_kept(tmp_path, row, told):
    path = tmp_path / "exclude.csv"
    path.write_text(f"{HEADER}\nSN001,1,1,a\n{row}\nSN029,5,6,b\n")
    found, problems = read(tmp_path)
    assert problems == [Problem(f"{path}:3", told, ROW)]
    assert [one.frames for one in found] == [range(1, 2), range(5, 7)]


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "''"), ("SN001,1,1,a\n", "'SN001,1,1,a'"), ("subject,first,last\n", "'subject,first,last'")],
)
def test_a_missing_header_is_told(tmp_path, text, told):
    path = tmp_path / "exclude.csv"
    path.write_text(text)
    remedy = f"Write the header {HEADER}; a file of nothing else leaves out no frame."
    assert read(tmp_path)[1] == [Problem(f"{path}:1", f"the header is {told}, not '{HEADER}'", remedy)]


def test_a_list_that_is_no_text_is_told(tmp_path):
    (tmp_path / "exclude.csv").write_bytes(b"\xff")
    ((problem,), found) = read(tmp_path)[::-1]
    assert found == []
    assert "exclude.csv: not UTF-8 text" in problem.message


def test_excluded_frames_yield_no_row_and_one_note_a_subject(tmp_path, make_disfa):
    root = make_disfa(tmp_path, ("SN001", "SN002"), frames=(1, 2, 3, 4))
    lines = [HEADER, "SN001,2,3,blurred", "SN001,3,3,turned away", "SN001,5,900,not there", "SN002,4,4,dark"]
    (root / "exclude.csv").write_text("\n".join(lines))
    found = list(read_disfa(root))
    rows = [row["image"] for row in found if not isinstance(row, Note)]
    assert rows == [
        *(f"frames/SN001/0000{frame}.jpg" for frame in (1, 4)),
        *(f"frames/SN002/0000{frame}.jpg" for frame in (1, 2, 3)),
    ]
    notes = [note.text for note in found if isinstance(note, Note)]
    assert notes[:2] == ["SN001: 2 frames excluded: blurred; turned away", "SN002: 1 frame excluded: dark"]


def test_an_excluded_frame_needs_no_label(tmp_path, make_disfa):
    root = make_disfa(tmp_path, ("SN001",), frames=(1, 9), lines=6)
    (root / "exclude.csv").write_text(f"{HEADER}\nSN001,9,9,behind the end\n")
    assert len([row for row in read_disfa(root) if not isinstance(row, Note)]) == 1


def test_problems_of_the_list_and_of_the_labels_are_told_together(tmp_path, make_disfa):
    root = make_disfa(tmp_path, ("SN001",))
    (root / "exclude.csv").write_text(f"{HEADER}\nSN001,9,8,a\n")
    (root / "ActionUnit_Labels" / "SN001" / "SN001_au5.txt").unlink()
    with pytest.raises(DataProblemsError) as caught:
        list(read_disfa(root))
    assert [one.message for one in caught.value.problems] == [
        "the range ends at 8, before it begins at 9",
        "no label file of au5",
    ]
