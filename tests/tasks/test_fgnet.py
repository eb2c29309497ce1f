"""The task `age`: folds against the copy at hand, colours, and a --data that is a level off."""

from __future__ import annotations

import pytest
from PIL import Image

from comface_bench.core.errors import BenchError, DataMissingError, SplitError
from comface_bench.data.check import check_data
from comface_bench.data.task import load_task

PUBLISHED = [f"{number:03d}" for number in range(1, 83)]


@pytest.fixture
def root(tmp_path, make_fgnet):
    make_fgnet(tmp_path / "FGNET", [f"{subject}A{age:02d}.JPG" for subject in PUBLISHED for age in (3, 30)])
    return tmp_path


def test_the_published_folds_take_the_published_subjects(root):
    task = load_task("age", data=root)
    assert sorted(subject for fold in task.folds for subject in fold.test) == PUBLISHED


def test_a_subject_that_is_lacking_is_named(root):
    for path in (root / "FGNET" / "images").glob("007*"):
        path.unlink()
    with pytest.raises(SplitError, match="FGNET lacks subject 007 of split fgnet-4fold") as caught:
        load_task("age", data=root)
    assert caught.value.hint.endswith("-o split=balanced-4")


def test_a_subject_too_many_is_named(root, make_fgnet):
    make_fgnet(root / "FGNET", ["083A01.JPG", "083A02.JPG"], seed=5000)
    with pytest.raises(SplitError, match="split fgnet-4fold doesn't know subject 083 of FGNET"):
        load_task("age", data=root)
    assert check_data("age", root).problems[0].message.endswith("083 of FGNET")


def test_grey_and_cmyk_images_are_counted(root):
    images = root / "FGNET" / "images"
    Image.radial_gradient("L").save(images / "001A03.JPG")
    Image.linear_gradient("L").convert("CMYK").save(images / "001A30.JPG")
    found = check_data("age", root)
    assert found.problems == ()
    assert found.modes["CMYK"] == 1
    assert found.grey_images == 164 // 2


def test_a_truncated_image_is_a_problem(root):
    path = root / "FGNET" / "images" / "044A03.JPG"
    path.write_bytes(path.read_bytes()[:-40])
    (problem,) = check_data("age", root).problems
    assert problem.where == str(path)
    assert problem.message.startswith("is a JPEG that is cut off")


@pytest.mark.parametrize("below", [".", "images"])
def test_data_may_not_point_into_the_data_set(root, below):
    with pytest.raises(DataMissingError) as caught:
        load_task("age", data=root / "FGNET" / below)
    assert caught.value.hint == f"--data names the folder that holds FGNET: --data {root}"


def test_a_relative_data_root_is_understood(root, monkeypatch):
    monkeypatch.chdir(root / "FGNET")
    with pytest.raises(DataMissingError) as caught:
        load_task("age", data=".")
    assert caught.value.hint == f"--data names the folder that holds FGNET: --data {root}"


def test_the_folder_of_the_archive_may_be_named(root):
    (root / "data").mkdir()
    (root / "FGNET").rename(root / "data" / "inner")
    (root / "data" / "FGNET").mkdir()
    (root / "data" / "inner").rename(root / "data" / "FGNET" / "FGNET")
    with pytest.raises(BenchError, match="images doesn't exist") as caught:
        load_task("age", data=root / "data")
    assert caught.value.hint.endswith(f"--data {root / 'data' / 'FGNET'}")
    assert len(load_task("age", data=root / "data" / "FGNET").table) == 164
