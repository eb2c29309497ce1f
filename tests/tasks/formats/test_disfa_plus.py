from __future__ import annotations

import shutil

import pytest

from comface_bench.core.errors import DataMissingError
from comface_bench.core.problems import DataProblemsError, Note, Problem
from comface_bench.data.task import load_task
from comface_bench.tasks.formats.action_units import ACTION_UNITS
from comface_bench.tasks.formats.disfa_plus import read_disfa_plus

RAW = "Take the raw labels, 0 to 5, as the data set's authors give them out."
FORM = "Write one label a line, and nothing behind it."
LOOSE = ("an image outside of a trial's folder", "Put it where it belongs.")
SUBJECT = ("not the name of a subject", "Name it like SN001, or move it to somewhere else.")
LAYOUT = "Lay the data set out as docs/datasets/disfaplus.md shows."
AU12 = "Labels/SN001/A1/AU12.txt"
IMAGES = "Images/SN001/A1"


def lay_out(root, draw, subjects=("SN001", "SN003"), trials=("A1", "Y_smile"), images=4):
    """Intensity is (subject's number + action unit + image) mod 6."""
    for number, subject in enumerate(subjects):
        for trial in trials:
            names = [f"{image:03d}.jpg" for image in range(images)]
            for image, name in enumerate(names):
                draw(root / "Images" / subject / trial / name, seed=100 * number + image)
            for unit in ACTION_UNITS:
                path = root / "Labels" / subject / trial / f"AU{unit}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                lines = [f"{name}     {(number + unit + image) % 6}" for image, name in enumerate(names)]
                path.write_text("\n".join([f"{subject} {trial} AU{unit}", "Image  Intensity", *lines, ""]))
    return root


@pytest.fixture
def root(tmp_path, draw_image):
    return lay_out(tmp_path / "DISFAPlus", draw_image)


def read(root):
    """Return the rows, the notes, and the problems as (where, message, remedy) relative to the root."""
    rows, notes = [], []
    try:
        for row in read_disfa_plus(root):
            if isinstance(row, Note):
                notes.append(row.text)
            else:
                rows.append(row)
    except DataProblemsError as error:
        return rows, notes, [_relative(root, problem) for problem in error.problems]
    return rows, notes, []


def _relative(root, problem: Problem):
    return (
        problem.where.removeprefix(str(root)).lstrip("/"),
        problem.message.replace(f"{root}/", ""),
        problem.remedy,
    )


def test_images_are_joined_to_their_labels_by_name(root):
    rows, notes, problems = read(root)
    assert not notes
    assert not problems
    assert len(rows) == 2 * 2 * 4
    assert [rows[5][key] for key in ("image", "subject", "session")] == [
        "Images/SN001/Y_smile/001.jpg",
        "SN001",
        "Y_smile",
    ]
    for number, row in enumerate(rows):
        subject, image = number // 8, number % 4
        assert [row[f"au{unit}"] for unit in ACTION_UNITS] == [
            (subject + unit + image) % 6 for unit in ACTION_UNITS
        ]


@pytest.mark.parametrize(
    "text",
    [
        "x\r\ny\r\n000.jpg     5\r\n001.jpg     4\r\n002.jpg     3\r\n003.jpg     2\r\n\r\n",
        "\ufeffx\n\n000.jpg 5\n001.jpg\t4\n002.jpg 3\n003.jpg 2",
        "x\ny\n003.png 2\n002.PNG 3\n001 4\n000.Jpg 5\n",
    ],
    ids=["CRLF", "byte-order mark and an empty header line", "other order, endings and case"],
)
def test_text_files_as_people_have_them(root, text):
    (root / AU12).write_bytes(text.encode())
    assert [row["au12"] for row in read(root)[0]][:4] == [5, 4, 3, 2]


def test_names_in_any_case(root):
    expected = read(root)[0]
    for path in list((root / "Labels").rglob("AU*.txt")):
        path.rename(path.with_name(path.name.lower()))
    (root / "Labels").rename(root / "labels")
    assert read(root)[0] == expected


def test_labels_without_images_are_noted(root):
    shutil.rmtree(root / "Images" / "SN003" / "A1")
    rows, notes, problems = read(root)
    assert (len(rows), problems) == (12, [])
    assert notes == ["labels without images, left out: SN003/A1"]


@pytest.mark.parametrize("folder", ["Images", "Labels"])
def test_a_missing_folder_is_reported_at_once(root, folder):
    shutil.rmtree(root / folder)
    with pytest.raises(DataMissingError, match=f"{folder} doesn't exist") as caught:
        next(iter(read_disfa_plus(root)))
    assert caught.value.hint == LAYOUT


LINES = {
    "001.jpg 6": ("intensity 6 isn't within 0 to 5", RAW),
    "001.jpg -1": ("intensity -1 isn't within 0 to 5", RAW),
    "001.jpg 2.5": ("intensity 2.5 isn't a whole number from 0 to 5", RAW),
    "001.jpg": ("expected `image-name intensity` such as 001.jpg 3, found '001.jpg'", FORM),
    "001.jpg 1 2": ("expected `image-name intensity` such as 001.jpg 3, found '001.jpg 1 2'", FORM),
    "001.jpg,1": ("expected `image-name intensity` such as 001.jpg 3, found '001.jpg,1'", FORM),
    "000.jpg 1": ("image 000.jpg stands twice", "Keep the line that is right."),
}


@pytest.mark.parametrize("line", LINES)
def test_malformed_lines(root, line):
    (root / AU12).write_text(f"x\ny\n000.jpg 0\n{line}\n002.jpg 0\n003.jpg 0\n")
    rows, _, problems = read(root)
    assert problems == [(f"{AU12}:4", *LINES[line])]
    assert [row["image"][-7:-4] for row in rows[:3]] == ["000", "002", "003"]


def test_a_missing_header_is_reported(root):
    (root / AU12).write_text("000.jpg 0\n001.jpg 0\n002.jpg 0\n003.jpg 0\n")
    message = "'000.jpg 0' is a label where the header belongs (and 1 more such line)"
    remedy = "The first two lines are a header; labels begin in line 3."
    assert read(root)[2] == [(f"{AU12}:1", message, remedy)]


def test_a_file_that_is_cut_off(root):
    (root / AU12).write_text("x\ny\n000.jpg 0\n001.jpg 0\n002.jpg 0\n003.j")
    message = "the file ends in the middle of a line: '003.j'"
    assert read(root)[2] == [(f"{AU12}:6", message, "The file is cut off: copy it again from the original.")]


@pytest.mark.parametrize(
    ("names", "reported"),
    [
        (("000", "001", "002"), "lacks 1 image that the files beside it have, the first 003"),
        (("000", "001", "002", "003", "9"), "has 1 image that the files beside it lack, the first 9"),
    ],
)
def test_a_file_of_other_images_than_those_beside_it_is_named(root, names, reported):
    (root / AU12).write_text("\n".join(["x", "y", *(f"{name}.jpg 0" for name in names), ""]))
    remedy = "Copy it again from the original; the 12 label files cover the same images."
    assert read(root)[2] == [(AU12, reported, remedy)]


def test_binarised_labels_are_refused_once(root):
    for path in (root / "Labels").rglob("*.txt"):
        path.write_text("x\ny\n000.jpg 0\n001.jpg 0\n002.jpg 1\n003.jpg 0\n")
    reported = "this and all other label files hold only 0, 1: they seem binarised (1 for 2 or more)"
    expected = (AU12.replace("12", "1"), reported, f"Binarised labels can't serve. {RAW}")
    assert read(root)[2] == [expected]


TREES = {
    "images without a label": (
        lambda root, draw: [draw(root / IMAGES / f"00{image}.jpg") for image in (7, 8)],
        f"{IMAGES}/007.jpg",
        "image 007 has no label (and 1 more such image)",
        "Name images as the label files do; take out what has no label.",
    ),
    "an image twice": (
        lambda root, draw: draw(root / IMAGES / "001.PNG"),
        f"{IMAGES}/001.jpg",
        "this image is there twice, also as 001.PNG",
        "Keep one file an image.",
    ),
    "an image of another format": (
        lambda root, draw: draw(root / IMAGES / "004.bmp"),
        f"{IMAGES}/004.bmp",
        "not a format that is read",
        "Save it as JPEG or PNG.",
    ),
    "an image beside the trials": (
        lambda root, draw: draw(root / "Images/SN001/000.jpg"),
        "Images/SN001/000.jpg",
        *LOOSE,
    ),
    "an image beside the subjects": (
        lambda root, draw: draw(root / "Images/000.jpg"),
        "Images/000.jpg",
        *LOOSE,
    ),
    "no name of a subject": (
        lambda root, draw: draw(root / "Images/SN1/A1/000.jpg"),
        "Images/SN1",
        *SUBJECT,
    ),
    "a trial without labels": (
        lambda root, draw: draw(root / "Images/SN001/B/000.jpg"),
        "Labels/SN001/B",
        "Images/SN001/B has images, but there are no labels for them",
        LAYOUT,
    ),
    "a missing label file": (
        lambda root, draw: (root / AU12).unlink(),
        "Labels/SN001/A1",
        "no label file of au12",
        "All 12 action units are needed, as SN001_au1.txt or au1.txt and so on.",
    ),
}


@pytest.mark.parametrize("name", TREES)
def test_malformed_trees(root, draw_image, name):
    spoil, *expected = TREES[name]
    spoil(root, draw_image)
    assert read(root)[2] == [tuple(expected)]


def test_a_task_of_nine_subjects(tmp_path, draw_image):
    subjects = [f"SN00{number}" for number in range(1, 10)]
    lay_out(tmp_path / "DISFAPlus", draw_image, subjects, trials=("A1",))
    task = load_task("disfaplus-au4", data=tmp_path)
    assert [len(fold.test) for fold in task.folds] == [3, 3, 3]
    assert len(task.pairs(0)) == 3 * 6
    assert len(load_task("disfaplus-au4+split=leave-one-out", data=tmp_path).folds) == 9


def test_labels_of_programs_that_know_only_decimals(root):
    expected = read(root)
    for path in (root / "Labels").rglob("*.txt"):
        lines = path.read_text().splitlines()
        path.write_text("\n".join([*lines[:2], *(f"{line}.0" for line in lines[2:]), ""]))
    assert read(root) == expected
