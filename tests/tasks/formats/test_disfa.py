"""DISFA: rows and notes of trees as people have them, exclusions, and a tree of full size."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comface_bench.core.errors import DataMissingError
from comface_bench.core.problems import DataProblemsError, Note, Problem, ProblemList
from comface_bench.data.task import load_task
from comface_bench.tasks.formats.action_units import ACTION_UNITS
from comface_bench.tasks.formats.disfa import (
    EXCLUSION_COLUMNS,
    LABEL_FOLDERS,
    LABEL_LINES,
    Exclusion,
    read_disfa,
    read_exclusions,
)


@pytest.fixture
def root(tmp_path, make_disfa):
    return make_disfa(tmp_path / "DISFA")


def labels(root, unit=12, subject="SN001"):
    return root / "ActionUnit_Labels" / subject / f"{subject}_au{unit}.txt"


def rows(root):
    return [row for row in read_disfa(root) if not isinstance(row, Note)]


def notes(root):
    return [row.text for row in read_disfa(root) if isinstance(row, Note)]


def test_the_twelve_action_units():
    assert ACTION_UNITS == (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)


def test_the_27_subjects_and_their_published_lines():
    assert len(LABEL_LINES) == 27
    assert sum(LABEL_LINES.values()) == 130_814
    assert {subject for subject, lines in LABEL_LINES.items() if lines != 4845} == {"SN010"}
    gaps = {f"SN{number:03d}" for number in range(1, 33)} - set(LABEL_LINES)
    assert gaps == {"SN014", "SN015", "SN019", "SN020", "SN022"}


def test_frames_are_joined_to_their_labels_by_number(root):
    found = rows(root)
    assert [row["image"] for row in found] == [
        f"frames/{subject}/{frame:05d}.jpg" for subject in ("SN001", "SN002") for frame in (1, 2, 3)
    ]
    for number, row in enumerate(found):
        subject, frame = divmod(number, 3)
        assert row["subject"] == f"SN00{subject + 1}"
        # What the fixture writes: (subject's number + action unit + frame) mod 6.
        assert {unit: row[f"au{unit}"] for unit in ACTION_UNITS} == {
            unit: (subject + unit + frame + 1) % 6 for unit in ACTION_UNITS
        }


def test_a_stride_leaves_gaps_and_shifts_nothing(tmp_path, make_disfa):
    found = rows(make_disfa(tmp_path, ("SN001",), frames=(2, 5, 11), lines=20))
    assert [row["image"][-9:] for row in found] == ["00002.jpg", "00005.jpg", "00011.jpg"]
    assert [row["au4"] for row in found] == [(4 + frame) % 6 for frame in (2, 5, 11)]


def test_numbers_without_leading_zeros_are_put_in_order(tmp_path, make_disfa):
    root = make_disfa(tmp_path, ("SN001",), frames=(2, 10), lines=20)
    for frame in (2, 10):
        path = root / "frames" / "SN001" / f"{frame:05d}.jpg"
        path.rename(path.with_name(f"{frame}.jpg"))
    assert [row["au4"] for row in rows(root)] == [(4 + 2) % 6, (4 + 10) % 6]


def test_neither_the_order_of_a_folder_nor_that_of_lines_matters(root, monkeypatch):
    expected = rows(root)
    for unit in ACTION_UNITS:
        lines = labels(root, unit).read_text().splitlines()
        random.Random(unit).shuffle(lines)
        labels(root, unit).write_text("\n".join(lines))
    from comface_bench.tasks.formats import files

    class Shuffled:
        def __init__(self, path):
            with plain(path) as entries:
                self.entries = list(entries)
            random.Random(len(self.entries)).shuffle(self.entries)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *error):
            pass

    plain = files.os.scandir
    monkeypatch.setattr(files.os, "scandir", Shuffled)
    assert rows(root) == expected


@pytest.mark.parametrize("folder", [*LABEL_FOLDERS, "Labels", "actionunit_labels"])
@pytest.mark.parametrize("name", ["{subject}_au{unit}.txt", "au{unit}.txt", "{subject}_AU{unit}.TXT"])
def test_spellings_of_folders_and_label_files(root, folder, name):
    expected = rows(root)
    for unit in ACTION_UNITS:
        for subject in ("SN001", "SN002"):
            path = labels(root, unit, subject)
            path.rename(path.with_name(name.format(subject=subject, unit=unit)))
    (root / "ActionUnit_Labels").rename(root / folder)
    assert rows(root) == expected


@pytest.mark.parametrize(
    "text",
    [
        "1,5\n2,4\n3,3\n4,0\n5,0\n6,0\n\n\n",
        "1,5\r\n2,4\r\n3,3\r\n4,0\r\n5,0\r\n6,0\r\n",
        "\ufeff1,5\n2,4\n3,3\n4,0\n5,0\n6,0",
        " 1 , 5 \n2,4\n\n3,3\n4,0\n5,0\n6,0\n",
        "0006,0\n5,0\n4,0\n3,3\n2,4\n1,5\n",
    ],
    ids=["blank last lines", "CRLF", "byte-order mark", "blanks", "any order"],
)
def test_text_files_as_people_have_them(root, text):
    labels(root).write_bytes(text.encode())
    assert [row["au12"] for row in rows(root)][:3] == [5, 4, 3]


@pytest.mark.parametrize(
    "form", ["{0},{1}.0", "{0}.0,{1}.0", "{0:.6f},{1:.6f}", "{0:.18e},{1:.18e}", "{0}, {1}.", "{0:04d},{1:E}"]
)
def test_labels_of_programs_that_know_only_decimals(root, form):
    """numpy.savetxt writes 2.000000000000000000e+00, and a table with gaps becomes one of decimals."""
    expected = rows(root)
    for path in (root / "ActionUnit_Labels").rglob("*.txt"):
        pairs = [map(int, line.split(",")) for line in path.read_text().splitlines()]
        path.write_text("".join(form.format(*pair) + "\n" for pair in pairs))
    assert rows(root) == expected


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    intensities=st.lists(st.integers(0, 5), min_size=6, max_size=6),
    order=st.permutations(range(1, 7)),
    end=st.sampled_from(["\n", "\r\n", "\n\n", " \n"]),
    mark=st.sampled_from(["", "\ufeff"]),
    zeros=st.integers(0, 4),
    last=st.booleans(),
)
def test_any_way_of_writing_a_file_gives_the_same_labels(root, intensities, order, end, mark, zeros, last):
    lines = [f"{frame:0{zeros}d},{intensities[frame - 1]}" for frame in order]
    text = mark + end.join(lines) + (end if last else "")
    labels(root).write_bytes(text.encode())
    assert [row["au12"] for row in rows(root)][:3] == intensities[:3]


@pytest.mark.parametrize("ending", ["jpg", "JPG", "jpeg", "png", "PNG"])
def test_endings_in_either_case(root, draw_image, ending):
    (root / "frames" / "SN001" / "00002.jpg").unlink()
    draw_image(root / "frames" / "SN001" / f"00002.{ending}")
    assert [row["image"] for row in rows(root)][1] == f"frames/SN001/00002.{ending}"


def test_files_of_the_operating_system_are_passed_over(root):
    expected = rows(root)
    (root / "__MACOSX").mkdir()
    for folder in (root, root / "frames", root / "frames" / "SN001", labels(root).parent):
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", "notes.txt", "._00001.jpg", "._SN001_au12.txt"):
            (folder / name).write_bytes(b"junk")
        (folder / "__MACOSX").mkdir(exist_ok=True)
    assert rows(root) == expected


@pytest.mark.parametrize(
    ("folder", "hint"),
    [("frames", "comface-bench data prepare disfa"), ("ActionUnit_Labels", "docs/datasets/disfa.md")],
)
def test_a_missing_folder_is_reported_at_once(root, folder, hint):
    shutil.rmtree(root / folder)
    with pytest.raises(DataMissingError, match=f"{folder} doesn't exist") as caught:
        next(iter(read_disfa(root)))
    assert hint in caught.value.hint
    with pytest.raises(DataMissingError):
        list(read_disfa(root / "nowhere"))


def test_a_rendered_set_may_have_more_people(tmp_path, make_disfa):
    """`synth render --disfa-subjects 28` makes SN100, too."""
    root = make_disfa(tmp_path / "DISFA", ["SN001", "SN100"])
    with pytest.raises(DataProblemsError, match="DISFA has no subject SN100"):
        rows(root)
    (tmp_path / "synthfaces.json").write_text("{}")
    assert [row["subject"] for row in rows(root)] == 3 * ["SN001"] + 3 * ["SN100"]
    assert notes(root)[0].startswith("label files of 2 subjects ")
    (root / "frames" / "SN099").mkdir()
    with pytest.raises(DataProblemsError, match="DISFA has no subject SN099"):
        rows(root)


def test_what_differs_from_the_published_set_is_noted(tmp_path, make_disfa):
    root = make_disfa(tmp_path, list(LABEL_LINES)[:4])
    labels(root, 1, "SN002").parent.rename(root / "aside")
    shutil.rmtree(root / "frames" / "SN002")
    (root / "aside").rename(labels(root, 1, "SN002").parent)
    for path in (root / "frames" / "SN003").iterdir():
        path.unlink()
    for unit in ACTION_UNITS:
        labels(root, unit, "SN004").write_text("".join(f"{frame},3\n" for frame in range(1, 4846)))
    assert notes(root) == [
        "label files of 1 subject hold other than the published 4,845 lines (SN010: 4,844): 6 each",
        "labels without frames, left out: SN002, SN003",
        f"23 of DISFA's 27 subjects aren't there: {', '.join(list(LABEL_LINES)[4:])}",
    ]
    for unit in ACTION_UNITS:
        labels(root, unit, "SN004").write_text("".join(f"{frame},3\n" for frame in range(1, 4847)))
    assert notes(root)[0].startswith("label files of 2 subjects ")
    assert notes(root)[0].endswith(": SN001 6, SN004 4,846")


def test_nothing_is_written(root):
    def state():
        return {path: path.stat().st_mtime_ns for path in Path(root).rglob("*")}

    before = state()
    list(read_disfa(root))
    assert state() == before


SUBJECTS = ("SN001", "SN029")
HEADER = "subject,first,last,reason"
ROW = 'Write rows like SN029,4330,4536,"reason"; ends are included.'


def read_list(root):
    problems = ProblemList()
    found = read_exclusions(root, SUBJECTS, problems)
    try:
        problems.raise_any()
    except DataProblemsError as error:
        return found, list(error.problems)
    return found, []


def test_the_list_that_ships_is_what_is_published(tmp_path):
    (found,), problems = read_list(tmp_path)
    assert not problems
    assert (found.subject, found.frames) == ("SN029", range(4330, 4537))
    assert len(found.frames) == 207
    assert "landmarks" in found.reason


def test_a_list_of_ones_own_replaces_it(tmp_path):
    text = f'\ufeff{HEADER}\r\nSN001,2,3,"blurred, twice"\r\n SN001 , 7 , 7 , one frame\r\n\r\n'
    (tmp_path / "exclude.csv").write_bytes(text.encode())
    assert read_list(tmp_path) == (
        [Exclusion("SN001", range(2, 4), "blurred, twice"), Exclusion("SN001", range(7, 8), "one frame")],
        [],
    )


def test_a_bare_header_excludes_nothing(tmp_path):
    (tmp_path / "exclude.csv").write_text(",".join(EXCLUSION_COLUMNS))
    assert read_list(tmp_path) == ([], [])


@pytest.mark.parametrize(
    ("row", "reported"),
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
def test_malformed_rows_are_reported_and_the_others_kept(tmp_path, row, reported):
    path = tmp_path / "exclude.csv"
    path.write_text(f"{HEADER}\nSN001,1,1,a\n{row}\nSN029,5,6,b\n")
    found, problems = read_list(tmp_path)
    assert problems == [Problem(f"{path}:3", reported, ROW)]
    assert [one.frames for one in found] == [range(1, 2), range(5, 7)]


@pytest.mark.parametrize(
    ("text", "reported"),
    [("", "''"), ("SN001,1,1,a\n", "'SN001,1,1,a'"), ("subject,first,last\n", "'subject,first,last'")],
)
def test_a_missing_header_is_reported(tmp_path, text, reported):
    path = tmp_path / "exclude.csv"
    path.write_text(text)
    remedy = f"Write the header {HEADER}; a file of nothing else leaves out no frame."
    message = f"the header is {reported}, not '{HEADER}'"
    assert read_list(tmp_path)[1] == [Problem(f"{path}:1", message, remedy)]


def test_a_list_that_is_no_text_is_reported(tmp_path):
    (tmp_path / "exclude.csv").write_bytes(b"\xff")
    ((problem,), found) = read_list(tmp_path)[::-1]
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


def test_problems_of_the_list_and_of_the_labels_are_reported_together(tmp_path, make_disfa):
    root = make_disfa(tmp_path, ("SN001",))
    (root / "exclude.csv").write_text(f"{HEADER}\nSN001,9,8,a\n")
    (root / "ActionUnit_Labels" / "SN001" / "SN001_au5.txt").unlink()
    with pytest.raises(DataProblemsError) as caught:
        list(read_disfa(root))
    assert [one.message for one in caught.value.problems] == [
        "the range ends at 8, before it begins at 9",
        "no label file of au5",
    ]


LOAD = """
import json, sys
from collections import Counter
from pathlib import Path
from comface_bench.data.task import load_task

table = load_task("disfa-au12", data=sys.argv[1]).table
# Not getrusage's, which a process inherits from the one that started it.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
kilobytes = int(peak.split()[1])
last = {column: values[-1] for column, values in table.labels.items()}
notes = list(table.notes)
print(json.dumps([Counter(table.subjects), kilobytes, last, notes]))
"""


def lay_out(root: Path, lines: dict[str, int]) -> None:
    """Lay out DISFA with frames that are no pictures; intensity is (action unit + frame) mod 6."""
    texts = {
        (unit, count): "".join(f"{frame},{(unit + frame) % 6}\n" for frame in range(1, count + 1))
        for unit in ACTION_UNITS
        for count in set(lines.values())
    }
    for subject, count in lines.items():
        labels, frames = root / "ActionUnit_Labels" / subject, root / "frames" / subject
        for folder in (labels, frames):
            folder.mkdir(parents=True)
        for unit in ACTION_UNITS:
            (labels / f"{subject}_au{unit}.txt").write_text(texts[unit, count])
        first = frames / "00001.jpg"
        first.write_bytes(subject.encode())
        # Names of one file each: a hundred thousand files take far longer to write.
        for frame in range(2, count + 1):
            os.link(first, f"{frames}/{frame:05d}.jpg")
    (root / "exclude.csv").write_text("subject,first,last,reason\n")


@pytest.mark.slow
def test_a_tree_of_full_size(tmp_path):
    lay_out(tmp_path / "DISFA", dict(LABEL_LINES))
    run = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    counts, kilobytes, last, notes = json.loads(run.stdout)
    assert sum(counts.values()) == 130_814
    assert counts == dict(LABEL_LINES)
    assert last == {f"au{unit}": (unit + 4845) % 6 for unit in ACTION_UNITS}
    assert notes == []
    assert kilobytes < 1_000_000


def test_the_list_that_ships_takes_207_frames_of_one_subject(tmp_path):
    lines = {subject: LABEL_LINES[subject] for subject in ("SN010", "SN029")}
    lay_out(tmp_path, lines)
    assert Counter(row["subject"] for row in rows(tmp_path)) == lines
    (tmp_path / "exclude.csv").unlink()
    assert Counter(row["subject"] for row in rows(tmp_path)) == {**lines, "SN029": 4845 - 207}


def test_a_tree_of_all_subjects_in_small(tmp_path):
    lines = {subject: 3 if subject == "SN010" else 4 for subject in LABEL_LINES}
    lay_out(tmp_path / "DISFA", lines)
    table = load_task("disfa-au12", data=tmp_path).table
    assert len(table) == 26 * 4 + 3
    assert Counter(table.subjects) == lines
    assert {column: values[-1] for column, values in table.labels.items()} == {
        f"au{unit}": (unit + 4) % 6 for unit in ACTION_UNITS
    }
