from __future__ import annotations

import pytest

from comface_bench.core.errors import DataFormatError, DataMissingError
from comface_bench.data.manifest import Manifest
from comface_bench.tasks.formats.fgnet import read_fgnet


def test_subject_and_age_are_in_the_name(tmp_path, make_fgnet):
    rows = list(read_fgnet(make_fgnet(tmp_path)))
    assert [(row["image"], row["subject"], row["age"]) for row in rows] == [
        ("images/001A02.JPG", "001", 2.0),
        ("images/001A08.JPG", "001", 8.0),
        ("images/002A43a.JPG", "002", 43.0),
        ("images/002A43b.JPG", "002", 43.0),
    ]


@pytest.mark.parametrize("name", ["001A02.JPG", "001A02.jpg", "001a02.JPG", "001a02.jpeg", "001A02c.JPG"])
def test_either_case_is_read(tmp_path, make_fgnet, name):
    (row,) = read_fgnet(make_fgnet(tmp_path, [name]))
    assert (row["image"], row["subject"], row["age"]) == (f"images/{name}", "001", 2.0)


@pytest.mark.parametrize(
    "name",
    [
        "001A2.JPG",
        "1A02.JPG",
        "001B02.JPG",
        "001A02ab.JPG",
        "001A102.JPG",
        "copy of 001A02.JPG",
        "001A02 (1).jpg",
    ],
)
def test_other_names_are_refused(tmp_path, make_fgnet, name):
    make_fgnet(tmp_path, ["001A02.JPG", name])
    with pytest.raises(DataFormatError) as caught:
        list(read_fgnet(tmp_path))
    assert str(tmp_path / "images" / name) in caught.value.message
    assert "001A02.JPG (subject, A, age" in caught.value.message


@pytest.mark.parametrize("copy", ["001a02.jpeg", "001A02.jpeg"])
def test_one_image_may_not_be_there_twice(tmp_path, make_fgnet, copy):
    make_fgnet(tmp_path, ["001A02.JPG", copy])
    with pytest.raises(DataFormatError, match="is there twice, also as 001"):
        list(read_fgnet(tmp_path))


def test_junk_is_passed_over(tmp_path, make_fgnet):
    expected = list(read_fgnet(make_fgnet(tmp_path)))
    images = tmp_path / "images"
    for name in ("._001A02.JPG", ".DS_Store", "Thumbs.db", "001a02.pts"):
        (images / name).write_bytes(b"junk")
    (images / "__MACOSX").mkdir()
    (images / "__MACOSX" / "._001A02.JPG").write_bytes(b"junk")
    assert list(read_fgnet(tmp_path)) == expected


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataMissingError, match="images doesn't exist") as caught:
        list(read_fgnet(tmp_path))
    assert "docs/datasets.md" in caught.value.hint


def test_an_empty_folder_has_no_images(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(DataMissingError, match="FGNET: no images"):
        Manifest.from_rows("FGNET", tmp_path, read_fgnet(tmp_path))
