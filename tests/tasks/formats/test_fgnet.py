"""FG-NET's folder: names in either case, what is passed over, and what is refused with its remedy."""

from __future__ import annotations

import dataclasses

import pytest

from comface_bench.core.errors import DataFormatError, DataMissingError
from comface_bench.core.problems import DataProblemsError, Note, ProblemList
from comface_bench.data.manifest import Manifest
from comface_bench.tasks.formats.fgnet import read_fgnet

COUPLES = ("001A02.JPG", "001A08.JPG", "002A43a.JPG", "002A43b.JPG")
PATTERN = "the name isn't of the pattern 001A02.JPG (subject, A, age, perhaps a letter)"


def read(root):
    """Good rows, notes and problems."""
    rows, notes, problems = [], [], ProblemList()
    with problems.collect():
        for item in read_fgnet(root):
            if isinstance(item, Note):
                notes.append(item.text)
            else:
                rows.append(item)
    return rows, notes, [dataclasses.astuple(problem) for problem in problems.found]


def test_subject_and_age_are_in_the_name(tmp_path, make_fgnet):
    rows, notes, problems = read(make_fgnet(tmp_path))
    assert [(row["image"], row["subject"], row["age"]) for row in rows] == [
        ("images/001A02.JPG", "001", 2.0),
        ("images/001A08.JPG", "001", 8.0),
        ("images/002A43a.JPG", "002", 43.0),
        ("images/002A43b.JPG", "002", 43.0),
    ]
    assert (notes, problems) == ([], [])


@pytest.mark.parametrize(
    ("name", "age"),
    [
        ("001A02.JPG", 2),
        ("001A02.jpg", 2),
        ("001a02.JPG", 2),
        ("001a02.jpeg", 2),
        ("001A02c.JPG", 2),
        ("001A43a.jpg", 43),
        ("001A43A.JPG", 43),
        ("001A00.JPG", 0),
        ("001A69.JPG", 69),
    ],
)
def test_either_case_is_read(tmp_path, make_fgnet, name, age):
    (row,), *_ = read(make_fgnet(tmp_path, [name]))
    assert (row["image"], row["subject"], row["age"]) == (f"images/{name}", "001", age)


@pytest.mark.parametrize(
    "name",
    [
        "001A2.JPG",
        "1A02.JPG",
        "001B02.JPG",
        "001A02ab.JPG",
        "001A102.JPG",
        "001A-2.JPG",
        "001A0٢.JPG",
        "copy of 001A02.JPG",
        "001A02 (1).jpg",
        "montage.jpeg",
    ],
)
def test_other_names_are_refused_and_the_others_read(tmp_path, make_fgnet, name):
    make_fgnet(tmp_path, [*COUPLES, name])
    rows, _, problems = read(tmp_path)
    assert [row["image"] for row in rows] == [f"images/{couple}" for couple in COUPLES]
    assert problems == [(str(tmp_path / "images" / name), PATTERN, "Rename it, or take it out.")]


@pytest.mark.parametrize(
    ("copy", "first", "second"),
    [
        ("001a02.jpeg", "001A02.JPG", "001a02.jpeg"),
        ("001A02.jpeg", "001A02.JPG", "001A02.jpeg"),
        ("001a02.JPG", "001A02.JPG", "001a02.JPG"),
    ],
)
def test_one_image_may_not_be_there_twice(tmp_path, make_fgnet, copy, first, second):
    make_fgnet(tmp_path, ["001A02.JPG", copy])
    assert read(tmp_path)[2] == [
        (
            str(tmp_path / "images" / second),
            f"this image is there twice, also as {first}",
            "Take one of the two out.",
        )
    ]


def test_all_problems_are_reported_at_once(tmp_path, make_fgnet):
    make_fgnet(tmp_path, [*COUPLES, "001a08.jpg", "x.jpg", "y.jpg"])
    with pytest.raises(DataProblemsError) as caught:
        Manifest.from_rows("FGNET", tmp_path, read_fgnet(tmp_path))
    assert [problem.where.rpartition("/")[2] for problem in caught.value.problems] == [
        "001a08.jpg",
        "x.jpg",
        "y.jpg",
    ]


def test_junk_changes_nothing(tmp_path, make_fgnet):
    clean = Manifest.from_rows("FGNET", tmp_path, read_fgnet(make_fgnet(tmp_path))).digest
    images = tmp_path / "images"
    for folder in (images, images / "__MACOSX", tmp_path / "__MACOSX", tmp_path):
        folder.mkdir(exist_ok=True)
        for name in ("._001A02.JPG", ".DS_Store", "Thumbs.db", "desktop.ini", "001a02.pts", "readme.txt"):
            (folder / name).write_bytes(b"junk")
    (tmp_path / "points").mkdir()
    landmarks = ["version: 1", "n_points: 68", "{", *("1.0 2.0" for _ in range(68)), "}", ""]
    (tmp_path / "points" / "001a02.pts").write_bytes("\r\n".join(landmarks).encode())
    (tmp_path / "Data_files").mkdir()
    (tmp_path / "Data_files" / "001a43A.dat").write_bytes(b"")
    table = Manifest.from_rows("FGNET", tmp_path, read_fgnet(tmp_path))
    assert (table.digest, table.notes) == (clean, ())


def test_the_folder_may_have_a_capital(tmp_path, make_fgnet):
    (make_fgnet(tmp_path) / "images").rename(tmp_path / "Images")
    rows, _, problems = read(tmp_path)
    assert problems == []
    assert rows[0]["image"] == "Images/001A02.JPG"
    assert len(Manifest.from_rows("FGNET", tmp_path, rows)) == 4


def test_two_folders_are_refused(tmp_path, make_fgnet):
    make_fgnet(tmp_path)
    (tmp_path / "Images").mkdir()
    with pytest.raises(DataFormatError) as caught:
        list(read_fgnet(tmp_path))
    assert caught.value.message == f"{tmp_path} has the folders Images and images"
    assert caught.value.hint == "Keep one of them: every image stands in one folder."


def test_images_of_other_formats_are_reported_and_not_read(tmp_path, make_fgnet):
    make_fgnet(tmp_path, [*COUPLES, "001A09.png", "scan.TIF"])
    rows, notes, problems = read(tmp_path)
    assert (len(rows), problems) == (4, [])
    assert notes == ["images in images/ that aren't JPEG and aren't read: 001A09.png, scan.TIF"]


def test_subjects_without_a_pair_are_reported(tmp_path, make_fgnet):
    make_fgnet(tmp_path, [*COUPLES, "003A01.JPG", "004A01.JPG"])
    assert read(tmp_path)[1] == ["subjects with one image, who have no pair: 2 (003, 004)"]


def missing(root):
    with pytest.raises(DataMissingError) as caught:
        list(read_fgnet(root))
    assert caught.value.message == f"{root / 'images'} doesn't exist"
    return caught.value.hint


def test_a_missing_folder_is_named(tmp_path):
    assert missing(tmp_path) == "Lay the data set out as docs/datasets/fgnet.md shows."


def test_the_folder_of_the_archive_within_the_data_sets_is_found(tmp_path, make_fgnet):
    root = tmp_path / "FGNET"
    make_fgnet(root / "FGNET")
    (root / "__MACOSX").mkdir()
    inner = root / "FGNET" / "images"
    assert missing(root) == f"There is {inner}: move what FGNET holds one level up, or: --data {root}"


def test_a_folder_of_another_name_between_is_found(tmp_path, make_fgnet):
    make_fgnet(tmp_path / "FG-NET")
    inner = tmp_path / "FG-NET" / "images"
    assert missing(tmp_path) == f"There is {inner}: move what FG-NET holds one level up."


def test_images_one_level_too_high_are_found(tmp_path, make_fgnet):
    for path in (make_fgnet(tmp_path) / "images").iterdir():
        path.rename(tmp_path / path.name)
    (tmp_path / "images").rmdir()
    hint = f"The images lie in {tmp_path} itself: move them into {tmp_path / 'images'}."
    assert missing(tmp_path) == hint


def test_an_empty_folder_has_no_images(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(DataMissingError, match="FGNET: no images"):
        Manifest.from_rows("FGNET", tmp_path, read_fgnet(tmp_path))
