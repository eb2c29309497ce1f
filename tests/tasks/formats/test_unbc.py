from __future__ import annotations

import shutil

import pytest

from comface_bench.core.errors import DataMissingError
from comface_bench.core.problems import DataProblemsError, Note
from comface_bench.data.task import load_task
from comface_bench.tasks.formats.unbc import read_unbc

COPY = "Copy the file again from the original, or take it out: frames without a label are left out."
LOOSE = ("an image outside of a sequence's folder", "Put it where it belongs.")
FIRST = "042-ll042/ll042t1aaaff"
LABEL = f"Frame_Labels/PSPI/{FIRST}/ll042t1aaaff001_facs.txt"


def lay_out(root, draw, subjects=("042-ll042", "043-jh043"), sequences=("t1aaaff", "t2aeaff"), frames=3):
    """The score is subject's number + frame."""
    for number, subject in enumerate(subjects):
        for tail in sequences:
            sequence = f"{subject[4:]}{tail}"
            for frame in range(1, frames + 1):
                name = f"{sequence}{frame:03d}"
                draw(root / "Images" / subject / sequence / f"{name}.png", seed=100 * number + frame)
                path = root / "Frame_Labels" / "PSPI" / subject / sequence / f"{name}_facs.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"   {number + frame:.7e}\n")
    return root


@pytest.fixture
def root(tmp_path, draw_image):
    return lay_out(tmp_path / "UNBC", draw_image)


def read(root):
    """Return the rows, the notes, and the problems as (where, message, remedy) relative to the root."""
    rows, notes, problems = [], [], []
    try:
        for row in read_unbc(root):
            if isinstance(row, Note):
                notes.append(row.text)
            else:
                rows.append(row)
    except DataProblemsError as error:
        problems = [
            (
                one.where.removeprefix(str(root)).lstrip("/"),
                one.message.replace(f"{root}/", ""),
                one.remedy,
            )
            for one in error.problems
        ]
    return rows, notes, problems


def test_each_frame_has_the_score_of_its_name(root):
    rows, notes, problems = read(root)
    assert not notes
    assert not problems
    assert len(rows) == 12
    assert rows[4] == {
        "image": "Images/042-ll042/ll042t2aeaff/ll042t2aeaff002.png",
        "subject": "042-ll042",
        "session": "ll042t2aeaff",
        "frame": "ll042t2aeaff002",
        "pspi": 2.0,
    }
    assert [row["pspi"] for row in rows] == [1, 2, 3, 1, 2, 3, 2, 3, 4, 2, 3, 4]


@pytest.mark.parametrize("text", ["5", "5.0\r\n", "\ufeff 5.0000000e+00\n\n", "5\t\n"], ids=repr)
def test_text_files_as_people_have_them(root, text):
    (root / LABEL).write_bytes(text.encode())
    assert read(root)[0][0]["pspi"] == 5


@pytest.mark.parametrize("text", ["0", "16", "0.5"])
def test_the_whole_range_is_taken(root, text):
    (root / LABEL).write_text(text)
    assert read(root)[0][0]["pspi"] == float(text)


def test_names_in_any_case_and_junk(root):
    expected = read(root)[0]
    (root / LABEL).rename((root / LABEL).with_name("LL042T1AAAFF001_FACS.TXT"))
    (root / "Frame_Labels" / "PSPI").rename(root / "Frame_Labels" / "pspi")
    (root / "Frame_Labels").rename(root / "frame_labels")
    (root / "Images" / ".DS_Store").touch()
    (root / "Images" / FIRST / "._ll042t1aaaff001.png").touch()
    assert read(root)[0] == expected


def test_frames_without_a_label_are_left_out_and_counted(root):
    (root / LABEL).unlink()
    shutil.rmtree(root / "Frame_Labels/PSPI/043-jh043/jh043t2aeaff")
    rows, notes, problems = read(root)
    assert (len(rows), problems) == (8, [])
    assert notes == [
        "042-ll042: 1 frame without a label, left out",
        "043-jh043: 3 frames without a label, left out",
    ]


def test_labels_without_frames_are_noted(root):
    shutil.rmtree(root / "Images" / FIRST)
    shutil.rmtree(root / "Images" / "043-jh043")
    rows, notes, problems = read(root)
    assert (len(rows), problems) == (3, [])
    listed = "042-ll042/ll042t1aaaff, 043-jh043/jh043t1aaaff, 043-jh043/jh043t2aeaff"
    assert notes == [f"labels without frames, left out: {listed}"]


@pytest.mark.parametrize("folder", ["Images", "Frame_Labels", "Frame_Labels/PSPI"])
def test_a_missing_folder_is_reported_at_once(root, folder):
    shutil.rmtree(root / folder)
    with pytest.raises(DataMissingError, match=f"{folder} doesn't exist") as caught:
        next(iter(read_unbc(root)))
    assert caught.value.hint == "Lay the data set out as docs/datasets/unbc.md shows."


@pytest.mark.parametrize(
    ("text", "line", "reported"),
    [
        ("17", ":1", "PSPI is 17, not within 0 to 16"),
        ("-1", ":1", "PSPI is -1, not within 0 to 16"),
        ("inf", ":1", "PSPI is inf, not within 0 to 16"),
        ("\nnan", ":2", "PSPI is 'nan', not a number"),
        ("1,5", ":1", "PSPI is '1,5', not a number"),
        ("1 2", ":1", "PSPI is '1 2', not a number"),
        ("", "", "expected one number, found 0 lines"),
        ("1\n2\n", "", "expected one number, found 2 lines"),
    ],
)
def test_malformed_labels(root, text, line, reported):
    (root / LABEL).write_text(text)
    rows, _, problems = read(root)
    assert problems == [(f"{LABEL}{line}", reported, COPY)]
    assert len(rows) == 11


def test_a_mistake_of_a_whole_sequence_is_reported_once(root):
    for path in (root / LABEL).parent.iterdir():
        path.write_text("99")
    again = "PSPI is 99, not within 0 to 16 (and 2 more such files)"
    assert read(root)[2] == [(f"{LABEL}:1", again, COPY)]


def rename_labels(root, draw):
    for path in list((root / "Frame_Labels").rglob("*_facs.txt")):
        path.rename(path.with_name(path.name.replace("_facs", "")))


TREES = {
    "no frame with a label": (
        rename_labels,
        "Frame_Labels/PSPI",
        "none of the 12 frames has a label here",
        "Images/SUBJECT/SEQUENCE/FRAME.png goes with PSPI/SUBJECT/SEQUENCE/FRAME_facs.txt.",
    ),
    "labels that are no text": (
        lambda root, draw: (root / LABEL).write_bytes(b"\xff"),
        "",
        f"{LABEL}: not UTF-8 text (invalid start byte at byte 0)",
        "Save it as UTF-8 text.",
    ),
    "a frame beside the sequences": (
        lambda root, draw: draw(root / "Images/042-ll042/a.png"),
        "Images/042-ll042/a.png",
        *LOOSE,
    ),
    "a frame beside the subjects": (lambda root, draw: draw(root / "Images/a.png"), "Images/a.png", *LOOSE),
    "a frame twice": (
        lambda root, draw: draw(root / "Images" / FIRST / "ll042t1aaaff001.jpg"),
        f"Images/{FIRST}/ll042t1aaaff001.png",
        "this image is there twice, also as ll042t1aaaff001.jpg",
        "Keep one file an image.",
    ),
    "a frame of another format": (
        lambda root, draw: draw(root / "Images" / FIRST / "ll042t1aaaff004.bmp"),
        f"Images/{FIRST}/ll042t1aaaff004.bmp",
        "not a format that is read",
        "Save it as JPEG or PNG.",
    ),
}


@pytest.mark.parametrize("name", TREES)
def test_malformed_trees(root, draw_image, name):
    spoil, *expected = TREES[name]
    spoil(root, draw_image)
    assert read(root)[2] == [tuple(expected)]


def test_a_task_of_eight_subjects(tmp_path, draw_image):
    subjects = [f"{number:03d}-ab{number:03d}" for number in range(1, 9)]
    lay_out(tmp_path / "UNBC", draw_image, subjects, sequences=("t1",))
    task = load_task("unbc-pain", data=tmp_path)
    assert [len(fold.test) for fold in task.folds] == [2, 2, 2, 2]
    assert len(task.pairs(0)) == 2 * 3
    assert set(task.labels) == set(range(1, 11))
