"""Folders and text files as people have them."""

from __future__ import annotations

import pytest

from comface_bench.core.errors import DataFormatError, DataMissingError
from comface_bench.core.problems import DataProblemsError, ProblemList
from comface_bench.tasks.formats.files import (
    find_folder,
    image_stem,
    list_folder,
    name_images,
    numbered_lines,
)


@pytest.mark.parametrize(
    ("name", "key"),
    [("A01.JPG", "a01"), ("a.b.png", "a.b"), ("001", "001"), ("x.TIFF", "x"), ("v1.5", "v1.5")],
)
def test_images_are_compared_without_case_and_ending(name, key):
    assert image_stem(name) == key


def test_a_folder_is_listed_in_order_without_what_systems_leave_behind(tmp_path):
    for name in ("b", "a", ".git", "__MACOSX"):
        (tmp_path / name).mkdir()
    for name in ("2.jpg", "10.jpg", ".DS_Store", "._2.jpg", "Thumbs.db", "DESKTOP.INI"):
        (tmp_path / name).touch()
    assert list_folder(tmp_path) == ([tmp_path / "a", tmp_path / "b"], ["10.jpg", "2.jpg"])


def test_a_folder_is_found_in_any_case(tmp_path):
    (tmp_path / "IMAGES").mkdir()
    (tmp_path / "labels").touch()
    problems = ProblemList()
    assert find_folder(tmp_path, ("Images",), problems, "") == tmp_path / "IMAGES"
    with pytest.raises(DataMissingError, match="Labels doesn't exist") as caught:
        find_folder(tmp_path, ("Labels", "labels"), problems, "Look elsewhere.")
    assert caught.value.hint == "Look elsewhere."
    problems.raise_any()


def test_two_images_of_one_name_and_other_formats_are_reported_once(tmp_path):
    for name in ("a.jpg", "a.png", "b.jpg", "b.JPEG", "c.webp", "d.gif", "notes.txt"):
        (tmp_path / name).touch()
    problems = ProblemList()
    assert name_images(tmp_path, problems) == {"a": "a.jpg", "b": "b.JPEG"}
    with pytest.raises(DataProblemsError) as caught:
        problems.raise_any()
    assert [(one.where, one.message) for one in caught.value.problems] == [
        (str(tmp_path / "c.webp"), "not a format that is read (and 1 more such image)"),
        (str(tmp_path / "a.png"), "this image is there twice, also as a.jpg (and 1 more such image)"),
    ]


def test_numbers_are_those_of_the_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\n\r\n  two \r\n\n".encode())
    assert list(numbered_lines(path)) == [(1, "one"), (3, "two")]


def test_other_encodings_are_refused_with_the_place(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("naïve".encode("latin-1"))
    with pytest.raises(DataFormatError, match=r"a\.txt: not UTF-8 text \(.* at byte 2\)") as caught:
        list(numbered_lines(path))
    assert caught.value.hint == "Save it as UTF-8 text."


def test_a_file_that_cant_be_read_is_named(tmp_path):
    with pytest.raises(DataFormatError, match=r"gone\.txt: can't be read: No such file"):
        list(numbered_lines(tmp_path / "gone.txt"))
