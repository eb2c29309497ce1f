"""Malformed DISFA trees: everything that is wrong is reported at once, each by file, line and remedy."""

from __future__ import annotations

import shutil

import pytest

from comface_bench.core.errors import DataFormatError
from comface_bench.core.problems import DataProblemsError, Note, Problem
from comface_bench.data.manifest import Manifest
from comface_bench.tasks.formats.action_units import ACTION_UNITS
from comface_bench.tasks.formats.disfa import read_disfa

RAW = "Take the raw labels, 0 to 5, as the data set's authors give them out."
FORM = "Write one label a line, and nothing behind it."
CUT = "The file is cut off: copy it again from the original."
SAME = "Copy it again from the original; the 12 label files cover the same frames."
LAYOUT = "Lay the data set out as docs/datasets/disfa.md shows."
KNOWN = (
    "Its subjects are SN001 to SN013, SN016 to SN018, SN021, and SN023 to SN032."
    " Correct the name, or move the folder elsewhere."
)
NAME = "Name each frame by its number in the label files: 00001.jpg, JPEG or PNG."
AU12 = "ActionUnit_Labels/SN001/SN001_au12.txt"
FRAMES = "frames/SN001"


@pytest.fixture
def root(tmp_path, make_disfa):
    return make_disfa(tmp_path / "DISFA")


def read(root):
    """Return the rows and the problems, these relative to the root."""
    rows, problems = [], []
    try:
        for row in read_disfa(root):
            if not isinstance(row, Note):
                rows.append(row)
    except DataProblemsError as error:
        problems = [
            Problem(one.where.removeprefix(f"{root}/"), one.message.replace(f"{root}/", ""), one.remedy)
            for one in error.problems
        ]
    return rows, problems


LINES = {
    "2,6": ("intensity 6 isn't within 0 to 5", RAW),
    "2,9": ("intensity 9 isn't within 0 to 5", RAW),
    "2,-1": ("intensity -1 isn't within 0 to 5", RAW),
    "2,2.5": ("intensity 2.5 isn't a whole number from 0 to 5", RAW),
    "2,3.5": ("intensity 3.5 isn't a whole number from 0 to 5", RAW),
    "2,6.0": ("intensity 6 isn't within 0 to 5", RAW),
    "2,3e1": ("intensity 3e1 isn't a whole number from 0 to 5", RAW),
    "2,nan": ("intensity nan isn't a whole number from 0 to 5", RAW),
    "2,1,": ("expected `frame,intensity` such as 12,3, found '2,1,'", FORM),
    "2,": ("expected `frame,intensity` such as 12,3, found '2,'", FORM),
    "2": ("expected `frame,intensity` such as 12,3, found '2'", FORM),
    "2;1": ("expected `frame,intensity` such as 12,3, found '2;1'", FORM),
    "-2,1": ("expected `frame,intensity` such as 12,3, found '-2,1'", FORM),
    "2.5,1": ("expected `frame,intensity` such as 12,3, found '2.5,1'", FORM),
    "2e99,1": ("expected `frame,intensity` such as 12,3, found '2e99,1'", FORM),
    "1.0,0": ("frame 1 stands twice", "Keep the line that is right."),
    "٢,1": ("expected `frame,intensity` such as 12,3, found '٢,1'", FORM),
    "frame,intensity": ("expected `frame,intensity` such as 12,3, found 'frame,intensity'", FORM),
    "1,0": ("frame 1 stands twice", "Keep the line that is right."),
    "0,0": (
        "frame 0; frames count from 1",
        "Add one to every frame number of the subject, if its lines begin with the first frame.",
    ),
}


@pytest.mark.parametrize("blank", ["", "\n"], ids=["", "behind a blank line"])
@pytest.mark.parametrize("line", LINES)
def test_malformed_lines(root, line, blank):
    (root / AU12).write_text(f"1,0\n{blank}{line}\n3,0\n4,0\n5,0\n6,0\n", encoding="utf-8")
    rows, problems = read(root)
    assert problems == [Problem(f"{AU12}:{3 if blank else 2}", *LINES[line])]
    # The good rows are still there, the bad one isn't.
    assert [row["image"][-9:-4] for row in rows if row["subject"] == "SN001"] == ["00001", "00003"]


@pytest.mark.parametrize("rest", ["6,", "6", "6,x", "6,1,"])
def test_a_last_line_that_is_cut_off(root, rest):
    (root / AU12).write_text(f"1,0\n2,0\n3,0\n4,0\n5,0\n{rest}")
    message = f"the file ends in the middle of a line: {rest!r}"
    if rest == "6,x":
        assert read(root)[1] == [Problem(f"{AU12}:6", "intensity x isn't a whole number from 0 to 5", RAW)]
    else:
        assert read(root)[1] == [Problem(f"{AU12}:6", message, CUT)]


@pytest.mark.parametrize("end", ["\n", ""], ids=repr)
def test_a_mistake_in_every_line_is_reported_once(root, end):
    (root / AU12).write_text("\n".join(f"{frame},{frame % 6}," for frame in range(1, 7)) + end)
    again = "expected `frame,intensity` such as 12,3, found '1,1,' (and 5 more such lines)"
    assert read(root)[1] == [Problem(f"{AU12}:1", again, FORM)]


def test_mistakes_of_several_kinds_and_files_are_reported_together(root):
    (root / AU12).write_text("1,0\n1,0\n3,7\n4,-1\n5,7\n6,0\n2,x\n")
    (root / AU12.replace("au12", "au4")).write_text("1,0\n2,\n3,0\n4,0\n5,0\n6,0\n")
    assert read(root)[1] == [
        Problem(
            f"{AU12.replace('au12', 'au4')}:2", "expected `frame,intensity` such as 12,3, found '2,'", FORM
        ),
        Problem(f"{AU12}:2", "frame 1 stands twice", "Keep the line that is right."),
        Problem(f"{AU12}:7", "intensity x isn't a whole number from 0 to 5", RAW),
        Problem(f"{AU12}:3", "intensity 7 isn't within 0 to 5 (and 1 more such line)", RAW),
        Problem(f"{AU12}:4", "intensity -1 isn't within 0 to 5", RAW),
    ]


@pytest.mark.parametrize(
    ("frames", "reported"),
    [
        (range(1, 6), "lacks 1 frame that the files beside it have, the first 6"),
        (range(3, 7), "lacks 2 frames that the files beside it have, the first 1"),
        (range(1, 8), "has 1 frame that the files beside it lack, the first 7"),
        (
            range(2, 9),
            "lacks 1 frame that the files beside it have, the first 1;"
            " has 2 frames that the files beside it lack, the first 7",
        ),
        ((), "lacks 6 frames that the files beside it have, the first 1"),
    ],
)
def test_a_file_of_other_frames_than_those_beside_it_is_named(root, frames, reported):
    (root / AU12).write_text("".join(f"{frame},0\n" for frame in frames))
    assert read(root)[1] == [Problem(AU12, reported, SAME)]


def test_the_culprit_may_be_the_first_file(root):
    first = AU12.replace("au12", "au1")
    (root / first).write_text("1,0\n2,0\n3,0\n4,0\n5,0\n")
    reported = "lacks 1 frame that the files beside it have, the first 6"
    assert read(root)[1] == [Problem(first, reported, SAME)]


@pytest.mark.parametrize(
    ("values", "found"), [((0, 1), "0, 1"), ((-1, 0, 1), "-1, 0, 1"), ((0,), "0"), ((-1,), "-1")]
)
def test_binarised_labels_are_refused_once(root, values, found):
    for path in sorted((root / "ActionUnit_Labels").rglob("*.txt")):
        lines = [f"{frame},{values[frame % len(values)]}\n" for frame in range(1, 7)]
        path.write_text("".join(lines))
    reported = f"this and all other label files hold only {found}: they seem binarised (1 for 2 or more)"
    first = AU12.replace("au12", "au1")
    assert read(root)[1] == [Problem(first, reported, f"Binarised labels can't serve. {RAW}")]


def test_labels_with_gaps_at_minus_one_are_raw_but_out_of_range(root):
    (root / AU12).write_text("1,-1\n2,-1\n3,5\n4,0\n5,0\n6,0\n")
    reported = "intensity -1 isn't within 0 to 5 (and 1 more such line)"
    assert read(root)[1] == [Problem(f"{AU12}:1", reported, RAW)]


def rename(root, old, new):
    (root / old).rename(root / new)


def number_from_zero(root, draw):
    for frame in (1, 2, 3):
        rename(root, f"{FRAMES}/{frame:05d}.jpg", f"{FRAMES}/{frame - 1:05d}.jpg")


def make_unknown(root, kind):
    shutil.copytree(root / kind / "SN001", root / kind / "SN033")
    for path in (root / kind / "SN033").iterdir():
        path.rename(path.with_name(path.name.replace("SN001", "SN033")))


TREES = {
    "frames counted from 0": (
        number_from_zero,
        f"{FRAMES}/00000.jpg",
        "frame 0, but labels count from 1: all frames of this folder seem to be numbered one too low",
        "Give each file of the folder the next number: the first frame of the video is 00001.jpg.",
    ),
    "a frame without a label": (
        lambda root, draw: draw(root / FRAMES / "00007.jpg"),
        f"{FRAMES}/00007.jpg",
        "frame 7 has no label",
        "Name frames as the label files do; take out what has no label.",
    ),
    "many frames without a label": (
        lambda root, draw: [draw(root / FRAMES / f"{frame}.jpg") for frame in (12, 9, 10)],
        f"{FRAMES}/9.jpg",
        "frame 9 has no label (and 2 more such frames)",
        "Name frames as the label files do; take out what has no label.",
    ),
    "a frame twice": (
        lambda root, draw: draw(root / FRAMES / "2.PNG"),
        f"{FRAMES}/2.PNG",
        "frame 2 is there twice, also as 00002.jpg",
        "Keep one file a frame.",
    ),
    "a frame by another name": (
        lambda root, draw: draw(root / FRAMES / "frame_4.JPG"),
        f"{FRAMES}/frame_4.JPG",
        "not the name or ending of a frame",
        NAME,
    ),
    "frames of another format": (
        lambda root, draw: [draw(root / FRAMES / f"0000{frame}.bmp") for frame in (4, 5)],
        f"{FRAMES}/00004.bmp",
        "not the name or ending of a frame (and 1 more such image)",
        NAME,
    ),
    "frames outside of a folder": (
        lambda root, draw: draw(root / "frames" / "00001.jpg"),
        "frames/00001.jpg",
        "an image outside of a subject's folder",
        "Put it where it belongs.",
    ),
    "a folder that is no subject": (
        lambda root, draw: draw(root / "frames" / "left" / "00001.jpg"),
        "frames/left",
        "DISFA has no subject left",
        KNOWN,
    ),
    "frames of an unknown subject": (
        lambda root, draw: make_unknown(root, "frames"),
        "frames/SN033",
        "DISFA has no subject SN033",
        KNOWN,
    ),
    "labels of an unknown subject": (
        lambda root, draw: make_unknown(root, "ActionUnit_Labels"),
        "ActionUnit_Labels/SN033",
        "DISFA has no subject SN033",
        KNOWN,
    ),
    "a subject in lower case": (
        lambda root, draw: draw(root / "frames" / "sn003" / "00001.jpg"),
        "frames/sn003",
        "DISFA has no subject sn003",
        KNOWN,
    ),
    "frames without labels": (
        lambda root, draw: draw(root / "frames" / "SN003" / "00001.jpg"),
        "ActionUnit_Labels/SN003",
        "frames/SN003 has frames, but there are no labels for them",
        LAYOUT,
    ),
    "a missing label file": (
        lambda root, draw: (root / AU12.replace("au12", "au5")).unlink(),
        "ActionUnit_Labels/SN001",
        "no label file of au5",
        "All 12 action units are needed, as SN001_au1.txt or au1.txt and so on.",
    ),
    "an empty label folder": (
        lambda root, draw: [path.unlink() for path in (root / AU12).parent.iterdir()],
        "ActionUnit_Labels/SN001",
        f"no label file of {', '.join(f'au{unit}' for unit in ACTION_UNITS)}",
        "All 12 action units are needed, as SN001_au1.txt or au1.txt and so on.",
    ),
    "an action unit twice": (
        lambda root, draw: shutil.copy(root / AU12, root / AU12.replace("SN001_", "")),
        "ActionUnit_Labels/SN001/au12.txt",
        "AU12 is there twice, also as SN001_au12.txt",
        "Keep the right file.",
    ),
    "an action unit that DISFA lacks": (
        lambda root, draw: shutil.copy(root / AU12, root / AU12.replace("au12", "au7")),
        AU12.replace("au12", "au7"),
        "AU7 isn't coded in this data set",
        "Take it out; the coded units are 1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26.",
    ),
    "another subject's label file": (
        lambda root, draw: shutil.copy(root / AU12, root / "ActionUnit_Labels/SN001/SN002_au12.txt"),
        "ActionUnit_Labels/SN001/SN002_au12.txt",
        "labels of SN002 in a folder of SN001",
        "Put them into their own folder.",
    ),
    "two label folders": (
        lambda root, draw: shutil.copytree(root / "ActionUnit_Labels", root / "labels"),
        "",
        "ActionUnit_Labels and labels hold the same kind of data",
        "Keep the right one, and move the rest elsewhere.",
    ),
    "labels that are no text": (
        lambda root, draw: (root / AU12).write_bytes(b"1,0\n\xff\xfe\n"),
        "",
        f"{AU12}: not UTF-8 text (invalid start byte at byte 4)",
        "Save it as UTF-8 text.",
    ),
}


@pytest.mark.parametrize("name", TREES)
def test_malformed_trees(root, draw_image, name):
    spoil, *expected = TREES[name]
    spoil(root, draw_image)
    rows, problems = read(root)
    found = [(one.where.removeprefix(str(root)), one.message, one.remedy) for one in problems]
    assert found == [tuple(expected)]
    # The other subject is read to its end.
    assert [row["image"][-9:] for row in rows if row["subject"] == "SN002"] == [
        "00001.jpg",
        "00002.jpg",
        "00003.jpg",
    ]


def test_a_link_out_of_the_root_is_reported_by_the_manifest(root, tmp_path, draw_image):
    outside = draw_image(tmp_path / "elsewhere" / "00004.jpg")
    (root / FRAMES / "00004.jpg").symlink_to(outside)
    with pytest.raises(DataFormatError, match=r"SN001/00004\.jpg is a link that leaves the data root"):
        Manifest.from_rows("DISFA", root, read_disfa(root))
